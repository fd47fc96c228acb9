"""Attachments: files that belong to a segmentation layer, such as meshes and agglomerates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from wkpipe.metadata.json_node import JsonNode, merged

_LISTS: Final = {"meshes": "meshes", "agglomerates": "agglomerates", "connectomes": "connectomes"}
_SINGLE: Final = {"segmentIndex": "segment_index", "segmentStatistics": "segment_statistics", "cumsum": "cumsum"}


def directory_of(kind: str) -> str:
    """Return the name of the directory for attachments of a field, below that of the layer.

    >>> directory_of("segment_index")
    'segmentIndex'
    """
    return next(key for key, name in {**_LISTS, **_SINGLE}.items() if name == kind)


@dataclass(frozen=True)
class AttachmentProperties:
    """One attachment: its name, path (text as in the file), and format (zarr3, hdf5, json, …).

    Examples
    --------
    >>> from wkpipe import AttachmentProperties
    >>> AttachmentProperties("main", "./cells/meshes/main.hdf5", "hdf5").name
    'main'
    """

    name: str
    path: str
    data_format: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, node: JsonNode) -> AttachmentProperties:
        """Read ``{"name", "path", "dataFormat"}``.

        Raises
        ------
        MetadataError
            a key is missing or not a text.
        """
        name, path, data_format = (node.child(key).text() for key in ("name", "path", "dataFormat"))
        return cls(name, path, data_format, node.unknown(("name", "path", "dataFormat")))

    def to_json(self) -> dict[str, Any]:
        """Return the object to write."""
        return merged({"name": self.name, "path": self.path, "dataFormat": self.data_format}, self.extra)


@dataclass(frozen=True)
class AttachmentsProperties:
    """The attachments of a layer. extra: containers and keys that wkpipe does not know, kept as they are.

    Examples
    --------
    >>> from wkpipe import AttachmentsProperties
    >>> AttachmentsProperties().meshes
    ()
    """

    meshes: tuple[AttachmentProperties, ...] = ()
    agglomerates: tuple[AttachmentProperties, ...] = ()
    connectomes: tuple[AttachmentProperties, ...] = ()
    segment_index: AttachmentProperties | None = None
    segment_statistics: AttachmentProperties | None = None
    cumsum: AttachmentProperties | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, node: JsonNode | None) -> AttachmentsProperties:
        """Read the object; a missing one is empty.

        Raises
        ------
        MetadataError
            an attachment is broken.
        """
        if node is None:
            return cls()
        values: dict[str, Any] = {}
        for key, name in _LISTS.items():
            found = node.get(key)
            values[name] = () if found is None else tuple(AttachmentProperties.from_json(item) for item in found.items())
        for key, name in _SINGLE.items():
            found = node.get(key)
            values[name] = None if found is None else AttachmentProperties.from_json(found)
        return cls(**values, extra=node.unknown((*_LISTS, *_SINGLE)))

    def each(self) -> Iterator[tuple[str, AttachmentProperties]]:
        """Yield all attachments, each with the name of its field."""
        for name in (*_LISTS.values(), *_SINGLE.values()):
            found = getattr(self, name)
            for item in found if isinstance(found, tuple) else (found,):
                if item is not None:
                    yield name, item

    def with_added(self, kind: str, new: AttachmentProperties) -> AttachmentsProperties:
        """Return them with one more in the field `kind`, or with another one in a field that has only one."""
        values: dict[str, Any] = {kind: (*getattr(self, kind), new) if kind in _LISTS.values() else new}
        return replace(self, **values)

    def with_other(self, kind: str, old: AttachmentProperties, new: AttachmentProperties | None) -> AttachmentsProperties:
        """Return them with another attachment, or none, in the place of one."""
        values: dict[str, Any] = {kind: new}
        if kind in _LISTS.values():
            changed = (new if item == old else item for item in getattr(self, kind))
            values = {kind: tuple(item for item in changed if item is not None)}
        return replace(self, **values)

    def with_paths(self, path_of: Callable[[str], str]) -> AttachmentsProperties:
        """Return the same attachments with other paths, which `path_of` returns for those in the file."""

        def moved(attachment: AttachmentProperties) -> AttachmentProperties:
            return replace(attachment, path=path_of(attachment.path))

        values: dict[str, Any] = {name: tuple(map(moved, getattr(self, name))) for name in _LISTS.values()}
        values |= {name: moved(found) for name in _SINGLE.values() if (found := getattr(self, name)) is not None}
        return replace(self, **values)

    def to_json(self) -> dict[str, Any]:
        """Return the object to write; empty if there are no attachments."""
        known: dict[str, Any] = {}
        for key, name in _LISTS.items():
            if attachments := getattr(self, name):
                known[key] = [attachment.to_json() for attachment in attachments]
        for key, name in _SINGLE.items():
            if (attachment := getattr(self, name)) is not None:
                known[key] = attachment.to_json()
        return merged(known, self.extra)
