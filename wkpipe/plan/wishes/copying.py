"""Copies that are wanted: mags of other layers or datasets in a layer, stored as they are there or in another way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from wkpipe.errors import ExistsDifferently, InputRefused
from wkpipe.formats.base import ArraySpec, DataFormat
from wkpipe.formats.creation import DEFAULT_LEVEL
from wkpipe.geometry import Mag, NDBoundingBox, Vec3Int
from wkpipe.geometry.box import Box
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.from_array import FromArray
from wkpipe.plan.request import Storing
from wkpipe.plan.wishes.layout import Layout
from wkpipe.stored.axes import spatial
from wkpipe.stored.dataset import box_in_mag


@dataclass(frozen=True)
class Recoding:
    """How copies are stored; None means as the source, where the format allows it, else the default.

    chunk, shard: shapes in voxels. chunks_per_shard: in place of `shard`. as_stored: stored chunks are copied without decoding if the
    copy's array stores them alike.
    """

    chunk: Vec3Int | None = None
    shard: Vec3Int | None = None
    chunks_per_shard: Vec3Int | None = None
    compress: bool | None = None
    as_stored: bool = False

    def choices(self, source: ArraySpec, data_format: DataFormat) -> Iterator[Storing]:
        """Yield how a copy of an array may be stored, the best first; the last one has only what is wanted."""
        compression = source.compression
        has_level = (
            compression.kind == "zstd" and compression.level in {*range(1, 23)} - {DEFAULT_LEVEL} and data_format is not DataFormat.WKW
        )
        compress = compression.is_on if self.compress is None else self.compress
        storing = Storing(None, None, compress, compression.level if has_level and compress else None)
        chunk, shard = spatial(source, source.chunk_shape), spatial(source, source.shard_shape)
        wanted = self.shard
        if self.chunks_per_shard is not None:
            wanted = (self.chunk or chunk) * self.chunks_per_shard
        if wanted is None and (source.is_sharded or source.data_format is data_format):
            yield replace(storing, chunk=self.chunk or chunk, shard=shard)
        if self.chunk is None:
            yield replace(storing, chunk=chunk, shard=wanted)
        yield replace(storing, chunk=self.chunk, shard=wanted)


@dataclass(frozen=True)
class MagCopy:
    """A mag to copy, and the copy's mag: the voxels are the same, so the box in mag 1 is another one if the mags differ.

    dataset: the absolute path of the dataset that the mag is in. layer: its layer. spec: the layout of its array.
    """

    dataset: Path
    layer: LayerProperties
    source: Mag
    spec: ArraySpec
    mag: Mag
    recoding: Recoding

    @property
    def voxels(self) -> NDBoundingBox:
        """The box of the voxels to copy."""
        return box_in_mag(self.layer.bounding_box(), self.source)

    @property
    def box(self) -> NDBoundingBox:
        """The box of the copy, in mag-1 voxels."""
        return self.layer.bounding_box() if self.mag == self.source else self.voxels.from_mag_to_mag1(self.mag)

    def check_fits(self, layer: LayerProperties) -> None:
        """Refuse a layer that cannot hold the voxels.

        Raises:
            ExistsDifferently: it has another dtype, or other channels or axes.
        """
        others = [sorted({*each.axes} - {*"cxyz"}) for each in (self.layer, layer)]
        for what, found, expected in (
            ("dtype", self.layer.dtype, layer.dtype),
            ("channels", self.layer.num_channels, layer.num_channels),
            ("additional axes", *others),
        ):
            if found != expected:
                where = f"layer {layer.name}, mag {self.mag}"
                raise ExistsDifferently(where=where, found=f"{what} {found} in {self.dataset}", expected=f"{expected} as the layer has")

    def plan(self, layer: LayerProperties) -> MagPlan:
        """Return the plan of the copy in a layer; it covers the layer's box.

        Raises:
            InputRefused: the layer's format cannot store it as it is wanted.
        """
        channel, as_stored = self.layer.mag(self.source).channel_index, self.recoding.as_stored
        origin = FromArray(str(self.dataset), self.layer.name, self.source, Box.of(self.voxels), channel, as_stored)
        *better, last = self.recoding.choices(self.spec, layer.data_format)
        for storing in better:
            with contextlib.suppress(InputRefused):
                return Layout.of(storing, layer).mag_plan(layer, self.mag, origin)
        return Layout.of(last, layer).mag_plan(layer, self.mag, origin)


@dataclass(frozen=True)
class LayerCopies:
    """The copies to make in one layer, as it will be; `is_new` is True if the dataset does not have it yet."""

    layer: LayerProperties
    is_new: bool
    mags: tuple[MagCopy, ...]


@dataclass(frozen=True)
class CopyRequest:
    """The copies to make in a dataset; `new` are its properties if it does not exist yet.

    `exists_ok` lets mags exist that are the same copies; they are brought up to date.
    """

    dataset: Path
    layers: tuple[LayerCopies, ...]
    exists_ok: bool = False
    new: DatasetProperties | None = None


@dataclass(frozen=True)
class RecodingRequest:
    """The mags of a dataset, by layer, to store in another way; the new arrays take the places of the old ones."""

    dataset: Path
    mags: Mapping[str, tuple[Mag, ...]]
    recoding: Recoding
