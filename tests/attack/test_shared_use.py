"""Several users, umasks, read-only media and state directories: no advice to delete good data, and nothing is half deleted.

With real users by numeric ids (as root) and real mounts. Each refusal is one line that names the owner and the mode.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.users import ADA, BEN, EVE, LAB, Outcome, User, act, cli, everything_below, mounted, needs_root, work
from tests.workflow.workflow_helpers import data_files
from wkpipe import Dataset
from wkpipe.errors import AlreadyExists, InputRefused, NotWritable, TryAgain
from wkpipe.geometry import Mag
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.cost.space import free_bytes
from wkpipe.runs.run import Run, run_here
from wkpipe.runs.stored_task import place_of
from wkpipe.steps import swap
from wkpipe.storage import disk
from wkpipe.storage.access import check_removable
from wkpipe.storage.lease import EPOCH_NAME, RunLease
from wkpipe.stored.lease import DatasetLease, Lookout, newest_epoch
from wkpipe.stored.locations import Locations, state_key
from wkpipe.verify.dataset import verify_dataset
from wkpipe.verify.repair import repair_dataset
from wkpipe.verify.select import Selection

SHARDS = ("--shard-shape", "32,32,32", "--chunk-shape", "16,16,16")
VALUES = {"voxel_size": "1,1,1", "shard_shape": 32, "chunk_shape": 16}


class Killed(BaseException):
    """Raised to end a run between two tasks like a kill: its lease and files stay."""


@pytest.fixture(autouse=True)
def no_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sync", "sync_closed", "sync_directory", "sync_file_system"):
        monkeypatch.setattr(disk, name, lambda *_: None)
    monkeypatch.delenv("WKPIPE_STATE_DIR", raising=False)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that all users reach and the lab may write; pytest's own directories are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        lab = Path(name) / "lab"
        lab.mkdir()
        if os.geteuid() == 0:
            os.chown(lab, 0, LAB)
        lab.chmod(0o2775)
        yield lab


@pytest.fixture(scope="module")
def source() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        images = Path(name) / "em"
        images.mkdir()
        voxels = np.random.default_rng(0).integers(0, 255, (40, 60, 70), "u1")
        for z, plane in enumerate(voxels):
            tifffile.imwrite(images / f"{z:02}.tif", plane)
        first = Path(name) / "first"
        work(source=images, target=first, **VALUES)
        # Everything that is imported late is imported now, because other users may not be able to read this environment.
        for more in ((), ("--dry-run",)):
            assert cli("convert", images, first, "--voxel-size", "1,1,1", *SHARDS, *more) == 0
        assert [cli("downsample", first), cli("info", first), cli("verify", first, "--adopt"), cli("verify", first, "--repair")] == [0] * 4
        damaged = Path(shutil.copytree(first, Path(name) / "damaged"))
        shard = next(damaged.glob("em/1/c/*/*/*/*"))
        shard.write_bytes(b"x" + shard.read_bytes()[1:])
        report = verify_dataset(damaged)
        assert repair_dataset(damaged, report, Selection(), state_dir=None, sizing=Sizing.local(1), run=run_here).is_sound
        Dataset.open(damaged).delete_layer("em")
        yield images


@pytest.fixture(scope="module")
def whole(source: Path) -> dict[str, str]:
    return data_files(source.parent / "first")


def convert(source: Path, target: Path, **more: object) -> None:
    work(source=source, target=target, **VALUES, **more)


def half(source: Path, target: Path, **more: object) -> None:
    """Convert and die after the first task; one of the files is lost too."""

    def stop(_: object) -> None:
        next(target.glob("em/1/c/*/*/*/*")).unlink()
        os._exit(0)

    work(stop, source=source, target=target, **VALUES, **more)


def same_command(source: Path, target: Path, *more: str | Path) -> Callable[[], int]:
    return lambda: cli("convert", source, target, "--voxel-size", "1,1,1", *SHARDS, "--jobs", "1", *more)


NOTES = ("storage shards are gone and will be made again", "which is not used with another --state-dir")
"""The notes that planning may give before a run is refused."""


def check_refusal(outcome: Outcome, owner: User | None, code: int = 3) -> None:
    """Check that a refusal is one line, with owner and mode, and without advice to delete."""
    assert outcome.code == code, outcome
    *notes, _ = outcome.said.splitlines()
    assert all(any(known in note for known in NOTES) for note in notes), outcome
    assert "overwrite" not in outcome.said, outcome
    assert "remove" not in outcome.said.replace("removed", "").replace("remove it, or choose", ""), outcome
    if owner is not None:
        assert f"belongs to {owner.name}:" in outcome.said, outcome
        assert "with mode " in outcome.said, outcome


# -- a colleague's dataset -------------------------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("umask", [0o002, 0o022, 0o027])
def test_the_very_same_command_of_a_colleague_has_nothing_to_do(umask: int, source: Path, place: Path) -> None:
    target = place / "ds"
    assert act(lambda: convert(source, target), ADA.with_umask(umask)).code == 0
    if umask != 0o002:
        (target / ".wkpipe").chmod(0o2755)
    before = everything_below(place)
    for action in (
        same_command(source, target),
        same_command(source, target, "--dry-run"),
        lambda: cli("downsample", target),
        lambda: cli("info", target),
        lambda: cli("verify", target),
    ):
        outcome = act(action, BEN)
        assert outcome.code == 0, outcome
        assert "overwrite" not in outcome.said
    assert everything_below(place) == before


@needs_root
def test_a_colleague_who_may_not_write_is_refused_what_is_pending(source: Path, place: Path) -> None:
    target = place / "ds"
    assert act(lambda: half(source, target), ADA).code == 0
    before = everything_below(place)
    check_refusal(act(same_command(source, target), BEN), ADA)
    dry = act(same_command(source, target, "--dry-run"), BEN)
    assert dry.code == 0
    assert "a run would be refused" in dry.said
    check_refusal(act(lambda: cli("verify", target, "--adopt"), BEN), None)
    assert everything_below(place) == before
    assert act(lambda: convert(source, target), ADA).code == 0


@needs_root
@pytest.mark.parametrize("closed", [".wkpipe", ".wkpipe/ledger", ".wkpipe/ledger/em", ".wkpipe/ledger/em/1", ".wkpipe/conversion.json"])
def test_a_state_that_cannot_be_read_is_named(closed: str, source: Path, place: Path, whole: dict[str, str]) -> None:
    """Umask 077 closes all of the state; a later run with that umask closes only a part."""
    target = place / "ds"
    assert act(lambda: convert(source, target), ADA).code == 0
    (target / closed).chmod(0o700 if (target / closed).is_dir() else 0o600)
    for action in (same_command(source, target), lambda: cli("downsample", target), lambda: cli("verify", target, "--repair")):
        outcome = act(action, BEN)
        if closed == ".wkpipe/conversion.json" and outcome.code == 4:
            continue
        check_refusal(outcome, ADA)
        assert "--state-dir" in outcome.said
    assert data_files(target) == whole
    read = act(lambda: print(Dataset.open(target, read_only=True).get_layer("em").get_mag(1).read().sum()), BEN)
    assert read.code == 0, "reading voxels needs no state"
    next(target.glob("em/1/c/*/*/*/*")).unlink()
    lost = act(lambda: print(Dataset.open(target, read_only=True).get_layer("em").get_mag(1).read().sum()), BEN)
    if closed.endswith(".json"):
        assert lost.code == 4, lost
    else:
        check_refusal(lost, ADA)  # it may be empty or lost: there is no way to know


@needs_root
def test_a_single_file_of_the_ledger_that_cannot_be_read(source: Path, place: Path) -> None:
    target = place / "ds"
    assert act(lambda: convert(source, target), ADA).code == 0
    for name in ("recipe.json", "*.segment"):
        (file,) = (target / ".wkpipe/ledger/em/1").glob(name)
        file.chmod(0o600)
        check_refusal(act(same_command(source, target), BEN), ADA)
        file.chmod(0o644)


@needs_root
def test_no_other_mags_are_made_without_the_recipe_of_their_maker(source: Path, place: Path) -> None:
    """A's shape of shards may not be B's."""
    target = place / "ds"
    assert act(lambda: convert(source, target, downsample=False), ADA.with_umask(0o002)).code == 0
    (target / ".wkpipe").chmod(0o2755)
    (target / ".wkpipe/ledger/em").chmod(0o2755)
    check_refusal(act(lambda: cli("downsample", target), BEN.with_umask(0o002)), ADA)
    assert sorted(path.name for path in (target / "em").iterdir() if path.is_dir()) == ["1"]


@needs_root
def test_a_state_of_his_own_does_not_get_round_the_lease(source: Path, place: Path) -> None:
    target = place / "ds"
    assert act(lambda: convert(source, target), ADA).code == 0
    target.chmod(0o2775)
    outcome = act(lambda: cli("downsample", target, "--coarsest-mag", "16", "--state-dir", place / "ben"), BEN)
    check_refusal(outcome, ADA)
    assert "whatever --state-dir says" in outcome.said
    assert len(outcome.said.splitlines()) == 1, outcome
    assert not (place / "ben").exists()


@needs_root
def test_colleagues_of_a_group_finish_and_extend_each_others_work(source: Path, place: Path, whole: dict[str, str]) -> None:
    target = place / "ds"
    ada, ben = ADA.with_umask(0o002), BEN.with_umask(0o002)
    assert act(lambda: half(source, target), ada).code == 0
    assert act(lambda: convert(source, target), ben).code == 0
    assert data_files(target) == whole
    assert act(lambda: work(target=target, coarsest_mag="32"), ada).code == 0
    assert act(lambda: work(target=target, coarsest_mag="8", interpolation_mode="max", overwrite_existing=True), ben).code == 0
    assert verify_dataset(target).problems == ()
    assert act(lambda: Dataset.open(target).delete_layer("em"), ben).code == 0
    assert not (target / "em").exists()


@needs_root
def test_a_sticky_directory_keeps_others_out_in_one_line(source: Path, place: Path) -> None:
    target = place / "ds"
    ada, ben = ADA.with_umask(0o002), BEN.with_umask(0o002)
    assert act(lambda: half(source, target), ada).code == 0
    for sticky in (target, target / ".wkpipe/locks"):
        sticky.chmod(0o3775)
        (target / "datasource-properties.json").touch()
        os.chown(target / "datasource-properties.json", ADA.uid, LAB)
        before = data_files(target)
        outcome = act(same_command(source, target), ben)
        (target / "datasource-properties.json").unlink()
        assert outcome.code == 3, outcome
        assert len(outcome.said.splitlines()) == 1
        sticky.chmod(0o2775)
        assert data_files(target) == before


# -- deletion --------------------------------------------------------------------------------------------------------


def close_directory(path: Path) -> None:
    path.chmod(0o2755)


def make_sticky(path: Path) -> None:
    path.chmod(0o3777)


OBSTACLES = [
    *((name, close_directory) for name in (".", ".wkpipe", ".wkpipe/ledger/em/1", ".wkpipe/locks", "em", "em/1", "em/1/c/0/0")),
    *((name, make_sticky) for name in (".", ".wkpipe", "em", "em/1/c/0/0")),
]


@needs_root
@pytest.mark.parametrize("name,obstacle", OBSTACLES)
def test_nothing_is_deleted_that_cannot_be_deleted_as_a_whole(
    name: str, obstacle: Callable[[Path], None], source: Path, place: Path
) -> None:
    target = place / "ds"
    assert act(lambda: convert(source, target), ADA.with_umask(0o002)).code == 0
    (target / ".wkpipe").chmod(0o2775)
    obstacle(target / name)
    before = everything_below(target)
    ben = BEN.with_umask(0o002)
    check_refusal(act(lambda: convert(source, target, name="other", overwrite_existing=True), ben), ADA)
    assert everything_below(target) == before
    advice = act(lambda: convert(source, target, name="other"), ben)
    assert advice.code == 3
    assert "overwrite" not in advice.said, "no advice that cannot be followed"
    if name.startswith("em"):
        check_refusal(act(lambda: Dataset.open(target).delete_layer("em"), ben), ADA)
        assert everything_below(target) == before
    assert act(lambda: convert(source, target, name="other", overwrite_existing=True), ADA.with_umask(0o002)).code == 0


@needs_root
def test_a_layer_that_cannot_be_deleted_stays_in_the_properties(source: Path, place: Path) -> None:
    target = place / "ds"
    assert act(lambda: convert(source, target), ADA.with_umask(0o002)).code == 0
    close_directory(target / "em/1/c/0/0")
    before = everything_below(target)
    for action in (lambda: Dataset.open(target).delete_layer("em"), lambda: Dataset.open(target).get_layer("em").delete_mag(1)):
        check_refusal(act(action, BEN.with_umask(0o002)), ADA)
        assert everything_below(target) == before


@needs_root
def test_old_mags_that_could_not_be_put_away_are_not_replaced(source: Path, place: Path) -> None:
    target = place / "ds"
    assert act(lambda: convert(source, target), ADA.with_umask(0o002)).code == 0
    close_directory(target / "em/2-2-2/c/0" if (target / "em/2-2-2").exists() else target / "em/2/c/0")
    before = everything_below(target)
    check_refusal(act(lambda: work(target=target, interpolation_mode="max", overwrite_existing=True), BEN.with_umask(0o002)), ADA)
    assert everything_below(target) == before


@needs_root
def test_a_mount_point_in_the_target_is_found_before_anything_is_deleted(source: Path, place: Path) -> None:
    target = place / "ds"
    convert(source, target)
    with mounted("--bind", "-o", "ro", target / "em/1/c", target / "em/1/c"):
        before = everything_below(target)
        with pytest.raises(NotWritable, match="mount point"):
            convert(source, target, name="other", overwrite_existing=True)
        assert everything_below(target) == before


@needs_root
def test_an_immutable_directory_is_found_before_anything_is_deleted(source: Path, place: Path) -> None:
    target = place / "ds"
    convert(source, target)
    locked = target / "em/1/c/0"
    if subprocess.run(["chattr", "+i", locked], capture_output=True, check=False).returncode != 0:
        pytest.skip("chattr +i is not possible here")
    try:
        before = everything_below(target)
        with pytest.raises(NotWritable, match=str(locked)):
            convert(source, target, name="other", overwrite_existing=True)
        assert everything_below(target) == before
    finally:
        subprocess.run(["chattr", "-i", locked], check=True)


def test_what_is_removed_is_looked_at_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("/")
    for name in ("a", "link", "missing", "missing/too"):
        check_removable(tmp_path / name, "fix")


# -- read-only media -------------------------------------------------------------------------------------------------


@needs_root
def test_read_only_media(source: Path, place: Path) -> None:
    """Reading works; commands that must write give one line; no advice to delete."""
    done, begun = place / "done", place / "begun"
    convert(source, done)
    assert act(lambda: half(source, begun)).code == 0
    with mounted("--bind", "-o", "ro", place, place):
        for action in (same_command(source, done), lambda: cli("info", done), lambda: cli("verify", done), lambda: cli("info", begun)):
            outcome = act(action)
            assert outcome.code == 0, outcome
        for action in (
            same_command(source, begun),
            same_command(source, begun, "--state-dir", source.parent / "state"),
            lambda: cli("downsample", done, "--coarsest-mag", "64"),
            lambda: cli("verify", done, "--adopt"),
            lambda: Dataset.open(done).delete_layer("em"),
        ):
            check_refusal(act(action), None)
        other = act(same_command(source, done, "--name", "other"))
        assert other.code == 3
        assert "overwrite" not in other.said
        assert "read-only" in other.said
        assert act(same_command(source, begun, "--dry-run")).code == 0
        assert not (source.parent / "state").exists()
    convert(source, begun)


# -- where the state is ----------------------------------------------------------------------------------------------


def test_the_home_is_never_used_silently(source: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state that an earlier version kept there is named, with the option that uses it."""
    target, home = place / "ds", place / "home"
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    key = state_key(target.resolve())
    convert(source, target, state_dir=home / "wkpipe")
    earlier_layout(target, home / "wkpipe" / key)
    outcome = act(same_command(source, target))
    assert outcome.code == 3
    assert f"--state-dir {home / 'wkpipe'}" in outcome.said
    assert "overwrite" not in outcome.said
    outcome = act(lambda: work(target=target))
    assert f"--state-dir {home / 'wkpipe'}" in outcome.said
    assert act(same_command(source, target, "--state-dir", home / "wkpipe")).code == 0
    act(lambda: work(target=target, coarsest_mag="64"))
    assert "--state-dir" not in act(lambda: work(target=target, coarsest_mag="64")).said, "it has a state of its own now"


