"""Steps for tensorstore's `downsample` driver, taken from wkpipe's plan: the same mags, boxes, shapes and codecs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wkpipe.formats.zarr3_metadata import make_zarr3_json
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.origins.from_mag import FromMag
from wkpipe.stored.axes import spatial


def peer_steps(dataset: Path, sampling_mode: str) -> list[dict[str, Any]]:
    """Return one step for each coarser mag of a Zarr 3 dataset, from fine to coarse, layer by layer.

    A step has the paths of source and target array, the target's zarr.json, the boxes (first, end) in both, factors along
    x, y, z, and the method.
    """
    plan = make_plan(load_config({"target": str(dataset), "sampling_mode": sampling_mode}, "bench"), Sizing.local(1))
    steps = []
    for layer in plan.layers:
        path = {found.mag: found.path for found in layer.found}
        for mag in layer.mags:
            origin = mag.origin
            assert isinstance(origin, FromMag)
            path[mag.mag] = plan.dataset / layer.name / str(mag.mag)
            steps.append(
                {
                    "source": str(path[origin.mag]),
                    "target": str(path[mag.mag]),
                    "metadata": make_zarr3_json(mag.spec),
                    "source_box": [list(corner) for corner in origin.box],
                    "box": [list(corner) for corner in mag.box],
                    "piece": list(spatial(mag.spec, mag.spec.chunk_shape) * 4),
                    "factors": list(mag.factors),
                    "method": origin.interpolation.value,
                }
            )
    return steps
