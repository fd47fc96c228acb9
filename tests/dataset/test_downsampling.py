"""The downsampling members of layers: the mags asked for, with the bytes of the command line, whoever does the tasks."""

from __future__ import annotations

import os
import shutil
import signal
import warnings
from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.content import content_of
from wkpipe import BoundingBox, Dataset, Layer, Mag
from wkpipe.dataset.errors import MagExists
from wkpipe.errors import InputRefused, LadderRefused, MissingShard, ProcessKilled, WkpipeError
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.runs import submitted
from wkpipe.runs.run import run_here
from wkpipe.verify.dataset import verify_dataset

BOX = BoundingBox((3, 2, 1), (45, 30, 18))
SMALL: dict[str, Any] = {"chunk_shape": 8, "shard_shape": 16}
pytestmark = pytest.mark.filterwarnings("ignore:chunk shape")


@pytest.fixture
def layer(tmp_path: Path) -> Layer:
    return with_voxels(tmp_path / "d")


def with_voxels(path: Path) -> Layer:
    """Make a dataset whose voxels are 4, 4, 10, with one mag of noise."""
    layer = Dataset(path, (4, 4, 10), name="same").add_layer("em", "color", bounding_box=BOX)
    layer.add_mag(1, **SMALL).write(np.random.default_rng(0).integers(1, 255, tuple(BOX.size), dtype="uint8"))
    return layer


def by_command(path: Path, **values: Any) -> Layer:
    """Downsample the same voxels as the command line does."""
    layer = with_voxels(path)
    run_here(make_plan(load_config({"target": path, **SMALL, **values}, "test"), Sizing.local(1)))
    return layer


def files_of(layer: Layer) -> dict[str, bytes]:
    """Return the files of all mags."""
    return {path.relative_to(layer.path).as_posix(): content_of(path) for path in sorted(layer.path.rglob("?*/*")) if path.is_file()}


def mags_of(layer: Layer) -> list[str]:
    return sorted(map(str, layer.mags))


def is_valid(layer: Layer) -> bool:
    return not verify_dataset(layer.dataset.path).problems


# -- named mags -----------------------------------------------------------------------------------------------------


def test_named_mags_have_the_bytes_of_the_command_line(layer: Layer, tmp_path: Path) -> None:
    expected = files_of(by_command(tmp_path / "command", coarsest_mag="8-8-4"))
    listed = with_voxels(tmp_path / "listed")
    listed.downsample_mag_list(1, ["8-8-4", Mag("2-2-1"), (4, 4, 2)], **SMALL)
    layer.downsample_mag(1, "2-2-1", **SMALL)
    layer.downsample_mag(Mag("2-2-1"), [4, 4, 2], buffer_shape=(64, 64, 64), **SMALL)
    layer.downsample_mag("4-4-2", "8-8-4", **SMALL)
    assert files_of(layer) == files_of(listed) == expected
    assert is_valid(layer)


def test_a_step_may_have_any_factors(layer: Layer) -> None:
    layer.downsample_mag(1, "1-4-2", "max", compress=False, **SMALL)
    voxels = layer.get_mag(1).read()[0]
    found = layer.get_mag("1-4-2").read()[0]
    assert not layer.get_mag("1-4-2").info.compression_mode
    inner = voxels[:, 2 : 2 + 4 * 7, 1 : 1 + 2 * 8]  # the box begins at 3, 2, 1
    np.testing.assert_array_equal(found[:, 1:8, 1:9], inner.reshape(45, 7, 4, 8, 2).max(axis=(2, 4)))


def test_the_mag_to_start_from_is_brought_up_to_date_first(layer: Layer, tmp_path: Path) -> None:
    layer.downsample_mag(1, "2-2-1", **SMALL)
    layer.get_mag(1).write(np.full((1, 9, 9, 9), 7, np.uint8), absolute_offset=(3, 2, 1), allow_unaligned=True)
    layer.downsample_mag("2-2-1", "4-4-2", "max", **SMALL)  # the mode of the other mag is its own
    fresh = with_voxels(tmp_path / "fresh")
    fresh.get_mag(1).write(np.full((1, 9, 9, 9), 7, np.uint8), absolute_offset=(3, 2, 1), allow_unaligned=True)
    fresh.downsample_mag(1, "2-2-1", **SMALL)
    fresh.downsample_mag("2-2-1", "4-4-2", "max", **SMALL)
    assert files_of(layer) == files_of(fresh)


