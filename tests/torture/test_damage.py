"""Random damages of every file that counts: verify finds each that matters, and repair brings the same bytes back.

Every build takes some damages; `make torture` takes 500. A failure names the seed and the number of the damage.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.verify.helpers import FORMATS, METADATA, data_files, make_dataset, names_of, run, write_images
from wkpipe.errors import WkpipeError
from wkpipe.plan.resources import Sizing
from wkpipe.steps.run import run_here
from wkpipe.steps.summary import summarise
from wkpipe.steps.verify.adopt import adopt_dataset
from wkpipe.steps.verify.dataset import VerifyReport, verify_dataset
from wkpipe.steps.verify.repair import repair_dataset
from wkpipe.steps.verify.select import Selection
from wkpipe.storage import disk
from wkpipe.storage.ledger import Ledger
from wkpipe.stored.dataset import StoredDataset, box_in_mag

COUNT = 500 if float(os.environ.get("WKPIPE_TORTURE_SCALE", "1")) > 1 else 24
"""How many damages are tried; `make torture` asks for many."""
KINDS = ("flip", "truncate", "zero", "delete")
PLACES = ("data", "index", "header", "metadata", "ledger")
TAIL = 200
"""Bytes at the end of a Zarr 3 shard within which a damage hits its index."""


@pytest.fixture(autouse=True)
def no_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn the syncs off: no power is cut here."""
    for name in ("sync", "sync_directory", "sync_file_system"):
        monkeypatch.setattr(disk, name, lambda *_: None)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a sound dataset of every format, converted and downsampled; their images stay where they are."""
    root = tmp_path_factory.mktemp("sound")
    images = write_images(root / "images")
    return {data_format: make_dataset(images, root / data_format, data_format) for data_format in FORMATS}


@dataclass(frozen=True)
class Damage:
    """One damage: what is done to which file (path below the dataset), and at which byte."""

    data_format: str
    place: str
    kind: str
    file: str
    at: int
    value: int
    is_silent: bool

    def inflict(self, root: Path) -> None:
        file = root / self.file
        content, status = file.read_bytes(), file.stat()
        if self.kind == "delete":
            file.unlink()
            return
        if self.kind == "flip":
            content = content[: self.at] + bytes([content[self.at] ^ self.value]) + content[self.at + 1 :]
        file.write_bytes(content[: self.at] if self.kind == "truncate" else bytes(len(content)) if self.kind == "zero" else content)
        if self.is_silent:  # as a disk does it: nobody wrote, so the mtime stays
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def files_of(root: Path, place: str) -> list[Path]:
    """Return the files that a damage of this kind of place may hit."""
    state = root / ".wkpipe"
    if place == "ledger":
        return sorted([*state.glob("ledger/*/*/*.segment"), *state.glob("ledger/*/*/recipe.json"), state / "conversion.json"])
    if place == "metadata":
        return sorted(path for path in root.rglob("*") if path.name in METADATA and ".wkpipe" not in path.relative_to(root).parts)
    return data_files(root)


def draw(rng: random.Random, sound: dict[str, Path]) -> Damage:
    data_format, place, kind = rng.choice(FORMATS), rng.choice(PLACES), rng.choice(KINDS)
    root = sound[data_format]
    file = rng.choice(files_of(root, place))
    size = file.stat().st_size
    first, end = 0, size
    if place == "index":
        first, end = (16, min(size, 80)) if data_format == "wkw" else (max(0, size - TAIL), size)
    elif place == "header":
        end = min(size, 16)
    at = rng.randrange(first, end)
    return Damage(data_format, place, kind, file.relative_to(root).as_posix(), at, rng.randrange(1, 256), rng.random() < 0.5)


def meaning_of(root: Path) -> object:
    """Return all that a reader gets out of a dataset: layers, mags, boxes and voxels; None where it gets nothing."""
    try:
        dataset = StoredDataset.open(root)
        found: list[object] = []
        for layer in dataset.properties.layers:
            box = layer.bounding_box()
            found.append((layer.name, str(layer.category), str(layer.dtype), layer.num_channels, str(box)))
            for entry in layer.mags:
                array = dataset.open_mag(layer, entry)
                part = box_in_mag(box, entry.mag)
                corner = dict(zip("xyz", part.bottomright_xyz, strict=True))
                voxels = array.read([0] * len(array.spec.axes), [corner.get(axis, 1) for axis in array.spec.axes])
                found.append((str(entry.mag), array.spec, np.ascontiguousarray(voxels).tobytes()))
    except WkpipeError:
        return None
    return found


def records_of(root: Path) -> object:
    """Return all that the ledgers say, and how many of their lines say nothing."""
    ledgers = [Ledger.load(directory) for directory in sorted((root / ".wkpipe/ledger").glob("*/*"))]
    return [(dict(ledger.records), ledger.damaged_lines) for ledger in ledgers]


def json_of(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def matters(damage: Damage, sound: Path, damaged: Path) -> bool:
    """Whether a damage has to be found: it deletes something, or changes what readers or wkpipe itself get."""
    file = damaged / damage.file
    if damage.place in ("data", "index", "header") or not file.exists():
        return True
    if damage.place == "ledger":
        return json_of(file) != json_of(sound / damage.file) if file.suffix == ".json" else records_of(damaged) != records_of(sound)
    return meaning_of(damaged) != meaning_of(sound)


def repaired(root: Path, report: VerifyReport) -> VerifyReport:
    return repair_dataset(root, report, Selection(), state_dir=None, sizing=Sizing.local(2), run=run_here, threads=2, say=print)


def content_of(root: Path) -> dict[str, bytes]:
    """Return the content of all files that are not wkpipe's own; JSON as its values, as readers get it."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and ".wkpipe" not in path.relative_to(root).parts)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


