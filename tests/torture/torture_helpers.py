"""Small runs that are made to fail, in processes of their own, and checks after each."""

from __future__ import annotations

import json
import os
import shutil
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.torture.faulty_disk import FaultyOs
from tests.workflow.workflow_helpers import data_files, identities, proven, registered_mags
from wkpipe import BoundingBox, Dataset
from wkpipe.errors import WkpipeError
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import Mag, Vec3Int
from wkpipe.metadata.properties import PROPERTIES_FILE_NAME
from wkpipe.plan.build import make_copy_plan, make_plan, make_upsampling_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.plan import Plan
from wkpipe.plan.request import Storing
from wkpipe.plan.wishes.copying import CopyRequest, LayerCopies, MagCopy, Recoding, RecodingRequest
from wkpipe.plan.wishes.upsampling import UpsamplingRequest
from wkpipe.runs.run import Run, run_here
from wkpipe.steps import task as steps_of_tasks
from wkpipe.steps import unchanged, unit_stream
from wkpipe.storage.commits import Commits
from wkpipe.storage.ledger import Ledger
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.locations import Locations

SCALE = float(os.environ.get("WKPIPE_TORTURE_SCALE", "1"))
"""The factor for the number of cases: 1 in every build, more in `make torture`."""
SEED = int(os.environ.get("WKPIPE_TEST_SEED", "20261121"))

FORMATS: dict[str, dict[str, Any]] = {
    "zarr3": {"data_format": "zarr3", "chunk_shape": "8,8,8", "shard_shape": "16,16,16"},
    "zarr2": {"data_format": "zarr", "chunk_shape": "8,8,8"},
    "wkw": {"data_format": "wkw", "chunk_shape": "8,8,8", "shard_shape": "16,16,16"},
}
SIZING = Sizing(cores=1, least_seconds=0, target_seconds=0.02)
DEFECT = -1
WAITING = 2
"""How many units wait for each other in disturbed runs: fewer than there are, so that they are committed in several groups."""


def write_slices(directory: Path, shape: tuple[int, int, int] = (12, 18, 34)) -> Path:
    """Write slices (z, y, x) of noise that give one empty storage shard."""
    directory.mkdir(parents=True)
    voxels = np.random.default_rng(0).integers(1, 255, shape, dtype="u1")
    voxels[:, :16, :16] = 0
    for z, slice_ in enumerate(voxels):
        tifffile.imwrite(directory / f"{z}.tif", slice_)
    return directory


UPSAMPLED = "upsampled"
"""The key, beside those of a config, of a layer with mag 4 to make mags 2 and 1 of; once they are there, they are kept up to date."""


WORKERS = "workers"
"""The key, beside those of a config, for the number of processes of each task. Its cubes are single chunks then."""


def plan_of(values: Mapping[str, Any]) -> Plan:
    """Plan what the command line or, for copies, the library does."""
    if "recode" in values:
        return make_copy_plan(recoding_of(Path(values["target"]), values["recode"]), SIZING)
    if "copy_of" in values:
        return make_copy_plan(copies_of(Path(values["copy_of"]), Path(values["target"])), SIZING)
    if UPSAMPLED in values and len(registered_mags(Path(values["target"]))[values[UPSAMPLED]]) == 1:
        storing = Storing(Vec3Int.full(8), Vec3Int.full(32))
        return make_upsampling_plan(UpsamplingRequest(Path(values["target"]), values[UPSAMPLED], Mag(4), Mag(1), storing=storing), SIZING)
    return make_plan(load_config({key: value for key, value in values.items() if key not in (UPSAMPLED, WORKERS)}, "test"), SIZING)


def copies_of(source: Path, target: Path) -> CopyRequest:
    """Ask for copies of all mags of a dataset with one layer, in the layer of the same name of another one."""
    stored = StoredDataset.open(source)
    (layer,) = stored.properties.layers
    specs = {entry.mag: stored.open_mag(layer, entry).spec for entry in layer.mags}
    mags = tuple(MagCopy(stored.locations.dataset, layer, mag, spec, mag, Recoding()) for mag, spec in specs.items())
    return CopyRequest(target, (LayerCopies(StoredDataset.open(target).layer(layer.name), False, mags),), exists_ok=True)


