"""Every step of the reference (median, mode, max, min), made by sample_box, cut in several ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.sampling import oracle
from wkpipe.sampling import InterpolationMode, sample_box

DATASETS = ["wkw", "z2", "z3_dtypes", "z3_ladders", "z3_nd", "z3_raw", "z3_rgb", "z3_seg", "z3_u8_modes"]
STEPS = 94
_made: dict[str, int] = {}


def _box(size: list[int], start: list[int], end: list[int]) -> tuple[list[int], list[int]]:
    return [v // s for v, s in zip(start, size, strict=True)], [-(-v // s) for v, s in zip(end, size, strict=True)]


def _cuts(shape: list[int], rng: np.random.Generator) -> list[list[int]]:
    return [sorted({0, n, *rng.integers(0, n + 1, rng.integers(0, 4)).tolist()}) for n in shape]


@pytest.mark.parametrize("name", DATASETS)
def test_steps_are_voxel_equal_to_the_reference(golden: Path, name: str) -> None:
    properties = json.loads((golden / name / "datasource-properties.json").read_text())
    arrays = np.load(golden / f"{name}.npz")
    rng = np.random.default_rng(1)
    count = 0
    for layer in properties["dataLayers"]:
        mode_name = layer["name"] if name == "z3_u8_modes" else "default"
        mode = InterpolationMode.parse(mode_name, layer["category"])
        if mode not in (InterpolationMode.MEDIAN, InterpolationMode.MODE, InterpolationMode.MAX, InterpolationMode.MIN):
            continue
        box = layer["boundingBox"]
        start = box["topLeft"]
        end = [s + n for s, n in zip(start, (box["width"], box["height"], box["depth"]), strict=True)]
        keys = [key for key in arrays.files if key.startswith(layer["name"] + "/")]
        for fine, coarse, fine_key, coarse_key in zip(layer["mags"], layer["mags"][1:], keys, keys[1:], strict=False):
            want, source = arrays[coarse_key], np.asfortranarray(arrays[fine_key])
            bounds = _box(fine["mag"], start, end)
            first, last = _box(coarse["mag"], start, end)
            factors = [c // f for c, f in zip(coarse["mag"], fine["mag"], strict=True)]
            shape = [e - f for e, f in zip(last, first, strict=True)]

            def read(at: Any, size: Any, source: Any = source, origin: Any = bounds[0]) -> Any:
                low = [a - o for a, o in zip(at, origin, strict=True)]
                assert all(a >= 0 and a + n <= s for a, n, s in zip(low, size, source.shape[-3:], strict=True))
                return source[(..., *(slice(a, a + n) for a, n in zip(low, size, strict=True)))]

            for attempt in range(4):
                cuts = [[0, n] for n in shape] if attempt == 0 else _cuts(shape, rng)
                got = np.empty(want.shape, want.dtype)
                for x0, x1 in zip(cuts[0], cuts[0][1:], strict=False):
                    for y0, y1 in zip(cuts[1], cuts[1][1:], strict=False):
                        for z0, z1 in zip(cuts[2], cuts[2][1:], strict=False):
                            at = [f + o for f, o in zip(first, (x0, y0, z0), strict=True)]
                            got[..., x0:x1, y0:y1, z0:z1] = sample_box(read, at, (x1 - x0, y1 - y0, z1 - z0), factors, bounds, mode)
                assert oracle.equal(got, want), (name, layer["name"], coarse_key, attempt)
            # a step of the reference is counted per array of three axes
            count += want[..., 0, 0, 0].size
    _made[name] = count
    assert count


def test_all_steps_were_made() -> None:
    if set(_made) != set(DATASETS):
        pytest.skip("not every dataset was tested in this process")
    assert sum(_made.values()) == STEPS