def test_the_very_same_conversion_with_another_state(source: Path, place: Path) -> None:
    """Without --state-dir, or with another one, the command says where the state is."""
    target, one, two = place / "ds", place / "one", place / "two"
    convert(source, target, state_dir=one)
    for more in ([], ["--state-dir", two]):
        outcome = act(same_command(source, target, *more))
        assert outcome.code == 3
        assert f"--state-dir {one}" in outcome.said
        assert "overwrite" not in outcome.said
    inside = place / "inside"
    convert(source, inside)
    outcome = act(same_command(source, inside, "--state-dir", two))
    assert outcome.code == 3
    assert str(inside / ".wkpipe") in outcome.said
    assert "overwrite" not in outcome.said


def test_the_target_of_a_conversion_with_a_state_elsewhere_is_emptied_but_for_the_lease(source: Path, place: Path) -> None:
    target, state = place / "ds", place / "state"
    convert(source, target, state_dir=state)
    work(target=target, state_dir=state)
    convert(source, target, state_dir=state, name="other", overwrite_existing=True)
    assert json.loads((target / "datasource-properties.json").read_bytes())["id"]["name"] == "other"
    assert newest_epoch(Locations.of(target, state)) == 2, "the number goes on"
    assert {path.name for path in (target / ".wkpipe").iterdir()} == {"dataset.json", "locks", "tmp"}


