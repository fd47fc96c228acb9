"""Image stacks to WEBKNOSSOS datasets, as a resumable Snakemake workflow."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wkpipe.dataset.agglomerate_attachment import AgglomerateAttachment
    from wkpipe.dataset.agglomerate_graph import AgglomerateGraph
    from wkpipe.dataset.attachment import Attachment, AttachmentDataFormat
    from wkpipe.dataset.attachment_kinds import (
        ConnectomeAttachment,
        CumsumAttachment,
        MeshAttachment,
        SegmentIndexAttachment,
        SegmentStatisticsAttachment,
    )
    from wkpipe.dataset.attachments import Attachments
    from wkpipe.dataset.categories import COLOR_CATEGORY, SEGMENTATION_CATEGORY, LayerCategories, LayerCategoryType
    from wkpipe.dataset.dataset import Dataset
    from wkpipe.dataset.defaults import DEFAULT_CHUNK_SHAPE, DEFAULT_CHUNKS_PER_SHARD_FROM_IMAGES, DEFAULT_DATA_FORMAT, DEFAULT_SHARD_SHAPE
    from wkpipe.dataset.downsampling_utils import InterpolationMode, SamplingMode, SamplingModes
    from wkpipe.dataset.errors import CorruptImageError, ImageConversionError, UnsupportedImageDataError, UnsupportedImageFormatError
    from wkpipe.dataset.layer import Layer, SegmentationLayer
    from wkpipe.dataset.mag_view import MagView
    from wkpipe.dataset.properties import (
        AttachmentProperties,
        AttachmentsProperties,
        DatasetProperties,
        DatasetViewConfiguration,
        LayerProperties,
        LayerViewConfiguration,
        LengthUnit,
        MagViewProperties,
        SegmentationLayerProperties,
        VoxelSize,
        length_unit_from_str,
    )
    from wkpipe.dataset.remote_dataset import RemoteDataset
    from wkpipe.dataset.transformations import (
        AffineCoordinateTransformation,
        CoordinateTransformation,
        ThinPlateSplineCoordinateTransformation,
    )
    from wkpipe.dataset.view import View
    from wkpipe.formats.base import DataFormat
    from wkpipe.geometry import (
        BoundingBox,
        Mag,
        MagLike,
        NDBoundingBox,
        NormalizedBoundingBox,
        Vec3Float,
        Vec3FloatLike,
        Vec3Int,
        Vec3IntLike,
        VecInt,
        VecIntLike,
        as_vec3_float_or_none,
        as_vec3_int_or_none,
    )
    from wkpipe.geometry.constants import (
        C_AXIS,
        CXYZ_AXES,
        T_AXIS,
        TCXYZ_AXES,
        TXYZ_AXES,
        X_AXIS,
        XY_AXES,
        XYZ_AXES,
        Y_AXIS,
        Z_AXIS,
        XYZAxis,
    )
    from wkpipe.metadata.element_class import LayerCategory

    __version__: str

__all__ = [
    "COLOR_CATEGORY",
    "CXYZ_AXES",
    "C_AXIS",
    "DEFAULT_CHUNKS_PER_SHARD_FROM_IMAGES",
    "DEFAULT_CHUNK_SHAPE",
    "DEFAULT_DATA_FORMAT",
    "DEFAULT_SHARD_SHAPE",
    "SEGMENTATION_CATEGORY",
    "TCXYZ_AXES",
    "TXYZ_AXES",
    "T_AXIS",
    "XYZ_AXES",
    "XY_AXES",
    "X_AXIS",
    "Y_AXIS",
    "Z_AXIS",
    "AffineCoordinateTransformation",
    "AgglomerateAttachment",
    "AgglomerateGraph",
    "Attachment",
    "AttachmentDataFormat",
    "AttachmentProperties",
    "Attachments",
    "AttachmentsProperties",
    "BoundingBox",
    "ConnectomeAttachment",
    "CoordinateTransformation",
    "CorruptImageError",
    "CumsumAttachment",
    "DataFormat",
    "Dataset",
    "DatasetProperties",
    "DatasetViewConfiguration",
    "ImageConversionError",
    "InterpolationMode",
    "Layer",
    "LayerCategories",
    "LayerCategory",
    "LayerCategoryType",
    "LayerProperties",
    "LayerViewConfiguration",
    "LengthUnit",
    "Mag",
    "MagLike",
    "MagView",
    "MagViewProperties",
    "MeshAttachment",
    "NDBoundingBox",
    "NormalizedBoundingBox",
    "RemoteDataset",
    "SamplingMode",
    "SamplingModes",
    "SegmentIndexAttachment",
    "SegmentStatisticsAttachment",
    "SegmentationLayer",
    "SegmentationLayerProperties",
    "ThinPlateSplineCoordinateTransformation",
    "UnsupportedImageDataError",
    "UnsupportedImageFormatError",
    "Vec3Float",
    "Vec3FloatLike",
    "Vec3Int",
    "Vec3IntLike",
    "VecInt",
    "VecIntLike",
    "View",
    "VoxelSize",
    "XYZAxis",
    "__version__",
    "as_vec3_float_or_none",
    "as_vec3_int_or_none",
    "length_unit_from_str",
]

# The names of each module. Nothing is imported before it is used, so that `import wkpipe` stays fast.
_NAMES = {
    "wkpipe.dataset.agglomerate_attachment": ("AgglomerateAttachment",),
    "wkpipe.dataset.agglomerate_graph": ("AgglomerateGraph",),
    "wkpipe.dataset.attachment": (
        "Attachment",
        "AttachmentDataFormat",
    ),
    "wkpipe.dataset.attachment_kinds": (
        "ConnectomeAttachment",
        "CumsumAttachment",
        "MeshAttachment",
        "SegmentIndexAttachment",
        "SegmentStatisticsAttachment",
    ),
    "wkpipe.dataset.attachments": ("Attachments",),
    "wkpipe.dataset.categories": (
        "COLOR_CATEGORY",
        "LayerCategories",
        "LayerCategoryType",
        "SEGMENTATION_CATEGORY",
    ),
    "wkpipe.dataset.dataset": ("Dataset",),
    "wkpipe.dataset.defaults": (
        "DEFAULT_CHUNKS_PER_SHARD_FROM_IMAGES",
        "DEFAULT_CHUNK_SHAPE",
        "DEFAULT_DATA_FORMAT",
        "DEFAULT_SHARD_SHAPE",
    ),
    "wkpipe.dataset.downsampling_utils": (
        "InterpolationMode",
        "SamplingMode",
        "SamplingModes",
    ),
    "wkpipe.dataset.errors": (
        "CorruptImageError",
        "ImageConversionError",
        "UnsupportedImageDataError",
        "UnsupportedImageFormatError",
    ),
    "wkpipe.dataset.layer": (
        "Layer",
        "SegmentationLayer",
    ),
    "wkpipe.dataset.mag_view": ("MagView",),
    "wkpipe.dataset.properties": (
        "AttachmentProperties",
        "AttachmentsProperties",
        "DatasetProperties",
        "DatasetViewConfiguration",
        "LayerProperties",
        "LayerViewConfiguration",
        "LengthUnit",
        "MagViewProperties",
        "SegmentationLayerProperties",
        "VoxelSize",
        "length_unit_from_str",
    ),
    "wkpipe.dataset.remote_dataset": ("RemoteDataset",),
    "wkpipe.dataset.transformations": (
        "AffineCoordinateTransformation",
        "CoordinateTransformation",
        "ThinPlateSplineCoordinateTransformation",
    ),
    "wkpipe.dataset.view": ("View",),
    "wkpipe.formats.base": ("DataFormat",),
    "wkpipe.geometry": (
        "BoundingBox",
        "Mag",
        "MagLike",
        "NDBoundingBox",
        "NormalizedBoundingBox",
        "Vec3Float",
        "Vec3FloatLike",
        "Vec3Int",
        "Vec3IntLike",
        "VecInt",
        "VecIntLike",
        "as_vec3_float_or_none",
        "as_vec3_int_or_none",
    ),
    "wkpipe.geometry.constants": (
        "CXYZ_AXES",
        "C_AXIS",
        "TCXYZ_AXES",
        "TXYZ_AXES",
        "T_AXIS",
        "XYZAxis",
        "XYZ_AXES",
        "XY_AXES",
        "X_AXIS",
        "Y_AXIS",
        "Z_AXIS",
    ),
    "wkpipe.metadata.element_class": ("LayerCategory",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}
_BORDER = "wkpipe.dataset.border"


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            value: Any = version("wkpipe")
        except PackageNotFoundError:  # a checkout that is not installed
            value = "0+unknown"
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif not name.startswith("_") and name in (beyond := importlib.import_module(_BORDER).BEYOND):
        value = beyond[name]
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
