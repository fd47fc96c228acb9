"""Make a sample that looks like neural tissue in the electron microscope, with its segmentation.

    python demo/make_sample.py OUT [--shape 512,512,128] [--seed 1]

writes OUT/em/*.tif (uint8) and OUT/labels/*.tif (uint32), one file a slice. Needs only numpy and tifffile.

The tissue is a power diagram in three dimensions: every voxel belongs to the nearest seed in a warped space, and chains of
neighbouring seeds make one cell, so that cells are long, bent and of many sizes. Three distances determine the whole picture:
to the nearest other cell (membranes), to the axis of a mitochondrion, to the centre of a vesicle.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tifffile

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
Labels: TypeAlias = np.ndarray[Any, np.dtype[np.uint32]]
Image: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]

SLICE_THICKNESS = 25 / 11  # in pixels: voxels are 11 × 11 × 25 nm
SPACING = 36.0  # mean distance of seeds, in pixels
GAP = 1.1  # half the width of the gap between two cells, in pixels; there the label is 0
TILE = 32  # seeds are looked up for a tile of 32 × 32 pixels at a time
WARPS = ((80.0, 26.0), (34.0, 11.0), (15.0, 3.2))  # (wavelength, amplitude) in pixels
FARTHEST = 70  # the longest displacement of a pixel in the warped space, on any axis


@dataclass(frozen=True)
class Tissue:
    """The source of all slices; lengths in pixels, points as (x, y, z)."""

    shape: tuple[int, int, int]  # x, y in pixels, z in slices
    seeds: Floats  # (n, 3)
    weights: Floats  # (n,): the larger, the bigger the seed's region
    cells: Labels  # (n,): the cell that a seed belongs to
    warps: tuple[Floats, ...]  # coarse grids of displacements, (3, z, y, x) each
    mitochondria: Floats  # (m, 7): both ends of the axis, radius
    vesicles: Floats  # (v, 3)
    brightness: Floats  # (slices, 2): offset and contrast, which drift along the stack
    grains: dict[int, Floats]  # radius of blur: a periodic texture (y, x) with a deviation of 1


@dataclass(frozen=True)
class Cut:
    """One slice through the tissue before it is drawn."""

    points: Floats  # (3, y, x): the position of each pixel in the warped space
    cells: Labels  # (y, x)
    membrane: Floats  # (y, x): distance to the nearest other cell


def make_tissue(shape: tuple[int, int, int], seed: int) -> Tissue:
    """Draw random positions of cells, mitochondria and vesicles."""
    rng = np.random.default_rng([seed, 0])
    extent = np.array([shape[0], shape[1], shape[2] * SLICE_THICKNESS])
    seeds = _jittered_grid(rng, extent)
    weights = rng.gamma(1.0, 300.0, len(seeds)).clip(0, 1200)
    cells = _chains(rng, seeds)
    inside = seeds[((seeds > 0) & (seeds < extent)).all(axis=1)]
    return Tissue(
        shape=shape,
        seeds=seeds.astype(np.float32),
        weights=weights.astype(np.float32),
        cells=cells,
        warps=tuple(_warp_grid(rng, extent, wavelength, amplitude) for wavelength, amplitude in WARPS),
        mitochondria=_mitochondria(rng, inside),
        vesicles=_vesicles(rng, extent),
        brightness=_drift(rng, shape[2]),
        grains={radius: _blurred(rng.standard_normal((shape[1], shape[0]), np.float32), radius) for radius in (1, 2, 5)},
    )


def _jittered_grid(rng: np.random.Generator, extent: Any) -> Any:
    """Return one point somewhere in each cube of a grid that reaches beyond the volume."""
    axes = [np.arange(-2, int(length / SPACING) + 3) for length in extent]
    corners = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return (corners + rng.uniform(0, 1, corners.shape)) * SPACING


def _chains(rng: np.random.Generator, seeds: Any) -> Labels:
    """Join seeds to cells: each cell walks in its own direction from seed to seed, as long as it finds a free one."""
    cells = np.zeros(len(seeds), np.uint32)
    cell = 0
    for start in rng.permutation(len(seeds)):
        if cells[start]:
            continue
        cell += 1
        cells[start] = cell
        direction = rng.normal(size=3) * (1.0, 1.0, 1.4)
        direction /= np.linalg.norm(direction)
        here = seeds[start]
        for _ in range(rng.integers(2, 20)):
            steps = seeds - here - direction * SPACING
            steps[cells > 0] = np.inf
            distances = (steps**2).sum(axis=1)
            there = int(distances.argmin())
            if distances[there] > SPACING**2:
                break
            cells[there] = cell
            here = seeds[there]
    return cells


def _warp_grid(rng: np.random.Generator, extent: Any, wavelength: float, amplitude: float) -> Floats:
    nodes = [int(np.ceil(length / wavelength)) + 4 for length in extent]
    return (rng.normal(size=(3, nodes[2], nodes[1], nodes[0])) * amplitude).astype(np.float32)


def _mitochondria(rng: np.random.Generator, places: Any) -> Floats:
    chosen = places[rng.random(len(places)) < 0.3]
    halves = rng.normal(size=chosen.shape) * (1, 1, 1.5)
    halves *= rng.uniform(12, 42, (len(chosen), 1)) / np.linalg.norm(halves, axis=1, keepdims=True)
    radii = rng.uniform(10, 17, (len(chosen), 1))
    return np.concatenate([chosen - halves, chosen + halves, radii], axis=1).astype(np.float32)


def _vesicles(rng: np.random.Generator, extent: Any) -> Floats:
    """Return the centres of vesicles: clouds, as before a synapse, and some single ones."""
    clouds = rng.uniform(0, 1, (max(1, int(extent.prod() / 1.1e6)), 3)) * extent
    members = [cloud + rng.normal(size=(rng.integers(25, 90), 3)) * rng.uniform(8, 15) for cloud in clouds]
    single = rng.uniform(0, 1, (int(extent.prod() / 6e4), 3)) * extent
    return np.concatenate([*members, single]).astype(np.float32)


def _drift(rng: np.random.Generator, slices: int) -> Floats:
    """Return offset and contrast of each slice: a slow drift, and a small random part."""
    slow = np.cumsum(rng.normal(size=(slices, 2)), axis=0) * (0.9, 0.006)
    own = rng.normal(size=(slices, 2)) * (1.4, 0.01)
    drift: Floats = ((slow - slow.mean(axis=0)).clip((-12, -0.1), (12, 0.1)) + own + (0, 1)).astype(np.float32)
    return drift


def cut_slice(tissue: Tissue, z: int) -> Cut:
    """Find each pixel's cell and its distance to the nearest other cell."""
    points = _warped_points(tissue, z)
    tissue = _slab(tissue, points[2].min() - 3 * SPACING, points[2].max() + 3 * SPACING)
    width, height, _ = tissue.shape
    cells = np.empty((height, width), np.uint32)
    membrane = np.empty((height, width), np.float32)
    for y in range(0, height, TILE):
        for x in range(0, width, TILE):
            tile = points[:, y : y + TILE, x : x + TILE]
            found, distance = _nearest_cells(tissue, tile.reshape(3, -1))
            cells[y : y + TILE, x : x + TILE] = found.reshape(tile.shape[1:])
            membrane[y : y + TILE, x : x + TILE] = distance.reshape(tile.shape[1:])
    return Cut(points, cells, membrane)


