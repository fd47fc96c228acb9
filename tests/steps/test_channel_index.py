"""Layers that have some channels of arrays: only these channels are read, downsampled and proven, wherever they are."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.material import DATA
from tests.steps.helpers import (
    Array,
    Layer,
    check_pyramid,
    coarser,
    data_files,
    expected_mags,
    noise,
    plan_of,
    properties_json,
    remove_tree,
    run,
    stored_voxels,
    write_dataset,
)
from wkpipe import Dataset
from wkpipe.errors import InputRefused, MetadataError
from wkpipe.geometry import Mag
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.cut.task import PUBLISH
from wkpipe.plan.origins.recorded import mag_plan_from_json
from wkpipe.runs.run import run_here
from wkpipe.server.upload.selection import DatasetPart, select
from wkpipe.stored.dataset import StoredDataset
from wkpipe.verify.dataset import verify_dataset
from wkpipe.verify.repair import repair_dataset
from wkpipe.verify.report import Kind
from wkpipe.verify.select import Selection
from wkpipe.verify.summary import summarise

DEEP = Selection(share=1.0, deep=True)
ORDERS = [("c", "x", "y", "z"), ("c", "z", "y", "x"), ("x", "y", "z", "c"), ("z", "c", "x", "y"), ("t", "c", "z", "y", "x")]


@dataclass(frozen=True)
class Channelled:
    """An array of another tool with all channels, of which layers have `count` from `first` on."""

    data: Array = field(repr=False)
    axes: tuple[str, ...]
    first: int = 0
    count: int = 1
    data_format: str = "zarr3"
    chunk_depth: int = 1
    sharded: bool = False
    mag: Mag = field(default_factory=lambda: Mag(1))

    @property
    def layer(self) -> Layer:
        """The layer that has the chosen channels, for the oracle."""
        own = tuple(slice(self.first, self.first + self.count) if axis == "c" else slice(None) for axis in self.axes)
        return Layer(self.data[own], axes=self.axes, mag=self.mag, data_format=self.data_format, shard=None)

    def write(self, root: Path, name: str = "layer", path: str = "layer/1") -> None:
        """Write the array, and a layer with it, as WEBKNOSSOS writes properties."""
        chunks = tuple({"c": self.chunk_depth, "t": 1}.get(axis, 8) for axis in self.axes)
        layout: dict[str, Any] = (
            {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "."}, "order": "F"} if self.data_format == "zarr" else {}
        )
        if self.sharded:
            layout["shards"] = tuple(n if axis in "ct" else 16 for axis, n in zip(self.axes, chunks, strict=True))
        if not (root / path).exists():
            stored = zarr.create_array(
                str(root / path), shape=self.data.shape, chunks=chunks, dtype=self.data.dtype, fill_value=0, **layout
            )
            stored[:] = self.data
        add_entry(root, name, self, {"mag": self.mag.to_list(), "path": f"./{path}", "axisOrder": self.order, "channelIndex": self.first})

    @property
    def order(self) -> dict[str, int]:
        return {axis: self.axes.index(axis) for axis in "cxyz"}


def add_entry(root: Path, name: str, array: Channelled, mag: dict[str, Any]) -> None:
    """Add a mag to a layer in datasource-properties.json; both may be new."""
    file = root / "datasource-properties.json"
    empty = {"id": {"name": "d", "team": ""}, "scale": {"factor": [1, 1, 1], "unit": "nanometer"}, "dataLayers": [], "version": 1}
    values = json.loads(file.read_text()) if file.exists() else empty
    known = next((layer for layer in values["dataLayers"] if layer["name"] == name), None)
    if known is None:
        sizes = dict(zip(array.axes, array.data.shape, strict=True))
        box = array.layer.box.size_xyz
        bits = 8 * array.data.dtype.itemsize * array.count
        known = {
            "name": name,
            "category": "color",
            "boundingBox": {"topLeft": [0, 0, 0], "width": box.x, "height": box.y, "depth": box.z},
            "elementClass": f"uint{bits}",
            "numChannels": array.count,
            "dataFormat": array.data_format,
            "mags": [],
        }
        if "t" in sizes:
            known["additionalAxes"] = [{"name": "t", "bounds": [0, sizes["t"]], "index": array.axes.index("t")}]
        values["dataLayers"].append(known)
    known["mags"].append(mag)
    file.write_text(json.dumps(values))


def channelled(axes: tuple[str, ...] = ORDERS[0], channels: int = 3, dtype: str = "uint8", seed: int = 0, **values: Any) -> Channelled:
    sizes = {"t": 2, "c": channels, "x": 21, "y": 18, "z": 11}
    return Channelled(noise([sizes[axis] for axis in axes], dtype, seed, few=False), axes, **values)


@st.composite
def arrays(draw: st.DrawFn) -> Channelled:
    channels = draw(st.integers(1, 4))
    first = draw(st.integers(0, channels - 1))
    data_format = draw(st.sampled_from(["zarr3", "zarr"]))
    return channelled(
        draw(st.sampled_from(ORDERS)),
        channels,
        draw(st.sampled_from(["uint8", "uint16"])),
        draw(st.integers(0, 10**6)),
        first=first,
        count=draw(st.integers(1, min(3, channels - first))),
        data_format=data_format,
        chunk_depth=draw(st.integers(1, channels)),
        sharded=data_format == "zarr3" and draw(st.booleans()),
    )


@settings(max_examples=25)
@given(array=arrays(), mode=st.sampled_from(["median", "mode", "max", "bilinear"]), threads=st.sampled_from([1, 3]))
def test_any_channels(temporary: Path, array: Channelled, mode: str, threads: int) -> None:
    with tempfile.TemporaryDirectory(dir=temporary) as directory:
        root = Path(directory) / "d"
        array.write(root)
        layer = array.layer
        run(root, Sizing.local(threads), interpolation_mode=mode, coarsest_mag="4", chunk_shape=8)
        check_pyramid(root, layer, mode)
        run(root, Sizing.local(threads), interpolation_mode=mode, coarsest_mag="8", chunk_shape=8)
        check_pyramid(root, layer, mode)
        assert plan_of(root, interpolation_mode=mode, coarsest_mag="8").is_empty
        entries = properties_json(root)["dataLayers"][0]["mags"]
        assert [(entry.get("channelIndex", 0), entry["axisOrder"]) for entry in entries] == [
            (array.first if number == 0 else 0, array.order) for number in range(4)
        ]
        report = verify_dataset(root, selection=DEEP)
        assert (report.problems, report.deep_units) == ((), 3 * (2 if "t" in array.axes else 1))
        assert [mag.state for mag in summarise(root).layers[0].mags] == ["up to date"] * 4
        view = Dataset.open(root).get_layer("layer")
        for mag, want in {array.mag: layer.data, **expected_mags(layer, [Mag(2), Mag(4), Mag(8)], mode)}.items():
            assert np.array_equal(view.get_mag(mag).read(), want)
        remove_tree(root / ".wkpipe")  # and without any record
        report = verify_dataset(root, selection=DEEP)
        assert report.problems == ()


def test_channels_of_wkw(tmp_path: Path) -> None:
    """WKW holds all channels in each block; its header alone says how many there are."""
    data = noise((4, 40, 33, 20), "uint8", 5, few=False)
    root = tmp_path / "d"
    write_dataset(root, Layer(data, data_format="wkw", chunk=(8, 8, 8), shard=(16, 16, 16)))
    edit(root, 0, elementClass="uint16", numChannels=2)
    edit_mag(root, 0, channelIndex=2)
    run(root, chunk_shape=8, shard_shape=16, coarsest_mag="4")
    layer = Layer(data[2:], data_format="wkw")
    check_pyramid(root, layer, "median")
    assert verify_dataset(root, selection=DEEP).problems == ()
    assert np.array_equal(Dataset.open(root).get_layer("layer").get_mag(1).read(), data[2:])
    edit_mag(root, 0, channelIndex=3)
    with pytest.raises(MetadataError, match=r"found 4 channels in .*, expected 2 from channelIndex 3 on"):
        plan_of(root)


def edit(root: Path, layer: int, **values: Any) -> None:
    file = root / "datasource-properties.json"
    properties = json.loads(file.read_text())
    properties["dataLayers"][layer] |= values
    file.write_text(json.dumps(properties))


def edit_mag(root: Path, mag: int, **values: Any) -> None:
    mags = properties_json(root)["dataLayers"][0]["mags"]
    mags[mag] |= values
    edit(root, 0, mags=mags)


@pytest.mark.parametrize("data_format", ["zarr3", "zarr"])
def test_two_layers_on_one_array(tmp_path: Path, data_format: str) -> None:
    array = channelled(channels=2, data_format=data_format)
    root = tmp_path / "d"
    array.write(root, "ch0", "color/1")
    second = Channelled(array.data, array.axes, 1, data_format=data_format)
    second.write(root, "ch1", "color/1")
    run(root, coarsest_mag="4", chunk_shape=8)
    for name, each in (("ch0", array), ("ch1", second)):
        layer = each.layer
        layer.name = name
        check_pyramid(root, layer, "median")
    report = verify_dataset(root, selection=DEEP)
    assert report.problems == ()
    assert not [note for note in report.notes if "outside" in note]
    # If each channel has its own files, a change in one channel is made again only in its layer.
    changed = zarr.open_array(str(root / "color/1"), mode="r+")
    changed[1, 3:9] = 77
    plan = plan_of(root)
    assert {task.ranges[0].layer for task in plan.tasks if task.ranges} == {"ch1"}
    run_here(plan)
    layer = Channelled(np.asarray(changed[:]), array.axes, 1, data_format=data_format).layer
    layer.name = "ch1"
    check_pyramid(root, layer, "median")
    files = [file.path for file in select(StoredDataset.open(root), DatasetPart(("ch1",))).files]
    assert {path.split("/")[0] for path in files} == {"color", "ch1", "datasource-properties.json"}


def test_each_mag_has_its_own_index(tmp_path: Path) -> None:
    """Mag 1 is channel 2 of its array, mag 2 channel 1 of another one; mag 4 is made of the latter and checked against it."""
    root = tmp_path / "d"
    fine = channelled(first=2)
    fine.write(root)
    layer = fine.layer
    made = expected_mags(layer, [Mag(2)], "median")[Mag(2)]
    stacked = np.concatenate([np.zeros_like(made), made])
    middle = Channelled(stacked, fine.axes, 1, mag=Mag(2))
    middle.write(root, path="layer/2")
    run(root, coarsest_mag="4", chunk_shape=8)
    check_pyramid(root, Layer(made, mag=Mag(2)), "median", [Mag(4)])
    report = verify_dataset(root, selection=DEEP)
    assert (report.problems, report.deep_units) == ((), 2)  # mag 2 has one storage shard for each channel, and one belongs to the layer
    edit_mag(root, 1, channelIndex=0)
    assert {problem.mag for problem in verify_dataset(root, selection=DEEP).problems} == {"2", "4"}  # neither is made from the finer mag


def test_deep_finds_another_channel(tmp_path: Path) -> None:
    """A coarser mag made of another channel is no match, either with another recipe or without any record."""
    root = tmp_path / "d"
    array = channelled(first=0)
    array.write(root)
    run(root, coarsest_mag="2", chunk_shape=8, interpolation_mode="max")
    edit_mag(root, 0, channelIndex=1)
    report = verify_dataset(root, selection=DEEP)
    assert {problem.mag for problem in report.problems} == {"2"}
    assert any("other than max gives" in problem.what for problem in report.problems)
    run(root, chunk_shape=8, coarsest_mag="2")
    check_pyramid(root, Channelled(array.data, array.axes, 1).layer, "max")
    assert verify_dataset(root, selection=DEEP).problems == ()


def test_damage_is_repaired_from_the_own_channel(tmp_path: Path) -> None:
    root = tmp_path / "d"
    array = channelled(first=2, chunk_depth=3)
    array.write(root)
    run(root, coarsest_mag="4", chunk_shape=8, shard_shape=8)
    before = data_files(root)
    for file in (root / "layer/2").glob("c/*/*/*/*"):
        file.write_bytes(b"damaged")
    report = verify_dataset(root)
    assert report.problems
    after = repair_dataset(root, report, Selection(), state_dir=None, sizing=Sizing.local(1), run=run_here)
    assert after.problems == ()
    assert data_files(root) == before


def test_a_lost_recipe_is_found_again(tmp_path: Path) -> None:
    root = tmp_path / "d"
    channelled(first=1).write(root)
    run(root, coarsest_mag="2", chunk_shape=8)
    recipe = root / ".wkpipe/ledger/layer/2/recipe.json"
    content = json.loads(recipe.read_text())
    assert content["from_channel"] == 1
    recipe.unlink()
    report = verify_dataset(root)
    after = repair_dataset(root, report, Selection(), state_dir=None, sizing=Sizing.local(1), run=run_here)
    assert (after.problems, json.loads(recipe.read_text())) == ((), content)


def test_recipes_of_channel_0_are_as_before(tmp_path: Path) -> None:
    """Recipes and hashes of existing mags stay the same, as does a recipe without the key."""
    root = tmp_path / "d"
    channelled().write(root)
    plan = plan_of(root, coarsest_mag="2", chunk_shape=8).layers[0].mags[0]
    assert "from_channel" not in plan.to_json()
    other = mag_plan_from_json({**plan.to_json(), "from_channel": 2})
    assert (other.origin.channel, other.params != plan.params, mag_plan_from_json(other.to_json())) == (2, True, other)


def test_lost_mag_of_one_channel(tmp_path: Path) -> None:
    """Files of other channels do not prove that a mag has data, and their data do not prove that it has lost some."""
    root = tmp_path / "d"
    data = np.zeros((2, 32, 32, 32), np.uint8)
    data[0] = 9
    Channelled(data, ORDERS[0], 1).write(root)
    run(root, coarsest_mag="2", chunk_shape=8)  # channel 1 is empty
    coarse = np.zeros((2, 8, 8, 8), np.uint8)
    coarse[0] = 9
    Channelled(coarse, ORDERS[0], 1, mag=Mag(4)).write(root, path="layer/4")
    assert [problem for problem in verify_dataset(root).problems if problem.kind is not Kind.GROUP] == []
    zarr.open_array(str(root / "layer/1"), mode="r+")[1] = 5
    run(root, chunk_shape=8, coarsest_mag="2", trust_empty=True)
    (problem,) = [problem for problem in verify_dataset(root).problems if problem.kind is not Kind.GROUP]
    assert (problem.mag, "no storage shard at all" in problem.what) == ("4", True)
    with pytest.raises(InputRefused, match="mag 4 has no data at all"):
        plan_of(root)
    Channelled(coarse, ORDERS[0], 0, mag=Mag(4)).write(root, "other", "layer/4")
    with pytest.raises(InputRefused, match="also belongs to layer other and is not replaced"):
        plan_of(root, repair=True, layer_name="layer")
    with pytest.raises(InputRefused, match="also belongs to layer other and is not replaced"):
        plan_of(root, overwrite_existing=True, layer_name="layer")


def test_absent_files_of_single_channels(tmp_path: Path) -> None:
    """If each channel has its own files, a channel is checked by itself: files of others prove nothing."""
    root = tmp_path / "d"
    data = np.zeros((2, 16, 16, 16), np.uint8)
    data[1] = 7
    Channelled(data, ORDERS[0], 0, 2).write(root)
    Channelled(np.ascontiguousarray(data[:, ::2, ::2, ::2]), ORDERS[0], 0, 2, mag=Mag(2)).write(root, path="layer/2")
    report = verify_dataset(root)
    assert report.problems == ()
    shutil.rmtree(root / "layer/2/c/1")
    data[0, :8] = 3
    zarr.open_array(str(root / "layer/1"), mode="r+")[:] = data
    zarr.open_array(str(root / "layer/2"), mode="r+")[0] = data[0, ::2, ::2, ::2]
    (problem,) = verify_dataset(root).problems
    assert (problem.mag, problem.shard) == ("2", "1.0.0.0")


@pytest.mark.parametrize("index, channels", [(3, 1), (2, 2), (0, 4)])
def test_channels_that_the_array_lacks(tmp_path: Path, index: int, channels: int) -> None:
    root = tmp_path / "d"
    channelled(first=0).write(root)
    edit(root, 0, elementClass=f"uint{8 * channels}", numChannels=channels)
    edit_mag(root, 0, channelIndex=index)
    with pytest.raises(MetadataError, match=r"found 3 channels in"):
        plan_of(root)
    (problem,) = verify_dataset(root).problems
    assert "found 3 channels in" in problem.what


def test_recipe_that_other_properties_contradict(tmp_path: Path) -> None:
    root = tmp_path / "d"
    channelled(first=1).write(root)
    run(root, coarsest_mag="2", chunk_shape=8)
    edit_mag(root, 0, channelIndex=0)
    run(root, coarsest_mag="2", chunk_shape=8)
    edit(root, 0, elementClass="uint8", numChannels=1)
    zarr.create_array(str(root / "other"), shape=(2, 21, 18, 11), chunks=(1, 8, 8, 8), dtype="uint8", fill_value=0)
    shutil.rmtree(root / "layer/2")
    (root / "other").rename(root / "layer/2")
    edit_mag(root, 1, channelIndex=1)
    with pytest.raises(MetadataError, match="found channelIndex 1, expected 0 to 0"):
        plan_of(root)
    assert verify_dataset(root).problems
    summarise(root)


def test_a_mag_that_the_library_adds_has_the_own_channels_alone(tmp_path: Path) -> None:
    root = tmp_path / "d"
    array = channelled(first=2)
    array.write(root, path="elsewhere/1")
    layer = Dataset.open(root).get_layer("layer")
    data = layer.get_mag(1).read()
    assert np.array_equal(data, array.layer.data)
    layer.delete_mag(1)
    assert (root / "elsewhere/1").is_dir()
    mag = layer.add_mag(1, chunk_shape=8, shard_shape=16)
    mag.write(data)
    assert np.array_equal(layer.get_mag(1).read(), data)
    assert "channelIndex" not in properties_json(root)["dataLayers"][0]["mags"][0]
    layer.downsample(coarsest_mag=2, chunk_shape=8, shard_shape=8)
    check_pyramid(root, array.layer, "median")


def test_datasets_that_zarr_python_wrote(tmp_path: Path) -> None:
    """See the README of tests/data."""
    odd = DATA / "odd"
    root = Path(shutil.copytree(odd / "channel_index/src", tmp_path / "a"))
    run(root, coarsest_mag="2-2-1", interpolation_mode="max")
    assert np.array_equal(
        Dataset.open(root).get_layer("l2").get_mag("2-2-1").read(), np.load(odd / "channel_index/expected_mag_2-2-1_by_max_cxyz.npy")
    )
    root = Path(shutil.copytree(odd / "channel_index_two_layers/src", tmp_path / "b"))
    run(root, coarsest_mag="4")
    data = np.random.default_rng(0).integers(0, 255, (2, 50, 40, 20), dtype=np.uint8)
    for channel in (0, 1):
        made = coarser(data[channel : channel + 1], (0, 0, 0), (0, 0, 0), (25, 20, 20), (2, 2, 1), "median")
        assert np.array_equal(Dataset.open(root).get_layer(f"ch{channel}").get_mag("2-2-1").read(), made)


def test_a_layer_becomes_one_channel_of_what_was_made_of_three(tmp_path: Path) -> None:
    """All mags have three channels, and the properties now name the third. Mag 2 is updated with its three, mag 4 gets one."""
    root = tmp_path / "d"
    array = channelled(count=3, chunk_depth=3)
    array.write(root)
    run(root, coarsest_mag="2", chunk_shape=8)
    for mag in (0, 1):
        edit_mag(root, mag, channelIndex=2)
    edit(root, 0, elementClass="uint8", numChannels=1)
    plan = plan_of(root, coarsest_mag="2")
    assert ([task.rule for task in plan.tasks], plan.units_to_do) == ([PUBLISH], 0)  # the layer's marker says what it is now
    changed = zarr.open_array(str(root / "layer/1"), mode="r+")
    changed[:] = np.asarray(changed[:])[:, ::-1]
    run(root, coarsest_mag="4", chunk_shape=8)  # both mags in one task
    three = Channelled(np.asarray(changed[:]), array.axes, 0, 3).layer
    made = expected_mags(three, [Mag(2), Mag(4)], "median")
    assert np.array_equal(stored_voxels(root, three, Mag(2))[0], made[Mag(2)])
    assert np.array_equal(stored_voxels(root, three, Mag(4))[0], made[Mag(4)][2:])
    layer = Dataset.open(root).get_layer("layer")
    assert np.array_equal(layer.get_mag(2).read(), made[Mag(2)][2:])
    assert verify_dataset(root, selection=DEEP).problems == ()


@pytest.mark.parametrize("depth", [1, 4])
def test_what_is_predicted_and_shown_counts_the_own_channels(tmp_path: Path, depth: int) -> None:
    """Space, memory and files of a layer that is one channel of four, compared with a layer that has its own array."""
    rng = np.random.default_rng(0)
    data = rng.integers(1, 3, (4, 64, 64, 64), dtype=np.uint8)
    needs, memory = [], []
    for name, array in (("one", Channelled(data[1:2], ORDERS[0])), ("four", Channelled(data, ORDERS[0], 1, chunk_depth=depth))):
        root = tmp_path / name
        array.write(root)
        plan = run(root, coarsest_mag="2", chunk_shape=8)
        assert plan.space is not None
        needs.append(plan.space.expected)
        source = StoredDataset.open(root)
        layer = source.layer("layer")
        spec = source.open_mag(layer, layer.mag(1)).spec
        made = plan.layers[0].mags[0]
        memory.append(made.origin.peak_bytes(made, spec, 2))
        (mag, _) = summarise(root).layers[0].mags
        assert (mag.all_files, mag.files, mag.units) == (512, 512, 1)
    assert needs[1] <= needs[0] * 1.1
    assert (memory[1] == memory[0]) == (depth == 1)
