"""Upsampling: whole blocks, any box, and the steps of the reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wkpipe.errors import InputRefused
from wkpipe.sampling import upsample_box


@given(
    size=st.tuples(*[st.integers(1, 4)] * 3),
    factors=st.tuples(*[st.sampled_from([1, 2, 4, 8])] * 3),
    lead=st.sampled_from([(), (3,), (2, 1)]),
    data=st.data(),
)
def test_every_box_is_a_part_of_the_repeated_whole(size: Any, factors: Any, lead: Any, data: st.DataObject) -> None:
    source = np.random.default_rng(0).integers(0, 1000, (*lead, *size)).astype(np.uint16)
    whole = source
    for axis, factor in zip((-3, -2, -1), factors, strict=True):
        whole = np.repeat(whole, factor, axis=axis)
    start = [data.draw(st.integers(0, n - 1)) for n in whole.shape[-3:]]
    shape = [data.draw(st.integers(1, n - s)) for n, s in zip(whole.shape[-3:], start, strict=True)]

    def read(at: Any, extent: Any) -> Any:
        assert all(a >= 0 and n > 0 and a + n <= s for a, n, s in zip(at, extent, size, strict=True))
        return source[(..., *(slice(a, a + n) for a, n in zip(at, extent, strict=True)))]

    got = upsample_box(read, start, shape, factors)
    assert got.flags.f_contiguous
    assert got.dtype == source.dtype
    assert np.array_equal(got, whole[(..., *(slice(s, s + n) for s, n in zip(start, shape, strict=True)))])


def test_steps_of_the_reference(golden: Path) -> None:
    arrays = np.load(golden / "z3_upsample.npz")
    boxes = json.loads((golden / "z3_upsample.expected.json").read_text())
    mags = {"color/4-4-2": (4, 4, 2), "color/2-2-1": (2, 2, 1), "color/1": (1, 1, 1)}
    for coarse, fine in (("color/4-4-2", "color/2-2-1"), ("color/2-2-1", "color/1")):
        factors = [c // f for c, f in zip(mags[coarse], mags[fine], strict=True)]
        origin = [t // m for t, m in zip(boxes[coarse]["topleft_mag1"], mags[coarse], strict=True)]
        start = [t // m for t, m in zip(boxes[fine]["topleft_mag1"], mags[fine], strict=True)]

        def read(at: Any, extent: Any, source: Any = arrays[coarse], origin: Any = origin) -> Any:
            return source[(..., *(slice(a - o, a - o + n) for a, o, n in zip(at, origin, extent, strict=True)))]

        want = arrays[fine]
        assert np.array_equal(upsample_box(read, start, want.shape[-3:], factors), want)


def test_refusals() -> None:
    with pytest.raises(InputRefused, match="nothing to upsample"):
        upsample_box(lambda at, extent: np.zeros(extent), (0, 0, 0), (1, 1, 0), (2, 2, 2))
