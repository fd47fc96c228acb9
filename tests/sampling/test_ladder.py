"""Ladders: all cases that were measured with the reference, refusals for its two defects, upsampling, and properties."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.material import GOLDEN
from wkpipe.errors import AlreadyExists, InputRefused, MagNotFound
from wkpipe.geometry import BoundingBox, Mag
from wkpipe.sampling import Ladder, SamplingMode, default_coarsest_mag, downsample_ladder, upsample_ladder

CASES = GOLDEN / "mag_ladders.json"
DEFECTS = {"align_constz_mode", "align_nonmonotone"}
"""In these cases the reference makes mags that contradict the mode, or that cannot be made from the one before."""
NOTHING_TO_DO = {"existing_beyond_default_coarsest"}
"""In these cases the reference fails; for wkpipe a layer that is coarse enough is simply done."""
SILENT = {"twod_default", "twod_iso", "twod_coarsest_8"}
"""Depth-1 layers use constant_z without the reference's warning."""
REFUSALS = {
    "AssertionError": InputRefused,
    "RuntimeError": InputRefused,
    "ValueError": InputRefused,
    "KeyError": MagNotFound,
}
BOX = BoundingBox((0, 0, 0), (1000, 1000, 1000))


def _cases() -> list[Any]:
    cases = json.loads(CASES.read_text())["cases"]
    return [pytest.param(case, id=case["id"]) for case in cases]


def _mag(text: str | None) -> Mag | None:
    return None if text is None else Mag(text)


def _ladder_of(case: dict[str, Any]) -> Ladder:
    return downsample_ladder(
        case["voxel_size"],
        BoundingBox(case["bbox"]["topleft"], case["bbox"]["size"]),
        [Mag(mag) for mag in case["existing_mags"]],
        from_mag=_mag(case["from_mag"]),
        coarsest_mag=_mag(case["coarsest_mag"]),
        mode=case["sampling_mode"],
        align_with=[Mag(mag) for layer in case["other_layers"] for mag in layer] if case["align_with_other_layers"] else None,
        force=case["force_sampling_scheme"],
    )


def test_all_cases_are_there() -> None:
    assert len(_cases()) == 90


@pytest.mark.parametrize("case", _cases())
def test_ladder_is_that_of_the_reference(case: dict[str, Any]) -> None:
    name = case["id"]
    if name in NOTHING_TO_DO:
        assert _ladder_of(case).mags == ()
    elif name in DEFECTS or "error" in case:
        expected = InputRefused if name in DEFECTS else REFUSALS[case["error"]]
        with pytest.raises(expected) as refusal:
            _ladder_of(case)
        assert isinstance(refusal.value, InputRefused)
        assert str(refusal.value)
        assert "\n" not in str(refusal.value)
    else:
        ladder = _ladder_of(case)
        assert [str(mag) for mag in ladder.mags] == case["ladder"]
        assert len(ladder.warnings) == (0 if name in SILENT else len(case["warnings"]))


def test_refusals_are_of_the_right_kind() -> None:
    with pytest.raises(MagNotFound):
        downsample_ladder((1, 1, 1), BOX, [])
    with pytest.raises(MagNotFound, match="no mag 1; choose one of 2, 4"):
        downsample_ladder((1, 1, 1), BOX, [Mag(2), Mag(4)], from_mag=Mag(1))
    with pytest.raises(AlreadyExists, match="already has mag 2"):
        downsample_ladder((1, 1, 1), BOX, [Mag(1), Mag(2)], from_mag=Mag(1))
    with pytest.raises(InputRefused, match="voxel size"):
        downsample_ladder((1, 0, 1), BOX, [Mag(1)])
    with pytest.raises(InputRefused, match="anisotropic, isotropic, constant_z"):
        SamplingMode.parse("nope")


def test_mags_that_exist_are_listed_where_the_caller_replaces_them() -> None:
    ladder = downsample_ladder((1, 1, 1), BOX, [Mag(1), Mag(2)], from_mag=Mag(1), coarsest_mag=Mag(4), allow_existing=True)
    assert ladder.mags == (Mag(2), Mag(4))


