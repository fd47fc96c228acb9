"""Publishing: only whole mags, everything else left as it is; the lease: one run at a time, orphans are shut out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.steps.helpers import Layer, check_pyramid, data_files, mags_of, noise, plan_of, properties_json, run, tree, write_dataset
from wkpipe.errors import IntegrityError, TryAgain
from wkpipe.geometry import Mag
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.cut.task import PUBLISH
from wkpipe.runs.run import Run, run_here
from wkpipe.steps.task import run_task
from wkpipe.steps.work import Work
from wkpipe.storage.holder import Holder
from wkpipe.storage.lease import read_epoch
from wkpipe.storage.ledger import Ledger, LedgerWriter, fold
from wkpipe.storage.proof import MTIME, Stamp, UnitProof
from wkpipe.storage.record import MADE, Record
from wkpipe.stored.locations import Locations

VALUES: dict[str, Any] = {"chunk_shape": 8, "shard_shape": 16}
MANY = Sizing(cores=2, least_seconds=0, target_seconds=0.02)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "d", *layers())
    return tmp_path / "d"


def layers() -> list[Layer]:
    return [Layer(noise((1, 40, 33, 20), "uint8", i), (3, 4, i), name=name) for i, name in enumerate(["em", "other", "more"])]


def all_but_publish(root: Path) -> tuple[Any, Any]:
    """Run all tasks but the publish ones; return plan and epoch (whose lease is over)."""
    plan = plan_of(root, MANY, **VALUES)
    with Run(plan).begun() as epoch:
        for task in plan.tasks:
            if task.rule != PUBLISH:
                run_task(plan, task, epoch)
    return plan, epoch


# -- publish --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["record", "file", "content", "params"])
def test_a_mag_that_is_not_whole_is_not_published(root: Path, how: str) -> None:
    plan = plan_of(root, MANY, **VALUES)
    before = properties_json(root)
    directory = Locations.of(root).ledger("other", Mag(4)).path()
    with Run(plan).begun() as epoch:
        for task in plan.tasks:
            if task.rule != PUBLISH:
                run_task(plan, task, epoch)
        records = Ledger.load(directory).records
        victim = next(unit for unit, record in records.items() if not record.proof.is_fill)
        path = root / "other" / "4" / "c" / "/".join(map(str, victim))
        if how == "record":
            for segment in directory.glob("*.segment"):
                lines = [(line, Record.from_line(line)) for line in segment.read_bytes().splitlines(keepends=True)]
                segment.write_bytes(b"".join(line for line, record in lines if record is None or record.unit != victim))
        elif how == "file":
            path.unlink()
        elif how == "content":
            path.write_bytes(path.read_bytes() + b"x")
        else:
            from dataclasses import replace

            with LedgerWriter(directory, epoch.number) as writer:
                writer.add(replace(records[victim], params="other"))
        task = next(task for task in plan.tasks if task.rule == PUBLISH and "other" in task.layers)
        with pytest.raises(IntegrityError, match="layer other, mag 4") as error:
            run_task(plan, task, epoch)
        assert error.value.exit_code == 4
    assert properties_json(root) == before
    run(root, **VALUES)
    for layer in layers():
        check_pyramid(root, layer, "median")


def test_unknown_keys_and_order_survive(root: Path) -> None:
    path = root / "datasource-properties.json"
    values = json.loads(path.read_text())
    values["somethingNew"] = {"a": [1, 2.5, None]}
    values["dataLayers"][1]["ours"] = "kept"
    values["dataLayers"][1]["mags"][0]["credentialId"] = "x"
    values["dataLayers"].reverse()
    path.write_text(json.dumps(values))
    run(root, MANY, **VALUES)
    after = properties_json(root)
    assert after["somethingNew"] == values["somethingNew"]
    assert [layer["name"] for layer in after["dataLayers"]] == ["more", "other", "em"]
    assert after["dataLayers"][1]["ours"] == "kept"
    assert after["dataLayers"][1]["mags"][0]["credentialId"] == "x"
    for layer in after["dataLayers"]:
        assert [mag["mag"] for mag in layer["mags"]] == [[1, 1, 1], [2, 2, 2], [4, 4, 4]]


def test_layers_stand_in_the_order_of_the_plan_whoever_is_first(tmp_path: Path) -> None:
    import itertools

    import numpy as np
    import tifffile

    for name in "cab":
        (tmp_path / "images" / name).mkdir(parents=True)
        tifffile.imwrite(tmp_path / "images" / name / "0.tif", np.full((40, 50), ord(name), "uint8"))
    values = {"source": tmp_path / "images", "voxel_size": (1, 1, 1), **VALUES}
    found = set()
    for i, order in enumerate(itertools.permutations(range(3))):
        plan = plan_of(tmp_path / str(i) / "d", Sizing(cores=1, least_seconds=0, target_seconds=0.001), **values)
        publish = [task for task in plan.tasks if task.rule == PUBLISH]
        assert len(publish) == 3
        with Run(plan).begun() as epoch:
            for task in plan.tasks:
                if task.rule != PUBLISH:
                    run_task(plan, task, epoch)
            for j in order:
                run_task(plan, publish[j], epoch)
        found.add((tmp_path / str(i) / "d" / "datasource-properties.json").read_bytes())
    assert len(found) == 1
    assert [layer["name"] for layer in json.loads(found.pop())["dataLayers"]] == [layer.name for layer in plan.layers]


def test_two_publishes_at_once(root: Path) -> None:
    plan = plan_of(root, MANY, **VALUES)
    with Run(plan).begun() as epoch:
        for task in plan.tasks:
            if task.rule != PUBLISH:
                run_task(plan, task, epoch)
        publish = [task for task in plan.tasks if task.rule == PUBLISH]
        with ThreadPoolExecutor(8) as pool:
            for result in [pool.submit(run_task, plan, task, epoch) for _ in range(4) for task in publish]:
                result.result()
    for layer in layers():
        check_pyramid(root, layer, "median")
        for mag in ("2", "4"):
            directory = Locations.of(root).ledger(layer.name, Mag(mag)).path()
            assert Ledger.load(directory).records
    assert plan_of(root, **VALUES).is_empty


def test_a_ledger_is_whole_while_it_is_folded(tmp_path: Path) -> None:
    """A reader of a ledger whose segments are being merged must see every record."""
    directory = tmp_path / "ledger"
    stop = threading.Event()

    def keep_folding() -> None:
        while not stop.is_set():
            with LedgerWriter(directory, 1, "again") as writer:
                writer.add(Record((0,), MADE, UnitProof(1, 1, 1, Stamp(MTIME, 1), "digest"), "t"))
            fold(directory, 1)

    with LedgerWriter(directory, 1, "first") as writer:
        writer.add(*(Record((i,), MADE, UnitProof(1, 1, 1, Stamp(MTIME, 1), "digest"), "t") for i in range(20)))
    thread = threading.Thread(target=keep_folding)
    thread.start()
    try:
        counts = {len(Ledger.load(directory).records) for _ in range(1500)}
    finally:
        stop.set()
        thread.join()
    assert counts == {20}


# -- lease ----------------------------------------------------------------------------------------------------------


def test_two_runs_at_once(root: Path) -> None:
    first, second = plan_of(root, **VALUES), plan_of(root, **VALUES)
    with Run(first).begun():
        before = tree(root)
        with pytest.raises(TryAgain, match=f"process {os.getpid()}") as error:
            run_here(second)
        assert error.value.exit_code == 75
        assert {k for k in tree(root) if not k.endswith(".tmp")} == {k for k in before if not k.endswith(".tmp")}
    with pytest.raises(TryAgain, match="since this one was planned"), Run(second).begun():
        pass  # another run has begun and ended since it was planned
    run(root, **VALUES)


def test_a_plan_that_is_older_than_another_run_is_not_carried_out(root: Path) -> None:
    """Between planning and beginning, another run may have made and published units that this one would first remove."""
    stale = plan_of(root, **VALUES)
    run(root, **VALUES)
    before = data_files(root)
    with pytest.raises(TryAgain):
        run_here(stale)
    assert data_files(root) == before


def test_a_dead_holder_is_taken_over_at_once(root: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from wkpipe.storage.lease import RunLease; from wkpipe.storage.local import Local\n"
        "locks = Path(sys.argv[1])\n"
        "with RunLease(Local(locks)):\n    print('ready', flush=True)\n    time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, Locations.of(root).locks.path()], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    with pytest.raises(TryAgain, match=f"process {process.pid}"):
        run(root, **VALUES)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    run(root, **VALUES)
    assert mags_of(root, "em") == ["1", "2", "4"]


def test_an_orphan_stops_at_its_next_record(root: Path) -> None:
    plan = plan_of(root, MANY, **VALUES)
    run_of_orphan = Run(plan)
    with run_of_orphan.begun() as old:
        shutil.copy(Locations.of(root).locks.path("run.lease"), root.parent / "lease")
        Locations.of(root).locks.path("run.lease").unlink()
        run(root, **VALUES)
        before = data_files(root)
        ledger = tree(root / ".wkpipe" / "ledger")
        for task in plan.tasks:
            if task.rule == PUBLISH:
                with pytest.raises(TryAgain):
                    run_task(plan, task, old)
        # As if the orphan had not noticed that the units are proven now: it may compute, but not record.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Work, "is_proven", lambda *_: False)
            with pytest.raises(TryAgain):
                run_task(plan, plan.tasks[0], old)
        assert {k: v for k, v in tree(root / ".wkpipe" / "ledger").items() if k.endswith(".segment")} == {
            k: v for k, v in ledger.items() if k.endswith(".segment")
        }
        assert data_files(root) == before
    assert plan_of(root, **VALUES).is_empty


def foreign_holder(root: Path, age: float) -> Path:
    """Leave a lease like that of a process on another host."""
    path = Locations.of(root).locks.path("run.lease")
    path.parent.mkdir(parents=True, exist_ok=True)
    values = json.loads(Holder.myself().to_bytes()) | {"host": "elsewhere", "machine_id": "other"}
    path.write_text(json.dumps(values))
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_a_lease_of_another_host(root: Path) -> None:
    foreign_holder(root, 60)
    with pytest.raises(TryAgain, match=r"host elsewhere.*--break-lock"):
        run(root, **VALUES)
    plan = plan_of(root, **VALUES)
    with Run(plan).begun(break_lock=True) as epoch:
        for task in plan.tasks:
            run_task(plan, task, epoch)
    assert plan_of(root, **VALUES).is_empty
    assert not Locations.of(root).locks.path("run.lease").exists()


def test_a_lease_that_was_not_renewed_expires(root: Path) -> None:
    foreign_holder(root, 3600)
    run(root, **VALUES)
    assert read_epoch(Locations.of(root).locks) == 1


def test_many_runs_at_once(root: Path) -> None:
    """Of several runs that start together one works and the others refuse; in the end everything is done once."""

    def attempt(_: int) -> str:
        try:
            run(root, MANY, **VALUES)
        except TryAgain:
            return "later"
        return "done"

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(attempt, range(6)))
    assert "done" in results, results
    run(root, MANY, **VALUES)
    for layer in layers():
        check_pyramid(root, layer, "median")
