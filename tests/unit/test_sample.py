"""The sampling of large families of tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sample import SEED_VARIABLE, WHOLE_VARIABLE, header, is_chosen, is_whole, seed_of

NAMES = [f"tests/a.py::test[{i}]" for i in range(4000)]


@pytest.mark.parametrize("every", [1, 2, 5, 10])
def test_a_sample_has_its_share(every: int) -> None:
    count = sum(is_chosen(name, every, "seed") for name in NAMES)
    assert 0.7 * len(NAMES) / every <= count <= 1.3 * len(NAMES) / every


def test_each_case_is_chosen_for_some_commit() -> None:
    left = set(NAMES)
    for commit in range(200):
        left -= {name for name in left if is_chosen(name, 10, str(commit))}
    assert not left


def test_the_seed_is_the_commit_or_what_is_given(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(WHOLE_VARIABLE, raising=False)
    monkeypatch.setenv(SEED_VARIABLE, "abc")
    assert seed_of(root) == "abc"
    assert "WKPIPE_SAMPLE_SEED=abc" in header(root, [])
    monkeypatch.delenv(SEED_VARIABLE)
    assert seed_of(tmp_path) == "no commit"
    monkeypatch.setenv(WHOLE_VARIABLE, "1")
    assert header(root, []).endswith("whole")


def test_a_run_that_names_files_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WHOLE_VARIABLE, raising=False)
    assert not is_whole(["tests"])
    assert not is_whole(["tests/slurm", "tests/steps"])
    assert is_whole(["tests/steps/test_resume.py"])
    assert is_whole(["tests/steps/test_resume.py::test_interrupted"])
