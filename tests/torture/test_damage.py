"""Damages of every file that counts: verify finds each one that matters, and repair restores the same bytes.

The damages are independent of verify: `damages.py` knows the formats but not wkpipe's checks. zarr-python and the wkw package,
which read all voxels before and after, decide whether a damage matters. Every build takes one damage of each class; `make
torture` takes 25. A failure names the number of the damage; WKPIPE_DAMAGE=NUMBER runs it alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.oracle.reading import StoredMag, stored_mags
from tests.torture.damages import CLASSES, DamageClass, UnfitError
from tests.verify.helpers import FORMATS, make_dataset, names_of, run, write_images
from wkpipe.errors import WkpipeError
from wkpipe.plan.cost.resources import Sizing
from wkpipe.runs.run import run_here
from wkpipe.storage.ledger import Ledger
from wkpipe.verify.adopt import adopt_dataset
from wkpipe.verify.dataset import VerifyReport, verify_dataset
from wkpipe.verify.repair import repair_dataset
from wkpipe.verify.select import Selection
from wkpipe.verify.summary import summarise

SCALE = float(os.environ.get("WKPIPE_TORTURE_SCALE", "1"))
SEED = int(os.environ.get("WKPIPE_TEST_SEED", "20261121"))
EACH = 1 if SCALE <= 1 else 25
"""The number of damages of a class."""
ONE = os.environ.get("WKPIPE_DAMAGE")
MOST_VOXELS = 10**7
"""No array here is larger, except by damaged metadata."""

pytestmark = pytest.mark.usefixtures("no_syncs")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a sound dataset of every format, compressed and raw; their images stay where they are."""
    root = tmp_path_factory.mktemp("sound")
    images = write_images(root / "images")
    return {
        f"{name}{'' if compress else '-raw'}": make_dataset(images, root / f"{name}-{compress}", name, compress=compress)
        for name in FORMATS
        for compress in (True, False)
    }


# -- independent readers -------------------------------------------------------------------------------------------------


def meaning_of(root: Path) -> dict[Any, str]:
    """Return what other readers read from every mag: a hash of its voxels, or why there are none."""
    try:
        mags = stored_mags(root)
    except Exception:
        return {}
    return {mag: in_child(stored) for mag, stored in mags.items()}


def in_child(stored: StoredMag) -> str:
    """Read a mag in a process of its own, because broken input may kill it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        answer = "cannot be read"
        with contextlib.suppress(BaseException):
            answer = voxels_of(stored)
        os.write(writer, pickle.dumps(answer))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return pickle.loads(answer) if answer else "kills the reader"


def voxels_of(stored: StoredMag) -> str:
    if max(*stored.topleft, *stored.size) > MOST_VOXELS or stored.size_on_disk() > MOST_VOXELS:
        return "too large"
    voxels, _ = stored.read("wkw" if stored.data_format == "wkw" else "zarr-python")
    return f"{voxels.dtype}{voxels.shape} {hashlib.sha256(voxels.tobytes()).hexdigest()}"


def records_of(root: Path) -> object:
    """Return all records of the ledgers, and the number of lines that are not records."""
    ledgers = [Ledger.load(directory) for directory in sorted((root / ".wkpipe/ledger").glob("*/*"))]
    return [(dict(ledger.records), ledger.damaged_lines) for ledger in ledgers]


def repaired(root: Path, report: VerifyReport) -> VerifyReport:
    return repair_dataset(root, report, Selection(), state_dir=None, sizing=Sizing.local(2), run=run_here, threads=2, say=print)


def content_of(root: Path) -> dict[str, bytes]:
    """Return the content of all files that are not wkpipe's own; JSON as its values, as for readers."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and ".wkpipe" not in path.relative_to(root).parts)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


# -- the damages -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A damaged copy of a dataset: the damaged files, and whether other readers read other voxels than before."""

    kind: DamageClass
    good: Path
    root: Path
    files: list[Path]
    is_damage: bool

    @property
    def shards(self) -> set[tuple[str, str, str]]:
        return {names_of(self.root, file) for file in self.files}


