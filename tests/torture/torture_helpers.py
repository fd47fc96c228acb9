"""Small runs that are made to fail, in processes of their own, and what must hold after each."""

from __future__ import annotations

import json
import os
import shutil
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from tests.torture.faulty_disk import FaultyOs
from tests.workflow.workflow_helpers import data_files, identities, proven, registered_mags
from wkpipe.errors import WkpipeError
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.plan import Plan
from wkpipe.plan.resources import Sizing
from wkpipe.steps.run import run_here

SCALE = float(os.environ.get("WKPIPE_TORTURE_SCALE", "1"))
"""How much more than the few of every build is done: `make torture` sets it."""
SEED = int(os.environ.get("WKPIPE_TEST_SEED", "20261121"))

FORMATS: dict[str, dict[str, Any]] = {
    "zarr3": {"data_format": "zarr3", "chunk_shape": "8,8,8", "shard_shape": "16,16,16"},
    "zarr2": {"data_format": "zarr", "chunk_shape": "8,8,8"},
    "wkw": {"data_format": "wkw", "chunk_shape": "8,8,8", "shard_shape": "16,16,16"},
}
SIZING = Sizing(cores=1, least_seconds=0, target_seconds=0.02)
DEFECT = -1


def write_slices(directory: Path, shape: tuple[int, int, int] = (12, 18, 34)) -> Path:
    """Write slices (z, y, x) of noise; one storage shard of them is empty."""
    directory.mkdir(parents=True)
    voxels = np.random.default_rng(0).integers(1, 255, shape, dtype="u1")
    voxels[:, :16, :16] = 0
    for z, slice_ in enumerate(voxels):
        tifffile.imwrite(directory / f"{z}.tif", slice_)
    return directory


def plan_of(values: Mapping[str, Any]) -> Plan:
    return make_plan(load_config(values, "test"), SIZING)


def work(values: Mapping[str, Any]) -> None:
    """Plan and run, as the commands do, in this process."""
    run_here(plan_of(values))


@dataclass
class Outcome:
    """How a process ended: `exit_code` is that of the error, DEFECT for one that nobody meant, None if it was killed."""

    exit_code: int | None = None
    message: str = ""
    calls: int = 0
    sites: list[str] = field(default_factory=list)


