"""Estimate the disk space of a download from a few boxes of each layer, encoded as they will be stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from wkpipe.formats.chunk_coder import has_any
from wkpipe.geometry import Mag, Vec3Int
from wkpipe.plan.cost.resources import voxel_bytes
from wkpipe.plan.cost.sampled import GOLDEN, SAMPLES, SURE, Need, codec_of
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.state.found import PendingMag
from wkpipe.server.download.remote import FoundDataset

EDGE = 64
"""The edge of a sampled box, in voxels."""

MOST_LAYERS = 8
"""At most this many layers are sampled; others are estimated like images that are not sampled."""


def sampled_rates(found: FoundDataset, pending: Mapping[str, Sequence[PendingMag]]) -> dict[tuple[str, Mag], Need]:
    """Return the bytes that a voxel of each mag will take; the finest pending mag of a layer stands for the others.

    Raises:
        ServerError: the server does not return voxels, and so would not later either.
    """
    sampled = [mags for mags in pending.values() if mags][:MOST_LAYERS]
    rates = {}
    for mags in sampled:
        rate = _rate(found, mags[0].plan, max(1, SAMPLES // len(sampled)))
        rates.update({(mag.plan.layer, mag.plan.mag): rate for mag in mags})
    return rates


def _rate(found: FoundDataset, plan: MagPlan, samples: int) -> Need:
    codec, raw = codec_of(plan.spec.compression), voxel_bytes(plan.spec)
    encoded = voxels = 0
    with found.reader(plan.layer, plan.mag) as reader:
        for first, shape in dict.fromkeys(_boxes(plan, samples)):
            box = reader.read(first, shape)
            encoded += len(codec.encode(np.ascontiguousarray(box))) if has_any(box) else 0
            voxels += shape.prod()
    rate = min(encoded / voxels, raw)
    return Need(rate * SURE, rate)


def _boxes(plan: MagPlan, samples: int) -> Iterator[tuple[Vec3Int, Vec3Int]]:
    """Yield the first corner and the shape of boxes that are scattered over the box of the mag."""
    first, end = plan.box
    shape = (end - first).pairmin(EDGE)
    room = end - first - shape
    for index in range(samples):
        shares = [(index + 0.5) * GOLDEN ** (axis + 1) % 1 for axis in range(3)]
        yield first + Vec3Int([int(n * share) for n, share in zip(room, shares, strict=True)]), shape
