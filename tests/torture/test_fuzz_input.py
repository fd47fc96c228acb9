"""Broken and hostile input: every file and every command line is understood or refused in one line; nothing is written.

A failure names the number of the case; `python tests/torture/fuzz.py KIND NUMBER 1 /tmp/fuzz` repeats it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCALE = float(os.environ.get("WKPIPE_TORTURE_SCALE", "1"))
SEED = int(os.environ.get("WKPIPE_TEST_SEED", "20261121"))
CASES = {"properties": 80, "arrays": 80, "state": 50, "special": 40, "images": 80, "configs": 100, "arguments": 60, "shards": 10}
"""The number of cases of each kind at scale 1: 500 in all."""
BATCH = 1000
BATCHES = [
    (kind, SEED * 1_000_000 + first, min(BATCH, round(count * SCALE) - first))
    for kind, count in CASES.items()
    for first in range(0, max(1, round(count * SCALE)), BATCH)
]


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of the seeds; the first process that needs them makes them."""
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.sampled(every=2)
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind, first, count", BATCHES, ids=lambda value: str(value))
def test_broken_input(kind: str, first: int, count: int, scratch: Path) -> None:
    script = Path(__file__).with_name("fuzz.py")
    process = subprocess.run([sys.executable, script, kind, str(first), str(count), str(scratch)], capture_output=True, text=True)
    lines = [json.loads(line) for line in process.stdout.splitlines()]
    problems = [f"case {line['case']}: {line['problem']}" for line in lines if "problem" in line]
    if not any("done" in line for line in lines):  # a hang, or it was killed
        case = (scratch / f"{kind}.case").read_text()
        problems.append(f"case {case}: the process ended with {process.returncode}\n{process.stderr[-5000:]}")
    print(process.stdout.splitlines()[-1:])
    text = "\n\n".join(problems[:5])
    assert not problems, f"{len(problems)} of {count} cases failed; again: python {script} {kind} NUMBER 1 /tmp/fuzz\n{text}"
