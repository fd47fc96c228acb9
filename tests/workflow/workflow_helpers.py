"""Run wkpipe and Snakemake as a user does, and inspect their results."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import tifffile

from tests.content import content_of
from wkpipe.storage.ledger import Ledger

REPOSITORY = Path(__file__).parents[2]
WKPIPE = [sys.executable, "-m", "wkpipe"]
VOXEL_SIZE = "11,11,25"
SHARDS = ["--shard-shape", "64,64,64"]


def write_stack(directory: Path, shape: tuple[int, int, int], seed: int = 0) -> Path:
    """Write folders em/ (uint8) and labels/ (uint32) of slices; `shape` is z, y, x."""
    rng = np.random.default_rng(seed)
    for name in ("em", "labels"):
        (directory / name).mkdir(parents=True)
    labels = rng.integers(0, 200, size=(-(-shape[0] // 8), -(-shape[1] // 8), -(-shape[2] // 8)), dtype="u4")
    for z in range(shape[0]):
        tifffile.imwrite(directory / "em" / f"{z}.tif", rng.integers(0, 255, size=shape[1:], dtype="u1"))
        slice_ = np.repeat(np.repeat(labels[z // 8], 8, axis=0), 8, axis=1)[: shape[1], : shape[2]]
        tifffile.imwrite(directory / "labels" / f"{z}.tif", slice_)
    return directory


def in_jobs(code: str) -> str:
    """Return a ``sitecustomize`` that has each job run `code` before its task, as a process of its own or as a fork."""
    body = "".join(f"    {line}\n" for line in code.splitlines())
    return f"""
import os
from wkpipe.cli import step as module
before = module.step
def step(arguments):
{body}    return before(arguments)
module.step = step
"""


def run(*arguments: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a wkpipe command to its end."""
    return subprocess.run(
        [*WKPIPE, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, env=os.environ | environment, check=False
    )


def convert_command(source: Path, target: Path, *more: str) -> list[str]:
    return [*WKPIPE, "convert", str(source), str(target), "--voxel-size", VOXEL_SIZE, *more]


def snakemake_command(source: Path, target: Path, *more: str, profile: str = "multiprocessing", **config: str) -> list[str]:
    """Return the command of the same conversion with plain Snakemake."""
    values = {"source": str(source), "target": str(target), "voxel_size": VOXEL_SIZE} | config
    files = ["--snakefile", str(REPOSITORY / "Snakefile"), "--profile", str(REPOSITORY / "profiles" / profile)]
    return [sys.executable, "-m", "snakemake", *files, *more, "--config", *(f"{key}={value}" for key, value in values.items())]


def data_files(dataset: Path) -> dict[str, str]:
    """Return the hash of every file of a dataset, except wkpipe's own and the properties (which contain the dataset's name)."""
    files = (path for path in dataset.rglob("*") if path.is_file() and ".wkpipe" not in path.relative_to(dataset).parts)
    kept = (path for path in files if path.name != "datasource-properties.json")
    return {str(path.relative_to(dataset)): hashlib.sha256(content_of(path)).hexdigest() for path in kept}


def identities(dataset: Path) -> dict[str, tuple[int, int]]:
    """Return inode and mtime of every data file that has its final name."""
    stats = {name: (dataset / name).stat() for name in data_files(dataset)}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


def proven(dataset: Path) -> dict[str, tuple[int, int]]:
    """Return the identities of the recorded files: a kill between rename and record may cost one file per worker."""
    recorded = set()
    for recipe in dataset.glob(".wkpipe/ledger/*/*/recipe.json"):
        mag = "/".join(recipe.parts[-3:-1])
        recorded |= {(mag, record.proof.stamp.value) for record in Ledger.load(recipe.parent).records.values()}
    found = identities(dataset) if dataset.exists() else {}
    return {name: (inode, mtime) for name, (inode, mtime) in found.items() if ("/".join(name.split("/")[:2]), mtime) in recorded}


def registered_mags(dataset: Path) -> dict[str, list[list[int]]]:
    """Return the mags that the properties name, by layer; an empty dict if there are no properties."""
    try:
        properties = json.loads((dataset / "datasource-properties.json").read_text())
    except FileNotFoundError:
        return {}
    return {layer["name"]: [mag["mag"] for mag in layer["mags"]] for layer in properties["dataLayers"]}


def kill_tree(process: psutil.Popen) -> None:
    """SIGKILL a process and all its descendants, whatever sessions they are in."""
    family = [process, *process.children(recursive=True)]
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=10)
