"""LayerFacts: the properties of a layer, and the metadata that can be set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wkpipe.dataset.caller import warn_caller
from wkpipe.dataset.errors import check_type
from wkpipe.dataset.fitting import change_box
from wkpipe.dataset.layer_base import LayerBase
from wkpipe.dataset.region import normalized_box, public_box
from wkpipe.dataset.transformations import CoordinateTransformation, transformation_json
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import NDBoundingBox, NormalizedBoundingBox
from wkpipe.metadata.element_class import LayerCategory
from wkpipe.metadata.view_configuration import LayerViewConfiguration

if TYPE_CHECKING:
    from wkpipe.dataset.dataset import Dataset
    from wkpipe.dataset.mag_view import MagView


class LayerFacts(LayerBase):
    """The properties of the class Layer."""

    @property
    def name(self) -> str:
        """The layer's name, which is also that of its directory.

        Setting it moves the directory, or the link in its place. The records of how the mags were made, references of other layers of
        the dataset, and view configurations follow, and so do all objects of this process that belong to the layer. Other datasets that
        refer to the layer do not.

        Raises
        ------
        AlreadyExists
            on setting, another layer, or something else in the dataset's directory, has the name.
        InputRefused
            on setting, the name is not possible, a link leads to the layer, or a run was stopped while it rebuilt mags.
        NotWritable, TryAgain
            on setting, the dataset is read-only, or a run works on it.

        Examples
        --------
        >>> from wkpipe import BoundingBox, Dataset
        >>> dataset = Dataset("brain", voxel_size=(4, 4, 40))
        >>> layer = dataset.add_layer("em", "color", bounding_box=BoundingBox((0, 0, 0), (64, 64, 16)))
        >>> mag = layer.add_mag(1)
        >>> layer.name = "raw"
        >>> list(dataset.layers), mag.path == dataset.path / "raw" / "1"
        (['raw'], True)
        >>> layer.name = "raw data"
        Traceback (most recent call last):
            ...
        wkpipe.errors.InputRefused: layer name 'raw data' is not possible: use ASCII letters, digits, _ $ @ - and, not in first place, dots
        """
        return self._entry.name

    @name.setter
    def name(self, name: str) -> None:
        check_type("layer name", name, str)
        self._entry.take_name(name)

    @property
    def path(self) -> Path:
        """The directory of the layer's mags."""
        return self._dataset.path / self._entry.name

    @property
    def resolved_path(self) -> Path:
        """The directory of the layer's mags, with all links resolved."""
        return Path(self._entry.place.real())

    @property
    def dataset(self) -> Dataset:
        """The dataset that the layer belongs to."""
        return self._dataset

    @property
    def category(self) -> LayerCategory:
        """``color`` or ``segmentation``."""
        return self._properties.category

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of one channel."""
        return self._properties.dtype

    @property
    def dtype_per_channel(self) -> np.dtype[Any]:
        """The dtype of one channel; the same as `dtype`."""
        return self._properties.dtype

    @property
    def dtype_per_layer(self) -> str:
        """The type of all channels of a voxel together, such as ``uint24`` for three of uint8."""
        layer = self._properties
        name = layer.dtype.name
        kind = name.rstrip("0123456789")
        return f"{kind}{int(name[len(kind) :]) * layer.num_channels}"

    @property
    def num_channels(self) -> int:
        """The number of channels."""
        return self._properties.num_channels

    @property
    def data_format(self) -> DataFormat:
        """The storage format of the layer's mags."""
        return self._properties.data_format

    @property
    def read_only(self) -> bool:
        """True if every change is refused: the dataset is read-only, or the layer's directory is a link to a place outside of it."""
        return self._entry.live.read_only or self.is_foreign

    @property
    def is_foreign(self) -> bool:
        """True if the layer's directory is a link to a place outside of the dataset."""
        return self.resolved_path.parent != self._entry.live.fixed.dataset

    @property
    def is_remote_to_dataset(self) -> bool:
        """The old name of `is_foreign`, which warns."""
        warn_caller("is_remote_to_dataset is deprecated, use is_foreign", DeprecationWarning)
        return self.is_foreign

    def is_mag_view_foreign(self, mag: MagView) -> bool:
        """True if the array of a mag is not in this layer's directory; see `MagView.is_foreign`.

        Examples
        --------
        >>> from wkpipe import Dataset
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color")
        >>> layer.is_mag_view_foreign(layer.add_mag(1))
        False
        """
        return mag.is_foreign

    @property
    def bounding_box(self) -> NDBoundingBox:
        """The box of the layer's data in mag-1 voxels; a BoundingBox (x, y, z) if there are no axes but c, x, y, z.

        Setting it fits the arrays of all mags: their shapes end with the box, rounded up to whole shards. No voxel is
        deleted; voxels outside are visible again when the box grows.

        Raises
        ------
        InputRefused
            on setting, the box has a negative corner or axes that do not fit the layer.
        NotWritable, TryAgain
            on setting, the dataset is read-only, or a run works on it.

        Examples
        --------
        >>> from wkpipe import BoundingBox, Dataset
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color")
        >>> layer.bounding_box
        BoundingBox((0, 0, 0), (0, 0, 0))
        >>> layer.bounding_box = BoundingBox((0, 0, 0), (512, 512, 64))
        >>> layer.bounding_box.size
        Vec3Int(512, 512, 64)
        """
        return public_box(self._properties.bounding_box())

    @bounding_box.setter
    def bounding_box(self, box: NDBoundingBox) -> None:
        check_type("bounding_box", box, NDBoundingBox)
        change_box(self._entry, lambda _: box)

    @property
    def normalized_bounding_box(self) -> NormalizedBoundingBox:
        """The layer's box with all axes of its arrays, so also c.

        Examples
        --------
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 16))
        >>> Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box).normalized_bounding_box
        NormalizedBoundingBox((0, 0, 0, 0), (1, 64, 64, 16), ('c', 'x', 'y', 'z'))
        """
        return normalized_box(self._properties.bounding_box())

    @property
    def default_view_configuration(self) -> LayerViewConfiguration | None:
        """How WEBKNOSSOS shows the layer at first; None for the viewer's defaults.

        Raises
        ------
        NotWritable
            on setting, the dataset is read-only.
        """
        return self._properties.default_view_configuration

    @default_view_configuration.setter
    def default_view_configuration(self, configuration: LayerViewConfiguration | None) -> None:
        check_type("default_view_configuration", configuration, LayerViewConfiguration, may_lack=True)
        self._replace(default_view_configuration=configuration)

    @property
    def coordinate_transformations(self) -> tuple[CoordinateTransformation, ...]:
        """How WEBKNOSSOS places the layer among the others. They can also be set as JSON objects; None removes them.

        Raises
        ------
        InputRefused
            on setting, a transformation is not possible.
        NotWritable
            on setting, the dataset is read-only.

        Examples
        --------
        >>> from wkpipe import AffineCoordinateTransformation, Dataset
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color")
        >>> layer.coordinate_transformations = [AffineCoordinateTransformation.from_translation((100, 0, 0))]
        >>> layer.coordinate_transformations[0].matrix[0].tolist()
        [1.0, 0.0, 0.0, 100.0]
        """
        return tuple(CoordinateTransformation.from_json(values) for values in self._properties.coordinate_transformations or ())

    @coordinate_transformations.setter
    def coordinate_transformations(self, transformations: Sequence[CoordinateTransformation | Mapping[str, Any]] | None) -> None:
        check_type("coordinate_transformations", transformations, list, tuple, may_lack=True)
        values = tuple(transformation_json(each) for each in transformations or ())
        self._replace(coordinate_transformations=values or None)
