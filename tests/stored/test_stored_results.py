"""The reference package's results, voxel for voxel: compared with stored results, and with the package itself if it is installed."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.oracle.pyramid import Array
from tests.oracle.reading import stored_mags
from tests.reference.workshop import Reference
from tests.stored.cases import COUNT, SEED, StoredCase, draw
from tests.stored.reference_results import results_of
from wkpipe import Dataset, NDBoundingBox
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.runs.run import run_here

RESULTS = Path(__file__).with_name("results.npz")
SCALE = float(os.environ.get("WKPIPE_TORTURE_SCALE", "1"))
LIVE = round(COUNT * max(1.0, min(SCALE / 10, 20.0)))
"""How many other cases are compared with the reference package itself; `make torture` compares 1,000."""
pytestmark = pytest.mark.usefixtures("no_syncs")


@pytest.fixture(scope="module")
def stored() -> dict[int, dict[str, Array]]:
    found: dict[int, dict[str, Array]] = {SEED + i: {} for i in range(COUNT)}
    with np.load(RESULTS) as arrays:
        for name, voxels in arrays.items():
            number, mag = name.split("/")
            found[int(number)][mag] = voxels
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("number", range(SEED, SEED + COUNT))
def test_stored_result(number: int, stored: dict[int, dict[str, Array]], tmp_path: Path) -> None:
    compare(draw(number), stored[number], tmp_path / "ds")


def test_stored_cases_are_of_all_kinds(stored: dict[int, dict[str, Array]]) -> None:
    cases = [draw(number) for number in stored]
    assert sum(bool(mags) for mags in stored.values()) >= 40
    for attribute in ("data_format", "category", "sampling", "compress"):
        assert min(Counter(getattr(case, attribute) for case in cases).values()) >= 5, attribute
    assert {case.interpolation for case in cases} == {"default", "median", "mode", "max", "min"}
    assert len({case.dtype for case in cases}) >= 8
    assert {"t", "c"} <= {case.axes[0] for case in cases}
    assert RESULTS.stat().st_size < 2_000_000


@pytest.mark.reference
def test_stored_results_are_those_of_the_reference(stored: dict[int, dict[str, Array]], reference_python: Path, tmp_path: Path) -> None:
    reference = Reference(reference_python, tmp_path / "lock")
    found = results_of([draw(number) for number in stored], reference, tmp_path / "work")
    for number, mags in found.items():
        assert list(mags) == list(stored[number])
        for mag, voxels in mags.items():
            np.testing.assert_array_equal(voxels, stored[number][mag], err_msg=f"case {number}, mag {mag}")


@pytest.mark.reference
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore")
def test_other_cases_beside_the_reference(reference_python: Path, tmp_path: Path) -> None:
    seed = int(os.environ.get("WKPIPE_TEST_SEED", "20261121"))
    cases = [draw(seed * 1000 + i) for i in range(LIVE)]
    reference = Reference(reference_python, tmp_path / "lock")
    problems = []
    for first in range(0, LIVE, 100):
        found = results_of(cases[first : first + 100], reference, tmp_path / f"work-{first}")
        for case in cases[first : first + 100]:
            try:
                compare(case, found[case.number], tmp_path / str(case.number))
            except AssertionError as error:
                problems.append(f"{error}\n{case}")
    assert not problems, f"{len(problems)} of {LIVE} cases differ\n" + "\n\n".join(problems[:5])


def compare(case: StoredCase, expected: dict[str, Array], root: Path) -> None:
    """Make the dataset with wkpipe, and compare its coarser mags."""
    box = NDBoundingBox([*(0 for _ in case.lead), *case.topleft], [*case.lead, *case.size], case.axes)
    layer = Dataset(root, case.voxel_size).add_layer(
        "layer", case.category, dtype=case.dtype, data_format=case.data_format, bounding_box=box
    )
    shard = None if case.data_format == "zarr" else case.shard
    layer.add_mag(1, chunk_shape=case.chunk, shard_shape=shard, compress=case.compress).write(case.voxels, allow_unaligned=True)
    values = {"target": str(root), "chunk_shape": case.chunk, "coarsest_mag": str(case.coarsest), "compress": case.compress}
    values |= {"interpolation_mode": case.interpolation, "sampling_mode": case.sampling}
    run_here(make_plan(load_config(values | ({} if shard is None else {"shard_shape": shard}), "test"), Sizing.local(1)))
    mags = {stored.path.name: stored for stored in stored_mags(root).values()}
    assert list(mags) == ["1", *expected]
    for mag, voxels in expected.items():
        found, _ = mags[mag].read("wkw" if case.data_format == "wkw" else "zarr-python")
        np.testing.assert_array_equal(found.reshape(voxels.shape), voxels, err_msg=f"case {case.number}, mag {mag}", strict=True)
