"""The reference package's own client works with the test server: so the test server is no stricter than a real one."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.reference.workshop import assert_same_facts, our_facts
from tests.server.wk_server import WkServer
from tests.workflow.workflow_helpers import run
from wkpipe import Dataset
from wkpipe.geometry import BoundingBox, Mag

pytestmark = [pytest.mark.reference, pytest.mark.timeout(600)]

REMOTE_READER = """
import sys
import numpy as np
import webknossos
url, token, dataset_id, out = sys.argv[1:]
with webknossos.webknossos_context(url=url, token=token):
    dataset = webknossos.Dataset.open_remote(f"{url}/datasets/{dataset_id}")
    for layer in dataset.layers.values():
        for mag, view in layer.mags.items():
            np.save(f"{out}/{layer.name}_{mag}.npy", view.read())
"""


class ReferenceClient:
    """Runs commands of the reference package against a server."""

    def __init__(self, python: Path) -> None:
        self._python = python

    def _run(self, server: WkServer, *command: object) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("WK_") and key != "PYTHONPATH"}
        texts = [*map(str, command)]
        result = subprocess.run(texts, capture_output=True, text=True, env=environment | {"WK_TOKEN": server.token, "WK_URL": server.url})
        assert result.returncode == 0, f"{texts}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}"

    def command(self, server: WkServer, *arguments: object) -> None:
        self._run(server, self._python.with_name("webknossos"), *arguments)

    def read_remotely(self, server: WkServer, dataset_id: str, out: Path) -> dict[str, np.ndarray[Any, Any]]:
        self._run(server, self._python, "-c", REMOTE_READER, server.url, server.token, dataset_id, out)
        return {path.stem: np.load(path) for path in out.glob("*.npy")}


@pytest.fixture(scope="module")
def reference_client(reference_python: Path) -> ReferenceClient:
    return ReferenceClient(reference_python)


def dataset_files(dataset: Path) -> dict[str, bytes]:
    """Return the files of a dataset: its properties, and all below its mags."""
    properties = json.loads((dataset / "datasource-properties.json").read_bytes())
    mags = [dataset / mag["path"] for layer in properties["dataLayers"] for mag in layer["mags"]]
    files = [dataset / "datasource-properties.json", *(path for mag in mags for path in mag.rglob("*") if path.is_file())]
    return {path.relative_to(dataset).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("api", [16, 15, 14, 13, "legacy"])
def test_upload(reference_client: ReferenceClient, small_dataset: Path, tmp_path: Path, api: int | str) -> None:
    legacy = {"current_api": 13, "legacy_only": True}
    with WkServer(tmp_path, **(legacy if api == "legacy" else {"current_api": api})) as server:
        folder = server.add_folder("A/B")
        place = f"{server.state.root.name}/A/B"
        reference_client.command(server, "upload", small_dataset, "--folder", place, "--dataset-name", "named", "--jobs", 8)
        server.check()
        (dataset,) = server.datasets
        assert (dataset.name, dataset.folder) == ("named", folder.id)
        assert server.tree() == dataset_files(small_dataset)
        assert all(entry.status == 200 for entry in server.log)
        files = [path for path in small_dataset.rglob("*") if path.is_file() and path.stat().st_size]
        routes = [entry.route for entry in server.log]
        assert routes[:6] == ["buildinfo", "folders", "datastores", "name", "user", "reserve"]
        assert routes[6 : 6 + len(files)] == ["chunk"] * len(files)
        assert routes[6 + len(files) :][:2] == ["finish", "dataset"]
        assert server.most_chunks_in_flight <= 8


def test_upload_of_a_file_in_chunks(reference_client: ReferenceClient, small_dataset: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "data"
    for path, content in dataset_files(small_dataset).items():
        (dataset / path).parent.mkdir(parents=True, exist_ok=True)
        (dataset / path).write_bytes(content)
    mag = json.loads((dataset / "datasource-properties.json").read_bytes())["dataLayers"][0]["mags"][0]["path"]
    (dataset / mag / "big").write_bytes(os.urandom(1000) + bytes(100 << 20) + os.urandom(1000))
    with WkServer(tmp_path / "server") as server:
        reference_client.command(server, "upload", dataset)
        server.check()
        assert server.tree() == dataset_files(dataset)
        assert len([entry for entry in server.requests("chunk") if "/big#" in entry.subject]) == 2


@pytest.mark.parametrize(
    "name, layers", [("z3_rgb", ["color"]), ("z2", ["u16"]), ("wkw", ["seg32_lz4"])], ids=["rgb", "uint16", "segmentation"]
)
def test_download(reference_client: ReferenceClient, golden: Path, tmp_path: Path, name: str, layers: list[str]) -> None:
    with WkServer(tmp_path / "server") as server:
        dataset = server.add_dataset(golden / name)
        options = [option for layer in layers for option in ("--layer", layer)]
        reference_client.command(server, "download", tmp_path / "data", "--url", f"{server.url}/datasets/{dataset.id}", *options)
        server.check()
        assert all(entry.status == 200 for entry in server.log)
    source = our_facts(golden / name)
    source["layers"] = {layer: facts for layer, facts in source["layers"].items() if layer in layers}
    assert_same_facts(our_facts(tmp_path / "data"), source, but=["name", "data_format", "compressed"], same_shapes=False)


def test_download_of_a_box(reference_client: ReferenceClient, golden: Path, tmp_path: Path) -> None:
    """x, y, z are in voxels of mag 1, the size in voxels of the mag: the client asks like this, and gets the right voxels."""
    with WkServer(tmp_path / "server") as server:
        dataset = server.add_dataset(golden / "z3_rgb")
        box = ("--bbox", "16,8,8,8,12,4", "--mag", "2")
        reference_client.command(server, "download", tmp_path / "data", "--url", f"{server.url}/datasets/{dataset.id}", *box)
        server.check()
        (asked,) = [{key: values[0] for key, values in entry.query.items()} for entry in server.requests("data")]
    assert asked == {"mag": "2-2-2", "x": "16", "y": "8", "z": "8", "width": "4", "height": "6", "depth": "2"}
    source, found = (our_facts(path)["layers"]["color"]["mags"]["2"] for path in (golden / "z3_rgb", tmp_path / "data"))
    x, y, z = (8 - source["box"]["x"][0] // 2, 4 - source["box"]["y"][0] // 2, 4 - source["box"]["z"][0] // 2)
    np.testing.assert_array_equal(found["voxels"], source["voxels"][:, x : x + 4, y : y + 6, z : z + 2])


@pytest.mark.parametrize(
    "name, options",
    [
        ("z3_u8_modes", []),
        ("z3_rgb", []),
        ("z3_dtypes", []),
        ("wkw", ["--layer", "seg32_lz4"]),
        ("z3_seg", ["--layer", "seg16_step4"]),
        ("z3_seg", ["--layer", "seg64", "--layer", "seg32"]),
        ("z3_rgb", ["--mag", "2", "--mag", "4"]),
        ("z3_seg", ["--bbox", "14,9,7,21,20,11", "--layer", "seg32"]),
        ("z3_rgb", ["--bbox", "16,8,8,8,12,4", "--mag", "2"]),
    ],
)
def test_wkpipe_downloads_the_same(reference_client: ReferenceClient, golden: Path, tmp_path: Path, name: str, options: list[str]) -> None:
    """The voxels and properties of layers from the same server are the same, for boxes inside the layers."""
    with WkServer(tmp_path / "server") as server:
        page = f"{server.url}/datasets/{server.add_dataset(golden / name).id}"
        reference_client.command(server, "download", tmp_path / "theirs", "--url", page, *options)
        before = len(server.log)
        result = run("download", tmp_path / "ours", "--url", page, *options, WK_TOKEN=server.token)
        assert result.returncode == 0, result.stderr
        server.check()
        theirs = [entry for entry in server.log[:before] if entry.route == "data"]
        ours = [entry for entry in server.log[before:] if entry.route == "data"]
        assert {entry.path for entry in ours} == {entry.path for entry in theirs}
        assert {tuple(entry.query) for entry in ours} == {("mag", "x", "y", "z", "width", "height", "depth")}
        assert {tuple(sorted(entry.query)) for entry in theirs} == {tuple(sorted(entry.query)) for entry in ours}
    found, expected = our_facts(tmp_path / "ours"), our_facts(tmp_path / "theirs")
    expected["layers"] = {layer: expected["layers"][layer] for layer in found["layers"]}  # the reference's have the options' order
    assert_same_facts(found, expected, same_shapes=False)


@pytest.mark.parametrize("way", ["whole", "box"])
def test_wkpipe_downloads_the_same_of_many_boxes(reference_client: ReferenceClient, tmp_path: Path, way: str) -> None:
    """A layer of several of the server's largest boxes, in several mags, not aligned with them."""
    source = Dataset(tmp_path / "source", voxel_size=(11, 11, 25))
    layer = source.add_layer("em", "color", dtype_per_channel="uint16", bounding_box=BoundingBox((100, 37, 5), (700, 550, 20)))
    layer.add_mag(1).write(np.random.default_rng(0).integers(0, 9, (700, 550, 20), dtype=np.uint16), absolute_offset=(100, 37, 5))
    layer.downsample(coarsest_mag=Mag(4))
    options = [] if way == "whole" else ["--bbox", "333,111,6,301,407,13"]
    with WkServer(tmp_path / "server") as server:
        page = f"{server.url}/datasets/{server.add_dataset(source.path).id}"
        reference_client.command(server, "download", tmp_path / "theirs", "--url", page, *options)
        result = run("download", page, tmp_path / "ours", "--shard-shape", "256", *options, WK_TOKEN=server.token)
        assert result.returncode == 0, result.stderr
        server.check()
    assert_same_facts(our_facts(tmp_path / "ours"), our_facts(tmp_path / "theirs"), same_shapes=False)


