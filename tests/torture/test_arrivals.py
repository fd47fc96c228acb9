"""Adding mags and layers that exist, and new names of layers, disturbed at any call that changes the disk.

The old state or the new one is left.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.torture.faulty_disk import FaultyOs
from tests.torture.torture_helpers import DEFECT, SCALE, SEED, in_child
from wkpipe import AgglomerateAttachment, AgglomerateGraph, Attachment, BoundingBox, Dataset, Mag, MeshAttachment
from wkpipe.plan.build import make_downsample_plan
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.request import DownsampleRequest
from wkpipe.verify.dataset import verify_dataset
from wkpipe.verify.report import Kind

BOX = BoundingBox((0, 0, 0), (32, 32, 16))
SMALL = BoundingBox((0, 0, 0), (16, 16, 16))
VOXELS = np.random.default_rng(0).integers(1, 99, (1, 32, 32, 16), dtype=np.uint8)


def start(root: Path) -> Path:
    """Make a dataset with a layer, and a source with an array."""
    layer = Dataset(root / "source", (4, 4, 10)).add_layer("em", "color", bounding_box=BOX)
    layer.add_mag(1, chunk_shape=32, shard_shape=32).write(VOXELS)
    shutil.copytree(root / "source" / "em" / "1", root / "array")
    dataset = Dataset(root / "d", (4, 4, 10))
    dataset.add_layer("em", "color", bounding_box=BOX).add_mag(2, chunk_shape=32, shard_shape=32)
    dataset.add_layer("cells", "segmentation")
    dataset.add_layer("wide", "segmentation", dtype="uint32")
    small = dataset.add_layer("small", "color", bounding_box=SMALL).add_mag(2, chunk_shape=32, shard_shape=32)
    small.write(VOXELS[:, :8, :8, :8])
    if root.name.startswith("name"):
        em, other = dataset.get_layer("em"), dataset.add_layer("other", "color", bounding_box=BOX)
        em.get_mag(2).write(VOXELS[:, ::2, ::2, ::2])
        em.downsample_mag(2, 4)
        other.add_mag_as_ref(em.get_mag(2))
        other.add_mag_as_copy(em.get_mag(4))
    if root.name.startswith("files"):
        shutil.copytree(root / "array", root / "d" / "em" / "1")
    return root


def mesh_in(root: Path) -> MeshAttachment:
    return MeshAttachment.from_path_and_name(root / "array", "main", data_format="zarr3")


def agglomerates_in(root: Path) -> object:
    layer = Dataset.open(root / "d").get_segmentation_layer("wide")
    return AgglomerateAttachment.create_and_add_to(layer, "main", graph())


def graph() -> AgglomerateGraph:
    made = AgglomerateGraph()
    for number in range(1, 6):
        made.add_segment(number, position=(number, 0, 7))
    made.add_affinity_edge(2, 5, affinity=0.5)
    return made


CALLS: dict[str, Callable[[Path], object]] = {
    "copy": lambda root: Dataset.open(root / "d").get_layer("em").add_mag_from_zarrarray(1, root / "array"),
    "move": lambda root: Dataset.open(root / "d").get_layer("em").add_mag_from_zarrarray(1, root / "array", move=True),
    "files": lambda root: Dataset.open(root / "d").get_layer("em").add_mag_for_existing_files(1),
    "reference": lambda root: Dataset.open(root / "d").get_layer("em").add_mag_as_ref(root / "source" / "em" / "1"),
    "link": lambda root: Dataset.open(root / "d").get_layer("em").add_symlink_mag(root / "source" / "em" / "1"),
    "layer": lambda root: Dataset.open(root / "d").add_symlink_layer(root / "source" / "em", new_layer_name="other"),
    "attachment": lambda root: Dataset.open(root / "d").get_segmentation_layer("cells").attachments.add_attachment_as_copy(mesh_in(root)),
    "agglomerates": agglomerates_in,
    "agglomerate directory": lambda root: AgglomerateAttachment.create(root / "new" / "main", graph()),
    "wider": lambda root: Dataset.open(root / "d").get_layer("small").add_mag_as_copy(root / "source" / "em" / "1"),
    "name": lambda root: setattr(Dataset.open(root / "d").get_layer("em"), "name", "raw"),
    "dataset": lambda root: Dataset.open(root / "source").shallow_copy_dataset(root / "new"),
}


def is_new(way: str, root: Path) -> bool:
    """True if the call has been done; its voxels are right then."""
    if way == "attachment":
        found = Dataset.open(root / "d").get_segmentation_layer("cells").attachments.meshes
        assert all({each.name for each in Path(mesh.path).iterdir()} == {"zarr.json", "c"} for mesh in found)
        return bool(found)
    if way.startswith("agglomerate"):
        return has_agglomerates(way, root)
    if way == "wider":
        return is_wider(Dataset.open(root / "d"))
    if way == "name":
        return is_renamed(Dataset.open(root / "d"))
    if way == "dataset":
        if not (root / "new" / "datasource-properties.json").exists():
            return False
        found = Dataset.open(root / "new").get_layer("em").mags
    else:
        dataset = Dataset.open(root / "d")
        if way == "layer" and "other" not in dataset.layers:
            return False
        found = dataset.get_layer("other" if way == "layer" else "em").mags
    if 1 not in found:
        return False
    assert np.array_equal(found[1].read(absolute_bounding_box=BOX), VOXELS)
    return True


def has_agglomerates(way: str, root: Path) -> bool:
    """True if there are agglomerates, which are whole then."""
    found: tuple[Attachment, ...] = Dataset.open(root / "d").get_segmentation_layer("wide").attachments.agglomerates
    if way == "agglomerate directory" and (path := root / "new" / "main").exists():
        found = (AgglomerateAttachment.from_path_and_name(path, "main", data_format="zarr3"),)
    for each in found:
        assert isinstance(each, AgglomerateAttachment)
        assert (list(each.to_graph().nodes), list(each.to_graph().edges)) == ([1, 2, 5, 3, 4], [(2, 5)])
    return bool(found)


def is_wider(dataset: Dataset) -> bool:
    """True if the layer has the copied mag; its box has grown then, and not before."""
    layer = dataset.get_layer("small")
    done = 1 in layer.mags
    assert layer.bounding_box == (BOX if done else SMALL)
    assert np.array_equal(layer.get_mag(2).read()[:, :8, :8, :8], VOXELS[:, :8, :8, :8])
    assert not done or np.array_equal(layer.get_mag(1).read(), VOXELS)
    assert not [problem for problem in verify_dataset(dataset.path).problems if problem.kind is not Kind.LEFTOVER]
    return done


def is_renamed(dataset: Dataset) -> bool:
    """True if the layer has its new name; under either, all that belongs to it is there, and proven."""
    (name,) = {"em", "raw"} & {*dataset.layers}
    other = {"raw": "em", "em": "raw"}[name]
    assert np.array_equal(dataset.get_layer(name).get_mag(2).read(absolute_bounding_box=BOX), VOXELS[:, ::2, ::2, ::2])
    assert np.array_equal(dataset.get_layer("other").get_mag(2).read(absolute_bounding_box=BOX), VOXELS[:, ::2, ::2, ::2])
    requests = (DownsampleRequest(dataset.path, layer=each, coarsest=Mag(4)) for each in (name, "other"))
    assert [make_downsample_plan(request, Sizing.local(1)).units_to_do for request in requests] == [0, 0]
    assert not [problem for problem in verify_dataset(dataset.path).problems if problem.kind is not Kind.LEFTOVER]
    places = (dataset.path, dataset.path / ".wkpipe" / "ledger", dataset.path / ".wkpipe" / "published")
    assert not [path for place in places for path in place.glob(f"{other}*")]
    return name == "raw"


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("way", CALLS)
def test_a_fault_leaves_the_old_or_the_new_state(way: str, tmp_path: Path) -> None:
    begin = start(tmp_path / f"{way}-start")
    shutil.copytree(begin, tmp_path / f"{way}-0", symlinks=True)
    counted = in_child(lambda: CALLS[way](tmp_path / f"{way}-0"), FaultyOs())
    assert counted.exit_code == 0, counted.message
    chosen = list(range(1, counted.calls + 1))
    rng = random.Random(f"{SEED}-{way}")
    if SCALE <= 1:
        chosen = sorted(rng.sample(chosen, min(12, len(chosen))))
    states = set()
    for at in chosen:
        root, fault = tmp_path / f"{way}-{at}", rng.choice(["kill", "kill", "power", "EIO", "ENOSPC"])
        shutil.copytree(begin, root, symlinks=True)
        stash = tmp_path / f"stash-{at}"
        stash.mkdir()
        outcome = in_child(lambda root=root: CALLS[way](root), FaultyOs(at, fault, stash))
        what = f"{fault} at call {at}: {outcome.message}"
        assert outcome.exit_code != DEFECT, what
        assert (outcome.exit_code is None) == (fault in ("kill", "power")), what
        assert np.array_equal(Dataset.open(root / "source").get_layer("em").get_mag(1).read(), VOXELS), what
        done = is_new(way, root)
        states.add(done)
        if not done:
            CALLS[way](root)
            assert is_new(way, root), what
        assert not [path for path in root.rglob("*.making") if path.is_dir()] or (fault == "kill" and done), what
        shutil.rmtree(root)
    assert False in states
