"""The reference package reads wkpipe's datasets: the same layers, boxes, mags and voxels that wkpipe reads itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.reference.sources import SOURCES, TIME_SOURCES
from tests.reference.workshop import Reference, assert_same_facts, our_facts, run_wkpipe

pytestmark = pytest.mark.reference

# Layers of several shards; test_layout.py tests the default shapes. (Raw WKW files always have full length.)
SHAPES: dict[str, dict[str, object]] = {"zarr3": {"shard_shape": [64, 128, 32]}, "zarr": {}, "wkw": {"shard_shape": 64}}


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("name", SOURCES)
def test_reference_reads_ours(name: str, source: Callable[[str], Path], reference: Reference, tmp_path: Path) -> None:
    datasets = []
    for data_format, shapes in SHAPES.items():
        if name in TIME_SOURCES and data_format == "wkw":
            continue
        for compress in (True, False):
            target = tmp_path / f"{data_format}-{compress}"
            run_wkpipe(target, source=source(name), data_format=data_format, compress=compress, coarsest_mag=16, **shapes)
            datasets.append((target, compress))
    theirs = reference.facts(tmp_path / "theirs", *(target for target, _ in datasets))
    for (target, compress), facts in zip(datasets, theirs, strict=True):
        ours = our_facts(target)
        layers = ours["layers"].values()
        assert all(len(layer["mags"]) == 5 for layer in layers)
        assert all(mag["compressed"] == compress for layer in layers for mag in layer["mags"].values())
        assert_same_facts(ours, facts)
