"""What scripts give to name a mag or a layer that is elsewhere: a view, a layer, a path or a URL."""

from __future__ import annotations

import os
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Final, TypeAlias

from wkpipe.dataset.arriving_mag import ArrivingMag
from wkpipe.dataset.errors import DatasetNotFound, WrongType
from wkpipe.dataset.layer_base import LayerBase
from wkpipe.dataset.live_properties import LiveProperties
from wkpipe.dataset.mag_view import MagView
from wkpipe.errors import InputRefused
from wkpipe.geometry import Mag
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.stored.dataset import StoredDataset

MagSource: TypeAlias = "MagView | str | PathLike[str]"
LayerSource: TypeAlias = "LayerBase | str | PathLike[str]"

_MAG: Final = "a MagView, or the path of a mag"


def referenced_mag(source: MagSource, layer: LayerProperties, mag: Mag | None = None) -> ArrivingMag:
    """Return the mag that a view or a path names, to become `mag` (by default the same) of a layer.

    Raises:
        WrongType: it is something else.
        DatasetNotFound, MetadataError: the path is not that of a mag in a dataset.
        LayerNotFound, MagNotFound: the dataset of the path does not have it.
    """
    if not isinstance(source, MagView) and "://" in (text := path_text("foreign_mag_view_or_path", source, _MAG)):
        return ArrivingMag.unread(text, layer, Mag(text.rstrip("/").rpartition("/")[2]) if mag is None else mag)
    return ArrivingMag.of_stored(*stored_mag(source)).as_mag(mag)


def stored_mag(source: MagSource) -> tuple[StoredDataset, LayerProperties, MagProperties]:
    """Return the mag that a view or a path names, after its dataset and its layer.

    Raises:
        WrongType: it is something else.
        DatasetNotFound, MetadataError: the path is not that of a mag in a dataset.
        LayerNotFound, MagNotFound: the dataset of the path does not have it.
        InputRefused: it is a URL.
    """
    if isinstance(source, MagView):
        return (source._array.live.stored(), *source._array.entry())
    path = _local(path_text("foreign_mag_view_or_path", source, _MAG))
    stored = _dataset_at(path.parent.parent, path)
    layer = stored.layer(path.parent.name)
    return stored, layer, layer.mag(path.name)


def referenced_layer(source: LayerSource) -> tuple[StoredDataset, LayerProperties]:
    """Return the layer that a layer or a path names, and its dataset.

    Raises:
        WrongType: it is something else.
        DatasetNotFound, MetadataError: the path is not that of a layer in a dataset.
        LayerNotFound: the dataset of the path does not have it.
    """
    if isinstance(source, LayerBase):
        return source._entry.live.stored(), source._properties
    path = _local(path_text("foreign_layer", source, "a Layer, or the path of a layer"))
    stored = _dataset_at(path.parent, path)
    return stored, stored.layer(path.name)


def _local(text: str) -> Path:
    """Return an absolute path.

    Raises:
        InputRefused: the text is a URL.
    """
    if "://" in text:
        fix = "add a layer, and its mags with add_mag_as_ref"
        raise InputRefused("the properties of a dataset at a URL are not read", where=text, fix=fix)
    return Path(text).absolute()


def _dataset_at(root: Path, path: Path) -> StoredDataset:
    """Return the dataset in a directory, in which `path` should be.

    Raises:
        DatasetNotFound: there is none.
        MetadataError: its properties are broken.
    """
    live = LiveProperties(root, read_only=True)
    if not live.file.is_there():
        raise DatasetNotFound("not in a dataset", where=path, fix="give the path DATASET/LAYER or DATASET/LAYER/MAG")
    return live.stored()


def as_reference(stored: StoredDataset, layer: LayerProperties) -> LayerProperties:
    """Return the entry of a layer whose data stay where they are: all paths are absolute.

    Raises:
        MetadataError: an array is missing, or differs from the properties.
    """
    mags = tuple(ArrivingMag.of_stored(stored, layer, entry).entry for entry in layer.mags)
    return replace(layer, mags=mags, attachments=layer.attachments.with_paths(stored.attachment_path))


def path_text(name: str, value: object, expected: str) -> str:
    """Return a path or URL as text.

    Raises:
        WrongType: it is something else.
    """
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise WrongType(f"{name} {value!r} is not possible", expected=expected)
    return text