def test_mode_names() -> None:
    assert SamplingMode.parse("AUTO") is SamplingMode.ANISOTROPIC
    assert SamplingMode.parse("Constant_Z") is SamplingMode.CONSTANT_Z
    assert downsample_ladder((1, 1, 1), BoundingBox((0, 0, 0), (9, 9, 1)), [Mag(1)]).mode is SamplingMode.CONSTANT_Z


def test_ladder_that_would_fall_back_is_refused_where_another_layer_passed_the_coarsest_mag() -> None:
    # 4-4-2 is taken over though the coarsest mag has z = 1; the next mag would fall back to z = 1
    with pytest.raises(InputRefused, match="finer on some axis"):
        downsample_ladder(
            (1, 1, 1), BOX, [Mag(1)], coarsest_mag=Mag("8-8-1"), mode="isotropic", align_with=[Mag(1), Mag("2-2-1"), Mag("4-4-2")]
        )


def test_upsampling_is_downsampling_reversed() -> None:
    ladder = upsample_ladder((4, 4, 10), BOX, [Mag("4-4-2")], from_mag=Mag("4-4-2"), finest_mag=Mag(1))
    assert ladder.mags == (Mag("2-2-1"), Mag(1))
    constant = upsample_ladder((1, 1, 1), BOX, [Mag(8)], from_mag=Mag(8), finest_mag=Mag(1), mode="constant_z")
    # mags between would all have the largest component 8, so there are none
    assert constant.mags == (Mag("1-1-8"),)
    assert upsample_ladder((1, 1, 1), BOX, [Mag(2)], from_mag=Mag(2), finest_mag=Mag(2)).mags == ()
    with pytest.raises(MagNotFound):
        upsample_ladder((1, 1, 1), BOX, [Mag(2)], from_mag=Mag(4), finest_mag=Mag(1))
    with pytest.raises(InputRefused):
        upsample_ladder((1, 1, 1), BOX, [Mag(2)], from_mag=Mag(2), finest_mag=Mag(4))
    with pytest.raises(AlreadyExists):
        upsample_ladder((1, 1, 1), BOX, [Mag(1), Mag(4)], from_mag=Mag(4), finest_mag=Mag(1))


@given(edge=st.integers(1, 10**6))
def test_default_coarsest_mag_is_the_least_that_fits(edge: int) -> None:
    n = default_coarsest_mag(BoundingBox((0, 0, 0), (1, edge, 10**7))).max_dim
    assert n >= 4
    assert n * 100 >= edge
    assert n == 4 or n // 2 * 100 < edge


@given(
    voxel_size=st.tuples(*[st.floats(0.1, 1000)] * 3),
    edge=st.integers(2, 10**6),
    start=st.tuples(*[st.sampled_from([1, 2, 4])] * 3),
    mode=st.sampled_from(list(SamplingMode)),
    others=st.lists(st.tuples(*[st.sampled_from([1, 2, 4, 8, 16])] * 3), max_size=3),
)
def test_a_ladder_is_monotone_or_refused(
    voxel_size: tuple[float, float, float], edge: int, start: tuple[int, int, int], mode: SamplingMode, others: list[Any]
) -> None:
    box = BoundingBox((0, 0, 0), (edge, edge, edge))
    try:
        ladder = downsample_ladder(voxel_size, box, [Mag(start)], mode=mode, align_with=[Mag(other) for other in others])
    except InputRefused:
        return
    steps = [Mag(start), *ladder.mags]
    for fine, coarse in itertools.pairwise(steps):
        assert fine != coarse
        fine.factors_to(coarse)
        assert mode is not SamplingMode.CONSTANT_Z or coarse.z == fine.z


def test_a_layer_of_depth_one_takes_over_the_mags_of_deeper_layers() -> None:
    flat = BoundingBox((0, 0, 0), (3000, 3000, 1))
    deeper = [Mag(mag) for mag in ("1", "2-2-1", "4-4-2")]
    ladder = downsample_ladder((4, 4, 40), flat, [Mag(1)], coarsest_mag=Mag(16), align_with=deeper)
    assert [str(mag) for mag in ladder.mags] == ["2-2-1", "4-4-2", "8-8-2", "16-16-2"]
    assert ladder.warnings == ()
    with pytest.raises(InputRefused, match="constant_z keeps z at 1"):
        downsample_ladder((4, 4, 40), BoundingBox((0, 0, 0), (3000, 3000, 2)), [Mag(1)], mode="constant_z", align_with=deeper)
