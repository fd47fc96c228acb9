"""Folders: which files are the stack, what is left out, and inputs of the field with their right values."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.images.reading import read_rows
from tests.material import material
from tests.users import run_app
from wkpipe import Dataset
from wkpipe.errors import InputRefused, UnreadableInput
from wkpipe.images import ContentOptions, ImageStack, Inspection, SourceOptions, inspect_source


def put(folder: Path, *names: str, shape: tuple[int, int] = (10, 12)) -> Path:
    """Make images with their position among the names as the value of their voxels; other files have no content."""
    folder.mkdir(parents=True, exist_ok=True)
    for value, name in enumerate(names):
        path, plane = folder / name, np.full(shape, value, np.uint8)
        if path.suffix.lower() in (".tif", ".tiff"):
            tifffile.imwrite(path, plane, photometric="minisblack")
        elif path.suffix.lower() in (".png", ".jpg"):
            Image.fromarray(plane).save(path)
        else:
            path.write_bytes(b"x")
    return folder


def look(source: Path, **options: object) -> Inspection:
    return inspect_source(source, category="color", options=SourceOptions(**options))  # type: ignore[arg-type]


def files(inspection: Inspection) -> list[str]:
    (stack,) = inspection
    return [file.path.name for file in stack.files]


def values(stack: ImageStack) -> list[int]:
    return [int(plane) for plane in read_rows(stack, 0, 0, stack.sizes.z, 0, 1)[:, 0, 0, 0]]


def account(inspection: Inspection) -> str:
    return inspection.accounts[0].text


# -- families -------------------------------------------------------------------------------------------------------


def test_a_second_export_and_single_files_are_left_out(tmp_path: Path) -> None:
    put(tmp_path / "s", "s1.tif", "s2.tif", "s3.tif", "s4.tif", "s2.png", "S3.PNG", "overview.jpg", "v.czi", "notes.txt")
    found = look(tmp_path / "s")
    assert files(found) == ["s1.tif", "s2.tif", "s3.tif", "s4.tif"]
    assert account(found) == (
        "s: 9 files, 4 used, 5 left out: 1 not an image (notes.txt), 2 outside of the sequence (overview.jpg, v.czi), 2 of the same names "
        "in another format (s2.png, S3.PNG)"
    )


@pytest.mark.parametrize("other", ["s3.png", "S03.jpg", "s6.png", "s3.mrc"])
def test_a_file_that_continues_the_sequence_in_another_format_is_refused(tmp_path: Path, other: str) -> None:
    put(tmp_path, "s1.tif", "s2.tif", "s4.tif", "s5.tif", other)
    with pytest.raises(InputRefused, match=r"found a \.\w+ file that is numbered like the \.tif files, .*choose with --family \.tif,\."):
        look(tmp_path)


def test_files_of_two_families_are_one_stack_if_the_user_says_so(tmp_path: Path) -> None:
    put(tmp_path, "s1.tif", "s2.tif", "s3.png", "s4.tif", "x.jpg")
    found = look(tmp_path, family=(".tif", ".png"))
    assert files(found) == ["s1.tif", "s2.tif", "s3.png", "s4.tif"]
    assert values(found[0]) == [0, 1, 2, 3]
    assert "1 not of the chosen family (x.jpg)" in account(found)


def test_as_many_files_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "s1.tif", "s2.tif", "s1.png", "s2.png")
    with pytest.raises(InputRefused, match=r"found as many \.png as \.tif files \(s1\.png, s1\.tif, …\).*choose with --family, like"):
        look(tmp_path)
    assert files(look(tmp_path, family=(".png",))) == ["s1.png", "s2.png"]
    with pytest.raises(UnreadableInput, match=r"found images of the families \.png, \.tif, expected \.bmp; check --family"):
        look(tmp_path, family=(".bmp",))


def test_two_sequences_are_refused(tmp_path: Path) -> None:
    put(tmp_path, *(f"img_{i}.tif" for i in range(6)), *(f"mask_{i}.png" for i in range(4)))
    with pytest.raises(InputRefused, match=r"found two sequences of images \(img_0\.tif …, mask_0\.png …\)"):
        look(tmp_path)
    assert len(files(look(tmp_path, family=(".tif",)))) == 6


def test_a_family_without_a_reader_that_is_the_largest_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "s1.mrc", "s2.mrc", "s3.mrc", "s1.tif")
    with pytest.raises(UnreadableInput, match=r"s1\.mrc: found the format \.mrc, which has no reader, expected an image \(tif, .*--family"):
        look(tmp_path)
    assert files(look(tmp_path, family=(".tif",))) == ["s1.tif"]


def test_folders_may_have_different_families(tmp_path: Path) -> None:
    put(tmp_path / "raw", "s1.tif", "s2.tif")
    put(tmp_path / "labels", "s1.png", "s2.png")
    assert [stack.name for stack in look(tmp_path)] == ["labels", "raw"]


# -- missing slices -------------------------------------------------------------------------------------------------


def test_missing_slices(tmp_path: Path) -> None:
    put(tmp_path, "s08.tif", "s09.tif", "s12.tif", "s13.tif", "s14.tif", "s15.tif")
    with pytest.raises(InputRefused, match=r"found 2 missing slices: 10 to 11, expected all numbers; give --missing-slices fill, repeat"):
        look(tmp_path)
    found = {how: values(look(tmp_path, missing=how)[0]) for how in ("fill", "repeat", "close")}
    assert found == {"fill": [0, 1, 0, 0, 2, 3, 4, 5], "repeat": [0, 1, 1, 1, 2, 3, 4, 5], "close": [0, 1, 2, 3, 4, 5]}
    assert look(tmp_path, missing="close").notes == (f"layer {tmp_path.name}: 2 missing slices: 10 to 11; the others close the gap",)
    lost = tmp_path / "lost.txt"
    lost.write_text("9-10")
    with pytest.raises(InputRefused, match=r"found missing slices that lost\.txt does not list: 11; put the files there, or add"):
        look(tmp_path, missing=f"from:{lost}")
    lost.write_text("10, 11")
    assert values(look(tmp_path, missing=f"from:{lost}")[0]) == found["fill"]


def test_missing_slices_are_filled_on_demand_where_no_step_is_constant(tmp_path: Path) -> None:
    """Many are lost: nothing can be noticed, until the user says so."""
    put(tmp_path, "s0.tif", "s1.tif", "s3.tif", "s5.tif")
    (order,) = (line.text for line in look(tmp_path).accounts if line.text.startswith("layer"))
    assert order.endswith("numbers 0 to 5, without a constant step: missing slices are not noticed")
    filled = look(tmp_path, missing="fill")
    assert values(filled[0]) == [0, 1, 0, 2, 0, 3]
    (order,) = (line.text for line in filled.accounts if line.text.startswith("layer"))
    assert order.endswith("numbers 0 to 5; 2 missing slices: 2, 4; filled with 0")
    lost = tmp_path / "lost.txt"
    lost.write_text("2")
    with pytest.raises(InputRefused, match=r"found missing slices that lost\.txt does not list: 4; put the files there, or add"):
        look(tmp_path, missing=f"from:{lost}")
    lost.write_text("2, 4")
    assert values(look(tmp_path, missing=f"from:{lost}")[0]) == [0, 1, 0, 2, 0, 3]


def test_filled_slices_are_0_whatever_values_become(tmp_path: Path) -> None:
    put(tmp_path, "s1.tif", "s2.tif", "s4.tif", "s5.tif")
    content = ContentOptions(dtype="int16", rescale=(-100.0, 155.0))
    (stack,) = look(tmp_path, missing="fill", content=content)
    assert [bool(values) for values in read_rows(stack, 0, 0, 5, 0, 10).any(axis=(1, 2, 3))] == [True, True, False, True, True]


def test_a_list_of_lost_sections_needs_numbers(tmp_path: Path) -> None:
    put(tmp_path, "a.tif", "b.tif")
    lost = tmp_path / "lost.txt"
    lost.write_text("2")
    with pytest.raises(InputRefused, match="the list of lost sections has numbers, but none runs through the names of the files"):
        look(tmp_path, missing=f"from:{lost}")


def test_numbers_far_from_each_other_are_not_filled(tmp_path: Path) -> None:
    put(tmp_path, "s1.tif", "s2.tif", "s20240101.tif")
    with pytest.raises(InputRefused, match="3 slices with numbers that are far from each other"):
        look(tmp_path, missing="fill")


def test_order_and_ends_are_in_the_plan(tmp_path: Path) -> None:
    put(tmp_path / "s", "z10.tif", "z20.tif", "Z100.tif", *(f"z{i}.tif" for i in range(30, 100, 10)))
    assert [line.text for line in look(tmp_path / "s").accounts] == [
        "s: 10 files, all used",
        "s: 10 pages, all used",
        "layer s: 10 slices, z10.tif to Z100.tif, numbers 10 to 100, step 10",
    ]


# -- concat ---------------------------------------------------------------------------------------------------------


def test_blocks_and_folders_that_follow_each_other(tmp_path: Path) -> None:
    for name, first, count in (("p1", 0, 3), ("p2", 3, 2), ("p10", 5, 1)):
        planes = np.arange(first, first + count, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 5), np.uint8)
        tifffile.imwrite(tmp_path / f"{name}.tif", planes, photometric="minisblack")
    with pytest.raises(InputRefused, match="7 missing slices: 3 to 9"):
        look(tmp_path, concat="z")
    assert not look(tmp_path).notes
    (tmp_path / "p3.tif").write_bytes((tmp_path / "p2.tif").read_bytes())
    assert "3 numbered files (p1.tif … p3.tif) become a layer each; if they follow each other, give --concat z" in note_without(
        tmp_path, "p10.tif"
    )
    (tmp_path / "p3.tif").unlink()
    with pytest.raises(InputRefused, match="the depth of missing files is not known"):
        look(tmp_path, concat="z", missing="fill")
    (stack,) = look(tmp_path, concat="z", missing="close")
    assert values(stack) == [0, 1, 2, 3, 4, 5]
    assert values(stack.from_json(stack.to_json())) == values(stack)
    assert read_rows(stack, 0, 2, 4, 0, 1)[:, 0, 0, 0].tolist() == [2, 3]


def note_without(folder: Path, name: str) -> str:
    hidden = (folder / name).rename(folder / f".{name}")
    (note,) = look(folder).notes
    hidden.rename(folder / name)
    return note


def test_folders_of_numbers_are_said(tmp_path: Path) -> None:
    for z in range(4):
        put(tmp_path / f"{z}", "img.tif")
    assert "4 folders become a layer each, 4 of them are named by numbers" in look(tmp_path).notes[0]
    assert look(tmp_path, concat="z")[0].sizes.z == 4


# -- inputs of the field --------------------------------------------------------------------------------------------

RIGHT = [
    ("names_negative", {}, ["expected_layer.npy"]),
    ("names_mixed_case", {}, ["expected_layer.npy"]),
    ("names_missing_number", {"missing_slices": "fill"}, ["expected_layer.npy"]),
    ("preview_in_folder", {}, ["expected_layer.npy"]),
    ("multipage_in_folder", {"concat": "z"}, ["expected_layer.npy"]),
    ("z_subfolders", {"concat": "z"}, ["expected_layer.npy"]),
    ("z_subfolders", {"pattern": "z{z}/img.tif"}, ["expected_layer.npy"]),
    ("channels_by_name", {"pattern": "img_{z}_Ch{c}.tif"}, ["expected_c0.npy", "expected_c1.npy"]),
]


@pytest.mark.parametrize("name, options, expected", RIGHT)
def test_odd_inputs_have_the_right_voxels(tmp_path: Path, name: str, options: dict[str, str], expected: list[str]) -> None:
    odd = material(f"odd/{name}")
    dataset = Dataset.from_images(odd / "src", tmp_path / "d", (1, 1, 1), layer_category="color", **options)  # type: ignore[arg-type]
    layers = sorted(dataset.layers)
    assert len(layers) == len(expected)
    for layer, file in zip(layers, expected, strict=True):
        found = dataset.get_layer(layer).get_mag(1).read()[0]
        np.testing.assert_array_equal(found.transpose(2, 1, 0), np.load(odd / file))


REFUSED = [
    ("names_missing_number", "found 1 missing slice: 3, expected all numbers"),
    ("copy_names", "s1 (1).tif: by its name it is a copy of another slice"),
    ("channels_by_name", "give --pattern 'img_{z}_Ch{c}.tif'"),
    ("mixed_unsupported", "as many .mrc as .png files (v.mrc, preview.png)"),
    ("z_subfolders", "give --concat z"),
]


@pytest.mark.parametrize("name, text", REFUSED)
def test_odd_inputs_are_refused_on_the_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, text: str) -> None:
    source = material(f"odd/{name}") / "src"
    assert run_app(["convert", str(source), str(tmp_path / "d"), "--voxel-size", "1,1,1", "--category", "color", "-n"]) == 3
    assert text in capfd.readouterr().err
    assert not (tmp_path / "d").exists()


def test_accounts_are_shown_and_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = shutil.copytree(material("odd/preview_in_folder") / "src", tmp_path / "scan")
    command = ["convert", str(source), str(tmp_path / "d"), "--voxel-size", "1,1,1", "--category", "color"]
    line = "scan: 3 files, 2 used, 1 left out: 1 outside of the sequence (overview.jpg)"
    assert run_app([*command, "-n"]) == 0
    assert line in capfd.readouterr().out
    Dataset.from_images(source, tmp_path / "d", (1, 1, 1), layer_category="color", downsample=True)
    kept = (tmp_path / "d/.wkpipe/conversion.json").read_text()
    assert '"reason": "outside of the sequence", "count": 1, "names": ["overview.jpg"]' in kept
    assert run_app(command) == 0  # the same conversion, whatever its account says
    assert "nothing to do" in capfd.readouterr().out