def test_a_mag_is_made_again_only_if_that_is_allowed(layer: Layer, tmp_path: Path) -> None:
    layer.downsample_mag_list(1, [2, 4, 8], **SMALL)
    before = files_of(layer)
    for call in (lambda: layer.downsample_mag(1, 2), lambda: layer.downsample_mag_list(1, [2, 16])):
        with pytest.raises(MagExists, match="already has mag 2; pass allow_overwrite=True"):
            call()
    assert files_of(layer) == before
    layer.downsample_mag(1, 4, "max", allow_overwrite=True, **SMALL)
    once = with_voxels(tmp_path / "once")
    once.downsample_mag(1, 4, "max", **SMALL)
    found = files_of(layer)
    for name, data in files_of(once).items():
        assert found[name] == data, name
    for name in (name for name in before if not name.startswith("4/")):
        assert found[name] == before[name], f"{name} stays as it is"
    assert mags_of(layer) == ["1", "2", "4", "8"]
    layer.redownsample(**SMALL)
    assert files_of(layer) == before
    assert is_valid(layer)


def test_redownsample_replaces_what_others_have_made(layer: Layer, tmp_path: Path) -> None:
    for mag in ("2-2-1", "4-4-2"):
        view = layer.add_mag(mag, chunk_shape=16, shard_shape=32)
        view.write(np.full(tuple(view.bounding_box.in_mag(Mag(mag)).size), 9, np.uint8))
    layer.redownsample(**SMALL)
    assert files_of(layer) == files_of(by_command(tmp_path / "command", coarsest_mag="4-4-2"))
    assert is_valid(layer)
    alone = with_voxels(tmp_path / "alone")
    alone.redownsample()
    assert mags_of(alone) == ["1"]


# -- ladders --------------------------------------------------------------------------------------------------------


def test_a_ladder_starts_at_the_mag_that_is_named(layer: Layer, tmp_path: Path) -> None:
    """Of the layer's own mags, those that were made from it stay; what is missing is made."""
    layer.downsample_mag(1, "4-4-2", **SMALL)
    layer.downsample(from_mag=1, coarsest_mag="8-8-4", **SMALL)
    assert mags_of(layer) == ["1", "2-2-1", "4-4-2", "8-8-4"]
    expected = with_voxels(tmp_path / "expected")
    expected.downsample_mag(1, "2-2-1", **SMALL)
    expected.downsample_mag_list(1, ["4-4-2"], **SMALL)
    expected.downsample_mag("4-4-2", "8-8-4", **SMALL)
    assert files_of(layer) == files_of(expected)
    with pytest.raises(
        InputRefused, match="cannot downsample from mag 2-2-1, because the coarser mag 4-4-2 exists and was not made from it"
    ):
        layer.downsample(from_mag="2-2-1", coarsest_mag="8-8-4", **SMALL)
    layer.downsample(from_mag="2-2-1", coarsest_mag="8-8-4", allow_overwrite=True, **SMALL)
    assert files_of(layer) == files_of(by_command(tmp_path / "command", coarsest_mag="8-8-4"))
    assert is_valid(layer)


def test_a_ladder_is_aligned_with_other_layers_or_datasets(layer: Layer, tmp_path: Path) -> None:
    layer.dataset.add_layer("cells", "segmentation").add_mag(2)
    other = Dataset(tmp_path / "other", (1, 1, 1))
    other.add_layer("any", "color").add_mag("4-4-1")
    found = {}
    for name, alignment in (("own", True), ("none", False), ("another", other)):
        shutil.copytree(layer.dataset.path, tmp_path / name)
        copy = Dataset.open(tmp_path / name).get_layer("em")
        copy.downsample(coarsest_mag=4, align_with_other_layers=alignment, **SMALL)
        found[name] = mags_of(copy)
    assert found == {"own": ["1", "2", "4-4-2"], "none": ["1", "2-2-1", "4-4-2"], "another": ["1", "2-2-1", "4-4-1"]}


