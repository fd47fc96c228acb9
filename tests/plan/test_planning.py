"""Planning: it is pure, refuses impossible work, makes a sensible number of tasks with exact dependencies, and survives JSON."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sampling.oracle import reflect
from tests.steps.helpers import Layer, check_pyramid, mags_of, noise, plan_of, run, tree, write_dataset
from wkpipe.errors import AlreadyExists, InputRefused, LayerNotFound, MetadataError, NotWritable, UnreadableInput, UsageError, WkpipeError
from wkpipe.formats.base import Compression
from wkpipe.geometry import Mag
from wkpipe.plan.config import Config, load_config
from wkpipe.plan.config.schema import CONFIG_PATH, SCHEMA_PATH, config_text, schema_text
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.cut.task import PUBLISH
from wkpipe.plan.origins.from_mag import FromMag
from wkpipe.plan.plan import Plan, load_plan
from wkpipe.plan.table import plan_table
from wkpipe.runs.run import Run
from wkpipe.runs.stored_task import run_stored_task
from wkpipe.storage.seal import Seal

VALUES: dict[str, Any] = {"chunk_shape": 8, "shard_shape": 16}


def example(name: str = "layer", size: tuple[int, int, int] = (70, 50, 34)) -> Layer:
    return Layer(noise((1, *size), "uint8", 5), (5, 3, 9), name=name)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "d", example())
    return tmp_path / "d"


# -- purity ---------------------------------------------------------------------------------------------------------


def test_planning_writes_nothing(root: Path) -> None:
    before = tree(root.parent)
    plan = plan_of(root, **VALUES)
    plan_table(plan)
    plan.files()
    Run(plan)
    assert tree(root.parent) == before
    run(root, **VALUES)
    before = tree(root.parent)
    assert plan_of(root, **VALUES).is_empty
    assert not plan_of(root, overwrite_existing=True, **VALUES).is_empty
    assert tree(root.parent) == before


def test_planning_a_conversion_writes_nothing(tmp_path: Path) -> None:
    import tifffile

    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images" / "a.tif", np.ones((40, 50), "uint8"))
    before = tree(tmp_path)
    plan = plan_of(tmp_path / "d" / "e", source=tmp_path / "images", voxel_size=(1, 1, 1))
    Run(plan)
    assert tree(tmp_path) == before


def test_the_same_plan_every_time(root: Path) -> None:
    assert plan_of(root, **VALUES).files() == plan_of(root, **VALUES).files()


# -- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error, values",
    [
        (LayerNotFound, {"layer_name": "nothing"}),
        (InputRefused, {"coarsest_mag": "2-1-8"}),
        (UsageError, {"coarsest_mag": "3"}),
        (UsageError, {"chunk_shape": 12}),
        ((InputRefused, UsageError), {"chunk_shape": 32, "shard_shape": 16}),
        (UsageError, {"interpolation_mode": "guess"}),
        (UsageError, {"compression_level": 23}),
        (UsageError, {"compression_level": 0}),
        (UsageError, {"nothing_like_that": 1}),
        (UsageError, {"voxel_size": (1, 1, 0)}),
    ],
)
def test_refused(root: Path, error: type[WkpipeError], values: dict[str, Any]) -> None:
    before = tree(root)
    with pytest.raises(error) as caught:
        plan_of(root, **values)
    assert "\n" not in str(caught.value)
    assert tree(root) == before


def test_a_target_that_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match="not a directory"):
        plan_of(tmp_path / "nothing")
    with pytest.raises(UnreadableInput, match=r"no datasource-properties\.json"):
        plan_of(tmp_path)


def test_broken_metadata(root: Path) -> None:
    path = root / "layer" / "1" / "zarr.json"
    text = path.read_text()
    path.write_text(text[:-20])
    with pytest.raises(MetadataError, match=r"zarr\.json"):
        plan_of(root, **VALUES)
    path.write_text(text)
    properties = root / "datasource-properties.json"
    good = properties.read_text()
    properties.write_text(good.replace('"uint8"', '"uint16"'))
    with pytest.raises(MetadataError, match=r"found uint8 in .*expected uint16"):
        plan_of(root, **VALUES)
    properties.write_text(good)
    shutil.rmtree(root / "layer" / "1")
    with pytest.raises(MetadataError, match="names mag 1, but there is no directory"):
        plan_of(root, **VALUES)


def test_a_read_only_dataset(root: Path) -> None:
    """As an ordinary user: root can write everything. It can be planned, as for a dry run, but no run can begin."""
    code = (
        "import os, sys; from pathlib import Path; from wkpipe.plan.build import make_plan; from wkpipe.plan.config import Config\n"
        "from wkpipe.plan.cost.resources import Sizing; from wkpipe.errors import NotWritable; from wkpipe.runs.run import run_here\n"
        "make_plan(Config(target=Path(sys.argv[1])), Sizing.local(1)); os.setuid(65534)  # everything is imported by then\n"
        "plan = make_plan(Config(target=Path(sys.argv[1])), Sizing.local(1))\n"
        "try: run_here(plan)\n"
        "except NotWritable as error: print(error); sys.exit(33)\n"
    )
    if os.getuid() != 0:
        root.chmod(0o555)
        with pytest.raises(NotWritable, match=str(root)):
            run(root, **VALUES)
        root.chmod(0o755)
        return
    with tempfile.TemporaryDirectory() as open_directory:  # pytest's own are closed to others
        Path(open_directory).chmod(0o755)
        shutil.copytree(root, Path(open_directory) / "d")
        environment = {**os.environ, "XDG_STATE_HOME": "/nowhere"}
        command = [sys.executable, "-c", code, Path(open_directory) / "d"]
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert result.returncode == 33, result.stderr
        assert str(Path(open_directory) / "d") in result.stdout


def test_a_layer_that_leads_out_of_the_dataset(root: Path) -> None:
    (root / "layer").rename(root.parent / "elsewhere")
    (root / "layer").symlink_to(root.parent / "elsewhere")
    with pytest.raises(InputRefused, match="leads out"):
        plan_of(root, **VALUES)


def test_another_tools_leftovers_are_in_the_way(root: Path) -> None:
    (root / "layer" / "2").mkdir()
    (root / "layer" / "2" / "something").write_text("x")
    with pytest.raises(AlreadyExists, match="layer/2"):
        plan_of(root, **VALUES)
    run(root, overwrite_existing=True, **VALUES)
    check_pyramid(root, example(), "median")


@pytest.mark.parametrize(
    "changed",
    [
        {"interpolation_mode": "max"},
        {"chunk_shape": 4, "shard_shape": 16},
        {"chunk_shape": 8, "shard_shape": 32},
        {**VALUES, "compress": False},
    ],
)
def test_other_parameters_for_derived_mags_need_consent(root: Path, changed: dict[str, Any]) -> None:
    run(root, **VALUES)
    before = tree(root)
    with pytest.raises(AlreadyExists, match="--overwrite-existing") as error:
        plan_of(root, **changed)
    assert error.value.exit_code == 3
    assert tree(root) == before
    run(root, overwrite_existing=True, **changed)
    check_pyramid(root, example(), changed.get("interpolation_mode", "median"))
    assert plan_of(root, **changed).is_empty
    # A level is no reason: an existing mag keeps its own.
    assert plan_of(root, **changed, compression_level=9).is_empty


def test_leftovers_of_other_parameters_are_made_again(root: Path) -> None:
    """Mags that were never published may be deleted."""
    plan = plan_of(root, **VALUES)
    with Run(plan).begun() as epoch:
        from wkpipe.steps.task import run_task

        run_task(plan, plan.tasks[0], epoch)
    assert mags_of(root) == ["1"]
    run(root, interpolation_mode="max", chunk_shape=4, shard_shape=16)
    check_pyramid(root, example(), "max")


def test_going_on_with_a_ladder(root: Path) -> None:
    run(root, coarsest_mag="2", **VALUES)
    assert mags_of(root) == ["1", "2"]
    plan = run(root, coarsest_mag="8", **VALUES)
    assert {part.mag for task in plan.tasks for part in task.ranges} == {Mag(4), Mag(8)}
    check_pyramid(root, example(), "median")
    assert plan_of(root, coarsest_mag="4", **VALUES).is_empty
    assert plan_of(root, **VALUES).is_empty


def test_shapes_of_a_conversion_hold_on_unless_others_are_given(tmp_path: Path) -> None:
    import tifffile

    tifffile.imwrite(tmp_path / "a.tif", noise((40, 70, 50), "uint8", 1))
    run(tmp_path / "d", source=tmp_path / "a.tif", voxel_size=(1, 1, 1), layer_name="layer", category="color", downsample=False, **VALUES)
    assert {mag.spec.chunk_shape[1:] for mag in plan_of(tmp_path / "d").layers[0].mags} == {(8, 8, 8)}
    other = plan_of(tmp_path / "d", chunk_shape=4, shard_shape=8, compress=False)
    assert {(mag.spec.chunk_shape[1:], mag.spec.shard_shape[1:], mag.spec.compression.is_on) for mag in other.layers[0].mags} == {
        ((4, 4, 4), (8, 8, 8), False)
    }


def levels(plan: Plan) -> dict[str, int | None]:
    return {str(mag.mag): mag.spec.compression.level for mag in plan.layers[0].mags}


def test_new_mags_have_the_level_of_the_mag_that_they_are_made_from(tmp_path: Path) -> None:
    layer = example()
    layer.compression = Compression("zstd", 3)
    root = tmp_path / "d"
    write_dataset(root, layer)
    assert levels(plan_of(root, **VALUES, coarsest_mag="4")) == {"2": 3, "4": 3}
    run(root, **VALUES, coarsest_mag="2", compression_level=9)
    plan = run(root, **VALUES, coarsest_mag="4")
    assert levels(plan) == {"2": 9, "4": 9}
    assert "zstd 9" in plan_table(plan)
    run(root, **VALUES, coarsest_mag="8", compression_level=1)
    assert levels(plan_of(root, **VALUES)) == {"2": 9, "4": 9, "8": 1}
    files = [json.loads((root / "layer" / mag / "zarr.json").read_text()) for mag in "248"]
    codecs = [next(c for c in f["codecs"][0]["configuration"]["codecs"] if c["name"] == "zstd") for f in files]
    assert [codec["configuration"]["level"] for codec in codecs] == [9, 9, 1]
    # Mags that are made again are made from the finest mag.
    assert levels(plan_of(root, **VALUES, overwrite_existing=True)) == {"2": 3, "4": 3}


def test_mags_of_an_uncompressed_layer(tmp_path: Path) -> None:
    """Another tool's layer does not decide the compression of new mags; a conversion without compression does."""
    import tifffile

    layer = example()
    layer.compression = False
    write_dataset(tmp_path / "d", layer)
    assert set(levels(plan_of(tmp_path / "d", **VALUES)).values()) == {5}
    tifffile.imwrite(tmp_path / "a.tif", noise((40, 70, 50), "uint8", 1))
    converted = {"source": tmp_path / "a.tif", "voxel_size": (1, 1, 1), "downsample": False, "compress": False}
    run(tmp_path / "e", **converted, **VALUES)
    assert set(levels(plan_of(tmp_path / "e")).values()) == {None}
    assert set(levels(plan_of(tmp_path / "e", compression_level=7)).values()) == {7}


