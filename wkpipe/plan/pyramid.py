"""Plan the coarser mags of layers: which there will be, from what each is made, and how it lies on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from wkpipe.errors import InputRefused, MetadataError, UsageError
from wkpipe.formats import default_compression, make_spec
from wkpipe.formats.base import NO_COMPRESSION, Compression, DataFormat
from wkpipe.geometry import Mag, NDBoundingBox
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.plan.config import Config
from wkpipe.plan.mag_plan import DOWNSAMPLE, Corners, MagPlan
from wkpipe.plan.shapes import Shapes, default_shapes
from wkpipe.sampling import InterpolationMode, Ladder, SamplingMode, downsample_ladder
from wkpipe.stored.dataset import array_corner, box_in_mag


def compression_of(config: Config, layer: LayerProperties) -> Compression:
    """Return how new arrays of a layer are compressed.

    Raises:
        UsageError: there is a level, which WKW does not have.
    """
    if not config.compress:
        return NO_COMPRESSION
    if config.compression_level is None:
        return default_compression(layer.data_format)
    if layer.data_format is DataFormat.WKW:
        raise UsageError(
            f"compression level {config.compression_level}: layer {layer.name} is WKW, whose LZ4-HC has no levels; leave it out"
        )
    return default_compression(layer.data_format, config.compression_level)


def with_compression(config: Config, inherited: Config, source: Compression | None) -> Config:
    """Return `inherited` with the compression of a layer's new mags: as given now, else at the level of the `source` mag."""
    level = config.compression_level
    compress = config.compress and (inherited.compress or level is not None)
    if level is None and source is not None and source.kind == "zstd" and source.level in range(1, 23):
        level = source.level
    return inherited.model_copy(update={"compress": compress, "compression_level": level})


def ladder_of(
    config: Config, layer: LayerProperties, voxel_size_nm: Sequence[float], existing: Sequence[Mag], others: Sequence[Mag]
) -> Ladder:
    """Return the mag to start from and the mags to make; none where the layer is as coarse as wanted already.

    Raises:
        InputRefused: the wanted mag can not be reached; the layer is empty; it has no mag.
    """
    coarsest = config.coarsest
    where = f"layer {layer.name}"
    if existing and coarsest is not None:
        finest = min(existing)
        if coarsest < finest:
            raise InputRefused(
                f"{where}: the coarsest mag {coarsest} is finer than the finest mag {finest}; choose {finest} or a coarser one"
            )
        if coarsest <= max(existing):
            return Ladder(max(existing), (), SamplingMode.parse(config.sampling_mode), ())
    try:
        ladder = downsample_ladder(
            voxel_size_nm,
            layer.box,
            existing,
            coarsest_mag=coarsest,
            mode=SamplingMode.parse(config.sampling_mode),
            align_with=[*others, *existing],
        )
    except InputRefused as error:
        raise type(error)(f"{where}: {error}") from None
    return ladder


def downsampled(
    layer: LayerProperties,
    mag: Mag,
    from_mag: Mag,
    interpolation: InterpolationMode,
    shapes: Shapes,
    compression: Compression,
    from_channel: int = 0,
    is_fitted: bool = False,
) -> MagPlan:
    """Plan one coarser mag of a layer, which holds the layer's own channels alone; with `is_fitted`, see `fitted`."""
    if not layer.data_format.is_writable:
        mend = "bring it into zarr3, zarr or wkw with another tool first"
        raise InputRefused(f"layer {layer.name} is stored as {layer.data_format}, which wkpipe only reads; {mend}")
    target, source = box_in_mag(layer.bounding_box(), mag), box_in_mag(layer.bounding_box(), from_mag)
    corner = array_corner(target, layer.axes)
    if is_fitted:
        shapes = fitted(shapes, layer, target, compression)
    return MagPlan(
        layer=layer.name,
        mag=mag,
        spec=make_spec(layer.data_format, layer.axes, corner, layer.dtype, layer.num_channels, shapes.chunk, shapes.shard, compression),
        box=_corners(target),
        kind=DOWNSAMPLE,
        from_mag=from_mag,
        source_box=_corners(source),
        interpolation=interpolation,
        from_channel=from_channel,
    )


def fitted(shapes: Shapes, layer: LayerProperties, box: NDBoundingBox, compression: Compression) -> Shapes:
    """Return the default shapes for a mag with this box: those of uncompressed WKW depend on it."""
    if layer.data_format is not DataFormat.WKW or compression.is_on or box.is_empty():
        return shapes
    return shapes.for_raw_wkw(box.topleft_xyz, box.bottomright_xyz, layer.dtype.itemsize * layer.num_channels)


def refreshed(recipe: MagPlan, layer: LayerProperties) -> MagPlan:
    """Return the recipe of an existing mag for the layer's box, and its channels in the finer mag's array, of today.

    Raises:
        MetadataError: the layer has another type of voxels now; or its channels start earlier in the finer mag's array than
            in this mag's, which was made from it.
    """
    assert recipe.from_mag is not None
    from_channel = channel_index(layer, recipe.from_mag) - channel_index(layer, recipe.mag)
    if from_channel < 0:
        raise MetadataError(
            f"layer {layer.name}, mag {recipe.mag}: found channelIndex {channel_index(layer, recipe.mag)}, expected 0 to "
            f"{channel_index(layer, recipe.from_mag)}, that of mag {recipe.from_mag}; correct it in datasource-properties.json"
        )
    if recipe.spec.dtype != layer.dtype:
        raise MetadataError(
            f"layer {layer.name}, mag {recipe.mag}: found {layer.dtype} per channel in datasource-properties.json, expected "
            f"{recipe.spec.dtype} as it was made with; correct elementClass, or make the mag again with --overwrite-existing"
        )
    target, source = box_in_mag(layer.bounding_box(), recipe.mag), box_in_mag(layer.bounding_box(), recipe.from_mag)
    corner = array_corner(target, layer.axes)
    shape = tuple(-(-end // shard) * shard for end, shard in zip(corner, recipe.spec.shard_shape, strict=True))
    spec = replace(recipe.spec, shape=shape)
    return replace(recipe, spec=spec, box=_corners(target), source_box=_corners(source), from_channel=from_channel)


def channel_index(layer: LayerProperties, mag: Mag) -> int:
    """Return the first of the layer's channels in the array of a mag; 0 for a mag that is still to be made."""
    return next((entry.channel_index for entry in layer.mags if entry.mag == mag), 0)


def chain(config: Config, layer: LayerProperties, from_mag: Mag, mags: Sequence[Mag], inherited: Config) -> list[MagPlan]:
    """Plan a ladder; shapes and compression that the user gave when converting hold for coarser mags too.

    `from_mag` may be one that `layer` does not have yet: such mags hold the layer's channels alone.
    """
    interpolation = InterpolationMode.parse(config.interpolation_mode, layer.category)
    shapes = default_shapes(layer.data_format, layer.box.size.z, inherited.chunk, inherited.shard)
    plans = []
    from_channel = channel_index(layer, from_mag)
    for mag in mags:
        compression, is_fitted = compression_of(inherited, layer), inherited.shard is None
        plans.append(downsampled(layer, mag, from_mag, interpolation, shapes, compression, from_channel, is_fitted))
        from_mag, from_channel = mag, 0
    return plans


def _corners(box: NDBoundingBox) -> Corners:
    return box.topleft_xyz, box.bottomright_xyz