def test_two_mags_of_one_level_are_made_if_they_are_forced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    layer = Dataset(tmp_path / "d", (1, 1, 1)).add_layer("em", "color", bounding_box=BOX)
    layer.add_mag("4-1-1", **SMALL).write(np.ones((12, 30, 18), np.uint8))
    values = {"coarsest_mag": "4-16-1", "sampling_mode": "isotropic", **SMALL}
    with pytest.raises(LadderRefused, match="several mags with the same largest component"):
        layer.downsample(**values)
    assert mags_of(layer) == ["4-1-1"]
    layer.downsample(**values, force_sampling_scheme=True)
    assert "same largest component" in caplog.text
    assert mags_of(layer) == ["4-1-1", "4-16-1", "4-2-1", "4-4-1", "4-8-1"]


# -- empty mags -----------------------------------------------------------------------------------------------------


def _mag_by_mag(layer: Layer) -> None:
    for finer, mag in ((1, "2-2-1"), ("2-2-1", "4-4-2")):
        layer.downsample_mag(finer, mag, allow_overwrite=True, **SMALL)


FILLS: dict[str, Callable[[Layer], None]] = {
    "mag by mag": _mag_by_mag,
    "ladder": lambda layer: layer.downsample(coarsest_mag="4-4-2", allow_overwrite=True, **SMALL),
    "ladder from 1": lambda layer: layer.downsample(from_mag=1, coarsest_mag="4-4-2", allow_overwrite=True, **SMALL),
    "list": lambda layer: layer.downsample_mag_list(1, ["2-2-1", "4-4-2"], allow_overwrite=True, **SMALL),
    "all": lambda layer: layer.redownsample(**SMALL),
}


@pytest.mark.parametrize("how", FILLS)
def test_mags_that_were_only_set_up_are_filled_later(layer: Layer, tmp_path: Path, how: str) -> None:
    layer.downsample(coarsest_mag="4-4-2", only_setup_mags=True, **SMALL)
    assert mags_of(layer) == ["1", "2-2-1", "4-4-2"]
    assert not layer.get_mag("2-2-1").read().any()
    for problem in verify_dataset(layer.dataset.path).problems:  # never taken for wkpipe's own data
        assert "no storage shard at all" in str(problem)
        assert problem.mag != "1"
    assert not any((layer.dataset.path / ".wkpipe/ledger/em" / mag / "recipe.json").exists() for mag in ("2-2-1", "4-4-2"))
    FILLS[how](layer)
    expected = by_command(tmp_path / "command", coarsest_mag="4-4-2")
    assert files_of(layer) == files_of(expected)
    assert is_valid(layer)


def test_an_empty_mag_is_never_a_source(layer: Layer) -> None:
    layer.downsample(coarsest_mag="4-4-2", only_setup_mags=True, **SMALL)
    info = layer.get_mag("4-4-2").info
    for call in (
        lambda: layer.downsample(coarsest_mag="8-8-4"),
        lambda: layer.downsample(from_mag=1, coarsest_mag="8-8-4"),
        lambda: layer.downsample_mag("4-4-2", "8-8-4"),
    ):
        with pytest.raises(InputRefused, match=r"allow_overwrite"):
            call()
    layer.downsample_mag(1, "4-4-2", only_setup_mag=True, allow_overwrite=True)  # it exists
    layer.downsample_mag_list("2-2-1", ["8-8-4"], only_setup_mags=True)
    assert mags_of(layer) == ["1", "2-2-1", "4-4-2", "8-8-4"]
    assert layer.get_mag("4-4-2").info == info


# -- executors ------------------------------------------------------------------------------------------------------

EXECUTORS: dict[str, Callable[[], Executor]] = {
    "threads": lambda: ThreadPoolExecutor(3),
    "processes": lambda: ProcessPoolExecutor(2),
}


