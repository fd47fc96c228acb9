"""The dataset that a conversion or a download makes: where it is, and what an earlier run has left there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from wkpipe.errors import AlreadyExists, NotWritable, one_line
from wkpipe.geometry import Mag
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.plan.config import Config
from wkpipe.plan.state.recipe import conversion_identity, load_conversion
from wkpipe.stored.lease import elsewhere_text, state_elsewhere
from wkpipe.stored.locations import STATE_NAME, Locations


@dataclass(frozen=True)
class Target:
    """A dataset that is made from a source.

    identity: that of source and parameters. published: the properties that an earlier run of the same conversion has written.
    remove_target: True if something else is there and is deleted first.
    """

    locations: Locations
    identity: Mapping[str, Any]
    published: DatasetProperties | None
    remove_target: bool

    @classmethod
    def found(cls, config: Config, locations: Locations, identity: Mapping[str, Any]) -> Target:
        """Return the target if it is free or an earlier run of the same conversion has begun it.

        Raises:
            AlreadyExists: it holds something else.
        """
        place = locations.data
        if place.has("") and not place.is_directory():
            raise AlreadyExists(f"{config.target} is a file", fix="choose a directory for the dataset")
        earlier = load_conversion(locations)
        file = locations.properties_file()
        if earlier is not None and conversion_identity(earlier) == identity:
            published = file.read() if file.is_there() else None
            return cls(locations if published is None else locations.published(published), identity, published, False)
        if not {*place.names()} - {STATE_NAME}:
            return cls(locations, identity, None, earlier is not None)
        if not config.overwrite_existing:
            differences = "" if earlier is None else _differences(earlier, identity)
            how = "exists and is not empty" if earlier is None else f"was converted with other parameters ({differences})"
            raise AlreadyExists(f"{config.target} {how}", fix=_advice(locations, earlier is not None))
        if earlier is None and not file.is_there():
            raise AlreadyExists(f"{config.target} is not a dataset and is not deleted", fix="choose another target, or remove it yourself")
        return cls(locations, identity, None, True)

    @property
    def discarded(self) -> Target:
        """The same target, with everything in it deleted first."""
        return replace(self, published=None, remove_target=True)

    def registered(self, layer: str) -> list[Mag]:
        """Return the mags of a layer that an earlier run of the same conversion has published."""
        if self.published is None or not self.published.has_layer(layer):
            return []
        return [entry.mag for entry in self.published.layer(layer).mags]


def _advice(locations: Locations, is_known: bool) -> str:
    """Return what to do about a target that holds something else; deletion only if it is possible and no state is elsewhere."""
    if not is_known and (state := state_elsewhere(locations)) is not None:
        return f"{elsewhere_text(state)}; or choose another target"
    try:
        locations.data.check_removable(fix="choose another target")
    except NotWritable as reason:
        return str(reason)
    hint = "" if is_known else "give the --state-dir that it was made with, if any, "
    return f"choose another target, {hint}or pass --overwrite-existing to delete it first"


def _differences(earlier: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    """Return the parameters in which an earlier run and this one differ, with both values."""
    before = {"source": earlier.get("source")} | dict(earlier.get("params", {}))
    now = {"source": identity["source"]} | dict(identity["params"])
    keys = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    shown = [(key, *(one_line(each.get(key, "default"), 120) for each in (before, now))) for key in keys]
    return ", ".join(f"{key}: {earlier}, now {wanted}" for key, earlier, wanted in shown)
