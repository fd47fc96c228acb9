"""Declared packages are imported, or say why not; imported packages are declared."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

PRODUCT = ("wkpipe", "snakemake_executor_plugin_wkpipe_kubernetes", "snakemake_executor_plugin_wkpipe_slurm")
DEVELOPMENT = ("tests", "bench", "demo", "containers", "wheels")
IN_ANOTHER_PYTHON = {"webknossos", "cluster_tools"}
"""Imports of scripts that run in the Python of the reference package."""


@pytest.fixture(scope="module")
def pyproject(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def names(requirements: list[Any]) -> set[str]:
    return {normal(re.match(r"[\w.-]+", text)[0]) for text in requirements if isinstance(text, str)}  # type: ignore[index]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(root: Path, directories: tuple[str, ...]) -> set[str]:
    """Return the top-level packages that the files of some directories import, without the standard library and their own modules."""
    found, files = set(), [path for directory in directories for path in (root / directory).rglob("*.py")]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names - {*PRODUCT, *DEVELOPMENT} - {path.stem for path in files}


def distributions(packages: set[str]) -> set[str]:
    known = packages_distributions()
    return {normal(name) for package in packages for name in known.get(package, [package])}


def test_what_is_declared_is_imported_or_says_why_not(root: Path, pyproject: dict[str, Any]) -> None:
    reasons = pyproject["tool"]["wkpipe"]["not-imported"]
    unused = names(pyproject["project"]["dependencies"]) - distributions(imported(root, PRODUCT))
    assert unused == set(reasons)
    assert all(reason.strip() for reason in reasons.values())


def test_what_is_imported_is_declared(root: Path, pyproject: dict[str, Any]) -> None:
    extras = pyproject["project"]["optional-dependencies"].values()
    declared = names(pyproject["project"]["dependencies"]).union(*map(names, extras))
    assert distributions(imported(root, PRODUCT)) <= declared
    for_tests = declared | {name for group in pyproject["dependency-groups"].values() for name in names(group)}
    assert distributions(imported(root, DEVELOPMENT) - IN_ANOTHER_PYTHON) <= for_tests