def earlier_layout(target: Path, state: Path) -> None:
    """Move things to where earlier versions kept them if the state was elsewhere on the same file system."""
    inside = target / ".wkpipe"
    for entry in list(inside.rglob("*")):
        if entry.is_file() and entry.name != "state":
            place = state / entry.relative_to(inside)
            place.parent.mkdir(parents=True, exist_ok=True)
            entry.rename(place)
    shutil.rmtree(inside)


def test_a_state_elsewhere_of_an_earlier_version_is_gone_on_with(source: Path, place: Path, whole: dict[str, str]) -> None:
    target, state = place / "ds", place / "state"
    assert act(lambda: half(source, target, state_dir=state)).code == 0
    own = state / state_key(target.resolve())
    earlier_layout(target, own)
    (own / "locks" / EPOCH_NAME).write_text("41")
    assert not (target / "datasource-properties.json").exists()
    made = {path: path.stat().st_ino for path in target.rglob("c/*/*/*/*")}
    convert(source, target, state_dir=state)
    assert data_files(target) == whole
    assert {path: path.stat().st_ino for path in made} == made, "proven units are not made again"
    assert newest_epoch(Locations.of(target, state)) == 42


@needs_root
def test_a_state_on_another_mount_of_the_same_file_system(source: Path, place: Path, whole: dict[str, str]) -> None:
    """Neither rename nor link works from one mount to another, although the device is the same."""
    target, other = place / "ds", place / "other"
    other.mkdir()
    with mounted("--bind", place, other):
        convert(source, target, state_dir=other / "state")
        assert data_files(target) == whole
        work(target=target, interpolation_mode="max", overwrite_existing=True, state_dir=other / "state")
        assert verify_dataset(target, state_dir=other / "state").problems == ()


