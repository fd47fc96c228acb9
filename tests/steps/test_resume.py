"""Interrupted, damaged, copied, changed: a run makes only the missing units, with the same bytes as an undisturbed run."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.steps.helpers import (
    Layer,
    check_pyramid,
    data_files,
    mags_of,
    noise,
    plan_of,
    run,
    shards,
    tree,
    write_dataset,
    write_mag,
)
from wkpipe.errors import DamagedShard, ForeignMag, InputRefused, IntegrityError, MissingShard
from wkpipe.geometry import Mag
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.cut.task import PROVE
from wkpipe.runs.run import run_here
from wkpipe.storage.ledger import Ledger, LedgerWriter
from wkpipe.storage.record import MADE
from wkpipe.stored.locations import Locations

pytestmark = pytest.mark.sampled(every=2)

SHAPES: dict[str, dict[str, Any]] = {
    "zarr3": {"chunk_shape": (8, 8, 8), "shard_shape": (16, 16, 16)},
    "zarr": {"chunk_shape": (8, 8, 8)},
    "wkw": {"chunk_shape": (8, 8, 8), "shard_shape": (16, 16, 16)},
}
MANY = Sizing(cores=3, least_seconds=0, target_seconds=0.02)


def example(data_format: str = "zarr3", size: tuple[int, int, int] = (70, 50, 34)) -> Layer:
    shard = None if data_format == "zarr" else (16, 16, 16)
    return Layer(noise((1, *size), "uint16", 5, few=False), (5, 3, 9), data_format=data_format, shard=shard)


@pytest.fixture(params=["zarr3", "zarr", "wkw"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Layer]:
    """A dataset with its pyramid made by one run, and its finest layer."""
    layer = example(request.param)
    root = tmp_path / "d"
    write_dataset(root, layer)
    run(root, MANY, **SHAPES[request.param])
    check_pyramid(root, layer, "median")
    return root, layer


class Stop(Exception):
    """Stops a run in the middle."""


def stop_after(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Stop the run after `count` units: half of the time before their record is written."""
    original = LedgerWriter.add
    left = [count]

    def add(self: Any, *records: Any) -> None:
        counted = [record for record in records if record.origin == MADE]
        if left[0] <= 0 and counted:
            raise Stop
        original(self, *records)
        left[0] -= len(counted)

    monkeypatch.setattr(LedgerWriter, "add", add)


@pytest.mark.parametrize("count", [0, 1, 2, 5, -1])
@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
def test_interrupted_after_some_units(tmp_path: Path, data_format: str, count: int) -> None:
    layer = example(data_format)
    whole, root = tmp_path / "whole" / "d", tmp_path / "part" / "d"
    for path in (whole, root):
        write_dataset(path, layer)
    all_units = run(whole, MANY, **SHAPES[data_format]).units_to_do
    count = min(count % all_units, all_units - 1)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, count)
        with pytest.raises(Stop):
            run(root, MANY, **SHAPES[data_format])
    assert mags_of(root) == ["1"]
    before = tree(root / "layer")
    proven = {
        str(path)
        for mag in ("2", "4")
        for record in Ledger.load(Locations.of(root).ledger("layer", Mag(mag))).records.values()
        for path in plan_array(root, mag, data_format).unit_files(record.unit)
    }
    plan = plan_of(root, Sizing.local(2), **SHAPES[data_format])
    assert plan.units_to_do == all_units - count
    run_here(plan)
    after = tree(root / "layer")
    assert all(after[path] == before[path] for path in proven)
    assert data_files(root) == data_files(whole)
    assert plan_of(root, **SHAPES[data_format]).is_empty
    assert not list((root / ".wkpipe").rglob("*.tmp"))


def plan_array(root: Path, mag: str, data_format: str) -> Any:
    from wkpipe.formats import open_array

    return open_array(root / "layer" / mag, data_format, ("c", "x", "y", "z"))


