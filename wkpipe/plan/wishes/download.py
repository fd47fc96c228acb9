"""What a download makes: the layers, mags and boxes of a dataset on a server, and how they are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from wkpipe.errors import InputRefused, MagNotFound, UsageError, one_line
from wkpipe.geometry import SPATIAL_AXES, Mag, NDBoundingBox
from wkpipe.metadata.element_class import default_num_channels
from wkpipe.metadata.layer_names import check_free_name, check_kept_apart
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.from_server import FromServer
from wkpipe.plan.request import Storing
from wkpipe.plan.wishes.layout import Layout
from wkpipe.plan.wishes.new_dataset import NewDataset, NewLayer
from wkpipe.server.download.remote import FoundDataset

if TYPE_CHECKING:
    from wkpipe.plan.config import Config

MOST_UNITS = 1 << 20
"""The units of all mags together: 1 PB of uint8 at the default size. A server may name any box, and planning a million units
takes some seconds."""

MANY_UNITS = 100_000
"""Planning more units than this takes so long that it is announced."""

MOST_MAGS = 64
"""The mags of a layer: servers have none coarser than 2^30, and no two that are equally coarse."""

MOST_MAGS_OF_A_RUN = 4096
"""Planning a mag takes a millisecond."""


def canonical_download(config: Config, found: FoundDataset) -> Config:
    """Return the config with layers, mags and address in canonical form, so that the same download has the same config.

    Raises:
        UsageError: the config also asks for something else.
    """
    for key, value in (("source", config.source), ("webknossos_url", config.webknossos_url)):
        if value is not None:
            raise UsageError(f"download_url and {key} exclude each other", fix="make it two runs")
    mags = sorted({Mag(mag) for mag in config.download_mags}, key=Mag.to_tuple)
    canonical = {
        "download_layers": sorted(set(config.download_layers)),
        "download_mags": [str(mag) for mag in mags],
        "download_url": found.remote.page,
    }
    return config.model_copy(update=canonical)


def download_wish(config: Config, found: FoundDataset, say: Callable[[str], None]) -> NewDataset:
    """Choose what is downloaded, and return the dataset to make from it; `say` is called with a line if that takes long.

    Raises:
        LayerNotFound, MagNotFound: the server's dataset has no such layer or mag.
        InputRefused: the box is outside of the layers; a layer cannot be downloaded as it is; the download is too large.
    """
    properties, notes = found.properties, list[str]()
    mags = [Mag(mag) for mag in config.download_mags]
    chosen = [properties.layer(name) for name in config.download_layers] or list(properties.layers)
    if not chosen:
        raise InputRefused("the dataset has no layer, there is nothing to download", where=found.remote.page)
    check_kept_apart(layer.name for layer in chosen)
    chosen_here = [(layer, local) for layer in chosen if (local := _local(config, layer, notes)) is not None]
    count = sum(len(mags or layer.mags) for layer, _ in chosen_here)
    if count > MOST_MAGS_OF_A_RUN:
        raise InputRefused(
            where=found.remote.page,
            found=f"{count} mags in {len(chosen_here)} layers",
            expected=f"at most {MOST_MAGS_OF_A_RUN} in a download",
            fix="choose layers or mags (--layer, --mag)",
        )
    origin = FromServer.of(found.remote)
    layers = [
        NewLayer(local, [Layout.of(Storing.of(config), local).mag_plan(local, mag, origin) for mag in _mags(layer, mags)], found.remote)
        for layer, local in chosen_here
    ]
    if not layers:
        raise InputRefused(f"the box {config.box_to_download} touches no layer of {found.remote.page}: {'; '.join(notes)}")
    count = _checked_count([plan for layer in layers for plan in layer.plans], found.remote.page)
    if count > MANY_UNITS:
        say(f"planning {count} storage shards, which takes a while")
    name = config.name or properties.name
    return NewDataset(layers, name, DatasetProperties(name, properties.voxel_size).to_json(), notes)


def _checked_count(plans: Sequence[MagPlan], page: str) -> int:
    """Return the number of units of a download, without listing them.

    Raises:
        InputRefused: there are more than `MOST_UNITS`.
    """
    total = sum(plan.unit_count() for plan in plans)
    if total > MOST_UNITS:
        largest = max(plans, key=MagPlan.unit_count)
        raise InputRefused(
            f"{len(plans)} mags have {total:.3g} storage shards, at most {MOST_UNITS} are possible in a download "
            f"(layer {one_line(largest.layer, 80)}, mag {largest.mag} alone has {largest.unit_count():.3g})",
            where=page,
            fix="choose layers, mags or a box (--layer, --mag, --bbox), or larger shards (--shard-shape)",
        )
    return total


def _local(config: Config, layer: LayerProperties, notes: list[str]) -> LayerProperties | None:
    """Return the local layer, without mags; None if the wanted box does not touch it.

    Raises:
        InputRefused: the layer cannot be downloaded.
    """
    where = f"layer {one_line(layer.name, 80)}"
    fix = "choose the layers to download (--layer)"
    try:
        check_free_name(layer.name)
    except InputRefused as error:
        raise error.but(fix=fix) from None
    if layer.additional_axes:
        more = ", ".join(one_line(axis.name, 80) for axis in layer.additional_axes)
        raise InputRefused(f"the axes {more} cannot be downloaded, a server only sends boxes along x, y, z", where=where, fix=fix)
    if layer.num_channels != default_num_channels(layer.element_class):
        channels = f"{layer.num_channels} channels of {layer.dtype}"
        raise InputRefused(f"it has {channels}, of which a server sends only the first", where=where, fix=fix)
    box = layer.box if config.box_to_download is None else layer.box.intersected_with(config.box_to_download, dont_assert=True)
    if box.is_empty() and not layer.box.is_empty():
        notes.append(f"{where} ({layer.box}) does not touch the box to download and is left out")
        return None
    left_here = [f"mapping {one_line(name, 80)}" for name in layer.mappings] + (["attachments"] if layer.attachments.to_json() else [])
    if left_here:
        notes.append(f"{where}: these are not downloaded: {', '.join(left_here[:10])}{', …' if len(left_here) > 10 else ''}")
    whole = NDBoundingBox([0, *box.topleft], [layer.num_channels, *box.size], ("c", *SPATIAL_AXES))
    local = LayerProperties.for_box(layer.name, layer.category, config.data_format, layer.dtype, whole, layer.num_channels)
    view = layer.default_view_configuration
    return replace(
        local,
        default_view_configuration=None if view is None else replace(view, extra={}),
        coordinate_transformations=layer.coordinate_transformations,
        largest_segment_id=layer.largest_segment_id,
    )


def _mags(layer: LayerProperties, wanted: Sequence[Mag]) -> Iterator[Mag]:
    """Yield the mags of a layer to download, from fine to coarse.

    Raises:
        InputRefused: the layer has more than `MOST_MAGS`.
        MagNotFound: the layer lacks a wanted mag; the error lists the mags that it has.
    """
    if len(layer.mags) > MOST_MAGS:
        raise InputRefused(f"layer {layer.name} has {len(layer.mags)} mags, at most {MOST_MAGS} are possible")
    there = sorted((entry.mag for entry in layer.mags), key=Mag.to_tuple)
    for mag in wanted:
        if mag not in there:
            names = ", ".join(map(str, there)) or "none"
            raise MagNotFound(f"layer {layer.name} has no mag {mag}, it has {names}", fix="choose one of these, or other layers (--layer)")
    yield from wanted or there
