"""Shared by the attacks: a small dataset, wkpipe's commands in this process, and checks of their results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from tests.oracle.pyramid import Array, pyramid
from tests.oracle.reading import stored_mags
from wkpipe.errors import WkpipeError
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.plan import Plan
from wkpipe.runs.run import run_here
from wkpipe.verify.dataset import VerifyReport, verify_dataset
from wkpipe.verify.select import Selection

SIZE = (48, 40, 24)
LAYER = "img"
FORMATS = ("zarr3", "zarr", "wkw")
METADATA = {"zarr.json", ".zarray", ".zattrs", ".zgroup", "header.wkw", "datasource-properties.json"}
ONE = (1, 1, 1)


def noise(size: tuple[int, int, int] = SIZE, seed: int = 0) -> Array:
    """Return voxels (x, y, z) without a zero."""
    return np.random.default_rng(seed).integers(1, 255, size, "u1")


def block(at: tuple[int, int, int], edge: int = 16, value: int = 200, size: tuple[int, int, int] = (64, 32, 32)) -> Array:
    """Return voxels that are zero except for one solid cube."""
    voxels = np.zeros(size, "u1")
    voxels[tuple(slice(a, a + edge) for a in at)] = value
    return voxels


def write_images(directory: Path, voxels: Array) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for z in range(voxels.shape[2]):
        tifffile.imwrite(directory / f"s{z:03}.tif", np.ascontiguousarray(voxels[..., z].T))
    return directory


def values_of(data_format: str = "zarr3", **more: Any) -> dict[str, Any]:
    shard = {} if data_format == "zarr" else {"shard_shape": 16}
    return {"data_format": data_format, "chunk_shape": 8, **shard, "coarsest_mag": "4", **more}


def plan_of(root: Path, **values: Any) -> Plan:
    return make_plan(load_config({"target": str(root), **values}, "test"), Sizing.local(1))


def run(root: Path, **values: Any) -> None:
    run_here(plan_of(root, **values))


def convert(images: Path, root: Path, data_format: str = "zarr3", **values: Any) -> Path:
    """Convert the images as `wkpipe convert` does."""
    wanted = {"voxel_size": [10, 10, 10], "layer_name": LAYER, "category": "color", "name": "ds"} | values_of(data_format) | values
    run(root, source=str(images), **wanted)
    return root


def downsample(root: Path, **values: Any) -> None:
    """Downsample as `wkpipe downsample` does."""
    kind = next(iter(stored_mags(root, LAYER).values())).data_format
    run(root, **{key: value for key, value in values_of(kind).items() if key != "data_format"} | values)


def refusal(function: Callable[[], object]) -> tuple[int, str]:
    """Return the exit code and the text (one line) of the error that ends a command; 0 if there is none."""
    found: WkpipeError | None = None
    try:
        function()
    except WkpipeError as error:
        found = error
    assert found is None or "\n" not in str(found)
    return (0, "") if found is None else (found.exit_code, str(found))


def verify(root: Path, deep: bool = False, **values: Any) -> VerifyReport:
    return verify_dataset(root, selection=Selection(share=1.0, deep=True) if deep else None, **values)


def assert_sound(root: Path, **values: Any) -> None:
    for deep in (False, True):
        problems = [str(problem) for problem in verify(root, deep, **values).problems]
        assert not problems, f"verify{' --deep' * deep} gives a false alarm: {problems}"


def read(root: Path, mag: int = 1, layer: str = LAYER) -> Array:
    """Return the voxels (x, y, z) of a mag, read without wkpipe."""
    stored = stored_mags(root, layer)[(mag,) * 3]
    return stored.read("wkw" if stored.data_format == "wkw" else "tensorstore")[0][0]


def assert_fresh(root: Path, mags: tuple[int, ...] = (1, 2, 4), mode: str = "median", layer: str = LAYER) -> None:
    """Assert that every coarser mag holds what mag 1 gives now."""
    stored = stored_mags(root, layer)
    assert [mag[0] for mag in stored] == list(mags)
    size = stored[ONE].size
    wanted = pyramid(read(root, layer=layer)[None], ONE, [(m, m, m) for m in mags[1:]], (0, 0, 0), size, mode)
    for mag in mags[1:]:
        np.testing.assert_array_equal(read(root, mag, layer), wanted[(mag,) * 3][0], err_msg=f"mag {mag} is not made from mag 1 as it is")


def data_files(root: Path, mag: str = "*", layer: str = "*") -> list[Path]:
    """Return the files with voxels."""
    found = [path for directory in root.glob(f"{layer}/{mag}") for path in directory.rglob("*") if path.is_file()]
    return sorted(path for path in found if path.name not in METADATA and ".wkpipe" not in path.relative_to(root).parts)


def picture(root: Path, mag: str = "*") -> dict[str, tuple[int, int, bytes]]:
    """Return inode, mtime and content of every data file: equal pictures mean that nothing was made again."""
    stats = {path: path.stat() for path in data_files(root, mag)}
    return {str(path.relative_to(root)): (s.st_ino, s.st_mtime_ns, path.read_bytes()) for path, s in stats.items()}


def everything(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return inode, mtime and content of every file below a directory, including wkpipe's state."""
    found = {path: path.lstat() for path in sorted(root.rglob("*"))}
    return {
        str(path.relative_to(root)): (s.st_ino, 0 if path.is_dir() else s.st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path, s in found.items()
    }
