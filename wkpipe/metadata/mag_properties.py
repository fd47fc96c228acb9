"""MagProperties: the entry of a mag in datasource-properties.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from wkpipe.geometry import Mag
from wkpipe.metadata.axis_order import AxisOrder
from wkpipe.metadata.json_node import JsonNode, merged

_KEYS: Final = ("mag", "path", "cubeLength", "axisOrder", "channelIndex")
_OLD_KEYS: Final = ("resolution", "cubeLength")
_MAX_MAG: Final = 2**30
_MAX_CHANNEL: Final = 2**16
_LONGEST_PATH: Final = 3000
_LONGEST_NAME: Final = 255


@dataclass(frozen=True)
class MagProperties:
    """A mag as datasource-properties.json describes it.

    path: as in the file (relative to the dataset, absolute, or a URL); None in old files: then the mag is in the layer's
    directory under its short or long name. cube_length: edge of a WKW file in voxels. axis_order: None = the layer's.
    channel_index: the first channel in the array. extra: unknown keys, kept as they are.

    Examples
    --------
    >>> from wkpipe import Mag, MagViewProperties
    >>> MagViewProperties(Mag(2), "./em/2").channel_index
    0
    """

    mag: Mag
    path: str | None = None
    cube_length: int | None = None
    axis_order: AxisOrder | None = None
    channel_index: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_remote(self) -> bool:
        """True if the path is a URL, as of an object on S3."""
        return self.path is not None and "://" in self.path

    @classmethod
    def from_json(cls, node: JsonNode) -> MagProperties:
        """Read an entry of ``mags``.

        Raises
        ------
        MetadataError
            a key is missing, or its value is invalid.
        """
        path, cube_length = node.get("path"), node.get("cubeLength")
        axis_order, channel_index = node.get("axisOrder"), node.get("channelIndex")
        return cls(
            mag=mag_from_json(node.child("mag")),
            path=None if path is None else _path(path),
            cube_length=None if cube_length is None else cube_length.integer(1),
            axis_order=None if axis_order is None else AxisOrder.from_json(axis_order),
            channel_index=0 if channel_index is None else channel_index.integer(0, _MAX_CHANNEL),
            extra=node.unknown(_KEYS),
        )

    @classmethod
    def from_old_json(cls, node: JsonNode) -> MagProperties:
        """Read an entry of ``wkwResolutions``, as in files from before 2022.

        Raises
        ------
        MetadataError
            a key is missing, or its value is invalid.
        """
        cube_length = node.get("cubeLength")
        return cls(
            mag=mag_from_json(node.child("resolution")),
            cube_length=None if cube_length is None else cube_length.integer(1),
            extra=node.unknown(_OLD_KEYS),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the entry to write."""
        known: dict[str, Any] = {"mag": self.mag.to_list()}
        if self.path is not None:
            known["path"] = self.path
        if self.cube_length is not None:
            known["cubeLength"] = self.cube_length
        if self.axis_order is not None:
            known["axisOrder"] = self.axis_order.to_json()
        if self.channel_index:
            known["channelIndex"] = self.channel_index
        return merged(known, self.extra)


def _path(node: JsonNode) -> str:
    text = node.text()
    is_printable = bool(text) and text.isprintable()  # surrogates, which are in no path, are not printable
    if not is_printable or len(text.encode()) > _LONGEST_PATH or max(len(part.encode()) for part in text.split("/")) > _LONGEST_NAME:
        raise node.error(f"a path or URL of 1 to {_LONGEST_PATH} printable bytes, at most {_LONGEST_NAME} between two slashes")
    return text


def mag_from_json(node: JsonNode) -> Mag:
    """Read a mag: ``[2, 2, 1]``, ``2``, or ``"2-2-1"``.

    Raises:
        MetadataError: it is anything else, or a component is not a power of two up to 2^30.
    """
    expected = "a mag such as [2, 2, 1], every component a power of two"
    try:
        if isinstance(node.value, str):
            mag = Mag(node.value)
        elif isinstance(node.value, list):
            mag = Mag([item.integer(1, _MAX_MAG) for item in node.items(3)])
        else:
            mag = Mag(node.integer(1, _MAX_MAG))
    except ValueError:
        raise node.error(expected) from None
    if mag.max_dim > _MAX_MAG:
        raise node.error(expected)
    return mag
