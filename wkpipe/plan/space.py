"""Disk space: what the pending units will take, and whether it is there.

Coarser mags are reckoned by what each voxel of the finer mag takes on disk, empty shards included; converted ones by
chunks of a few slices, encoded as they will be. Neither looks at more than is known or bounded, however large a dataset is.
What no file system tells can not be seen: quotas, thin provisioning, what other programs are about to write.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wkpipe.errors import NotWritable, WkpipeError
from wkpipe.formats.base import ArraySpec, Compression, DataFormat
from wkpipe.formats.chunk_coder import has_any
from wkpipe.formats.codecs import Codec, Lz4, NoCodec, Zstd
from wkpipe.geometry import Mag, Vec3Int
from wkpipe.images import ImageStack
from wkpipe.plan.grouping import PendingMag
from wkpipe.plan.mag_plan import Corners, MagPlan
from wkpipe.plan.memory import PLANE_BUFFER_BYTES
from wkpipe.sampling import InterpolationMode
from wkpipe.stored.axes import spatial

SURE = 0.5
"""The share of an expectation that is needed for sure: what was sampled, or the finer mag, may be denser than the rest."""

LABEL_GROWTH = 1.75
"""How much more a voxel of labels takes in the next coarser mag, where more of them lie at a border (measured: 1.7 to 1.9 on
segmented neurites). Intensities lose noise about as fast as they gain detail: 1."""

UNSAMPLED = 0.6
"""The share of raw voxels that compressed images are expected to take where no sample can be had cheaply."""

TIGHT = 0.9
"""An expectation beyond this share of the free space is told."""

RESERVE = 1 / 64
"""The share of the free space that is left to metadata, logs and other programs."""

RECORD_BYTES = 250
"""What the ledger takes for a unit."""

SAMPLES = 8
"""Places in the stacks of a run at which chunks are sampled, together; at least one in each of the first `MOST_STACKS`."""
MOST_STACKS = 32
SAMPLE_BYTES = 64 << 20
"""Voxels that are decoded for samples."""
ENCODED_BYTES = 4 << 20
"""Voxels that are encoded for samples."""
MOST_LEVEL = 12
"""The highest zstd level at which is sampled: higher ones take long and save few percent more."""

ROWS_OF_PLANES = 4
"""Rows of chunks that are sampled in each place where whole planes are decoded anyway."""

GOLDEN = 0.6180339887498949

Free = Callable[[Path], "int | None"]


@dataclass(frozen=True)
class Stored:
    """What of a mag is on disk: the bytes of `proven` of its `units`, of which `filled` have files; what pending ones had before."""

    bytes: int
    proven: int
    filled: int
    units: int
    replaced: int = 0


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


def free_bytes(path: Path) -> int | None:
    """Return what this user may still write on the file system of a path (or of its nearest parent that exists), in bytes.

    Quotas do not count. None where the file system does not tell, as some that live on a network.
    """
    while not path.exists():
        path = path.parent
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize if found.f_blocks else None


def space_needed(
    pending: Mapping[str, Sequence[PendingMag]],
    stored: Mapping[tuple[str, Mag], Stored],
    cores: int,
    known: Mapping[tuple[str, Mag], Need] | None = None,
) -> Need:
    """Return what a run will add to the target's file system, with the temporary space that exists beside it.

    Args:
        pending: for every layer its pending mags, from fine to coarse.
        stored: what there is of every mag that is made or read.
        cores: how many tasks may write at the same time.
        known: the bytes for a voxel of some mags.
    """
    rates = _image_rates([mag for mags in pending.values() for mag in mags]) | dict(known or {})
    total, beside = Need(), Need()
    for mags in pending.values():
        for mag in mags:
            plan, there = mag.plan, stored[mag.plan.layer, mag.plan.mag]
            key = (plan.layer, plan.mag)
            if key not in rates:
                rates[key] = _unsampled(plan) if plan.from_mag is None else _coarser_rate(mag, rates, stored)
            voxels = _voxels(plan.box)
            total += rates[key] * (voxels * len(mag.units) / there.units) - there.replaced
            unit = min(voxels, spatial(plan.spec, plan.spec.unit_shape).prod())
            extra = _beside(mag, rates[key] * unit, bool(there.replaced), cores)
            beside = Need(max(beside.least, extra.least), max(beside.expected, extra.expected))
    return total + beside


def check_space(where: Path, need: Need, removed: Iterable[Path], free: Free = free_bytes) -> list[str]:
    """Hold what is needed against what is free where `where` lies; return notes on what may not fit.

    `removed` are directories that are deleted first; they are looked at only where it would not fit otherwise.

    Raises:
        NotWritable: it will not fit for sure.
    """
    found = free(where)
    if found is None:
        return []
    room = found * (1 - RESERVE)
    for size in _sizes_below(removed) if need.expected > TIGHT * room else ():
        room += size
        if need.expected <= TIGHT * room:
            break
    if need.least > room:
        raise NotWritable(
            f"{where}: the disk has {size_text(found)} free, at least {size_text(need.least)} are needed (about "
            f"{size_text(need.expected)} expected); free some space, choose another target, or pass --ignore-disk-space"
        )
    if need.expected > TIGHT * room:
        return [f"{where}: about {size_text(need.expected)} will be written, the disk has {size_text(found)} free: it may become full"]
    return []


def size_text(count: float) -> str:
    """Return a number of bytes for people.

    >>> size_text(12_345_678)
    '12.3 MB'
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} PB"


