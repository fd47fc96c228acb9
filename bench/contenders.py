"""Who takes part in the benchmark, and what each has to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.volumes import VOXEL_SIZE, Volumes

REFERENCE_VARIABLE: Final = "WKPIPE_REFERENCE_PYTHON"
HASHES: Final = Path(__file__).with_name("voxel_hashes.py")
_NOT_HANDED_ON: Final = ("PYTHONPATH", "WK_TOKEN", "WKPIPE_STATE_DIR", "WKPIPE_DEBUG")


@dataclass(frozen=True)
class Workload:
    """One thing to do: make the coarser mags of a dataset, or a dataset with all its mags of slices."""

    name: str
    command: str
    kind: str
    data_format: str

    def arguments(self, volumes: Volumes, target: Path) -> list[str]:
        """Return the arguments of the command line, which are the same for every contender."""
        if self.command == "downsample":
            return ["downsample", str(target)]
        return ["convert", str(volumes.slices(self.kind)), str(target), "--voxel-size", VOXEL_SIZE, "--data-format", self.data_format]


WORKLOADS: Final = (
    Workload("downsample-color-zarr3", "downsample", "color", "zarr3"),
    Workload("downsample-seg-zarr3", "downsample", "seg", "zarr3"),
    Workload("downsample-color-wkw", "downsample", "color", "wkw"),
    Workload("downsample-seg-wkw", "downsample", "seg", "wkw"),
    Workload("convert-color-zarr3", "convert", "color", "zarr3"),
)


@dataclass(frozen=True)
class Contender:
    """A package with a number of jobs."""

    package: str
    python: str
    program: tuple[str, ...]
    jobs: int
    version: str = ""
    missing: str | None = None
    """Why it can not take part."""

    @property
    def name(self) -> str:
        return f"{self.package} --jobs {self.jobs}"

    @property
    def is_reference(self) -> bool:
        return self.package != "wkpipe"

    def command(self, arguments: Sequence[str]) -> list[str]:
        return [*self.program, *arguments, "--jobs", str(self.jobs)]


def contenders(reference_python: str | None) -> list[Contender]:
    """Return wkpipe with 2 jobs, and the reference package with 1 and 2."""
    ours = Contender("wkpipe", sys.executable, (sys.executable, "-m", "wkpipe"), 2, _version(sys.executable, "wkpipe"))
    if not reference_python:
        theirs = Contender("webknossos", "", (), 1, missing=f"{REFERENCE_VARIABLE} is not set")
    else:
        program = Path(reference_python).with_name("webknossos")
        theirs = Contender("webknossos", reference_python, (str(program),), 1)
        try:
            theirs = replace(theirs, version=_version(reference_python, "webknossos"))
        except (OSError, subprocess.CalledProcessError):
            theirs = replace(theirs, missing=f"the Python that {REFERENCE_VARIABLE} names does not run, or has no webknossos")
    return [ours, theirs, replace(theirs, jobs=2)]


def environment() -> Mapping[str, str]:
    """Return the environment of all contenders, without variables that change what they do."""
    return {key: value for key, value in os.environ.items() if key not in _NOT_HANDED_ON}


def _version(python: str, package: str) -> str:
    return _output([python, "-c", f"import importlib.metadata; print(importlib.metadata.version({package!r}))"]).strip()


def voxel_hashes(reader: Contender, dataset: Path) -> dict[str, str]:
    """Return a hash of the voxels of each mag, by layer and mag, as a contender's package reads them.

    Raises:
        subprocess.CalledProcessError: the package can not read the dataset.
    """
    hashes: dict[str, str] = json.loads(_output([reader.python, str(HASHES), reader.package, str(dataset)]).splitlines()[-1])
    return hashes


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, env=dict(environment())).stdout
