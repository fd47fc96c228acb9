"""The page docs/api.md: the members of the library's classes, each with the first line of its docstring.

`python -m tests.api_reference` writes it. Parameters, errors and examples are in the docstrings: `help(wkpipe.Layer.downsample)`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import wkpipe

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"

CHAPTERS: dict[str, tuple[str, ...]] = {
    "Datasets, layers, mags": ("Dataset", "Layer", "SegmentationLayer", "View", "MagView", "RemoteDataset"),
    "Attachments": (
        "Attachments",
        *("Attachment", "MeshAttachment", "AgglomerateAttachment", "SegmentIndexAttachment", "CumsumAttachment", "ConnectomeAttachment"),
        *("SegmentStatisticsAttachment", "AttachmentDataFormat", "AgglomerateGraph"),
    ),
    "Geometry": ("Mag", "NDBoundingBox", "BoundingBox", "NormalizedBoundingBox", "VecInt", "Vec3Int", "Vec3Float"),
    "Metadata": (
        *("VoxelSize", "LengthUnit", "LayerViewConfiguration", "DatasetViewConfiguration", "CoordinateTransformation"),
        *("AffineCoordinateTransformation", "ThinPlateSplineCoordinateTransformation", "DatasetProperties", "LayerProperties"),
        *("MagViewProperties", "AttachmentProperties", "AttachmentsProperties"),
    ),
    "Choices": ("DataFormat", "SamplingMode", "InterpolationMode", "LayerCategory", "LayerCategories"),
}
"""The public classes; a class comes after those that it inherits from."""


def page() -> str:
    """Return the text of docs/api.md."""
    lines = [
        "# The Python library",
        "",
        "The classes of `wkpipe` and their members. A class also has the members of the classes that it is one of. Parameters, errors",
        "and examples, which the tests run, are in the docstrings: `help(wkpipe.Layer.downsample)`. Errors are the classes of",
        "`wkpipe.errors`. docs/api-coverage.md compares the names with those of `webknossos`.",
        "",
        "```python",
        "import numpy as np",
        "import wkpipe as wk",
        "",
        'dataset = wk.Dataset("brain", voxel_size=(4, 4, 40))',
        'layer = dataset.add_layer("em", "color", dtype="uint8", bounding_box=wk.BoundingBox((0, 0, 0), (512, 512, 64)))',
        "layer.add_mag(1).write(np.zeros((512, 512, 64), np.uint8))",
        "layer.downsample()",
        "```",
    ]
    listed: set[type] = set()
    for title, names in CHAPTERS.items():
        lines += ["", f"## {title}"]
        for name in names:
            kind = getattr(wkpipe, name)
            above = [other.__name__ for other in kind.__mro__[1:] if other in listed]
            lines += ["", f"### {name}", "", _first_line(kind) + (f" It is a `{above[0]}`." if above else "")]
            rows = [f"| `{text}` | {what} |" for text, what in sorted(_members(kind, listed))]
            lines += ["", "| member | |", "|---|---|", *rows] if rows else []
            listed.add(kind)
    return "\n".join([*lines, ""])


def _members(kind: type, listed: set[type]) -> Iterator[tuple[str, str]]:
    """Yield the text and the first line of each member that a class does not share with one that is listed already."""
    shared = {base for other in kind.__mro__ if other in listed for base in other.__mro__}
    own = [base for base in kind.__mro__ if base.__module__.startswith("wkpipe") and base not in shared]
    names = {name for base in own for name in vars(base) if not name.startswith("_")}
    for name in names:
        member = inspect.getattr_static(kind, name)
        if isinstance(member, (property, classmethod, staticmethod)) or inspect.isfunction(member):
            yield _text(name, member), _first_line(member)


def _text(name: str, member: Any) -> str:
    if isinstance(member, property):
        return name
    function = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
    parameters = [parameter for parameter in inspect.signature(function).parameters.values() if parameter.name not in ("self", "cls")]
    return f"{name}({', '.join(_parameter(parameter) for parameter in parameters if not parameter.name.startswith('_'))})"


def _parameter(parameter: inspect.Parameter) -> str:
    star = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    return star + parameter.name


def _first_line(member: Any) -> str:
    text = inspect.getdoc(member) or ""
    return text.partition("\n")[0].replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
