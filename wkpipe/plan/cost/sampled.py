"""Sampled: the bytes that a voxel of a converted mag will take on disk, from chunks of a few slices, encoded as they will be stored."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wkpipe.errors import WkpipeError
from wkpipe.formats.base import ArraySpec, Compression
from wkpipe.formats.chunk_coder import has_any
from wkpipe.formats.codecs import Codec, Lz4, NoCodec, Zstd
from wkpipe.geometry import Mag, Vec3Int
from wkpipe.images.source import SourceBox
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.state.found import PendingMag
from wkpipe.stored.axes import spatial

if TYPE_CHECKING:  # slow to import, and needed by conversions only
    from wkpipe.images import ImageStack

SURE = 0.5
"""The share of an expected size that is needed for sure: the samples, or the finer mag, may be denser than the rest."""
UNSAMPLED = 0.6
"""The share of raw voxels that compressed images are expected to take if sampling would be expensive."""

SAMPLES = 8
"""The places at which chunks of all stacks of a run are sampled; at least one in each of the first `MOST_STACKS`."""
MOST_STACKS = 32
SAMPLE_BYTES = 64 << 20
"""The bytes of voxels that are decoded for samples."""
ENCODED_BYTES = 4 << 20
"""The bytes of voxels that are encoded for samples."""
MOST_LEVEL = 12
"""The highest zstd level used for samples: higher ones take long and save only a few percent more."""

ROWS_OF_PLANES = 4
"""The rows of chunks that are sampled at each place if whole planes are decoded anyway."""

GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Need:
    """Bytes that are added to a file system: at `least`, and as `expected`."""

    least: float = 0.0
    expected: float = 0.0

    def __add__(self, other: Need) -> Need:
        return Need(self.least + other.least, self.expected + other.expected)

    def __mul__(self, factor: float) -> Need:
        return Need(self.least * factor, self.expected * factor)

    def __sub__(self, count: float) -> Need:
        return Need(max(0.0, self.least - count), max(0.0, self.expected - count))


def image_rates(pending: Sequence[PendingMag]) -> dict[tuple[str, Mag], Need]:
    """Return the bytes for a voxel of converted mags, from samples if they are cheap."""
    stacks = [(mag.plan, stack) for mag in pending if (stack := stack_of(mag)) is not None]
    count = min(len(stacks), MOST_STACKS)
    rates = {}
    for index, (plan, stack) in enumerate(stacks):
        rate = _sampled_rate(plan, stack, max(1, SAMPLES // count), SAMPLE_BYTES // count) if index < count else None
        rates[plan.layer, plan.mag] = unsampled(plan) if rate is None else rate
    return rates


def stack_of(mag: PendingMag) -> ImageStack | None:
    """Return the images that a mag is converted from; None if it is not."""
    if mag.plan.source_mag is not None:
        return None
    from wkpipe.images import ImageStack

    return mag.source if isinstance(mag.source, ImageStack) else None


def unsampled(plan: MagPlan) -> Need:
    raw = raw_rate(plan.spec)
    return Need(0.0, raw * UNSAMPLED if plan.spec.compression.is_on else raw)


def _sampled_rate(plan: MagPlan, stack: ImageStack, samples: int, most_bytes: int) -> Need | None:
    """Return the rate of some encoded chunks of a stack; None if even a few slices are too large, or cannot be decoded."""
    sizes = stack.sizes
    chunk = spatial(plan.spec, plan.spec.chunk_shape).pairmin(Vec3Int(sizes.x, sizes.y, sizes.z))
    row_bytes = sizes.x * sizes.c * stack.dtype.itemsize
    slice_bytes = row_bytes * (sizes.y if stack.whole_planes else max(chunk.y, stack.blocks.y))
    depth = min(chunk.z, most_bytes // slice_bytes)
    if depth == 0:
        return None
    samples = max(1, min(samples, most_bytes // (depth * slice_bytes)))
    codec = codec_of(plan.spec.compression)
    grid = -(-sizes.x // chunk.x)
    count = max(1, min(grid, ENCODED_BYTES // (SAMPLES * chunk.prod() * sizes.c * stack.dtype.itemsize)))
    columns = [i * grid // count * chunk.x for i in range(count)]
    encoded = voxels = 0
    try:
        for index in range(samples):
            z = _aligned(chunk.z, sizes.z - depth, (index + 0.5) / samples)
            shares = [(index + 0.5 + i * samples) * GOLDEN % 1 for i in range(ROWS_OF_PLANES if stack.whole_planes else 1)]
            tops = [_aligned(chunk.y, sizes.y - chunk.y, share) for share in shares]
            first, end = (0, sizes.y) if stack.whole_planes else (tops[0], tops[0] + chunk.y)
            t = sizes.t // 2
            band = stack.read(SourceBox.of((t, 0, z, first, 0), (t + 1, sizes.c, z + depth, end, sizes.x)))[0].transpose(1, 2, 3, 0)
            for y, x in itertools.product(tops, columns):
                part = np.ascontiguousarray(band[:, y - first : y - first + chunk.y, x : x + chunk.x])
                encoded += len(codec.encode(part)) if has_any(part) else 0
                voxels += part.size // sizes.c
    except WkpipeError:  # the conversion of the image reports it
        return None
    rate = encoded / voxels * sizes.t
    # The slices that a sample lacks may be like those that it has, and so take nothing more.
    return Need(rate * SURE * depth / chunk.z, rate)


def _aligned(step: int, last: int, share: float) -> int:
    """Return a multiple of `step` at about this share of the way to `last`."""
    return max(0, int(share * (last + 1))) // step * step


def codec_of(compression: Compression) -> Codec:
    """Return the codec that encodes samples."""
    if compression.kind == "zstd":
        return Zstd(min(compression.level or MOST_LEVEL, MOST_LEVEL), checksum=True, named=compression.named)
    return Lz4(high=compression.kind == "lz4hc") if compression.is_on else NoCodec()


def raw_rate(spec: ArraySpec) -> float:
    """Return the bytes of a voxel, of all channels and time points."""
    return spec.dtype.itemsize * math.prod(n for axis, n in zip(spec.axes, spec.shape, strict=True) if axis not in "xyz")
