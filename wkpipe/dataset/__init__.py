"""The public API: datasets, layers, mags; on top of metadata, arrays, plans and steps."""

from wkpipe.dataset.dataset import Dataset
from wkpipe.dataset.layer import Layer
from wkpipe.dataset.mag_view import MagView
from wkpipe.dataset.segmentation_layer import SegmentationLayer
from wkpipe.dataset.view import View

__all__ = ["Dataset", "Layer", "MagView", "SegmentationLayer", "View"]