@pytest.mark.parametrize("seed", range(6))
def test_lost_parts_come_again(made: tuple[Path, Layer], seed: int) -> None:
    """Random ledger segments, shard files and the publication are lost; the others keep inode and mtime."""
    root, layer = made
    rng = random.Random(seed)
    want = data_files(root)
    values = SHAPES[layer.data_format]
    coarse = [path for mag in ("2", "4") for path in shards(root, mag=mag)]
    lost = set(rng.sample(coarse, rng.randrange(len(coarse))))
    for path in lost:
        path.unlink()
    segments = [path for path in (root / ".wkpipe" / "ledger").rglob("*.segment") if path.parent.name != "1"]
    forgotten = {path.parent.name for path in segments if rng.random() < 0.3}
    for path in segments:
        if path.parent.name in forgotten:
            path.unlink()
    if rng.random() < 0.5:
        unpublish(root)
    before = tree(root / "layer")
    kept = {str(path) for path in coarse if path not in lost and path.parent.name and mag_of(root, path) not in forgotten}
    plan = plan_of(root, MANY, **values)
    note = f"seed {seed}, lost {sorted(map(str, lost))}, forgotten {forgotten}"
    assert plan.is_empty == (not lost and not forgotten and len(mags_of(root)) == 3), note
    run_here(plan)
    assert data_files(root) == want, note
    after = tree(root / "layer")
    if layer.data_format != "zarr":  # all chunk files of a unit are made again
        assert all(after[path] == before[path] for path in kept), note
    assert plan_of(root, MANY, **values).is_empty, note
    check_pyramid(root, layer, "median")


def mag_of(root: Path, path: Path) -> str:
    return path.relative_to(root / "layer").parts[0]


def unpublish(root: Path) -> None:
    import json

    path = root / "datasource-properties.json"
    values = json.loads(path.read_text())
    values["dataLayers"][0]["mags"] = values["dataLayers"][0]["mags"][:1]
    path.write_text(json.dumps(values, indent=4))


def test_a_torn_line_is_one_unit_to_make_again(tmp_path: Path) -> None:
    layer, root = example(), tmp_path / "d"
    write_dataset(root, layer)
    run(root, **SHAPES["zarr3"])
    segment = next((root / ".wkpipe" / "ledger" / "layer" / "2").glob("*.segment"))
    whole = segment.read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    want = data_files(root)
    for cut in (1, 7, last // 2, last - 1):
        segment.write_bytes(whole[:-cut])
        plan = plan_of(root, **SHAPES["zarr3"])
        assert plan.units_to_do >= (1 if cut > 1 else 0), cut
        assert len([unit for task in plan.tasks for part in task.ranges if part.mag == Mag(2) for unit in part.units]) == (cut > 1), cut
    run(root, **SHAPES["zarr3"])
    assert data_files(root) == want
    assert plan_of(root, **SHAPES["zarr3"]).is_empty


def test_a_damaged_line_is_one_unit_to_make_again(tmp_path: Path) -> None:
    layer, root = example(), tmp_path / "d"
    write_dataset(root, layer)
    run(root, **SHAPES["zarr3"])
    segment = next((root / ".wkpipe" / "ledger" / "layer" / "4").glob("*.segment"))
    whole = bytearray(segment.read_bytes())
    whole[len(whole) // 2] ^= 1
    segment.write_bytes(whole)
    assert plan_of(root, **SHAPES["zarr3"]).units_to_do == 1


def touch(path: Path) -> None:
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))


def test_another_mtime_with_the_same_content_is_adopted(made: tuple[Path, Layer]) -> None:
    root, layer = made
    values = SHAPES[layer.data_format]
    for mag in ("2", "4"):
        for path in shards(root, mag=mag):
            touch(path)
    before = tree(root / "layer")
    plan = plan_of(root, MANY, **values)
    assert plan.units_to_prove == sum(len(plan.mag_plan("layer", Mag(mag)).units()) for mag in ("2", "4"))
    assert run_here(plan) == 0
    assert tree(root / "layer") == before
    assert plan_of(root, **values).is_empty


def test_changed_content_of_a_derived_shard_is_made_again(made: tuple[Path, Layer]) -> None:
    root, layer = made
    want = data_files(root)
    victim = shards(root, mag="2")[1]
    kept = {str(path): tree(path)[str(path)] for mag in ("2", "4") for path in shards(root, mag=mag) if path != victim}
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 255
    victim.write_bytes(data)
    changed = data_files(root)
    try:
        run(root, MANY, **SHAPES[layer.data_format])
    except ForeignMag:  # without checksums a flipped byte may decode: then it counts as another tool's write
        assert layer.data_format in ("wkw", "zarr")
        assert data_files(root) == changed
        with pytest.raises(ForeignMag, match="--forget"):
            plan_of(root, MANY, **SHAPES[layer.data_format])
        assert data_files(root) == changed
        return
    assert data_files(root) == want
    if layer.data_format != "zarr":
        assert {path: tree(Path(path))[path] for path in kept} == kept
    assert plan_of(root, MANY, **SHAPES[layer.data_format]).is_empty


