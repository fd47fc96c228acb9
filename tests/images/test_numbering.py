"""Numbers in names: which of them runs, with which step, and what is missing."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wkpipe.errors import InputRefused, UnreadableInput, UsageError
from wkpipe.images.missing import lost_sections
from wkpipe.images.numbering import Running, parse_names, ranges_text
from wkpipe.images.sequence import by_name, slices_of

FOLDER = Path("/scans")


def ordered(*names: str, ending: str = ".tif") -> list[str]:
    return [path.stem for path in slices_of(by_name([FOLDER / (name + ending) for name in names], FOLDER), FOLDER).files]


def how(*names: str) -> str:
    return slices_of(by_name([FOLDER / (name + ".tif") for name in names], FOLDER), FOLDER).how


def test_leading_zeros_and_case_make_no_difference() -> None:
    assert ordered("s010", "S9", "s1", "S002") == ["s1", "S002", "S9", "s010"]


def test_umlauts_in_both_forms_are_one_name() -> None:
    assert ordered("u\u0308_10", "\u00fc_9", "u\u0308_8") == ["u\u0308_8", "\u00fc_9", "u\u0308_10"]


def test_a_sign_counts_where_some_names_have_it_and_others_do_not() -> None:
    assert ordered("z5.0", "z-10.0", "z0.0", "z-5.0") == ["z-10.0", "z-5.0", "z0.0", "z5.0"]
    assert ordered("z+5", "z-5", "z+0") == ["z-5", "z+0", "z+5"]
    assert ordered("s-10", "s-9", "s-8") == ["s-8", "s-9", "s-10"]


def test_fractions_count_where_all_names_have_them() -> None:
    assert ordered("z1.5", "z1.25", "z1.75") == ["z1.25", "z1.5", "z1.75"]
    assert how("z1.5", "z1.25", "z1.75") == "numbers 1.25 to 1.75, step 0.25"
    assert ordered("s2", "s1.5", "s1") == ["s1", "s1.5", "s2"]


def test_padded_numbers_with_a_dot_between_are_two_numbers() -> None:
    assert ordered("a001.010", "a001.009", "a002.001") == ["a001.009", "a001.010", "a002.001"]


def test_the_number_with_a_constant_step_runs_not_the_time() -> None:
    names = [f"run7_{20240101120000 + 97 * i + i % 3:d}_s{i:d}" for i in range(12)]
    found = slices_of([FOLDER / f"{name}.tif" for name in sorted(names)], FOLDER)
    assert [path.stem for path in found.files] == names
    assert found.how == "numbers 0 to 11"


def test_what_is_said_about_steps_and_names() -> None:
    assert how("z0010", "z0020", "z0030") == "numbers 10 to 30, step 10"
    assert how("s1", "s5", "s6", "s17") == "numbers 1 to 17, without a constant step: missing slices are not noticed"
    assert how("a", "b") == "in order of their names: they have no number in common"
    assert how("s1", "s2", "overview") == "in order of their names: overview.tif has no number like the others"
    assert how("r1_x1", "r1_x2", "r2_x1") == "in order of their names: several numbers run in them"


@given(st.integers(-50, 50), st.integers(1, 9), st.integers(20, 60), st.data())
def test_removed_numbers_are_missing(first: int, step: int, count: int, data: st.DataObject) -> None:
    numbers = [first + step * i for i in range(count)]
    lost = data.draw(st.sets(st.sampled_from(numbers[1:-1]), max_size=(count - 2) // 25))
    found = Running.of(Fraction(number) for number in numbers if number not in lost)
    assert found.step == step
    assert found.missing == len(lost)
    assert {int(n) for a, b in found.gaps() for n in range(int(a), int(b) + 1, step)} == lost


@given(st.lists(st.integers(0, 10**40), min_size=2, max_size=30, unique=True), st.sampled_from(["s{}", "S_{:04d}", "z{}_ch"]), st.randoms())
def test_any_unique_numbers_are_put_in_order(numbers: list[int], form: str, order: random.Random) -> None:
    names = [form.format(number) for number in numbers]
    order.shuffle(names)
    assert ordered(*names) == [form.format(number) for number in sorted(numbers)]


@given(st.lists(st.text(max_size=20), max_size=10))
def test_parsed_names_keep_every_character(names: list[str]) -> None:
    for name, parsed in zip(names, parse_names(names), strict=True):
        words = [*parsed.words, ""]
        assert "".join(text + word for text, word in zip(parsed.texts, words, strict=True)) == name


# -- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copy", ["s1 (1)", "s1 - Copy", "s1 - Copy (2)", "s1 (copy)", "s1 copy", "s1 copy 2"])
def test_copies_are_refused(copy: str) -> None:
    with pytest.raises(InputRefused, match=r"by its name it is a copy of another slice, found s1\.tif beside it"):
        ordered("s0", "s1", copy, "s2")


def test_names_that_a_file_manager_numbers_are_no_copies() -> None:
    assert ordered("scan (10)", "scan (9)", "scan (8)") == ["scan (8)", "scan (9)", "scan (10)"]


@pytest.mark.parametrize("names", [("s1", "s01"), ("s1", "S1"), ("z1.50", "z1.5"), ("\u00fc1", "u\u03081"), ("A", "a")])
def test_two_files_of_one_number_are_refused(names: tuple[str, str]) -> None:
    with pytest.raises(InputRefused, match=r"found the same (number|name) as .* has, expected each slice once"):
        ordered(*names, "z9.0")


def test_blocks_of_slices_are_no_channels() -> None:
    names = ["w1_s1", "w1_s2", "w2_s3", "w2_s4", "w3_s5"]
    assert ordered(*names) == names


@pytest.mark.parametrize(
    "names, pattern",
    [
        (["img_000_Ch0", "img_000_Ch1", "img_001_Ch0", "img_001_Ch1"], "img_{z}_Ch{c}.tif"),
        (["t1_w1_z1", "t1_w2_z1", "t1_w1_z2", "t1_w2_z2"], "t1_w{c}_z{z}.tif"),
        (["s1_c1", "s1_c2", "s2_c1", "s2_c2"], "s{z}_c{c}.tif"),
        (["s1_p1", "s1_p2", "s2_p1", "s2_p2"], None),
        (["a1_Ch0", "a2_Ch1", "a3_Ch0", "a4_Ch1"], "a{z}_Ch{c}.tif"),
        (["img_t00_z00", "img_t00_z01", "img_t01_z00", "img_t01_z01"], "img_t{t}_z{z}.tif"),
        (["t1_c1", "t1_c2", "t2_c1", "t2_c2"], "t{t}_c{c}.tif"),
        (["t1_w1_z1", "t1_w2_z1", "t1_w1_z2", "t2_w1_z1", "t2_w2_z1", "t2_w1_z2"], "t{t}_w{c}_z{z}.tif"),
        (["p1_t1_c1_s1", "p1_t1_c2_s1", "p2_t1_c1_s1", "p2_t2_c1_s2"], "p*_t{t}_c{c}_s{z}.tif"),
        (["pos1_z1", "pos1_z2", "pos2_z1", "pos2_z2"], "pos{c}_z{z}.tif"),
        (["z1_DAPI", "z2_DAPI", "z1_GFP", "z2_GFP"], "z{z}_{c}.tif"),
        (["red_1", "red_2", "green_1", "green_2"], "{c}_{z}.tif"),
        (["a_1", "a_2", "a_3", "b_1", "b_3"], "{c}_{z}.tif"),
    ],
)
def test_channels_in_names_are_refused_with_the_pattern(names: list[str], pattern: str | None) -> None:
    if pattern is None:  # neither is certainly a channel: it is said
        assert how(*names) == "in order of their names: several numbers run in them"
        return
    with pytest.raises(InputRefused, match="several channels or times of a slice") as refused:
        ordered(*names)
    assert f"give --pattern '{pattern}'" in str(refused.value)


# -- lists of lost sections -----------------------------------------------------------------------------------------


def test_a_list_of_lost_sections(tmp_path: Path) -> None:
    (tmp_path / "lost.txt").write_text("3, 7-9 # folds\n12\n")
    assert ranges_text(lost_sections(tmp_path / "lost.txt")) == "3, 7 to 9, 12"
    (tmp_path / "lost.txt").write_text("three")
    with pytest.raises(UsageError, match=r"lost\.txt: found 'three', expected numbers and ranges of lost sections"):
        lost_sections(tmp_path / "lost.txt")
    with pytest.raises(UnreadableInput, match=r"none\.txt: the list of lost sections cannot be read: No such file"):
        lost_sections(tmp_path / "none.txt")