def test_a_state_on_another_file_system(source: Path, place: Path, whole: dict[str, str]) -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == place.stat().st_dev:
        pytest.skip(f"{shm} is on the same file system as {place}")
    with tempfile.TemporaryDirectory(dir=shm) as state:
        convert(source, place / "ds", state_dir=state)
        work(target=place / "ds", interpolation_mode="max", overwrite_existing=True, state_dir=state)
        assert verify_dataset(place / "ds", state_dir=Path(state)).problems == ()


def test_a_swap_that_an_earlier_version_began_is_ended(source: Path, place: Path) -> None:
    """Its new arrays are beside the state, not in the dataset."""
    target, expected, state = place / "ds", place / "expected", place / "state"
    convert(source, target, state_dir=state)
    convert(source, expected, state_dir=state)
    again = {"interpolation_mode": "max", "overwrite_existing": True, "state_dir": state}
    work(target=expected, **again)

    def die(*_: object) -> None:
        os._exit(0)

    def until_swap() -> None:
        swap._rename = die  # type: ignore[assignment]
        work(target=target, **again)

    assert act(until_swap).code == 0
    own = state / state_key(target.resolve())
    assert list(own.glob("remade/em/swap.json"))
    earlier_layout(target, own)
    assert list(own.glob("remade/em/arrays/*/zarr.json"))
    work(target=target, **again)
    assert data_files(target) == data_files(expected)
    assert verify_dataset(target, state_dir=state).problems == ()
    assert not (own / "remade").exists()


