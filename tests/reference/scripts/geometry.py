"""Evaluate expressions of the public geometry; run by the reference package's Python, and imported by the test for wkpipe.

usage: geometry.py EXPRESSIONS OUTCOMES, two JSON files: a list of expressions, and the outcome of each.
"""

import importlib
import json
import sys
from pathlib import Path

import numpy as np

KINDS = (LookupError, ValueError, AssertionError, TypeError, ArithmeticError, AttributeError)


def plain(value):
    """Return a value as JSON that is the same for both packages: what it is, and its contents."""
    kind = type(value).__name__
    if kind in ("BoundingBox", "NDBoundingBox", "NormalizedBoundingBox"):
        return [kind, list(value.axes), [int(v) for v in value.topleft], [int(v) for v in value.size]]
    if kind in ("VecInt", "Vec3Int", "Vec3Float", "Mag"):
        return [kind, *([list(value.axes)] if kind == "VecInt" else []), list(value)]
    if isinstance(value, slice):
        return ["slice", value.start, value.stop]
    if isinstance(value, dict):
        return {str(plain(key)): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray):
        return ["array", value.shape, value.tolist()]
    if isinstance(value, np.generic):
        return value.item()
    return value if value is None or isinstance(value, (bool, int, float, str)) else kind


def outcome(expression, names):
    """Return the value of an expression, or that it is refused."""
    try:
        value = eval(expression, dict(names))
        return plain(list(value) if hasattr(value, "__next__") else value)
    except KINDS:
        return "refused"


def names_of(package):
    module = importlib.import_module(package)
    names = ("BoundingBox", "NDBoundingBox", "NormalizedBoundingBox", "Mag", "Vec3Int", "VecInt", "Vec3Float", "VoxelSize", "LengthUnit")
    return {name: getattr(module, name) for name in names} | {"np": np}


def main(expressions, outcomes):
    names = names_of("webknossos")
    found = [outcome(expression, names) for expression in json.loads(Path(expressions).read_text())]
    Path(outcomes).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
