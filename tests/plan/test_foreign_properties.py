"""Properties as other tools write them: mags on servers, arrays whose type differs from elementClass, names of layers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from tests.small_datasets import make_small_dataset, voxels
from tests.steps.helpers import Layer, check_pyramid, mags_of, noise, plan_of, properties_json, run, write_dataset
from wkpipe import Dataset
from wkpipe.cli.app import run_app
from wkpipe.errors import AlreadyExists, InputRefused, LinkedLayer, MetadataError, RemoteMag, UsageError
from wkpipe.geometry import Mag
from wkpipe.metadata.layer_names import LONGEST_NAME, RESERVED_NAMES, alike, check_kept_apart, check_new_layer_name
from wkpipe.verify.dataset import verify_dataset
from wkpipe.verify.report import Kind
from wkpipe.verify.select import Selection
from wkpipe.verify.summary import summarise

URLS = ["s3://bucket/layer/1", "https://example.org/layer/1", "gs://bucket/1"]


def edit(root: Path, layer: int = 0, **values: Any) -> None:
    file = root / "datasource-properties.json"
    properties = json.loads(file.read_text())
    properties["dataLayers"][layer] |= values
    file.write_text(json.dumps(properties))


def set_path(root: Path, layer: int, mag: int, path: str) -> None:
    mags = properties_json(root)["dataLayers"][layer]["mags"]
    mags[mag]["path"] = path
    edit(root, layer, mags=mags)


# -- mags on servers ------------------------------------------------------------------------------------------------


@pytest.fixture
def two_layers(tmp_path: Path) -> tuple[Path, Layer]:
    layer = Layer(noise((1, 40, 33, 20), "uint8", 3))
    write_dataset(tmp_path / "d", layer, Layer(noise((1, 40, 33, 20), "uint8", 4), name="there"))
    return tmp_path / "d", layer


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_remote_layer_does_not_refuse_the_others(two_layers: tuple[Path, Layer], url: str, overwrite: bool) -> None:
    root, layer = two_layers
    set_path(root, 1, 0, url)
    plan = run(root, coarsest_mag="4", overwrite_existing=overwrite)
    assert [note for note in plan.notes if url in note and "layer there" in note and "left out" in note]
    check_pyramid(root, layer, "median")
    assert mags_of(root, "there") == ["1"]
    with pytest.raises(RemoteMag, match=r"layer there, mag 1: .* is remote; copy the mag into the dataset first") as refused:
        plan_of(root, coarsest_mag="4", layer_name="there")
    assert refused.value.exit_code == 3
    assert Dataset.open(root).get_layer("there").get_mag(1).read_only
    assert verify_dataset(root).problems == ()


def test_a_dataset_that_is_all_remote_is_refused(two_layers: tuple[Path, Layer]) -> None:
    root, _ = two_layers
    for layer in (0, 1):
        set_path(root, layer, 0, URLS[0])
    with pytest.raises(RemoteMag):
        plan_of(root, coarsest_mag="4")


def test_remote_mags_that_are_not_needed(two_layers: tuple[Path, Layer]) -> None:
    """Mags that are no source may be anywhere, even of the chosen layer, as long as the coarsest is here."""
    root, layer = two_layers
    run(root, coarsest_mag="4")
    set_path(root, 0, 0, URLS[0])  # mags 2 and 4 are here
    run(root, coarsest_mag="8", layer_name="layer")
    check_pyramid(root, layer, "median")
    plan = plan_of(root, coarsest_mag="8")
    assert plan.layers[0].mags[0].mag == Mag(4)
    set_path(root, 0, 3, URLS[0])
    assert [task.rule for task in run(root, coarsest_mag="8", layer_name="layer").tasks] == ["publish"], "for the layer's marker only"
    assert plan_of(root, coarsest_mag="8", layer_name="layer").is_empty
    with pytest.raises(RemoteMag, match="mag 8"):
        plan_of(root, coarsest_mag="16", layer_name="layer")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_linked_layer_does_not_refuse_the_others(two_layers: tuple[Path, Layer], overwrite: bool, tmp_path: Path) -> None:
    root, layer = two_layers
    (root / "there").rename(tmp_path / "elsewhere")
    (root / "there").symlink_to(tmp_path / "elsewhere")
    before = sorted(path.name for path in (tmp_path / "elsewhere").iterdir())
    plan = run(root, coarsest_mag="4", overwrite_existing=overwrite)
    assert [
        note for note in plan.notes if "layer there: " in note and f"leads out to {tmp_path / 'elsewhere'}" in note and "left out" in note
    ]
    check_pyramid(root, layer, "median")
    assert mags_of(root, "there") == ["1"]
    assert plan_of(root, coarsest_mag="1", layer_name="there").units_to_do == 0
    for chosen in ({"layer_name": "there"}, {"layer_name": "there", "overwrite_existing": True}):
        with pytest.raises(LinkedLayer, match=r"layer there: .*/there is a link that leads out to .*; make them there") as refused:
            plan_of(root, coarsest_mag="4", **chosen)
    assert refused.value.exit_code == 3
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == before


# -- types of voxels ------------------------------------------------------------------------------------------------


def other_array(root: Path, layer: Layer, dtype: str, data: Any = None) -> None:
    """Put an array of another type in the place of the layer's mag 1."""
    shutil.rmtree(root / "layer/1")
    array = zarr.create_array(str(root / "layer/1"), shape=layer.data.shape, chunks=(1, 8, 8, 8), dtype=dtype, fill_value=0)
    array[:] = (layer.data if data is None else data).astype(dtype)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("stored, wanted", [("uint32", "uint8"), ("uint32", "uint16"), ("int32", "int8"), ("uint64", "uint8")])