def test_changed_content_of_the_finest_mag_goes_all_the_way_up(tmp_path: Path) -> None:
    layer, root = example(), tmp_path / "d"
    write_dataset(root, layer)
    run(root, MANY, **SHAPES["zarr3"])
    layer.data[0, :11, :13, :7] = 7
    before = tree(root / "layer")
    write_mag(root / "layer" / "1", layer, layer.axes, root / ".wkpipe" / "tmp" / "other")
    rewritten = {path for path, facts in tree(root / "layer" / "1").items() if before.get(path) != facts}
    assert len(rewritten) > 10  # all are written again; only the content of the first differs
    plan = run(root, MANY, **SHAPES["zarr3"])
    check_pyramid(root, layer, "median")
    assert plan_of(root, MANY, **SHAPES["zarr3"]).is_empty
    # Once the checksums of the finest mag are known, only changed units are made again.
    layer.data[0, :11, :13, :7] += 1
    other = tmp_path / "other"
    write_dataset(other, layer)
    first = shards(root)[0]
    shutil.copyfile(other / first.relative_to(root), first)
    plan = plan_of(root, MANY, **SHAPES["zarr3"])
    assert [(part.mag, part.units) for task in plan.tasks if task.rule != PROVE for part in task.ranges] == [
        (Mag(2), ((0, 0, 0, 0),)),
        (Mag(4), ((0, 0, 0, 0),)),
    ]
    before = tree(root / "layer")
    run_here(plan)
    changed = {path for path, facts in tree(root / "layer").items() if before.get(path) != facts and Path(path).is_file()}
    assert changed == {str(shards(root, mag=mag)[0]) for mag in ("2", "4")}
    check_pyramid(root, layer, "median")


def test_a_lost_shard_of_the_finest_mag_is_an_error(made: tuple[Path, Layer]) -> None:
    root, layer = made
    values = SHAPES[layer.data_format]
    victim = shards(root)[0]
    data = victim.read_bytes()
    if layer.data_format == "zarr":
        shutil.rmtree(root / "layer" / "1" / "0")
    else:
        victim.unlink()
    before = tree(root)
    with pytest.raises(MissingShard) as error:
        plan_of(root, **values)
    assert error.value.exit_code == 4
    assert "layer layer, mag 1" in str(error.value)
    assert tree(root) == before
    if layer.data_format != "zarr":
        victim.write_bytes(data)
        run(root, **values)
        check_pyramid(root, layer, "median")


def test_a_lost_shard_while_the_run_is_on_is_an_error(tmp_path: Path) -> None:
    """Files that vanish after planning must not be read as zeros."""
    layer, root = example(), tmp_path / "d"
    write_dataset(root, layer)
    plan = plan_of(root, MANY, **SHAPES["zarr3"])
    shards(root)[0].unlink()
    with pytest.raises(MissingShard):
        run_here(plan)
    assert mags_of(root) == ["1"]