def test_a_level_that_is_the_default_is_no_other_conversion(tmp_path: Path) -> None:
    import tifffile

    tifffile.imwrite(tmp_path / "a.tif", noise((40, 70, 50), "uint8", 1))
    converted = {"source": tmp_path / "a.tif", "voxel_size": (1, 1, 1), **VALUES}
    assert set(levels(run(tmp_path / "d", **converted)).values()) == {5}
    assert plan_of(tmp_path / "d", **converted, compression_level=5).is_empty
    with pytest.raises(AlreadyExists, match="compression_level: default, now 6"):
        plan_of(tmp_path / "d", **converted, compression_level=6)


def test_wkw_has_no_levels(tmp_path: Path) -> None:
    layer = Layer(noise((1, 70, 50, 34), "uint8", 5), data_format="wkw", chunk=(8, 8, 8), shard=(16, 16, 16))
    write_dataset(tmp_path / "d", layer)
    with pytest.raises(UsageError, match="WKW, whose LZ4-HC has no levels"):
        plan_of(tmp_path / "d", **VALUES, compression_level=5)
    assert "lz4hc" in plan_table(plan_of(tmp_path / "d", **VALUES))


# -- tasks ----------------------------------------------------------------------------------------------------------


def check_tasks(plan: Plan, sizing: Sizing) -> None:
    """Check that every unit is made once, and that each task waits for exactly the tasks that make what it reads."""
    names = [task.name for task in plan.tasks]
    assert len(set(names)) == len(names)
    owner: dict[Any, str] = {}
    for task in plan.tasks:
        for part in task.ranges:
            for unit in part.units:
                assert (part.layer, part.mag, unit) not in owner
                owner[part.layer, part.mag, unit] = task.name
    for i, task in enumerate(plan.tasks):
        assert set(task.inputs) <= set(names[:i])
        assert 1 <= task.threads <= sizing.cores
        needed = set()
        for part in task.ranges:
            mag_plan = plan.mag_plan(part.layer, part.mag)
            origin = mag_plan.origin
            assert isinstance(origin, FromMag)
            low, high = origin.box
            finer = next((m.spec for m in plan.layer(part.layer).mags if m.mag == origin.mag), None)
            if finer is None:
                continue
            for unit in part.units:
                axes = []
                for axis in range(3):
                    first = max(unit[1 + axis] * mag_plan.spec.shard_shape[1 + axis], mag_plan.box.first[axis]) * mag_plan.factors[axis]
                    end = min((unit[1 + axis] + 1) * mag_plan.spec.shard_shape[1 + axis], mag_plan.box.end[axis]) * mag_plan.factors[axis]
                    voxels = {low[axis] + reflect(p - low[axis], high[axis] - low[axis]) for p in range(first, end)}
                    axes.append({v // finer.shard_shape[1 + axis] for v in voxels})
                for cell in itertools.product(*axes):
                    name = owner.get((part.layer, origin.mag, (unit[0], *cell)))
                    if name is not None and name != task.name:
                        needed.add(name)
        if task.rule == PUBLISH:
            assert set(task.inputs) >= {other.name for other in plan.tasks for part in other.ranges if part.layer in task.layers}
        else:
            assert set(task.inputs) == needed, task.name


@settings(max_examples=25)
@given(
    size=st.tuples(st.integers(1, 150), st.integers(1, 90), st.integers(1, 70)),
    topleft=st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40)),
    cores=st.integers(1, 8),
    least=st.sampled_from([0.0, 0.05, 1.0]),
    target=st.sampled_from([0.01, 0.1, 10.0]),
    most=st.sampled_from([1, 4, 4000]),
)
def test_tasks_are_sound(temporary: Path, size: Any, topleft: Any, cores: int, least: float, target: float, most: int) -> None:
    sizing = Sizing(cores, least, target, most)
    with tempfile.TemporaryDirectory(dir=temporary) as directory:
        root = Path(directory) / "d"
        layer = Layer(np.zeros((1, *size), "uint8"), topleft)
        write_dataset(root, layer, Layer(layer.data[:, :20], topleft, name="second"))
        plan = plan_of(root, sizing, trust_empty=True, **VALUES)
        check_tasks(plan, sizing)
        for mag in plan.layers[0].mags:
            parts = [part for task in plan.tasks for part in task.ranges if (part.layer, part.mag) == ("layer", mag.mag)]
            assert {unit for part in parts for unit in part.units} == set(mag.units())
        assert len([task for task in plan.tasks if task.rule != PUBLISH]) <= max(most, 2 * sum(len(layer.mags) for layer in plan.layers))
        assert round_trip(plan) == plan_without_preparation(plan)


