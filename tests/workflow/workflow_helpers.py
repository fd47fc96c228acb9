"""Run wkpipe and Snakemake as a user does, and inspect their results."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
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


WAITING = """
import time
from pathlib import Path
from wkpipe.storage.commits import Commits
note, noted = Commits.note, []
def note_and_wait(commits, writer, records):
    note(commits, writer, records)
    noted.extend(record for record in records if record.origin != "adopted")  # those of the source are there already
    if len(noted) >= {units} and not Path({go!r}).exists():
        commits.flush()
        while not Path({go!r}).exists():
            time.sleep(0.01)
Commits.note = note_and_wait
"""


@dataclass
class Held:
    """Jobs that have `environment` wait in the middle of their work, with some units recorded, until they are let go."""

    environment: dict[str, str]
    _go: Path

    @classmethod
    def after(cls, units: int, directory: Path) -> Held:
        """Hold each job after this number of units; the directory is made for it."""
        directory.mkdir()
        go = directory / "go"
        (directory / "sitecustomize.py").write_text(WAITING.format(units=units, go=str(go)))
        return cls({"PYTHONPATH": os.pathsep.join(filter(None, [str(directory), os.environ.get("PYTHONPATH")]))}, go)

    def let_go(self) -> None:
        self._go.touch()


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
    """SIGKILL a process and all its descendants on this host, whatever sessions they are in, as the loss of the host does.

    All are stopped first: until it is killed itself, none may start another process, or act because its parent is gone.
    """
    family: list[psutil.Process] = []
    while found := [member for member in (process, *_descendants(process)) if member not in family]:
        send(signal.SIGSTOP, found)
        family += found
    send(signal.SIGKILL, family)
    left = psutil.wait_procs(family, timeout=120)[1]
    assert not left, f"they live after SIGKILL: {left}"


def send(number: signal.Signals, processes: Iterable[psutil.Process]) -> None:
    """Send a signal to those of the processes that still exist."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []
