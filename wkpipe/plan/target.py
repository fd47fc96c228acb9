"""The dataset that a conversion or a download makes: where it lies, and what an earlier run has left there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from wkpipe.errors import AlreadyExists, NotWritable
from wkpipe.geometry import Mag
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.store import PropertiesFile
from wkpipe.plan.config import Config
from wkpipe.plan.recipe import load_conversion
from wkpipe.storage.access import check_removable
from wkpipe.stored.lease import elsewhere_text, state_elsewhere
from wkpipe.stored.locations import STATE_NAME, Locations


@dataclass(frozen=True)
class Target:
    """A dataset that is made of a source.

    identity: of source and parameters. published: the properties that an earlier run of the same has written. remove_target:
    something else is there, which is to be deleted first.
    """

    locations: Locations
    identity: Mapping[str, Any]
    published: DatasetProperties | None
    remove_target: bool

    @classmethod
    def found(cls, config: Config, locations: Locations, identity: Mapping[str, Any]) -> Target:
        """See whether the target is free, or is what an earlier run left.

        Raises:
            AlreadyExists: it holds something else.
        """
        root = locations.dataset
        if root.exists() and not root.is_dir():
            raise AlreadyExists(f"{config.target} is a file; choose a directory for the dataset")
        earlier = load_conversion(locations)
        file = PropertiesFile(root, locations.state)
        if earlier == identity:
            return cls(locations, identity, file.read() if file.exists() else None, False)
        if not root.is_dir() or not any(entry.name != STATE_NAME for entry in root.iterdir()):
            return cls(locations, identity, None, earlier is not None)
        if not config.overwrite_existing:
            differences = "" if earlier is None else _differences(earlier, identity)
            how = "exists and is not empty" if earlier is None else f"was converted with other parameters ({differences})"
            raise AlreadyExists(f"{config.target} {how}; {_advice(locations, earlier is not None)}")
        if earlier is None and not file.exists():
            raise AlreadyExists(f"{config.target} is not a dataset and is not deleted; choose another target or remove it yourself")
        return cls(locations, identity, None, True)

    @property
    def discarded(self) -> Target:
        """The same target, of which nothing is kept."""
        return replace(self, published=None, remove_target=True)

    def registered(self, layer: str) -> list[Mag]:
        """Return the mags of a layer that an earlier run of the same has published."""
        if self.published is None or not self.published.has_layer(layer):
            return []
        return [entry.mag for entry in self.published.layer(layer).mags]


def _advice(locations: Locations, is_known: bool) -> str:
    """Say what to do about a target that holds something else; deletion only if it is possible, and if no state is known elsewhere."""
    if not is_known and (state := state_elsewhere(locations)) is not None:
        return f"{elsewhere_text(state)}; or choose another target"
    try:
        check_removable(locations.dataset, "choose another target")
    except NotWritable as reason:
        return str(reason)
    hint = "" if is_known else "give the --state-dir that it was made with, if any, "
    return f"choose another target, {hint}or pass --overwrite-existing to delete it first"


def _differences(earlier: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    """Name what an earlier run and this one have different, with both values."""
    before = {"source": earlier.get("source")} | dict(earlier.get("params", {}))
    now = {"source": identity["source"]} | dict(identity["params"])
    keys = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    return ", ".join(f"{key}: {before.get(key, 'default')}, now {now.get(key, 'default')}" for key in keys)
