"""ImageStack: the images of one layer as a value, planned once and read box by box in any process; a `BlockSource`."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import hashlib
import itertools
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wkpipe.errors import UnreadableInput
from wkpipe.images.composed import pieces
from wkpipe.images.files_json import files_from_json, files_to_json, relative_path
from wkpipe.images.frame import Frame
from wkpipe.images.reader import INVERTED, Corner, ImageFile
from wkpipe.images.registry import reader_named
from wkpipe.images.source import AXES, UNKNOWN, AxisSizes, Channel, SourceBox, Voxels
from wkpipe.images.values import Values
from wkpipe.metadata.length_unit import NANOMETERS_PER_UNIT
from wkpipe.metadata.units import VoxelSize

JSON_VERSION = 5


@dataclass(frozen=True)
class ImageStack:
    """The images of one layer: their facts, their files, and the channels that the layer has.

    `sizes` are those of the layer: t, c, z, y, x. c counts the layer's own channels (3 for RGB, else 1). z counts the planes of all
    files, which follow each other. `dtype` is a little-endian numpy dtype. `channels` are those of the files, of which `values` may
    make the voxels of one channel. `info` is what is known of the only channel of the layer: its name, colour and display range.
    `frame` is the part of the images that the layer shows, and how it is turned; None means all as it is. Files that are smaller
    than others are padded with 0.
    """

    name: str
    category: str
    source: Path
    files: tuple[ImageFile, ...]
    channels: tuple[int, ...]
    info: Channel = UNKNOWN
    values: Values | None = None
    frame: Frame | None = None

    @property
    def sizes(self) -> AxisSizes:
        return self.image_sizes if self.frame is None else self.frame.sizes(self.image_sizes)

    @functools.cached_property
    def image_sizes(self) -> AxisSizes:
        """The sizes of the images, of which the layer may show a part."""
        per_voxel = 1 if self.values is None else self.values.channels
        rows, columns = (max(file.sizes[axis] for file in self.files) for axis in (3, 4))
        return self.files[0].sizes._replace(c=len(self.channels) // per_voxel, z=self._starts[-1], y=rows, x=columns)

    @property
    def color(self) -> tuple[int, int, int] | None:
        """The display colour of the layer: red, green, blue, 0 to 255."""
        return self.info.color

    @property
    def is_inverted(self) -> bool:
        """True if 0 is white: the layer is to be shown inverted."""
        return self.files[0].meaning == INVERTED

    @functools.cached_property
    def _starts(self) -> list[int]:
        """The number of planes before each file, and of all."""
        return list(itertools.accumulate((file.sizes.z for file in self.files), initial=0))

    def _files_between(self, z0: int, z1: int) -> Iterator[tuple[ImageFile, int, int]]:
        """Yield the files with the planes z0 to z1, each with the position of its first plane and of its end in the stack."""
        for i in range(bisect.bisect_right(self._starts, z0) - 1, bisect.bisect_left(self._starts, z1)):
            yield self.files[i], self._starts[i], self._starts[i + 1]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.files[0].dtype if self.values is None else self.values.dtype).newbyteorder("<")

    @property
    def is_rgb(self) -> bool:
        """True if the layer has three channels: red, green and blue."""
        return self.files[0].is_rgb and self.sizes.c == 3

    @property
    def axes(self) -> tuple[str, ...]:
        """z, y and x, and t and c if there is more than one voxel along them."""
        return tuple(axis for axis, size in zip(AXES, self.sizes, strict=True) if size > 1 or axis in "zyx")

    @functools.cached_property
    def blocks(self) -> AxisSizes:
        """The shape of a block that is decoded at once; if files differ, the smallest shape with whole blocks of each."""
        return self._blocks[0]

    @property
    def block_offset(self) -> AxisSizes:
        """Where the first whole block begins: 0, unless the layer shows a part of the images or is mirrored."""
        return self._blocks[1]

    @property
    def is_in_order(self) -> bool:
        """True if the layer is neither mirrored nor swapped: voxels that are read are a view if it is."""
        return self.frame is None or not (self.frame.swapped or self.frame.mirrored)

    @functools.cached_property
    def _blocks(self) -> tuple[AxisSizes, AxisSizes]:
        sizes = self.image_sizes
        kinds = {file.block for file in self.files}
        rows, columns = (min(math.lcm(*(kind[axis] for kind in kinds)), size) for axis, size in enumerate((sizes.y, sizes.x)))
        blocks = AxisSizes(1, sizes.c, 1, rows, columns)
        return (blocks, AxisSizes(0, 0, 0, 0, 0)) if self.frame is None else self.frame.blocks(blocks)

    @property
    def whole_planes(self) -> bool:
        """True if reading any rows decodes whole planes, so that a caller should read whole planes."""
        return (self.blocks.y, self.blocks.x) == (self.sizes.y, self.sizes.x)

    @property
    def voxel_size(self) -> VoxelSize | None:
        """The size of a voxel as the first file says; None if it does not say it for all axes."""
        x, y, z = self._voxel_lengths
        return None if x is None or y is None or z is None else VoxelSize((x, y, z), self.files[0].about.unit)

    @property
    def voxel_nm(self) -> tuple[float | None, float | None, float | None]:
        """The size of a voxel along x, y, z in nanometers as the first file says; None for an axis of which it says nothing."""
        x, y, z = self._voxel_lengths
        each = NANOMETERS_PER_UNIT.get(self.files[0].about.unit, 1.0)
        return None if x is None else x * each, None if y is None else y * each, None if z is None else z * each

    @property
    def _voxel_lengths(self) -> tuple[float | None, float | None, float | None]:
        """The size of a voxel along the layer's x, y, z, in the unit of the first file."""
        x, y, z = self.files[0].about.voxel_size
        return (y, x, z) if self.frame is not None and self.frame.swapped else (x, y, z)

    @property
    def channel_info(self) -> tuple[Channel, ...] | None:
        """What is known of the only channel of the layer; None if nothing is."""
        return None if self.info == UNKNOWN else (self.info,)

    def scratch_bytes(self, box: SourceBox) -> int:
        """Return an upper estimate of the memory that `read` needs beside its result: to decode a block, and to keep parsed planes."""
        return self._scratch_bytes + box.shape.z * self._plane_bytes + self._computing_bytes(box)

    def _computing_bytes(self, box: SourceBox) -> int:
        """Return the memory in which a plane is computed from the stored one, in part as float64, or padded."""
        if self.values is None and self._is_even:
            return 0
        item = np.dtype(self.files[0].dtype).itemsize
        return box.shape.y * box.shape.x * len(self.channels) * (item + (0 if self.values is None else 5 * 8))

    @functools.cached_property
    def _is_even(self) -> bool:
        """True if all files have the same width and height."""
        return len({file.sizes[3:] for file in self.files}) == 1

    @functools.cached_property
    def _scratch_bytes(self) -> int:
        return max(file.scratch_bytes for file in self.files)

    @functools.cached_property
    def _plane_bytes(self) -> int:
        return max(file.plane_bytes for file in self.files)

    def read(self, box: SourceBox) -> Voxels:
        """Return the voxels of a box: axes (t, c, z, y, x), little-endian.

        In memory, c varies fastest, then x, y, z of the images; see `is_in_order`. Several threads may call it at once. Files are read
        one after another.

        Raises:
            ValueError: the box is not inside the stack, or spans several points in time.
            UnreadableInput: a file is missing, has changed since it was inspected, or its data cannot be decoded.
        """
        if not box.is_within(self.sizes) or box.shape.t > 1:
            raise ValueError(f"layer {self.name}: {box} is not at one time of the stack, which has {self.sizes}")
        return self._read(box) if self.frame is None else self.frame.turned(self._read(self.frame.in_images(box)))

    def _read(self, box: SourceBox) -> Voxels:
        """Return the voxels of a box of the images."""
        (t, c0, z0, y0, x0), (_, c1, z1, y1, x1) = box
        out = np.zeros((z1 - z0, y1 - y0, x1 - x0, c1 - c0), self.dtype)
        if box.volume:
            per_voxel = 1 if self.values is None else self.values.channels
            channels = self.channels[c0 * per_voxel : c1 * per_voxel]
            for file, start, end in self._files_between(z0, z1):
                first, last = max(z0, start), min(z1, end)
                self._read_planes(out[first - z0 : last - z0], file, Corner(t, first - start, y0, x0), channels)
        return out.transpose(3, 0, 1, 2)[np.newaxis]

    def _read_planes(self, out: Voxels, file: ImageFile, corner: Corner, channels: tuple[int, ...]) -> None:
        for piece, first, y, x in pieces(file, corner, *out.shape[1:3]):
            self._read_piece(out[:, y, x], piece, first, channels)

    def _read_piece(self, out: Voxels, file: ImageFile, corner: Corner, channels: tuple[int, ...]) -> None:
        reader = reader_named(file.reader)
        if self.values is None and out.flags.c_contiguous:
            reader.read_into(out, file, corner, channels)
            return
        for z, plane in enumerate(out):
            stored: Voxels = np.zeros((1, *plane.shape[:2], len(channels)), np.dtype(file.dtype))
            reader.read_into(stored, file, corner._replace(z=corner.z + z), channels)
            try:
                plane[...] = stored[0] if self.values is None else self.values.apply(stored[0])
            except ValueError as error:
                raise UnreadableInput(f"plane {corner.z + z + 1} {error}", where=file.path) from None

    def identity(self, box: SourceBox) -> str:
        """Return a hash of the names (below the source), sizes and mtimes of the files with a box's planes.

        Raises:
            ValueError: the box is not inside the stack.
        """
        z0, z1 = box.first.z, box.end.z
        if not 0 <= z0 <= z1 <= self.sizes.z:
            raise ValueError(f"layer {self.name}: planes {z0} to {z1} are outside of the stack of {self.sizes.z}")
        if self.frame is not None:
            box = self.frame.in_images(box)
            z0, z1 = box.first.z, box.end.z
        if (z0, z1) not in self._identities:
            digest = hashlib.sha256()
            for file, _, _ in self._files_between(z0, z1):
                for path, size, mtime_ns in ((file.path, file.size, file.mtime_ns), *file.parts):
                    digest.update(os.fsencode(relative_path(path, self.source)) + f"\0{size}\0{mtime_ns}\0".encode())
            self._identities[z0, z1] = digest.hexdigest()
        return self._identities[z0, z1]

    @functools.cached_property
    def _identities(self) -> dict[tuple[int, int], str]:
        """The identities of planes that were asked for: all units between two planes have the same."""
        return {}

    def replace(self, **changes: Any) -> ImageStack:
        """Return the stack with some fields changed."""
        return dataclasses.replace(self, **changes)

    # -- as JSON ------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Return the stack as plain JSON."""
        return {
            "version": JSON_VERSION,
            "name": self.name,
            "category": self.category,
            "source": str(self.source),
            "channels": list(self.channels),
            "info": [self.info.name, self.info.color, self.info.shown],
            "values": None if self.values is None else self.values.to_json(),
            "frame": None if self.frame is None else self.frame.to_json(),
            **files_to_json(self.files, self.source),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ImageStack:
        """Return the stack that `to_json` wrote; the files are not touched.

        Raises:
            ValueError: another version of wkpipe wrote it.
        """
        if data.get("version") != JSON_VERSION:
            raise ValueError(f"an image stack of version {data.get('version')} was found, expected {JSON_VERSION}; plan again")
        source = Path(data["source"])
        name, color, shown = data["info"]
        return cls(
            name=data["name"],
            category=data["category"],
            source=source,
            files=files_from_json(data, source),
            channels=tuple(data["channels"]),
            info=Channel(name, color and (color[0], color[1], color[2]), shown and (shown[0], shown[1])),
            values=Values.from_json(data["values"]),
            frame=Frame.from_json(data["frame"]),
        )
