"""ImageStack: the images of one layer as a value, planned once and read by rows from any process."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wkpipe.images.reader import AxisSizes, ImageFile, Voxels, reader_named

JSON_VERSION = 1


@dataclass(frozen=True)
class ImageStack:
    """One layer's worth of images: what they are, where they lie, and which of their channels the layer has.

    `sizes` are those of the layer: t, c, z, y, x, where c counts the layer's own channels (3 for RGB, else 1) and z counts files
    where `z_is_file`, else planes within the only file. `dtype` is a little-endian numpy name. `color` is the colour in which a
    viewer should show the layer (red, green, blue, 0 to 255), for layers made from one channel of several.
    """

    name: str
    category: str
    source: Path
    files: tuple[ImageFile, ...]
    z_is_file: bool
    channels: tuple[int, ...]
    color: tuple[int, int, int] | None = None

    @property
    def sizes(self) -> AxisSizes:
        facts = self.files[0].sizes
        return facts._replace(c=len(self.channels), z=len(self.files) if self.z_is_file else facts.z)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.files[0].dtype).newbyteorder("<")

    @property
    def is_rgb(self) -> bool:
        """Whether the layer's three channels are red, green and blue."""
        return self.files[0].is_rgb and len(self.channels) == 3

    @functools.cached_property
    def whole_planes(self) -> bool:
        """Whether reading some rows costs decoding whole planes, so that a caller does well to read whole planes."""
        return any(file.whole_planes for file in self.files)

    def bytes_for(self, z_count: int, rows: int) -> int:
        """Return an upper estimate, in bytes, of what `read` holds at its peak for that many planes and rows, its result included."""
        result = z_count * rows * self.sizes.x * self.sizes.c * self.dtype.itemsize
        return result + self._scratch_bytes

    @functools.cached_property
    def _scratch_bytes(self) -> int:
        return max(file.scratch_bytes for file in self.files)

    def read(self, t: int, z0: int, z1: int, y0: int, y1: int) -> Voxels:
        """Return rows y0 to y1 (exclusive) of planes z0 to z1 at time t: axes (z, y, x, c), C-contiguous, little-endian.

        May be called from several threads at once. Files are read one after another; peak memory is that of `bytes_for`.

        Raises:
            ValueError: a range outside the stack.
            UnreadableInput: a file is gone, changed since it was inspected, or its data can not be decoded.
        """
        sizes = self.sizes
        if not (0 <= t < sizes.t and 0 <= z0 <= z1 <= sizes.z and 0 <= y0 <= y1 <= sizes.y):
            asked = f"t {t}, z {z0} to {z1}, y {y0} to {y1}"
            raise ValueError(
                f"layer {self.name}: {asked} is outside of the stack, which has {sizes.t} × {sizes.z} planes of {sizes.y} rows"
            )
        out = np.zeros((z1 - z0, y1 - y0, sizes.x, sizes.c), self.dtype)
        if out.size == 0:
            return out
        if self.z_is_file:
            for i, file in enumerate(self.files[z0:z1]):
                reader_named(file.reader).read_into(out[i : i + 1], file, 0, 0, y0, self.channels)
        else:
            file = self.files[0]
            reader_named(file.reader).read_into(out, file, t, z0, y0, self.channels)
        return out

    def fingerprint(self, z0: int, z1: int) -> str:
        """Return a hash of the identity of the files that planes z0 to z1 come from: name below the source, size, time of change.

        Raises:
            ValueError: a range outside the stack.
        """
        if not 0 <= z0 <= z1 <= self.sizes.z:
            raise ValueError(f"layer {self.name}: planes {z0} to {z1} are outside of the stack of {self.sizes.z}")
        digest = hashlib.sha256()
        for file in self.files[z0:z1] if self.z_is_file else self.files:
            digest.update(os.fsencode(self._relative(file)) + f"\0{file.size}\0{file.mtime_ns}\0".encode())
        return digest.hexdigest()

    def replace(self, **changes: Any) -> ImageStack:
        """Return the stack with some fields changed."""
        return dataclasses.replace(self, **changes)

    # -- as JSON ------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Return the stack as plain JSON. What all files share is written once, so that 10,000 slices stay within a few MB."""
        shared = [_shared(file) for file in self.files]
        kinds = list({repr(kind): kind for kind in shared}.values())
        number = {repr(kind): i for i, kind in enumerate(kinds)}
        return {
            "version": JSON_VERSION,
            "name": self.name,
            "category": self.category,
            "source": str(self.source),
            "z_is_file": self.z_is_file,
            "channels": list(self.channels),
            "color": None if self.color is None else list(self.color),
            "kinds": kinds,
            "files": [
                [self._relative(file), file.size, file.mtime_ns, file.scratch_bytes, number[repr(kind)], dict(file.layout)]
                for file, kind in zip(self.files, shared, strict=True)
            ],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ImageStack:
        """Return the stack that `to_json` wrote; the files are not touched.

        Raises:
            ValueError: written by another version of wkpipe.
        """
        if data.get("version") != JSON_VERSION:
            raise ValueError(f"an image stack of version {data.get('version')} was found, expected {JSON_VERSION}; plan again")
        source = Path(data["source"])
        kinds = [dict(kind, sizes=AxisSizes(*kind["sizes"])) for kind in data["kinds"]]
        files = tuple(
            ImageFile(path=source / name, size=size, mtime_ns=mtime_ns, scratch_bytes=scratch, layout=layout, **kinds[kind])
            for name, size, mtime_ns, scratch, kind, layout in data["files"]
        )
        color = None if data["color"] is None else (data["color"][0], data["color"][1], data["color"][2])
        return cls(data["name"], data["category"], source, files, data["z_is_file"], tuple(data["channels"]), color)

    def _relative(self, file: ImageFile) -> str:
        return str(file.path.relative_to(self.source))


def _shared(file: ImageFile) -> dict[str, Any]:
    return {
        "reader": file.reader,
        "sizes": list(file.sizes),
        "dtype": file.dtype,
        "is_rgb": file.is_rgb,
        "whole_planes": file.whole_planes,
    }