# -- coarser mags ---------------------------------------------------------------------------------------------------


def _coarser_rate(mag: PendingMag, rates: Mapping[tuple[str, Mag], Need], stored: Mapping[tuple[str, Mag], Stored]) -> Need:
    """Return the bytes for a voxel of a mag, from those of the finer one: of its proven units, or as it will become itself."""
    plan, source = mag.plan, mag.source
    assert plan.from_mag is not None
    assert plan.source_box is not None
    assert isinstance(source, ArraySpec)
    key = (plan.layer, plan.from_mag)
    there = stored[key]
    if there.proven:
        rate = Need(SURE, 1.0) * (there.bytes / (_voxels(plan.source_box) * there.proven / there.units))
        filled = there.filled / there.proven
    else:
        rate, filled = rates[key], 1.0
    if (share := plan.source_channels.share(source)) < 1:  # the other channels may be what takes the space
        rate = Need(0.0, rate.expected * share)
    raw = _raw_rate(plan.spec)
    if not plan.spec.compression.is_on:
        return Need(min(rate.least, raw), raw * filled)
    if not source.compression.is_on:
        return Need(0.0, rate.expected * UNSAMPLED)
    growth = LABEL_GROWTH if plan.interpolation is InterpolationMode.MODE else 1.0
    is_sure = plan.interpolation not in (InterpolationMode.MIN, InterpolationMode.MAX)  # which may level everything
    return Need(min(rate.least, raw) if is_sure else 0.0, min(rate.expected * growth, raw))


def _voxels(box: Corners) -> int:
    return max(1, (box[1] - box[0]).prod())


def _raw_rate(spec: ArraySpec) -> float:
    """Return the bytes of a voxel, of all channels and time points."""
    return spec.dtype.itemsize * math.prod(n for axis, n in zip(spec.axes, spec.shape, strict=True) if axis not in "xyz")


# -- converted mags -------------------------------------------------------------------------------------------------


