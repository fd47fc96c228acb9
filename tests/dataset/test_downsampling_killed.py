"""Calls that downsample, killed at any moment: the layer has the old mags or the new ones, and the same call resumes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.dataset.test_downsampling import SMALL, files_of, mags_of, with_voxels
from tests.torture.faulty_disk import FaultyOs
from tests.torture.torture_helpers import in_child
from wkpipe import Dataset, Layer
from wkpipe.verify.dataset import verify_dataset
from wkpipe.verify.report import Kind

CALLS: dict[str, Callable[[Layer], None]] = {
    "a mag": lambda layer: layer.downsample_mag(1, 16, **SMALL),
    "a mag again": lambda layer: layer.downsample_mag(1, 4, "max", allow_overwrite=True, **SMALL),
    "all mags again": lambda layer: layer.redownsample("max", **SMALL),
    "empty mags": lambda layer: layer.downsample_mag_list(4, [16, 32], only_setup_mags=True, **SMALL),
    "through an executor": lambda layer: layer.downsample_mag(1, 16, executor=ThreadPoolExecutor(1), **SMALL),
}
CASES = 8
pytestmark = pytest.mark.filterwarnings("ignore:chunk shape")


@pytest.mark.slow
@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("name", CALLS)
def test_a_killed_call_is_resumed(name: str, tmp_path: Path) -> None:
    call = CALLS[name]
    start = with_voxels(tmp_path / "start" / "d")
    start.downsample_mag_list(1, [2, 4], **SMALL)
    start.downsample_mag(2, 8, **SMALL)

    def copy(place: str) -> Layer:
        shutil.copytree(start.dataset.path, tmp_path / place / "d")
        return Dataset.open(tmp_path / place / "d").get_layer("em")

    whole = copy("whole")
    traced = in_child(lambda: call(whole), FaultyOs(is_traced=True))
    assert traced.exit_code == 0, traced
    old, new = files_of(start), files_of(whole)
    touched = {file.split("/")[0] for file in old.keys() | new.keys() if old.get(file) != new.get(file)}
    for at in range(1, traced.calls + 1, max(1, traced.calls // CASES)):
        layer = copy(str(at))
        assert in_child(lambda layer=layer: call(layer), FaultyOs(at, "kill")).exit_code is None
        found = files_of(layer)
        assert {mag for mag in mags_of(start) if mag not in touched} <= {*mags_of(layer)}
        for mag in mags_of(layer):
            assert of_mag(found, mag) in (of_mag(old, mag), of_mag(new, mag)), f"call {at}: mag {mag} is a mix"
        again = in_child(lambda layer=layer: call(layer), FaultyOs())
        assert again.exit_code == 0 or "already has mag" in again.message, f"call {at}: {again}"
        assert files_of(layer) == new, at
        assert mags_of(layer) == mags_of(whole)
        assert problems_of(layer) == problems_of(whole)
        shutil.rmtree(tmp_path / str(at))


def problems_of(layer: Layer) -> list[tuple[str, str]]:
    """Return kinds and mags; mags that were only set up have lost their data, as far as anybody can see."""
    problems = verify_dataset(layer.dataset.path).problems
    return [(problem.kind, problem.mag) for problem in problems if problem.kind is not Kind.LEFTOVER]


def of_mag(files: dict[str, bytes], mag: str) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name.startswith(f"{mag}/")}
