"""Layers of files that fit together: channels that are not RGB become separate layers."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

from wkpipe.errors import InputRefused, UsageError, one_line
from wkpipe.images.content import CONTENT, ContentOptions
from wkpipe.images.names import clean_name
from wkpipe.images.reader import RGB, ImageFile
from wkpipe.images.source import UNKNOWN, Channel
from wkpipe.images.stack import ImageStack

COLOR, SEGMENTATION = "color", "segmentation"
DTYPES = {
    COLOR: ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32"),
    SEGMENTATION: ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
}
GOLDEN = 0.618033988749895


def stacks_of(
    name: str, files: Sequence[ImageFile], root: Path, content: ContentOptions = CONTENT, is_prefix: bool = False
) -> list[ImageStack]:
    """Return the layers of files that follow each other along z; their category is color if possible, and not recognised yet.

    File names in fingerprints are relative to the directory `root`. Of `content`, the wanted channels count, and whether RGB is gray:
    then it is one layer for any number of bits. With `is_prefix`, layers of channels that have names of their own begin with the name.

    Raises:
        UsageError: a wanted channel does not exist.
    """
    first = files[0]
    category = COLOR if first.dtype in DTYPES[COLOR] else SEGMENTATION
    count = first.sizes.c
    about = first.about.channels if len(first.about.channels) == count else ()
    wanted = content.channels
    if not wanted and (count == 1 or first.is_rgb or (content.is_gray and count == 3 and first.meaning == RGB)):
        info = about[0]._replace(name=None) if count == 1 and about else UNKNOWN
        return [ImageStack(name, category, root, tuple(files), tuple(range(count)), info)]
    channels = [about[i] if about else UNKNOWN for i in range(count)]
    names = _channel_names(name, channels, is_prefix)
    return [
        ImageStack(names[i], category, root, tuple(files), (i,), channels[i]._replace(color=channels[i].color or channel_color(i)))
        for i in (_wanted_channels(first, channels, wanted) if wanted else range(count))
    ]


def _channel_names(layer: str, channels: Sequence[Channel], is_prefix: bool) -> list[str]:
    """Return the names of the channels' layers: the channels' own, if all have one and they differ, else their numbers."""
    names = [clean_name(channel.name) if channel.name else "" for channel in channels]
    if not all(names) or len(set(names)) < len(names):
        return [f"{layer}__channel{i}" for i in range(len(channels))]
    return [f"{layer}__{name}" for name in names] if is_prefix else names


def _wanted_channels(file: ImageFile, channels: Sequence[Channel], wanted: Sequence[str]) -> list[int]:
    names = {channel.name: i for i, channel in reversed(list(enumerate(channels))) if channel.name}
    found = []
    for each in wanted:
        number = names.get(each, int(each) if each.isdecimal() else len(channels))
        if number >= len(channels):
            shown = ", ".join(list(names)[::-1][:20])
            raise UsageError(
                f"there is no channel {one_line(each, 60)!r}",
                where=file.path,
                expected=f"numbers from 0 to {len(channels) - 1}{f' or names ({shown})' if names else ''}",
                fix="choose other --channels",
            )
        found.append(number)
    return list(dict.fromkeys(found))


def channel_color(index: int) -> tuple[int, int, int]:
    """Return the display colour of a channel: red, green, blue, then hues far from each other."""
    if index < 3:
        return ((255, 0, 0), (0, 255, 0), (0, 0, 255))[index]
    red, green, blue = colorsys.hsv_to_rgb((index - 3) * GOLDEN % 1, 0.85, 1)
    return round(red * 255), round(green * 255), round(blue * 255)


def check_category(stack: ImageStack, category: str) -> None:
    """Check that the data of a stack allow the category that the user asked for.

    Raises:
        UsageError: there is no such category.
        InputRefused: the dtype or the number of channels does not allow it.
    """
    if category not in DTYPES:
        raise UsageError(f"category {category!r} is not valid", expected=f"{COLOR} or {SEGMENTATION}")
    found = stack.dtype.name
    if found not in DTYPES[category]:
        allowed = ", ".join(DTYPES[category])
        other = SEGMENTATION if category == COLOR else COLOR
        raise InputRefused(
            where=stack.files[0].path,
            found=found,
            expected=f"{allowed} for a {category} layer",
            fix=f"use category {other} or convert the images",
        )
    if category == SEGMENTATION and stack.sizes.c > 1:
        raise InputRefused(
            where=stack.files[0].path, found="RGB", expected="one channel of ids for a segmentation layer", fix=f"use category {COLOR}"
        )
