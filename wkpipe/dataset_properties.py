"""The metadata of datasets, layers and mags, by another module path under which scripts import them."""

from wkpipe.dataset.attachment import AttachmentDataFormat
from wkpipe.dataset.border import BEYOND
from wkpipe.dataset.categories import COLOR_CATEGORY, SEGMENTATION_CATEGORY, LayerCategoryType
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
from wkpipe.dataset.transformations import (
    AffineCoordinateTransformation,
    CoordinateTransformation,
    ThinPlateSplineCoordinateTransformation,
)
from wkpipe.formats.base import DataFormat

__all__ = [
    "COLOR_CATEGORY",
    "SEGMENTATION_CATEGORY",
    "AffineCoordinateTransformation",
    "AttachmentDataFormat",
    "AttachmentProperties",
    "AttachmentsProperties",
    "CoordinateTransformation",
    "DataFormat",
    "DatasetProperties",
    "DatasetViewConfiguration",
    "LayerCategoryType",
    "LayerProperties",
    "LayerViewConfiguration",
    "LengthUnit",
    "MagViewProperties",
    "SegmentationLayerProperties",
    "ThinPlateSplineCoordinateTransformation",
    "VoxelSize",
    "get_dataset_converter",
    "length_unit_from_str",
]

get_dataset_converter = BEYOND["get_dataset_converter"]
