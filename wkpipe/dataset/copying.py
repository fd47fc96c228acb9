"""Copies that scripts ask for: what is copied, how it will be stored, and the run that makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from wkpipe.dataset.errors import DatasetDiffers, DatasetExists
from wkpipe.dataset.executors import RunOptions, SubmitsCalls, checked_executor
from wkpipe.dataset.live_layer import LiveLayer
from wkpipe.dataset.live_properties import LiveProperties
from wkpipe.dataset.new_layer import layer_like, writable_format
from wkpipe.dataset.new_mag import WantedLayout
from wkpipe.dataset.runs import run_copies
from wkpipe.errors import AlreadyExists, ExistsDifferently, InputRefused
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import Mag
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.units import VoxelSize
from wkpipe.plan.wishes.copying import CopyRequest, LayerCopies, MagCopy, Recoding, RecodingRequest
from wkpipe.storage.lease import Epoch
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.locations import STATE_NAME
from wkpipe.stored.swap import load_swap

StoredMag: TypeAlias = tuple[StoredDataset, LayerProperties, MagProperties]
"""A mag by its dataset, and its entries in the properties."""


def recoding_of(wanted: WantedLayout) -> Recoding:
    """Return how copies are stored.

    Raises:
        InputRefused: shard shape and chunks per shard were both given.
    """
    if wanted.shard_shape is not None and wanted.chunks_per_shard is not None:
        what = f"shard_shape={wanted.shard_shape} and chunks_per_shard={wanted.chunks_per_shard} contradict each other"
        raise InputRefused(what, fix="give shard_shape only")
    return Recoding(wanted.chunk_shape, wanted.shard_shape, wanted.chunks_per_shard, wanted.compress)


def copy_mag(
    layer: LiveLayer, source: StoredMag, mag: Mag | None, extends_box: bool, recoding: Recoding, exists_ok: bool, options: RunOptions
) -> Mag:
    """Copy a mag into a layer, and return the mag of the copy.

    The mag becomes visible when it is complete, and the layer's box grows with it.

    Raises:
        AlreadyExists: the layer has the mag.
        WkpipeError: see `plan_copies` and `run_here`.
    """
    layer.live.check_writable()
    properties = layer.properties
    copy = _copy_of(source, recoding, mag)
    if any(entry.mag == copy.mag for entry in properties.mags) and not exists_ok:
        raise AlreadyExists(f"layer {layer.name} already has mag {copy.mag}", fix="use get_mag, pass exists_ok=True, or delete it first")
    copy.check_fits(properties)
    wanted = properties.reaching(copy.box) if extends_box else properties
    copy_layers(layer.live, None, [LayerCopies(wanted, False, (copy,))], exists_ok, options)
    return copy.mag


def copy_layers(
    live: LiveProperties,
    new: DatasetProperties | None,
    layers: Sequence[LayerCopies],
    exists_ok: bool,
    options: RunOptions,
    first: Callable[[Epoch], None] = lambda _: None,
) -> None:
    """Copy layers into a dataset; `new` are its properties if it does not exist yet. Raises as `copy_mag`.

    `first` is called in the run before the first task.
    """
    live.check_writable()

    def begin() -> None:
        if new is not None:
            live.file.create(new)

    run_copies(CopyRequest(live.fixed.dataset, tuple(layers), exists_ok, new), options, begin, first)


def recode(live: LiveProperties, mags: Mapping[str, tuple[Mag, ...]], recoding: Recoding, executor: SubmitsCalls | None) -> None:
    """Store mags, given by layer, in another way in their places.

    Raises:
        WrongType: the executor has no `submit`.
        WkpipeError: see `plan_recoding` and `run_here`.
    """
    live.check_writable()
    checked_executor(executor)
    end_swaps(live)
    run_copies(RecodingRequest(live.fixed.dataset, mags, recoding), RunOptions(executor))


def end_swaps(live: LiveProperties) -> None:
    """End what an earlier run has begun: to put mags in the places of old ones."""
    unfinished = [layer.name for layer in live.current().layers if load_swap(live.locations, layer.name) is not None]
    if unfinished:
        run_copies(RecodingRequest(live.fixed.dataset, dict.fromkeys(unfinished, ()), Recoding()), RunOptions())


def copy_to_dataset(source: StoredMag, path: Path, recoding: Recoding, executor: SubmitsCalls | None) -> None:
    """Copy one mag to the layer of the same name of another dataset, both of which are made if they are missing.

    Raises:
        AlreadyExists: the layer has the mag.
        WkpipeError: see `plan_copies` and `run_here`.
    """
    stored, layer, _ = source
    live, new = target_of_copy(stored, path, None, exists_ok=True)
    target = live.current() if new is None else new
    copy = _copy_of(source, recoding)
    if target.has_layer(layer.name):
        there = target.layer(layer.name)
        copy.check_fits(there)
        wanted = LayerCopies(there.reaching(copy.box), False, (copy,))
    else:
        wanted = LayerCopies(_like(layer, layer.name, None), True, (copy,))
    copy_layers(live, new, [wanted], exists_ok=False, options=RunOptions(executor))


def target_of_copy(
    stored: StoredDataset, path: Path, voxel_size: VoxelSize | None, exists_ok: bool
) -> tuple[LiveProperties, DatasetProperties | None]:
    """Return the dataset to copy to, and its properties if it does not exist yet.

    Raises:
        DatasetExists: the directory contains a dataset, which may not exist, or other files.
        DatasetDiffers: it contains a dataset with another voxel size.
        InputRefused: it is in the dataset to copy.
    """
    source = stored.properties
    live, size = LiveProperties(path, read_only=False), voxel_size or source.voxel_size
    if stored.locations.dataset in live.fixed.dataset.parents:
        raise InputRefused("it is in the dataset that is to be copied", where=path, fix="choose a directory outside of it")
    if not live.file.is_there():
        if {*live.fixed.data.names()} - {STATE_NAME}:
            raise DatasetExists(f"{path} exists and is not empty, but is not a dataset", fix="choose another directory")
        return live, replace(source, name=path.name, voxel_size=size, layers=())
    if not exists_ok:
        raise DatasetExists(f"{path} already contains a dataset", fix="choose another directory, or pass exists_ok=True")
    if live.current().voxel_size.nm != size.nm:
        raise DatasetDiffers(f"{path} contains a dataset with the voxel size {live.current().voxel_size}, not {size}")
    return live, None


def layer_copies(
    target: DatasetProperties,
    stored: StoredDataset,
    source: LayerProperties,
    name: str | None,
    data_format: DataFormat | str | None,
    recoding: Recoding,
    exists_ok: bool,
) -> LayerCopies:
    """Return the copies of all mags of a layer, and the layer that they become in the target.

    Raises:
        AlreadyExists: the target has a layer with that name, and `exists_ok` is False.
        ExistsDifferently: it has one that is not like the copy.
        InputRefused: the name or the format is not possible.
    """
    name = source.name if name is None else name
    copies = tuple(_copy_of((stored, source, entry), recoding) for entry in source.mags)
    if target.has_layer(name) and exists_ok:
        layer = target.layer(name)
        if data_format is not None and writable_format(data_format) is not layer.data_format:
            raise ExistsDifferently(f"layer {name} exists with data_format {layer.data_format}, not {data_format}")
        for copy in copies:
            copy.check_fits(layer)
        return LayerCopies(layer.reaching(source.bounding_box()), False, copies)
    layer = _like(source, name, data_format)
    target.with_new_layer(layer)  # refuses it if there is one of that name
    return LayerCopies(layer, True, copies)


def _copy_of(source: StoredMag, recoding: Recoding, mag: Mag | None = None) -> MagCopy:
    stored, layer, entry = source
    spec = stored.open_mag(layer, entry).spec
    return MagCopy(stored.locations.dataset, layer, entry.mag, spec, entry.mag if mag is None else mag, recoding)


def _like(source: LayerProperties, name: str, data_format: DataFormat | str | None) -> LayerProperties:
    """Return the entry of a layer without mags that has the properties of another one; the default order of axes if it may."""
    if data_format is None:
        data_format = source.data_format if source.data_format.is_writable else DataFormat.ZARR3
    plain = replace(source, data_format=writable_format(data_format), mags=(), channel_index=0)
    return layer_like(plain if source.additional_axes else replace(plain, axis_order=None), name)
