"""Fuzz cases by kind: break one thing, use it with the commands and the library, and check that they refuse or are right."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import yaml

from tests.torture.fuzz_mutators import (
    a_value,
    flip_in_place,
    mutate_bytes,
    mutate_json,
    mutate_json_file,
    mutate_picture,
    mutate_png,
    mutate_segment,
    mutate_tiff,
)
from tests.torture.fuzz_seeds import CONFIG, MADE
from tests.torture.fuzz_worker import Case, Failure, Workspace, command, refused_or_done, snapshot
from wkpipe.errors import WkpipeError
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.runs.run import run_here

ARRAY_FILES = ("zarr.json", ".zarray", "header.wkw", "attributes.json", "info")
METADATA = {*ARRAY_FILES, "datasource-properties.json", ".zattrs", ".zgroup"}
DATASETS = (*MADE, "foreign")


def look_at(workspace: Workspace, dataset: Path, random: Random) -> str:
    """Look at a dataset in one of the possible ways; nothing may be written."""
    before = snapshot(workspace.root.parent)
    way = random.choice(["info", "json", "verify", "dry", "dry", "overwrite", "read", "read"])
    if way == "read":
        found = refused_or_done(lambda: read_all(dataset))
        code = type(found).__name__ if isinstance(found, WkpipeError) else "0"
    else:
        options = {
            "info": ["info"],
            "json": ["info", "--json"],
            "verify": ["verify", "--jobs", "1"],
            "dry": ["downsample", "-n", "--jobs", "2", "--coarsest-mag", random.choice(["2", "4", "8", "8-8-4", "1024"])],
            "overwrite": ["downsample", "-n", "--overwrite-existing"],
        }
        code = str(command(*options[way], str(dataset))[0])
    check_unwritten(workspace, before)
    return f"{way} {code}"


def check_unwritten(workspace: Workspace, before: dict[str, tuple[Any, ...]]) -> None:
    """Fail if anything changed on the disk."""
    after = snapshot(workspace.root.parent)
    if after != before:
        changed = [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)]
        raise Failure(f"something was written: {sorted(changed)[:10]}")


def read_all(path: Path) -> None:
    """Open a dataset with the library and read a part of every mag."""
    from wkpipe import Dataset

    dataset = Dataset.open(path)
    for layer in dataset.layers.values():
        for view in layer.mags.values():
            try:
                corner = view.bounding_box.topleft
                mag = dict(zip("xyz", view.mag, strict=True))
                size = [min(n, 16 * mag.get(axis, 1)) for axis, n in zip(view.bounding_box.axes, view.bounding_box.size, strict=True)]
                view.read(absolute_bounding_box=type(view.bounding_box)(corner, size, view.bounding_box.axes))
            except WkpipeError:
                continue


# -- metadata -----------------------------------------------------------------------------------------------------------


def properties(workspace: Workspace, random: Random) -> str:
    """Break datasource-properties.json."""
    dataset = workspace.dataset(random.choice(["zarr3", "zarr3", "wkw", "zarr", "foreign"]))
    file = dataset / "datasource-properties.json"
    workspace.change(file, mutate_json_file(file.read_bytes(), random))
    return look_at(workspace, dataset, random)


def arrays(workspace: Workspace, random: Random) -> str:
    """Break the metadata of an array or a group."""
    dataset = workspace.dataset(random.choice([*DATASETS, "foreign", "foreign"]))
    file = random.choice(workspace.files(dataset, *ARRAY_FILES, ".zgroup", ".zattrs"))
    mutate = mutate_bytes if file.name == "header.wkw" else mutate_json_file
    workspace.change(file, mutate(file.read_bytes(), random))
    return look_at(workspace, dataset, random)


def state(workspace: Workspace, random: Random) -> str:
    """Break wkpipe's records of a dataset: recipes, the conversion, ledgers, the epoch."""
    dataset = workspace.dataset(random.choice(list(MADE)))
    file = random.choice([path for path in workspace.files(dataset / ".wkpipe") if "runs" not in path.parts])
    mutate = {".json": mutate_json_file, ".segment": mutate_segment}.get(file.suffix, mutate_bytes)
    workspace.change(file, mutate(file.read_bytes(), random))
    if random.random() < 0.3:
        return convert_again(workspace, dataset)
    return look_at(workspace, dataset, random)


