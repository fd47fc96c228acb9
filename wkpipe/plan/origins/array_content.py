"""ArrayContent: what planning knows of an array that is copied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wkpipe.formats.base import ArraySpec, Position


@dataclass(frozen=True)
class ArrayContent:
    """The layout of an array that is copied, and the tokens of its units.

    stored_itemsize: the bytes of a stored voxel, which may be wider than one of the layer. is_native: wkpipe decodes it itself.
    """

    spec: ArraySpec
    tokens: Mapping[Position, str]
    stored_itemsize: int
    is_native: bool = True
