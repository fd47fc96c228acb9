"""Layers from images: which files make one and in which order, as functions, rules and lists say; added to datasets, and refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.torture.faulty_disk import FaultyOs
from tests.torture.torture_helpers import in_child
from wkpipe import Dataset
from wkpipe.dataset.errors import WrongType
from wkpipe.errors import AlreadyExists, InputRefused, UnreadableInput, UsageError, WkpipeError
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.runs.run import run_here
from wkpipe.verify.dataset import verify_dataset
from wkpipe.verify.repair import repair_dataset
from wkpipe.verify.report import Kind
from wkpipe.verify.select import Selection

Mapping = Dataset.ConversionLayerMapping
TREE = ("a/0", "a/1", "a/x/0", "b/0", "b/1", "b/10", "b/9")
DEEP = ("c/v", "w")
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of slices in folders; the voxels are their numbers in `TREE` from 1."""
    monkeypatch.chdir(tmp_path)
    for value, name in enumerate(TREE, 1):
        write(Path("src", f"{name}.tif"), value)
    return Path("src")


def write(path: Path, value: int, depth: int = 1, dtype: str = "uint8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (4, 6) if depth == 1 else (depth, 4, 6)
    tifffile.imwrite(path, np.full(shape, value, dtype), photometric="minisblack")


def layers_of(dataset: Dataset) -> dict[str, list[int]]:
    """Return the value of each slice of each layer that has mags."""
    return {name: layer.get_finest_mag().read()[0, 0, 0].tolist() for name, layer in dataset.layers.items() if layer.mags}


def everything(root: Path) -> dict[str, bytes]:
    """Return the files with voxels of a dataset, and their metadata."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file() and ".wkpipe" not in path.parts}


RULES = {
    "INSPECT_SINGLE_FILE": {"a": [1, 2], "x": [3], "b": [4, 5, 7, 6], "c": [8, 8], "src": [9, 9, 9]},
    "INSPECT_EVERY_FILE": {"a": [1, 2], "a_x": [3], "b": [4, 5, 7, 6], "cv.tif": [8, 8], "w.tif": [9, 9, 9]},
    "ENFORCE_LAYER_PER_FILE": {
        **{f"{name.replace('/', '_')}.tif": [value] for value, name in enumerate(TREE, 1)},
        "c_v.tif": [8, 8],
        "w.tif": [9, 9, 9],
    },
    "ENFORCE_SINGLE_LAYER": {"src": [1, 2, 3, 4, 5, 7, 6, 8, 8, 9, 9, 9]},
    "ENFORCE_LAYER_PER_FOLDER": {"a": [1, 2], "a_x": [3], "b": [4, 5, 7, 6], "c": [8, 8], "src": [9, 9, 9]},
    "ENFORCE_LAYER_PER_TOPLEVEL_FOLDER": {"a": [1, 2, 3], "b": [4, 5, 7, 6], "c": [8, 8], "src": [9, 9, 9]},
}


@pytest.mark.parametrize("rule", RULES)
def test_rules_group_files(tree: Path, rule: str) -> None:
    write(tree / "c/v.tif", 8, depth=2)
    write(tree / "w.tif", 9, depth=3)
    dataset = Dataset.from_images(tree, "d", (4, 4, 40), map_filepath_to_layer_name=Mapping[rule])
    assert layers_of(dataset) == RULES[rule]
    stored = json.loads((dataset.path / ".wkpipe/conversion.json").read_bytes())
    files = stored["accounts"][0]
    assert (files["present"], files["used"], files["left_out"]) == (9, 9, [])


def test_functions_group_and_order_files(tree: Path) -> None:
    write(tree / "notes/thumb.png", 1)
    (tree / "notes/thumb.png").unlink()
    (tree / "notes/readme.txt").write_text("no image")
    asked: list[Path] = []

    def name(path: Path) -> str:
        asked.append(path)
        return f"n {path.stem}"

    made = Dataset.from_images(tree, "d", (4, 4, 40), map_filepath_to_layer_name=name, layer_name="em")
    assert layers_of(made) == {"em_n0": [1, 3, 4], "em_n1": [2, 5], "em_n9": [7], "em_n10": [6]}
    assert sorted(map(str, asked)) == sorted(f"{each}.tif" for each in TREE)
    before = everything(made.path)
    Dataset.from_images(tree, "d", (4, 4, 40), map_filepath_to_layer_name=name, layer_name="em")
    assert everything(made.path) == before
    with pytest.raises(AlreadyExists, match="was converted with other parameters") as refused:
        Dataset.from_images(tree, "d", (4, 4, 40), map_filepath_to_layer_name=lambda _: "all", layer_name="em")
    assert len(str(refused.value)) < 1000
    assert not verify_dataset(made.path).problems


@pytest.mark.parametrize(
    "rule, expected",
    [
        ("INSPECT_SINGLE_FILE", {"a": [2, 1], "x": [3], "b": [6, 7, 5, 4]}),
        ("ENFORCE_SINGLE_LAYER", {"src": [6, 7, 2, 5, 1, 3, 4]}),
    ],
)
def test_a_sort_key_orders_files(tree: Path, rule: str, expected: dict[str, list[int]]) -> None:
    (tree / "a/notes.txt").write_text("is not asked for")
    keys: list[Path] = []

    def key(path: Path) -> int:
        keys.append(path)
        return -int(path.stem)

    dataset = Dataset.from_images(tree, "d", (4, 4, 40), map_filepath_to_layer_name=Mapping[rule], z_slices_sort_key=key)
    assert layers_of(dataset) == expected
    assert all(path.is_file() for path in keys)
    assert len(keys) == len(TREE)
    stored = json.loads((dataset.path / ".wkpipe/conversion.json").read_bytes())
    assert {account.get("how") for account in stored["accounts"]} <= {None, "in the given order"}


def test_files_that_a_list_no_longer_has_are_named(tree: Path) -> None:
    """A later run with the list, as a repair makes it, says which file it misses."""
    values = {"source": tree, "target": "d", "voxel_size": "4,4,40", "downsample": False, "layer_files": {"em": ["a/0.tif", "a/gone.tif"]}}
    with pytest.raises(UnreadableInput, match=r"a/gone\.tif: there is no such image"):
        make_plan(load_config(values, "test"), Sizing.local(1))
    values["layer_files"] = {"em": ["a/0.tif", "b/0.tif"]}
    (account, *_) = make_plan(load_config(values, "test"), Sizing.local(1)).accounts
    assert account.text == "src: 7 files, 2 used, 5 left out: 5 not listed (a/1.tif, a/x/0.tif, b/1.tif, …)"
    for wrong in (["../x.tif"], ["/x.tif"], "a.tif", [3]):
        with pytest.raises(UsageError, match="expected a list of paths below the source"):
            load_config({**values, "file_order": wrong}, "test")


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a text": ({"map_filepath_to_layer_name": "enforce_single_layer"}, WrongType, "expected one of Dataset.ConversionLayerMapping"),
    "no name": ({"map_filepath_to_layer_name": lambda _: None}, WrongType, "gives None for a/0.tif"),
    "no function": ({"z_slices_sort_key": 3}, WrongType, "z_slices_sort_key=3"),
    "not comparable": ({"z_slices_sort_key": lambda _: object()}, WrongType, "cannot be compared"),
    "a pattern too": ({"z_slices_sort_key": str, "pattern": "{name}/{z}.tif"}, UsageError, "pattern and a mapping of files"),
    "concat too": ({"map_filepath_to_layer_name": Mapping.ENFORCE_SINGLE_LAYER, "concat": "z"}, UsageError, "concat and a mapping"),
    "shapes": ({"chunks_per_shard": 2, "shard_shape": 64}, InputRefused, "contradict each other"),
    "layers": (
        {"map_filepath_to_layer_name": Mapping.ENFORCE_LAYER_PER_FILE, "max_layers": 3},
        InputRefused,
        "7 files would make 7 layers",
    ),
    "executor": ({"executor": 3}, WrongType, "has no method submit"),
    "dtype": ({"dtype": "float16"}, UsageError, "dtype"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_creates_nothing(tree: Path, name: str) -> None:
    values, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message):
        Dataset.from_images(tree, "d", (4, 4, 40), **values)
    assert not Path("d").exists()


def test_errors_of_functions_are_their_own(tree: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        Dataset.from_images(tree, "d", (4, 4, 40), z_slices_sort_key=lambda _: 1 // 0)
    assert not Path("d").exists()


# -- layers that are added ------------------------------------------------------------------------------------------


def brain() -> Dataset:
    return Dataset("brain", voxel_size=(4, 4, 40))


def test_an_added_layer_has_the_bytes_of_a_conversion(tree: Path) -> None:
    values: Any = {"layer_name": "em", "layer_category": "color", "chunks_per_shard": 2, "chunk_shape": 16}
    with ThreadPoolExecutor(1) as executor:
        whole = Dataset.from_images(tree / "b", "d", (4, 4, 40), executor=executor, **values)
    dataset = brain()
    other = dataset.add_layer("other", "color", bounding_box=whole.get_layer("em").bounding_box)
    with ThreadPoolExecutor(2) as executor:
        layer = dataset.add_layer_from_images(tree / "b", "em", chunk_shape=16, chunks_per_shard=2, executor=executor)
    assert layer.name == "em" in dataset.layers
    files, expected = everything(dataset.path / "em"), everything(whole.path / "em")
    assert {name for name in files if "c/" in name} != set()
    assert {name: data for name, data in files.items() if "c/" in name} == {name: data for name, data in expected.items() if "c/" in name}
    assert layer.get_mag(1).info.shard_shape == (32, 32, 32)
    assert other.name in dataset.layers
    assert not verify_dataset(dataset.path).problems
    assert not (dataset.path / ".wkpipe/conversion.json").exists()
    layer.downsample(coarsest_mag=2)
    assert len(layer.mags) == 2
    with pytest.raises(AlreadyExists) as refused:
        dataset.add_layer_from_images(tree / "b", "em")
    assert isinstance(refused.value, IndexError)


def test_lists_keep_their_order_and_say_what_is_used(tree: Path) -> None:
    dataset = brain()
    images = [tree / "b/9.tif", str(tree / "a/0.tif"), tree / "b/1.tif"]
    layer = dataset.add_layer_from_images(images, "em", "segmentation", mag=2, topleft=(2, 4, 6), dtype=np.uint16)
    assert layers_of(dataset) == {"em": [7, 1, 5]}
    assert (layer.bounding_box.topleft, layer.bounding_box.size, layer.dtype) == ((2, 4, 6), (12, 8, 6), np.uint16)
    note = json.loads((dataset.path / ".wkpipe/ledger/em/2/images.json").read_bytes())
    assert {key: note["accounts"][0][key] for key in ("present", "used", "left_out")} == {"present": 3, "used": 3, "left_out": []}
    assert note["accounts"][-2]["how"] == "in the given order"
    flat = dataset.add_layer_from_images(tree, "all", None)
    assert layers_of(dataset)["all"] == [1, 2, 3, 4, 5, 7, 6]
    assert flat.category == "color"


def test_channels_become_layers_only_if_they_may(tree: Path) -> None:
    tifffile.imwrite("two.tif", np.stack([np.full((4, 6), value, np.uint8) for value in (7, 8)]), metadata={"axes": "CYX"})
    dataset = brain()
    with pytest.raises(InputRefused, match=r"found 2 layers \(em__channel0, em__channel1\).*allow_multiple_layers=True"):
        dataset.add_layer_from_images("two.tif", "em")
    assert not dataset.layers
    assert dataset.add_layer_from_images("two.tif", "one", channel=1).name == "one"
    assert dataset.add_layer_from_images("two.tif", "em", allow_multiple_layers=True).name == "em__channel0"
    assert layers_of(dataset) == {"one": [8], "em__channel0": [7], "em__channel1": [8]}


ADDED: dict[str, tuple[Callable[[Path], dict[str, Any]], type[Exception], str]] = {
    "nothing": (lambda _: {"images": []}, InputRefused, "images is an empty list"),
    "twice": (lambda tree: {"images": [tree / "a/0.tif", tree / "a/../a/0.tif"]}, InputRefused, "the list has the image twice"),
    "a number": (lambda _: {"images": 3}, WrongType, "images=3 is not possible"),
    "no file": (lambda tree: {"images": [tree / "no.tif"]}, UnreadableInput, "found no such file"),
    "a folder in a list": (lambda tree: {"images": [tree / "a"]}, UnreadableInput, "found a directory"),
    "no image": (lambda _: {"images": ["notes.txt"]}, UnreadableInput, "found a file with .txt"),
    "no path": (lambda _: {"images": "nowhere"}, UnreadableInput, "there is no such file or directory"),
    "name": (lambda tree: {"images": tree, "layer_name": "a/b"}, UsageError, "layer name 'a/b' is not allowed"),
    "the same name": (lambda tree: {"images": tree, "layer_name": "Other"}, AlreadyExists, "other"),
    "position": (lambda tree: {"images": tree, "mag": 2, "topleft": (1, 0, 0)}, UsageError, "between voxels of mag 2"),
    "czi": (lambda tree: {"images": tree, "czi_channel": 0}, InputRefused, "czi_channel=0"),
    "scale": (lambda tree: {"images": tree, "scale": 1}, InputRefused, "scale=1"),
    "alpha": (lambda tree: {"images": tree, "truncate_rgba_to_rgb": False}, InputRefused, "truncate_rgba_to_rgb=False"),
    "channel": (lambda tree: {"images": tree, "channel": 7}, UsageError, "there is no channel '7'"),
    "batch": (lambda tree: {"images": tree, "batch_size": 3}, UsageError, "batch size 3"),
    "dtype": (lambda tree: {"images": tree, "dtype": "float64"}, UsageError, "dtype 'float64' is not valid"),
    "no dtype": (lambda tree: {"images": tree, "dtype": "number"}, WrongType, "dtype='number'"),
    "sizes": (lambda _: {"images": ["big.tif", "src/a/0.tif"]}, InputRefused, "pixels"),
    "in the way": (lambda tree: {"images": tree, "layer_name": "taken"}, AlreadyExists, "taken/1 exists but is not a mag"),
    "itself": (lambda _: {"images": "brain/images"}, InputRefused, "is in the target"),
}  # fmt: skip


@pytest.mark.parametrize("name", ADDED)
def test_a_layer_that_is_refused_leaves_nothing(tree: Path, name: str) -> None:
    dataset = brain()
    dataset.add_layer("other", "color")
    Path("notes.txt").write_text("no image")
    tifffile.imwrite("big.tif", np.zeros((9, 9), np.uint8))
    (dataset.path / "taken/1").mkdir(parents=True)
    (dataset.path / "taken/1/mine.txt").write_text("somebody's")
    write(dataset.path / "images/0.tif", 1)
    values, kind, message = ADDED[name]
    before = everything(dataset.path)
    with pytest.raises(kind, match=message) as refused:
        dataset.add_layer_from_images(**{"layer_name": "em", **values(tree)})
    assert isinstance(refused.value, WkpipeError)
    assert "\n" not in str(refused.value)
    assert everything(dataset.path) == before
    assert not (dataset.path / "em").exists()


def test_an_added_layer_is_repaired_from_its_images(tree: Path) -> None:
    dataset = brain()
    layer = dataset.add_layer_from_images([tree / "b/9.tif", tree / "a/0.tif"], "em")
    other = dataset.add_layer_from_images(tree / "a", "other", flip_z=True)
    other.name = "renamed"
    for made in (layer, other):
        (shard,) = (path for path in made.path.rglob("c/*/*/*/*") if path.is_file())
        data = bytearray(shard.read_bytes())
        data[5] ^= 1
        shard.write_bytes(data)
    report = verify_dataset(dataset.path)
    assert len(report.problems) == 2
    repaired = repair_dataset(dataset.path, report, Selection(), state_dir=None, sizing=Sizing.local(1), run=run_here)
    assert not repaired.problems
    assert layers_of(dataset) == {"em": [7, 1], "renamed": [3, 2, 1]}
    assert not verify_dataset(dataset.path).problems


def test_images_that_cannot_be_read_are_resumed(tree: Path) -> None:
    dataset = brain()
    broken = tree / "b/9.tif"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-9])
    with pytest.raises(WkpipeError, match=r"9\.tif"):
        dataset.add_layer_from_images(tree / "b", "em")
    assert not dataset.layers
    shutil.copy(tree / "a/0.tif", broken)
    dataset.add_layer_from_images(tree / "b", "em")
    assert layers_of(dataset) == {"em": [4, 5, 1, 6]}
    assert not verify_dataset(dataset.path).problems


@pytest.mark.slow
@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("kind", ["kill", "power"])
def test_a_killed_call_is_resumed(tree: Path, kind: str) -> None:
    """The layer is whole or not there, whatever call the process dies at; the same call resumes."""
    brain().add_layer("other", "color")

    def add(root: Path) -> None:
        Dataset.open(root).add_layer_from_images([tree / "b/9.tif", tree / "a/0.tif"], "em", chunk_shape=16)

    shutil.copytree("brain", "whole")
    traced = in_child(lambda: add(Path("whole")), FaultyOs(is_traced=True))
    assert traced.exit_code == 0, traced
    expected = {name: data for name, data in everything(Path("whole/em")).items() if "c/" in name}
    for at in range(1, traced.calls + 1, max(1, traced.calls // 8)):
        root = Path(f"at{at}")
        shutil.copytree("brain", root)
        assert in_child(lambda root=root: add(root), FaultyOs(at, kind)).exit_code is None
        layers = Dataset.open(root).layers
        again = in_child(lambda root=root: add(root), FaultyOs())
        assert again.exit_code == 0 or ("em" in layers and "already has a layer em" in again.message), f"call {at}: {again}"
        assert layers_of(Dataset.open(root))["em"] == [7, 1]
        assert {name: data for name, data in everything(root / "em").items() if "c/" in name} == expected
        # A call that is refused begins no run, which would remove temporary files.
        assert {problem.kind for problem in verify_dataset(root).problems} <= ({Kind.LEFTOVER} if again.exit_code else set())
        shutil.rmtree(root)