@contextlib.contextmanager
def damaged(kind: DamageClass, number: int, sound: dict[str, Path], place: Path) -> Iterator[Case]:
    """Copy a dataset and damage it; a failure says how to repeat it."""
    rng = random.Random(f"{kind.name} {number}")
    note = ""
    try:
        for attempt in range(200):
            data_format = rng.choice(kind.formats)
            good, root = sound[data_format], place / f"{number}-{attempt}-{data_format}"
            shutil.copytree(good, root)
            try:
                damage = kind.draw(root, rng)
            except UnfitError:
                shutil.rmtree(root)
                continue
            names = [file.relative_to(root).as_posix() for file in damage.files]
            note = f"WKPIPE_DAMAGE={number}, class {kind.name}, {data_format}: {names} {damage.text}"
            yield Case(kind, good, root, damage.files, meaning_of(root) != meaning_of(good))
            shutil.rmtree(root)
            return
        raise AssertionError(f"no damage of class {kind.name} fits")
    except BaseException as error:
        error.add_note(note)
        raise


@pytest.mark.sampled(every=2)
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", CLASSES)
def test_every_damage_is_found_and_repaired(name: str, sound: dict[str, Path], tmp_path: Path) -> None:
    kind = CLASSES[name]
    numbers = [SEED * 1000 + i for i in range(EACH)] if ONE is None else [int(ONE)]
    mattered = 0
    for number in numbers:
        with damaged(kind, number, sound, tmp_path) as case:
            mattered += case.is_damage
            check(case, threads=1 + number % 2)
    assert ONE is not None or EACH == 1 or kind.place == "state" or mattered > EACH // 3, "hardly any of them was a damage"


def check(case: Case, threads: int) -> None:
    """Check that verify finds the damage and names only the damaged shards, and that repair restores the dataset."""
    with contextlib.suppress(WkpipeError):
        summarise(case.root).table()
    try:
        report = verify_dataset(case.root, threads=threads)
    except WkpipeError:
        assert case.kind.place == "metadata"
        return
    if case.kind.place == "state":
        assert report.problems or records_of(case.root) == records_of(case.good), "not found"
    else:
        assert report.problems or not case.is_damage, "not found"
    if case.kind.place == "data":
        assert {(problem.layer, problem.mag, problem.shard) for problem in report.problems} == case.shards
    if case.kind.name == "key-of-the-properties":
        return  # the user may change them: repairing adapts the mags to them
    outcome = restore(case.root, report)
    if outcome in ("harmless", "left"):
        assert outcome == "harmless" or case.kind.place == "metadata"
        return
    assert verify_dataset(case.root, threads=2).problems == ()
    assert meaning_of(case.root) == meaning_of(case.good)
    assert content_of(case.root) == content_of(case.good)


def restore(root: Path, report: VerifyReport) -> str:
    """Do what the report's fixes say; return the way that was needed."""
    if report.is_sound:
        return "harmless"
    after = repaired(root, report)
    if after.is_sound:
        return "repaired"
    if not any("--adopt" in str(problem) or "no record" in problem.what for problem in after.problems):
        return "left"
    # Without a record of a converted mag, nothing proves that the images are the same: only adopting remains.
    adopt_dataset(root, state_dir=None, selection=Selection(deep=True, share=1.0), threads=2)
    return "adopted"


def test_no_false_alarm_on_a_thousand_shards(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", seed=5)
    shards = 0
    shapes: dict[str, Any] = {"zarr3": {"shard_shape": 8}, "wkw": {"shard_shape": 8}}
    for data_format, shape in shapes.items():
        for category in ("color", "segmentation"):
            root = tmp_path / f"{data_format}-{category}"
            values = {"data_format": data_format, "chunk_shape": 4, "category": category, "coarsest_mag": "4-4-2", **shape}
            run(root, source=str(images), voxel_size=[10, 10, 20], layer_name=category, **values)
            report = verify_dataset(root, selection=Selection(share=1.0, deep=True), threads=2)
            assert report.problems == ()
            assert report.notes == ()
            shards += report.units
    assert shards >= 1000
