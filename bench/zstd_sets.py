"""Compare wkpipe's sets of zstd parameters with level 5: time to encode and size, of each mag of layers of images and labels.

    python bench/zstd_sets.py [--data DIR] [--out DIR] [DATASET …]

The layers are the drawn and the real volumes of the benchmark, and all layers of the given WEBKNOSSOS datasets; the coarser mags are
made from the finest one. Each mag is encoded with the set that a run would choose and with level 5, in turns, chunks of 32³ voxels
without those that are all zero. Time is the CPU of the measuring thread, the best of several rounds. A `*` marks what is beyond the
limits: a layer more than 1 % larger than with level 5 (labels: larger), a mag more than 2 % larger.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from bench.levels import CHUNK, Unavailable, Voxels, chunks_of, coarser, real_images, real_labels
from bench.report import aligned
from bench.run import DATA_VARIABLE, ROOT
from bench.volumes import draw
from wkpipe import Dataset, LayerCategory
from wkpipe.formats.codecs import Zstd
from wkpipe.formats.zstd_parameters import set_for
from wkpipe.sampling import InterpolationMode

ANISOTROPIC: Final = ((2, 2, 1), (2, 2, 1), (2, 2, 1), (2, 2, 2))
ISOTROPIC: Final = ((2, 2, 2),) * 4
DRAWN: Final = (1024, 1024, 64)
MOST_BYTES: Final = 24 << 20
"""The most chunks of a mag that are encoded; they are spread over it."""
MOST_VOXELS: Final = 1 << 28
MOST_LAYER, MOST_LABELS, MOST_MAG = 1.01, 1.0, 1.02


@dataclass(frozen=True)
class Volume:
    """The finest mag of a layer (x, y, z), and the factors of its ladder."""

    name: str
    is_labels: bool
    voxels: Voxels
    ladder: Sequence[tuple[int, int, int]]


@dataclass(frozen=True)
class Row:
    """One mag, or a whole layer: seconds and bytes of level 5 and of the set, scaled to all chunks of the mag."""

    volume: Volume
    mag: str
    used: str
    seconds: tuple[float, float]
    sizes: tuple[float, float]

    def cells(self) -> list[str]:
        time_ratio, ratio = self.seconds[1] / self.seconds[0], self.sizes[1] / self.sizes[0]
        most = MOST_MAG if self.used else (MOST_LABELS if self.volume.is_labels else MOST_LAYER)
        return [self.volume.name, self.mag, self.used, f"{time_ratio:.2f}", f"{ratio:.4f}{'*' if ratio > most else ''}"]


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare wkpipe's sets of zstd parameters with level 5.")
    default = Path(os.environ.get(DATA_VARIABLE, ROOT.parent / "shared" / "data"))
    parser.add_argument("datasets", nargs="*", type=Path, help="WEBKNOSSOS datasets to measure besides")
    parser.add_argument("--data", type=Path, default=default, help="directory with real labels and images")
    parser.add_argument("--rounds", type=int, default=5, help="the best one counts (%(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "out", help="directory for zstd-sets.md (bench/out)")
    wanted = parser.parse_args()
    lines = [["layer", "mag", "set", "time", "size"]]
    for volume in [*volumes(wanted.data), *(each for path in wanted.datasets for each in layers_of(path))]:
        lines += [row.cells() for row in rows_of(volume, wanted.rounds)]
        print(" ".join(lines[-1]), file=sys.stderr, flush=True)
    text = aligned(lines) + "\n"
    wanted.out.mkdir(parents=True, exist_ok=True)
    (wanted.out / "zstd-sets.md").write_text(text, encoding="utf-8")
    print(text, end="")
    return 0


def volumes(data: Path) -> Iterator[Volume]:
    """Yield the volumes of the benchmark."""
    for kind, is_labels in (("color", False), ("u16", False), ("seg", True), ("u64", True)):
        yield Volume(f"drawn {kind}", is_labels, drawn(kind), ANISOTROPIC)
    try:
        labels = np.asfortranarray(real_labels(data))
        for dtype in ("uint16", "uint32", "uint64"):
            narrow = labels if dtype != "uint16" else labels % 65521
            for text, ladder in (("isotropic", ISOTROPIC), ("anisotropic", ANISOTROPIC)):
                yield Volume(f"real labels, {dtype}, {text}", True, narrow.astype(dtype), ladder)
        yield Volume("real EM images", False, real_images(data), ANISOTROPIC)
    except Unavailable as reason:
        print(f"left out: {reason}", file=sys.stderr)


def drawn(kind: str) -> Voxels:
    return np.asfortranarray(np.stack([draw(kind, DRAWN, z).T for z in range(DRAWN[2])], axis=2))


def layers_of(path: Path) -> Iterator[Volume]:
    """Yield the first channel of each layer of a dataset that fits into memory."""
    for name, layer in Dataset.open(path).layers.items():
        if layer.bounding_box.volume() > MOST_VOXELS:
            print(f"{path.name}/{name} is left out: it is large", file=sys.stderr)
            continue
        read = layer.get_finest_mag().read()
        voxels = read[(0,) * (read.ndim - 3)]
        yield Volume(f"{path.name}/{name}", layer.category == LayerCategory.SEGMENTATION, np.asfortranarray(voxels), ISOTROPIC)


def rows_of(volume: Volume, rounds: int) -> Iterator[Row]:
    """Measure the mags of a volume, and add the row of all."""
    mode = InterpolationMode.MODE if volume.is_labels else InterpolationMode.MEDIAN
    voxels, mag, rows = volume.voxels, np.ones(3, int), list[Row]()
    for factors in ((1, 1, 1), *volume.ladder):
        if factors != (1, 1, 1):
            whole = tuple(slice(0, size // factor * factor) for size, factor in zip(voxels.shape, factors, strict=True))
            if 0 in (part.stop for part in whole):
                break
            voxels, mag = coarser(voxels[whole], factors, mode), mag * factors
        padded = np.asfortranarray(np.pad(voxels, [(0, -size % CHUNK) for size in voxels.shape]))
        if chunks := chunks_of(padded):
            rows.append(measured(volume, mag, chunks, rounds))
    yield from rows
    if rows:
        sums = [tuple(sum(row.seconds[i] for row in rows) for i in (0, 1)), tuple(sum(row.sizes[i] for row in rows) for i in (0, 1))]
        yield Row(volume, "whole", "", *sums)


def measured(volume: Volume, mag: Sequence[int], chunks: list[bytes], rounds: int) -> Row:
    count = max(1, min(len(chunks), MOST_BYTES // len(chunks[0])))
    some = np.frombuffer(b"".join(chunks[index * len(chunks) // count] for index in range(count)), np.uint8).reshape(count, -1)
    used = set_for(volume.is_labels, int(np.prod(mag)))
    codecs = (Zstd(5, checksum=True), Zstd(5, checksum=True, named=used))
    seconds, sizes = [9e9, 9e9], [0.0, 0.0]
    for _ in range(rounds):
        for which, codec in enumerate(codecs):
            start = time.thread_time()
            sizes[which] = sum(codec.encode_many(some, range(count))[1]) * len(chunks) / count
            seconds[which] = min(seconds[which], (time.thread_time() - start) * len(chunks) / count)
    return Row(volume, "-".join(map(str, mag)), used, (seconds[0], seconds[1]), (sizes[0], sizes[1]))


if __name__ == "__main__":
    sys.exit(main())
