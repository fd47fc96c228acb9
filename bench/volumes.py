"""The volumes of the benchmark: folders of TIFF slices, and datasets of one layer in mag 1; each is made when it is first asked for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import tifffile

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
Slice: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]] | np.ndarray[Any, np.dtype[np.uint32]]

VOXEL_SIZE: Final = "11,11,25"
CELL: Final = (44.0, 40.0, 22.0)
"""Edges of a cell in voxels, before warping."""
CATEGORIES: Final = {"color": "color", "seg": "segmentation"}


@dataclass(frozen=True)
class Cut:
    """What one slice shows: each pixel's cell, its distance to the next cell in parts of a cell, and the warped places."""

    cells: np.ndarray[Any, np.dtype[np.uint32]]
    depth: Floats
    across: Floats


class Volumes:
    """Volumes of one shape in a directory."""

    def __init__(self, root: Path, shape: tuple[int, int, int]) -> None:
        self.root = root
        self.shape = shape

    def slices(self, kind: str) -> Path:
        """Return the folder of a stack's uncompressed TIFF slices; `kind` is color (uint8) or seg (uint32)."""
        folder = self.root / "slices" / kind
        if not folder.exists():
            folder.mkdir(parents=True)
            for z in range(self.shape[2]):
                tifffile.imwrite(folder / f"{kind}_{z:05d}.tif", draw(kind, self.shape, z), metadata=None)
        return folder

    def dataset(self, kind: str, data_format: str) -> Path:
        """Return a dataset with the layer `kind` in mag 1, default chunks and shards.

        It is as any other tool would hand it over: without the state in which wkpipe knows what it has written itself.
        """
        target = self.root / f"{kind}-{data_format}"
        if not target.exists():
            command = [sys.executable, "-m", "wkpipe", "convert", str(self.slices(kind)), str(target), "--voxel-size", VOXEL_SIZE]
            command += ["--category", CATEGORIES[kind], "--data-format", data_format, "--no-downsample", "--quiet"]
            subprocess.run(command, check=True, cwd=self.root, stdout=subprocess.DEVNULL)
            shutil.rmtree(target / ".wkpipe")
        return target


def draw(kind: str, shape: tuple[int, int, int], z: int) -> Slice:
    """Return one slice (y, x): labels of cells with gaps of 0 between them, or what a microscope might show of these cells."""
    cut = _cut(shape[0], shape[1], z)
    if kind == "seg":
        return np.where(cut.depth < 0.03, np.uint32(0), cut.cells)
    rng = np.random.default_rng([7, z])
    tone = (cut.cells % 251).astype(np.float32) * 0.12
    organelles = 20 * np.sin(cut.across / 3.1) * (np.sin(cut.across / 17 + z / 9) > 0.6)
    membrane = 110 * np.exp(-((cut.depth / 0.05) ** 2))
    noise = rng.standard_normal(cut.depth.shape, np.float32) * 9
    drawn: Slice = (165 + tone + organelles - membrane + noise).clip(0, 255).round().astype(np.uint8)
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