def plan_without_preparation(plan: Plan) -> Any:
    return (plan.dataset, plan.state, plan.layers, plan.tasks, plan.new_dataset, plan.conversion, plan.notes)


def round_trip(plan: Plan) -> Any:
    seal = Seal.new()
    with tempfile.TemporaryDirectory() as directory:
        for name, data in plan.files().items():
            (Path(directory) / name).write_bytes(seal.sealed(name, data))
        loaded = load_plan(Path(directory), seal)
        for task in plan.tasks:
            alone = load_plan(Path(directory), seal, task.name)
            assert [t.name for t in alone.tasks] == [task.name]
        with pytest.raises(UsageError):
            load_plan(Path(directory), seal, "00000")
        rounded = tuple(t for t in loaded.tasks)
        assert [t.runtime_s for t in rounded] == [round(t.runtime_s, 3) for t in plan.tasks]
        from dataclasses import replace

        tasks = tuple(replace(t, runtime_s=o.runtime_s) for t, o in zip(rounded, plan.tasks, strict=True))
        return plan_without_preparation(replace(loaded, tasks=tasks))


@pytest.mark.parametrize("name", ["two words", "ünïcode", "with'quote", "x" * 250, "a&b;c", "{wild}*card"])
def test_odd_layer_names(tmp_path: Path, name: str) -> None:
    """Existing layers may have names that wkpipe itself would refuse."""
    root = tmp_path / "d"
    layer = example("layer")
    write_dataset(root, layer)
    path = root / "datasource-properties.json"
    values = json.loads(path.read_text())
    values["dataLayers"][0]["name"] = name
    values["dataLayers"][0]["mags"][0]["path"] = f"./{name}/1"
    path.write_text(json.dumps(values))
    (root / "layer").rename(root / name)
    plan = plan_of(root, **VALUES)
    job = Run(plan)
    with job.begun():
        for task in plan.tasks:
            run_stored_task(job.directory, task.name, job.seal)
            assert job.marker(task).exists()
    layer.name = name
    check_pyramid(root, layer, "median")


