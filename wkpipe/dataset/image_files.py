"""Image files that scripts name: one path or a list, grouped into layers and ordered by rules or functions, as values of the config."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from wkpipe.dataset.caller import warn_caller
from wkpipe.dataset.errors import WrongType
from wkpipe.dataset.new_mag import WantedLayout
from wkpipe.errors import InputRefused
from wkpipe.geometry import Vec3Int, Vec3IntLike
from wkpipe.images import SourceOptions, clean_name
from wkpipe.images.grouping import ConversionLayerMapping, Grouping
from wkpipe.plan.wishes.shapes import CHUNK_EDGE

LayerNames: TypeAlias = "ConversionLayerMapping | Callable[[Path], str]"
SortKey: TypeAlias = "Callable[[Path], Any]"


def grouping_values(
    source: Path, mapping: LayerNames, sort_key: SortKey | None, layer_name: str | None, options: SourceOptions
) -> dict[str, Any]:
    """Return the values of the config with which the files of a source make layers.

    Functions are called here, once for each image: `mapping` with its path below the source, `sort_key` with its path.

    Raises:
        WrongType: a function cannot be called, or gives something else than a name; or its values cannot be compared.
        UnreadableInput, InputRefused: see `find_files` and `images_of`.
    """
    if sort_key is not None:
        _check_function("z_slices_sort_key", sort_key, "a function of a path")
    if isinstance(mapping, ConversionLayerMapping):
        values: dict[str, Any] = {"layer_mapping": mapping.value, "layer_name": layer_name}
        if sort_key is None:
            return values
    else:
        _check_function("map_filepath_to_layer_name", mapping, "one of Dataset.ConversionLayerMapping, or a function of a path")
    from wkpipe.images.discover import find_files, images_of  # slow to import, and needed by few calls
    from wkpipe.images.groups import prefixed

    found = find_files(source.absolute(), options.spool)
    below = {path: path.relative_to(found.root).as_posix() for path in found.images}
    if isinstance(mapping, ConversionLayerMapping):
        chosen: Iterable[Path] = images_of(found, SourceOptions(options.family, grouping=Grouping(mapping))).images
    else:
        chosen = found.images
        layers: dict[str, list[str]] = {}
        for path in chosen:
            layers.setdefault(_layer_name(mapping(Path(below[path])), below[path]), []).append(below[path])
        names = prefixed([*layers], layer_name)
        values = {"layer_files": dict(zip(names, layers.values(), strict=True))}
    if sort_key is not None:
        keys = [(sort_key(source / below[path] if found.root == source.absolute() else path), below[path]) for path in chosen]
        values["file_order"] = [path for _, path in _sorted(keys)]
    return values


def listed_values(images: str | PathLike[str] | Sequence[str | PathLike[str]], layer_name: str) -> dict[str, Any]:
    """Return the values of the config with which images make one layer: those of a path, or listed files in the given order.

    Raises:
        WrongType: they are neither a path nor a list of paths.
        InputRefused: the list is empty, or names a file twice.
    """
    if isinstance(images, str | PathLike):
        return {"source": Path(images), "layer_mapping": ConversionLayerMapping.ENFORCE_SINGLE_LAYER.value}
    if not _is_list(images):
        raise WrongType(f"images={images!r} is not possible", expected="a path, or a list of paths of image files")
    if not images:
        raise InputRefused("images is an empty list", fix="give at least one image")
    paths = [Path(os.path.abspath(path)) for path in images]  # noqa: PTH100 (links stay)
    if twice := next((path for i, path in enumerate(paths) if path in set(paths[:i])), None):
        raise InputRefused("the list has the image twice", where=twice, fix="give it once")
    root = Path(os.path.commonpath([path.parent for path in paths]))
    below = [path.relative_to(root).as_posix() for path in paths]
    return {"source": root, "layer_files": {layer_name: below}, "file_order": below, "only_listed": True}


def warn_of_flips(flip_x: bool, flip_y: bool, swap_xy: bool) -> None:
    """Warn scripts for `webknossos` whose images are mirrored along another axis here."""
    if flip_x != flip_y and not swap_xy:
        warn_caller("flip_x mirrors x and flip_y mirrors y; webknossos 4.3.3 mirrors the other one of the two")


def shape_values(
    chunk_shape: Vec3IntLike | int | None, shard_shape: Vec3IntLike | int | None, chunks_per_shard: Vec3IntLike | int | None
) -> dict[str, Any]:
    """Return the shapes as values of the config.

    Raises:
        InputRefused: a shape is not possible, or shard shape and chunks per shard were both given.
    """
    wanted = WantedLayout.of(chunk_shape, shard_shape, chunks_per_shard, None)
    if wanted.chunks_per_shard is None:
        return {"chunk_shape": chunk_shape, "shard_shape": shard_shape}
    if shard_shape is not None:
        what = f"shard_shape={shard_shape} and chunks_per_shard={chunks_per_shard} contradict each other"
        raise InputRefused(what, fix="give shard_shape only")
    chunk = wanted.chunk_shape or Vec3Int.full(CHUNK_EDGE)
    return {"chunk_shape": chunk, "shard_shape": chunk * wanted.chunks_per_shard}


def _check_function(name: str, value: object, expected: str) -> None:
    if not callable(value):
        raise WrongType(f"{name}={value!r} is not possible", expected=expected)


def _is_list(images: object) -> bool:
    return isinstance(images, Sequence) and all(isinstance(path, str | PathLike) for path in images)


def _layer_name(name: object, path: str) -> str:
    if not isinstance(name, str):
        raise WrongType(f"map_filepath_to_layer_name gives {name!r} for {path}", expected="the name of a layer")
    return clean_name(name)


def _sorted(keys: list[tuple[Any, str]]) -> list[tuple[Any, str]]:
    try:
        return sorted(keys, key=lambda pair: pair[0])
    except TypeError as error:
        what = f"z_slices_sort_key gives values that cannot be compared: {error}"
        raise WrongType(what, fix="give a function whose values are all of one type") from None