def test_a_live_run_of_an_earlier_version_holds_the_dataset(source: Path, place: Path) -> None:
    target, state = place / "ds", place / "state"
    locations = Locations.of(target, state)
    with RunLease(locations.earlier_locks), pytest.raises(TryAgain, match="is being worked on"):
        convert(source, target, state_dir=state)


def test_new_records_are_never_older_than_those_of_a_state_elsewhere(source: Path, place: Path) -> None:
    """The dataset was restored from a copy without .wkpipe; the numbers of its records continue."""
    target, state = place / "ds", place / "state"
    for _ in range(3):
        convert(source, target, state_dir=state)
        next(target.glob("em/1/c/*/*/*/*")).unlink()
    convert(source, target, state_dir=state)
    known = newest_epoch(Locations.of(target, state))
    assert known >= 4
    shutil.rmtree(target / ".wkpipe")
    next(target.glob("em/1/c/*/*/*/*")).unlink()
    convert(source, target, state_dir=state)
    assert newest_epoch(Locations.of(target, state)) == known + 1
    assert make_plan(config(source, target, state_dir=state), Sizing.local(1)).is_empty


def test_jobs_on_a_cluster_are_named_by_the_dataset_wherever_the_state_is(source: Path, place: Path) -> None:
    target = place / "ds"
    run = Run(make_plan(config(source, target, state_dir=place / "state"), Sizing.local(1)))
    with run.begun():
        assert place_of(run.directory, run.seal) == target.resolve() / ".wkpipe"


