"""The public API: datasets, layers, mags.

Each façade class is composed of parts, one subject per module: `dataset_*`, `layer_*`, `view_*`. The parts call the modules
below, which take a `LiveLayer` or `LiveProperties` and know no façade class.

Scripts import all other names of `wkpipe` from here as well.
"""

import importlib
from typing import Any

from wkpipe.dataset.dataset import Dataset
from wkpipe.dataset.layer import Layer, SegmentationLayer
from wkpipe.dataset.mag_view import MagView
from wkpipe.dataset.view import View

__all__ = ["Dataset", "Layer", "MagView", "SegmentationLayer", "View"]


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        top = importlib.import_module("wkpipe")
        if name in top.__all__ or name in importlib.import_module("wkpipe.dataset.border").BEYOND:
            return getattr(top, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
