"""The test server's reading side: boxes of voxels, and any dataset as Zarr 2 in cubes of 32³."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.server.raw_client import Client
from tests.server.wk_server import WkServer
from wkpipe.stored.dataset import StoredDataset, box_in_mag

DATASETS = ["z3_seg", "z3_rgb", "z3_raw", "z3_dtypes", "z2", "wkw"]


@pytest.mark.parametrize("name", DATASETS)
def test_boxes_and_cubes_are_what_is_stored(server: WkServer, client: Client, golden: Path, name: str) -> None:
    path = golden / name
    row = server.add_dataset(path)
    dataset = StoredDataset.open(path)
    for layer in dataset.properties.layers:
        for entry in layer.mags:
            box = box_in_mag(layer.bounding_box(), entry.mag)
            expected = dataset.open_mag(layer, entry).read(box.topleft, box.size)
            corner = [start * factor for start, factor in zip(box.topleft[-3:], entry.mag, strict=True)]
            size = box.size[-3:]
            query = dict(zip(("mag", "x", "y", "z", "width", "height", "depth"), (entry.mag.to_long_str(), *corner, *size), strict=True))
            answer = client.get(f"/data/v15/datasets/{row.id}/layers/{layer.name}/data", params=query)
            assert (answer.status_code, answer.headers["missing-buckets"]) == (200, "[]")
            found = np.frombuffer(answer.content, expected.dtype).reshape(expected.shape, order="F")
            np.testing.assert_array_equal(found, expected)

            header = client.get(f"/data/v15/zarr/{row.id}/{layer.name}/{entry.mag}/.zarray").json()
            assert (header["chunks"], header["order"], header["dtype"]) == ([len(expected), 32, 32, 32], "F", expected.dtype.str)
            cube = client.get(f"/data/v15/zarr/{row.id}/{layer.name}/{entry.mag}/0.0.0.0")
            shape = (len(expected), 32, 32, 32)
            voxels = np.zeros(shape, expected.dtype)
            if cube.status_code != 404:
                voxels = np.frombuffer(cube.content, expected.dtype).reshape(shape, order="F")
            start = box.topleft[-3:]
            x, y, z = (slice(first, min(first + length, 32)) for first, length in zip(start, size, strict=True))
            np.testing.assert_array_equal(voxels[:, x, y, z], expected[:, : x.stop - x.start, : y.stop - y.start, : z.stop - z.start])


def test_what_is_not_there(server: WkServer, client: Client, golden: Path) -> None:
    row = server.add_dataset(golden / "z3_rgb")
    base = f"/data/v15/zarr/{row.id}"
    assert client.get(f"{base}/color/1/0.9.9.9").status_code == 404, "an empty cube"
    for path in ("color/1/0.0.0", "color/1/0/0/0/0", "color/3/.zarray", "other/1/.zarray", "color/1/zarr.json", "zarr.json", "color"):
        assert client.get(f"{base}/{path}").status_code == 404, path
    assert client.get(f"{base}/.zgroup").json() == client.get(f"{base}/color/.zgroup").json() == {"zarr_format": 2}
    assert len(client.get(f"{base}/color/.zattrs").json()["multiscales"][0]["datasets"]) == 3
    where = {"mag": "1", "x": 320, "y": 320, "z": 320}
    data = f"/data/v15/datasets/{row.id}/layers/color/data"
    empty = client.get(data, params=where | {"width": 32, "height": 32, "depth": 32})
    assert (empty.status_code, empty.content, empty.headers["missing-buckets"]) == (200, b"", "[0]")
    more = client.get(data, params=where | {"width": 33, "height": 32, "depth": 32})
    assert (len(more.content), more.headers["missing-buckets"]) == (3 * 33 * 32 * 32, "[]")
    for wrong in ({"width": 0}, {"width": "a"}, {"x": "a"}):
        assert client.get(data, params=where | {"width": 32, "height": 32, "depth": 32} | wrong).status_code == 400
    assert client.get(data, params=where | {"width": 1, "height": 1, "depth": 1, "mag": "3"}).status_code == 404
