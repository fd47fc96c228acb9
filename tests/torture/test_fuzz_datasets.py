"""Random small datasets: wkpipe's pyramids hold what plain NumPy gives, for every reader and every cutting of the work.

A failure names the number of the case; WKPIPE_FUZZ_CASE=NUMBER repeats it alone.
"""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.oracle.cases import Case, draw, finest_voxels
from tests.oracle.making import LAYER, make
from tests.oracle.pyramid import Array, Mag3, NoLadderError, default_coarsest, difference, ladder, pyramid
from tests.oracle.reading import READERS, stored_mags
from wkpipe import Dataset
from wkpipe.errors import InputRefused
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.cut.task import Task
from wkpipe.plan.plan import Plan
from wkpipe.runs.run import Run
from wkpipe.steps.task import run_task
from wkpipe.verify.dataset import verify_dataset
from wkpipe.verify.select import Selection

SCALE = float(os.environ.get("WKPIPE_TORTURE_SCALE", "1"))
SEED = int(os.environ.get("WKPIPE_TEST_SEED", "20261121"))
COUNTS = {"plain": 13, "channel_index": 2}
"""The cases at scale 1; `make test-fuzz` takes 520 and 80."""
BATCH = 40
ONE = os.environ.get("WKPIPE_FUZZ_CASE")
BATCHES = [
    (kind, SEED * 1000 + first, min(BATCH, round(count * SCALE) - first))
    for kind, count in COUNTS.items()
    for first in range(0, max(1, round(count * SCALE)), BATCH)
]

pytestmark = pytest.mark.usefixtures("no_syncs")


@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind, first, count", BATCHES if ONE is None else [(kind, int(ONE), 1) for kind in COUNTS])
def test_random_datasets(kind: str, first: int, count: int, tmp_path: Path) -> None:
    mags: dict[int, int] = {}
    problems = []
    for number in range(first, first + count):
        case = draw(number, channel_index=kind == "channel_index")
        root = tmp_path / str(number)
        try:
            made = check(case, root)
            mags[made] = mags.get(made, 0) + 1
        except Exception as error:
            problems.append(f"{type(error).__name__}: {error}\nrun it again with WKPIPE_FUZZ_CASE={number}: {dataclasses.asdict(case)}")
            if ONE is not None:
                raise
        shutil.rmtree(root, ignore_errors=True)
    text = "\n\n".join(problems[:5])
    assert not problems, f"{len(problems)} of {count} cases failed\n{text}"
    assert ONE is not None or count < 10 or sum(n for made, n in mags.items() if made) > count // 2, f"hardly a mag was made: {mags}"


def check(case: Case, root: Path) -> int:
    """Make the dataset and its coarser mags, and compare all of them; return the number of coarser mags."""
    voxels = finest_voxels(case)
    values = make(case, voxels, root / "d", root / "images") | {"target": str(root / "d")}
    mags = mags_to_make(case)
    if mags is None:
        with pytest.raises(InputRefused):
            plan_of(case, values)
        return 0
    work(case, plan_of(case, values))
    assert plan_of(case, values).is_empty, "there is still something to do"

    wanted = pyramid(voxels, case.finest, mags, case.topleft, case.size, case.mode)
    stored = stored_mags(root / "d")
    assert list(stored) == list(wanted)
    for mag, expected in wanted.items():
        compare(case, root / "d", mag, expected)
    if case.number % 4 == 0:
        report = verify_dataset(root / "d", selection=Selection(share=1.0, deep=True))
        assert report.problems == ()
    return len(mags)


def mags_to_make(case: Case) -> list[Mag3] | None:
    """Return the mags that must be made; None if the coarsest one cannot be reached."""
    coarsest = case.coarsest or default_coarsest(case.size[0], case.size[1])
    limit = coarsest
    if case.size[2] == 1 or case.sampling == "constant_z":
        limit = (coarsest[0], coarsest[1], case.finest[2])
    if max(case.finest) >= max(coarsest):
        return []
    if any(f > c for f, c in zip(case.finest, limit, strict=True)):
        return None
    try:
        return ladder(case.voxel_size, case.finest, coarsest, case.sampling, case.size[2] == 1)
    except NoLadderError:
        return None


def compare(case: Case, root: Path, mag: Mag3, expected: Array) -> None:
    """Compare a mag with the oracle, as read by wkpipe and by each of the independent readers."""
    stored = stored_mags(root)[mag]
    is_made = mag != case.finest or case.maker in ("convert", "library")
    mode = case.mode if mag != case.finest else "none"
    for reader in READERS[case.data_format]:
        found, outside = stored.read(reader)
        problem = difference(found, expected, mode)
        assert not problem, f"mag {mag}, read by {reader}: {problem}"
        if is_made and case.maker != "library":
            assert not outside.any(), f"mag {mag}: voxels outside of the box"
    view = Dataset.open(root).layers[LAYER].get_mag(mag)
    problem = difference(np.asarray(view.read()), expected, mode)
    assert not problem, f"mag {mag}, read by wkpipe: {problem}"
    if mag != case.finest:
        shard = case.chunk if case.data_format == "zarr" else case.shard
        assert (tuple(view.info.chunk_shape), tuple(view.info.shard_shape)) == (case.chunk, shard)


# -- the cutting of the work --------------------------------------------------------------------------------------------


def plan_of(case: Case, values: dict[str, Any]) -> Plan:
    if case.data_format == "zarr":
        values = {key: value for key, value in values.items() if key != "shard_shape"}
    sizing = Sizing(cores=case.cores, least_seconds=0.0 if case.target_seconds < 1 else 1.0, target_seconds=case.target_seconds)
    return make_plan(load_config({key: value for key, value in values.items() if value is not None}, "test"), sizing)


def work(case: Case, plan: Plan) -> None:
    """Run the tasks, in the plan's order or another one, with threads or with processes."""
    if plan.is_empty:
        return
    order = list(plan.tasks) if case.order == "plan" else any_order(plan, random.Random(case.number))
    with Run(plan).begun() as epoch:
        for task in order:
            run_task(plan, dataclasses.replace(task, threads=case.threads), epoch, fork=case.order == "forked")


def any_order(plan: Plan, rng: random.Random) -> list[Task]:
    """Return the tasks in a random order in which each comes after those that it needs."""
    left, order = list(plan.tasks), []
    while left:
        done = {task.name for task in order}
        task = rng.choice([task for task in left if done.issuperset(task.inputs)])
        left.remove(task)
        order.append(task)
    return order
