"""Disk space: how much the pending units will take, and how much is free.

The size of coarser mags is estimated from the bytes that a voxel of the finer mag takes on disk, empty shards included; an
upsampled mag takes at most as much for a voxel as its source. The size of converted mags is sampled (`wkpipe.plan.cost.sampled`).
The effort is bounded, however large a dataset is. Quotas, thin provisioning and what other programs are about to write cannot be
seen: no file system reports them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from wkpipe.engine.blocks import BlockCut
from wkpipe.errors import NotWritable
from wkpipe.formats.base import ArraySpec, DataFormat
from wkpipe.geometry import Mag
from wkpipe.geometry.box import Box
from wkpipe.plan.cost.sampled import SURE, UNSAMPLED, Need, image_rates, raw_rate, stack_of, unsampled
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.from_mag import FromMag
from wkpipe.plan.origins.from_other_mag import FromOtherMag
from wkpipe.plan.state.found import PendingMag, Stored
from wkpipe.sampling import InterpolationMode
from wkpipe.storage.place import Place
from wkpipe.stored.axes import spatial

LABEL_GROWTH = 1.75
"""How much more a voxel of labels takes in the next coarser mag, because more voxels are at a border (measured: 1.7 to 1.9 on
segmented neurites). Intensities lose noise about as fast as they gain detail: 1."""


TIGHT = 0.9
"""An expected size beyond this share of the free space is reported."""

RESERVE = 1 / 64
"""The share of the free space that is left to metadata, logs and other programs."""

RECORD_BYTES = 250
"""The bytes that the ledger takes for a unit."""


Free = Callable[[Place], "int | None"]


def free_bytes(place: Place) -> int | None:
    """Return how many bytes this user may still write to a place; None if it is not known."""
    return place.free_bytes()


def space_needed(
    pending: Mapping[str, Sequence[PendingMag]],
    stored: Mapping[tuple[str, Mag], Stored],
    cores: int,
    known: Mapping[tuple[str, Mag], Need] | None = None,
) -> Need:
    """Return the bytes that a run will add to the target's file system, temporary files included.

    Args:
        pending: for every layer its pending mags, from fine to coarse.
        stored: what is on disk of every mag that is made or read.
        cores: how many tasks may write at the same time.
        known: the bytes for a voxel of some mags.
    """
    rates = image_rates([mag for mags in pending.values() for mag in mags]) | dict(known or {})
    total, beside = Need(), Need()
    for mags in pending.values():
        for mag in mags:
            plan, there = mag.plan, stored[mag.plan.layer, mag.plan.mag]
            key = (plan.layer, plan.mag)
            if key not in rates:
                rates[key] = _derived_rate(mag, plan.origin, rates, stored) if isinstance(plan.origin, FromOtherMag) else unsampled(plan)
            voxels = _voxels(plan.box)
            total += rates[key] * (voxels * len(mag.units) / there.units) - there.replaced
            unit = min(voxels, spatial(plan.spec, plan.spec.unit_shape).prod())
            extra = _beside(mag, rates[key] * unit, bool(there.replaced), cores)
            beside = Need(max(beside.least, extra.least), max(beside.expected, extra.expected))
    return total + beside


def check_space(where: Place, need: Need, removed: Iterable[Place], free: Free = free_bytes) -> list[str]:
    """Compare the needed space with the free space of a place; return notes on what may not fit.

    `removed` are places whose objects are deleted first; their sizes are read only if the data would not fit otherwise.

    Raises:
        NotWritable: the data certainly do not fit.
    """
    found, path = free(where), where.path()
    if found is None:
        return []
    room = found * (1 - RESERVE)
    for size in (size for place in removed for size in place.taken()) if need.expected > TIGHT * room else ():
        room += size
        if need.expected <= TIGHT * room:
            break
    if need.least > room:
        raise NotWritable(
            f"the disk has {size_text(found)} free, at least {size_text(need.least)} are needed "
            f"(about {size_text(need.expected)} expected)",
            where=path,
            fix="free some space, choose another target, or pass --ignore-disk-space",
        )
    if need.expected > TIGHT * room:
        return [f"{path}: about {size_text(need.expected)} will be written, the disk has {size_text(found)} free: it may become full"]
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


# -- mags made from other mags ----------------------------------------------------------------------------------------


def _derived_rate(
    mag: PendingMag, origin: FromOtherMag, rates: Mapping[tuple[str, Mag], Need], stored: Mapping[tuple[str, Mag], Stored]
) -> Need:
    """Return the bytes for a voxel of a mag, from those of its source mag: of its proven units, or its own estimate."""
    plan: MagPlan = mag.plan
    source: ArraySpec = mag.source
    key = (plan.layer, origin.mag)
    there = stored[key]
    if there.proven:
        rate = Need(SURE, 1.0) * (there.bytes / (_voxels(origin.hull(plan.mag, *plan.box)) * there.proven / there.units))
        filled = there.filled / there.proven
    else:
        rate, filled = rates[key], 1.0
    if (share := origin.channels(plan).share(source)) < 1:  # the other channels may be what takes the space
        rate = Need(0.0, rate.expected * share)
    raw = raw_rate(plan.spec)
    if not plan.spec.compression.is_on:
        return Need(min(rate.least, raw), raw * filled)
    if not source.compression.is_on:
        return Need(0.0, rate.expected * UNSAMPLED)
    if not isinstance(origin, FromMag):  # blocks of equal voxels take little, nobody knows how little
        return Need(0.0, min(rate.expected, raw))
    growth = LABEL_GROWTH if origin.interpolation is InterpolationMode.MODE else 1.0
    is_sure = origin.interpolation not in (InterpolationMode.MIN, InterpolationMode.MAX)  # they may level everything
    return Need(min(rate.least, raw) if is_sure else 0.0, min(rate.expected * growth, raw))


def _voxels(box: Box) -> int:
    return max(1, box.size.prod())


# -- temporary space ------------------------------------------------------------------------------------------------


def _beside(mag: PendingMag, unit: Need, is_replaced: bool, cores: int) -> Need:
    """Return the temporary space beside finished units while a mag is made; `unit` is the size of one unit.

    Units in work become finished ones, so they count only if they replace others. In a converted WKW mag, chunks that
    come early are kept aside. Decoded planes may be kept in a file.
    """
    plan, stack = mag.plan, stack_of(mag)
    expected = unit.expected * min(cores, len(mag.units)) if is_replaced else 0.0
    if stack is None:
        return Need(0.0, expected)
    cut = BlockCut(plan.spec, plan.box, stack)
    at_once = min(len(mag.units), cut.open_units)
    tasks = min(cores, -(-len(mag.units) // at_once))
    if plan.spec.data_format is DataFormat.WKW and plan.spec.compression.is_on:
        expected += unit.expected * at_once * tasks
    rows = 0 if cut.is_in_memory else cut.window_bytes
    return Need(rows, expected + rows * tasks)
