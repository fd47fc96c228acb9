"""A dataset with a manipulated state: every command succeeds or ends with one line, and changes nothing outside the dataset.

make test ARGS="tests/torture/test_hostile_state.py"     150 cases; WKPIPE_TORTURE_SCALE=… gives more, up to 5,000 (make torture)
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.torture.faulty_disk import FaultyOs
from tests.torture.fuzz_seeds import make_dataset, write_images
from tests.torture.hostile_state import Hostile
from tests.torture.torture_helpers import SCALE, SEED
from wkpipe import Dataset
from wkpipe.errors import WkpipeError
from wkpipe.metadata.store import PropertiesFile
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.plan import Plan
from wkpipe.runs.run import run_here
from wkpipe.server.upload.uploading import statuses
from wkpipe.stored.locations import Locations
from wkpipe.verify.adopt import adopt_dataset
from wkpipe.verify.dataset import verify_dataset
from wkpipe.verify.repair import repair_dataset
from wkpipe.verify.select import Selection
from wkpipe.verify.summary import summarise

BATCHES = 5
CASES = min(5000, int(150 * SCALE)) // BATCHES
MOST_SECONDS = 120
"""In seconds. A case takes well below a second; after this time it hangs."""


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datasets to manipulate: complete, with mags to make, and with mags that are being rebuilt beside the old ones."""
    root = tmp_path_factory.mktemp("hostile")
    write_images(root / "images")
    images = root / "images" / "stack"
    make_dataset(images, root / "whole", shard_shape=16)
    shutil.copytree(root / "whole", root / "unfinished")
    file = root / "unfinished" / "datasource-properties.json"
    values = json.loads(file.read_text())
    values["dataLayers"][0]["mags"] = values["dataLayers"][0]["mags"][:2]
    file.write_text(json.dumps(values))
    shutil.copytree(root / "whole", root / "remaking")
    begin_remake(root / "remaking")
    return root


def begin_remake(dataset: Path) -> None:
    """Make mags beside the old ones, and write the note of the swap, as a run that is killed then leaves it."""
    import wkpipe.steps.publish as publish

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(publish, "put_in_place", killed)
        run_here(plan_of(dataset, overwrite_existing=True, interpolation_mode="nearest", coarsest_mag="4"))
    assert (dataset / ".wkpipe" / "remade" / "stack" / "swap.json").is_file()


def plan_of(dataset: Path, **values: Any) -> Plan:
    return make_plan(load_config({"target": str(dataset), **values}, "test"), Sizing.local(1))


def commands(dataset: Path, images: Path) -> dict[str, Callable[[], object]]:
    """Return the commands that a user may run on the dataset."""
    conversion = {"source": str(images), "voxel_size": [10, 10, 10], "category": "color", "chunk_shape": 8, "shard_shape": 16}

    def repair() -> None:
        report = verify_dataset(dataset)
        repair_dataset(dataset, report, Selection(), state_dir=None, sizing=Sizing.local(1), run=run_here)

    def write() -> None:
        view = Dataset.open(dataset).get_layer("stack").get_mag(1)
        view.write(255 - view.read(), absolute_offset=(0, 0, 0), allow_unaligned=True)

    return {
        "downsample": lambda: run_here(plan_of(dataset, coarsest_mag="8")),
        "overwrite": lambda: run_here(plan_of(dataset, overwrite_existing=True, interpolation_mode="max", coarsest_mag="4")),
        "convert": lambda: run_here(plan_of(dataset, coarsest_mag="4", **conversion)),
        "replace": lambda: run_here(plan_of(dataset, coarsest_mag="4", overwrite_existing=True, **conversion)),
        "info": lambda: summarise(dataset).table(),
        "verify": lambda: verify_dataset(dataset),
        "repair": repair,
        "adopt": lambda: adopt_dataset(dataset, state_dir=None, selection=Selection(), threads=1, break_lock=False),
        "write": write,
        "delete mag": lambda: Dataset.open(dataset).get_layer("stack").delete_mag(2),
        "delete layer": lambda: Dataset.open(dataset).delete_layer("stack"),
        "upload --status": lambda: statuses(Locations.of(dataset).state),
    }


DELETING = ("replace", "delete mag", "delete layer")


def finest(dataset: Path) -> list[str]:
    """Return the files of the finest mag: everything else can be made again."""
    return sorted(path.relative_to(dataset).as_posix() for path in (dataset / "stack" / "1").rglob("*") if path.is_file())


def contents(root: Path) -> dict[str, Any]:
    """Return everything below a directory, with times and modes."""
    return {
        str(path): (path.lstat().st_mtime_ns, path.lstat().st_mode, path.lstat().st_nlink, path.read_bytes() if path.is_file() else None)
        for path in [root, *sorted(root.rglob("*"))]
    }


@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_nothing_outside_changes(seeds: Path, tmp_path: Path, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import faulthandler

    monkeypatch.setattr(PropertiesFile.__init__, "__defaults__", (None, 0.2, None))  # do not wait long for a lock that nobody holds
    outside = tmp_path / "outside"
    (outside / "precious").mkdir(parents=True)
    (outside / "precious" / "file").write_text("keep me")
    (outside / "datasource-properties.json").write_text("{}")
    before = contents(outside)
    ends: dict[str, int] = {}
    for number in range(batch * CASES, (batch + 1) * CASES):
        case = Hostile(SEED * 100_000 + number, tmp_path / "dataset", outside)
        seed = case.random.choice(("whole", "unfinished", "unfinished", "remaking"))
        dataset = Path(shutil.copytree(seeds / seed, tmp_path / "dataset"))
        case.change()
        for name, command in case.random.sample(sorted(commands(dataset, seeds / "images" / "stack").items()), 3):
            where = f"case {number} of seed {SEED}: {seed}, {case.done}, {name}"
            faulthandler.dump_traceback_later(MOST_SECONDS, exit=True, file=sys.__stderr__)
            try:
                with FaultyOs().installed():  # no fault, no syncs
                    command()
                end = "done"
            except WkpipeError as error:
                end = type(error).__name__ if "\n" not in str(error) else pytest.fail(f"{where}: more than a line: {error}")
            except Exception:
                pytest.fail(f"{where}\n{traceback.format_exc(limit=-8)}")
            finally:
                faulthandler.cancel_dump_traceback_later()
            ends[end] = ends.get(end, 0) + 1
            assert contents(outside) == before, where
            if name in DELETING:
                break
            assert finest(dataset) == finest(seeds / seed), where
        remove(dataset)
    print(ends)
    assert len(ends) >= 3, "the cases are all alike"
    assert ends["done"] >= CASES // 3, "hardly any command gets far enough to do harm"


def remove(dataset: Path) -> None:
    for path in [dataset, *dataset.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            os.chmod(path, 0o700)  # noqa: PTH101
    shutil.rmtree(dataset)
