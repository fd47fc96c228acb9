"""Tasks, not planning, prove doubtful units: the outcome decides what is made, kept or refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.steps.helpers import Layer, check_pyramid, data_files, noise, plan_of, run, shards, tree, write_dataset, write_mag
from wkpipe.errors import DamagedShard, ForeignMag, MetadataError
from wkpipe.formats import open_array
from wkpipe.formats.chunked import ChunkedArray
from wkpipe.formats.foreign import ForeignArray
from wkpipe.geometry import Mag
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.cut.task import PROVE
from wkpipe.plan.plan import Plan
from wkpipe.plan.state.reasons import Reason
from wkpipe.plan.table import plan_table
from wkpipe.runs.run import run_here
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.record import ADOPTED, DAMAGED, MADE, WRITTEN
from wkpipe.storage.scratch import Scratch
from wkpipe.stored.locations import Locations
from wkpipe.verify.dataset import verify_dataset
from wkpipe.verify.forget import forget

SHAPES = {"chunk_shape": (8, 8, 8), "shard_shape": (16, 16, 16)}
MANY = Sizing(cores=3, least_seconds=0, target_seconds=1e-5)


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Layer]:
    layer, root = Layer(noise((1, 70, 50, 34), "uint16", 5, few=False), (5, 3, 9)), tmp_path / "d"
    write_dataset(root, layer)
    run(root, MANY, **SHAPES)
    return root, layer


def touch(path: Path) -> None:
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))


def rewrite(root: Path, mag: str, unit: tuple[int, ...], value: int) -> None:
    """Write a whole unit as another tool does, through the format alone."""
    array = open_array(root / "layer" / mag, "zarr3")
    with array.unit_writer(unit, Scratch(root.parent / "other")) as writer:
        for cell in np.ndindex(*array.spec.chunks_per_unit):
            writer.append(cell, writer.encode(np.full(array.spec.chunk_shape, value, array.spec.dtype, order="F")))
        writer.commit()


def ledger_of(root: Path, mag: str) -> Ledger:
    return Ledger.load(Locations.of(root).ledger("layer", Mag(mag)))


@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
def test_planning_reads_no_voxel_data(tmp_path: Path, data_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = None if data_format == "zarr" else (16, 16, 16)
    layer, root = Layer(noise((1, 70, 50, 34), "uint16", 5), data_format=data_format, shard=shard), tmp_path / "d"
    write_dataset(root, layer)
    values = SHAPES if shard else {"chunk_shape": (8, 8, 8)}
    run(root, MANY, **values)
    for path in [path for mag in ("1", "2", "4") for path in shards(root, mag=mag)]:
        touch(path)

    def refuse(*_: object) -> None:
        raise AssertionError("planning reads data")

    for kind in (ChunkedArray, ForeignArray):
        for name in ("read", "fetch", "check_unit"):
            monkeypatch.setattr(kind, name, refuse)
    monkeypatch.setattr("wkpipe.formats.proving._read_blocks", refuse)
    monkeypatch.setattr("wkpipe.formats.proving._read_shard", refuse)
    plan = plan_of(root, MANY, **values)
    assert plan.units_to_prove == sum(len(units) for units in units_of(plan).values())
    assert {part.mag for task in plan.of_rule(PROVE) for part in task.ranges} == {Mag("1"), Mag("2"), Mag("4")}


def units_of(plan: Plan) -> dict[Mag, set[tuple[int, ...]]]:
    """Return the units that are proven, by mag."""
    found: dict[Mag, set[tuple[int, ...]]] = {}
    for task in plan.of_rule(PROVE):
        for part in task.ranges:
            assert not found.setdefault(part.mag, set()) & set(part.units)
            found[part.mag].update(part.units)
    return found


def test_the_table_shows_what_is_proven_and_what_it_costs(made: tuple[Path, Layer]) -> None:
    root, _ = made
    for path in shards(root, mag="2"):
        touch(path)
    plan = plan_of(root, MANY, **SHAPES)
    text = plan_table(plan)
    assert f"{plan.units_to_prove} are proven first, in {len(plan.of_rule(PROVE))} of the jobs (about " in text
    assert "to be proven" in text
    assert "source to be proven" in text


def test_everything_waits_for_the_gate_of_its_layer(made: tuple[Path, Layer]) -> None:
    root, _ = made
    for path in [path for mag in ("1", "2", "4") for path in shards(root, mag=mag)]:
        touch(path)
    plan = plan_of(root, MANY, **SHAPES)
    proving = plan.of_rule(PROVE)
    assert len(proving) > 2
    gates = [task for task in proving if task.layers]
    assert [task.layers for task in gates] == [("layer",)]
    assert set(gates[0].inputs) == {task.name for task in proving} - {gates[0].name}
    others = [task for task in plan.tasks if task.rule != PROVE]
    assert others
    assert all(gates[0].name in task.inputs for task in others)
    alone = plan_of(root, Sizing.local(1), **SHAPES).of_rule(PROVE)
    assert [(len(task.ranges), task.layers) for task in alone] == [(3, ("layer",))]


def test_a_changed_unit_that_is_only_read_is_accepted_and_what_is_made_from_it_made_again(made: tuple[Path, Layer]) -> None:
    root, layer = made
    rewrite(root, "1", (0, 1, 1, 1), 77)
    layer.data[:, 11:27, 13:29, 7:23] = 77
    for path in shards(root, mag="1"):
        touch(path)
    plan = plan_of(root, MANY, **SHAPES)
    notices: list[str] = []
    assert run_here(plan, notify=notices.append) == 2  # one of each coarser mag; the others are planned, but stay as they are
    assert notices == ["layer layer, mag 1: 1 storage shards changed since they were recorded; they are taken as they are now"]
    assert plan.units_to_do > 2
    check_pyramid(root, layer, "median")
    record = ledger_of(root, "1").get((0, 1, 1, 1))
    assert record is not None
    assert (record.origin, record.token) == (ADOPTED, record.proof.digest)
    assert plan_of(root, MANY, **SHAPES).is_empty
    assert verify_dataset(root).is_sound


def test_what_another_tool_wrote_into_a_made_mag_is_kept(made: tuple[Path, Layer]) -> None:
    root, layer = made
    rewrite(root, "2", (0, 0, 0, 0), 77)
    rewrite(root, "1", (0, 1, 1, 1), 33)  # so that the same unit must also be made again
    before, files = tree(root / "layer"), data_files(root)
    with pytest.raises(ForeignMag, match=r"layer layer, mag 2: another tool has written 1 storage shard, the first 0.0.0.0") as error:
        run(root, MANY, **SHAPES)
    assert error.value.exit_code == 3
    assert "--overwrite-existing" in str(error.value)
    assert "--forget layer/2" in str(error.value)
    assert (tree(root / "layer"), data_files(root)) == (before, files)
    record = ledger_of(root, "2").get((0, 0, 0, 0))
    assert record is not None
    assert record.origin == WRITTEN
    # It is recorded now: the next plan refuses at once.
    with pytest.raises(ForeignMag, match="another tool has written 1 storage shard"):
        plan_of(root, MANY, **SHAPES)
    report = verify_dataset(root)
    assert not report.is_sound
    # Then both ways are possible.
    shutil.copytree(root, root.parent / "taken")
    assert forget(root.parent / "taken", "layer/2")
    run(root.parent / "taken", MANY, **SHAPES)
    array = open_array(root.parent / "taken" / "layer" / "2", "zarr3")
    assert (array.read((0, 0, 0, 0), (1, 16, 16, 16)) == 77).all()
    run(root, MANY, overwrite_existing=True, **SHAPES)
    layer.data[:, 11:27, 13:29, 7:23] = 33
    check_pyramid(root, layer, "median")


def test_a_damaged_unit_of_a_made_mag_is_made_again(made: tuple[Path, Layer]) -> None:
    root, _ = made
    want = data_files(root)
    victim = shards(root, mag="2")[0]
    victim.write_bytes(victim.read_bytes()[:-7])
    plan = plan_of(root, MANY, **SHAPES)
    assert [reasons.counts.get(Reason.UNPROVEN) for reasons in plan.reasons if reasons.mag == Mag("2")] == [1]
    assert run_here(plan) == 1
    assert data_files(root) == want
    assert ledger_of(root, "2").get((0, 0, 0, 0)).origin == MADE  # type: ignore[union-attr]


def test_a_damage_that_a_stopped_run_has_found_is_still_known(made: tuple[Path, Layer]) -> None:
    root, _ = made
    want = data_files(root)
    victim = shards(root, mag="2")[0]
    victim.write_bytes(victim.read_bytes()[:-7])
    plan = plan_of(root, MANY, **SHAPES)

    class Stop(Exception):
        pass

    def stop(task: object) -> None:
        if getattr(task, "layers", ()):
            raise Stop

    with pytest.raises(Stop):
        run_here(plan, on_task=stop)
    assert ledger_of(root, "2").get((0, 0, 0, 0)).origin == DAMAGED  # type: ignore[union-attr]
    assert run(root, MANY, **SHAPES).units_to_do
    assert data_files(root) == want


def test_a_damaged_source_ends_the_run(made: tuple[Path, Layer]) -> None:
    root, _ = made
    victim = shards(root, mag="1")[3]
    victim.write_bytes(victim.read_bytes()[:-7])
    before = tree(root / "layer")
    with pytest.raises(DamagedShard, match="changed since it was recorded, and is damaged") as error:
        run(root, MANY, **SHAPES)
    assert error.value.exit_code == 4
    assert tree(root / "layer") == before


# -- whose mag it is ------------------------------------------------------------------------------------------------


def replaced(root: Path, mag: str, layer: Layer) -> None:
    """Let another tool delete a mag and make its own in that place."""
    shutil.rmtree(root / "layer" / mag)
    write_mag(root / "layer" / mag, layer, layer.axes, root.parent / "other")


@pytest.mark.parametrize("chunk", [(8, 8, 8), (4, 4, 4)])
def test_a_mag_that_another_tool_made_again_is_refused_before_anything_is_written(
    made: tuple[Path, Layer], chunk: tuple[int, int, int]
) -> None:
    root, layer = made
    theirs = Layer(np.full((1, 40, 30, 25), 77, "uint16"), chunk=chunk, mag=Mag(2))
    replaced(root, "2", theirs)
    before = tree(root)
    with pytest.raises(ForeignMag, match="mag 2 is not the one that wkpipe made") as error:
        plan_of(root, MANY, **SHAPES)
    assert error.value.exit_code == 3
    assert tree(root) == before
    report = verify_dataset(root)
    assert any("another tool has made it again" in note for note in report.notes)
    run(root, MANY, overwrite_existing=True, **SHAPES)
    check_pyramid(root, layer, "median")


def test_ids_that_were_lost_do_not_make_a_mag_foreign(made: tuple[Path, Layer]) -> None:
    root, _ = made
    path = root / "layer" / "2" / "zarr.json"
    values = json.loads(path.read_text())
    del values["attributes"]
    path.write_text(json.dumps(values))
    assert plan_of(root, MANY, **SHAPES).is_empty
    assert verify_dataset(root).is_sound


def test_damaged_metadata_of_a_made_mag_are_distinguished_from_another_mag(made: tuple[Path, Layer]) -> None:
    root, _ = made
    path = root / "layer" / "2" / "zarr.json"
    values = json.loads(path.read_text())
    values["codecs"][0]["configuration"]["chunk_shape"] = [1, 4, 8, 8]
    path.write_text(json.dumps(values))
    with pytest.raises(MetadataError, match=r"verify .* --repair"):
        plan_of(root, MANY, **SHAPES)


def test_a_source_that_another_tool_made_again_is_taken_as_it_is(tmp_path: Path) -> None:
    layer, root = Layer(noise((1, 70, 50, 34), "uint16", 5, few=False)), tmp_path / "d"
    write_dataset(root, layer)
    run(root, MANY, **SHAPES)
    layer.data[:, 16:] = 0  # sparse: most storage shards are gone
    layer.data[:, :16] = noise((1, 16, 50, 34), "uint8", 3, few=False)
    replaced(root, "1", layer)
    assert 0 < len(shards(root)) < 20
    plan = run(root, MANY, **SHAPES)
    assert any("mag 1: another tool has made the mag again" in note for note in plan.notes)
    check_pyramid(root, layer, "median")
    assert verify_dataset(root).is_sound
    assert plan_of(root, MANY, **SHAPES).is_empty


Spoil = Callable[[Path], object]


@pytest.mark.parametrize("spoil", [lambda path: path.write_text("{"), lambda path: path.write_text('{"dataset": 1}'), Path.unlink])
def test_a_lost_identity_is_no_obstacle(made: tuple[Path, Layer], spoil: Spoil) -> None:
    root, _ = made
    for path in (root / ".wkpipe" / "ledger").rglob("identity.json"):
        spoil(path)
    spoil(root / ".wkpipe" / "dataset.json")
    assert plan_of(root, MANY, **SHAPES).is_empty
    assert verify_dataset(root).is_sound