def test_arrays_of_another_type_are_read_as_the_layers(tmp_path: Path, stored: str, wanted: str, channels: int) -> None:
    root = tmp_path / "d"
    small = noise((channels, 40, 33, 20), "uint8" if wanted.startswith("u") else "int8", 3, few=False)
    layer = Layer(np.asfortranarray(small.astype(wanted)))
    write_dataset(root, layer)
    other_array(root, layer, stored)
    assert np.array_equal(Dataset.open(root).get_layer("layer").get_mag(1).read(), layer.data)
    plan = run(root, coarsest_mag="4")
    assert [note for note in plan.notes if f"has dtype {stored}, read as {wanted}" in note]
    check_pyramid(root, layer, "median")
    (problem,) = verify_dataset(root, selection=Selection(share=1.0, deep=True)).problems
    assert (problem.mag, problem.kind) == ("1", Kind.ARRAY)
    assert f"found {stored} in the array, expected {wanted}" in problem.what
    assert [mag.error for mag in summarise(root).layers[0].mags] == ["", "", ""]
    with pytest.raises(InputRefused, match="correct elementClass first"):
        Dataset.open(root).get_layer("layer").get_mag(1).write(layer.data)


def test_voxels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "d"
    layer = Layer(noise((1, 40, 33, 20), "uint8", 3, few=False))
    write_dataset(root, layer)
    data = layer.data.astype("uint32")
    data[0, 30, 20, 15] = 256
    other_array(root, layer, "uint32", data)
    assert run_app(["downsample", str(root), "--coarsest-mag", "2", "-q"]) != 0
    assert mags_of(root) == ["1"]
    with pytest.raises(MetadataError, match="found uint32 voxels that uint8 cannot hold"):
        Dataset.open(root).get_layer("layer").get_mag(1).read()
    assert any("cannot hold" in problem.what for problem in verify_dataset(root).problems)


@pytest.mark.parametrize("stored", ["int8", "float32", "float64", "int32"])
def test_other_kinds_of_voxels_are_refused(tmp_path: Path, stored: str) -> None:
    root = tmp_path / "d"
    layer = Layer(noise((1, 40, 33, 20), "uint8", 3))
    write_dataset(root, layer)
    other_array(root, layer, stored)
    with pytest.raises(MetadataError, match=rf"found {stored} in .*, expected uint8 per channel as datasource-properties.json says"):
        plan_of(root)


def test_made_mags_keep_their_type(tmp_path: Path) -> None:
    """A mag that wkpipe made with another type than that of the present properties is no source of new mags."""
    root = tmp_path / "d"
    layer = Layer(noise((1, 40, 33, 20), "uint16", 3))
    write_dataset(root, layer)
    run(root, coarsest_mag="2")
    edit(root, elementClass="uint8")
    with pytest.raises(MetadataError, match=r"found uint8 per channel in datasource-properties.json, expected uint16"):
        plan_of(root, coarsest_mag="4")
    assert {problem.mag for problem in verify_dataset(root).problems} == {"1", "2"}


