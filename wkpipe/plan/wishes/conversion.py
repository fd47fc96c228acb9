"""What a conversion makes: the layers and mags of the images, and how these are stored."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from wkpipe.errors import InputRefused, UsageError, one_line
from wkpipe.formats.base import ArraySpec
from wkpipe.geometry import Mag, NDBoundingBox
from wkpipe.images import COLOR, Arranged, ImageStack, Inspection, SourceOptions, frame_texts, inspect_source
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.units import VoxelSize
from wkpipe.metadata.view_configuration import LayerViewConfiguration
from wkpipe.plan.config import Config
from wkpipe.plan.origins.from_images import FromImages
from wkpipe.plan.request import DownsampleRequest
from wkpipe.plan.wishes.image_size import voxel_size_of
from wkpipe.plan.wishes.layout import Layout
from wkpipe.plan.wishes.new_dataset import NewDataset, NewLayer
from wkpipe.plan.wishes.pyramid import chain, ladder_of
from wkpipe.stored.axes import spatial
from wkpipe.stored.locations import Locations


def check_conversion(config: Config) -> None:
    """Check the settings of a conversion, before anything is read.

    Raises:
        UsageError: the unit of the voxel size is unknown, or the position does not fit the mag.
        InputRefused: the source is in the target.
    """
    _given_size(config)
    _check_position(config)
    _check_grouping(config)
    assert config.source is not None
    source, target = config.source.resolve(), Locations.of(config.target, config.state_dir).dataset
    if source == target or target in source.parents:
        raise InputRefused(f"the source {config.source} is in the target {config.target}", fix="choose a target elsewhere")


def conversion_wish(config: Config) -> NewDataset:
    """Inspect the source, and return the dataset to make from it.

    Raises:
        UsageError: there is no voxel size, its unit is unknown, or shapes or the batch size do not fit.
        InputRefused: the images cannot be converted, or the wanted mags cannot be made.
    """
    return _wish(config, _inspected(config))


def added_layers_wish(config: Config, allow_several: bool) -> NewDataset:
    """Inspect the source, and return the layers that are added to a dataset; a single one has the name `layer_name`.

    Raises:
        WkpipeError: see `conversion_wish`.
        InputRefused: there are several, and this is not allowed.
    """
    assert config.layer_name is not None
    found = _inspected(config)
    if len(found) > 1 and not allow_several:
        shown = ", ".join(stack.name for stack in found[:3])
        what = f"{len(found)} layers ({shown}{', …' if len(found) > 3 else ''}), because only RGB is one layer of several channels"
        raise InputRefused(
            where=config.source, found=what, expected="images of one layer", fix="give channel, or pass allow_multiple_layers=True"
        )
    if len(found) == 1:
        found = replace(found, stacks=(found[0].replace(name=config.layer_name),))
    return _wish(config, found)


def _inspected(config: Config) -> Inspection:
    assert config.source is not None
    return inspect_source(config.source, config.layer_name, config.category, _options(config))


def _wish(config: Config, inspection: Inspection) -> NewDataset:
    """Return the dataset to make from inspected images."""
    layers: list[NewLayer] = []
    voxel_size, size_notes = voxel_size_of(_given_size(config), inspection, config.finest)
    notes = [*inspection.notes, *size_notes]
    made: list[Mag] = []
    request = DownsampleRequest.of(config)
    for stack in inspection:
        layer = _layer(config, stack)
        finest = Layout.of(request.storing, layer, from_slices=True).mag_plan(layer, config.finest, FromImages.of(stack))
        plans = [finest]
        _check_batch_size(config, finest.spec)
        if config.downsample:
            ladder = ladder_of(request, layer, voxel_size.nm, [config.finest], made)
            notes += [f"layer {layer.name}: {warning}" for warning in ladder.warnings]
            plans += chain(request, layer, ladder.from_mag, ladder.mags, request.storing)
        made += [plan.mag for plan in plans]
        layers.append(NewLayer(layer, plans, stack))
    name = config.name or Locations.of(config.target, config.state_dir).dataset.name
    places = [Arranged(stack.name, said) for stack in inspection if (said := (*frame_texts(stack), *_place_texts(config)))]
    return NewDataset(layers, name, DatasetProperties(name, voxel_size).to_json(), notes, (*inspection.accounts, *places))


def _options(config: Config) -> SourceOptions:
    return replace(
        config.source_options,
        content=config.content_options,
        padding=config.padding,
        arrangement=config.arrangement,
        grouping=config.grouping,
    )


def _place_texts(config: Config) -> list[str]:
    """Return what to say about where the images are put; nothing if that is the usual place."""
    said = [] if config.topleft is None else [f"at {config.position}"]
    return [*said, f"its images are mag {config.finest}"] if config.finest != Mag(1) else said


def _check_position(config: Config) -> None:
    if any(place % factor for place, factor in zip(config.position, config.finest, strict=True)):
        raise UsageError(
            f"the position {config.position} is between voxels of mag {config.finest}",
            expected="multiples of the mag",
            fix="choose another --topleft",
        )


def _check_grouping(config: Config) -> None:
    other = "pattern" if config.pattern is not None else "concat" if config.concat is not None else None
    if other is not None and config.is_grouped:
        raise UsageError(f"{other} and a mapping of files to layers, or an order of files, were both given", fix="give one of them")
    if twice := [path for path, count in Counter(path for paths in config.layer_files.values() for path in paths).items() if count > 1]:
        raise UsageError(f"{one_line(twice[0], 100)} is in several layers of layer_files", fix="give each file to one layer")


def _given_size(config: Config) -> VoxelSize | None:
    return None if config.voxel_size is None else VoxelSize(config.voxel_size, config.unit)


def _layer(config: Config, stack: ImageStack) -> LayerProperties:
    t, _, z, y, x = stack.sizes
    channels = stack.sizes.c
    sizes = {"t": t, "c": channels, "x": x, "y": y, "z": z}
    axes = ("t", "c", "x", "y", "z") if t > 1 else ("c", "x", "y", "z")
    if t > 1 and config.data_format == "wkw":
        raise InputRefused(f"layer {stack.name} has {t} time points, which WKW cannot store", fix="choose --data-format zarr3")
    first = dict(zip("xyz", config.position, strict=True))
    factors = dict(zip("xyz", config.finest, strict=True))
    box = NDBoundingBox([first.get(axis, 0) for axis in axes], [sizes[axis] * factors.get(axis, 1) for axis in axes], axes)
    layer = LayerProperties.for_box(stack.name, stack.category, config.data_format, stack.dtype, box, channels)
    color, shown = (stack.info.color, stack.info.shown) if stack.category == COLOR else (None, None)
    view = LayerViewConfiguration(
        color=color, intensity_range=shown, is_inverted=True if stack.is_inverted and stack.category == COLOR else None
    )
    return layer if view == LayerViewConfiguration() else replace(layer, default_view_configuration=view)


def _check_batch_size(config: Config, spec: ArraySpec) -> None:
    if config.batch_size is None:
        return
    is_wkw = config.data_format == "wkw"
    depth = spatial(spec, spec.chunk_shape if is_wkw else spec.shard_shape).z
    if config.batch_size % depth:
        raise UsageError(
            f"batch size {config.batch_size} is not a multiple of the {('chunk' if is_wkw else 'shard')}'s depth {depth}",
            fix=f"choose {depth} or a multiple of it",
        )
