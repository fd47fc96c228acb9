"""The origins by their names in recipes: wkpipe's own, and those of other distributions."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from wkpipe.errors import UsageError
from wkpipe.geometry import Mag
from wkpipe.geometry.box import Box
from wkpipe.metadata.json_node import JsonNode
from wkpipe.plan.mag_plan import MagPlan, Origin
from wkpipe.plan.origins.from_array import FromArray
from wkpipe.plan.origins.from_coarser import FromCoarser
from wkpipe.plan.origins.from_images import FromImages
from wkpipe.plan.origins.from_mag import FromMag
from wkpipe.plan.origins.from_server import FromServer
from wkpipe.plan.spec_json import spec_from_json

ENTRY_POINTS = "wkpipe.origins"
"""The group in which an installed distribution names its origins: ``kind = "module:Class"``. A recipe only chooses among these."""

_classes: dict[str, type[Origin[Any]]] = {cls.kind: cls for cls in (FromArray, FromImages, FromMag, FromCoarser, FromServer)}


def origin_class(kind: str) -> type[Origin[Any]] | None:
    """Return the origin with this name; None if no distribution has it."""
    if kind not in _classes:
        for entry in entry_points(group=ENTRY_POINTS, name=kind):
            _classes[kind] = entry.load()
    return _classes.get(kind)


def mag_plan_from_json(values: Mapping[str, Any]) -> MagPlan:
    """Return the plan that a recipe or a stored plan holds; the types of its values must have been checked.

    Raises:
        UsageError: no distribution has the origin.
        KeyError, TypeError, ValueError: a key is missing or its value is wrong.
    """
    origin = origin_class(values["kind"])
    if origin is None:
        raise UsageError(f"there is no origin named {values['kind']}", fix="install its distribution where the jobs run")
    return MagPlan(
        layer=values["layer"],
        mag=Mag(values["mag"]),
        spec=spec_from_json(values["spec"]),
        box=Box.from_json(values["box"]),
        origin=origin.from_json(values),
        made_as=values.get("made_as"),
    )


def check_origin(recipe: JsonNode) -> None:
    """Check that a recipe names an origin and that its values have the right types.

    Raises:
        MetadataError: they do not; the error names the key.
    """
    kind = recipe.child("kind")
    origin = origin_class(kind.text())
    if origin is None:
        raise kind.error("one of " + ", ".join(_classes))
    origin.check_json(recipe)
