"""Errors carry their parts as fields: no code takes the text of an error apart to get at one of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from wkpipe import errors as errors_of_wkpipe

ROOT = Path(__file__).resolve().parents[2]
CUTS = {"split", "rsplit", "partition", "rpartition", "removeprefix", "removesuffix", "splitlines", "find", "index"}
MATCHERS = {"match", "search", "fullmatch", "sub", "split", "findall"}

FOREIGN = {
    "wkpipe/formats/foreign.py": "tensorstore adds the lines of its source to its messages, which have no fields",
    "wkpipe/server/http/broken.py": "httpx gives the status of a proxy only in the text of its error",
}


def texts_taken_apart(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that cut the text of a caught error, or read its arguments."""
    for handler in ast.walk(tree):
        if isinstance(handler, ast.ExceptHandler) and handler.name:
            for statement in handler.body:
                yield from _cuts(statement, {handler.name})
        elif isinstance(handler, ast.FunctionDef | ast.AsyncFunctionDef):
            parameters = (*handler.args.posonlyargs, *handler.args.args, *handler.args.kwonlyargs)
            errors = {each.arg for each in parameters if each.annotation is not None and _is_error(ast.unparse(each.annotation))}
            for statement in handler.body:
                yield from _cuts(statement, errors)


def _is_error(annotation: str) -> bool:
    names = annotation.replace("|", " ").split()
    return any(name.endswith(("Error", "Exception")) or name in vars(errors_of_wkpipe) for name in names)


def _cuts(root: ast.AST, errors: set[str]) -> Iterator[int]:
    for node in ast.walk(root):
        if isinstance(node, ast.Attribute):
            if node.attr == "args" and _names(node.value, errors):
                yield node.lineno
        elif isinstance(node, ast.Subscript):
            if _is_text(node.value, errors):
                yield node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            is_cut = node.func.attr in CUTS and _is_text(node.func.value, errors)
            if is_cut or (node.func.attr in MATCHERS and any(_is_text(argument, errors) for argument in node.args)):
                yield node.lineno


def _is_text(node: ast.expr, errors: set[str]) -> bool:
    """True if an expression is the text of an error, or was cut from it."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):  # a method of a text, as .replace
        return _is_text(node.func.value, errors)
    if isinstance(node, ast.JoinedStr):
        return len(node.values) == 1 and isinstance(node.values[0], ast.FormattedValue) and _names(node.values[0].value, errors)
    is_conversion = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("str", "repr", "one_line")
    return is_conversion and any(_names(argument, errors) for argument in node.args)  # type: ignore[attr-defined]


def _names(node: ast.expr, errors: set[str]) -> bool:
    return isinstance(node, ast.Name) and node.id in errors


def test_no_module_takes_the_text_of_an_error_apart() -> None:
    found = {
        f"{name}:{line}"
        for path in sorted((ROOT / "wkpipe").rglob("*.py"))
        if (name := path.relative_to(ROOT).as_posix()) not in FOREIGN
        for line in texts_taken_apart(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert not found, "read the fields of the error instead"


@pytest.mark.parametrize("name", FOREIGN)
def test_every_exception_is_needed(name: str) -> None:
    assert [*texts_taken_apart(ast.parse((ROOT / name).read_text(encoding="utf-8")))]


@pytest.mark.parametrize(
    "line",
    [
        'str(error).partition(";")',
        'str(error).split(";")[0]',
        'str(error).strip().removeprefix("a")',
        "str(error)[:3]",
        "error.args[0]",
        're.sub("a", "", str(error))',
        'f"{error}".split()',
    ],
)
def test_the_check_sees_a_text_that_is_taken_apart(line: str) -> None:
    assert [*texts_taken_apart(ast.parse(f"try:\n    pass\nexcept ValueError as error:\n    x = {line}\n"))] != []
    assert [*texts_taken_apart(ast.parse(f"def text_of(error: ValueError | None) -> str:\n    return {line}\n"))] != []


@pytest.mark.parametrize("line", ["str(error)", 'text.split(";")', 'error.fix.split(";")', "error.but(fix='')", 'f"{where}: {error}"'])
def test_the_check_allows_fields_and_whole_texts(line: str) -> None:
    assert [*texts_taken_apart(ast.parse(f"try:\n    pass\nexcept ValueError as error:\n    x = {line}\n"))] == []