def _image_rates(pending: Sequence[PendingMag]) -> dict[tuple[str, Mag], Need]:
    """Return the bytes for a voxel of mags that are converted, from samples as far as they are cheap."""
    stacks = [(mag.plan, mag.source) for mag in pending if isinstance(mag.source, ImageStack)]
    count = min(len(stacks), MOST_STACKS)
    rates = {}
    for index, (plan, stack) in enumerate(stacks):
        rate = _sampled_rate(plan, stack, max(1, SAMPLES // count), SAMPLE_BYTES // count) if index < count else None
        rates[plan.layer, plan.mag] = _unsampled(plan) if rate is None else rate
    return rates


def _unsampled(plan: MagPlan) -> Need:
    raw = _raw_rate(plan.spec)
    return Need(0.0, raw * UNSAMPLED if plan.spec.compression.is_on else raw)


def _sampled_rate(plan: MagPlan, stack: ImageStack, samples: int, most_bytes: int) -> Need | None:
    """Encode some chunks of a stack; None where even a few slices are too large to be decoded, or can not be."""
    sizes = stack.sizes
    chunk = spatial(plan.spec, plan.spec.chunk_shape).pairmin(Vec3Int(sizes.x, sizes.y, sizes.z))
    row_bytes = sizes.x * sizes.c * stack.dtype.itemsize
    slice_bytes = row_bytes * (sizes.y if stack.whole_planes else max(chunk.y, _segment_rows(stack)))
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
            band = stack.read(sizes.t // 2, z, z + depth, first, end)
            for y, x in itertools.product(tops, columns):
                part = np.ascontiguousarray(band[:, y - first : y - first + chunk.y, x : x + chunk.x])
                encoded += len(codec.encode(part)) if has_any(part) else 0
                voxels += part.size // sizes.c
    except WkpipeError:  # said where the image is converted
        return None
    rate = encoded / voxels * sizes.t
    # The slices that a sample lacks may be the like of those that it has, and take nothing.
    return Need(rate * SURE * depth / chunk.z, rate)


def _segment_rows(stack: ImageStack) -> int:
    """Return how many rows are about decoded to get one, from what a read takes beside its result: square tiles are three times held."""
    segment = max(file.scratch_bytes for file in stack.files[:1]) - (4 << 20)
    return min(stack.sizes.y, math.isqrt(max(0, segment) // (3 * stack.dtype.itemsize)))


def _aligned(step: int, last: int, share: float) -> int:
    """Return a multiple of `step` at about this share of the way to `last`."""
    return max(0, int(share * (last + 1))) // step * step


def codec_of(compression: Compression) -> Codec:
    """Return what encodes samples."""
    if compression.kind == "zstd":
        return Zstd(min(compression.level or MOST_LEVEL, MOST_LEVEL), checksum=True)
    return Lz4(high=compression.kind == "lz4hc") if compression.is_on else NoCodec()


# -- temporary space ------------------------------------------------------------------------------------------------


def _beside(mag: PendingMag, unit: Need, is_replaced: bool, cores: int) -> Need:
    """Return what exists beside finished units while a mag is made; `unit` is what one unit takes.

    Units in work become finished ones, so that they count only where they replace others. WKW keeps chunks that come early
    aside, in a converted mag; decoded planes may lie in a file.
    """
    plan, stack = mag.plan, mag.source
    expected = unit.expected * min(cores, len(mag.units)) if is_replaced else 0.0
    if not isinstance(stack, ImageStack):
        return Need(0.0, expected)
    shape = spatial(plan.spec, plan.spec.unit_shape)
    side_by_side = min(len(mag.units), (plan.box[1] - plan.box[0]).with_z(1).ceildiv(shape).prod())
    tasks = min(cores, -(-len(mag.units) // side_by_side))
    if plan.spec.data_format is DataFormat.WKW and plan.spec.compression.is_on:
        expected += unit.expected * side_by_side * tasks
    sizes = stack.sizes
    planes = min(spatial(plan.spec, plan.spec.chunk_shape).z, sizes.z) * sizes.y * sizes.x * sizes.c * stack.dtype.itemsize
    if not stack.whole_planes or planes <= PLANE_BUFFER_BYTES:
        planes = 0
    return Need(planes, expected + planes * tasks)


def _sizes_below(directories: Iterable[Path]) -> Iterator[int]:
    """Yield the bytes that files in directories take on disk."""
    for directory in directories:
        for parent, _, names in os.walk(directory):
            for name in names:
                try:
                    found = Path(parent, name).lstat()
                except OSError:  # gone meanwhile
                    continue
                yield found.st_blocks * 512