def test_a_layer_that_is_called_like_a_mag_of_another(tmp_path: Path) -> None:
    """Tasks have different names, even if a layer's name looks like that of another layer with a mag."""
    root = tmp_path / "d"
    layers = example("em"), example("em-2")
    write_dataset(root, *layers)
    sizing = Sizing(cores=4, least_seconds=0.0, target_seconds=0.01)
    plan = plan_of(root, sizing, **VALUES)
    check_tasks(plan, sizing)
    job = Run(plan)
    with job.begun():
        for task in plan.tasks:
            run_stored_task(job.directory, task.name, job.seal)
            assert job.marker(task).exists()
    for layer in layers:
        check_pyramid(root, layer, "median")


def test_enough_tasks_for_the_cores(tmp_path: Path) -> None:
    layer = Layer(np.zeros((1, 1024, 1024, 64), "uint8"), chunk=(32, 32, 32), shard=(128, 128, 32))
    layer.data[0, 0, 0, 0] = 1
    write_dataset(tmp_path / "d", layer)
    for cores in (1, 4, 16):
        plan = plan_of(tmp_path / "d", Sizing(cores, 0.05, 10.0), shard_shape=(128, 128, 32))
        assert len([1 for task in plan.tasks for part in task.ranges if part.mag == Mag(2)]) == min(cores, 16)
    # A mag in one shard still uses all cores.
    plan = plan_of(tmp_path / "d", Sizing(16, 0.05, 10.0), shard_shape=1024)
    assert next(task.threads for task in plan.tasks if task.rule != PUBLISH) == 16


