"""Faults in the processes of a whole `wkpipe convert`: one clear line, the right exit code, and the same command goes on."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from tests.torture.faulty_disk import FAULTS
from tests.torture.torture_helpers import SCALE, SEED
from tests.workflow.workflow_helpers import convert_command, data_files, identities, proven, registered_mags, run, write_stack

FORMATS = {"zarr3": ("--shard-shape", "64,64,64"), "zarr2": ("--data-format", "zarr"), "wkw": ("--data-format", "wkw")}
ROLES = {"main": 60, "job": 30, "publish": 30}
"""The calls to disturb, up to as many as a process of each role makes at least."""
POINTS = 20 if SCALE > 1 else 1
"""Of each role and format."""
SITE = """
import os, sys
if "TORTURE_FAULT" in os.environ:
    sys.path.append({here!r})
    from pathlib import Path
    from faulty_process import install
    install(Path({counters!r}))
    sys.path.remove({here!r})
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stack(tmp_path_factory.mktemp("images") / "stack", (70, 90, 100))


@pytest.mark.slow
@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("data_format", FORMATS)
def test_a_process_of_the_workflow_suffers_a_fault(data_format: str, role: str, images: Path, tmp_path: Path) -> None:
    rng = random.Random(f"{SEED}-{data_format}-{role}")
    undisturbed = tmp_path / "undisturbed" / "dataset"
    shape = FORMATS[data_format]
    subprocess.run(convert_command(images, undisturbed, *shape), check=True, capture_output=True)
    for number in range(POINTS):
        fault = f"{role} 0 {rng.randrange(1, ROLES[role])} {rng.choice([fault for fault in FAULTS if fault != 'power'])}"
        print(f"seed {SEED}: {data_format}: TORTURE_FAULT={fault!r}")
        place = tmp_path / str(number)
        (place / "counters").mkdir(parents=True)
        (place / "site").mkdir()
        here = Path(__file__).parent
        (place / "site" / "sitecustomize.py").write_text(SITE.format(here=str(here), counters=str(place / "counters")))
        search = os.pathsep.join(filter(None, [str(place / "site"), os.environ.get("PYTHONPATH")]))
        target = place / "dataset"
        arguments = ["convert", images, target, "--voxel-size", "11,11,25", *shape]
        first = run(*arguments, PYTHONPATH=search, TORTURE_FAULT=fault)
        assert (place / "counters" / f"{role}-0").exists(), f"{fault}: there was no such process"
        check_error(first, fault.split()[-1], role, fault)
        for layer, mags in registered_mags(target).items():
            assert mags == registered_mags(undisturbed)[layer], fault
        finished = proven(target)
        again = run(*arguments)
        assert again.returncode == 0, (fault, again.stderr)
        assert data_files(target) == data_files(undisturbed), fault
        assert finished.items() <= identities(target).items(), fault
        assert list(target.rglob("*.tmp")) == [], fault


def check_error(result: subprocess.CompletedProcess[str], fault: str, role: str, what: str) -> None:
    """One line; exit code 3 for what the disk refused, 1 where a job was killed and could say nothing."""
    assert "Traceback" not in result.stderr, (what, result.stderr)
    if result.returncode == 0:
        assert fault != "kill", what
        return  # notes and leftovers need not succeed
    said = [line for line in result.stderr.splitlines() if line.startswith("wkpipe: ") and "storage shards" not in line]
    if fault == "kill":
        assert result.returncode == (-9 if role == "main" else 1), (what, result.stderr)
    else:
        assert result.returncode == 3, (what, result.stderr)
        assert len(said) == 1, (what, said)
        assert "can not write" in said[0], (what, said)
