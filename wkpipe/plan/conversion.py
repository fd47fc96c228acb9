"""Plan a conversion: what the images are, which layers they make, and how the finest mag lies on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wkpipe.errors import InputRefused, UsageError
from wkpipe.formats import make_spec
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import Mag, NDBoundingBox, Vec3Int
from wkpipe.images import ImageStack, inspect_source
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.units import VoxelSize
from wkpipe.metadata.view_configuration import LayerViewConfiguration
from wkpipe.plan.config import Config
from wkpipe.plan.mag_plan import CONVERT, MagPlan
from wkpipe.plan.pyramid import compression_of, fitted
from wkpipe.plan.recipe import conversion_of
from wkpipe.plan.shapes import Shapes, default_shapes
from wkpipe.plan.target import Target
from wkpipe.stored.locations import Locations

FINEST = Mag(1)


@dataclass(frozen=True)
class Conversion:
    """What a source makes: for every stack of images its layer and the plan of its finest mag, in this order."""

    target: Target
    voxel_size_nm: Sequence[float]
    stacks: Sequence[ImageStack]
    layers: Sequence[LayerProperties]
    finest: Sequence[MagPlan]
    new_dataset: Mapping[str, Any]


def plan_conversion(config: Config) -> Conversion:
    """Inspect the source and see whether the target is free, or is what an earlier run of this conversion left.

    Raises:
        UsageError: no voxel size, an unknown unit, shapes or a batch size that do not fit.
        InputRefused: the images can not be converted.
        AlreadyExists: the target holds something else.
    """
    assert config.source is not None
    if config.voxel_size is None:
        raise UsageError("a conversion needs the voxel size, as in voxel_size: [11, 11, 25] or --voxel-size 11,11,25")
    voxel_size = VoxelSize(config.voxel_size, config.unit)
    locations = Locations.of(config.target, config.state_dir)
    _check_apart(config, locations)
    target = Target.found(config, locations, conversion_of(config))
    stacks = inspect_source(config.source, config.layer_name, config.category)
    layers, finest = [], []
    for stack in stacks:
        shapes = default_shapes(DataFormat(config.data_format), stack.sizes.z, config.chunk, config.shard, from_slices=True)
        layer = _layer(config, stack)
        layers.append(layer)
        if config.shard is None:
            shapes = fitted(shapes, layer, layer.bounding_box(), compression_of(config, layer))
        finest.append(_finest(config, stack, layer, shapes))
        _check_batch_size(config, shapes)
    new = DatasetProperties(config.name or locations.dataset.name, voxel_size)
    return Conversion(
        target=target,
        voxel_size_nm=voxel_size.nm,
        stacks=stacks,
        layers=layers,
        finest=finest,
        new_dataset=new.to_json(),
    )


def _check_apart(config: Config, locations: Locations) -> None:
    assert config.source is not None
    source, target = config.source.resolve(), locations.dataset
    if source == target or target in source.parents:
        raise InputRefused(f"the source {config.source} lies in the target {config.target}; choose a target elsewhere")


def _layer(config: Config, stack: ImageStack) -> LayerProperties:
    t, _, z, y, x = stack.sizes
    channels = len(stack.channels)
    sizes = {"t": t, "c": channels, "x": x, "y": y, "z": z}
    axes = ("t", "c", "x", "y", "z") if t > 1 else ("c", "x", "y", "z")
    if t > 1 and config.data_format == "wkw":
        raise InputRefused(f"layer {stack.name} has {t} time points, which WKW can not hold; choose --data-format zarr3")
    box = NDBoundingBox([0] * len(axes), [sizes[axis] for axis in axes], axes)
    layer = LayerProperties.for_box(stack.name, stack.category, config.data_format, stack.dtype, box, channels)
    if stack.color is None:
        return layer
    return replace(layer, default_view_configuration=LayerViewConfiguration(color=stack.color))


def _finest(config: Config, stack: ImageStack, layer: LayerProperties, shapes: Shapes) -> MagPlan:
    sizes = stack.sizes._asdict()
    corner = [sizes[axis] for axis in layer.axes]
    spec = make_spec(
        layer.data_format, layer.axes, corner, layer.dtype, layer.num_channels, shapes.chunk, shapes.shard, compression_of(config, layer)
    )
    return MagPlan(
        layer=layer.name,
        mag=FINEST,
        spec=spec,
        box=(Vec3Int.zeros(), layer.box.size),
        kind=CONVERT,
        source={"sizes": list(stack.sizes), "channels": list(stack.channels)},
    )


def _check_batch_size(config: Config, shapes: Shapes) -> None:
    if config.batch_size is None:
        return
    is_wkw = config.data_format == "wkw"
    depth = shapes.chunk.z if is_wkw else shapes.shard.z
    if config.batch_size % depth:
        raise UsageError(
            f"batch size {config.batch_size} is not a multiple of the {'chunk' if is_wkw else 'shard'}'s depth {depth}; "
            f"choose {depth} or a multiple of it"
        )
