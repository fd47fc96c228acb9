"""Plan a download: which layers, mags and boxes of a dataset on a server, and how they will lie on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from wkpipe.errors import InputRefused, MagNotFound, UsageError, one_line
from wkpipe.formats import make_spec
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import SPATIAL_AXES, Mag, NDBoundingBox
from wkpipe.metadata.element_class import default_num_channels
from wkpipe.metadata.layer_names import check_free_name, check_kept_apart
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.plan.mag_plan import DOWNLOAD, MagPlan
from wkpipe.plan.pyramid import compression_of, fitted
from wkpipe.plan.recipe import conversion_of
from wkpipe.plan.shapes import Shapes, default_shapes
from wkpipe.plan.target import Target
from wkpipe.server.remote import DatasetAddress, FoundDataset, RemoteDataset, find_dataset
from wkpipe.server.request import DEFAULT_URL
from wkpipe.stored.dataset import array_corner, box_in_mag
from wkpipe.stored.locations import Locations

if TYPE_CHECKING:
    from wkpipe.plan.config import Config
    from wkpipe.server.token import Token

MOST_UNITS = 1 << 20
"""Of all mags together: 1 PB of uint8 at the default size. A server names any box, and to plan a million takes some seconds."""

MANY_UNITS = 100_000
"""To plan these takes so long that the user is told."""

MOST_MAGS = 64
"""Of a layer: servers have none twice as coarse as 2^30, nor two of the same coarseness."""

MOST_MAGS_OF_A_RUN = 4096
"""To plan a mag takes a millisecond."""


@dataclass(frozen=True)
class Download:
    """What is downloaded: for every layer its properties here and the plans of its mags, from fine to coarse."""

    target: Target
    layers: Sequence[tuple[LayerProperties, Sequence[MagPlan]]]
    new_dataset: Mapping[str, Any]
    notes: Sequence[str]


def only_here(strategy: str) -> str:
    """Return why a strategy by which jobs run on other hosts can not download."""
    return (
        f"a download runs on this machine only, where its jobs get the token from memory: with {strategy} it would have to "
        "lie on a disk or in the jobs' environment; use --distribution-strategy multiprocessing (or the profile multiprocessing)"
    )


def dataset_to_download(config: Config, token: Callable[[], Token]) -> FoundDataset | None:
    """Ask the server of a config for the dataset that is to be downloaded; None where none is.

    Raises:
        WkpipeError: see `find_dataset`.
    """
    if config.download_url is None:
        return None
    return found_dataset(config.download_url, DEFAULT_URL, token(), config)


def found_dataset(place: str, server: str, token: Token, config: Config) -> FoundDataset:
    """Ask a server for the dataset at a place: the address of its page, or its name on `server`.

    Raises:
        WkpipeError: see `find_dataset`.
    """
    address = DatasetAddress.parse(place, server, config.allow_http)
    return find_dataset(address, token, config.allow_http, config.ca_file, config.proxy)


def plan_download(config: Config, found: FoundDataset, say: Callable[[str], None]) -> Download:
    """Choose what is downloaded, and see whether the target is free, or is what an earlier run of this download left.

    `say` is given a line if what follows takes long.

    Raises:
        UsageError: the config asks for something else as well.
        LayerNotFound, MagNotFound: the dataset has no such layer or mag.
        InputRefused: the box is outside; a layer can not be had as it is.
        AlreadyExists: the target holds something else.
    """
    for key, value in (("source", config.source), ("webknossos_url", config.webknossos_url)):
        if value is not None:
            raise UsageError(f"download_url and {key} exclude each other; make it two runs")
    layers = sorted(set(config.download_layers))
    mags = sorted({Mag(mag) for mag in config.download_mags}, key=Mag.to_tuple)
    canonical = {"download_layers": layers, "download_mags": [str(mag) for mag in mags], "download_url": found.remote.page}
    config = config.model_copy(update=canonical)
    target = Target.found(config, Locations.of(config.target, config.state_dir), conversion_of(config))
    properties, notes = found.properties, list[str]()
    chosen = [properties.layer(name) for name in layers] or list(properties.layers)
    if not chosen:
        raise InputRefused(f"{found.remote.page} has no layer; there is nothing to download")
    check_kept_apart(layer.name for layer in chosen)
    chosen_here = [(layer, local) for layer in chosen if (local := _local(config, layer, notes)) is not None]
    count = sum(len(mags or layer.mags) for layer, _ in chosen_here)
    if count > MOST_MAGS_OF_A_RUN:
        raise InputRefused(
            f"{found.remote.page}: there are {count} mags in {len(chosen_here)} layers, at most {MOST_MAGS_OF_A_RUN} are possible in a "
            "download; choose layers or mags (--layer, --mag)"
        )
    planned = [(local, [_mag_plan(config, local, mag, found.remote) for mag in _mags(layer, mags)]) for layer, local in chosen_here]
    if not planned:
        raise InputRefused(f"the box {config.box_to_download} touches no layer of {found.remote.page}: {'; '.join(notes)}")
    count = _checked_count([plan for _, plans in planned for plan in plans], found.remote.page)
    if count > MANY_UNITS:
        say(f"planning {count} storage shards, which takes a while")
    new = DatasetProperties(config.name or properties.name, properties.voxel_size)
    return Download(target, planned, new.to_json(), notes)


def _checked_count(plans: Sequence[MagPlan], page: str) -> int:
    """Return the units of a download, before they are listed.

    Raises:
        InputRefused: there are more than anybody could plan or want.
    """
    total = sum(plan.unit_count() for plan in plans)
    if total > MOST_UNITS:
        largest = max(plans, key=MagPlan.unit_count)
        raise InputRefused(
            f"{page}: {len(plans)} mags have {total:.3g} storage shards, at most {MOST_UNITS} are possible in a download (layer "
            f"{one_line(largest.layer, 80)}, mag {largest.mag} alone has {largest.unit_count():.3g}); choose layers, mags or a box "
            "(--layer, --mag, --bbox), or larger shards (--shard-shape)"
        )
    return total


def _local(config: Config, layer: LayerProperties, notes: list[str]) -> LayerProperties | None:
    """Return a layer as it will be here, without mags; None where the wanted box does not touch it.

    Raises:
        InputRefused: it can not be downloaded.
    """
    where = f"layer {one_line(layer.name, 80)}"
    mend = "choose the layers to download (--layer)"
    try:
        check_free_name(layer.name)
    except InputRefused as error:
        raise InputRefused(f"{error}; {mend}") from None
    if layer.additional_axes:
        more = ", ".join(one_line(axis.name, 80) for axis in layer.additional_axes)
        raise InputRefused(f"{where} has more axes than x, y, z ({more}), along which a server gives no boxes; {mend}")
    if layer.num_channels != default_num_channels(layer.element_class):
        raise InputRefused(f"{where} has {layer.num_channels} channels of {layer.dtype}, of which a server gives only the first; {mend}")
    box = layer.box if config.box_to_download is None else layer.box.intersected_with(config.box_to_download)
    if box.is_empty() and not layer.box.is_empty():
        notes.append(f"{where} ({layer.box}) does not touch the box to download and is left out")
        return None
    left_here = [f"mapping {one_line(name, 80)}" for name in layer.mappings] + (["attachments"] if layer.attachments.to_json() else [])
    if left_here:
        notes.append(f"{where}: not downloaded are {', '.join(left_here[:10])}{', …' if len(left_here) > 10 else ''}")
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
        InputRefused: it has more than any honest layer.
        MagNotFound: it has not all that are wanted; lists those that it has.
    """
    if len(layer.mags) > MOST_MAGS:
        raise InputRefused(f"layer {layer.name} has {len(layer.mags)} mags, at most {MOST_MAGS} are possible")
    there = sorted((entry.mag for entry in layer.mags), key=Mag.to_tuple)
    for mag in wanted:
        if mag not in there:
            names = ", ".join(map(str, there)) or "none"
            raise MagNotFound(f"layer {layer.name} has no mag {mag}, it has {names}; choose one of these, or other layers (--layer)")
    yield from wanted or there


def _mag_plan(config: Config, layer: LayerProperties, mag: Mag, remote: RemoteDataset) -> MagPlan:
    box = box_in_mag(layer.bounding_box(), mag)
    shapes: Shapes = default_shapes(DataFormat(config.data_format), layer.box.size.z, config.chunk, config.shard)
    compression = compression_of(config, layer)
    if config.shard is None:
        shapes = fitted(shapes, layer, box, compression)
    spec = make_spec(
        layer.data_format,
        layer.axes,
        array_corner(box, layer.axes),
        layer.dtype,
        layer.num_channels,
        shapes.chunk,
        shapes.shard,
        compression,
    )
    source = {"server": remote.server, "dataset": remote.dataset_id}
    return MagPlan(layer.name, mag, spec, (box.topleft_xyz, box.bottomright_xyz), DOWNLOAD, source=source)
