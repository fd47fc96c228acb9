"""DatasetFacts: the properties of a dataset, and the metadata that can be set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from wkpipe.dataset.caller import warn_caller
from wkpipe.dataset.dataset_base import DatasetBase
from wkpipe.dataset.errors import check_type
from wkpipe.geometry import BoundingBox, Vec3Float
from wkpipe.metadata.units import VoxelSize
from wkpipe.metadata.view_configuration import DatasetViewConfiguration


class DatasetFacts(DatasetBase):
    """The properties of the class Dataset."""

    @property
    def path(self) -> Path:
        """The dataset's directory."""
        return self._path

    @property
    def resolved_path(self) -> Path:
        """The dataset's directory, with all links resolved."""
        return self._live.fixed.dataset

    @property
    def read_only(self) -> bool:
        """True if every change is refused."""
        return self._live.read_only

    @property
    def name(self) -> str:
        """The dataset's name.

        Raises
        ------
        NotWritable
            on setting, the dataset is read-only.
        """
        return self._live.current().name

    @name.setter
    def name(self, name: str) -> None:
        self._live.update(lambda properties: replace(properties, name=name))

    @property
    def voxel_size(self) -> Vec3Float:
        """The size of a mag-1 voxel, x, y, z in nanometers."""
        return self._live.current().voxel_size.nm

    @property
    def scale(self) -> tuple[float, float, float]:
        """The old name of `voxel_size`, which warns."""
        warn_caller("scale is deprecated, use voxel_size", DeprecationWarning)
        return self.voxel_size

    @property
    def voxel_size_with_unit(self) -> VoxelSize:
        """The size of a mag-1 voxel as it was given, with its unit."""
        return self._live.current().voxel_size

    @property
    def default_view_configuration(self) -> DatasetViewConfiguration | None:
        """How WEBKNOSSOS shows the dataset at first; None for the viewer's defaults.

        Raises
        ------
        NotWritable
            on setting, the dataset is read-only.
        """
        return self._live.current().default_view_configuration

    @default_view_configuration.setter
    def default_view_configuration(self, configuration: DatasetViewConfiguration | None) -> None:
        check_type("default_view_configuration", configuration, DatasetViewConfiguration, may_lack=True)
        self._live.update(lambda properties: replace(properties, default_view_configuration=configuration))

    def calculate_bounding_box(self) -> BoundingBox:
        """Return the smallest box (x, y, z, mag-1 voxels) around the boxes of all layers; it is empty without layers.

        Examples
        --------
        >>> from wkpipe import BoundingBox, Dataset
        >>> dataset = Dataset("brain", voxel_size=(4, 4, 40))
        >>> for name, x in (("left", 0), ("right", 100)):
        ...     _ = dataset.add_layer(name, "color", bounding_box=BoundingBox((x, 0, 0), (50, 50, 10)))
        >>> dataset.calculate_bounding_box()
        BoundingBox((0, 0, 0), (150, 50, 10))
        """
        box = BoundingBox.empty()
        for layer in self._live.current().layers:
            box = box.extended_by(layer.box)
        return box
