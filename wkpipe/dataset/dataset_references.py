"""DatasetReferences: layers whose data exist already, in the dataset's directory or elsewhere."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Self

from numpy.typing import DTypeLike

from wkpipe.dataset.caller import warn_caller
from wkpipe.dataset.dataset_layers import DatasetLayers
from wkpipe.dataset.layer import Layer
from wkpipe.dataset.old_names import accepts_old_calls
from wkpipe.dataset.referenced import LayerSource, path_text
from wkpipe.dataset.referring import adopt_layer, link_layer, new_reference, refer_to_all
from wkpipe.formats.base import DataFormat
from wkpipe.metadata.element_class import LayerCategory


class DatasetReferences(DatasetLayers):
    """The members of the class Dataset that add layers from data that exist."""

    @classmethod
    @abstractmethod
    def open(cls, dataset_path: str | PathLike[str], read_only: bool = False) -> Self:
        """Open a dataset."""

    def add_layer_as_ref(self, foreign_layer: LayerSource, new_layer_name: str | None = None) -> Layer:
        """Add a layer whose data stay where they are: only the paths of its mags and attachments are noted.

        The mags can be read, but not written or deleted from here; mags that are added or downsampled are the dataset's own.

        Parameters
        ----------
        foreign_layer
            a layer of any dataset, or its path (``DATASET/LAYER``).
        new_layer_name
            default: the name that it has.

        Raises
        ------
        AlreadyExists
            the dataset has a layer with that name (also an IndexError).
        InputRefused
            there is no such layer, the name is not possible, or an array cannot be read.
        NotWritable
            the dataset is read-only.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 16))
        >>> raw = Dataset("raw", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box)
        >>> raw.add_mag(1).write(np.full((64, 64, 16), 7, np.uint8))
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer_as_ref(raw)
        >>> layer.downsample(coarsest_mag=2)
        >>> [(str(mag), view.is_foreign) for mag, view in layer.mags.items()]
        [('1', True), ('2-2-1', False)]
        """
        return self._add(new_reference(self._live, foreign_layer, new_layer_name))

    def add_remote_layer(self, foreign_layer: LayerSource, new_layer_name: str | None = None) -> Layer:
        """The old name of `add_layer_as_ref`, which warns."""
        warn_caller("add_remote_layer is deprecated, use add_layer_as_ref", DeprecationWarning)
        return self.add_layer_as_ref(foreign_layer, new_layer_name)

    def add_symlink_layer(self, foreign_layer: LayerSource, new_layer_name: str | None = None, *, make_relative: bool = False) -> Layer:
        """Add a layer whose directory is a symbolic link to that of another one; it can be read, but not changed.

        Parameters
        ----------
        foreign_layer
            a layer of any dataset, or its path (``DATASET/LAYER``).
        new_layer_name
            default: the name that it has.
        make_relative
            both datasets can be moved together.

        Examples
        --------
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 16))
        >>> raw = Dataset("raw", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box)
        >>> _ = raw.add_mag(1)
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_symlink_layer(raw, make_relative=True)
        >>> layer.is_foreign, layer.read_only, str(layer.path.readlink())
        (True, True, '../raw/em')

        Raises: as `add_layer_as_ref`; AlreadyExists: there are other data in the place of the layer.
        """
        return self.get_layer(link_layer(self._live, foreign_layer, make_relative, new_layer_name))

    @accepts_old_calls("Dataset.add_layer_for_existing_files")
    def add_layer_for_existing_files(
        self,
        layer_name: str,
        category: LayerCategory | str,
        *,
        dtype: DTypeLike | None = None,
        num_channels: int | None = None,
        data_format: DataFormat | str | None = None,
        largest_segment_id: int | None = None,
        mappings: Sequence[str] | None = None,
    ) -> Layer:
        """Make a layer of arrays that are in the dataset's directory already, as ``LAYER/MAG``.

        The layer's box contains all stored chunks. What is not given is taken from the arrays.

        Raises
        ------
        AlreadyExists
            the dataset has a layer with that name (also an IndexError).
        ExistsDifferently
            an array differs from what was given, or from the first one (also an AssertionError).
        InputRefused
            there is no array, or a value is not possible.
        NotWritable, TryAgain
            the dataset is read-only, or a run works on it.

        Examples
        --------
        >>> import numpy as np, zarr
        >>> from wkpipe import Dataset
        >>> dataset = Dataset("brain", voxel_size=(4, 4, 40))
        >>> array = zarr.create_array("brain/cells/1", shape=(1, 64, 64, 32), chunks=(1, 32, 32, 32), dtype="uint32")
        >>> array[:] = 5
        >>> layer = dataset.add_layer_for_existing_files("cells", "segmentation")
        >>> layer.bounding_box, str(layer.dtype), list(layer.mags)
        (BoundingBox((0, 0, 0), (64, 64, 32)), 'uint32', [Mag('1')])
        """
        given = {"dtype": dtype, "num_channels": num_channels, "largest_segment_id": largest_segment_id, "mappings": mappings}
        adopt_layer(self._live, layer_name, category, data_format, given)
        return self.get_layer(layer_name)

    def shallow_copy_dataset(
        self,
        new_dataset_path: str | PathLike[str],
        *,
        name: str | None = None,
        make_relative: bool = False,
        layers_to_ignore: Sequence[str] | None = None,
    ) -> Self:
        """Create a dataset whose layers refer to the data of this one, see `add_layer_as_ref`; it is there at once or not at all.

        Parameters
        ----------
        new_dataset_path
            the directory of the new dataset; it must be empty or missing.
        name
            default: the last part of the path.
        make_relative
            note paths from the new dataset's directory, so that both datasets can be moved together.
        layers_to_ignore
            names of layers to leave out.

        Raises
        ------
        DatasetExists
            the directory contains a dataset or other files (also a RuntimeError).
        LayerNotFound
            a layer to leave out does not exist (also an IndexError).
        InputRefused
            an array cannot be read.

        Examples
        --------
        >>> from wkpipe import BoundingBox, Dataset
        >>> dataset = Dataset("brain", voxel_size=(4, 4, 40))
        >>> _ = dataset.add_layer("em", "color", bounding_box=BoundingBox((0, 0, 0), (64, 64, 16))).add_mag(1)
        >>> copy = dataset.shallow_copy_dataset("with_labels")
        >>> _ = copy.add_layer("labels", "segmentation")
        >>> list(copy.layers), copy.get_layer("em").get_mag(1).read_only, list(dataset.layers)
        (['em', 'labels'], True, ['em'])
        """
        path = Path(path_text("new_dataset_path", new_dataset_path, "the path of a directory"))
        refer_to_all(self._live, path, name, make_relative, layers_to_ignore or ())
        cls = type(self)
        return cls.open(path)
