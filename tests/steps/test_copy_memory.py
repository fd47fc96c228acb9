"""The memory model of copies holds: the peak of all processes of real jobs, compared with the prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tensorstore

from tests.steps.helpers import Layer, write_dataset
from tests.steps.test_memory import check_plan, random
from wkpipe import BoundingBox, Dataset
from wkpipe.geometry import Vec3Int
from wkpipe.plan.build import make_copy_plan
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.wishes.copying import CopyRequest, LayerCopies, MagCopy, Recoding
from wkpipe.stored.dataset import StoredDataset

SIZE = (512, 256, 256)
SHARD = Vec3Int.full(256)
ZARR3: dict[str, Any] = {"chunk": (32, 32, 32), "shard": (256, 256, 256)}
WKW: dict[str, Any] = {**ZARR3, "data_format": "wkw"}
ZARR: dict[str, Any] = {"chunk": (32, 32, 32), "shard": None, "data_format": "zarr"}


@pytest.mark.slow
@pytest.mark.sampled(every=8)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "source, dtype, target, recoding",
    [
        (ZARR3, "uint8", "wkw", Recoding(shard=SHARD)),
        (WKW, "uint32", "zarr3", Recoding(shard=SHARD)),
        (ZARR, "uint16", "zarr3", Recoding(shard=SHARD)),
        (ZARR3, "uint8", "zarr", Recoding(chunk=Vec3Int.full(128))),  # chunks larger than a cube
        ({**ZARR3, "chunk": (128, 128, 128)}, "uint8", "zarr3", Recoding(chunk=Vec3Int.full(32), shard=SHARD)),
        ({**ZARR3, "compression": False}, "float32", "zarr3", Recoding(compress=True)),
    ],
)
def test_copies_take_the_predicted_memory(
    source: dict[str, Any], dtype: str, target: str, recoding: Recoding, threads: int, tmp_path: Path
) -> None:
    write_dataset(tmp_path / "raw", Layer(random((1, *SIZE), dtype), **source))
    check_copy(tmp_path, target, recoding, threads)


@pytest.mark.slow
@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("dtype, threads", [("uint8", 1), ("uint8", 2), ("uint32", 2)])
def test_arrays_that_tensorstore_reads_take_the_predicted_memory(dtype: str, threads: int, tmp_path: Path) -> None:
    path = tmp_path / "raw" / "em" / "1"
    path.parent.mkdir(parents=True)
    metadata = {"dimensions": [1, *SIZE], "blockSize": [1, 64, 64, 64], "dataType": dtype, "compression": {"type": "gzip"}}
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{path}/"}, "metadata": metadata}
    tensorstore.open(spec, create=True).result().write(random((1, *SIZE), "uint8").astype(dtype)).result()
    layer = {
        "name": "em",
        "category": "color",
        "boundingBox": {"topLeft": [0, 0, 0], **dict(zip(("width", "height", "depth"), SIZE, strict=True))},
        "elementClass": "uint8",  # of the voxels, whatever the array has
        "dataFormat": "n5",
        "mags": [{"mag": [1, 1, 1], "path": "./em/1"}],
        "numChannels": 1,
    }
    content = {"version": 1, "id": {"name": "raw", "team": ""}, "scale": [1.0, 1.0, 1.0], "dataLayers": [layer]}
    (tmp_path / "raw" / "datasource-properties.json").write_text(json.dumps(content))
    check_copy(tmp_path, "zarr3", Recoding(shard=SHARD), threads)


def check_copy(base: Path, target: str, recoding: Recoding, threads: int) -> None:
    """Copy the only mag of the dataset ``raw`` to a new one, and compare the memory with the prediction."""
    stored = StoredDataset.open(base / "raw")
    (layer,) = stored.properties.layers
    (entry,) = layer.mags
    copy = MagCopy(stored.locations.dataset, layer, entry.mag, stored.open_mag(layer, entry).spec, entry.mag, recoding)
    box = BoundingBox((0, 0, 0), SIZE)
    new = Dataset(base / "new", voxel_size=(1, 1, 1)).add_layer("em", "color", dtype=layer.dtype, data_format=target, bounding_box=box)
    request = CopyRequest(base / "new", (LayerCopies(new._properties, False, (copy,)),))
    check_plan(make_copy_plan(request, Sizing(threads, 0.0, 1e9, 1)), threads, is_alone=False)
