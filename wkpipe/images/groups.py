"""Groups: which files make a layer together, and the name of the layer."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wkpipe.errors import InputRefused
from wkpipe.images import archives
from wkpipe.images.content import MAX_LAYERS
from wkpipe.images.grouping import INSPECTED, ConversionLayerMapping
from wkpipe.images.names import check_name, clean_name, unique_names
from wkpipe.images.numbering import Running, largest_group, parse_names
from wkpipe.images.reader import ImageFile


@dataclass(frozen=True)
class FileGroup:
    """Files that make a layer: slices in z order, or a single file that has its own z axis (or is a single slice)."""

    name: str
    files: tuple[Path, ...]


def group_files(
    images: Sequence[ImageFile],
    root: Path,
    layer_name: str | None = None,
    most: int = MAX_LAYERS,
    mapping: ConversionLayerMapping = INSPECTED,
) -> list[FileGroup]:
    """Group files into layers; by default, if most files have several planes, every file is a layer, else every parent folder is one.

    A file's layer is named after its relative path (``x y/v.tif`` → ``xyv.tif``), a folder's after the folder; so a single 2-D file
    takes its parent folder's name. Folders of equal names take their relative paths (``a_x``, ``b_x``); names still equal are
    numbered. `layer_name` replaces the name of a single group and becomes a prefix for several.

    Raises:
        UsageError: `layer_name` is not a layer name.
        InputRefused: more than `most` groups.
    """
    keyed: dict[Path, list[Path]] = {}
    per_file = _is_per_file(images) if mapping is INSPECTED else mapping is ConversionLayerMapping.ENFORCE_LAYER_PER_FILE
    for image in images:
        is_alone = per_file or (mapping is ConversionLayerMapping.INSPECT_EVERY_FILE and _is_deep(image))
        keyed.setdefault(image.path if is_alone else mapping.folder(image.path, root), []).append(image.path)
    if len(keyed) > most:
        several = "files with several planes each" if mapping is INSPECTED else "files"
        what = several if per_file else "folders with images"
        fix = "give --concat z if they follow each other along z, convert fewer at a time, or pass --max-layers"
        raise InputRefused(f"{len(keyed)} {what} would make {len(keyed)} layers, at most {most} are possible", where=root, fix=fix)
    if mapping is not INSPECTED:
        names = [_path_name(place, root, keyed[place], mapping) for place in keyed]
    else:
        names = [clean_name(str(path.relative_to(root))) for path in keyed] if per_file else _folder_names(keyed, root)
    return [FileGroup(name, tuple(paths)) for name, paths in zip(prefixed(names, layer_name), keyed.values(), strict=True)]


def prefixed(names: Sequence[str], layer_name: str | None) -> list[str]:
    """Return unique layer names: the given name instead of a single one, or as a prefix of several.

    Raises:
        UsageError: `layer_name` is not a layer name.
    """
    if layer_name is not None:
        check_name(layer_name)
        names = [layer_name] if len(names) == 1 else [f"{layer_name}_{name}" for name in names]
    return unique_names(names)


def folder_name(folder: Path) -> str:
    """Return the layer name that a folder or an archive gives."""
    name = folder.name if folder.name not in ("", "..") else folder.resolve().name
    return clean_name(folder.stem if name.lower().endswith(archives.ENDINGS) and folder.is_file() else name)


def trees_note(groups: Sequence[FileGroup], root: Path) -> str | None:
    """Return a note if layers could be parts of one: folders that differ only in numbers, or numbered volumes of a folder."""
    folders = {file.parent.relative_to(root) for group in groups for file in group.files}
    numbered = [folder for folder in folders if any(part.isdecimal() for part in folder.parts)]
    if len(folders) > 2 and len(numbered) > 1:
        return (
            f"{root.name}: {len(folders)} folders become a layer each, {len(numbered)} of them are named by numbers; if these are slices,"
            " give --concat z, if they are tiles, give --pattern, like '{z}/{y}/{x}.jpg'"
        )
    volumes = [group.files[0] for group in groups if len(group.files) == 1]
    if len(volumes) == len(groups) > 1 and len(folders) == 1:
        parsed = parse_names([path.stem for path in volumes])
        if len(largest_group(parsed)) == len(parsed) and Running.of({each.numbers[-1] for each in parsed if each.words}).is_even:
            names = f"{volumes[0].name} … {volumes[-1].name}"
            return f"{root.name}: {len(volumes)} numbered files ({names}) become a layer each; if they follow each other, give --concat z"
    return None


def _is_per_file(images: Sequence[ImageFile]) -> bool:
    """True if most files have several planes; of as many, if each file has a folder of its own and the first has several planes."""
    deep = [*map(_is_deep, images)]
    if 2 * sum(deep) != len(deep):
        return 2 * sum(deep) > len(deep)
    return deep[0] and len({image.path.parent for image in images}) == len(images)


def _is_deep(image: ImageFile) -> bool:
    return image.sizes.z > 1 or image.sizes.t > 1


def _path_name(place: Path, root: Path, files: Sequence[Path], mapping: ConversionLayerMapping) -> str:
    """Return the name of a file's or folder's layer under a rule: its path, ``a_x``; that of a file with several planes is ``axv.tif``."""
    if place == root:
        return folder_name(root)
    is_deep = mapping is ConversionLayerMapping.INSPECT_EVERY_FILE and place == files[0]
    return clean_name(("" if is_deep else "_").join(place.relative_to(root).parts))


def _folder_names(folders: Mapping[Path, object], root: Path) -> list[str]:
    names = [folder_name(folder) for folder in folders]
    twice = {name for name, count in collections.Counter(names).items() if count > 1}
    return [
        clean_name("_".join(folder.relative_to(root).parts)) if name in twice and folder != root else name
        for name, folder in zip(names, folders, strict=True)
    ]
