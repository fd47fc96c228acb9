"""The units of existing mags."""

from __future__ import annotations

import itertools

from wkpipe.formats.base import ArraySpec, Position
from wkpipe.geometry import Mag
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.plan.mag_plan import check_count, units_at
from wkpipe.stored.axes import spatial
from wkpipe.stored.channels import Channels
from wkpipe.stored.dataset import box_in_mag


def units_in_box(layer: LayerProperties, mag: Mag, spec: ArraySpec) -> list[Position]:
    """Return all units of an existing array that contain channels of the layer and that its box touches."""
    box = box_in_mag(layer.bounding_box(), mag)
    shape = spatial(spec, spec.unit_shape)
    first, last = box.topleft_xyz // shape, box.bottomright_xyz.ceildiv(shape)
    check_count(f"layer {layer.name}", last - first)
    cells = list(itertools.product(*(range(a, b) for a, b in zip(first, last, strict=True))))
    return units_at(spec, cells, Channels.of(layer, layer.mag(mag)))
