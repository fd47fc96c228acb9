"""Wishes are values: they are made without a dataset on disk, and equal settings give equal wishes."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.steps.helpers import noise
from wkpipe.errors import InputRefused, LadderRefused, UsageError
from wkpipe.geometry import Mag, NDBoundingBox, Vec3Int
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.plan.config import Config
from wkpipe.plan.origins.from_mag import FromMag
from wkpipe.plan.request import DownsampleRequest, Overwrite, Storing
from wkpipe.plan.wishes.conversion import check_conversion, conversion_wish
from wkpipe.plan.wishes.existing import LayerWish
from wkpipe.sampling import InterpolationMode, SamplingMode, downsample_ladder

NOWHERE = Path("/nowhere/dataset")
MAGS = [Mag(1), Mag(2), Mag(4)]


def layer_with(*mags: Mag) -> LayerProperties:
    box = NDBoundingBox([0, 0, 0, 0], [1, 5000, 5000, 5000], ("c", "x", "y", "z"))
    layer = LayerProperties.for_box("em", "color", "zarr3", "uint8", box, 1)
    return dataclasses.replace(layer, mags=tuple(MagProperties(mag, f"./em/{mag}", axis_order=None) for mag in mags))


def wish(request: DownsampleRequest, *mags: Mag, others: Sequence[Mag] = (), voxel_size: Sequence[float] = (10, 10, 10)) -> LayerWish:
    return LayerWish.of(request, layer_with(*mags), voxel_size, mags, others)


def test_a_ladder_is_extended() -> None:
    found = wish(DownsampleRequest(NOWHERE, coarsest=Mag(16)), *MAGS)
    assert (found.kept, found.replaced) == (tuple(MAGS), ())
    assert found.ladder.from_mag == Mag(4)
    assert found.mags == [*MAGS, Mag(8), Mag(16)]


def test_a_ladder_that_is_coarse_enough_stays() -> None:
    assert wish(DownsampleRequest(NOWHERE, coarsest=Mag(4)), *MAGS).mags == MAGS


def test_what_is_overwritten_is_all_but_the_finest_mag() -> None:
    found = wish(DownsampleRequest(NOWHERE, coarsest=Mag(4), overwrite=Overwrite.ALL), *MAGS)
    assert (found.kept, found.replaced) == ((Mag(1),), (Mag(2), Mag(4)))
    assert found.mags == MAGS


def test_new_mags_have_the_compression_of_their_source() -> None:
    storing = Storing(chunk=Vec3Int.full(64), level=9)
    plans = wish(DownsampleRequest(NOWHERE, coarsest=Mag(8), storing=storing), Mag(1)).new_mags(storing, None)
    assert [plan.mag for plan in plans] == [Mag(2), Mag(4), Mag(8)]
    assert all(isinstance(plan.origin, FromMag) and plan.source_mag == finer for plan, finer in zip(plans, MAGS, strict=True))
    assert {plan.spec.compression.level for plan in plans} == {9}
    default = wish(DownsampleRequest(NOWHERE, coarsest=Mag(8)), Mag(1))
    assert [plan.spec.compression for plan in default.new_mags(Storing(), plans[0].spec.compression)] == [
        plan.spec.compression for plan in plans
    ]


def test_lost_mags_are_made_from_the_coarsest_that_is_finer() -> None:
    [again] = wish(DownsampleRequest(NOWHERE, coarsest=Mag(4)), *MAGS).made_again(Storing(), None, [Mag(4)])
    assert (again.mag, again.source_mag) == (Mag(4), Mag(2))


def test_a_mag_that_cannot_be_reached_is_refused() -> None:
    with pytest.raises(InputRefused, match="layer em: the coarsest mag 1 is finer than the finest mag"):
        wish(DownsampleRequest(NOWHERE, coarsest=Mag(1)), Mag(2), Mag(4))


# -- where it starts and ends ----------------------------------------------------------------------------------------


def pairs(found: LayerWish) -> list[tuple[str, str]]:
    """Return the mags that are made, each with the mag that it is made from."""
    return [(str(plan.source_mag), str(plan.mag)) for plan in found.new_mags(Storing(), None)]


def test_a_ladder_starts_where_it_is_to() -> None:
    request = DownsampleRequest(NOWHERE, from_mag=Mag(1), coarsest=Mag(16))
    found = wish(request, Mag(1), Mag(4))
    assert (found.kept, found.replaced, found.ladder.from_mag) == ((Mag(1), Mag(4)), (), Mag(1))
    assert pairs(found) == [("1", "2"), ("4", "8"), ("8", "16")]
    found = wish(dataclasses.replace(request, overwrite=Overwrite.WANTED), Mag(1), Mag(4), Mag(32))
    assert (found.kept, found.replaced) == ((Mag(1), Mag(32)), (Mag(4),))
    assert pairs(found) == [("1", "2"), ("2", "4"), ("4", "8"), ("8", "16")]
    assert found.concerned == (Mag(1),), "mag 32 is left alone"


def test_listed_mags_are_made_one_from_the_other() -> None:
    request = DownsampleRequest(NOWHERE, from_mag=Mag(2), targets=(Mag("16-16-4"), Mag("4-4-2")))
    assert pairs(wish(request, Mag(1), Mag(2))) == [("2", "4-4-2"), ("4-4-2", "16-16-4")]
    found = wish(dataclasses.replace(request, overwrite=Overwrite.WANTED), Mag(1), Mag(2), Mag("4-4-2"), Mag(8))
    assert (found.kept, found.replaced, found.concerned) == ((Mag(1), Mag(2), Mag(8)), (Mag("4-4-2"),), (Mag(1), Mag(2)))


@pytest.mark.parametrize(
    "targets, text",
    [
        ((Mag(1),), "mag 1 cannot be made from mag 2, because it is not coarser"),
        ((Mag(2),), "mag 2 cannot be made from mag 2"),
        ((Mag(4), Mag(4)), "mag 4 cannot be made from mag 4"),
        ((Mag("4-4-8"), Mag("8-8-4")), "mag 8-8-4 cannot be made from mag 4-4-8"),
        ((Mag("8-8-4"),), "mag 8-8-4 cannot be made beside mag 8, because WEBKNOSSOS cannot distinguish them"),
    ],
)
def test_impossible_targets(targets: tuple[Mag, ...], text: str) -> None:
    with pytest.raises(InputRefused, match=f"^layer em: {text}"):
        wish(DownsampleRequest(NOWHERE, from_mag=Mag(2), targets=targets), Mag(1), Mag(2), Mag(8))


@pytest.mark.parametrize("start", [None, Mag("1-1-2")])
def test_a_layer_may_begin_with_a_mag_of_the_same_level(start: Mag | None) -> None:
    request = DownsampleRequest(NOWHERE, from_mag=start, coarsest=Mag(4), sampling=SamplingMode.CONSTANT_Z)
    assert pairs(wish(request, Mag("1-1-2"))) == [("1-1-2", "2"), ("2", "4-4-2")]


def test_a_ladder_is_aligned_with_what_is_wanted() -> None:
    request = DownsampleRequest(NOWHERE, coarsest=Mag(8))
    ladders = {
        alignment: [str(mag) for mag in wish(dataclasses.replace(request, alignment=alignment), Mag(1), others=[Mag("2-2-1")]).ladder.mags]
        for alignment in (True, False, (Mag("4-4-2"),))
    }
    assert ladders == {True: ["2-2-1", "4", "8"], False: ["2", "4", "8"], (Mag("4-4-2"),): ["2", "4-4-2", "8"]}


def test_two_mags_of_one_level_can_be_forced() -> None:
    request = DownsampleRequest(NOWHERE, coarsest=Mag("4-16-1"), sampling=SamplingMode.ISOTROPIC)
    with pytest.raises(LadderRefused, match="several mags with the same largest component"):
        wish(request, Mag("4-1-1"))
    found = wish(dataclasses.replace(request, is_forced=True), Mag("4-1-1"))
    assert len(found.warnings) == 1
    assert [str(mag) for mag in found.ladder.mags] == ["4-2-1", "4-4-1", "4-8-1", "4-16-1"]


POWERS = st.integers(0, 3).map(lambda exponent: 1 << exponent)


@settings(max_examples=200, deadline=None)
@given(st.tuples(POWERS, POWERS, POWERS), st.sampled_from(list(SamplingMode)), st.sets(st.integers(0, 5)), st.integers(0, 5), st.data())
def test_any_start_and_any_existing_mags_give_the_ladder_asked_for(
    voxel_size: tuple[int, int, int], mode: SamplingMode, there: set[int], start: int, data: st.DataObject
) -> None:
    """From a mag of the layer's own ladder: the rest of this ladder, each mag made from the one before, whatever exists already."""
    try:
        whole = [Mag(1), *downsample_ladder(voxel_size, layer_with().box, [Mag(1)], coarsest_mag=Mag(32), mode=mode).mags]
    except InputRefused:
        whole = [Mag(1)]
    start = min(start, len(whole) - 1)
    existing = [mag for index, mag in enumerate(whole) if index in there or index in (0, start)]
    overwrite = data.draw(st.sampled_from([Overwrite.NOTHING, Overwrite.WANTED]))
    request = DownsampleRequest(NOWHERE, from_mag=whole[start], coarsest=Mag(32), sampling=mode, overwrite=overwrite)
    targets = tuple(data.draw(st.permutations(whole[start + 1 :])))
    for each in (request, DownsampleRequest(NOWHERE, from_mag=whole[start], targets=targets, overwrite=overwrite) if targets else request):
        try:
            found = wish(each, *existing, voxel_size=voxel_size)
        except InputRefused:
            assert len(whole) == 1
            continue
        assert [whole[start], *found.ladder.mags] == whole[start:]
        assert sorted([*found.kept, *found.replaced], key=Mag.to_tuple) == existing
        assert sorted(found.mags, key=Mag.to_tuple) == sorted({*existing, *whole[start:]}, key=Mag.to_tuple)
        expected = [(a, b) for a, b in itertools.pairwise(whole[start:]) if overwrite is Overwrite.WANTED or b not in existing]
        assert [(plan.source_mag, plan.mag) for plan in found.new_mags(Storing(), None)] == expected