def convert_again(workspace: Workspace, dataset: Path) -> str:
    before = snapshot(workspace.root.parent)
    options = [f"--{key.replace('_', '-')}={value}" for key, value in MADE[dataset.name].items() if key != "compress"]
    options += ["--no-compress"] * ("compress" in MADE[dataset.name])
    options += ["--voxel-size", "10,10,10", "--category", "color", "--chunk-shape", "8", "--max-mag", "4"]
    code = command("convert", "-n", str(workspace.root / "images" / "stack"), str(dataset), *options)[0]
    check_unwritten(workspace, before)
    return f"convert {code}"


def special(workspace: Workspace, random: Random) -> str:
    """Put something that is not a file, or a file without an end, in the place of any file of a dataset."""
    dataset = workspace.dataset(random.choice(DATASETS))
    file = random.choice([path for path in workspace.files(dataset) if "runs" not in path.parts])
    outside = workspace.root / "images" / "stack" / "s00.tif"
    ways: list[Callable[[Path], Any]] = [
        os.mkfifo,
        Path.mkdir,
        lambda path: socket.socket(socket.AF_UNIX).bind(f"/proc/self/fd/{os.open(path.parent, os.O_PATH)}/{path.name}"),
        lambda path: path.symlink_to(path),
        lambda path: path.symlink_to("nowhere"),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to("/dev/full"),
        lambda path: path.symlink_to(outside),
        lambda path: path.symlink_to(outside.parent),
        lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 1 << 36),
        Path.touch,
    ]
    workspace.displace(file, random.choice(ways))
    return look_at(workspace, dataset, random)


# -- images -------------------------------------------------------------------------------------------------------------


def images(workspace: Workspace, random: Random) -> str:
    """Break an image and plan to convert it, or read all of it."""
    file = random.choice(workspace.files(workspace.root / "images" / "single"))
    mutate = mutate_tiff if file.suffix == ".tif" else mutate_png if file.suffix == ".png" else mutate_picture
    workspace.change(file, mutate(file.read_bytes(), random))
    if random.random() < 0.1:
        os.truncate(file, random.choice([1 << 30, 1 << 36]))
    before = snapshot(workspace.root.parent)
    if random.random() < 0.5:
        target = workspace.root.parent / "target"
        code = command("convert", "-n", str(file), str(target), "--voxel-size", "1,1,1", "--jobs", "2")[0]
    else:
        found = refused_or_done(lambda: read_stacks(file))
        code = type(found).__name__ if isinstance(found, WkpipeError) else 0
    check_unwritten(workspace, before)
    return f"{file.suffix[1:]} {code}"


