"""Image inputs: file formats, discovery of layers, and image stacks as sources of voxels.

The modules are imported when their names are used: every process reads the config, and few of them read images.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wkpipe.images.accounting import Account
    from wkpipe.images.arranged import Arranged, frame_texts
    from wkpipe.images.content import MAX_LAYERS, ContentOptions
    from wkpipe.images.frame import Arrangement
    from wkpipe.images.groups import FileGroup
    from wkpipe.images.inspection import AccountLine, Inspection, inspect_source
    from wkpipe.images.layers import COLOR, SEGMENTATION
    from wkpipe.images.names import clean_name
    from wkpipe.images.options import SourceOptions
    from wkpipe.images.reader import ImageFile, ImageReader
    from wkpipe.images.registry import supported_extensions
    from wkpipe.images.sequence import Order
    from wkpipe.images.source import AxisSizes, BlockSource
    from wkpipe.images.stack import ImageStack

__all__ = [
    "COLOR",
    "MAX_LAYERS",
    "SEGMENTATION",
    "Account",
    "AccountLine",
    "Arranged",
    "Arrangement",
    "AxisSizes",
    "BlockSource",
    "ContentOptions",
    "FileGroup",
    "ImageFile",
    "ImageReader",
    "ImageStack",
    "Inspection",
    "Order",
    "SourceOptions",
    "clean_name",
    "frame_texts",
    "inspect_source",
    "supported_extensions",
]

_MODULES = {
    "Account": "accounting",
    "Arranged": "arranged",
    "frame_texts": "arranged",
    "ContentOptions": "content",
    "MAX_LAYERS": "content",
    "Arrangement": "frame",
    "FileGroup": "groups",
    "AccountLine": "inspection",
    "Inspection": "inspection",
    "inspect_source": "inspection",
    "COLOR": "layers",
    "SEGMENTATION": "layers",
    "clean_name": "names",
    "SourceOptions": "options",
    "ImageFile": "reader",
    "ImageReader": "reader",
    "supported_extensions": "registry",
    "Order": "sequence",
    "AxisSizes": "source",
    "BlockSource": "source",
    "ImageStack": "stack",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    return found
