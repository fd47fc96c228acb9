"""The modules of the public API import each other in no circle, not even for type checkers, except for the façade classes."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = "wkpipe.dataset"
FACADE = {"Dataset", "Layer", "SegmentationLayer", "MagView", "View"}
"""A layer knows its dataset and a mag its layer: these names, and no others, may be imported upwards, for type checkers only."""


def modules_of(folder: Path) -> dict[str, str]:
    """Return the source of all modules of the package by their full names."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        found[".".join([PACKAGE, *(part for part in parts if part != "__init__")])] = path.read_text(encoding="utf-8")
    return found


def imports(node: ast.AST, for_types: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Yield all imports, also those in functions, each with True if only type checkers see it."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        yield node, for_types
        return
    for field, value in ast.iter_fields(node):
        inside = for_types or (isinstance(node, ast.If) and field == "body" and ast.unparse(node.test).endswith("TYPE_CHECKING"))
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from imports(child, inside)


def targets(node: ast.Import | ast.ImportFrom, modules: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the module of the package that each name comes from, and the name."""
    for alias in node.names:
        if isinstance(node, ast.Import):
            yield alias.name, alias.name
        elif f"{node.module}.{alias.name}" in modules:
            yield f"{node.module}.{alias.name}", alias.name
        else:
            yield node.module or "", alias.name


def circle(modules: Mapping[str, str]) -> list[str]:
    """Return the modules of a circle of imports; an empty list if there is none."""
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for name, text in modules.items():
        for node, for_types in imports(ast.parse(text)):
            graph[name] |= {module for module, what in targets(node, modules) if module in modules and not (for_types and what in FACADE)}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_the_public_api_has_no_circle(root: Path) -> None:
    modules = modules_of(root / "wkpipe" / "dataset")
    assert len(modules) > 20
    assert circle(modules) == []


def _circle_of(a: str, b: str) -> list[str]:
    return circle({f"{PACKAGE}.a": a, f"{PACKAGE}.b": b, PACKAGE: f"from {PACKAGE}.a import A"})


@pytest.mark.parametrize(
    "text",
    [
        f"from {PACKAGE}.a import Layer",
        f"import {PACKAGE}.a",
        f"from {PACKAGE} import a",
        f"from {PACKAGE} import A",
        f"def f():\n    from {PACKAGE}.a import Layer",
        f"if TYPE_CHECKING:\n    from {PACKAGE}.a import Other",
        f"if typing.TYPE_CHECKING:\n    from {PACKAGE}.a import Layer, Other",
        f"if TYPE_CHECKING:\n    pass\nelse:\n    from {PACKAGE}.a import Layer",
        f"try:\n    from {PACKAGE}.a import Layer\nexcept ImportError:\n    pass",
    ],
)
def test_the_check_sees_circles(text: str) -> None:
    assert f"{PACKAGE}.b" in _circle_of(f"from {PACKAGE}.b import B", text)


@pytest.mark.parametrize("text", ["", "import os", f"if TYPE_CHECKING:\n    from {PACKAGE}.a import Layer, Dataset"])
def test_the_check_allows_the_names_of_the_facade_for_types(text: str) -> None:
    assert _circle_of(f"from {PACKAGE}.b import B", text) == []
