"""Imports run one way, and no module is too long to read."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

MOST_LINES = 300
ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "wkpipe").rglob("*.py"))


def _id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_imports_run_one_way(root: Path) -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache"]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", MODULES, ids=_id)
def test_module_fits_on_a_few_screens(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{_id(path)} has {lines} lines, at most {MOST_LINES} are allowed: split it by nouns of the field"


@pytest.mark.parametrize("path", [path for path in MODULES if "cli" not in path.parts], ids=_id)
def test_nobody_inside_imports_the_public_root(path: Path) -> None:
    """`from wkpipe import Dataset` within wkpipe would bypass the one-way rule, because the root imports everything."""
    offences = [f"{_id(path)}:{node.lineno}" for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if _imports_the_root(node)]
    assert not offences


def _imports_the_root(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        submodules = {path.stem for path in (ROOT / "wkpipe").iterdir()}
        return node.module == "wkpipe" and any(name.name not in submodules | {"__version__"} for name in node.names)
    return isinstance(node, ast.Import) and any(name.name == "wkpipe" for name in node.names)