def test_wider_voxels_that_fit_are_read(tmp_path: Path) -> None:
    """The array has uint32 in three channels, elementClass is uint24: the reference reads the same numbers."""
    found = Dataset.open(make_small_dataset(tmp_path / "d", "n5")).get_layer("color").get_mag(1).read()
    assert found.dtype == np.uint8
    assert np.array_equal(found, voxels())


# -- names of layers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*sorted(RESERVED_NAMES), "Zarr.JSON", "a" * (LONGEST_NAME + 1), "a\x1b[31m", "a\nb", "\u00e9" * 128])
def test_names_that_collide_are_refused_on_every_way(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputRefused, match="layer name"):
        check_new_layer_name(name)
    tifffile.imwrite(tmp_path / "a.tif", np.ones((20, 20), np.uint8))
    values = {"source": tmp_path / "a.tif", "voxel_size": (1, 1, 1)}
    with pytest.raises(UsageError, match="layer name") as refused:
        plan_of(tmp_path / "d", layer_name=name, **values)
    assert "\n" not in str(refused.value)
    assert "\x1b" not in str(refused.value)
    assert run_app(["convert", str(tmp_path / "a.tif"), str(tmp_path / "d"), "--voxel-size", "1,1,1", "--layer-name", name, "-q"]) == 2
    assert not (tmp_path / "d").exists()
    dataset = Dataset(tmp_path / "library", (1, 1, 1))
    with pytest.raises(InputRefused, match="layer name"):
        dataset.add_layer(name, "color")
    assert dataset.layers == {}


@pytest.mark.parametrize("folder", ["zarr.json", "datasource-properties.json"])
def test_names_from_folders(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    tifffile.imwrite(tmp_path / folder / "a.tif", np.ones((20, 20), np.uint8))
    with pytest.raises(InputRefused, match=r"the name of a file of the dataset .*--layer-name.*; choose another one"):
        plan_of(tmp_path / "d", source=tmp_path / folder, voxel_size=(1, 1, 1))
    plan = plan_of(tmp_path / "d", source=tmp_path / folder, voxel_size=(1, 1, 1), layer_name="em")
    assert [layer.name for layer in plan.layers] == ["em"]


def test_long_names_from_folders(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for last in ("a", "b"):
        path = folder.joinpath(*("x" * 100 for _ in range(3)), last, "s")
        path.mkdir(parents=True)
        tifffile.imwrite(path / "a.tif", np.ones((20, 20), np.uint8))
    with pytest.raises(InputRefused, match=r"bytes .*expected at most 255"):
        plan_of(tmp_path / "d", source=folder, voxel_size=(1, 1, 1))


def test_names_that_differ_only_in_case(tmp_path: Path) -> None:
    for name in ("Ch0", "ch0"):
        (tmp_path / "images" / name).mkdir(parents=True)
        tifffile.imwrite(tmp_path / "images" / name / "a.tif", np.ones((20, 20), np.uint8))
    with pytest.raises(InputRefused, match=r"layers Ch0 and ch0: their names differ only in case"):
        plan_of(tmp_path / "d", source=tmp_path / "images", voxel_size=(1, 1, 1))
    dataset = Dataset(tmp_path / "library", (1, 1, 1))
    dataset.add_layer("EM", "color")
    with pytest.raises(AlreadyExists, match="has a layer EM, and some file systems take em for the same name"):
        dataset.add_layer("em", "color")
    with pytest.raises(InputRefused, match="differ only in case or spelling"):
        check_kept_apart(["caf\u00e9", "other", "cafe\u0301"])
    assert alike("cafe\u0301", ["x", "CAF\u00c9"]) == "CAF\u00c9"
    check_kept_apart(["a", "b", "a_2"])


def test_names_that_exist_are_read(tmp_path: Path) -> None:
    """Another tool's layers may have such names; their mags do not need the file whose place they take."""
    root = tmp_path / "d"
    names = ["zarr.json", "EM", "em", "ein Name \u00e9"]
    layers = [Layer(noise((1, 40, 33, 20), "uint8", seed), name=name) for seed, name in enumerate(names)]
    write_dataset(root, *layers)
    run(root, coarsest_mag="2")
    for layer in layers:
        check_pyramid(root, layer, "median")
        assert np.array_equal(Dataset.open(root).get_layer(layer.name).get_mag(1).read(), layer.data)
    assert verify_dataset(root).problems == ()
    assert (root / "zarr.json" / "zarr.json").is_file()
