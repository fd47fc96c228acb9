"""Chunks of views: grids, executors, comparison and merging."""

from __future__ import annotations

import functools
import os
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wkpipe import BoundingBox, Dataset, MagView, NDBoundingBox, View
from wkpipe.dataset.errors import WrongShape, WrongType
from wkpipe.dataset.executors import cores_here, run_each
from wkpipe.errors import InputRefused, NotWritable

pytestmark = [pytest.mark.filterwarnings("ignore:chunk shape"), pytest.mark.filterwarnings("ignore:layer .*WEBKNOSSOS")]
FORMATS = [("zarr3", 8, 16), ("zarr3", 8, 8), ("zarr", 8, 8), ("wkw", 8, 16)]


def _mag(
    root: Path, name: str = "em", box: NDBoundingBox | None = None, layout: tuple[str, int, int] = FORMATS[0], mag: str = "1", **values: Any
) -> MagView:
    box = BoundingBox((3, 2, 1), (45, 30, 18)) if box is None else box
    dataset = Dataset(root, (4, 4, 10), exist_ok=True)
    layer = dataset.add_layer(name, values.pop("category", "color"), data_format=layout[0], bounding_box=box, **values)
    return layer.add_mag(mag, chunk_shape=layout[1], shard_shape=layout[2])


def _number(args: tuple[View, int]) -> None:
    view, number = args
    view.write(np.full(view.read().shape, number + 1, np.uint8))


def _add(args: tuple[View, View, int], value: int) -> None:
    source, target, _ = args
    target.write(source.read() + np.uint8(value))


class Cluster:
    """An executor as cluster_tools has them: `submit` with its own options, futures that run elsewhere, no shared memory."""

    def __init__(self) -> None:
        self.pool = ProcessPoolExecutor(2)
        self.calls = 0

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        kwargs.pop("__cfut_options", None)
        self.calls += 1
        return self.pool.submit(function, *args, **kwargs)


# -- grids ----------------------------------------------------------------------------------------------------------


@st.composite
def _grids(draw: st.DrawFn) -> dict[str, Any]:
    layout = draw(st.sampled_from([*FORMATS, ("zarr3", 4, 16)]))
    others = draw(st.sampled_from([(), ("t",), ("t", "c")])) if layout[0] != "wkw" else draw(st.sampled_from([(), ("c",)]))
    axes = (*others, "x", "y", "z")
    sizes = [draw(st.integers(1, 60 if axis in "xyz" else 2)) for axis in axes]
    starts = [0 if axis == "c" else draw(st.integers(0, 40 if axis in "xyz" else 2)) for axis in axes]
    return {
        "layout": layout,
        "box": NDBoundingBox(starts, sizes, axes),
        "mag": draw(st.sampled_from(["1", "2-2-1", "2"])),
        "times": draw(st.tuples(*[st.integers(1, 2)] * 3)),
        "default": draw(st.booleans()),
    }