def recoding_of(target: Path, chunk: int) -> RecodingRequest:
    """Ask for compressed mags with cubic chunks of this edge."""
    layers = StoredDataset.open(target).properties.layers
    mags = {layer.name: tuple(entry.mag for entry in layer.mags) for layer in layers}
    return RecodingRequest(target, mags, Recoding(chunk=Vec3Int.full(chunk), compress=True))


def make_empty_dataset(root: Path, source: Path, data_format: str) -> None:
    """Make a dataset like another one with one layer, but with no mags and another format."""
    properties = StoredDataset.open(source).properties
    (layer,) = properties.layers
    root.mkdir(parents=True)
    plain = replace(layer, mags=(), data_format=DataFormat(data_format))
    (root / PROPERTIES_FILE_NAME).write_bytes(replace(properties, layers=(plain,)).to_bytes())


def work(values: Mapping[str, Any]) -> None:
    """Plan and run, as the commands do, in this process; or, if the values ask for it, with forked workers."""
    plan = plan_of(values)
    if WORKERS not in values or plan.is_empty:
        run_here(plan)
        return
    with pytest.MonkeyPatch.context() as patch, Run(plan).begun() as epoch:
        patch.setattr(unit_stream, "bytes_of_cubes", lambda _: 1)  # a cube for each chunk
        patch.setattr(unchanged, "PART_BYTES", 1)
        for task in plan.tasks:
            try:
                steps_of_tasks.run_task(plan, replace(task, threads=values[WORKERS]), epoch, fork=values[WORKERS] > 1)
            except WkpipeError as error:
                raise epoch.cause_of(error) from error


def write_a_part(dataset: Path, layer: str) -> None:
    """Write some voxels of mag 1, so that coarser mags are stale."""
    box = BoundingBox((20, 2, 2), (4, 4, 4))
    view = Dataset.open(dataset).get_layer(layer).get_mag(1)
    view.write(np.full(box.size, 7, view.get_dtype()), absolute_bounding_box=box, allow_unaligned=True)


@dataclass
class Outcome:
    """How a process ended: `exit_code` is the code of the error, DEFECT for an unexpected one, None if it was killed."""

    exit_code: int | None = None
    message: str = ""
    calls: int = 0
    sites: list[str] = field(default_factory=list)


