"""The metadata of datasets, layers and mags, by the names under which scripts import them."""

from wkpipe.metadata.attachments import AttachmentProperties, AttachmentsProperties
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.layer_properties import LayerProperties as SegmentationLayerProperties
from wkpipe.metadata.length_unit import LengthUnit, length_unit_from_str
from wkpipe.metadata.mag_properties import MagProperties as MagViewProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.units import VoxelSize
from wkpipe.metadata.view_configuration import DatasetViewConfiguration, LayerViewConfiguration

__all__ = [
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
]
