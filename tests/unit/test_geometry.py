"""Vectors, mags and boxes: the examples of the specification, and properties that are true for all values."""

from __future__ import annotations

import itertools
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wkpipe.geometry import BoundingBox, Mag, NDBoundingBox, Vec3Int

small = st.integers(-40, 40)
sizes = st.integers(0, 25)
vectors = st.tuples(small, small, small)
powers = st.sampled_from([1, 2, 4, 8])
mags = st.tuples(powers, powers, powers).map(Mag)
boxes = st.builds(BoundingBox, vectors, st.tuples(sizes, sizes, sizes))


class TestVec3Int:
    @pytest.mark.parametrize("three", [(1, 2, 3), [1, 2, 3], np.array([1, 2, 3]), Vec3Int(1, 2, 3), (np.int32(1), np.uint8(2), 3)])
    def test_is_made_from_anything_that_holds_three_integers(self, three: Any) -> None:
        vector = Vec3Int(three)
        assert vector == (1, 2, 3)
        assert all(type(value) is int for value in vector)

    @pytest.mark.parametrize("other", [(1, 2), (1, 2, 3, 4), 5, "1,2,3", (1.5, 2, 3), (float("nan"), 2, 3), ("1", 2, 3), None, {}])
    def test_refuses_anything_else(self, other: Any) -> None:
        with pytest.raises(ValueError, match="three integers"):
            Vec3Int(other)

    @pytest.mark.parametrize("whole", [np.array([1.0, 2.0, 3.0]), (1.0, 2, 3), iter([1, 2.0, 3])], ids=["array", "tuple", "iterator"])
    def test_whole_numbers_are_integers(self, whole: Any) -> None:
        vector = Vec3Int(whole)
        assert vector == (1, 2, 3)
        assert all(type(value) is int for value in vector)

    @given(vectors, vectors)
    def test_arithmetic_is_element_wise(self, a: tuple[int, int, int], b: tuple[int, int, int]) -> None:
        x, y = Vec3Int(a), Vec3Int(b)
        assert (x + y).to_tuple() == tuple(np.add(a, b))
        assert (x - y).to_tuple() == tuple(np.subtract(a, b))
        assert (x * y).to_tuple() == tuple(np.multiply(a, b))
        assert x.pairmin(y) == tuple(np.minimum(a, b))
        assert x.pairmax(y) == tuple(np.maximum(a, b))
        assert -x == tuple(-np.array(a))
        assert x.prod() == math.prod(a)

    @given(vectors, st.integers(1, 9))
    def test_division_rounds_down_or_up(self, a: tuple[int, int, int], n: int) -> None:
        x = Vec3Int(a)
        assert x // n * n + x % n == x
        assert x.ceildiv(n) == tuple(math.ceil(value / n) for value in a)

    @pytest.mark.parametrize("other", [np.array([4, 5, 6]), [4, 5, 6], (4, 5, 6), Vec3Int(4, 5, 6)])
    def test_arithmetic_takes_any_vector(self, other: Any) -> None:
        assert Vec3Int(1, 2, 3) + other == (5, 7, 9)
        assert Vec3Int.from_vec_or_int(other) == (4, 5, 6)

    def test_arithmetic_takes_scalars_on_both_sides(self) -> None:
        assert 2 * Vec3Int(1, 2, 3) == Vec3Int(1, 2, 3) * 2 == (2, 4, 6)
        assert 1 + Vec3Int(1, 2, 3) == (2, 3, 4)
        with pytest.raises(ValueError, match="three integers"):
            Vec3Int(1, 2, 3) * (1, 2)

    def test_helpers(self) -> None:
        vector = Vec3Int(1, 2, 3)
        assert (vector.with_x(9), vector.with_y(9), vector.with_z(9)) == ((9, 2, 3), (1, 9, 3), (1, 2, 9))
        assert Vec3Int.full(7) == Vec3Int.from_vec_or_int(7) == (7, 7, 7)
        assert Vec3Int.zeros() + Vec3Int.ones() == (1, 1, 1)
        assert vector.is_positive(strictly_positive=True)
        assert not Vec3Int.zeros().is_positive(strictly_positive=True)
        assert pickle.loads(pickle.dumps(vector)) == vector
        assert isinstance(pickle.loads(pickle.dumps(vector)), Vec3Int)
        assert hash(vector) == hash(Vec3Int([1, 2, 3]))
        assert (str(vector), repr(vector)) == ("Vec3Int(1,2,3)", "Vec3Int(1, 2, 3)")
        assert f"{vector}" == "1,2,3"

    @pytest.mark.parametrize("text", ["1,2,3", " 1, 2, 3 ", "(1,2,3)", "[1, 2, 3]"])
    def test_from_text(self, text: str) -> None:
        assert Vec3Int.from_str(text) == (1, 2, 3)

    @pytest.mark.parametrize("text", ["1,2", "1,2,3,4", "a,b,c", "", "1.5,2,3"])
    def test_from_broken_text(self, text: str) -> None:
        with pytest.raises(ValueError, match="like 1,2,3"):
            Vec3Int.from_str(text)