def read_stacks(path: Path) -> None:
    """Read the first rows of the first and the last plane of an image, as a conversion reads them."""
    from tests.images.reading import bytes_for, read_rows
    from wkpipe.images import inspect_source

    for stack in inspect_source(path, category="color"):
        rows = max(1, min(stack.sizes.y, (1 << 24) // (stack.sizes.x * stack.sizes.c * stack.dtype.itemsize)))
        for z in {0, stack.sizes.z - 1}:
            expected = bytes_for(stack, 1, rows)
            if expected < 1 << 30:
                read_rows(stack, 0, z, z + 1, 0, rows)


# -- configs and command lines --------------------------------------------------------------------------------------------


def configs(workspace: Workspace, random: Random) -> str:
    """Break the values of a config file, as YAML gives them, and plan with them."""
    values: Any = CONFIG | {"target": str(workspace.root.parent / "target"), "source": str(workspace.root / "images" / "stack")}
    if random.random() < 0.4:
        values = {key: CONFIG[key] for key in ("layer_name", "coarsest_mag", "sampling_mode", "interpolation_mode", "trust_empty")}
        values["target"] = str(workspace.dataset(random.choice(DATASETS)))
    values = mutate_json(values, random)
    if random.random() < 0.3:
        try:
            text = yaml.safe_dump(values, allow_unicode=True).encode(errors="replace")
            values = yaml.safe_load(mutate_bytes(text, random).decode(errors="replace"))
        except (yaml.YAMLError, ValueError, OverflowError, RecursionError):  # Snakemake reads the file and refuses it
            return "yaml"
    before = snapshot(workspace.root.parent)
    found = refused_or_done(lambda: make_plan(load_config(values, "config"), Sizing.local(2)))
    check_unwritten(workspace, before)
    return type(found).__name__


OPTIONS = (
    *("--voxel-size", "--unit", "--name", "--layer-name", "--category", "--data-format", "--chunk-shape", "--shard-shape", "--batch-size"),
    *("--compression-level", "--max-mag", "--coarsest-mag", "--interpolation-mode", "--sampling-mode", "--jobs", "--state-dir", "--mag"),
    *("--missing-shards", "--distribution-strategy", "--job-resources", "--topleft", "--bbox", "--padding", "--rgb"),
)
FLAGS = (
    *("--swap-xy", "--flip-x", "--flip-y", "--flip-z"),
    *("--compress", "--no-compress", "--downsample", "--no-downsample", "--overwrite-existing", "--trust-empty", "--quiet", "-q"),
    *("--json", "--dry-run", "-n", "--help", "--break-lock"),
)
WORDS = (
    *("0,0,0,5,5,1", "1,2,3,4,5,6", "0,0,9" + "9" * 30, "0,0,0,1,1,-1", "64,64,64", "gray"),
    *("1", "2", "4-4-1", "8", "11,11,25", "16,16,16", "nm", "color", "segmentation", "zarr3", "zarr", "wkw", "mode", "median", "isotropic"),
    *("fill", "error", "multiprocessing", "sequential", "slurm", "stack", "{}", '{"mem": "10M"}', "0", "-1", "1,1", "1e308,1,1", "nan,1,1"),
    *("9" * 400, "1" + ",1" * 400, "--", "-", "=", "--help", "--version", "*", "a b", "ü", "\udcff", "x" * 5000, "", "\n", "\x1b[2J"),
)


def arguments(workspace: Workspace, random: Random) -> str:
    """Make up a command line. convert and downsample only plan."""
    name = random.choice(["convert", "convert", "downsample", "downsample", "info", "verify", "verify", "step", "", "--version", "what"])
    images_, paths = workspace.root / "images", [workspace.dataset(n) for n in DATASETS]
    odd = [*("", ".", "/", "/dev/null", "/dev/zero", "/proc/self", "/proc/self/mem", "nowhere", "~", "\udcff", "x" * 5000, "a\nb", "-x")]
    vector = [name] if name else []
    if name == "convert":
        vector += [str(random.choice([images_ / "stack", images_ / "stack" / "s00.tif", images_ / "single" / "pages.tif", images_]))]
        vector += [str(random.choice([workspace.root.parent / "target", *paths])), "--voxel-size", "1,1,1"]
    elif name in ("downsample", "info", "verify"):
        vector.append(str(random.choice(paths)))
    for _ in range(random.choice([0, 1, 1, 2, 3])):
        option = random.choice(OPTIONS)
        word = str(a_value(random)) if random.random() < 0.2 else random.choice(WORDS)
        vector += random.choice([[option, word], [option, word], [f"{option}={word}"], [random.choice(FLAGS)], [option]])
    for _ in range(random.choice([0, 0, 1, 2])):
        way = random.randrange(4)
        if way == 0 and vector:
            del vector[random.randrange(len(vector))]
        elif way == 1:
            vector.insert(random.randrange(len(vector) + 1), random.choice([*odd, *WORDS]))
        elif way == 2 and len(vector) > 1:
            vector[random.randrange(1, len(vector))] = random.choice(odd)
        elif vector:
            vector.append(vector[random.randrange(len(vector))])
    if vector[:1] not in (["info"], ["verify"]):
        vector.insert(1, "-n")
    vector = [word.replace("\0", "").replace("\ud800", "?") for word in vector]  # these characters cannot be passed to a process
    before = snapshot(workspace.root.parent)
    here = Path.cwd()
    os.chdir(images_)  # relative paths do no harm here
    try:
        code = command(*vector)[0]
    finally:
        os.chdir(here)
    check_unwritten(workspace, before)
    return f"{name} {code}"


# -- data ---------------------------------------------------------------------------------------------------------------


def shards(workspace: Workspace, random: Random) -> str:
    """Damage a file of voxels and keep its time of change, as a bad disk does.

    Reading it may be refused, `verify` must find it, and no coarser mag may be made from wrong voxels.
    """
    name = random.choice(list(MADE))
    dataset = workspace.dataset(name)
    file = random.choice([path for path in workspace.files(dataset / "stack" / "1") if path.name not in METADATA])
    original = file.read_bytes()
    damaged = flip_in_place(original, random) if random.random() < 0.7 else mutate_bytes(original, random)
    if damaged == original:
        return "same"
    right, coarse = voxels(dataset, "1"), voxels(dataset, "2")
    workspace.change(file, damaged, keep_time=True)
    before = snapshot(workspace.root.parent)
    found = voxels(dataset, "1")
    code = command("verify", "--jobs", "1", str(dataset))[0]
    check_unwritten(workspace, before)
    if code != 4:
        raise Failure(f"verify does not notice that {file} is damaged: exit code {code}")
    is_wrong = not isinstance(found, WkpipeError) and not np.array_equal(found, right)
    if is_wrong and name in ("zarr3", "zarr3-files"):
        raise Failure(f"{file}: wrong voxels were read although there are checksums")
    with workspace.copied(dataset) as copy:
        for coarser in ("2", "4"):
            shutil.rmtree(copy / ".wkpipe" / "ledger" / "stack" / coarser)
            shutil.rmtree(copy / "stack" / coarser)
        forget_coarser(copy / "datasource-properties.json")
        made = refused_or_done(lambda: downsample(copy))
        if not isinstance(made, WkpipeError) and not np.array_equal(voxels(copy, "2"), coarse):
            # A file of another size that decodes counts as new content, and a note says so.
            is_noted = any("changed since they were recorded" in note for note in made)
            if len(damaged) != len(original) and is_noted:
                return f"accepted {name}"
            raise Failure(f"{file}: a coarser mag was made from wrong voxels ({len(original)} bytes, now {len(damaged)})")
    return ("wrong" if is_wrong else "refused" if isinstance(found, WkpipeError) else "right") + f" {name}, {type(made).__name__}"


def voxels(dataset: Path, mag: str) -> Any:
    """Return all voxels of a mag, or the error."""
    from wkpipe import Dataset

    return refused_or_done(lambda: Dataset.open(dataset).layers["stack"].get_mag(mag).read())


def forget_coarser(file: Path) -> None:
    """Leave only the finest mag in a dataset's properties."""
    values = json.loads(file.read_bytes())
    for layer in values["dataLayers"]:
        del layer["mags"][1:]
    file.write_text(json.dumps(values))


def downsample(dataset: Path) -> tuple[str, ...]:
    """Make mag 2 of the dataset's first layer; return the notes for the user."""
    values = {"target": str(dataset), "coarsest_mag": "2", "layer_name": "stack"}
    plan = make_plan(load_config(values, "case"), Sizing.local(1))
    notes = list(plan.notes)
    run_here(plan, notify=notes.append)
    return tuple(notes)


KINDS: dict[str, Case] = {
    "properties": properties,
    "arrays": arrays,
    "state": state,
    "special": special,
    "images": images,
    "configs": configs,
    "arguments": arguments,
    "shards": shards,
}
