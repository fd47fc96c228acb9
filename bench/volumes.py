"""The volumes of the benchmark: stacks of TIFF slices, and datasets of one layer in mag 1; each is made when it is first needed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import tifffile

from bench.tiling import repeat_dataset

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
Slice: TypeAlias = np.ndarray[Any, np.dtype[np.unsignedinteger[Any]]]
Shape: TypeAlias = tuple[int, int, int]

VOXEL_SIZE: Final = "11,11,25"
CELL: Final = (44.0, 40.0, 22.0)
"""Edges of a cell in voxels, before warping."""
DTYPES: Final = {"color": "uint8", "seg": "uint32", "u16": "uint16", "u64": "uint64", "wide": "uint8", "labels": "uint32"}
SEGMENTATIONS: Final = ("seg", "u64", "labels")
REPEATS: Final[dict[str, tuple[str, Shape]]] = {
    "big-color": ("color", (2, 2, 4)),
    "big-seg": ("seg", (2, 2, 4)),
    "labels": ("labels", (2, 2, 2)),
}
"""Layers that repeat another one: the other one's name, and how often along x, y, z."""
REAL_LABELS: Final = "connectomics_labels_512.npz"
DEFAULT_LEVEL: Final = 5
THREADS: Final = 2


@dataclass(frozen=True)
class Cut:
    """The content of a slice: each pixel's cell, its distance to the next cell in parts of a cell, and the warped positions."""

    cells: np.ndarray[Any, np.dtype[np.uint32]]
    depth: Floats
    across: Floats