def in_child(function: Callable[[], None], disk: FaultyOs) -> Outcome:
    """Call a function in a forked process, with this disk."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        code, message = 0, ""
        try:
            with disk.installed():
                function()
        except WkpipeError as error:
            code, message = error.exit_code, str(error)
        except BaseException:
            code, message = DEFECT, traceback.format_exc()
        answer = json.dumps([code, message, disk.calls, disk.sites]).encode()
        while answer:
            answer = answer[os.write(writer, answer) :]
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return Outcome(*json.loads(answer)) if answer else Outcome()


@dataclass
class Scenario:
    """A run to disturb: where it starts from, what it does, and what an undisturbed one leaves."""

    values: dict[str, Any]
    start: Path | None
    whole: Path
    places: Path
    calls: int = 0
    sites: list[str] = field(default_factory=list)
    _number: int = 0

    @classmethod
    def make(cls, kind: str, data_format: str, slices: Path, base: Path) -> Scenario:
        convert = {"source": str(slices), "voxel_size": "1,1,1"} | FORMATS[data_format]
        start = None
        values: dict[str, Any] = convert
        if kind != "convert":
            start = base / "start" / "dataset"
            work(convert | {"target": str(start), "downsample": kind == "remake"})
            values = {}
        if kind == "downsample":  # as if another tool had made it
            shutil.rmtree(start / ".wkpipe")  # type: ignore[operator]
        if kind == "remake":
            values = {"interpolation_mode": "nearest", "overwrite_existing": True}
        scenario = cls(values, start, base / "whole" / "dataset", base)
        scenario._begin(base / "warm" / "dataset")
        work(values | {"target": str(base / "warm" / "dataset")})  # the forked processes need not import all that again
        scenario._begin(scenario.whole)
        outcome = in_child(lambda: work(scenario.values | {"target": str(scenario.whole)}), FaultyOs(is_traced=True))
        assert outcome.exit_code == 0, outcome
        scenario.calls, scenario.sites = outcome.calls, outcome.sites
        return scenario

    @property
    def _remakes(self) -> bool:
        return "overwrite_existing" in self.values

    def _begin(self, target: Path) -> None:
        target.parent.mkdir(parents=True)
        if self.start is not None:
            shutil.copytree(self.start, target, copy_function=shutil.copy2)

    def disturbed(self, at: int, fault: str) -> bool:
        """Have the call number `at` suffer a fault, run again, and check all that was promised; tell whether the fault struck."""
        self._number += 1
        place = self.places / f"{self._number}-{at}-{fault}"
        target, stash = place / "dataset", place / "stash"
        self._begin(target)
        stash.mkdir()
        values = self.values | {"target": str(target)}
        first = in_child(lambda: work(values), FaultyOs(at, fault, stash))
        struck = first.exit_code is None or first.calls >= at
        self._check_error(first, fault, target)
        self._check_published(target)
        finished, there = proven(target), identities(target) if target.exists() else {}
        hashes = data_files(target) if target.exists() else {}

        if self._remakes:  # what was there before goes; so does what is visible already, as the command asks for it
            is_visible = any(len(mags) > 1 for mags in registered_mags(target).values())
            finished = {name: where for name, where in finished.items() if _is_finest(name) or not is_visible}
            finished = {name: where for name, where in finished.items() if hashes[name] == data_files(self.whole).get(name)}

        is_done = registered_mags(target) == registered_mags(self.whole)
        again = in_child(lambda: self._again(values), FaultyOs())
        assert again.exit_code == 0, again.message
        whole = data_files(self.whole)
        assert data_files(target) == whole
        assert (target / "datasource-properties.json").read_bytes() == (self.whole / "datasource-properties.json").read_bytes()
        if fault != "power" or not is_done:  # with nothing to do, a run leaves alone what a lost power brought back
            assert list(target.rglob("*.tmp")) == []
        now = identities(target)
        assert finished.items() <= now.items(), "a shard that the ledger has was made again"
        if self.start is None:
            made_again = {_unit(name) for name in there if hashes[name] == whole.get(name) and there[name] != now[name]} - {""}
            assert len(made_again) <= 1, made_again
        shutil.rmtree(place)
        return struck

    def _again(self, values: Mapping[str, Any]) -> None:
        work(values)
        if not self._remakes:
            assert plan_of(values).is_empty, "there is still something to do"

    def _check_error(self, outcome: Outcome, fault: str, target: Path) -> None:
        if fault in ("kill", "power") or outcome.exit_code == 0:
            return
        assert outcome.exit_code == 3, outcome.message
        assert "\n" not in outcome.message
        reason = {"EIO": "input/output error", "ENOSPC": "disk is full", "EDQUOT": "quota is used up", "EROFS": "read-only"}[fault]
        assert reason in outcome.message
        assert str(target.parent) in outcome.message

    def _check_published(self, target: Path) -> None:
        """Nothing may be visible but what was before, or all of the run's; a remake may show the finest mags alone."""
        found, whole = registered_mags(target), registered_mags(self.whole)
        before = registered_mags(self.start) if self.start else {}
        for layer, mags in found.items():
            assert mags in (whole[layer], before.get(layer), whole[layer][:1] if self.start else None), mags


def _is_finest(name: str) -> bool:
    return name.split("/")[1:2] == ["1"]


def _unit(name: str) -> str:
    """Return the unit of a data file: for shards the file itself, for chunk files (one unit a mag here) the mag."""
    parts = name.split("/")
    if len(parts) < 3 or not any(character.isdigit() for character in parts[-1]):
        return ""
    return name if name.endswith(".wkw") or "/c/" in name else "/".join(parts[:2])