def test_500_tiny_layers_make_few_tasks(tmp_path: Path) -> None:
    data = np.zeros((1, 64, 64, 64), "uint8")
    data[0, 0, 0, 0] = 1
    write_dataset(tmp_path / "d", Layer(data, name="l0", chunk=(32, 32, 32), shard=(64, 64, 64)))
    path = tmp_path / "d" / "datasource-properties.json"
    values = json.loads(path.read_text())
    for i in range(1, 500):
        shutil.copytree(tmp_path / "d" / "l0", tmp_path / "d" / f"l{i}")
        entry = json.loads(json.dumps(values["dataLayers"][0]).replace("l0", f"l{i}"))
        values["dataLayers"].append(entry)
    path.write_text(json.dumps(values))
    plan = plan_of(tmp_path / "d", Sizing.local(2))
    assert len(plan.layers) == 500
    work = [task for task in plan.tasks if task.rule != PUBLISH]
    assert len(plan.tasks) <= 20
    # They run side by side with one thread each, not one after the other with all cores.
    assert len(work) >= 2
    assert {task.threads for task in work} == {1}
    covered = [name for task in plan.tasks if task.rule == PUBLISH for name in task.layers]
    assert sorted(covered) == sorted(layer.name for layer in plan.layers)


def huge(root: Path, shards_per_edge: int, dtype: str) -> None:
    """Write the metadata of a layer of many shards of 1024³, with one shard on disk."""
    edge = 1024 * shards_per_edge
    layer = Layer(np.ones((1, 1, 1, 1), dtype), (edge - 1,) * 3, chunk=(32, 32, 32), shard=(1024, 1024, 1024))
    write_dataset(root, layer, voxel_size=(1, 1, 1))
    path = root / "datasource-properties.json"
    values = json.loads(path.read_text())
    values["dataLayers"][0]["boundingBox"] = {"topLeft": [0, 0, 0], "width": edge, "height": edge, "depth": edge}
    path.write_text(json.dumps(values))


def test_a_large_layer_has_no_more_tasks_than_allowed(tmp_path: Path) -> None:
    huge(tmp_path / "d", 24, "uint8")
    sizing = Sizing(cores=64, least_seconds=60, target_seconds=60, most_tasks=200)
    plan = plan_of(tmp_path / "d", sizing)
    ranges = [task for task in plan.tasks if task.rule != PUBLISH]
    assert 64 <= len(ranges) <= 200 + len(plan.layers[0].mags)
    assert plan.units_to_do == sum(len(mag.units()) for mag in plan.layers[0].mags)


