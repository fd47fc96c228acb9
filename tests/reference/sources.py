"""Image inputs: samples (tests/data/README.md), and some made here for what those lack (noise, odd sizes, time and channels)."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from tests.material import labels, material

LINK_SIZE = 100
"""A file up to this size may be a link that was checked out as text."""


def materialised(source: Path, target: Path, most: int | None = None) -> None:
    """Copy images; a small text file that names another file becomes a copy of that file.

    With `most`, at most this many files of each directory are copied.
    """
    files = [path for path in sorted(source.rglob("*")) if path.suffix.lower() in (".tif", ".tiff", ".jpg")]
    for directory in {path.parent for path in files}:
        for path in [p for p in files if p.parent == directory][:most]:
            out = target / path.relative_to(source)
            out.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_linked(path), out)


def _linked(path: Path) -> Path:
    if path.stat().st_size >= LINK_SIZE:
        return path
    return path.parent / path.read_text(encoding="utf-8")


def write_stack(voxels: np.ndarray, target: Path) -> None:
    """Write voxels (x, y, z) as a folder of TIFF slices."""
    target.mkdir(parents=True)
    for z in range(voxels.shape[2]):
        tifffile.imwrite(target / f"slice_{z:04d}.tif", np.ascontiguousarray(voxels[:, :, z].T), compression="zlib")


def noise(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    """Return noise over the whole range of a dtype, with a block of zeros."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        voxels = rng.normal(0, 100, shape).astype(dtype)
    else:
        limits = np.iinfo(dtype)
        voxels = rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    voxels[tuple(slice(0, n // 3) for n in shape)] = 0
    return voxels


def make_source(name: str, target: Path) -> None:
    """Make one of `SOURCES`."""
    folder = target / name
    match name:
        case "tiff":
            materialised(material("data/tiff"), folder, most=45)
        case "rgb_tiff":
            materialised(material("data/rgb_tiff"), folder)
        case "4D_series" | "multi_channel_z_series" | "single_channel":
            materialised(material(f"data/4D/{name}"), folder)
        case "multipage":
            # single_multipage_tiff_folder has a link to a file that is not among the data; this is its neighbour
            source = material("data/various_tiff_formats/test_I.tif")
            folder.mkdir(parents=True)
            shutil.copyfile(source, folder / source.name)
        case "temca2":
            materialised(material("data/temca2"), folder)
        case "labels":
            write_stack(labels()[100:229, 40:151, 60:117], folder)
        case "uint8" | "uint16" | "int16" | "float32":
            write_stack(noise((45, 37, 21), name, seed=1), folder)
        case "flat":
            write_stack(noise((60, 50, 1), "uint8", seed=11), folder)
        case "rgb_png":
            folder.mkdir(parents=True)
            for z, image in enumerate(noise((5, 27, 41, 3), "uint8", seed=2)):
                Image.fromarray(image).save(folder / f"{z}.png")
        case "time_and_channels":
            folder.mkdir(parents=True)
            tifffile.imwrite(folder / "tc.ome.tif", noise((3, 5, 2, 19, 33), "uint8", seed=3), metadata={"axes": "TZCYX"})
        case "time_rgb":
            folder.mkdir(parents=True)
            tifffile.imwrite(
                folder / "t.ome.tif", noise((3, 4, 19, 33, 3), "uint8", seed=12), metadata={"axes": "TZYXS"}, photometric="rgb"
            )
        case _:
            raise ValueError(name)


SOURCES = (
    "tiff",
    "rgb_tiff",
    "4D_series",
    "multi_channel_z_series",
    "single_channel",
    "multipage",
    "labels",
    "uint16",
    "int16",
    "float32",
    "rgb_png",
    "time_and_channels",
    "time_rgb",
)
TIME_SOURCES = ("4D_series", "time_and_channels", "time_rgb")
FLAT_SOURCES = ("rgb_tiff", "single_channel")