class TestMag:
    @pytest.mark.parametrize(
        "form, components",
        [
            (1, (1, 1, 1)),
            (4, (4, 4, 4)),
            ("4", (4, 4, 4)),
            ("02", (2, 2, 2)),
            ("2-2-1", (2, 2, 1)),
            ("4-4-4", (4, 4, 4)),
            ((2, 2, 1), (2, 2, 1)),
            ([8, 4, 1], (8, 4, 1)),
            (Vec3Int(2, 4, 8), (2, 4, 8)),
            (np.array([2, 2, 1]), (2, 2, 1)),
            (Mag("2-2-1"), (2, 2, 1)),
        ],
    )
    def test_accepted_forms(self, form: Any, components: tuple[int, int, int]) -> None:
        assert Mag(form).to_tuple() == components

    @pytest.mark.parametrize(
        "form",
        [
            *(0, -1, -2, 3, 6, "0", "3", "2-2", "2,2,1", "2-2-1-1", "-2", " 2", "2\n", "", "x", "2-2-3", b"2", 2.0, None, True, {}),
            *((1, 2), (1, 2, 3, 4), (0, 1, 1), (1, 1, 3), (2.5, 2, 1)),
            *(np.float64(2), np.array([1, 2]), np.array(2), np.bool_(True)),
        ],
        ids=repr,
    )
    def test_refused_forms(self, form: Any) -> None:
        with pytest.raises(ValueError, match="is not valid"):
            Mag(form)

    def test_names(self) -> None:
        assert [str(Mag(form)) for form in (1, "2-2-2", (2, 2, 1))] == ["1", "2", "2-2-1"]
        assert Mag(2).to_long_str() == "2-2-2"
        assert repr(Mag((2, 2, 1))) == "Mag('2-2-1')"

    @given(mags)
    def test_names_read_back(self, mag: Mag) -> None:
        assert Mag(str(mag)) == Mag(mag.to_long_str()) == mag

    def test_order_is_that_of_the_largest_component(self) -> None:
        flat, cubic = Mag("2-2-1"), Mag(2)
        assert flat != cubic
        assert not flat < cubic
        assert not cubic < flat
        assert flat <= cubic <= flat
        assert flat >= cubic >= flat
        assert Mag("2-2-1") < Mag("4-1-1")
        assert max([flat, cubic]) is flat
        assert sorted([Mag(4), cubic, flat, Mag(1)]) == [Mag(1), cubic, flat, Mag(4)]
        assert Mag(2) < "4-4-1"
        assert Mag(2) > (1, 1, 1)

    @given(mags, mags)
    def test_order_and_equality_agree(self, a: Mag, b: Mag) -> None:
        assert (a == b) == (a.to_tuple() == b.to_tuple())
        assert (a != b) or hash(a) == hash(b)
        assert (a < b) == (b > a) == (a.max_dim < b.max_dim)
        assert (a <= b) == (not a > b)

    def test_helpers(self) -> None:
        mag = Mag("8-4-1")
        assert (mag.x, mag.y, mag.z, mag.max_dim, mag.max_dim_log2) == (8, 4, 1, 8, 3)
        assert (mag * 2, Mag(4) // 2) == (Mag("16-8-2"), Mag(2))
        assert list(mag) == mag.to_list() == mag.to_np().tolist() == [8, 4, 1]
        assert Mag(2).factors_to(Mag("8-4-2")) == (4, 2, 1)
        assert pickle.loads(pickle.dumps(mag)) == mag
        assert Mag(2) != "no mag"
        with pytest.raises(ValueError, match="finer"):
            Mag("2-2-2").factors_to(Mag("4-4-1"))


class TestBoundingBox:
    def test_negative_size_flips(self) -> None:
        assert BoundingBox((10, 10, 10), (-5, 5, 5)) == BoundingBox((5, 10, 10), (5, 5, 5))

    @pytest.mark.parametrize(
        "mag, ceil, topleft, size",
        [
            ("2-2-1", True, (12, 6, 5), (28, 24, 13)),
            (4, True, (12, 4, 4), (28, 28, 16)),
            (4, False, (16, 8, 8), (24, 20, 8)),
        ],
    )
    def test_alignment_examples(self, mag: Any, ceil: bool, topleft: tuple[int, int, int], size: tuple[int, int, int]) -> None:
        assert BoundingBox((13, 7, 5), (27, 22, 13)).align_with_mag(Mag(mag), ceil) == BoundingBox(topleft, size)

    def test_a_box_without_an_aligned_voxel_shrinks_to_nothing(self) -> None:
        assert BoundingBox((1, 1, 1), (2, 2, 2)).align_with_mag(Mag(4)).is_empty()

    @given(boxes, mags)
    def test_alignment_encloses_and_is_enclosed(self, box: BoundingBox, mag: Mag) -> None:
        grown, shrunk = box.align_with_mag(mag, ceil=True), box.align_with_mag(mag)
        assert grown.contains_bbox(box)
        assert shrunk.is_empty() or box.contains_bbox(shrunk)
        assert grown.in_mag(mag).from_mag_to_mag1(mag) == grown
        assert grown.align_with_mag(mag) == grown
        assert all(g - b < m for g, b, m in zip(grown.bottomright, box.bottomright, mag, strict=True))

    def test_in_mag_refuses_what_is_not_aligned(self) -> None:
        with pytest.raises(ValueError, match="not aligned with mag 2"):
            BoundingBox((0, 0, 0), (3, 2, 2)).in_mag(Mag(2))

    @given(boxes, boxes)
    def test_intersection_and_hull(self, a: BoundingBox, b: BoundingBox) -> None:
        shared, hull = a.intersected_with(b, dont_assert=True), a.extended_by(b)
        assert shared == b.intersected_with(a, dont_assert=True) or shared.is_empty()
        for box in (a, b):
            assert shared.is_empty() or box.contains_bbox(shared)
            assert box.is_empty() or hull.contains_bbox(box)

    def test_questions(self) -> None:
        box = BoundingBox((1, 2, 3), (4, 5, 6))
        assert box.bottomright == (5, 7, 9)
        assert box.volume() == 120
        assert box.contains((1, 2, 3))
        assert not box.contains((5, 2, 3))
        assert box.to_slices() == (slice(1, 5), slice(2, 7), slice(3, 9))
        assert box.offset((1, 1, 1)) == BoundingBox((2, 3, 4), (4, 5, 6))
        assert box.padded_with_margins((1, 1, 1), (0, 0, 2)) == BoundingBox((0, 1, 2), (5, 6, 9))
        assert BoundingBox.empty().is_empty()
        assert BoundingBox.empty().extended_by(box) == box.extended_by(BoundingBox.empty()) == box
        assert hash(box) == hash(BoundingBox((1, 2, 3), (4, 5, 6)))
        assert pickle.loads(pickle.dumps(box)) == box

    def test_text(self) -> None:
        box = BoundingBox((1, 2, 3), (4, 5, 6))
        assert str(box) == "1,2,3,4,5,6"
        assert BoundingBox.from_str(str(box)) == box
        for broken in ("1,2,3", "1,2,3,4,5,6,7", "a,b,c,d,e,f", ""):
            with pytest.raises(ValueError, match="x,y,z,width,height,depth"):
                BoundingBox.from_str(broken)

    def test_chunk_examples(self) -> None:
        box = BoundingBox((3, 0, 0), (20, 1, 1))

        def cuts(alignment: tuple[int, int, int] | None) -> list[tuple[int, int]]:
            return [(chunk.topleft.x, chunk.bottomright.x) for chunk in box.chunk((8, 8, 8), alignment)]

        assert cuts(None) == [(3, 11), (11, 19), (19, 23)]
        assert cuts((8, 8, 8)) == [(3, 8), (8, 16), (16, 23)]
        with pytest.raises(ValueError, match="multiple"):
            cuts((3, 1, 1))
        with pytest.raises(ValueError, match="at least 1"):
            list(box.chunk((0, 8, 8)))

    def test_chunks_run_with_x_outermost(self) -> None:
        order = [chunk.topleft.to_tuple() for chunk in BoundingBox((0, 0, 0), (2, 2, 2)).chunk((1, 1, 1))]
        assert order == list(itertools.product(range(2), repeat=3))

    @given(boxes, st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)), st.booleans())
    def test_chunks_partition_the_box(self, box: BoundingBox, shape: tuple[int, int, int], aligned: bool) -> None:
        chunks = list(box.chunk(tuple(s * 3 for s in shape), shape if aligned else None))
        assert sum(chunk.volume() for chunk in chunks) == box.volume()
        origin = box.topleft // shape * shape if aligned else box.topleft
        cells = set()
        for chunk in chunks:
            assert not chunk.is_empty()
            assert box.contains_bbox(chunk)
            for topleft, end, limit, step, start in zip(chunk.topleft, chunk.bottomright, box.bottomright, shape, origin, strict=True):
                assert (end - start) % (3 * step) == 0 or end == limit
                assert (topleft - start) // (3 * step) == (end - 1 - start) // (3 * step), "a chunk crosses a cut line"
            cells.add(tuple((t - o) // (3 * s) for t, o, s in zip(chunk.topleft, origin, shape, strict=True)))
        assert len(cells) == len(chunks), "two chunks are in the same cell, so they could overlap"


class TestNDBoundingBox:
    def test_refuses_what_does_not_fit_together(self) -> None:
        for topleft, size, axes in [((0, 0), (1, 1, 1), "xyz"), ((0, 0, 0), (1, 1, 1), "xyx"), ((0,), (1,), "xy")]:
            with pytest.raises(ValueError, match="fit together"):
                NDBoundingBox(topleft, size, tuple(axes))

    def test_mags_act_on_x_y_z_only(self) -> None:
        box = NDBoundingBox((1, 0, 13, 7, 5), (3, 2, 27, 22, 13), ("t", "c", "x", "y", "z"))
        grown = box.align_with_mag(Mag(4), ceil=True)
        assert grown == NDBoundingBox((1, 0, 12, 4, 4), (3, 2, 28, 28, 16), box.axes)
        assert grown.in_mag(Mag(4)).size == (3, 2, 7, 7, 4)
        assert grown.in_mag(Mag(4)).from_mag_to_mag1(Mag(4)) == grown
        assert (box.topleft_xyz, box.size_xyz, box.bottomright_xyz) == ((13, 7, 5), (27, 22, 13), (40, 29, 18))
        assert box.offset((1, 1, 1)).topleft == (1, 0, 14, 8, 6)
        assert box.offset((1, 0, 1, 1, 1)).topleft == (2, 0, 14, 8, 6)

    def test_axes_may_come_in_any_order(self) -> None:
        box = NDBoundingBox((5, 7, 13), (13, 22, 27), ("z", "y", "x"))
        assert box.align_with_mag(Mag("4-2-1"), ceil=True) == NDBoundingBox((5, 6, 12), (13, 24, 28), ("z", "y", "x"))

    def test_chunks_keep_channels_whole_and_cut_other_axes_into_single_positions(self) -> None:
        box = NDBoundingBox((0, 0, 0, 0, 0), (2, 3, 4, 4, 4), ("t", "c", "x", "y", "z"))
        chunks = list(box.chunk((4, 4, 4)))
        assert [(chunk.topleft, chunk.size) for chunk in chunks] == [
            ((0, 0, 0, 0, 0), (1, 3, 4, 4, 4)),
            ((1, 0, 0, 0, 0), (1, 3, 4, 4, 4)),
        ]
        assert [chunk.size for chunk in box.chunk((2, 1, 4, 4, 4))] == [(2, 1, 4, 4, 4)] * 3

    @given(st.permutations(["t", "c", "x", "y", "z"]), vectors, st.tuples(sizes, sizes, sizes), st.integers(1, 8), st.booleans())
    def test_chunks_partition_the_box(
        self, axes: list[str], topleft: tuple[int, int, int], size: tuple[int, int, int], edge: int, aligned: bool
    ) -> None:
        first = dict(zip("xyz", topleft, strict=True)) | {"t": 1, "c": 0}
        length = dict(zip("xyz", size, strict=True)) | {"t": 2, "c": 3}
        box = NDBoundingBox([first[a] for a in axes], [length[a] for a in axes], axes)
        chunks = list(box.chunk((edge * 4,) * 3, (edge,) * 3 if aligned else None))
        assert sum(chunk.volume() for chunk in chunks) == box.volume()
        assert len({chunk.topleft for chunk in chunks}) == len(chunks)
        assert all(box.contains_bbox(chunk) and chunk.size_of("t") == 1 and chunk.size_of("c") == 3 for chunk in chunks)

    def test_bounds_of_one_axis(self) -> None:
        box = NDBoundingBox((1, 2, 3, 4), (5, 6, 7, 8), ("t", "x", "y", "z"))
        assert box.bounds("t") == (1, 6)
        assert box.with_bounds("t", 0, 2) == NDBoundingBox((0, 2, 3, 4), (2, 6, 7, 8), box.axes)
        assert box.with_xyz((0, 0, 0), (1, 1, 1)) == NDBoundingBox((1, 0, 0, 0), (5, 1, 1, 1), box.axes)
        assert (box.size_of("t"), box.size_of("c")) == (5, 1)
        with pytest.raises(ValueError, match="not c"):
            box.bounds("c")

    def test_boxes_with_different_axes_do_not_mix(self) -> None:
        flat = NDBoundingBox((0, 0, 0, 0), (1, 1, 1, 1), ("c", "x", "y", "z"))
        for method in (flat.intersected_with, flat.extended_by, flat.contains_bbox):
            with pytest.raises(ValueError, match="different axes"):
                method(BoundingBox((0, 0, 0), (1, 1, 1)))

    def test_equals_a_plain_box_of_the_same_axes(self) -> None:
        assert NDBoundingBox((1, 2, 3), (4, 5, 6), ("x", "y", "z")) == BoundingBox((1, 2, 3), (4, 5, 6))
        with pytest.raises(ValueError, match="NDBoundingBox"):
            BoundingBox((1, 2, 3), (4, 5, 6), ("z", "y", "x"))
