"""The contenders of the benchmark, their workloads, and their commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.peer_steps import peer_steps
from bench.volumes import DEFAULT_LEVEL, VOXEL_SIZE, Volumes
from bench.workloads import Workload

REFERENCE_VARIABLE: Final = "WKPIPE_REFERENCE_PYTHON"
PEER_VARIABLE: Final = "WKPIPE_TENSORSTORE_PYTHON"
HERE: Final = Path(__file__).parent
OURS, REFERENCE, PEER, LIMIT = "ours", "reference", "peer", "limit"
JOBS: Final = 2
COMPILER: Final = "cc"
"""Compiles the loop of `limit.py`."""
_NOT_HANDED_ON: Final = ("PYTHONPATH", "WK_TOKEN", "WKPIPE_STATE_DIR", "WKPIPE_DEBUG")


@dataclass(frozen=True)
class Place:
    """The place of one run: `target` is the dataset to work on, which is linked there except for `convert`."""

    directory: Path

    @property
    def target(self) -> Path:
        return self.directory / "dataset"

    @property
    def warm_up(self) -> Path:
        return self.directory / "warm_up"

    @property
    def steps(self) -> Path:
        return self.directory / "steps.json"

    @property
    def result(self) -> Path:
        return self.directory / "result.json"


@dataclass(frozen=True)
class Contender:
    """A package with one choice of settings. `missing` says why it cannot take part at all."""

    package: str
    role: str
    python: str
    jobs: int = JOBS
    level: int = DEFAULT_LEVEL
    delay_ms: int = 0
    version: str = ""
    missing: str | None = None

    @property
    def name(self) -> str:
        if self.role in (PEER, LIMIT):
            return self.package
        level = "" if self.level == DEFAULT_LEVEL else f", level {self.level}"
        return f"{self.package} --jobs {self.jobs}{level}" + (f", {self.delay_ms} ms" if self.delay_ms else "")

    @property
    def is_standard(self) -> bool:
        """True if all others are compared with it."""
        return self.role == OURS and self.level == DEFAULT_LEVEL and not self.delay_ms

    def takes_part(self, workload: Workload) -> bool:
        if self.role == PEER:
            return workload.data_format == "zarr3" and workload.command != "convert"
        if self.role == LIMIT:
            return workload.is_alone
        if self.delay_ms:
            return workload.is_alone
        return self.level == DEFAULT_LEVEL or workload.has_level_3

    def command(self, workload: Workload, volumes: Volumes, place: Place) -> list[str]:
        """Return the command that does a workload; its input must be in place."""
        if self.role == PEER:
            place.steps.write_text(json.dumps(peer_steps(place.target, workload.sampling_mode)), encoding="utf-8")
            command = [self.python, str(HERE / "downsample_tensorstore.py"), str(place.steps)]
            return [*command, str(place.result)] if workload.is_alone else command
        if self.role == LIMIT:
            return [self.python, str(HERE / "limit.py"), str(place.target), str(place.result)]
        if workload.is_alone:
            command = [self.python, str(HERE / f"alone_{self.package}.py"), str(place.target), str(place.warm_up), str(place.result)]
            return [*command, "--delay-ms", str(self.delay_ms)] if self.role == OURS else [*command, str(self.jobs)]
        program = [self.python, "-m", "wkpipe"] if self.role == OURS else [str(Path(self.python).with_name("webknossos"))]
        return [*program, *self._arguments(workload, volumes, place), "--jobs", str(self.jobs)]

    def _arguments(self, workload: Workload, volumes: Volumes, place: Place) -> list[str]:
        """Return the arguments of the command line, the same for both packages."""
        if workload.command == "downsample":
            return ["downsample", str(place.target), "--sampling-mode", workload.sampling_mode]
        (stack,) = workload.layers
        arguments = ["convert", str(volumes.slices(stack)), str(place.target), "--voxel-size", VOXEL_SIZE]
        arguments += ["--data-format", workload.data_format]
        return arguments if self.level == DEFAULT_LEVEL else [*arguments, "--compression-level", str(self.level)]


def contenders(reference_python: str | None, peer_python: str | None) -> list[Contender]:
    """Return all contenders, wkpipe first."""
    ours = Contender("wkpipe", OURS, sys.executable, version=_version(sys.executable, "wkpipe"))
    theirs = _installed(Contender("webknossos", REFERENCE, reference_python or ""), REFERENCE_VARIABLE)
    peer = _installed(Contender("tensorstore", PEER, peer_python or "", 1), PEER_VARIABLE)
    limit = Contender("limit", LIMIT, sys.executable, missing=None if shutil.which(COMPILER) else f"there is no C compiler ({COMPILER})")
    return [ours, replace(ours, level=3), replace(ours, delay_ms=10), replace(theirs, jobs=1), replace(theirs, jobs=2), peer, limit]


def _installed(contender: Contender, variable: str) -> Contender:
    if not contender.python:
        return replace(contender, missing=f"{variable} is not set")
    try:
        return replace(contender, version=_version(contender.python, contender.package))
    except (OSError, subprocess.CalledProcessError):
        return replace(contender, missing=f"the Python that {variable} names does not run, or has no {contender.package}")


def environment() -> Mapping[str, str]:
    """Return the environment of all contenders, without variables that change their behaviour."""
    return {key: value for key, value in os.environ.items() if key not in _NOT_HANDED_ON}


def _version(python: str, package: str) -> str:
    return _output([python, "-c", f"import importlib.metadata; print(importlib.metadata.version({package!r}))"]).strip()


def voxel_hashes(reader: Contender, dataset: Path, derived_only: bool) -> dict[str, str]:
    """Return a hash of the voxels of each mag, by layer and mag, as a contender's package reads them.

    Raises:
        subprocess.CalledProcessError: the package cannot read the dataset.
    """
    command = [reader.python, str(HERE / "voxel_hashes.py"), reader.package, str(dataset), *(["--derived"] if derived_only else [])]
    hashes: dict[str, str] = json.loads(_output(command).splitlines()[-1])
    return hashes


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, env=dict(environment())).stdout
