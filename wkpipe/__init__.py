"""Image stacks to WEBKNOSSOS datasets, as a resumable Snakemake workflow."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wkpipe.dataset.dataset import Dataset
    from wkpipe.dataset.layer import Layer
    from wkpipe.dataset.mag_view import MagView
    from wkpipe.dataset.segmentation_layer import SegmentationLayer
    from wkpipe.dataset.view import View
    from wkpipe.formats.base import DataFormat
    from wkpipe.geometry import BoundingBox, Mag, NDBoundingBox, Vec3Int
    from wkpipe.metadata.element_class import LayerCategory
    from wkpipe.metadata.units import VoxelSize
    from wkpipe.metadata.view_configuration import DatasetViewConfiguration, LayerViewConfiguration
    from wkpipe.sampling import InterpolationMode, SamplingMode

    SamplingModes = SamplingMode
    __version__: str

__all__ = [
    "BoundingBox",
    "DataFormat",
    "Dataset",
    "DatasetViewConfiguration",
    "InterpolationMode",
    "Layer",
    "LayerCategory",
    "LayerViewConfiguration",
    "Mag",
    "MagView",
    "NDBoundingBox",
    "SamplingMode",
    "SamplingModes",
    "SegmentationLayer",
    "Vec3Int",
    "View",
    "VoxelSize",
    "__version__",
]

# Where each name comes from: nothing is imported before it is used, so that `import wkpipe` stays light.
_HOMES = {
    "Dataset": "wkpipe.dataset.dataset",
    "Layer": "wkpipe.dataset.layer",
    "MagView": "wkpipe.dataset.mag_view",
    "SegmentationLayer": "wkpipe.dataset.segmentation_layer",
    "View": "wkpipe.dataset.view",
    "DataFormat": "wkpipe.formats.base",
    "BoundingBox": "wkpipe.geometry",
    "Mag": "wkpipe.geometry",
    "NDBoundingBox": "wkpipe.geometry",
    "Vec3Int": "wkpipe.geometry",
    "LayerCategory": "wkpipe.metadata.element_class",
    "VoxelSize": "wkpipe.metadata.units",
    "DatasetViewConfiguration": "wkpipe.metadata.view_configuration",
    "LayerViewConfiguration": "wkpipe.metadata.view_configuration",
    "InterpolationMode": "wkpipe.sampling",
    "SamplingMode": "wkpipe.sampling",
    "SamplingModes": "wkpipe.sampling",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            value: Any = version("wkpipe")
        except PackageNotFoundError:  # a checkout that is not installed
            value = "0+unknown"
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), "SamplingMode" if name == "SamplingModes" else name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
