"""Measure cost and gain of zstd's levels on chunks of 32³ voxels: of real labels, real EM images, and the synthetic volumes.

    python bench/levels.py [--data DIR] [--out DIR]

Rates are uncompressed MB (10^6 bytes) per second of the measuring thread's CPU time, which other work on the machine disturbs
less than the wall clock; one thread, the best of several rounds. The ratio is that of all chunks of a volume together; chunks
of zeros are left out, because they are not stored. Volumes that are not available are named.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
from PIL import Image

from bench.report import aligned
from bench.run import DATA_VARIABLE, ROOT
from bench.volumes import REAL_LABELS, draw
from wkpipe.formats.codecs import Zstd
from wkpipe.sampling import InterpolationMode, sample_box

Voxels: TypeAlias = np.ndarray[Any, np.dtype[Any]]

LEVELS: Final = (1, 3, 5)
CHUNK: Final = 32
DRAWN: Final = (512, 512, 64)
IMAGES: Final = "temca2"
NOTE: Final = """\
zstd, chunks of 32³ voxels with checksum; rates per second of CPU, one thread. The real images were JPEGs, which smoothed
their noise; the synthetic ones are noisy."""


class Unavailable(Exception):
    """A volume is not available, for this reason."""


@dataclass(frozen=True)
class Found:
    """The result of one level on one volume."""

    volume: str
    level: int
    encode_mb_s: float
    decode_mb_s: float
    ratio: float


def main() -> int:
    parser = argparse.ArgumentParser(description="Cost and gain of zstd's levels on chunks of 32³ voxels.")
    default = Path(os.environ.get(DATA_VARIABLE, ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default, help="directory with real labels and images")
    parser.add_argument("--rounds", type=int, default=3, help="the best one counts (%(default)s)")
    parser.add_argument("--edge", type=int, default=512, help="the most voxels of a volume along x, y, z (%(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "out", help="directory for levels.md and levels.json (bench/out)")
    wanted = parser.parse_args()
    found: list[Found] = []
    missing: list[str] = []
    for name, make in volumes(wanted.data).items():
        try:
            chunks = chunks_of(make()[: wanted.edge, : wanted.edge, : wanted.edge])
        except Unavailable as reason:
            missing.append(f"{name}: {reason}")
            print(f"{name} is left out: {reason}", file=sys.stderr)
            continue
        found += [level_on(name, chunks, level, wanted.rounds) for level in LEVELS]
        print(f"{name}: {len(chunks)} chunks", file=sys.stderr, flush=True)
    text = report(found, missing)
    wanted.out.mkdir(parents=True, exist_ok=True)
    (wanted.out / "levels.md").write_text(text, encoding="utf-8")
    content = {"levels": [asdict(one) for one in found], "left_out": missing}
    (wanted.out / "levels.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(text, end="")
    return 0


def volumes(data: Path) -> dict[str, Callable[[], Voxels]]:
    """Return functions that make the volumes (x, y, z, Fortran order), by name."""
    return {
        "real labels, mag 1": lambda: real_labels(data),
        "real labels, mag 2": lambda: coarser(real_labels(data), (2, 2, 2), InterpolationMode.MODE),
        "real EM images": lambda: real_images(data),
        "real EM images, mag 2": lambda: coarser(real_images(data), (2, 2, 1), InterpolationMode.MEDIAN),
        "drawn color": lambda: drawn("color"),
        "drawn color, mag 2-2-1": lambda: coarser(drawn("color"), (2, 2, 1), InterpolationMode.MEDIAN),
        "drawn seg": lambda: drawn("seg"),
        "drawn seg, mag 2-2-1": lambda: coarser(drawn("seg"), (2, 2, 1), InterpolationMode.MODE),
    }


def real_labels(data: Path) -> Voxels:
    path = data / REAL_LABELS
    if not path.exists():
        raise Unavailable(f"there is no {path}; --data names its directory")
    labels: Voxels = np.load(path)["labels"]
    return labels


def real_images(data: Path) -> Voxels:
    """Stack all grey images of the most frequent size; they are neighbours in their section, not in depth."""
    images = []
    for path in sorted((data / IMAGES).rglob("*.jpg")):
        with Image.open(path) as image:
            if image.mode == "L" and min(image.size) >= CHUNK:
                images.append(np.asarray(image).T)
    shapes = [image.shape for image in images]
    if not shapes:
        raise Unavailable(f"there are no grey images in {data / IMAGES}; --data names the directory above")
    usual = max(shapes, key=shapes.count)
    stack = [image for image in images if image.shape == usual and image.std() > 1]
    # Chunks need 32 slices; a stack with fewer is repeated, each time shifted, so that there are no copies along z.
    shifted = [np.roll(stack[z % len(stack)], 97 * (z // len(stack)), axis=(0, 1)) for z in range(max(CHUNK, len(stack) // CHUNK * CHUNK))]
    return np.asfortranarray(np.stack(shifted, axis=2))


def drawn(kind: str) -> Voxels:
    return np.asfortranarray(np.stack([draw(kind, DRAWN, z).T for z in range(DRAWN[2])], axis=2))


def coarser(voxels: Voxels, factors: tuple[int, int, int], mode: InterpolationMode) -> Voxels:
    """Return the next mag of a volume."""
    shape = [size // factor for size, factor in zip(voxels.shape, factors, strict=True)]

    def read(start: Sequence[int], size: Sequence[int]) -> Voxels:
        return voxels[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))]

    sampled: Voxels = sample_box(read, (0, 0, 0), shape, factors, ((0, 0, 0), voxels.shape), mode)
    return sampled


def chunks_of(voxels: Voxels) -> list[bytes]:
    """Cut a volume into the bytes of its chunks, as a file stores them: x fastest; without chunks that are all zero."""
    corners = itertools.product(*(range(0, size - CHUNK + 1, CHUNK) for size in voxels.shape))
    chunks = [voxels[x : x + CHUNK, y : y + CHUNK, z : z + CHUNK] for x, y, z in corners]
    return [chunk.tobytes(order="F") for chunk in chunks if chunk.any()]


def level_on(volume: str, chunks: Sequence[bytes], level: int, rounds: int) -> Found:
    """Measure one level on one volume."""
    codec, size = Zstd(level, checksum=True), sum(map(len, chunks))
    encoded: list[bytes] = []
    encode, decode = [], []
    for _ in range(rounds):
        start = time.thread_time()
        encoded = [codec.encode(chunk) for chunk in chunks]
        middle = time.thread_time()
        for data, chunk in zip(encoded, chunks, strict=True):
            codec.decode(data, len(chunk))
        encode.append(middle - start)
        decode.append(time.thread_time() - middle)
    return Found(volume, level, size / min(encode) / 1e6, size / min(decode) / 1e6, size / sum(map(len, encoded)))


def report(found: Sequence[Found], missing: Sequence[str]) -> str:
    """Return the table."""
    lines = [["volume", "level", "encode MB/s", "decode MB/s", "ratio", "size against level 5"]]
    ratios = {one.volume: one.ratio for one in found if one.level == LEVELS[-1]}
    for one in found:
        change = 100 * (ratios[one.volume] / one.ratio - 1)
        lines.append(
            [one.volume, str(one.level), f"{one.encode_mb_s:.0f}", f"{one.decode_mb_s:.0f}", f"{one.ratio:.2f}", f"{change:+.1f} %"]
        )
    notes = "".join(f"\nLeft out: {reason}\n" for reason in missing)
    return f"{NOTE}\n\n{aligned(lines)}\n{notes}"


if __name__ == "__main__":
    sys.exit(main())
