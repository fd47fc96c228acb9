"""Random small datasets: each number is a case, the same every time."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from tests.oracle.pyramid import MODES, Array, Mag3, box_in

INTEGERS = ("uint8", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
COLORS = ("uint8", "uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float32", "float64", "float64")
CONTENTS = (*("noise", "few", "extremes") * 3, *("labels", "gradient") * 2, "sparse", "constant", "empty")
MAKERS = {"wkw": ("convert", "library", "wkw"), "zarr": ("convert", "library", "zarr", "tensorstore")}
MAKERS["zarr3"] = MAKERS["zarr"]
VOXEL_SIZES = ((1, 1, 1), (1, 1, 1), (11.24, 11.24, 28), (4, 4, 35), (8, 8, 2), (2, 4, 8), (5, 7, 11), (0.3, 0.3, 0.6), (10, 10, 5))


@dataclass(frozen=True)
class Case:
    """A dataset, how its finest mag is made, and the task for wkpipe. Shapes are x, y, z."""

    number: int
    data_format: str
    maker: str
    dtype: str
    category: str
    lead: tuple[tuple[str, int], ...]
    """The axes before x, y, z with their lengths, as they are in the layer."""
    stored_channels: int
    channel_index: int
    """The number of channels of the finest mag's array, and the first of them that is the layer's."""
    topleft: Mag3
    size: Mag3
    finest: Mag3
    chunk: Mag3
    shard: Mag3
    source_layout: tuple[Mag3, Mag3, str, bool]
    """The layout of the finest mag if another tool makes it: chunk, shard, codec, index first."""
    fill_value: int
    compress: bool
    content: str
    interpolation: str
    sampling: str
    voxel_size: tuple[float, float, float]
    coarsest: Mag3 | None
    cores: int
    target_seconds: float
    threads: int
    order: str

    @property
    def axes(self) -> tuple[str, ...]:
        return (*(name for name, _ in self.lead), "x", "y", "z")

    @property
    def channels(self) -> int:
        return dict(self.lead).get("c", 1)

    @property
    def mode(self) -> str:
        """The interpolation mode that is used."""
        return {"color": "median", "segmentation": "mode"}[self.category] if self.interpolation == "default" else self.interpolation

    @property
    def stored_lead(self) -> tuple[int, ...]:
        return tuple(self.stored_channels if name == "c" else n for name, n in self.lead)

    @property
    def random(self) -> np.random.Generator:
        return np.random.default_rng([self.number, 7])


def draw(number: int, channel_index: bool = False) -> Case:
    """Draw a case; with `channel_index`, its layer is some channels of an array that has more."""
    r = Random(f"dataset {number}")
    data_format = r.choice(["zarr3", "zarr3", "zarr3", "zarr", "wkw"])
    maker = r.choice(MAKERS[data_format])
    if channel_index:
        data_format = r.choice(["zarr3", "zarr"])
        maker = r.choice(["zarr", "tensorstore"])
    lead = _lead(r, data_format, maker, channel_index)
    channels = dict(lead)["c"] if dict(lead) else 1
    dtype, category = _voxels(r, maker, data_format, channels)
    finest = (1, 1, 1) if maker == "convert" else r.choice([(1, 1, 1)] * 5 + [(2, 2, 1), (2, 2, 2), (1, 1, 2)])
    topleft = (0, 0, 0) if maker == "convert" else tuple(r.choice([0, 0, r.randrange(70), 16]) for _ in range(3))
    edges = [r.choice([1, 2, 64, *(r.randrange(3, 64) for _ in range(6))]) for _ in range(2)]
    size = (*edges, r.choice([1, 2, 32, *(r.randrange(3, 40) for _ in range(4))]))
    chunk, shard = _shapes(r, data_format)
    extra = 0 if not channel_index else r.randrange(1, 4)
    sampling = r.choice(["anisotropic", "anisotropic", "isotropic", "constant_z"])
    return Case(
        number=number,
        data_format=data_format,
        maker=maker,
        dtype=dtype,
        category=category,
        lead=lead,
        stored_channels=channels + extra,
        channel_index=r.randrange(1, extra + 1) if extra else 0,
        topleft=topleft,  # type: ignore[arg-type]
        size=size,
        finest=finest,
        chunk=chunk,
        shard=shard,
        source_layout=_source_layout(r, data_format),
        fill_value=r.choice([0, 0, 0, 0, 0, 9]) if maker in ("zarr", "tensorstore") else 0,
        compress=r.random() < 0.75,
        content=r.choice(CONTENTS),
        interpolation=r.choice(["default", *MODES]),
        sampling=sampling,
        voxel_size=r.choice(VOXEL_SIZES),
        coarsest=r.choice([None, None, (4, 4, 4), (8, 8, 8), (16, 16, 16), (8, 8, 4), (4, 8, 4), (8, 8, 8), (16, 16, 2)]),
        cores=r.randrange(1, 8),
        target_seconds=r.choice([0.001, 0.02, 10.0]),
        threads=r.choice([1, 1, 2, 3]),
        order=r.choice(["plan", "plan", "random", "random", "forked"]),
    )


def _lead(r: Random, data_format: str, maker: str, with_channels: bool) -> tuple[tuple[str, int], ...]:
    c = ("c", r.choice([1, 1, 1, 2, 3, 3]))
    if maker == "convert":
        return (("c", r.choice([1, 1, 3])),)
    if data_format == "wkw" or with_channels or r.random() < 0.85:
        return (c,)
    return (("t", r.randrange(1, 4)), c)


def _voxels(r: Random, maker: str, data_format: str, channels: int) -> tuple[str, str]:
    if maker == "convert" and channels == 3:
        return "uint8", "color"
    category = r.choice(["color", "segmentation"])
    types = INTEGERS if category == "segmentation" else COLORS
    if maker in ("convert", "library"):
        types = tuple(t for t in types if t != "float64")
    dtype = r.choice(types)
    if dtype == "float32" and channels == 2:
        return "int16", category  # the properties have one name for two channels of float and one of double
    return dtype, category


def _shapes(r: Random, data_format: str) -> tuple[Mag3, Mag3]:
    """Return chunk and shard of the mags that wkpipe makes."""
    if data_format == "wkw":
        edge = r.choice([4, 8, 16])
        return (edge,) * 3, (min(edge * r.choice([1, 2, 4]), 32),) * 3
    chunk = tuple(r.choice([4, 8, 16, 32]) for _ in range(3))
    per = (1, 1, 1) if data_format == "zarr" else tuple(r.choice([1, 2, 2, 4]) for _ in range(3))
    return chunk, tuple(c * n for c, n in zip(chunk, per, strict=True))  # type: ignore[return-value]


def _source_layout(r: Random, data_format: str) -> tuple[Mag3, Mag3, str, bool]:
    """Return a layout of another tool: chunks of any size, codecs that wkpipe only reads."""
    if data_format == "wkw":
        chunk, shard = _shapes(r, data_format)
        return chunk, shard, r.choice(["raw", "lz4", "lz4hc"]), False
    chunk = tuple(r.choice([4, 7, 8, 10, 16, 32]) for _ in range(3))
    per = tuple(r.choice([1, 2, 3]) for _ in range(3)) if data_format == "zarr3" and r.random() < 0.7 else (1, 1, 1)
    codec = r.choice(["raw", "zstd", "zstd", "gzip", "blosc"])
    return chunk, tuple(c * n for c, n in zip(chunk, per, strict=True)), codec, r.random() < 0.3  # type: ignore[return-value]


# -- voxels -------------------------------------------------------------------------------------------------------------


def finest_voxels(case: Case) -> Array:
    """Return the voxels of the layer's box in the finest mag, in the layer's axes."""
    first, end = box_in(case.finest, case.topleft, case.size)
    shape = (*(n for _, n in case.lead), *(b - a for a, b in zip(first, end, strict=True)))
    return voxels(case.random, shape, case.dtype, case.content, case.mode)


def voxels(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, content: str, mode: str) -> Array:
    kind = np.dtype(dtype)
    is_float = kind.kind == "f"
    if content == "empty":
        return np.zeros(shape, kind)
    if content == "constant":
        return np.full(shape, 77, kind)
    if content == "gradient":
        return np.add.outer(np.zeros(shape[:-3], kind), sum(np.ogrid[tuple(slice(n) for n in shape[-3:])]).astype(kind))
    if content == "labels":
        cells = rng.integers(0, 6, (*shape[:-3], *(-(-n // 5) for n in shape[-3:])))
        for axis in (-3, -2, -1):
            cells = np.repeat(cells, 5, axis=axis)
        return cells[(..., *(slice(n) for n in shape[-3:]))].astype(kind)
    if content == "few":
        return rng.integers(0 if kind.kind == "u" else -2, 4, shape).astype(kind)
    if content == "sparse":
        found = np.zeros(shape, kind)
        found[rng.random(shape) < 0.02] = 5
        found[..., : shape[-3] // 2, :, :] = 0
        return found
    if content == "noise" and is_float:
        return rng.normal(0, 100, shape).astype(kind)
    if is_float:
        special = [0.0, -0.0, 1.5, -2.25, np.nan, np.inf, -np.inf]
        if mode in ("median", "max", "min") and kind.itemsize == 4:
            special.append(float(np.finfo(kind).max))
        return rng.choice(np.array(special, kind), shape)
    info: Any = np.iinfo(kind)
    noise = rng.integers(info.min, info.max, shape, dtype=kind, endpoint=True)
    if content == "extremes":
        noise[rng.random(shape) < 0.4] = info.max
        noise[rng.random(shape) < 0.4] = info.min
    return noise