class Volumes:
    """Volumes in a directory. `shape` is that of the synthetic ones, `data` the directory with the real labels."""

    def __init__(self, root: Path, shape: Shape, data: Path) -> None:
        self.root = root
        self.shape = shape
        self.data = data
        root.mkdir(parents=True, exist_ok=True)

    def missing(self, layer: str) -> str | None:
        """Return why a layer cannot be made; None if it can."""
        path = self.data / REAL_LABELS
        return f"there is no {path}; --data names its directory" if layer == "labels" and not path.exists() else None

    def shape_of(self, layer: str) -> Shape:
        """Return the shape x, y, z of a layer or stack."""
        name, times = REPEATS.get(layer, (layer, (1, 1, 1)))
        x, y, z = self._drawn_shape(name)
        return x * times[0], y * times[1], z * times[2]

    def bytes_of(self, layer: str) -> int:
        """Return the size of a layer's voxels in mag 1."""
        x, y, z = self.shape_of(layer)
        return x * y * z * np.dtype(DTYPES[REPEATS.get(layer, (layer,))[0]]).itemsize

    def slices(self, stack: str) -> Path:
        """Return the folder of a stack's uncompressed TIFF slices."""
        return self._made(self.root / "slices" / stack, lambda folder: self._draw_slices(stack, folder))

    def dataset(self, layer: str, data_format: str, level: int = DEFAULT_LEVEL) -> Path:
        """Return a dataset with one layer in mag 1, default chunks and shards.

        It is like a dataset of another tool: without wkpipe's state, which records the files that wkpipe has written.
        """
        base, times = REPEATS.get(layer, (layer, None))
        name = f"{data_format}-{level}"
        if times is None:
            return self._made(self.root / f"{layer}-{name}", lambda target: self._convert(layer, data_format, level, target))

        def repeat(target: Path) -> None:
            part = self._made(self.root / f"part-{base}-{name}", lambda made: self._convert(base, data_format, level, made))
            repeat_dataset(part, target, times)

        return self._made(self.root / f"{layer}-{name}", repeat)

    def _made(self, path: Path, make: Callable[[Path], None]) -> Path:
        """Return a path, made if needed, that is never left incomplete."""
        if not path.exists():
            part = path.with_name(path.name + ".part")
            shutil.rmtree(part, ignore_errors=True)
            part.parent.mkdir(parents=True, exist_ok=True)
            make(part)
            part.rename(path)
        return path

    def _convert(self, layer: str, data_format: str, level: int, target: Path) -> None:
        command = [sys.executable, "-m", "wkpipe", "convert", str(self.slices(layer)), str(target), "--voxel-size", VOXEL_SIZE]
        command += ["--category", "segmentation" if layer in SEGMENTATIONS else "color", "--data-format", data_format]
        command += ["--no-downsample", "--quiet", *([] if level == DEFAULT_LEVEL else ["--compression-level", str(level)])]
        subprocess.run(command, check=True, cwd=self.root, stdout=subprocess.DEVNULL)
        shutil.rmtree(target / ".wkpipe")

    def _drawn_shape(self, stack: str) -> Shape:
        x, y, z = self.shape
        if stack == "wide":
            return 2 * x, 2 * y, z
        return (min(512, x // 2),) * 3 if stack == "labels" else self.shape

    def _draw_slices(self, stack: str, folder: Path) -> None:
        folder.mkdir()
        _, _, depth = shape = self._drawn_shape(stack)
        narrow = sorted(self.slices("color").iterdir()) if stack == "wide" else []
        labels = np.load(self.data / REAL_LABELS)["labels"] if stack == "labels" else None

        def write(z: int) -> None:
            if labels is not None:
                image = labels[: shape[0], : shape[1], z].T
            else:
                image = np.tile(tifffile.imread(narrow[z]), (2, 2)) if narrow else draw(stack, shape, z)
            tifffile.imwrite(folder / f"{stack}_{z:05d}.tif", np.ascontiguousarray(image), metadata=None)

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(write, range(depth)))


def draw(kind: str, shape: tuple[int, int, int], z: int) -> Slice:
    """Return one slice (y, x): labels of cells with gaps of 0 between them, or a microscope's picture of these cells.

    `kind` is seg (uint32) or u64 (the same cells, with large numbers), color (uint8) or u16 (the same picture in 12 bits).
    """
    cut = _cut(shape[0], shape[1], z)
    if kind in ("seg", "u64"):
        labels = np.where(cut.depth < 0.03, np.uint32(0), cut.cells)
        return labels if kind == "seg" else labels.astype(np.uint64) * np.uint64(2654435761)
    rng = np.random.default_rng([7, z])
    tone = (cut.cells % 251).astype(np.float32) * 0.12
    organelles = 20 * np.sin(cut.across / 3.1) * (np.sin(cut.across / 17 + z / 9) > 0.6)
    membrane = 110 * np.exp(-((cut.depth / 0.05) ** 2))
    noise = rng.standard_normal(cut.depth.shape, np.float32) * 9
    picture = 165 + tone + organelles - membrane + noise
    scale, dtype = (16, np.uint16) if kind == "u16" else (1, np.uint8)
    drawn: Slice = (scale * picture).clip(0, 256 * scale - 1).round().astype(dtype)
    return drawn


def _cut(width: int, height: int, z: int) -> Cut:
    """Cut a warped grid of cells at a depth."""
    x = np.arange(width, dtype=np.float32)[None, :]
    y = np.arange(height, dtype=np.float32)[:, None]
    warped = (
        x + 11 * np.sin(y / 37 + z / 19) + 5 * np.sin((x + 2 * y) / 71),
        y + 9 * np.sin(x / 41 - z / 23) + 4 * np.sin((y - x) / 29),
        z + 6 * np.sin((x + y) / 53) + 3 * np.cos(x / 31),
    )
    number = np.zeros((height, width), np.uint32)
    depth = np.full((height, width), 0.5, np.float32)
    for place, edge, factor in zip(warped, CELL, (73856093, 19349663, 83492791), strict=True):
        whole = np.floor(place / np.float32(edge)).astype(np.float32)
        part = place / np.float32(edge) - whole
        number ^= (whole.astype(np.int64) + 64).astype(np.uint32) * np.uint32(factor)
        depth = np.minimum(depth, np.minimum(part, 1 - part)).astype(np.float32)
    return Cut(number % np.uint32(1 << 24) + np.uint32(1), depth, (warped[0] + warped[1]).astype(np.float32))