# -- requests --------------------------------------------------------------------------------------------------------


def test_a_config_makes_a_request() -> None:
    assert DownsampleRequest.of(Config(target=NOWHERE)) == DownsampleRequest(NOWHERE)
    config = Config(
        target=NOWHERE,
        state_dir=NOWHERE,
        layer_name="em",
        coarsest_mag="8-8-4",
        sampling_mode="isotropic",
        interpolation_mode="max",
        chunk_shape=(64, 64, 64),
        shard_shape=(128, 128, 128),
        compress=False,
        compression_level=3,
        overwrite_existing=True,
        missing_shards="error",
        repair=True,
        trust_empty=True,
    )
    assert DownsampleRequest.of(config) == DownsampleRequest(
        dataset=NOWHERE,
        state_dir=NOWHERE,
        layer="em",
        coarsest=Mag("8-8-4"),
        sampling=SamplingMode.ISOTROPIC,
        interpolation=InterpolationMode.MAX,
        storing=Storing(Vec3Int.full(64), Vec3Int.full(128), False, 3),
        overwrite=Overwrite.ALL,
        missing_is_error=True,
        repair=True,
        trust_empty=True,
    )


# -- conversions -----------------------------------------------------------------------------------------------------


def test_a_conversion_needs_no_target(tmp_path: Path) -> None:
    for z in range(3):
        tifffile.imwrite(tmp_path / f"{z}.tif", noise((100, 120), "uint8", few=False))
    config = Config(source=tmp_path, target=NOWHERE, voxel_size=(10, 10, 10), coarsest_mag="4")
    check_conversion(config)
    found = conversion_wish(config)
    [layer] = found.layers
    assert found.name == "dataset"
    assert [plan.mag.max_dim for plan in layer.plans] == [1, 2, 4]
    assert layer.layer.box.size == (120, 100, 3)
    again = conversion_wish(config)
    assert [plan.params for plan in again.layers[0].plans] == [plan.params for plan in layer.plans]


def test_a_conversion_is_checked_before_images_are_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unit of length 'ell' is not known"):
        check_conversion(Config(source=NOWHERE, target=tmp_path, voxel_size=(1, 1, 1), unit="ell"))
    with pytest.raises(InputRefused, match=r"the source .* is in the target"):
        check_conversion(Config(source=tmp_path / "images", target=tmp_path, voxel_size=(1, 1, 1)))
