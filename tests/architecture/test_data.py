"""The shipped data of the tests are small and described; skipped tests are counted."""

from __future__ import annotations

import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

from tests.material import ABSENT, DATA

LIMIT = 10_000_000


def test_the_data_are_small() -> None:
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) <= LIMIT


def test_origin_and_licence_of_each_are_said() -> None:
    table = (DATA / "README.md").read_text(encoding="utf-8").split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("| `")]
    assert all(len(row) == 4 and all(row) for row in rows)
    patterns = [name + "*" * name.endswith("/") for row in rows for name in row[0].split("`")[1::2]]
    files = [path.relative_to(DATA).as_posix() for path in DATA.rglob("*") if path.is_file()]
    assert [file for file in files if not any(fnmatchcase(file, pattern) for pattern in patterns)] == ["README.md"]


def test_skipped_tests_are_counted_in_one_line(root: Path, tmp_path: Path) -> None:
    """In a copy of the tests with nothing beside it."""
    clone = tmp_path / "clone"
    for name in ("conftest.py", "material.py", "outcome.py", "sample.py", "summary.py", "__init__.py"):
        (clone / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / "tests" / name).write_bytes((root / "tests" / name).read_bytes())
    (clone / "pyproject.toml").write_bytes((root / "pyproject.toml").read_bytes())
    text = "import pytest\nfrom tests.material import material\n\n"
    text += "@pytest.mark.parametrize('i', range(3))\ndef test_a(i):\n    material('data/nothing')\n\n"
    text += "def test_b():\n    material('golden/nothing')\n\ndef test_c():\n    pytest.skip('another reason')\n"
    (clone / "tests" / "test_some.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-n", "2", "-p", "no:cacheprovider", "tests"]
    result = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
    lines = [line for line in result.stdout.splitlines() if "SKIPPED" in line]
    assert lines == [f"SKIPPED 4: {ABSENT}", "SKIPPED 1: another reason"], result.stdout + result.stderr
