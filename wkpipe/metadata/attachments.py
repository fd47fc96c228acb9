"""Attachments: files that belong to a segmentation layer, such as meshes and agglomerates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from wkpipe.metadata.json_node import JsonNode, merged

_LISTS: Final = {"meshes": "meshes", "agglomerates": "agglomerates", "connectomes": "connectomes"}
_SINGLE: Final = {"segmentIndex": "segment_index", "segmentStatistics": "segment_statistics", "cumsum": "cumsum"}


@dataclass(frozen=True)
class Attachment:
    """One attachment: its name, path (text as in the file), and format (zarr3, hdf5, json, …)."""

    name: str
    path: str
    data_format: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, node: JsonNode) -> Attachment:
        """Read ``{"name", "path", "dataFormat"}``.

        Raises:
            MetadataError: a key is missing or not a text.
        """
        name, path, data_format = (node.child(key).text() for key in ("name", "path", "dataFormat"))
        return cls(name, path, data_format, node.unknown(("name", "path", "dataFormat")))

    def to_json(self) -> dict[str, Any]:
        return merged({"name": self.name, "path": self.path, "dataFormat": self.data_format}, self.extra)


@dataclass(frozen=True)
class Attachments:
    """All attachments of a layer. extra: containers and keys that wkpipe does not know, kept as they are."""

    meshes: tuple[Attachment, ...] = ()
    agglomerates: tuple[Attachment, ...] = ()
    connectomes: tuple[Attachment, ...] = ()
    segment_index: Attachment | None = None
    segment_statistics: Attachment | None = None
    cumsum: Attachment | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, node: JsonNode | None) -> Attachments:
        """Read the object; a missing one is empty.

        Raises:
            MetadataError: an attachment is broken.
        """
        if node is None:
            return cls()
        values: dict[str, Any] = {}
        for key, name in _LISTS.items():
            found = node.get(key)
            values[name] = () if found is None else tuple(Attachment.from_json(item) for item in found.items())
        for key, name in _SINGLE.items():
            found = node.get(key)
            values[name] = None if found is None else Attachment.from_json(found)
        return cls(**values, extra=node.unknown((*_LISTS, *_SINGLE)))

    def to_json(self) -> dict[str, Any]:
        """Return the object to write; empty where there is nothing."""
        known: dict[str, Any] = {}
        for key, name in _LISTS.items():
            if attachments := getattr(self, name):
                known[key] = [attachment.to_json() for attachment in attachments]
        for key, name in _SINGLE.items():
            if (attachment := getattr(self, name)) is not None:
                known[key] = attachment.to_json()
        return merged(known, self.extra)
