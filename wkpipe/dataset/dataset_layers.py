"""DatasetLayers: the layers of a dataset; get, add and delete them."""

from __future__ import annotations

from abc import ABC, abstractmethod

from numpy.typing import DTypeLike

from wkpipe.dataset.caller import warn_caller
from wkpipe.dataset.dataset_base import DatasetBase
from wkpipe.dataset.errors import WrongType
from wkpipe.dataset.layer import Layer, SegmentationLayer
from wkpipe.dataset.new_layer import check_same, layer_like, new_layer_properties
from wkpipe.dataset.old_names import accepts_old_calls
from wkpipe.dataset.removal import remove_layer
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import NDBoundingBox
from wkpipe.metadata.element_class import LayerCategory, is_shown_by_viewer
from wkpipe.metadata.layer_properties import LayerProperties


class DatasetLayers(DatasetBase, ABC):
    """The members of the class Dataset that concern its layers."""

    @property
    @abstractmethod
    def layers(self) -> dict[str, Layer]:
        """The layers by name, in the order of the properties."""

    def get_layer(self, layer_name: str) -> Layer:
        """Return one layer.

        Raises
        ------
        LayerNotFound
            the dataset has no such layer (also an IndexError).

        Examples
        --------
        >>> from wkpipe import Dataset
        >>> dataset = Dataset("brain", voxel_size=(4, 4, 40))
        >>> dataset.add_layer("em", "color") is dataset.get_layer("em")
        True
        >>> dataset.get_layer("cells")
        Traceback (most recent call last):
            ...
        wkpipe.errors.LayerNotFound: The layer cells is not a layer of this dataset (it has em)
        """
        self._live.layer(layer_name)
        return self.layers[layer_name]

    def get_color_layers(self) -> list[Layer]:
        """Return the layers of category color.

        Examples
        --------
        >>> from wkpipe import Dataset
        >>> dataset = Dataset("brain", voxel_size=(4, 4, 40))
        >>> em, cells = dataset.add_layer("em", "color"), dataset.add_layer("cells", "segmentation")
        >>> [layer.name for layer in dataset.get_color_layers()]
        ['em']
        """
        return [layer for layer in self.layers.values() if not isinstance(layer, SegmentationLayer)]

    def get_segmentation_layers(self) -> list[SegmentationLayer]:
        """Return the layers of category segmentation.

        Examples
        --------
        >>> from wkpipe import Dataset
        >>> dataset = Dataset("brain", voxel_size=(4, 4, 40))
        >>> em, cells = dataset.add_layer("em", "color"), dataset.add_layer("cells", "segmentation")
        >>> [layer.name for layer in dataset.get_segmentation_layers()]
        ['cells']
        """
        return [layer for layer in self.layers.values() if isinstance(layer, SegmentationLayer)]

    def get_segmentation_layer(self, layer_name: str) -> SegmentationLayer:
        """Return one layer of category segmentation.

        Raises
        ------
        LayerNotFound
            the dataset has no such layer (also an IndexError).
        WrongType
            the layer is a color layer (also a TypeError).

        Examples
        --------
        >>> from wkpipe import Dataset
        >>> dataset = Dataset("brain", voxel_size=(4, 4, 40))
        >>> cells = dataset.add_layer("cells", "segmentation", largest_segment_id=7)
        >>> dataset.get_segmentation_layer("cells").largest_segment_id
        7
        """
        layer = self.get_layer(layer_name)
        if not isinstance(layer, SegmentationLayer):
            raise WrongType(f"layer {layer_name} is not a segmentation", found=f"category {layer.category}", fix="use get_layer")
        return layer

    @accepts_old_calls("Dataset.add_layer")
    def add_layer(
        self,
        layer_name: str,
        category: LayerCategory | str,
        *,
        dtype: DTypeLike | None = None,
        num_channels: int | None = None,
        data_format: DataFormat | str = DataFormat.ZARR3,
        bounding_box: NDBoundingBox | None = None,
        largest_segment_id: int | None = None,
        mappings: list[str] | None = None,
    ) -> Layer:
        """Add a layer without mags. Only the properties are written; the first mag creates directories.

        Parameters
        ----------
        layer_name
            ASCII letters, digits, ``_ $ @ -`` and, except as the first character, dots.
        category
            color or segmentation.
        dtype
            of one channel; default uint8. Another name: `dtype_per_channel`.
        num_channels
            default: the channels of the box, else 1.
        data_format
            zarr3, zarr or wkw.
        bounding_box
            in mag-1 voxels; axes besides c, x, y, z become the layer's additional axes, in this order.
            Default: an empty box at 0.
        largest_segment_id, mappings
            of segmentations.

        Raises
        ------
        AlreadyExists
            the dataset has a layer with that name (also an IndexError).
        InputRefused
            a value is not possible.
        NotWritable
            the dataset is read-only.

        Examples
        --------
        >>> from wkpipe import Dataset, NDBoundingBox
        >>> dataset = Dataset("brain", voxel_size=(4, 4, 40))
        >>> dataset.add_layer("cells", "segmentation", dtype="uint32").dtype_per_layer
        'uint32'
        >>> box = NDBoundingBox((0, 0, 0, 0), (5, 64, 64, 16), ("t", "x", "y", "z"))
        >>> dataset.add_layer("movie", "color", bounding_box=box).bounding_box.axes
        ('t', 'x', 'y', 'z')
        >>> dataset.add_layer("em", "color", dtype="complex64")
        Traceback (most recent call last):
            ...
        wkpipe.errors.InputRefused: data type complex64 is not possible in a layer, expected one of uint8, uint16, ...
        """
        new = new_layer_properties(
            layer_name,
            category,
            dtype=dtype,
            num_channels=num_channels,
            data_format=data_format,
            box=bounding_box,
            largest_segment_id=largest_segment_id,
            mappings=mappings,
        )
        return self._add(new)

    @accepts_old_calls("Dataset.get_or_add_layer")
    def get_or_add_layer(
        self,
        layer_name: str,
        category: LayerCategory | str,
        *,
        dtype: DTypeLike | None = None,
        num_channels: int | None = None,
        data_format: DataFormat | str | None = None,
        bounding_box: NDBoundingBox | None = None,
        largest_segment_id: int | None = None,
        mappings: list[str] | None = None,
    ) -> Layer:
        """Return a layer; add it if it is missing, see `add_layer`. The box is used for a new layer only.

        Raises
        ------
        InputRefused
            the layer exists with another category, dtype, number of channels or format than given.

        Examples
        --------
        >>> from wkpipe import Dataset
        >>> dataset = Dataset("brain", voxel_size=(4, 4, 40))
        >>> layer = dataset.get_or_add_layer("em", "color", dtype="uint16")
        >>> dataset.get_or_add_layer("em", "color") is layer
        True
        >>> dataset.get_or_add_layer("em", "color", dtype="uint8")
        Traceback (most recent call last):
            ...
        wkpipe.errors.ExistsDifferently: layer em exists with dtype uint16, not uint8
        """
        if self._live.current().has_layer(layer_name):
            check_same(self._live.layer(layer_name), category, dtype, num_channels, data_format)
            return self.get_layer(layer_name)
        new = new_layer_properties(
            layer_name,
            category,
            dtype=dtype,
            num_channels=num_channels,
            data_format=DataFormat.ZARR3 if data_format is None else data_format,
            box=bounding_box,
            largest_segment_id=largest_segment_id,
            mappings=mappings,
        )
        return self._add(new)

    def add_layer_like(self, other_layer: Layer, layer_name: str) -> Layer:
        """Add a layer without mags that has the properties of another one, of this dataset or of another.

        Raises
        ------
        AlreadyExists
            the dataset has a layer with that name (also an IndexError).
        InputRefused
            the name is not possible, or wkpipe does not write the format of the other layer.
        NotWritable
            the dataset is read-only.

        Examples
        --------
        >>> from wkpipe import BoundingBox, Dataset
        >>> dataset, box = Dataset("brain", voxel_size=(4, 4, 40)), BoundingBox((0, 0, 0), (64, 64, 16))
        >>> cells = dataset.add_layer("cells", "segmentation", dtype="uint32", bounding_box=box)
        >>> copy = dataset.add_layer_like(cells, "corrected")
        >>> str(copy.dtype), copy.bounding_box == box, copy.mags
        ('uint32', True, {})
        """
        return self._add(layer_like(other_layer._properties, layer_name))

    def _add(self, new: LayerProperties) -> Layer:
        self._live.update(lambda properties: properties.with_new_layer(new))
        if not is_shown_by_viewer(new.dtype, new.num_channels):
            warn_caller(f"layer {new.name}: WEBKNOSSOS shows one channel, or three of uint8, but not {new.num_channels} of {new.dtype}")
        return self.get_layer(new.name)

    def delete_layer(self, layer_name: str) -> None:
        """Delete a layer: first from the properties, then its files.

        Raises
        ------
        LayerNotFound
            the dataset has no such layer (also an IndexError).
        InputRefused
            another layer shows the same data, which would be lost.
        NotWritable, TryAgain
            the dataset is read-only, or a run works on it.

        Examples
        --------
        >>> from wkpipe import Dataset
        >>> dataset = Dataset("brain", voxel_size=(4, 4, 40))
        >>> path = dataset.add_layer("em", "color").add_mag(1).path
        >>> dataset.delete_layer("em")
        >>> list(dataset.layers), path.exists()
        ([], False)
        """
        remove_layer(self._live, layer_name)
