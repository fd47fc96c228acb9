"""Plan the coarser mags of layers: which are made, from which finer mag, and how they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from wkpipe.errors import InputRefused, MetadataError
from wkpipe.formats.base import Compression
from wkpipe.geometry import Mag
from wkpipe.geometry.box import Box
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.from_mag import FromMag
from wkpipe.plan.origins.from_other_mag import FromOtherMag
from wkpipe.plan.request import DownsampleRequest, Storing
from wkpipe.plan.wishes.layout import Layout
from wkpipe.sampling import InterpolationMode, Ladder, downsample_ladder, listed_ladder
from wkpipe.stored.dataset import array_corner, box_in_mag


def with_compression(wanted: Storing, inherited: Storing, source: Compression | None) -> Storing:
    """Return `inherited` with the compression of a layer's new mags: as wanted now, else as the `source` mag.

    A source without a known level has the level of the dataset, if that has one.
    """
    level = wanted.level
    compress = wanted.compress and (inherited.compress or level is not None)
    if level is None and source is not None and source.kind == "zstd" and source.named is None:
        level = source.level if source.level in range(1, 23) else inherited.level
    return replace(inherited, compress=compress, level=level)


def ladder_of(
    request: DownsampleRequest, layer: LayerProperties, voxel_size_nm: Sequence[float], existing: Sequence[Mag], others: Sequence[Mag]
) -> Ladder:
    """Return the mag to start from and the wanted mags; there are none if the layer is already as coarse as wanted.

    If the request names the mag to start from, wanted mags may be among the `existing` ones.

    Raises:
        InputRefused: the wanted mag cannot be reached, or the layer is empty or has no mag.
    """
    try:
        if request.targets:
            return listed_ladder(existing, request.from_mag, request.targets, request.sampling)
        if (found := _ladder_that_is_there(request, existing)) is not None:
            return found
        return downsample_ladder(
            voxel_size_nm,
            layer.box,
            existing,
            from_mag=request.from_mag,
            coarsest_mag=request.coarsest,
            mode=request.sampling,
            align_with=request.aligned(tuple(others)),
            force=request.is_forced,
            allow_existing=request.from_mag is not None,
        )
    except InputRefused as error:
        raise error.within(f"layer {layer.name}") from None


def _ladder_that_is_there(request: DownsampleRequest, existing: Sequence[Mag]) -> Ladder | None:
    """Return a ladder without mags if the layer's coarsest mag is as coarse as wanted; None if it is not.

    Raises:
        InputRefused: all mags are coarser than wanted.
    """
    coarsest = request.coarsest
    if request.from_mag is not None or coarsest is None or not existing or coarsest > max(existing):
        return None
    finest = min(existing)
    if coarsest < finest:
        raise InputRefused(f"the coarsest mag {coarsest} is finer than the finest mag {finest}", fix=f"choose {finest} or a coarser one")
    return Ladder(max(existing), (), request.sampling, ())


def downsampled(
    layer: LayerProperties, mag: Mag, from_mag: Mag, interpolation: InterpolationMode, layout: Layout, from_channel: int = 0
) -> MagPlan:
    """Plan one coarser mag of a layer, with only the layer's own channels."""
    if not layer.data_format.is_writable:
        fix = "convert it to zarr3, zarr or wkw with another tool first"
        raise InputRefused(f"layer {layer.name} is stored as {layer.data_format}, which wkpipe only reads", fix=fix)
    source = box_in_mag(layer.bounding_box(), from_mag)
    return layout.mag_plan(layer, mag, FromMag(from_mag, Box.of(source), interpolation, channel=from_channel))


def refreshed(recipe: MagPlan, origin: FromOtherMag, layer: LayerProperties) -> MagPlan:
    """Return the recipe of an existing mag with this origin, updated to the layer's present box and channels.

    Raises:
        MetadataError: the layer now has another type of voxels; or its channels start earlier in the source mag's array than
            in this mag's array, which was made from it.
    """
    from_channel = channel_index(layer, origin.mag) - channel_index(layer, recipe.mag)
    if from_channel < 0:
        raise MetadataError(
            where=f"layer {layer.name}, mag {recipe.mag}",
            found=f"channelIndex {channel_index(layer, recipe.mag)}",
            expected=f"0 to {channel_index(layer, origin.mag)}, that of mag {origin.mag}",
            fix="correct it in datasource-properties.json",
        )
    if recipe.spec.dtype != layer.dtype:
        raise MetadataError(
            where=f"layer {layer.name}, mag {recipe.mag}",
            found=f"{layer.dtype} per channel in datasource-properties.json",
            expected=f"{recipe.spec.dtype} as it was made with",
            fix="correct elementClass, or make the mag again with --overwrite-existing",
        )
    target, source = box_in_mag(layer.bounding_box(), recipe.mag), box_in_mag(layer.bounding_box(), origin.mag)
    corner = array_corner(target, layer.axes)
    shape = tuple(-(-end // shard) * shard for end, shard in zip(corner, recipe.spec.shard_shape, strict=True))
    spec = replace(recipe.spec, shape=shape)
    return replace(recipe, spec=spec, box=Box.of(target), origin=origin.updated(Box.of(source), from_channel))


def channel_index(layer: LayerProperties, mag: Mag) -> int:
    """Return the index of the layer's first channel in the array of a mag; 0 for a mag that does not exist yet."""
    return next((entry.channel_index for entry in layer.mags if entry.mag == mag), 0)


def chain(request: DownsampleRequest, layer: LayerProperties, from_mag: Mag, mags: Sequence[Mag], storing: Storing) -> list[MagPlan]:
    """Plan a ladder whose arrays are stored like this, which may be inherited from the layer's conversion.

    `from_mag` may be a mag that `layer` does not have yet: such mags contain only the layer's channels.
    """
    if not mags:
        return []
    interpolation = request.interpolation or InterpolationMode.parse("default", layer.category)
    layout = Layout.of(storing, layer)
    plans = []
    from_channel = channel_index(layer, from_mag)
    for mag in mags:
        plans.append(downsampled(layer, mag, from_mag, interpolation, layout, from_channel))
        from_mag, from_channel = mag, 0
    return plans