def _slab(tissue: Tissue, low: float, high: float) -> Tissue:
    """Return the tissue with only those seeds that are between two depths."""
    near = (tissue.seeds[:, 2] >= low) & (tissue.seeds[:, 2] <= high)
    return replace(tissue, seeds=tissue.seeds[near], weights=tissue.weights[near], cells=tissue.cells[near])


def _warped_points(tissue: Tissue, z: int) -> Floats:
    width, height, _ = tissue.shape
    depth = z * SLICE_THICKNESS
    points = np.empty((3, height, width), np.float32)
    points[0], points[1], points[2] = np.arange(width), np.arange(height)[:, None], depth
    for (wavelength, _), grid in zip(WARPS, tissue.warps, strict=True):
        grid = _interpolated(grid, np.array([depth]), wavelength, axis=1)[:, 0]
        grid = _interpolated(grid, np.arange(height), wavelength, axis=1)
        points += _interpolated(grid, np.arange(width), wavelength, axis=2)
    return points


def _interpolated(grid: Floats, positions: Any, wavelength: float, axis: int) -> Floats:
    """Return the cubic B-spline through a grid whose nodes are a wavelength apart, at positions along one axis."""
    first, t = np.divmod(positions / wavelength, 1)
    pieces = ((1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3)
    broadcast = [1] * grid.ndim
    broadcast[axis] = -1
    parts = [
        grid.take(first.astype(np.intp) + node, axis) * (piece / 6).astype(np.float32).reshape(broadcast)
        for node, piece in enumerate(pieces)
    ]
    between: Floats = parts[0] + parts[1] + parts[2] + parts[3]
    return between


def _nearest_cells(tissue: Tissue, points: Floats) -> tuple[Labels, Floats]:
    """Return for each of the points (3, n) its cell and the distance to the plane between it and the next cell."""
    near = _candidates(tissue, points)
    seeds, cells = tissue.seeds[near], tissue.cells[near]
    power = ((seeds**2).sum(axis=1) - tissue.weights[near])[:, None]
    for axis in range(3):
        power = power - (2 * seeds[:, axis])[:, None] * points[axis]  # the common |p|² is left out
    every = np.arange(points.shape[1])
    first = power.argmin(axis=0)
    own = power[first, every]
    others = np.where(cells[:, None] == cells[first], np.float32(np.inf), power)
    second = others.argmin(axis=0)
    apart = np.linalg.norm(seeds[first] - seeds[second], axis=1).clip(0.7 * SPACING, 1.3 * SPACING)
    return cells[first], ((others[second, every] - own) / (2 * apart)).astype(np.float32)


def _candidates(tissue: Tissue, points: Floats) -> Any:
    """Return the seeds near enough to the points' box to be the first or second cell of one of the points."""
    low, high = points.min(axis=1), points.max(axis=1)
    outside = np.maximum(np.maximum(low - tissue.seeds, tissue.seeds - high), 0)
    least = (outside**2).sum(axis=1) - tissue.weights
    nearest = np.sort(least)[:12].max()
    return np.flatnonzero(least <= nearest + SPACING**2)


def draw_em(tissue: Tissue, cut: Cut, z: int, rng: np.random.Generator) -> Image:
    """Draw the slice like a microscope's picture."""
    height, width = cut.cells.shape
    tone = (cut.cells.astype(np.uint64) * 2654435761 % 4294967296 / 4294967296).astype(np.float32)
    texture = _grain(tissue, 2, rng) * 12 + _grain(tissue, 5, rng) * 13
    image = 172 + 24 * (tone - 0.5) + texture * np.clip(cut.membrane / 6, 0.2, 1)
    _draw_mitochondria(image, tissue, cut)
    _draw_vesicles(image, tissue, cut, z)
    image -= 116 * np.exp(-((cut.membrane / 2.0) ** 2)) - 14 * np.exp(-((cut.membrane / 0.6) ** 2))
    image += _grain(tissue, 1, rng) * 9 + rng.standard_normal((height, width), np.float32) * 8
    offset, contrast = tissue.brightness[z]
    shade = 5 * np.sin(np.arange(width) / width * 2.4 + z / 90) + 4 * np.cos(np.arange(height) / height * 2.9)[:, None]
    drawn: Image = ((image - 140) * contrast + 140 + offset + shade).clip(0, 255).round().astype(np.uint8)
    return drawn


def _draw_mitochondria(image: Any, tissue: Tissue, cut: Cut) -> None:
    """Darken capsules with a rim and folds; they keep clear of the membrane of their cell."""
    darkness = np.zeros_like(image)
    near = tissue.mitochondria[:, [2, 5]].min(axis=1) < cut.points[2].max() + 20
    near &= tissue.mitochondria[:, [2, 5]].max(axis=1) > cut.points[2].min() - 20
    for *ends, radius in tissue.mitochondria[near]:
        start, end = np.array(ends[:3]), np.array(ends[3:])
        window = _window(cut, np.minimum(start, end) - radius - 3, np.maximum(start, end) + radius + 3)
        if window is None:
            continue
        points = cut.points[:, window[0], window[1]] - start[:, None, None]
        axis = end - start
        along = (axis[:, None, None] * points).sum(axis=0) / (axis**2).sum()
        distance = np.sqrt(((points - axis[:, None, None] * along.clip(0, 1)) ** 2).sum(axis=0))
        centre = _cell_at(tissue, (start + end) / 2)
        depth = np.minimum(radius - distance, cut.membrane[window] - 5)
        depth[cut.cells[window] != centre] = -np.inf
        body = (depth > 0).astype(np.float32) * np.clip(depth, 0, 1.5) / 1.5
        folds = np.sin(along * np.linalg.norm(axis) / 1.7 + 1.5 * np.sin(points[0] / 5) + points[1] / 6)
        dark = body * (46 + 18 * folds * np.clip(depth / 3, 0, 1)) + 42 * np.exp(-(((depth - 0.8) / 1.1) ** 2))
        darkness[window] = np.maximum(darkness[window], dark)
    image -= darkness


def _draw_vesicles(image: Any, tissue: Tissue, cut: Cut, z: int) -> None:
    """Draw small spheres: a dark rim around a bright core, where no membrane is near."""
    radius, reach = 2.2, 4
    height, width = image.shape
    for x, y, depth in tissue.vesicles[np.abs(tissue.vesicles[:, 2] - z * SLICE_THICKNESS) < radius]:
        column, row = round(float(x)), round(float(y))
        if not (reach <= column < width - reach and reach <= row < height - reach) or cut.membrane[row, column] < 5:
            continue
        window = np.s_[row - reach : row + reach + 1, column - reach : column + reach + 1]
        rows, columns = np.mgrid[window]
        distance = np.sqrt((rows - y) ** 2 + (columns - x) ** 2 + ((depth - z * SLICE_THICKNESS) * 0.7) ** 2)
        image[window] += 14 * np.exp(-((distance / 1.3) ** 2)) - 58 * np.exp(-(((distance - radius) / 0.9) ** 2))


def _window(cut: Cut, low: Any, high: Any) -> tuple[slice, slice] | None:
    """Return the smallest part of the slice that contains every pixel between two corners of the warped space."""
    left, top = (max(0, int(corner) - FARTHEST) for corner in low[:2])
    right, bottom = (max(0, int(corner) + FARTHEST) for corner in high[:2])
    points = cut.points[:, top:bottom, left:right]
    inside = np.ones(points.shape[1:], bool)
    for axis in range(3):
        inside &= (points[axis] >= low[axis]) & (points[axis] <= high[axis])
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return None
    return slice(top + rows[0], top + rows[-1] + 1), slice(left + columns[0], left + columns[-1] + 1)


def _cell_at(tissue: Tissue, point: Any) -> int:
    return int(tissue.cells[(((tissue.seeds - point) ** 2).sum(axis=1) - tissue.weights).argmin()])


def _grain(tissue: Tissue, radius: int, rng: np.random.Generator) -> Floats:
    """Return a texture with a random shift; it is periodic, so that any shift is valid."""
    grain = tissue.grains[radius]
    return np.roll(grain, (int(rng.integers(grain.shape[0])), int(rng.integers(grain.shape[1]))), axis=(0, 1))


def _blurred(noise: Floats, radius: int) -> Floats:
    """Return noise that is smooth over about `radius` pixels, periodic, with a deviation of 1."""
    for axis in (0, 1):
        for _ in range(2):
            noise = np.stack([np.roll(noise, shift, axis) for shift in range(-radius, radius + 1)]).mean(axis=0)
    smooth: Floats = noise / noise.std()
    return smooth


def make_slice(tissue: Tissue, seed: int, z: int) -> tuple[Image, Labels]:
    """Return one slice's picture and labels, (y, x) each."""
    cut = cut_slice(tissue, z)
    labels = np.where(cut.membrane < GAP, 0, _numbers_within(tissue, seed)[cut.cells]).astype(np.uint32)
    return draw_em(tissue, cut, z, np.random.default_rng([seed, 1, z])), labels


def _numbers_within(tissue: Tissue, seed: int) -> Labels:
    """Return scattered segment ids for the cells, as in a segmentation that was cut out of a larger one."""
    rng = np.random.default_rng([seed, 2])
    return rng.choice(np.arange(1, 200_000, dtype=np.uint32), int(tissue.cells.max()) + 1, replace=False)


def write_sample(out: Path, shape: tuple[int, int, int], seed: int) -> bool:
    """Write both stacks; return False if exactly this sample exists already."""
    record = out / ".sample.json"
    wanted = {"shape": list(shape), "seed": seed, "format": 1}
    stacks = [out / "em", out / "labels"]
    if record.is_file() and json.loads(record.read_text()) == wanted and all(len([*s.glob("*.tif")]) == shape[2] for s in stacks):
        return False
    record.unlink(missing_ok=True)
    for stack in stacks:
        stack.mkdir(parents=True, exist_ok=True)
        for old in stack.glob("*.tif"):
            old.unlink()
    write = functools.partial(_write_slice, stacks, make_tissue(shape, seed), seed)
    with ProcessPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for _ in pool.map(write, range(shape[2]), chunksize=8):
            pass
    record.write_text(json.dumps(wanted))
    return True


def _write_slice(stacks: list[Path], tissue: Tissue, seed: int, z: int) -> None:
    em, labels = make_slice(tissue, seed, z)
    tifffile.imwrite(stacks[0] / f"em_{z:04d}.tif", em, compression="zlib", metadata=None)
    tifffile.imwrite(stacks[1] / f"labels_{z:04d}.tif", labels, compression="zlib", metadata=None)


def main() -> None:
    """Read the command line and write the sample."""
    parser = argparse.ArgumentParser(description="Make a sample of neural tissue as TIFF stacks: OUT/em and OUT/labels.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--shape", default="512,512,128", help="x,y,z in voxels (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="each seed gives another tissue (default: %(default)s)")
    arguments = parser.parse_args()
    x, y, z = (int(length) for length in arguments.shape.split(","))
    fresh = write_sample(arguments.out, (x, y, z), arguments.seed)
    print(f"{'made' if fresh else 'kept'} {x} × {y} × {z} voxels: {arguments.out}/em (uint8), {arguments.out}/labels (uint32)")


if __name__ == "__main__":
    main()
