"""Image inputs: formats, discovery of layers, and stacks that are read by rows."""

from __future__ import annotations

from pathlib import Path

from wkpipe.errors import InputRefused, UsageError
from wkpipe.images.category import recognise_category
from wkpipe.images.discover import MAX_LAYERS, FileGroup, find_files, group_files, inspect_file
from wkpipe.images.layers import COLOR, DTYPES, SEGMENTATION, check_category, stacks_of_group
from wkpipe.images.names import check_names, clean_name, unique_names
from wkpipe.images.reader import AxisSizes, ImageFile, ImageReader, supported_extensions
from wkpipe.images.stack import ImageStack

__all__ = [
    "COLOR",
    "MAX_LAYERS",
    "SEGMENTATION",
    "AxisSizes",
    "FileGroup",
    "ImageFile",
    "ImageReader",
    "ImageStack",
    "clean_name",
    "inspect_source",
    "supported_extensions",
]


def inspect_source(path: str | Path, layer_name: str | None = None, category: str | None = None) -> list[ImageStack]:
    """Return the layers that an image file or a directory of images makes, having inspected the headers of every file.

    Files are walked in natural order and sorted into layers by the first one (see `group_files`); channels that are not RGB become
    layers of their own. Without `category` every layer's is recognised from samples of its data.

    Raises:
        UsageError: `layer_name` or `category` is not valid.
        UnreadableInput: the source is missing, has no image, or a file is truncated or broken.
        InputRefused: images do not fit together, have a dtype that no layer can have, or make more than `MAX_LAYERS` layers.
    """
    source = Path(path).absolute()
    if category is not None and category not in DTYPES:
        raise UsageError(f"category {category!r} is not valid: expected {COLOR} or {SEGMENTATION}")
    files = find_files(source)
    first = inspect_file(files[0])
    root = source if source.is_dir() and files != [source] else source.parent
    stacks: list[ImageStack] = []
    for number, group in enumerate(group_files(files, source, first, layer_name)):
        stacks += stacks_of_group(group, root, None if number else first)
        if len(stacks) > MAX_LAYERS:
            raise InputRefused(
                f"{source}: makes more than {MAX_LAYERS} layers (each channel is one); convert fewer files or channels at a time"
            )
    stacks = [stack.replace(name=name) for stack, name in zip(stacks, unique_names(stack.name for stack in stacks), strict=True)]
    check_names((stack.name for stack in stacks), source)
    for stack in stacks:
        if category is not None:
            check_category(stack, category)
    return [stack.replace(category=category or recognise_category(stack)) for stack in stacks]