# -- planning while another run works --------------------------------------------------------------------------------


def config(source: Path, target: Path, **more: object):  # type: ignore[no-untyped-def]
    return load_config({"source": str(source), "target": str(target), **VALUES, **{k: str(v) for k, v in more.items()}}, "test")


def in_work(target: Path) -> None:
    """Leave the beginning of a run: mags without properties."""
    (target / "em" / "2").mkdir(parents=True)
    (target / "em" / "2" / "begun").touch()


def test_a_refusal_counts_only_if_nobody_works(source: Path, place: Path) -> None:
    target, done = place / "ds", place / "done"
    in_work(target)
    convert(source, done, downsample=False)
    in_work(done)
    refused = [
        lambda: convert(source, target),
        lambda: convert(source, target, state_dir=place / "state"),
        lambda: work(target=done, state_dir=place / "state"),
        lambda: work(target=done),
        lambda: Dataset.from_images(source, target, (1, 1, 1)),
        lambda: Dataset(target, (1, 1, 1)),
        lambda: Dataset.open(done).downsample(),
    ]
    with DatasetLease(Locations.of(target)), DatasetLease(Locations.of(done)):
        for action in refused:
            with pytest.raises(TryAgain, match="is being worked on"):
                action()
        assert act(lambda: cli("verify", place / "ds", "--adopt")).code == 75
        assert act(lambda: cli("verify", done, "--repair")).code in (0, 75)
    for action in refused:
        with pytest.raises(InputRefused):
            action()


