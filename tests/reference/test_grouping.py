"""wkpipe and the reference package make the same layers of images in folders, by rules, functions and lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.reference.sources import noise
from tests.reference.workshop import Reference, our_facts
from wkpipe import Dataset

pytestmark = pytest.mark.reference

TREE = ("a/0", "a/1", "a/x/0", "b/0", "b/1", "b/10", "b/9")
RULES = [rule.name for rule in Dataset.ConversionLayerMapping]
CASES = {
    **{rule: (rule, False) for rule in RULES},
    "function": (None, False),
    "sorted": ("INSPECT_SINGLE_FILE", True),
    "both": (None, True),
}


def name_of(path: Path) -> str:
    return f"no. {path.stem}"


def place_of(path: Path) -> tuple[int, str]:
    return -int(path.stem), str(path)


def test_all_ways(reference: Reference, tmp_path: Path) -> None:
    source, mine = tmp_path / "src", tmp_path / "mine"
    for seed, name in enumerate(TREE):
        path = source / f"{name}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, noise((40, 50), "uint8", seed=seed))
    reference.script("group_images.py", source, tmp_path / "theirs", CASES)
    for name, (rule, is_sorted) in CASES.items():
        mapping = name_of if rule is None else Dataset.ConversionLayerMapping[rule]
        key = place_of if is_sorted else None
        values = {"map_filepath_to_layer_name": mapping, "z_slices_sort_key": key, "layer_category": "color", "shard_shape": 64}
        Dataset.from_images(source, mine / name, (4, 4, 40), **values)  # type: ignore[arg-type]
    dataset = Dataset(mine / "added", (4, 4, 40))
    listed = [source / "b/10.tif", source / "a/0.tif", source / "b/9.tif"]
    dataset.add_layer_from_images(listed, "listed", topleft=(2, 4, 6), mag=2, shard_shape=64)
    dataset.add_layer_from_images(source, "all", shard_shape=64)
    names = [*CASES, "added"]
    for name, theirs in zip(names, reference.facts(tmp_path / "facts", *(tmp_path / "theirs" / name for name in names)), strict=True):
        ours = our_facts(mine / name)
        assert ours["layers"].keys() == theirs["layers"].keys(), name
        for layer, facts in ours["layers"].items():
            expected = theirs["layers"][layer]
            assert (facts["box"], facts["dtype"], [*facts["mags"]]) == (expected["box"], expected["dtype"], [*expected["mags"]]), (
                name,
                layer,
            )
            for mag, found in facts["mags"].items():
                np.testing.assert_array_equal(found["voxels"], expected["mags"][mag]["voxels"], err_msg=f"{name}, {layer}")
