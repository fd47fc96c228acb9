"""Grouping: which files of a source make a layer together, and how they follow each other, as far as the user says it."""

from __future__ import annotations

import enum
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wkpipe.errors import InputRefused


class ConversionLayerMapping(enum.Enum):
    """Which files make a layer together in `Dataset.from_images`, which has it as ``Dataset.ConversionLayerMapping``.

    Examples
    --------
    >>> from wkpipe import Dataset
    >>> Dataset.ConversionLayerMapping("enforce_layer_per_folder").name
    'ENFORCE_LAYER_PER_FOLDER'
    """

    INSPECT_SINGLE_FILE = "inspect_single_file"
    """Every file if most have several planes, else every folder; `webknossos` 4.3.3 looks at one file only."""

    INSPECT_EVERY_FILE = "inspect_every_file"
    """Every file that has several planes; and for each folder, its other files together."""

    ENFORCE_LAYER_PER_FILE = "enforce_layer_per_file"
    """Every file."""

    ENFORCE_SINGLE_LAYER = "enforce_single_layer"
    """All files together: they follow each other along z."""

    ENFORCE_LAYER_PER_FOLDER = "enforce_layer_per_folder"
    """The files of each folder."""

    ENFORCE_LAYER_PER_TOPLEVEL_FOLDER = "enforce_layer_per_toplevel_folder"
    """The files of each folder of the source, with all folders in it."""

    def folder(self, path: Path, root: Path) -> Path:
        """Return the file or folder below `root` whose files make a layer with the image at `path`, which is one plane."""
        if self is ConversionLayerMapping.ENFORCE_LAYER_PER_FILE:
            return path
        if self is ConversionLayerMapping.ENFORCE_SINGLE_LAYER:
            return root
        if self is not ConversionLayerMapping.ENFORCE_LAYER_PER_TOPLEVEL_FOLDER:
            return path.parent
        first, *rest = path.relative_to(root).parts
        return root / first if rest else root


INSPECTED = ConversionLayerMapping.INSPECT_SINGLE_FILE


@dataclass(frozen=True)
class Grouping:
    """What the user says about the layers that files make, and their order; paths are below the source, with slashes.

    mapping: the rule. layers: the files of each layer, in place of a rule. order: all files in their order along z; () = by their
    names. With `only_listed`, the source is not searched: it has the files of `layers` only.
    """

    mapping: ConversionLayerMapping = INSPECTED
    layers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    only_listed: bool = False

    @functools.cached_property
    def layer_of(self) -> dict[str, str]:
        """The name of the layer of each file that the user has given one."""
        return {path: name for name, paths in self.layers.items() for path in paths}

    @functools.cached_property
    def _rank(self) -> dict[str, int]:
        return {path: rank for rank, path in enumerate(self.order)}

    def rank(self, path: Path, root: Path) -> int:
        """Return the number of a file in the order that the user has given.

        Raises:
            InputRefused: it has none.
        """
        found = self._rank.get(path.relative_to(root).as_posix())
        if found is None:
            raise InputRefused("the file has no place in the given order", where=path, fix="give an order of all files")
        return found


BY_INSPECTION = Grouping()
