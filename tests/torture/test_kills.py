"""SIGKILL of all processes of a run at random moments, again and again: the same command resumes and ends with the same bytes."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.torture.torture_helpers import SCALE, SEED
from tests.workflow.workflow_helpers import (
    convert_command,
    data_files,
    identities,
    kill_tree,
    proven,
    registered_mags,
    snakemake_command,
    write_stack,
)

SHAPES = {
    "zarr3": {"data_format": "zarr3", "shard_shape": "64,64,64"},
    "zarr2": {"data_format": "zarr"},
    "wkw": {"data_format": "wkw", "shard_shape": "64,64,64"},
}
CASES = [("wkpipe", "zarr3"), ("wkpipe", "zarr2"), ("wkpipe", "wkw"), ("snakemake", "zarr3"), ("snakemake", "wkw")]
KILLS = 40 if SCALE > 1 else 4
"""The kills of each case: 20 in all, 200 in `make torture`."""
PER_DATASET = 4


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stack(tmp_path_factory.mktemp("images") / "stack", (100, 150, 170))


def command(way: str, data_format: str, images: Path, target: Path) -> list[str]:
    values = SHAPES[data_format]
    if way == "snakemake":
        return snakemake_command(images, target, **values)
    return convert_command(images, target, *(text for key, value in values.items() for text in (f"--{key.replace('_', '-')}", value)))


@pytest.mark.slow
@pytest.mark.sampled(every=2)
@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way, data_format", CASES)
def test_killed_runs_go_on(way: str, data_format: str, images: Path, tmp_path: Path) -> None:
    rng = random.Random(f"{SEED}-{way}-{data_format}")
    print(f"seed {SEED}: {KILLS} kills of {way}, {data_format}")
    undisturbed = tmp_path / "undisturbed" / "dataset"
    began = time.monotonic()
    subprocess.run(command(way, data_format, images, undisturbed), cwd=tmp_path, check=True, capture_output=True)
    duration = time.monotonic() - began
    whole = data_files(undisturbed)
    kills = number = 0
    while kills < KILLS:
        number += 1
        place = tmp_path / f"{number}"
        place.mkdir()
        arguments = command(way, data_format, images, place / "dataset")
        for _ in range(min(PER_DATASET, KILLS - kills)):
            kills += 1
            if not kill_at(arguments, place, rng.uniform(0.2, 1.0) * duration, registered_mags(undisturbed)):
                break  # it was quicker
        finished = proven(place / "dataset")
        result = subprocess.run(arguments, cwd=place, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert data_files(place / "dataset") == whole
        assert finished.items() <= identities(place / "dataset").items()
        assert list((place / "dataset").rglob("*.tmp")) == []


def kill_at(arguments: list[str], place: Path, seconds: float, whole: dict[str, list[list[int]]]) -> bool:
    """Run a command, kill it after a time and check what it leaves; return True if it was still at work."""
    target = place / "dataset"
    before = proven(target)
    process = psutil.Popen(arguments, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(seconds)
    except psutil.TimeoutExpired:
        kill_tree(process)
    for layer, mags in registered_mags(target).items():
        assert mags == whole[layer], "only whole layers may be visible"
    now = identities(target) if target.exists() else {}
    assert before.items() <= now.items(), "recorded units were made again"
    return process.returncode != 0