@pytest.mark.parametrize("began_before", [False, True])
def test_a_run_that_worked_while_another_planned(began_before: bool, source: Path, place: Path) -> None:
    """The other run ends before the plan is made or refused: then neither counts."""
    target = place / "ds"
    lease = DatasetLease(Locations.of(target))
    enough = 1 << 40

    def free(_: Path) -> int:
        if not began_before and not lease.epoch.number:
            lease.__enter__()
        if lease._holder is not None:
            lease.__exit__()
        return enough

    for enough in (1, 1 << 40):
        lease = DatasetLease(Locations.of(target))
        if began_before:
            lease.__enter__()
        if enough == 1:
            with pytest.raises(TryAgain, match="has worked on"):
                make_plan(config(source, target), Sizing.local(1), free)
            with pytest.raises(InputRefused):
                make_plan(config(source, target), Sizing.local(1), lambda _: 1)
        else:
            plan = make_plan(config(source, target), Sizing.local(1), free)
            with pytest.raises(TryAgain, match="has worked on"):
                run_here(plan)
    assert not list(target.rglob("zarr.json"))
    run_here(make_plan(config(source, target), Sizing.local(1), free_bytes))


def test_a_repair_is_not_begun_if_another_run_has_worked_since_the_report(source: Path, place: Path) -> None:
    target = place / "ds"
    convert(source, target)
    shard = next(target.glob("em/1/c/*/*/*/*"))
    content = shard.read_bytes()
    shard.write_bytes(b"x" + content[1:])
    lookout, report = Lookout.begin(Locations.of(target)), verify_dataset(target)
    assert report.problems
    with DatasetLease(Locations.of(target)):
        pass
    with pytest.raises(TryAgain, match="has worked on"):
        repair_dataset(target, report, Selection(), state_dir=None, sizing=Sizing.local(1), run=run_here, lookout=lookout)
    assert shard.read_bytes() != content
    repair_dataset(target, report, Selection(), state_dir=None, sizing=Sizing.local(1), run=run_here)
    assert shard.read_bytes() == content


def test_a_lease_that_is_broken_does_not_hold_back_a_refusal(source: Path, place: Path) -> None:
    target = place / "ds"
    in_work(target)
    locks = target / ".wkpipe" / "locks"
    with DatasetLease(Locations.of(target)) as lease:
        values = json.loads(lease.path.read_bytes()) | {"host": "elsewhere", "machine_id": "other"}
        lease.path.write_text(json.dumps(values))
    assert (locks / "run.lease").exists() or (locks / "run.lease").write_text(json.dumps(values))
    with pytest.raises(TryAgain, match="--break-lock"):
        make_plan(config(source, target), Sizing.local(1))
    with pytest.raises(AlreadyExists):
        make_plan(config(source, target), Sizing.local(1), break_lock=True)


@needs_root
def test_a_lease_that_cannot_be_read_holds(source: Path, place: Path) -> None:
    """A's umask hides the holder of the lease; B's library must not take that for a free dataset."""
    target = place / "ds"
    assert act(lambda: convert(source, target), ADA.with_umask(0o002)).code == 0
    locks = target / ".wkpipe" / "locks"
    (locks / "run.lease").write_text("{}")
    os.chown(locks / "run.lease", ADA.uid, LAB)
    (locks / "run.lease").chmod(0o600)
    ben = BEN.with_umask(0o002)
    for action in (
        lambda: Dataset.open(target).get_layer("em").delete_mag(2),
        lambda: work(target=target, coarsest_mag="64"),
        lambda: cli("verify", target, "--adopt"),
    ):
        outcome = act(action, ben)
        assert outcome.code == 75, outcome
        assert ADA.name in outcome.said
    assert act(lambda: cli("info", target), ben).code == 0
    assert Mag(2) in Dataset.open(target).get_layer("em").mags


@needs_root
def test_who_may_not_write_is_told_so_even_while_another_works(source: Path, place: Path) -> None:
    target = place / "ds"
    assert act(lambda: half(source, target), ADA).code == 0
    check_refusal(act(same_command(source, target), EVE), ADA)


def test_the_name_of_a_state_is_known_for_every_path() -> None:
    """For paths in UTF-8 it must never change, or the state of a dataset would be lost."""
    assert state_key(Path("/data/brain")) == "brain-588abed7adef613d"
    assert state_key(Path("/data/\udcff")).startswith("\udcff-")
