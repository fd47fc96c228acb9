"""Discovery: order, grouping into layers, names, and inputs that are refused before anything is read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.images.reading import read_rows
from wkpipe.errors import InputRefused, UnreadableInput, UsageError
from wkpipe.images import MAX_LAYERS, SourceOptions, clean_name, inspect_source
from wkpipe.images.names import check_name, unique_names

PLANE = np.arange(120, dtype=np.uint8).reshape(10, 12)


def put(path: Path, value: int = 0, shape: tuple[int, ...] = (10, 12), dtype: str = "uint8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower().startswith(".tif"):
        tifffile.imwrite(path, np.full(shape, value, dtype), photometric="minisblack")
    else:
        Image.fromarray(np.full(shape, value, dtype)).save(path)
    return path


def names(path: Path, layer_name: str | None = None) -> list[str]:
    return [stack.name for stack in inspect_source(path, layer_name, "color")]


# -- order and what counts ----------------------------------------------------------------------------------------


def test_natural_order(tmp_path):
    for name, value in {"s10": 4, "s9": 3, "s1": 1, "S2": 2, "s0": 0}.items():
        put(tmp_path / f"{name}.tif", value)
    (stack,) = inspect_source(tmp_path, category="color", options=SourceOptions(missing="close"))
    assert [file.path.stem for file in stack.files] == ["s0", "s1", "S2", "s9", "s10"]
    assert read_rows(stack, 0, 0, 5, 0, 1)[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]


def test_hidden_and_other_files_and_loops_are_skipped(tmp_path):
    put(tmp_path / "a" / "1.TIF")
    put(tmp_path / "a" / ".hidden.tif", shape=(3, 3))
    put(tmp_path / ".git" / "1.tif", shape=(3, 3))
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "outside").mkdir()
    put(tmp_path.with_name("elsewhere") / "1.tif")
    (tmp_path / "b").symlink_to(tmp_path.with_name("elsewhere"), target_is_directory=True)
    assert names(tmp_path) == ["a", "b"]
    shutil.rmtree(tmp_path.with_name("elsewhere"))


@pytest.mark.parametrize("kind", ["pipe", "device", "directory", "loop"])
def test_what_only_has_the_name_of_a_slice_is_refused(tmp_path, kind):
    """If it were skipped, all slices after it would shift."""
    put(tmp_path / "1.tif")
    odd = tmp_path / "2.tif"
    if kind == "pipe":
        os.mkfifo(odd)
    elif kind == "directory":
        odd.mkdir()
    else:
        odd.symlink_to("/dev/null" if kind == "device" else odd)
    with pytest.raises(UnreadableInput, match=r"2\.tif: .*; (replace or rename it|check that it exists)"):
        inspect_source(tmp_path)


def test_a_link_to_a_missing_slice_is_refused(tmp_path):
    put(tmp_path / "1.tif")
    (tmp_path / "2.tif").symlink_to(tmp_path / "gone.tif")
    with pytest.raises(UnreadableInput, match=r"2\.tif: cannot be opened: No such file or directory; check"):
        inspect_source(tmp_path)


# -- layers and their names ---------------------------------------------------------------------------------------


def test_one_layer_per_folder(tmp_path):
    put(tmp_path / "root.tif")
    put(tmp_path / "sub" / "x" / "y y" / "1.tif")
    put(tmp_path / "sub" / "x" / "y y" / "2.tif")
    assert names(tmp_path) == [tmp_path.name, "yy"]


def test_one_layer_per_file_with_planes(tmp_path):
    put(tmp_path / "x y" / "v.tif", shape=(3, 10, 12))
    put(tmp_path / "z.tif", shape=(10, 12))
    put(tmp_path / "ä" / "ü.tif", shape=(2, 10, 12))
    assert names(tmp_path) == ["tif", "xyv.tif", "z.tif"]


def test_most_files_decide_what_is_a_layer(tmp_path):
    put(tmp_path / "1.tif", shape=(3, 10, 12))
    put(tmp_path / "2.tif")
    with pytest.raises(InputRefused, match=r"no majority among 3 planes \(1\.tif\), one plane \(2\.tif\), expected slices of one form"):
        inspect_source(tmp_path)
    for i in range(3, 30):
        put(tmp_path / f"{i}.tif")
    with pytest.raises(
        InputRefused, match=r"1\.tif: found 3 planes, expected one plane like 2\.tif; a folder of slices can have 2-D images only"
    ):
        inspect_source(tmp_path)


def test_single_files(tmp_path):
    assert names(put(tmp_path / "folder" / "slice.tif")) == ["folder"]
    assert names(put(tmp_path / "folder" / "vol.tif", shape=(3, 10, 12))) == ["vol.tif"]


def test_layer_name(tmp_path):
    put(tmp_path / "a" / "1.tif")
    assert names(tmp_path, "em") == ["em"]
    put(tmp_path / "b" / "1.tif")
    assert names(tmp_path, "em") == ["em_a", "em_b"]
    put(tmp_path / "c" / "1.tif", shape=(2, 1, 10, 12))
    assert names(tmp_path / "c", "em") == ["em__channel0", "em__channel1"]
    for bad in ("", ".em", "a/b", "a b", "é"):
        with pytest.raises(UsageError, match="is not allowed; use ASCII letters"):
            inspect_source(tmp_path, bad)


def test_equal_names(tmp_path):
    put(tmp_path / "a" / "x" / "1.tif")
    put(tmp_path / "b" / "x" / "1.tif")
    put(tmp_path / "x!" / "1.tif")
    put(tmp_path / "c" / "1.tif")
    assert names(tmp_path) == ["a_x", "b_x", "c", "x"]
    shutil.rmtree(tmp_path / "a")
    shutil.rmtree(tmp_path / "b")
    put(tmp_path / "x" / "1.tif")
    put(tmp_path / "x?" / "1.tif")
    assert sorted(names(tmp_path)) == ["c", "x", "x_2", "x_3"]


def test_at_most_20_layers(tmp_path):
    for i in range(MAX_LAYERS):
        put(tmp_path / f"f{i}" / "1.tif")
    assert len(names(tmp_path)) == MAX_LAYERS
    put(tmp_path / "one more" / "1.tif")
    with pytest.raises(InputRefused, match="21 folders with images would make 21 layers, at most 20 are possible; give --concat z"):
        inspect_source(tmp_path)
    put(tmp_path / "c" / "c.tif", shape=(21, 2, 10, 12))
    with pytest.raises(InputRefused, match="makes more than 20 layers"):
        inspect_source(tmp_path / "c")


@given(st.text())
def test_clean_names_are_allowed_and_stay(text):
    name = clean_name(text)
    assert name == clean_name(name) == check_name(name)


@given(st.lists(st.sampled_from(["a", "b", "a_2", "a_3", "a_2_2"]), max_size=8))
def test_unique_names(given_names):
    made = unique_names(given_names)
    assert len(set(made)) == len(made) == len(given_names)
    assert all(name in (old, *[f"{old}_{i}" for i in range(2, 20)]) for old, name in zip(given_names, made, strict=True))


# -- nothing to convert -------------------------------------------------------------------------------------------


def test_missing_source(tmp_path):
    with pytest.raises(UnreadableInput, match="nowhere: there is no such file or directory; check the path"):
        inspect_source(tmp_path / "nowhere")


def test_nothing_found(tmp_path):
    with pytest.raises(
        UnreadableInput, match=r"found no image \(nothing at all\), expected files of these formats: tif, tiff, btf, .*, png, jpg"
    ):
        inspect_source(tmp_path)
    for name in ("a.dcm", "b.dcm", "c.txt"):
        (tmp_path / name).write_text("x")
    with pytest.raises(UnreadableInput, match=r"a\.dcm: found the format \.dcm, which has no reader, expected an image \(tif, tiff"):
        inspect_source(tmp_path)
    for name in ("a.dcm", "b.dcm"):
        (tmp_path / name).rename(tmp_path / name.replace("dcm", "md"))
    with pytest.raises(UnreadableInput, match=r"found no image \(2 \.md, 1 \.txt\), expected files of these formats: tif, tiff"):
        inspect_source(tmp_path)
    with pytest.raises(UnreadableInput, match=r"c\.txt: found a file with \.txt, expected an image \(tif, tiff"):
        inspect_source(tmp_path / "c.txt")


def test_source_that_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.tif")
    with pytest.raises(UnreadableInput, match=r"pipe\.tif: found neither a file nor a directory, expected an image"):
        inspect_source(tmp_path / "pipe.tif")


def test_empty_file(tmp_path):
    put(tmp_path / "1.tif")
    (tmp_path / "2.tif").touch()
    with pytest.raises(UnreadableInput, match=r"2\.tif: the file is empty \(0 bytes\); replace or remove it"):
        inspect_source(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_unreadable_file(tmp_path):
    put(tmp_path / "1.tif").chmod(0)
    with pytest.raises(UnreadableInput, match=r"1\.tif: cannot be opened: Permission denied"):
        inspect_source(tmp_path)


# -- slices that do not fit ---------------------------------------------------------------------------------------

MISFITS = [
    ({"shape": (10, 13)}, r"1\.tif: found 13×10 pixels, expected 12×10 pixels like 2\.tif; pass --padding fill to pad the smaller"),
    ({"dtype": "uint16"}, r"1\.tif: found uint16, expected uint8 like 2\.tif; convert the slices"),
    ({"shape": (3, 1, 10, 12)}, r"1\.tif: found 3 channels, expected 1 channel like 2\.tif; save all slices"),
]


@pytest.mark.parametrize("options, text", MISFITS)
def test_slices_that_do_not_fit(tmp_path, options, text):
    """The odd one out is named, although it is the first."""
    put(tmp_path / "1.tif", **options)
    for i in (2, 3):
        put(tmp_path / f"{i}.tif")
    with pytest.raises(InputRefused, match=text):
        inspect_source(tmp_path)


def test_rgb_beside_three_channels(tmp_path):
    data = np.zeros((10, 12, 3), np.uint8)
    for i in (1, 3):
        tifffile.imwrite(tmp_path / f"{i}.tif", data, photometric="rgb")
    tifffile.imwrite(tmp_path / "2.tif", data, photometric="minisblack", planarconfig="contig")
    with pytest.raises(InputRefused, match=r"2\.tif: found separate channels, expected RGB like 1\.tif; save all slices"):
        inspect_source(tmp_path)