@pytest.mark.slow
def test_a_petabyte_is_planned_in_a_minute_and_a_gigabyte(tmp_path: Path) -> None:
    """100³ sparse shards of 1024³ voxels of one byte are a PB; a separate process plans them."""
    huge(tmp_path / "d", 98, "uint8")
    code = (
        "import sys, time; from pathlib import Path\n"
        "from wkpipe.plan.build import make_plan; from wkpipe.plan.config import Config; from wkpipe.plan.cost.resources import Sizing\n"
        "from wkpipe.storage.process import peak_memory\n"
        "plan = make_plan(Config(target=Path(sys.argv[1])), Sizing(cores=100, least_seconds=60, target_seconds=60))\n"
        "files = plan.files()\n"
        "print(len(plan.tasks), time.process_time(), peak_memory() / 1e9)\n"
    )
    result = subprocess.run([sys.executable, "-c", code, tmp_path / "d"], capture_output=True, text=True, check=True)
    tasks, seconds, gigabytes = map(float, result.stdout.split())
    assert 100 <= tasks <= 4050
    assert seconds < 60, seconds
    assert gigabytes < 1, gigabytes


# -- config ---------------------------------------------------------------------------------------------------------


def test_generated_files_are_those_of_the_code(root: Path) -> None:
    repository = Path(__file__).resolve().parents[2]
    assert (repository / SCHEMA_PATH).read_text(encoding="utf-8") == schema_text()
    assert (repository / CONFIG_PATH).read_text(encoding="utf-8") == config_text()
    import yaml

    defaults = {key: value for key, value in yaml.safe_load(config_text()).items() if value is not None}
    assert load_config({**defaults, "target": "x"}, "here") == Config(target=Path("x"))


@pytest.mark.parametrize(
    "values, words",
    [
        ({}, ["target", "missing"]),
        ([], ["expected keys and values", "list"]),
        ({"target": "x", "sauce": 1}, ["unknown key sauce", "source"]),
        ({"target": "x", "voxel_size": "1,2"}, ["voxel_size", "1,2", "three positive numbers"]),
        ({"target": "x", "voxel_size": [1, 1, float("nan")]}, ["voxel_size", "three positive numbers"]),
        ({"target": "x", "chunk_shape": -32}, ["chunk_shape", "-32"]),
        ({"target": "x", "chunk_shape": "a"}, ["chunk_shape", "'a'"]),
        ({"target": "x", "chunk_shape": 2.5}, ["chunk_shape", "2.5"]),
        ({"target": "x", "coarsest_mag": "x"}, ["coarsest_mag", "'x'"]),
        ({"target": "x", "coarsest_mag": [1, 2]}, ["coarsest_mag"]),
        ({"target": "x", "sampling_mode": "odd"}, ["sampling_mode", "'odd'", "constant_z"]),
        ({"target": "x", "batch_size": 0}, ["batch_size", "0"]),
        ({"target": "x", "compress": "perhaps"}, ["compress", "'perhaps'"]),
    ],
)
def test_config_errors_name_the_key(values: Any, words: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        load_config(values, "config.yaml")
    text = str(error.value)
    assert error.value.exit_code == 2
    assert "\n" not in text
    assert text.startswith("config.yaml: ")
    for word in words:
        assert word in text, text


def test_spellings_of_shapes_and_mags() -> None:
    for shape in (32, "32", "32,32,32", [32, 32, 32], (32, 32, 32), "(32, 32, 32)"):
        assert load_config({"target": "x", "chunk_shape": shape}, "here").chunk_shape == (32, 32, 32)
    for mag in (4, "4", "4-4-4", [4, 4, 4]):
        assert load_config({"target": "x", "coarsest_mag": mag}, "here").coarsest == Mag(4)


def test_mags_that_are_not_there_are_named(root: Path) -> None:
    """A registered coarser mag whose directory is gone, in a dataset without a ledger."""
    properties = json.loads((root / "datasource-properties.json").read_text())
    properties["dataLayers"][0]["mags"].append({"mag": [2, 2, 2], "path": "./layer/2"})
    (root / "datasource-properties.json").write_text(json.dumps(properties))
    with pytest.raises(MetadataError, match=r"names mag 2, but there is no directory .*--overwrite-existing"):
        plan_of(root, **VALUES)


def test_a_box_that_no_dataset_has(root: Path) -> None:
    properties = json.loads((root / "datasource-properties.json").read_text())
    properties["dataLayers"][0]["boundingBox"] |= {"width": 10**9, "height": 10**9, "depth": 10**9}
    (root / "datasource-properties.json").write_text(json.dumps(properties))
    with pytest.raises(InputRefused, match="check the layer's box"):
        plan_of(root, **VALUES)
