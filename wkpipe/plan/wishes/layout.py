"""Layout: how the arrays of a layer's wanted mags are stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from wkpipe.errors import UsageError
from wkpipe.formats import default_compression, make_spec
from wkpipe.formats.base import NO_COMPRESSION, Compression, DataFormat
from wkpipe.formats.zstd_parameters import set_for
from wkpipe.geometry import Mag, NDBoundingBox
from wkpipe.geometry.box import Box
from wkpipe.metadata.element_class import LayerCategory
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.plan.mag_plan import MagPlan, Origin
from wkpipe.plan.request import Storing
from wkpipe.plan.wishes.shapes import Shapes, default_shapes
from wkpipe.stored.dataset import array_corner, box_in_mag


@dataclass(frozen=True)
class Layout:
    """The shapes and the compression of a layer's mags.

    With `is_default`, the shards are fitted to each mag (see `fitted`); with `uses_sets`, so are the parameters of zstd.
    """

    shapes: Shapes
    compression: Compression
    is_default: bool = False
    uses_sets: bool = False

    @classmethod
    def of(cls, storing: Storing, layer: LayerProperties, from_slices: bool = False) -> Layout:
        """Return the layout of a layer's mags that are stored like this; for `from_slices`, see `default_shapes`.

        Raises:
            UsageError: see `compression_of`.
        """
        shapes = default_shapes(layer.data_format, layer.box.size.z, storing.chunk, storing.shard, from_slices)
        compression = compression_of(storing, layer)
        return cls(shapes, compression, storing.shard is None, compression.kind == "zstd" and storing.level is None)

    def mag_plan(self, layer: LayerProperties, mag: Mag, origin: Origin[Any]) -> MagPlan:
        """Return the plan of a mag that covers the layer's box.

        Raises:
            InputRefused: the layer's format cannot hold such an array.
        """
        box = box_in_mag(layer.bounding_box(), mag)
        shapes = fitted(self.shapes, layer, box, self.compression) if self.is_default else self.shapes
        corner, compression = array_corner(box, layer.axes), self.compression
        if self.uses_sets:
            compression = replace(compression, named=set_for(layer.category is LayerCategory.SEGMENTATION, mag.to_vec3_int().prod()))
        spec = make_spec(layer.data_format, layer.axes, corner, layer.dtype, layer.num_channels, shapes.chunk, shapes.shard, compression)
        return MagPlan(layer.name, mag, spec, Box.of(box), origin)


def compression_of(storing: Storing, layer: LayerProperties) -> Compression:
    """Return how new arrays of a layer are compressed.

    Raises:
        UsageError: a compression level is given, and the layer is WKW, which has none.
    """
    if not storing.compress:
        return NO_COMPRESSION
    if storing.level is None:
        return default_compression(layer.data_format)
    if layer.data_format is DataFormat.WKW:
        raise UsageError(
            f"compression level {storing.level} is not possible: layer {layer.name} is WKW, whose LZ4-HC has no levels",
            fix="leave it out",
        )
    return default_compression(layer.data_format, storing.level)


def fitted(shapes: Shapes, layer: LayerProperties, box: NDBoundingBox, compression: Compression) -> Shapes:
    """Return the default shapes for a mag with this box; only those of uncompressed WKW depend on it."""
    if layer.data_format is not DataFormat.WKW or compression.is_on or box.is_empty():
        return shapes
    return shapes.for_raw_wkw(box.topleft_xyz, box.bottomright_xyz, layer.dtype.itemsize * layer.num_channels)
