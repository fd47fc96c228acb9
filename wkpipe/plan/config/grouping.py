"""Settings of which files make a layer together, and in which order."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wkpipe.images.grouping import INSPECTED, ConversionLayerMapping, Grouping
from wkpipe.plan.config.part import ConfigPart
from wkpipe.plan.config.values import FileList


class GroupingConfig(ConfigPart):
    """Which files make a layer together, and in which order."""

    layer_mapping: Literal[
        "inspect_single_file",
        "inspect_every_file",
        "enforce_layer_per_file",
        "enforce_single_layer",
        "enforce_layer_per_folder",
        "enforce_layer_per_toplevel_folder",
    ] = Field(
        "inspect_single_file",
        description="Which files make a layer together; by default each, if most have several planes, else each folder's.",
    )
    layer_files: dict[str, FileList] = Field(
        {}, description="The files of each layer, as paths below the source, in place of layer_mapping, like {em: [a/1.tif, b/2.tif]}."
    )
    file_order: FileList = Field((), description="Paths of all files below the source, in their order along z; default: by their names.")
    only_listed: bool = Field(False, description="Do not search the source: it has the files of layer_files only.")

    @property
    def grouping(self) -> Grouping:
        """What the user says about the layers that files make."""
        return Grouping(ConversionLayerMapping(self.layer_mapping), self.layer_files, self.file_order, self.only_listed)

    @property
    def is_grouped(self) -> bool:
        """True if the user says which files make a layer, or their order."""
        return bool(self.layer_files or self.file_order or self.layer_mapping != INSPECTED.value)
