"""A cluster may start a job twice: the process that starts last does the task, the other one stops without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.steps.helpers import Layer, data_files, noise, plan_of, run, write_dataset
from tests.workflow.workflow_helpers import Held, send
from wkpipe import __version__
from wkpipe.errors import TryAgain
from wkpipe.plan.plan import Plan
from wkpipe.runs.job_note import PROCESS_ID_VARIABLE, VERSION_VARIABLE, error_note, job_note
from wkpipe.runs.run import Run
from wkpipe.runs.stored_task import CLAIMS
from wkpipe.steps.task import run_task
from wkpipe.storage.claim import FENCE_SECONDS, Claim, Superseded
from wkpipe.storage.lease import Epoch
from wkpipe.storage.local import Local
from wkpipe.storage.seal import VARIABLE

VALUES = {"chunk_shape": 8, "shard_shape": 16, "compression_level": 22}
LAYER = Layer(noise((1, 160, 96, 96), "uint8", 1), name="em")


@pytest.fixture
def planned(tmp_path: Path) -> Plan:
    write_dataset(tmp_path / "d", LAYER)
    return plan_of(tmp_path / "d", **VALUES)


@pytest.fixture
def begun(planned: Plan) -> Iterator[tuple[Run, Epoch]]:
    started = Run(planned)
    with started.begun() as epoch:
        yield started, epoch


def job(run: Run, task: str, process: str, version: str = __version__, **environment: str) -> psutil.Popen:
    command = [sys.executable, "-P", "-m", "wkpipe", "step", str(run.directory), task, "--no-marker"]
    own = {VARIABLE: run.seal.variable, PROCESS_ID_VARIABLE: process, VERSION_VARIABLE: version}
    return psutil.Popen(command, env=os.environ | own | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def shards(dataset: Path) -> int:
    return sum(1 for path in dataset.glob("em/2*/c/**/*") if path.is_file())


def test_of_two_processes_the_first_one_stops(begun: tuple[Run, Epoch], tmp_path: Path) -> None:
    run_, _ = begun
    dataset, task = run_.locations.dataset, run_.plan.tasks[0].name
    held = Held.after(2, tmp_path / "held")
    first = job(run_, task, "first", **held.environment)
    while shards(dataset) < 2:
        assert first.poll() is None, first.communicate()
        time.sleep(0.005)
    family = [first, *first.children(recursive=True)]
    send(signal.SIGSTOP, family)
    held.let_go()
    assert shards(dataset) < 20, "the first process was to be stopped in the middle of its work"
    second = job(run_, task, "second")
    output, _ = second.communicate(timeout=300)
    assert second.returncode == 0, output
    done = data_files(dataset)
    send(signal.SIGCONT, family)
    output, _ = first.communicate(timeout=300)
    assert first.returncode == TryAgain.exit_code
    assert output == f"another process has taken over the task {task}, so this one stops\n"
    assert error_note(run_.directory, task) == {}
    assert data_files(dataset) == done
    write_dataset(tmp_path / "alone" / "d", LAYER)
    run(tmp_path / "alone" / "d", **VALUES)
    of_one_process = data_files(tmp_path / "alone" / "d")
    assert {name: content for name, content in done.items() if "/c/" in name} == {
        name: content for name, content in of_one_process.items() if "/c/" in name
    }
    assert job_note(run_.directory, task)["process"] == "second"


def test_a_process_that_has_lost_its_task_writes_nothing(begun: tuple[Run, Epoch]) -> None:
    run_, epoch = begun
    place, task = Local(run_.directory / CLAIMS), run_.plan.tasks[0]
    mine = replace(epoch, claim=Claim.taken(place, task.name, "mine"))
    mine.check()
    Claim.taken(place, task.name, "another", wait=lambda _: None)
    with pytest.raises(Superseded, match=f"another process has taken over the task {task.name}"):
        run_task(run_.plan, task, mine)
    assert shards(run_.locations.dataset) == 0
    assert list(run_.locations.dataset.glob(".wkpipe/ledger/em/2/*.segment")) == []
    assert isinstance(mine.cause_of(TryAgain("a temporary file is gone")), Superseded)


def test_a_new_process_waits_only_for_an_older_one(tmp_path: Path) -> None:
    waits: list[float] = []
    for process in ("a", "a", "b"):
        Claim.taken(Local(tmp_path), "task", process, waits.append).check()
    assert waits == [FENCE_SECONDS]


def test_another_version_does_not_begin(begun: tuple[Run, Epoch]) -> None:
    run_, _ = begun
    task = run_.plan.tasks[0].name
    process = job(run_, task, "old", "99.0")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 2
    assert output == f"the job's environment has wkpipe {__version__}, and wkpipe 99.0 has submitted it: use the same version\n"
    assert job_note(run_.directory, task) == {}
