"""A job trusts only files that the process which started its run has written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.steps.helpers import Layer, noise, plan_of, write_dataset
from wkpipe.errors import UsageError
from wkpipe.runs.run import EPOCH_FILE, Run
from wkpipe.runs.stored_task import run_stored_task
from wkpipe.storage.seal import VARIABLE, Seal

FILES = ("plan.json", "layers.jsonl", "tasks.jsonl", EPOCH_FILE)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "dataset", Layer(noise((1, 20, 20, 20), "u1")))
    return tmp_path / "dataset"


def test_lines_are_bound_to_run_file_and_secret() -> None:
    seal, other = Seal.new(), Seal.new()
    line = seal.sealed("a", b"content\n")
    assert seal.opened("a", line) == b"content"
    for wrong, file, text in (
        (seal, "b", line),
        (other, "a", line),
        (Seal(seal.run, b"another secret"), "a", line),
        (seal, "a", line.replace(b"content", b"Content")),
        (seal, "a", b"content\n"),
        (seal, "a", b""),
    ):
        with pytest.raises(UsageError, match="was not written by the process that started the run"):
            wrong.opened(file, text)


def test_a_process_may_belong_to_several_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one, other = Seal.new(), Seal.new()
    monkeypatch.setenv(VARIABLE, f"{one.variable},{other.variable},nonsense")
    for seal in (one, other):
        found = Seal.of_environment(tmp_path / seal.run)
        assert found.opened("a", seal.sealed("a", b"content")) == b"content"
    with pytest.raises(UsageError, match=f"belongs to run {one.run}, {other.run}, not to"):
        Seal.of_environment(tmp_path / "third")
    monkeypatch.delenv(VARIABLE)
    assert Seal.all_of_environment() == []
    with pytest.raises(UsageError, match="is not set"):
        Seal.of_environment(tmp_path / one.run)


def test_the_secret_shows_nowhere_but_in_the_environment(dataset: Path) -> None:
    run = Run(plan_of(dataset))
    with run.begun():
        secret = run.seal.variable.partition(":")[2]
        for path in dataset.rglob("*"):
            assert not path.is_file() or (secret.encode() not in path.read_bytes() and bytes.fromhex(secret) not in path.read_bytes())
        assert secret not in repr(run.seal)


@pytest.mark.parametrize("file", FILES)
def test_a_changed_file_is_not_believed(dataset: Path, file: str) -> None:
    run = Run(plan_of(dataset))
    with run.begun():
        path = run.directory / file
        path.write_bytes(path.read_bytes().replace(b"}\t", b" }\t"))
        with pytest.raises(UsageError, match=f"{file} of run {run.seal.run} was not written"):
            run_stored_task(run.directory, run.plan.tasks[0].name, run.seal)
    assert not (dataset / "layer" / "2" / "c").exists()


@pytest.mark.parametrize("file", ["layers.jsonl", "tasks.jsonl"])
def test_a_line_that_is_missing_is_missed(dataset: Path, file: str) -> None:
    run = Run(plan_of(dataset))
    with run.begun():
        (run.directory / file).write_bytes(b"")
        with pytest.raises(UsageError, match="has no"):
            run_stored_task(run.directory, run.plan.tasks[0].name, run.seal)


def test_a_run_of_another_process_is_neither_executed_nor_continued(dataset: Path) -> None:
    """For example a run that came with the dataset, complete and never changed."""
    run = Run(plan_of(dataset))
    with run.begun():
        task = run.plan.tasks[0].name
        for variable in (None, Seal.new().variable, Seal(run.seal.run, os.urandom(32)).variable, "", "nonsense"):
            environment = {key: value for key, value in os.environ.items() if key != VARIABLE}
            environment |= {} if variable is None else {VARIABLE: variable}
            command = [sys.executable, "-P", "-m", "wkpipe", "step", str(run.directory), task]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
            assert done.returncode == 2, done.stderr
            assert len(done.stderr.splitlines()) == 1
            assert not (run.directory / "jobs").exists(), "nothing is noted for another process's run"
    assert not (dataset / "layer" / "2" / "c").exists()


def test_a_plan_is_not_believed_because_of_its_form(dataset: Path) -> None:
    run = Run(plan_of(dataset))
    with run.begun():
        head = run.seal.opened("plan.json", (run.directory / "plan.json").read_bytes())
        (run.directory / "plan.json").write_text(json.dumps({**json.loads(head), "dataset": "/"}))
        with pytest.raises(UsageError):
            run_stored_task(run.directory, run.plan.tasks[0].name, run.seal)