@pytest.mark.parametrize("kind", EXECUTORS)
def test_an_executor_makes_the_same_bytes(layer: Layer, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sizing, "local", lambda _: Sizing(cores=3, least_seconds=0, target_seconds=0.02))
    with EXECUTORS[kind]() as executor:
        layer.downsample(coarsest_mag="8-8-4", executor=executor, **SMALL)
        assert files_of(layer) == files_of(by_command(tmp_path / "command", coarsest_mag="8-8-4"))
        layer.redownsample(executor=executor, **SMALL)
        shard = layer.path / "1/c/0/1/1/0"
        stat, data = shard.stat(), bytearray(shard.read_bytes())
        data[:8] = bytes(8)
        shard.write_bytes(data)
        os.utime(shard, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # planning does not notice
        with pytest.raises(WkpipeError) as here:
            layer.downsample_mag(1, "1-2-16", **SMALL)
        with pytest.raises(WkpipeError) as there:
            layer.downsample_mag(1, "1-2-16", executor=executor, **SMALL)
        assert mags_of(layer) == ["1", "2-2-1", "4-4-2", "8-8-4"]
        assert (type(there.value), str(there.value)) == (type(here.value), str(here.value))


class Recorded:
    """An executor that does each call when its result is asked for, and records the order."""

    def __init__(self, fail_at: int = -1) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.cancelled = 0
        self._fail_at = fail_at

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        outer = self
        [task] = args[0].tasks

        class Call:
            is_cancelled = False

            def result(self) -> Any:
                if self.is_cancelled:
                    raise CancelledError
                outer.calls.append((task.name, *task.inputs))
                if len(outer.calls) - 1 == outer._fail_at:
                    raise MissingShard("gone")
                return function(*args)

            def cancel(self) -> None:
                self.is_cancelled = True
                outer.cancelled += 1

        return Call()


def test_tasks_are_submitted_when_what_they_need_is_done(layer: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sizing, "local", lambda _: Sizing(cores=3, least_seconds=0, target_seconds=0.02))
    executor = Recorded(fail_at=1)
    with pytest.raises(MissingShard, match="gone"):
        layer.downsample(coarsest_mag="4-4-2", executor=executor, **SMALL)
    assert len(executor.calls) == 2
    assert executor.cancelled > 0
    assert mags_of(layer) == ["1"]
    again = Recorded()
    layer.dataset.downsample(coarsest_mag="4-4-2", executor=again)
    done: set[str] = set()
    for name, *inputs in again.calls:
        assert done.issuperset(inputs)
        done.add(name)
    assert mags_of(layer) == ["1", "2-2-1", "4-4-2"]
    assert is_valid(layer)


def _killed(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_is_named(layer: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, ProcessPoolExecutor(1) as executor:
        patch.setattr(submitted, "_task_done", _killed)
        with pytest.raises(ProcessKilled, match="a process of the executor was killed"):
            layer.downsample(coarsest_mag=2, executor=executor)
    assert mags_of(layer) == ["1"]
    layer.downsample(coarsest_mag=2, **SMALL)
    assert is_valid(layer)


# -- old calls ------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_calls_of_the_documents(tmp_path: Path) -> None:
    """By position and with names that have no effect, in the orders of documents 004 and 003."""
    found = []
    for number, call in enumerate(
        (
            lambda em: em.downsample(None, Mag("4-4-2"), "default", True, "anisotropic", False, None, False, None, False, False, None),
            lambda em: em.downsample(None, Mag("4-4-2"), "default", True, "auto", 256, Namespace(jobs=2)),
            lambda em: em.downsample_mag_list(Mag(1), [Mag("2-2-1"), Mag("4-4-2")], "default", True, None, None, False, False, None),
            lambda em: (
                [em.downsample_mag(1, mag, "default", True, 256, Namespace(jobs=2)) for mag in ("2-2-1",)]
                and em.downsample_mag("2-2-1", "4-4-2", args=None, buffer_edge_len=64)
            ),
            lambda em: em.downsample(coarsest_mag="4-4-2") or em.redownsample("default", True, None, Namespace(jobs=2), None),
        )
    ):
        layer = with_voxels(tmp_path / str(number))
        call(layer)
        found.append(files_of(layer))
    assert all(each == found[0] for each in found)
    assert mags_of(layer) == ["1", "2-2-1", "4-4-2"]


@pytest.mark.parametrize("mode", ["isotropic", "anisotropic", "constant_z"])
def test_a_flat_layer_keeps_its_depth_and_only_the_isotropic_mode_warns(tmp_path: Path, mode: str) -> None:
    layer = Dataset(tmp_path / "d", (4, 4, 4)).add_layer("em", "color", bounding_box=BoundingBox((0, 0, 0), (64, 32, 1)))
    layer.add_mag(1, **SMALL).write(np.full((64, 32, 1), 7, np.uint8))
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        layer.downsample(coarsest_mag=4, sampling_mode=mode, chunk_shape=32, shard_shape=32)
    assert ["4-4-1" in layer.mags, int(layer.get_mag("4-4-1").read().min())] == [True, 7]
    texts = [str(warning.message) for warning in shown]
    assert [text for text in texts if "one voxel deep" in text] == texts
    assert len(texts) == (mode == "isotropic")
