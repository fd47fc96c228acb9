"""Faults in the processes of a whole `wkpipe convert`: one clear line, the right exit code, and the same command resumes."""

from __future__ import annotations

import os
import random
import re
import subprocess
from pathlib import Path

import pytest

from tests.torture.faulty_disk import FAULTS
from tests.torture.torture_helpers import SCALE, SEED
from tests.workflow.workflow_helpers import convert_command, data_files, identities, proven, registered_mags, run, write_stack

FORMATS = {"zarr3": ("--shard-shape", "64,64,64"), "zarr2": ("--data-format", "zarr"), "wkw": ("--data-format", "wkw")}
ROLES = {"main": 60, "job": 30, "publish": 30}
"""The highest call to disturb in a process of each role, which makes at least this number of calls."""
POINTS = 20 if SCALE > 1 else 1
"""The faults of each role and format."""
PROGRESS = re.compile(r": \d+ of \d+ storage shards")
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
@pytest.mark.sampled(every=2)
@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("data_format", FORMATS)
def test_a_process_of_the_workflow_suffers_a_fault(data_format: str, role: str, images: Path, tmp_path: Path) -> None:
    rng = random.Random(f"{SEED}-{data_format}-{role}")
    undisturbed = tmp_path / "undisturbed" / "dataset"
    shape = FORMATS[data_format]
    done = subprocess.run(convert_command(images, undisturbed, *shape), check=True, capture_output=True, text=True)
    notes = {line for line in done.stderr.splitlines() if line.startswith("wkpipe: ")}
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
        check_error(first, notes, place, fault)
        for layer, mags in registered_mags(target).items():
            assert mags == registered_mags(undisturbed)[layer], fault
        finished = proven(target)
        again = run(*arguments)
        assert again.returncode == 0, (fault, again.stderr)
        assert data_files(target) == data_files(undisturbed), fault
        assert finished.items() <= identities(target).items(), fault
        assert list(target.rglob("*.tmp")) == [], fault


def check_error(result: subprocess.CompletedProcess[str], notes: set[str], place: Path, what: str) -> None:
    """Check for exit code 3 and one line of error, after the notes, that names a path; 1 if a job was killed and could not report."""
    role, *_, fault = what.split()
    assert "Traceback" not in result.stderr, (what, result.stderr)
    if result.returncode == 0:
        assert fault != "kill", what
        return  # notes and leftovers need not succeed
    if fault == "kill":
        assert result.returncode == (-9 if role == "main" else 1), (what, result.stderr)
        return
    assert result.returncode == 3, (what, result.stderr)
    lines = result.stderr.splitlines()
    said = [line for line in lines if line.startswith("wkpipe: ") and line not in notes and not PROGRESS.search(line)]
    assert said == lines[-1:], (what, result.stderr)
    assert re.search(rf"cannot write {re.escape(str(place))}[^ ]*: ", said[0]), (what, said)