def in_child(function: Callable[[], None], disk: FaultyOs) -> Outcome:
    """Call a function in a forked process with this disk."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        code, message = 0, ""
        try:
            steps_of_tasks.Commits = partial(Commits, most_units=WAITING)  # type: ignore[assignment,misc]
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
    """A run to disturb: its start, its work, and the result of an undisturbed run."""

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
        if kind == "copy":
            source = base / "source" / "dataset"
            work(convert | FORMATS["wkw" if data_format == "zarr3" else "zarr3"] | {"target": str(source)})
            start, values = base / "start" / "dataset", {"copy_of": str(source)}
            make_empty_dataset(start, source, FORMATS[data_format]["data_format"])
        elif kind == "recode":
            start, values = base / "start" / "dataset", {"recode": 16}
            work(convert | {"target": str(start), "compress": False})
        elif kind != "convert":
            start = base / "start" / "dataset"
            coarse = {"mag": "4"} if kind == "upsample" else {}
            work(convert | coarse | {"target": str(start), "downsample": kind in ("remake", "rewrite")})
            values = {}
        if kind in ("workers", "rewrite"):
            values = {WORKERS: 2 if kind == "workers" else 1}
        if kind == "rewrite":
            write_a_part(start, slices.name)  # type: ignore[arg-type]
        if kind in ("downsample", "upsample", "workers"):  # as if another tool had made it
            shutil.rmtree(start / ".wkpipe")  # type: ignore[operator]
        if kind == "upsample":
            values = {UPSAMPLED: slices.name}
        if kind == "remake":
            values = {"interpolation_mode": "nearest", "overwrite_existing": True}
        scenario = cls(values, start, base / "whole" / "dataset", base)
        scenario._begin(base / "warm" / "dataset")
        work(values | {"target": str(base / "warm" / "dataset")})  # so that the forked processes need not import everything again
        scenario._begin(scenario.whole)
        outcome = in_child(lambda: work(scenario.values | {"target": str(scenario.whole)}), FaultyOs(is_traced=True))
        assert outcome.exit_code == 0, outcome
        scenario.calls, scenario.sites = outcome.calls, outcome.sites
        if kind == "rewrite" and data_format != "zarr2":
            records = Ledger.load(Locations.of(scenario.whole).ledger(slices.name, Mag(2))).records
            assert any(record.changes for record in records.values()), "nothing was kept"
        return scenario

    @property
    def _remakes(self) -> bool:
        return "overwrite_existing" in self.values or "recode" in self.values

    @property
    def _is_stale(self) -> bool:
        return self.values.get(WORKERS) == 1

    def _begin(self, target: Path) -> None:
        target.parent.mkdir(parents=True)
        if self.start is not None:
            shutil.copytree(self.start, target, copy_function=shutil.copy2)

    def disturbed(self, at: int, fault: str) -> bool:
        """Let the call number `at` suffer a fault, run again and check every promise; return True if the fault struck."""
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

        if self._is_stale:
            finished = {name: where for name, where in finished.items() if hashes[name] == data_files(self.whole).get(name)}
        if self._remakes:  # old mags go; so do visible new ones, because the command asks for it
            is_visible = any(len(mags) > 1 for mags in registered_mags(target).values())
            finished = {name: where for name, where in finished.items() if _is_finest(name) or not is_visible}
            finished = {name: where for name, where in finished.items() if hashes[name] == data_files(self.whole).get(name)}

        is_done = registered_mags(target) == registered_mags(self.whole)
        again = in_child(lambda: self._again(values), FaultyOs())
        assert again.exit_code == 0, again.message
        whole = data_files(self.whole)
        assert data_files(target) == whole
        assert (target / "datasource-properties.json").read_bytes() == (self.whole / "datasource-properties.json").read_bytes()
        assert markers(target) == markers(self.whole)
        if fault != "power" or not is_done:  # with nothing to do, a run leaves alone what the power cut restored
            assert list(target.rglob("*.tmp")) == []
        now = identities(target)
        assert finished.items() <= now.items(), "a recorded shard was made again"
        if self.start is None:
            made_again = {_unit(name) for name in there if hashes[name] == whole.get(name) and there[name] != now[name]} - {""}
            assert len(made_again) <= WAITING, made_again
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
        """Check that either the old mags or all new ones are visible; a remake may show the finest mags alone, or none."""
        found, whole = registered_mags(target), registered_mags(self.whole)
        before = registered_mags(self.start) if self.start else {}
        for layer, mags in found.items():
            finest = [] if "recode" in self.values else whole[layer][:1]
            assert mags in (whole[layer], before.get(layer), finest if self.start else None), mags


def markers(dataset: Path) -> dict[str, bytes]:
    """Return the published markers of a dataset, by their names."""
    return {path.name: path.read_bytes() for path in (dataset / ".wkpipe" / "published").iterdir()}


def _is_finest(name: str) -> bool:
    return name.split("/")[1:2] == ["1"]


def _unit(name: str) -> str:
    """Return the unit of a data file: the file for shards, the mag for chunk files (a mag is one unit here)."""
    parts = name.split("/")
    if len(parts) < 3 or not any(character.isdigit() for character in parts[-1]):
        return ""
    return name if name.endswith(".wkw") or "/c/" in name else "/".join(parts[:2])
