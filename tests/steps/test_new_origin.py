"""A new step is one origin and one function in one file: the rest of wkpipe plans, runs, resumes and verifies it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.steps.waves import DIE_AT, ENTRY_POINTS, FromWaves
from wkpipe.formats import default_compression, make_spec, open_array
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import Mag, NDBoundingBox, Vec3Int
from wkpipe.geometry.box import Box
from wkpipe.metadata.layer_json import layer_to_json
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.store import PROPERTIES_FILE_NAME
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.cut.grouping import group_tasks
from wkpipe.plan.cut.task import PUBLISH
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.plan import LayerPlan, Plan
from wkpipe.plan.request import DownsampleRequest, Storing
from wkpipe.plan.state.survey import survey_layer
from wkpipe.plan.wishes.pyramid import chain
from wkpipe.runs.run import Run
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.seal import VARIABLE
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.lease import Lookout
from wkpipe.stored.locations import Locations
from wkpipe.verify.dataset import verify_dataset
from wkpipe.verify.summary import summarise

SIZE = Vec3Int(64, 64, 32)
ORIGIN = FromWaves(16)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution that names the origin and its step; this process and its jobs find it."""
    site = tmp_path / "site"
    (site / "waves-1.dist-info").mkdir(parents=True)
    (site / "waves-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: waves\nVersion: 1\n")
    (site / "waves-1.dist-info" / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(Path(__file__).parents[2])]))


def planned(root: Path) -> Plan:
    """Plan a layer whose finest mag is computed by a formula, and a mag that is downsampled from it."""
    locations = Locations.of(root, None)
    box = NDBoundingBox([0, 0, 0, 0], [1, *SIZE], ("c", "x", "y", "z"))
    layer = LayerProperties.for_box("waves", "color", "zarr3", np.dtype(np.uint8), box, 1)
    compression = default_compression(DataFormat.ZARR3)
    spec = make_spec(DataFormat.ZARR3, layer.axes, [1, *SIZE], layer.dtype, 1, Vec3Int.full(8), Vec3Int.full(32), compression)
    plans = [
        MagPlan("waves", Mag(1), spec, Box(Vec3Int.zeros(), SIZE), ORIGIN),
        *chain(DownsampleRequest(root), layer, Mag(1), [Mag(2)], Storing()),
    ]
    survey = survey_layer(locations, plans, layer, None)
    tasks = group_tasks({"waves": survey.pending}, ["waves"] if survey.pending else [], Sizing(1, 0, 1e9))
    new = {"id": {"name": root.name, "team": ""}, "scale": {"factor": [1, 1, 1], "unit": "nanometer"}, "dataLayers": [], "version": 1}
    mags = tuple(plan.mag for plan in plans)
    registered = StoredDataset.open(root).properties.has_layer("waves") if (root / PROPERTIES_FILE_NAME).exists() else False
    made = LayerPlan("waves", tuple(plans), () if registered else mags, new=None if registered else layer_to_json(layer))
    conversion = {"source": "waves", "params": {}}
    return Plan(root, locations.state, (made,), tasks, new, conversion, epoch=Lookout.begin(locations).epoch)


def job(run: Run, name: str, **more: str) -> int:
    """Do a task as a job does, in its own process, and return its exit code."""
    command = [sys.executable, "-P", "-m", "wkpipe", "step", str(run.directory), name]
    return subprocess.run(command, env={**os.environ, VARIABLE: run.seal.variable, **more}, check=False).returncode


def test_a_new_origin_is_run_killed_and_resumed(tmp_path: Path, installed: None) -> None:
    root = tmp_path / "dataset"
    plan = planned(root)
    (made_up,) = [task for task in plan.tasks if task.rule != PUBLISH]  # the coarser mag is made along
    assert made_up.rule == "waves"
    run = Run(plan)
    with run.begun():
        assert job(run, made_up.name, **{DIE_AT: "2"}) == -signal.SIGKILL
    ledger = Ledger.load(plan.locations.ledger("waves", Mag(1)))
    done = {path: path.stat().st_mtime_ns for path in (root / "waves" / "1" / "c").rglob("*") if path.is_file()}
    assert len(ledger.records) == len(done) == 2

    plan = planned(root)
    assert plan.units_to_do == 4 - 2 + 1
    run = Run(plan)
    with run.begun():
        assert [job(run, task.name) for task in plan.tasks] == [0] * len(plan.tasks)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    array = open_array(root / "waves" / "1", DataFormat.ZARR3, ("c", "x", "y", "z"))
    assert np.array_equal(array.read((0, 0, 0, 0), (1, *SIZE)), ORIGIN.voxels(Vec3Int.zeros(), SIZE))
    assert planned(root).is_empty
    assert verify_dataset(root).is_sound
    assert [mag.origin for mag in summarise(root).layers[0].mags] == ["made up", "downsampled from 1 by median"]


def test_an_unknown_origin_is_named(tmp_path: Path) -> None:
    """Without the distribution, nothing is guessed: the job names the missing one."""
    run = Run(planned(tmp_path / "dataset"))
    with run.begun():
        assert job(run, run.plan.tasks[0].name) == 2
