"""Good datasets, wherever they come from: verify raises no alarm, and nothing that is right is made again."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.attack.helpers import (
    FORMATS,
    LAYER,
    assert_fresh,
    assert_sound,
    convert,
    data_files,
    downsample,
    noise,
    picture,
    run,
    values_of,
    write_images,
)
from tests.attack.other_tools import OtherTool
from wkpipe import BoundingBox, Dataset
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.runs.run import Run
from wkpipe.steps.task import run_task
from wkpipe.verify.adopt import adopt_dataset
from wkpipe.verify.select import Selection


@dataclass
class Workbench:
    """The things that an origin may use: the images, another tool, and a directory of its own."""

    place: Path
    images: Path
    tool: OtherTool

    def convert(self, data_format: str = "zarr3", **values: Any) -> Path:
        return convert(self.images, self.place / "ds", data_format, **values)

    def made_by_the_tool(self, data_format: str = "zarr3") -> Path:
        return self.tool.make(self.place / "ds", LAYER, noise(), data_format)


Origin = Callable[[Workbench], Path]
ORIGINS: dict[str, Origin] = {}
LADDERS: dict[str, tuple[tuple[int, ...], str]] = {}
"""Mags and interpolation mode."""


def origin(name: str, mags: tuple[int, ...] = (1, 2, 4), mode: str = "median") -> Callable[[Origin], Origin]:
    def add(function: Origin) -> Origin:
        ORIGINS[name] = function
        LADDERS[name] = (mags, mode)
        return function

    return add


def shell(*command: str | Path) -> None:
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]}: no such program here")
    subprocess.run(command, check=True, capture_output=True)


def view(root: Path, mag: int = 1) -> Any:
    return Dataset.open(root).layers[LAYER].get_mag(mag)


# -- made by wkpipe -----------------------------------------------------------------------------------------------------

for _format in FORMATS:
    origin(f"converted, {_format}")(lambda w, f=_format: w.convert(f))  # type: ignore[misc]
    origin(f"converted without compression, {_format}")(lambda w, f=_format: w.convert(f, compress=False))  # type: ignore[misc]
origin("not downsampled", (1,))(lambda w: w.convert(downsample=False))
origin("labels", mode="mode")(lambda w: w.convert(category="segmentation"))


@origin("downsampled later")
def downsampled_later(w: Workbench) -> Path:
    root = w.convert(downsample=False)
    downsample(root)
    return root


@origin("extended by more mags", (1, 2, 4, 8, 16))
def extended_by_more_mags(w: Workbench) -> Path:
    root = w.convert()
    downsample(root, coarsest_mag="16")
    return root


@origin("overwritten with another mode", mode="max")
def overwritten_with_another_mode(w: Workbench) -> Path:
    root = w.convert()
    downsample(root, overwrite_existing=True, interpolation_mode="max")
    return root


@origin("images gone")
def images_gone(w: Workbench) -> Path:
    root = convert(Path(shutil.copytree(w.images, w.place / "images")), w.place / "ds")
    shutil.rmtree(w.place / "images")
    return root


@origin("half made and resumed")
def half_made_and_resumed(w: Workbench) -> Path:
    """The run ends after three of many tasks; one file exists and is not recorded."""
    root = w.place / "ds"
    values = {"source": str(w.images), "voxel_size": [10, 10, 10], "layer_name": LAYER, "category": "color", "name": "ds"} | values_of()
    plan = make_plan(load_config({"target": str(root)} | values, "test"), Sizing(cores=4, least_seconds=0, target_seconds=0.001))
    with Run(plan).begun() as epoch:
        for task in plan.tasks[:3]:
            run_task(plan, task, epoch)
    segment = max((root / ".wkpipe/ledger").rglob("*.segment"))
    segment.write_bytes(segment.read_bytes()[:-20])
    return w.convert()


@origin("written by the library, then downsampled")
def written_by_the_library_then_downsampled(w: Workbench) -> Path:
    root = w.convert()
    view(root).write(np.full((1, 32, 32, 16), 5, "u1"), absolute_offset=(0, 0, 0))
    downsample(root)
    return root


@origin("written by the library beside its shards, then downsampled")
def written_by_the_library_beside_its_shards_then_downsampled(w: Workbench) -> Path:
    root = w.convert("wkw")
    view(root).write(np.full((1, 7, 5, 3), 5, "u1"), absolute_offset=(13, 11, 6), allow_unaligned=True)
    downsample(root)
    return root


@origin("made by the library")
def made_by_the_library(w: Workbench) -> Path:
    layer = Dataset(w.place / "ds", (10, 10, 10)).add_layer(LAYER, "color", bounding_box=BoundingBox((0, 0, 0), (48, 40, 24)))
    layer.add_mag(1, chunk_shape=8, shard_shape=16).write(noise()[None])
    downsample(w.place / "ds")
    return w.place / "ds"


@origin("mag deleted by the library and made again")
def mag_deleted_by_the_library_and_made_again(w: Workbench) -> Path:
    root = w.convert()
    Dataset.open(root).layers[LAYER].delete_mag(4)
    downsample(root)
    return root


def with_boxes(w: Workbench, *sizes: tuple[int, int, int]) -> Path:
    """Return a converted dataset whose layer the library gave one box after the other, downsampled each time."""
    root = w.convert()
    for size in sizes:
        Dataset.open(root).layers[LAYER].bounding_box = BoundingBox((0, 0, 0), size)
        downsample(root)
    return root


@origin("box enlarged by the library")
def box_enlarged_by_the_library(w: Workbench) -> Path:
    return with_boxes(w, (60, 56, 30))


@origin("box shrunk by the library")
def box_shrunk_by_the_library(w: Workbench) -> Path:
    return with_boxes(w, (20, 17, 9))


@origin("box shrunk and enlarged again by the library")
def box_shrunk_and_enlarged_again_by_the_library(w: Workbench) -> Path:
    return with_boxes(w, (20, 17, 9), (48, 40, 24))


@origin("two layers, one of them deleted")
def two_layers_one_of_them_deleted(w: Workbench) -> Path:
    for layer in (LAYER, "other"):
        write_images(w.place / "images" / layer, noise(seed=len(layer)))
    run(w.place / "ds", source=str(w.place / "images"), voxel_size=[10, 10, 10], category="color", **values_of())
    Dataset.open(w.place / "ds").delete_layer("other")
    return w.place / "ds"


@origin("RGB")
def rgb(w: Workbench) -> Path:
    for z in range(24):
        page = np.random.default_rng(z).integers(1, 255, (40, 48, 3), "u1")
        path = w.place / "rgb" / f"{z:02}.tif"
        path.parent.mkdir(exist_ok=True)
        tifffile.imwrite(path, page, photometric="rgb")
    run(w.place / "ds", source=str(w.place / "rgb"), voxel_size=[10, 10, 10], layer_name=LAYER, category="color", **values_of())
    return w.place / "ds"


# -- copied and moved ---------------------------------------------------------------------------------------------------


def copied(w: Workbench, *command: str, data_format: str = "zarr3") -> Path:
    (w.place / "copy").mkdir()
    source = w.convert(data_format)
    shell(*command, f"{source}/" if command[0] == "rsync" else source, w.place / "copy" / "ds")
    shutil.rmtree(source)
    return w.place / "copy" / "ds"


def packed(w: Workbench, options: str) -> Path:
    (w.place / "copy").mkdir()
    w.convert()
    shell("tar", "-C", w.place, "-cf", w.place / "ds.tar", "ds")
    shell("tar", "-C", w.place / "copy", options, w.place / "ds.tar")
    return w.place / "copy" / "ds"


origin("cp -a")(lambda w: copied(w, "cp", "-a"))
origin("cp -r")(lambda w: copied(w, "cp", "-r"))
origin("rsync -r")(lambda w: copied(w, "rsync", "-r"))
origin("cp -al")(lambda w: copied(w, "cp", "-al"))
origin("tar")(lambda w: packed(w, "-xf"))
origin("tar -m")(lambda w: packed(w, "-xmf"))


@origin("touched")
def touched(w: Workbench) -> Path:
    root = w.convert()
    for number, file in enumerate(data_files(root)):
        os.utime(file, (10**9, 10**9 + number))
    return root


@origin("moved")
def moved(w: Workbench) -> Path:
    (w.place / "elsewhere").mkdir()
    return w.convert().rename(w.place / "elsewhere" / "other-name")


@origin("behind a link")
def behind_a_link(w: Workbench) -> Path:
    (w.place / "link").symlink_to(w.convert())
    return w.place / "link"


@origin("restored layer")
def restored_layer(w: Workbench) -> Path:
    root = w.convert()
    shell("cp", "-a", root / LAYER, w.place / "backup")
    shutil.rmtree(root / LAYER)
    shell("cp", "-a", w.place / "backup", root / LAYER)
    return root


@origin("restored layer without times")
def restored_layer_without_times(w: Workbench) -> Path:
    root = w.convert("wkw")
    shell("cp", "-r", root / LAYER, w.place / "backup")
    shutil.rmtree(root / LAYER)
    shell("cp", "-r", w.place / "backup", root / LAYER)
    return root


# -- the state is not what it was ---------------------------------------------------------------------------------------


@origin("state removed")
def state_removed(w: Workbench) -> Path:
    root = w.convert()
    shutil.rmtree(root / ".wkpipe")
    return root


@origin("state removed and adopted")
def state_removed_and_adopted(w: Workbench) -> Path:
    root = w.convert()
    shutil.rmtree(root / ".wkpipe")
    adopt_dataset(root, state_dir=None, selection=Selection(deep=True, share=1.0))
    return root


@origin("state removed, then extended", (1, 2, 4, 8))
def state_removed_then_extended(w: Workbench) -> Path:
    root = w.convert()
    shutil.rmtree(root / ".wkpipe")
    downsample(root, coarsest_mag="8")
    return root


@origin("ledger removed and adopted")
def ledger_removed_and_adopted(w: Workbench) -> Path:
    root = w.convert("wkw")
    for segment in (root / ".wkpipe/ledger").rglob("*.segment"):
        segment.unlink()
    adopt_dataset(root, state_dir=None, selection=Selection())
    return root


# -- other tools ----------------------------------------------------------------------------------------------------------


for _format in FORMATS:

    @origin(f"made by another tool, {_format}")
    def made_by_another_tool(w: Workbench, data_format: str = _format) -> Path:
        root = w.made_by_the_tool(data_format)
        downsample(root)
        return root


@origin("made and downsampled by another tool")
def made_and_downsampled_by_another_tool(w: Workbench) -> Path:
    root = w.made_by_the_tool()
    w.tool.downsample(root, LAYER, 4)
    return root


@origin("downsampled by another tool, then by wkpipe", (1, 2, 4, 8))
def downsampled_by_another_tool_then_by_wkpipe(w: Workbench) -> Path:
    root = w.made_by_the_tool()
    w.tool.downsample(root, LAYER, 4)
    downsample(root, coarsest_mag="8")
    return root


@origin("converted, and downsampled by another tool")
def converted_and_downsampled_by_another_tool(w: Workbench) -> Path:
    root = w.convert(downsample=False)
    w.tool.downsample(root, LAYER, 4)
    return root


@origin("extended by another tool", (1, 2, 4, 8))
def extended_by_another_tool(w: Workbench) -> Path:
    root = w.convert()
    w.tool.downsample(root, LAYER, 8)
    return root


@origin("layer deleted by another tool and made again by the library")
def layer_deleted_by_another_tool_and_made_again_by_the_library(w: Workbench) -> Path:
    root = w.convert()
    w.tool.delete_layer(root, LAYER)
    layer = Dataset.open(root).add_layer(LAYER, "color", bounding_box=BoundingBox((0, 0, 0), (48, 40, 24)))
    layer.add_mag(1, chunk_shape=8, shard_shape=16).write(noise(seed=4)[None])
    downsample(root)
    return root


@origin("coarser mags deleted by another tool and made again")
def coarser_mags_deleted_by_another_tool_and_made_again(w: Workbench) -> Path:
    root = w.convert()
    for mag in (2, 4):
        w.tool.delete_mag(root, LAYER, mag)
    downsample(root)
    return root


@origin("box enlarged by another tool")
def box_enlarged_by_another_tool(w: Workbench) -> Path:
    root = w.convert()
    w.tool.set_box(root, LAYER, (60, 56, 30))
    downsample(root)
    return root


@origin("box shrunk by another tool")
def box_shrunk_by_another_tool(w: Workbench) -> Path:
    root = w.convert()
    w.tool.set_box(root, LAYER, (20, 17, 9))
    downsample(root)
    return root


@origin("finest mag rewritten by another tool, then downsampled")
def finest_mag_rewritten_by_another_tool_then_downsampled(w: Workbench) -> Path:
    root = w.made_by_the_tool()
    downsample(root)
    w.tool.write(root, LAYER, 1, noise(seed=8))
    downsample(root)
    return root


@pytest.mark.parametrize("name", ORIGINS)
def test_good_dataset(name: str, images: Path, tool: OtherTool, tmp_path: Path) -> None:
    root = ORIGINS[name](Workbench(tmp_path, images, tool))
    assert_sound(root)
    mags, mode = LADDERS[name]
    if name != "RGB":
        assert_fresh(root, mags, mode)
    before = picture(root)
    if mags != (1,):
        downsample(root, coarsest_mag=str(mags[-1]))
    assert picture(root) == before, "what was right was made again"
    assert_sound(root)
