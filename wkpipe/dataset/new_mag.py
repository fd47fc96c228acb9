"""New mags: the layout that the caller wants, checked and completed, and the empty array with this layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from wkpipe.dataset.array_info import ArrayInfo
from wkpipe.dataset.caller import warn_caller
from wkpipe.dataset.errors import WrongType
from wkpipe.dataset.live_layer import LiveLayer
from wkpipe.errors import AlreadyExists, ExistsDifferently, InputRefused, MetadataError
from wkpipe.formats import create_array, default_compression, make_spec, open_array
from wkpipe.formats.base import NO_COMPRESSION, ArraySpec, DataFormat
from wkpipe.geometry import Mag, Vec3Int, Vec3IntLike
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.plan.state.recipe import load_recipe
from wkpipe.plan.wishes.layout import fitted
from wkpipe.plan.wishes.shapes import SHARD_EDGE, Shapes, default_shapes
from wkpipe.runs.permission import check_all_removable
from wkpipe.steps.growth import last_corner
from wkpipe.storage.scratch import Scratch
from wkpipe.stored.axes import spatial
from wkpipe.stored.dataset import box_in_mag
from wkpipe.stored.identity import MagIdentity, ensure_dataset_id, identity_file
from wkpipe.stored.lease import Lookout

_USUAL_CHUNKS: Final = (Vec3Int.full(32), Vec3Int.full(64))


def checked_shape(value: Vec3IntLike | int | None) -> Vec3Int | None:
    """Return a shape as a vector; None if none is given.

    >>> checked_shape(32)
    Vec3Int(32, 32, 32)

    Raises:
        InputRefused: the value is neither a positive integer nor three of them.
    """
    if value is None:
        return None
    try:
        vector = Vec3Int.from_vec_or_int(value)
    except (ValueError, TypeError):
        vector = Vec3Int.zeros()
    if not vector.is_positive(strictly_positive=True):
        raise InputRefused(f"shape {value!r} is not valid", expected="a positive integer like 32, or three like 32,32,32")
    return vector


@dataclass(frozen=True)
class WantedLayout:
    """How the caller wants a mag to be stored; None accepts any."""

    chunk_shape: Vec3Int | None
    shard_shape: Vec3Int | None
    chunks_per_shard: Vec3Int | None
    compress: bool | None

    @classmethod
    def of(
        cls,
        chunk_shape: Vec3IntLike | int | None,
        shard_shape: Vec3IntLike | int | None,
        chunks_per_shard: Vec3IntLike | int | None,
        compress: bool | None,
    ) -> WantedLayout:
        """Return the layout that the caller's arguments describe.

        Raises:
            InputRefused: see `checked_shape`.
            WrongType: `compress` is not True or False.
        """
        if compress not in (None, True, False):
            raise WrongType(f"compress={compress!r} is not possible", expected="True or False")
        return cls(checked_shape(chunk_shape), checked_shape(shard_shape), checked_shape(chunks_per_shard), compress)

    @property
    def is_compressed(self) -> bool:
        """True if chunks of a new mag are compressed, which is the default."""
        return self.compress is not False

    def check_same(self, layer: str, mag: Mag, found: ArrayInfo) -> None:
        """Refuse a mag that is stored in another way.

        Raises:
            ExistsDifferently: the mag differs; the error names the first difference.
        """
        given = {
            "chunk_shape": self.chunk_shape,
            "shard_shape": self.shard_shape,
            "chunks_per_shard": self.chunks_per_shard,
            "compression_mode": self.compress,
        }
        for name, value in given.items():
            if value is not None and getattr(found, name) != value:
                raise ExistsDifferently(f"mag {mag} exists with {name} {getattr(found, name)}, not {value}", where=f"layer {layer}")

    def shapes(self, layer: LayerProperties, mag: Mag) -> Shapes:
        """Return the shapes of a new mag: given ones, else the defaults.

        The first mag of a layer gets full shards however thin the layer is, because it may still grow; for later mags
        the layer's box decides.

        Raises:
            InputRefused: shard shape and chunks per shard were both given.
        """
        chunk, shard = self.chunk_shape, self.shard_shape
        if shard is not None and self.chunks_per_shard is not None:
            raise InputRefused(
                f"shard_shape={shard} and chunks_per_shard={self.chunks_per_shard} contradict each other", fix="give shard_shape only"
            )
        depth = layer.box.size.z if layer.mags else SHARD_EDGE
        if self.chunks_per_shard is not None:
            shard = (chunk or default_shapes(layer.data_format, depth).chunk) * self.chunks_per_shard
        shapes = default_shapes(layer.data_format, depth, chunk, shard)
        if shard is not None or not layer.mags:
            return shapes
        compression = default_compression(layer.data_format) if self.is_compressed else NO_COMPRESSION
        return fitted(shapes, layer, box_in_mag(layer.bounding_box(), mag), compression)

    def spec(self, layer: LayerProperties, mag: Mag) -> ArraySpec:
        """Return the layout of a new mag's array, which ends with the layer's box, rounded up to whole shards.

        Raises:
            InputRefused: the layer's format does not allow it.
        """
        chosen, end = self.shapes(layer, mag), last_corner(layer, mag)
        shapes = (chosen.chunk, chosen.shard)
        return make_spec(layer.data_format, layer.axes, end, layer.dtype, layer.num_channels, *shapes, self.is_compressed)


def make_mag(layer: LiveLayer, mag: Mag, wanted: WantedLayout) -> None:
    """Create the empty array of a mag and register it.

    Raises:
        AlreadyExists: the layer has the mag, or its directory contains data that do not belong to the dataset.
        InputRefused: the shapes or the format do not allow it; nothing was made.
        TryAgain: a run works on the dataset.
    """

    made: dict[Mag, ArraySpec] = {}

    def specs(found: LayerProperties) -> dict[Mag, ArraySpec]:
        if any(entry.mag == mag for entry in found.mags):
            raise AlreadyExists(f"layer {layer.name} already has mag {mag}", fix="use get_mag or get_or_add_mag, or delete it first")
        made[mag] = wanted.spec(found, mag)
        return made

    make_mags(layer, specs)
    chunk = spatial(made[mag], made[mag].chunk_shape)
    if chunk not in _USUAL_CHUNKS:
        warn_caller(f"chunk shape {chunk}: WEBKNOSSOS works best with 32,32,32 or 64,64,64")


def make_mags(layer: LiveLayer, specs: Callable[[LayerProperties], Mapping[Mag, ArraySpec]]) -> None:
    """Create the empty arrays of mags and register them in one change; `specs` returns their layouts for the present layer.

    Raises:
        AlreadyExists: the directory of a mag contains data that do not belong to the dataset.
        InputRefused: the properties cannot have such mags; nothing was made.
        TryAgain: a run works on the dataset.
    """
    live, name = layer.live, layer.name

    def change(properties: DatasetProperties) -> DatasetProperties:
        found = properties.layer(name)
        made = specs(found)
        # New arrays contain only the layer's channels.
        entry = replace(found, channel_index=0)
        for mag, spec in made.items():
            length = spatial(spec, spec.shard_shape).x if spec.data_format is DataFormat.WKW else None
            entry = entry.with_mag(MagProperties(mag=mag, path=f"./{name}/{mag}", cube_length=length))
        changed = properties.with_layer(entry)
        live.file.check(changed)
        for mag in made:
            clear_remains(layer, mag)
        scratch = Scratch(live.fixed.temporary)
        dataset = ensure_dataset_id(live.locations, live.scratch(), scratch)
        for mag, spec in made.items():
            identity = MagIdentity.new(dataset, spec)
            identity_file(live.locations, name, mag).put(identity.to_bytes(), scratch)
            create_array(live.locations.array(name, mag), spec, live.scratch(), identity.attributes)
        return changed

    live.check_free()
    with Lookout.begin(live.fixed).refusals_checked():
        live.update(change)


def check_remains(layer: LiveLayer, mag: Mag) -> None:
    """Refuse to replace an array in the place of a new mag, unless it is empty, can be made again or is a copy.

    Raises:
        AlreadyExists: there are other data.
        InputRefused: the directory of the layer or the mag is a link.
        NotWritable: it cannot be removed.
    """
    live, properties = layer.live, layer.properties
    array = live.locations.array(layer.name, mag)
    check_all_removable((array, live.locations.ledger(layer.name, mag)))
    can_remake = load_recipe(live.locations, layer.name, mag) is not None or live.locations.copied(layer.name, mag).is_there()
    if not array.names() or can_remake:
        return
    try:
        is_empty = not any(True for _ in open_array(array, properties.data_format, properties.axes).stored_units())
    except MetadataError:
        is_empty = False
    if not is_empty:
        raise AlreadyExists(f"{array.path()} is not empty but is not a mag of layer {layer.name}", fix="move it away, or remove it")


def clear_remains(layer: LiveLayer, mag: Mag) -> None:
    """Remove the remains of an earlier mag of this name: its proofs, and its array. Raises as `check_remains`."""
    live = layer.live
    check_remains(layer, mag)
    for place in (live.locations.array(layer.name, mag), live.locations.ledger(layer.name, mag)):
        place.writing(live.scratch()).remove_below()