@contextlib.contextmanager
def named(seed: int, number: int, damage: Damage) -> Iterator[None]:
    """Have a failure say how to repeat it."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"repeat with WKPIPE_TEST_SEED={seed}; damage {number}: {dataclasses.asdict(damage)}")
        raise


@pytest.mark.timeout(3600)
def test_every_damage_is_found_and_repaired(sound: dict[str, Path], tmp_path: Path) -> None:
    seed = int(os.environ.get("WKPIPE_TEST_SEED", time.time_ns() % 2**32))
    rng = random.Random(seed)
    tally: dict[str, int] = {}
    for number in range(COUNT):
        damage = draw(rng, sound)
        with named(seed, number, damage):
            good, root = sound[damage.data_format], tmp_path / f"{number}-{damage.data_format}"
            shutil.copytree(good, root)
            damage.inflict(root)
            must_be_found = matters(damage, good, root)
            with contextlib.suppress(WkpipeError):
                summarise(root).table()
            report = verify_dataset(root, threads=rng.choice([1, 2]))
            assert not must_be_found or report.problems, "not found"
            if damage.place in ("data", "index", "header"):
                found = [(problem.layer, problem.mag, problem.shard) for problem in report.problems]
                assert found == [names_of(root, root / damage.file)]
            outcome = restore(root, report)
            tally[outcome] = tally.get(outcome, 0) + 1
            assert verify_dataset(root, threads=2).problems == ()
            if not changes_no_meaning(damage, good, root):
                assert content_of(root) == content_of(good)
            shutil.rmtree(root)
    print(f"seed {seed}: {tally}")
    assert tally.get("repaired", 0) > COUNT // 2


def restore(root: Path, report: VerifyReport) -> str:
    """Do what the report's mends say; return which way it took."""
    if report.is_sound:
        return "harmless"
    after = repaired(root, report)
    if after.is_sound:
        return "repaired"
    # With the last record of a converted mag, the proof that the images are the same is gone: adopting is left.
    assert any("--adopt" in str(problem) or "no record" in problem.what for problem in after.problems), after.problems
    adopt_dataset(root, state_dir=None, selection=Selection(deep=True, share=1.0), threads=2)
    return "adopted"


def changes_no_meaning(damage: Damage, good: Path, root: Path) -> bool:
    """Whether what is left of a damage is nothing that readers see: a key of JSON that no longer has its name, white space."""
    return damage.place == "metadata" and damage.kind == "flip" and meaning_of(root) == meaning_of(good)


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
