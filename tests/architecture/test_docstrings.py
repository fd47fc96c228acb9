"""The public API explains itself: every class and member has a docstring, every class an example, and all examples run."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wkpipe

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = sorted(name for name in wkpipe.__all__ if isinstance(getattr(wkpipe, name), type))
PARTS = {base.__name__ for name in PUBLIC for base in getattr(wkpipe, name).__mro__ if base.__module__.startswith("wkpipe")}
"""The public classes and their bases."""

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _has_examples(path: Path) -> bool:
    return ">>> " in path.read_text(encoding="utf-8")


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = sorted(_name(path) for path in (ROOT / "wkpipe").rglob("*.py") if _has_examples(path))


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the public members of a class that are wkpipe's own, including those of its bases."""
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("wkpipe"):
            for name, member in vars(base).items():
                if not name.startswith("_") and (callable(member) or isinstance(member, (property, classmethod, staticmethod))):
                    yield f"{base.__name__}.{name}", member


@pytest.mark.parametrize("name", PUBLIC)
def test_public_class_has_an_example(name: str) -> None:
    assert ">>> " in (inspect.getdoc(getattr(wkpipe, name)) or ""), f"wkpipe.{name} has no example"


@pytest.mark.parametrize("name", PUBLIC)
def test_public_member_has_a_docstring(name: str) -> None:
    missing = [member for member, value in members(getattr(wkpipe, name)) if not inspect.getdoc(value)]
    assert not missing


SECTIONS = ["Parameters", "Attributes", "Returns", "Yields", "Raises", "Examples"]
"""The sections of numpy's form, in their order."""


@pytest.mark.parametrize("name", PUBLIC)
def test_public_docstrings_have_numpys_form(name: str) -> None:
    """Parameters and errors are read by tools and notebooks; within wkpipe, docstrings have the shorter form `Raises:`."""
    kind = getattr(wkpipe, name)
    made = [(f"{name}.__init__", kind.__init__)] if getattr(kind.__init__, "__module__", "").startswith("wkpipe") else []
    for member, value in [(name, kind), *made, *members(kind)]:
        lines = (inspect.getdoc(value) or "").splitlines()
        short = [line for line in lines if line.strip().rstrip(":") in ("Args", *SECTIONS) and line.strip().endswith(":")]
        assert not short, f"{member}: {short[0].strip()} is not numpy's form"
        titles = [title for title, line in itertools.pairwise(lines) if line and set(line) == {"-"}]
        assert titles == [section for section in SECTIONS if section in titles], f"{member}: sections {titles}"
        assert any(line.startswith(">>> ") for line in lines) == ("Examples" in titles), f"{member}: examples have no heading, or it none"


@pytest.mark.parametrize("name", ["Dataset", "Layer", "SegmentationLayer", "View", "MagView"])
def test_method_of_the_facade_has_an_example(name: str) -> None:
    """Old names refer to the new one, and servers are not there when examples run."""
    methods = [(member, inspect.getdoc(value) or "") for member, value in members(getattr(wkpipe, name)) if not isinstance(value, property)]
    lacking = {member for member, text in methods if ">>> " not in text and "old name of" not in text.partition("\n")[0].lower()}
    inherited = {member for member in lacking if ">>> " in (inspect.getdoc(getattr(getattr(wkpipe, name), member.partition(".")[2])) or "")}
    assert {member for member in lacking - inherited if not member.startswith("DatasetServer.")} == set()


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each docstring's examples run in a directory of their own; those of the public API import what they use, as a user must."""
    module = importlib.import_module(name)
    tests = [test for test in doctest.DocTestFinder().find(module) if test.examples]
    assert {test.name for test in tests} >= {f"{name}.{place}" for place in _places_with_examples(ROOT / f"{name.replace('.', '/')}.py")}
    assert not any(doctest.SKIP in example.options for test in tests for example in test.examples)
    for number, test in enumerate(tests):
        directory = tmp_path / str(number)
        directory.mkdir()
        monkeypatch.chdir(directory)
        if test.name.removeprefix(f"{name}.").split(".")[0] in PARTS:
            test.globs = {}
        report: list[str] = []
        result = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append)
        assert result.failed == 0, "".join(report)


def _places_with_examples(path: Path) -> list[str]:
    """Return the classes and functions of a module whose docstrings have examples; decorators must not hide them."""
    if not path.exists():
        return []
    found = []

    def look(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.ClassDef, ast.FunctionDef)):
                if ">>> " in (ast.get_docstring(child) or ""):
                    found.append(prefix + child.name)
                look(child, f"{prefix}{child.name}.")

    look(ast.parse(path.read_text(encoding="utf-8")), "")
    return found
