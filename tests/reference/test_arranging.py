"""wkpipe and the reference package turn, move and pad images to the same voxels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.reference.sources import noise
from tests.reference.workshop import VOXEL_SIZE, Reference, our_facts, run_wkpipe

pytestmark = pytest.mark.reference

WAYS: dict[str, dict[str, Any]] = {
    "mirrored": {"flip_x": True},
    "reversed": {"flip_y": True, "flip_z": True},
    "swapped": {"swap_xy": True, "flip_x": True},
    "coarser": {"mag": 2, "topleft": [6, 2, 4]},
    "all": {"mag": "2-2-1", "topleft": [4, 6, 7], "swap_xy": True, "flip_y": True, "flip_z": True},
}
"""As the reference package spells them. Without `swap_xy`, it mirrors y for `flip_x` and x for `flip_y` (behaviour.md §8.4)."""


def ours(way: dict[str, Any]) -> dict[str, Any]:
    """Return the options of wkpipe for the same voxels."""
    if way.get("swap_xy"):
        return way
    others = {"flip_x": "flip_y", "flip_y": "flip_x"}
    return {others.get(key, key): value for key, value in way.items()}


def write_uneven(folder: Path) -> None:
    """Write slices of different sizes."""
    folder.mkdir()
    for z, (rows, columns) in enumerate([(40, 50), (33, 50), (40, 41), (20, 20)]):
        tifffile.imwrite(folder / f"{z}.tif", noise((rows, columns), "uint8", seed=z), compression="zlib")


def test_all_ways(source: Callable[[str], Path], reference: Reference, tmp_path: Path) -> None:
    write_uneven(tmp_path / "uneven")
    images = {name: (source("uint16"), way) for name, way in WAYS.items()} | {"padded": (tmp_path / "uneven", {})}
    layers = {name: [str(path), {**way, "shard_shape": 64}] for name, (path, way) in images.items()}
    reference.script("turn_images.py", tmp_path / "theirs", {"voxel_size": VOXEL_SIZE, "layers": layers})
    expected = reference.facts(tmp_path / "facts", tmp_path / "theirs")[0]["layers"]
    for name, (path, way) in images.items():
        padding = "fill" if name == "padded" else "fail"
        values = {"layer_name": name, "category": "color", "shard_shape": 64, "downsample": False, "padding": padding}
        run_wkpipe(tmp_path / name, source=path, **values, **ours(way))
        found = our_facts(tmp_path / name)["layers"][name]
        theirs = expected[name]
        assert (found["box"], found["dtype"], list(found["mags"])) == (theirs["box"], theirs["dtype"], list(theirs["mags"])), name
        for mag, facts in found["mags"].items():
            np.testing.assert_array_equal(facts["voxels"], theirs["mags"][mag]["voxels"], err_msg=name)