@settings(max_examples=30)
@given(_grids())
def test_chunks_are_whole_storage_shards_and_cover_the_view_once(temporary: Path, case: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory(dir=temporary) as root:
        mag = _mag(Path(root, "ds"), box=case["box"], layout=case["layout"], mag=case["mag"])
        edge = np.array(mag.info.shard_shape) * mag.mag.to_np()
        shape = None if case["default"] else tuple(int(n) for n in edge * case["times"])
        boxes = mag.map_chunk(lambda view: view.bounding_box, chunk_shape=shape)
        whole = mag.bounding_box
        seen = np.zeros(mag.read().shape, int)
        axes = mag.info.axes
        for box in boxes:
            for axis in box.axes:
                bounds = zip(box.bounds(axis), whole.bounds(axis), strict=True)
                assert axis not in "xyz" or all(at == limit or at % edge["xyz".index(axis)] == 0 for at, limit in bounds)
            factors = dict(zip("xyz", mag.mag, strict=True))
            place = []
            for axis in axes:
                if axis in box.axes:
                    first, end = (v - whole.bounds(axis)[0] for v in box.bounds(axis))
                    place.append(slice(first // factors.get(axis, 1), end // factors.get(axis, 1)))
                else:
                    place.append(slice(None))
            seen[tuple(place)] += 1
        assert (seen == 1).all()
        assert boxes == sorted(boxes, key=lambda box: tuple(box.topleft))
        if not case["default"]:
            chunks = [view.bounding_box for view in mag.chunk(shape, chunk_border_alignments=shape)]
            assert chunks == boxes
        mag.for_each_chunk(_number, chunk_shape=shape)
        read = [np.unique(view.read()).tolist() for view in (mag.get_view(absolute_bounding_box=box) for box in boxes)]
        assert read == [[number + 1] for number in range(len(boxes))]


def test_a_chunk_per_axis(tmp_path: Path) -> None:
    mag = _mag(tmp_path / "ds", box=NDBoundingBox((1, 0, 0, 0), (5, 16, 16, 16), ("t", "x", "y", "z")))
    assert [view.bounding_box.bounds("t") for view in mag.chunk((2, 16, 16, 16))] == [(1, 3), (3, 5), (5, 6)]
    assert len(list(mag.chunk((16, 16, 16)))) == 5
    assert all(view.read_only for view in mag.chunk((16, 16, 16), read_only=True))


def test_chunks_are_cut_from_a_multiple_of_the_alignment(tmp_path: Path) -> None:
    mag = _mag(tmp_path / "ds", box=BoundingBox((48, 0, 0), (100, 8, 8)))
    cuts = {alignment: [view.bounding_box.bounds("x") for view in mag.chunk((64, 8, 8), chunk_border_alignments=alignment)]
            for alignment in (None, (32, 8, 8), (64, 8, 8))}  # fmt: skip
    assert cuts == {
        None: [(48, 112), (112, 148)],
        (32, 8, 8): [(48, 96), (96, 148)],
        (64, 8, 8): [(48, 64), (64, 128), (128, 148)],
    }


@pytest.mark.parametrize("shape", [(0, 16, 16), (16, 16), (24, 16, 16), (16, 16, 8), "abc", (16.5, 16, 16), None])
def test_wrong_chunk_shapes_are_refused(tmp_path: Path, shape: Any) -> None:
    mag = _mag(tmp_path / "ds")
    calls: list[Callable[[], object]] = [
        lambda: mag.for_zipped_chunks(print, mag, source_chunk_shape=(16, 16, 16), target_chunk_shape=shape)
    ]
    if shape is not None:
        calls += [lambda: mag.for_each_chunk(print, chunk_shape=shape), lambda: mag.map_chunk(print, chunk_shape=shape)]
    for call in calls:
        with pytest.raises(WrongShape) as caught:
            call()
        assert isinstance(caught.value, AssertionError)
        assert isinstance(caught.value, ValueError)


def test_wrong_chunks_are_refused(tmp_path: Path) -> None:
    mag = _mag(tmp_path / "ds", mag="2")
    with pytest.raises(WrongShape, match="not a multiple of mag 2"):
        mag.chunk((3, 4, 4))
    with pytest.raises(WrongShape, match="alignment"):
        mag.chunk((4, 4, 4), chunk_border_alignments=(3, 4, 4))
    read_only = Dataset.open(tmp_path / "ds", read_only=True).get_layer("em").get_mag(2)
    with pytest.raises(NotWritable):
        read_only.chunk((4, 4, 4), read_only=False)
    with pytest.raises(NotWritable):
        read_only.for_each_chunk(_number)
    with pytest.raises(WrongType, match="submit"):
        mag.for_each_chunk(_number, executor=3)  # type: ignore[arg-type]


# -- two views ------------------------------------------------------------------------------------------------------


def test_zipped_chunks_of_other_places_and_mags(tmp_path: Path) -> None:
    source = _mag(tmp_path / "ds", box=BoundingBox((0, 0, 0), (40, 32, 16)))
    source.write(np.random.default_rng(0).integers(0, 99, (40, 32, 16), dtype=np.uint8))
    moved = _mag(tmp_path / "ds", "moved", BoundingBox((5, 3, 1), (40, 32, 16)), ("wkw", 8, 16))
    source.for_zipped_chunks(functools.partial(_add, value=7), moved)
    assert (moved.read() == source.read() + 7).all()
    half = _mag(tmp_path / "ds", "half", BoundingBox((0, 0, 0), (20, 16, 8)))
    sizes = []
    source.for_zipped_chunks(
        lambda args: sizes.append((args[0].bounding_box.size, args[1].bounding_box.size)),
        half,
        source_chunk_shape=(32, 32, 32),
        target_chunk_shape=(16, 16, 16),
    )
    assert sorted(sizes) == [((8, 32, 16), (4, 16, 8)), ((32, 32, 16), (16, 16, 8))]
    coarse = _mag(tmp_path / "ds", "coarse", BoundingBox((0, 0, 0), (40, 32, 16)), mag="2")
    source.for_zipped_chunks(lambda args: args[1].write(args[0].read()[:, ::2, ::2, ::2]), coarse)
    assert (coarse.read() == source.read()[:, ::2, ::2, ::2]).all()


def test_views_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    source = _mag(tmp_path / "ds", box=BoundingBox((0, 0, 0), (40, 32, 16)))
    other = _mag(tmp_path / "ds", "other", BoundingBox((0, 0, 0), (40, 30, 16)))
    with pytest.raises(WrongShape, match="sizes 32 and 30 along y"):
        source.for_zipped_chunks(print, other)
    with pytest.raises(WrongShape, match="target_chunk_shape is missing"):
        source.for_zipped_chunks(print, source, source_chunk_shape=(16, 16, 16))
    movie = _mag(tmp_path / "ds", "movie", NDBoundingBox((0, 0, 0, 0), (2, 40, 32, 16), ("t", "x", "y", "z")))
    with pytest.raises(WrongShape, match="axes"):
        source.for_zipped_chunks(print, movie)


@pytest.mark.parametrize("layout", FORMATS)
def test_content_is_equal(tmp_path: Path, layout: tuple[str, int, int]) -> None:
    voxels = np.random.default_rng(1).integers(0, 99, (40, 30, 18), dtype=np.uint8)
    mag = _mag(tmp_path / "ds", box=BoundingBox((0, 0, 0), voxels.shape))
    other = _mag(tmp_path / "ds", "other", BoundingBox((10, 5, 3), voxels.shape), layout)
    for view in (mag, other):
        view.write(voxels)
    assert mag.content_is_equal(other)
    assert mag.content_is_equal(other, chunk_shape=(7, 9, 11))
    with ThreadPoolExecutor(2) as executor:
        assert other.content_is_equal(mag, executor=executor)
    assert not mag.content_is_equal(other.get_view(relative_offset=(0, 0, 0), size=(39, 30, 18)))
    other.write(voxels[:1, :1, :1] + 1, relative_offset=(0, 0, 0), allow_unaligned=True)
    assert not mag.content_is_equal(other)


@pytest.mark.parametrize("layout", FORMATS)
def test_merge_replaces_stored_chunks(tmp_path: Path, layout: tuple[str, int, int]) -> None:
    base = _mag(tmp_path / "ds", box=BoundingBox((0, 0, 0), (40, 32, 16)), category="segmentation")
    base.write(np.full((40, 32, 16), 5, np.uint8))
    other = _mag(tmp_path / "ds", "edits", BoundingBox((0, 0, 0), (56, 32, 16)), layout, category="segmentation")
    voxels = np.zeros((56, 32, 16), np.uint8)
    voxels[9, 1, 1] = voxels[50, 20, 9] = 7
    other.write(voxels)
    base.merge_with_view(other)
    expected = np.zeros((56, 32, 16), np.uint8)
    expected[:40] = 5
    expected[8:16, :8, :8] = 0
    expected[9, 1, 1] = expected[50, 20, 9] = 7
    assert base.layer.bounding_box == BoundingBox((0, 0, 0), (56, 32, 16))
    if layout[0] == "wkw":  # its files store every block
        assert (base.read()[0][expected == 7] == 7).all()
    else:
        assert (base.read()[0] == expected).all()


def test_merge_refuses_other_arrays(tmp_path: Path) -> None:
    base = _mag(tmp_path / "ds")
    with pytest.raises(WrongShape, match="mag 2"):
        base.merge_with_view(_mag(tmp_path / "ds", "coarse", mag="2"))
    with pytest.raises(WrongType, match="uint16"):
        base.merge_with_view(_mag(tmp_path / "ds", "deep", dtype="uint16"))
    with pytest.raises(WrongShape, match="channel"):
        base.merge_with_view(_mag(tmp_path / "ds", "rgb", num_channels=3))
    with pytest.raises(NotWritable):
        Dataset.open(tmp_path / "ds", read_only=True).get_layer("em").get_mag(1).merge_with_view(base)


# -- executors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("kind", ["threads", "processes", "cluster", "none"])
def test_executors_write_one_mag_together(tmp_path: Path, layout: tuple[str, int, int], kind: str) -> None:
    """Several processes write to one mag at once; every shard is recorded, so the next run accepts the mag as it is."""
    mag = _mag(tmp_path / "ds", layout=layout)
    cluster = Cluster()
    executor = {"threads": ThreadPoolExecutor(4), "processes": cluster.pool, "cluster": cluster, "none": None}[kind]
    mag.for_each_chunk(_number, chunk_shape=(16, 16, 16), executor=executor)
    pairs = mag.map_chunk(_facts, chunk_shape=(16, 16, 16), executor=executor)
    cluster.pool.shutdown()
    assert [values for values, _ in pairs] == [[number + 1] for number in range(len(pairs))]
    assert cluster.calls == (2 * len(pairs) if kind == "cluster" else 0)
    assert (os.getpid() in {pid for _, pid in pairs}) == (kind in ("threads", "none"))
    mag.layer.downsample(coarsest_mag=2)
    assert (mag.layer.get_mag("2-2-1").read() > 0).any()


def _facts(view: View) -> tuple[list[int], int]:
    return np.unique(view.read()).tolist(), os.getpid()


@pytest.mark.parametrize("executor", [None, ThreadPoolExecutor(1)])
def test_the_first_error_ends_the_work(executor: ThreadPoolExecutor | None) -> None:
    done: list[int] = []

    def work(number: int) -> None:
        if number == 3:
            raise KeyError("three")
        done.append(number)

    with pytest.raises(KeyError, match="three"):
        list(run_each(work, list(range(1000)), executor, None))
    if executor is not None:
        executor.shutdown()
    assert len(done) < 1000


def test_calls_that_are_cancelled_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """cluster_tools asks every call for its error when it is done; a cancelled one raises then, which Python would log."""

    class Curious:
        def __init__(self) -> None:
            self.pool = ThreadPoolExecutor(1)

        def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
            future = self.pool.submit(function, *args)
            future.add_done_callback(lambda done: str(done.exception()))
            return future

    def work(number: int) -> None:
        time.sleep(0.01)
        raise KeyError(f"call {number}")

    executor = Curious()
    with pytest.raises(KeyError, match="call 0"):
        list(run_each(work, list(range(100)), executor, None))
    executor.pool.shutdown()
    assert caplog.records == []


def test_threads_share_the_cores() -> None:
    whole, at = cores_here(), threading.Barrier(2) if cores_here() > 1 else None
    shares = list(run_each(lambda _: ((at is None or at.wait(20)) and 0) or cores_here(), [0, 1], None, None))
    assert shares == [max(1, whole // min(2, whole))] * 2
    assert cores_here() == whole


def test_progress_is_shown_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mag = _mag(tmp_path / "ds", box=BoundingBox((0, 0, 0), (32, 16, 16)))
    mag.for_each_chunk(_number, progress_desc="numbering")
    assert capsys.readouterr().err.splitlines()[-1] == "numbering: 2 of 2"
    mag.for_each_chunk(_number)
    assert capsys.readouterr().err == ""


def test_a_chunk_that_fails_leaves_the_others(tmp_path: Path) -> None:
    mag = _mag(tmp_path / "ds", box=BoundingBox((0, 0, 0), (32, 16, 16)))

    def work(args: tuple[View, int]) -> None:
        args[0].write(np.ones((17, 16, 16), np.uint8) if args[1] else np.ones((16, 16, 16), np.uint8))

    with pytest.raises(InputRefused, match="beyond the view"):
        mag.for_each_chunk(work)
    assert mag.read()[0, ::16, 0, 0].tolist()[1] == 0