@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
def test_a_damaged_shard_of_the_finest_mag_is_named(made: tuple[Path, Layer], where: float) -> None:
    root, layer = made
    victim = max(shards(root), key=lambda path: path.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[int(len(data) * where)] ^= 255
    victim.write_bytes(data)
    before = tree(root / "layer")
    found: DamagedShard | None = None
    try:
        run(root, **SHAPES[layer.data_format])
    except DamagedShard as error:
        found = error
    if found is None:  # without checksums a flipped byte may decode: then it counts as a change of the voxels
        assert layer.data_format in ("wkw", "zarr")
        assert plan_of(root, **SHAPES[layer.data_format]).is_empty
    else:
        assert str(victim) in str(found)
        assert found.exit_code == 4
        assert tree(root / "layer") == before


def test_a_shard_that_is_damaged_from_the_start_is_named(tmp_path: Path) -> None:
    layer, root = example(), tmp_path / "d"
    write_dataset(root, layer)
    victim = shards(root)[2]
    data = bytearray(victim.read_bytes())
    data[20] ^= 255
    victim.write_bytes(data)
    with pytest.raises(DamagedShard, match=re.escape(str(victim))):
        run(root, **SHAPES["zarr3"])
    assert mags_of(root) == ["1"]


# -- datasets without a ledger --------------------------------------------------------------------------------------


def sparse() -> Layer:
    layer = example()
    layer.data[:] = 0
    layer.data[0, 40:, 30:, 20:] = noise((30, 20, 14), "uint16", 9)
    return layer


def test_absent_shards_of_a_foreign_dataset_are_empty(tmp_path: Path) -> None:
    layer, root = sparse(), tmp_path / "d"
    write_dataset(root, layer)
    present = len(shards(root))
    plan = plan_of(root, **SHAPES["zarr3"])
    absent = 5 * 4 * 3 - present
    assert absent > 20
    assert any(f"{absent} of 60 storage shards have no file" in note for note in plan.notes), plan.notes
    with pytest.raises(MissingShard) as error:
        plan_of(root, missing_shards="error", **SHAPES["zarr3"])
    assert error.value.exit_code == 4
    run_here(plan)
    check_pyramid(root, layer, "median")
    assert plan_of(root, **SHAPES["zarr3"]).is_empty
    ledger = Ledger.load(Locations.of(root).ledger("layer", Mag(1)))
    assert len(ledger.records) == 60
    assert sum(record.proof.is_fill for record in ledger.records.values()) == absent
    # From now on the list of shards is known.
    shards(root)[0].unlink()
    with pytest.raises(MissingShard):
        plan_of(root, **SHAPES["zarr3"])


def test_an_empty_mag_above_one_with_data_is_refused(tmp_path: Path) -> None:
    layer, root = example(), tmp_path / "d"
    write_dataset(root, layer)
    values = SHAPES["zarr3"]
    run(root, coarsest_mag="2", **values)
    shutil.rmtree(root / ".wkpipe")
    for path in shards(root, mag="2"):
        path.unlink()
    before = tree(root)
    with pytest.raises(InputRefused, match="--trust-empty") as error:
        plan_of(root, **values)
    assert error.value.exit_code == 3
    assert not isinstance(error.value, IntegrityError)
    assert tree(root) == before
    run(root, trust_empty=True, **values)
    assert mags_of(root) == ["1", "2", "4"]
    assert not shards(root, mag="4")


def test_a_copied_dataset_keeps_its_proofs(made: tuple[Path, Layer], tmp_path: Path) -> None:
    root, layer = made
    shutil.copytree(root, tmp_path / "copy")
    assert plan_of(tmp_path / "copy", **SHAPES[layer.data_format]).is_empty
    # Without the times, the content proves all units, and nothing is made again.
    other = tmp_path / "other"
    shutil.copytree(root, other, copy_function=shutil.copyfile)
    before = tree(other / "layer")
    plan = plan_of(other, MANY, **SHAPES[layer.data_format])
    assert plan.units_to_prove > plan.units_to_do > 0
    assert run_here(plan) == 0
    assert tree(other / "layer") == before
    assert plan_of(other, **SHAPES[layer.data_format]).is_empty


@pytest.mark.parametrize("function", ["create", "rename", "make_directory"])
@pytest.mark.parametrize("count", range(8))
def test_interrupted_while_preparing(tmp_path: Path, function: str, count: int) -> None:
    """The same command resumes, wherever in the preparation the previous run was stopped."""
    from wkpipe.runs import run as run_module
    from wkpipe.storage import disk, names

    layer, root, whole = example(), tmp_path / "d", tmp_path / "whole" / "d"
    for path in (root, whole):
        write_dataset(path, layer)
    run(whole, **SHAPES["zarr3"])
    left = [count]
    seam = names if function == "rename" else disk
    original: Callable[..., Any] = getattr(seam, function)
    prepare = run_module.prepare

    def interrupted(*args: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise Stop
        return original(*args)

    def prepare_interrupted(*args: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(seam, function, interrupted)
            prepare(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "prepare", prepare_interrupted)
        try:
            run(root, **SHAPES["zarr3"])
        except Stop:
            assert mags_of(root) == ["1"]
    run(root, **SHAPES["zarr3"])
    assert data_files(root) == data_files(whole)
    assert mags_of(root) == ["1", "2", "4"]