def test_reading_remotely_as_zarr(reference_client: ReferenceClient, golden: Path, tmp_path: Path) -> None:
    with WkServer(tmp_path / "server") as server:
        dataset = server.add_dataset(golden / "z3_seg")
        found = reference_client.read_remotely(server, dataset.id, tmp_path)
        server.check()
        assert {"zarr"} == {entry.route for entry in server.log if entry.origin == "datastore"}
    expected = our_facts(golden / "z3_seg")
    assert set(found) == {f"{layer}_{mag}" for layer, facts in expected["layers"].items() for mag in facts["mags"]}
    for layer, facts in expected["layers"].items():
        for mag, mag_facts in facts["mags"].items():
            voxels = np.array(mag_facts["voxels"])
            for axis, factor in zip("xyz", Mag(mag).to_tuple(), strict=True):
                # The server's arrays end at the layer's end, rounded down: a last voxel that is half outside cannot be read.
                inside = facts["box"][axis][1] // factor - mag_facts["box"][axis][0] // factor
                index: list[slice] = [slice(None)] * 4
                index["cxyz".index(axis)] = slice(inside, None)
                voxels[tuple(index)] = 0
            np.testing.assert_array_equal(found[f"{layer}_{mag}"], voxels, err_msg=f"{layer} {mag}")
