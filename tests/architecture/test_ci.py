"""`.ci/run` in a small repository: tests that failed run once more, and the summary names those that passed then."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MAKEFILE = """
.PHONY: $(MAKECMDGOALS)
venv lint kubernetes-parts:
test test-numpy test-wheels test-slow test-fuzz test-slurm test-reference test-kubernetes:
\t$(PYTHON) -m pytest -p xdist.plugin -q -n 1 $@ $(ARGS)
"""
CONFTEST = """
import os
from pathlib import Path
import pytest
if "PYTEST_XDIST_WORKER" not in os.environ:
    from tests.conftest import pytest_terminal_summary

@pytest.fixture
def first(request):
    '''True in the first try of a test.'''
    return is_first(request.path)

def is_first(path):
    mark = Path(path).with_suffix(".seen")
    found = not mark.exists()
    mark.touch()
    return found
"""
RACE = """
import pytest
def test_that_passes(): pass
@pytest.mark.parametrize("name", ["a b"])
def test_race(first, name): assert not first
"""
TEARDOWN = """
import pytest
@pytest.fixture
def cleaned(first):
    yield
    assert not first
def test_with_a_race_at_its_end(cleaned): pass
"""
BROKEN = "def test_broken(): assert False"
AT_COLLECTION = """
from conftest import is_first
assert not is_first(__file__)
def test_collected(): pass
"""
CRASH = """
import os
def test_crash(first):
    if first: os._exit(1)
"""
SKIPPED = """
import pytest
def test_skipped_at_the_second_try(first):
    if not first: pytest.skip("no daemon")
    assert False
"""
SUITES = {
    "test": {"test_race.py": RACE, "test_teardown.py": TEARDOWN},
    "test-numpy": {"test_broken.py": BROKEN, "test_race.py": RACE},
    "test-wheels": {"test_at_collection.py": AT_COLLECTION, "test_race.py": RACE},
    "test-slow": {"test_skipped.py": SKIPPED},
    "test-fuzz": {"test_crash.py": CRASH},
    "test-slurm": {"test_passes.py": "def test_passes(): pass"},
    "test-reference": {"test_passes.py": "def test_passes(): pass"},
    "test-kubernetes": {"test_nothing.py": ""},
}


@pytest.mark.slow
def test_tests_that_failed_run_once_more(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / ".ci", tmp_path / ".ci")
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for suite, files in SUITES.items():
        (tmp_path / suite).mkdir()
        for name, text in files.items():
            (tmp_path / suite / name).write_text(text)
    nothing = tmp_path / "bin" / "apt-get"  # this test installs no packages
    nothing.parent.mkdir()
    nothing.write_text("#!/bin/sh\n")
    nothing.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "MAKE", "MFLAGS", "CI_MINUTES"))}
    given = {"PYTHON": sys.executable, "PYTHONPATH": str(root), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment = kept | given | {"PATH": f"{nothing.parent}:{os.environ['PATH']}"}

    done = subprocess.run([".ci/run"], cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    lines = done.stdout.partition("=== all")[2].splitlines()[1:]
    found = {line.split()[0]: line.partition(" s   ")[2] for line in lines}
    assert done.returncode == 1, done.stderr
    assert found.pop("packages", "passed") == "passed"
    assert found == {
        "install": "passed",
        "lint": "passed",
        "test": "passed, 2 test(s) at the second try: test/test_race.py::test_race[a b] test/test_teardown.py::test_with_a_race_at_its_end",
        "test-numpy": "FAILED (2)",
        "test-wheels": "FAILED (2)",
        "test-slow": "FAILED (1)",
        "test-fuzz": "passed, 1 test(s) at the second try: test-fuzz/test_crash.py::test_crash",
        "test-slurm": "passed",
        "test-reference": "passed",
        "test-kubernetes": "FAILED (2)",
    }, done.stdout + done.stderr
    assert "second try of" not in done.stdout.partition("=== test-wheels")[2].partition("=== test-slow")[0], "not all tests had run"
