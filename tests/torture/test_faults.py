"""The SQLite loop: let the n-th call that changes the disk fail, for n = 1, 2, …, until the run ends undisturbed.

Every build takes some calls, each from a different place in the program; `make torture` takes every call.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.torture.faulty_disk import FAULTS
from tests.torture.torture_helpers import FORMATS, SCALE, SEED, Scenario, write_slices

KINDS = ("convert", "downsample", "remake")
CASES = [
    *((kind, data_format) for kind in KINDS for data_format in FORMATS),
    ("upsample", "zarr3"),
    ("workers", "zarr2"),
    ("workers", "zarr3"),
    *(("rewrite", data_format) for data_format in FORMATS),
]
FEW = 10
ERRORS = tuple(fault for fault in FAULTS if fault not in ("kill", "power"))


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slices(tmp_path_factory.mktemp("slices") / "em")


def points(scenario: Scenario, rng: random.Random) -> list[int]:
    """Return the numbers of the calls to disturb: some from different places in the program, or all of them."""
    if SCALE > 1:
        return list(range(1, scenario.calls + 1))
    first = {site: number for number, site in reversed(list(enumerate(scenario.sites, 1)))}
    return sorted(rng.sample(sorted(first.values()), FEW))


@pytest.mark.slow
@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("kind, data_format", CASES)
@pytest.mark.parametrize("fault", ["error", "kill", "power"])
def test_the_nth_call_fails(kind: str, data_format: str, fault: str, slices: Path, tmp_path: Path) -> None:
    disturb_each(kind, data_format, fault, slices, tmp_path)


@pytest.mark.slow
@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.sampled(every=12)
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("kind", ["copy", "recode"])
@pytest.mark.parametrize("fault", ["error", "kill", "power"])
def test_the_nth_call_of_the_library_fails(kind: str, data_format: str, fault: str, slices: Path, tmp_path: Path) -> None:
    disturb_each(kind, data_format, fault, slices, tmp_path)


def disturb_each(kind: str, data_format: str, fault: str, slices: Path, base: Path) -> None:
    """Disturb a run at some of its calls, or at each."""
    scenario = Scenario.make(kind, data_format, slices, base)
    rng = random.Random(f"{SEED}-{kind}-{data_format}-{fault}")
    chosen = points(scenario, rng)
    print(
        f"seed {SEED}: {kind} {data_format}: {scenario.calls} calls from {len(set(scenario.sites))} places, {len(chosen)} of them disturbed"
    )
    failures = []
    for at in chosen:
        which = rng.choice(ERRORS) if fault == "error" else fault
        try:
            assert scenario.disturbed(at, which), "the call did not come"
        except AssertionError as error:
            failures.append(f"{which} at call {at}, {scenario.sites[at - 1]}: {error}")
    assert not failures, "\n".join(failures)
    assert not scenario.disturbed(scenario.calls + 100, "kill")
