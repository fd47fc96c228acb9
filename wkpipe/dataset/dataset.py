"""Dataset: a directory with layers of volume data, as WEBKNOSSOS reads it."""

from __future__ import annotations

from os import PathLike
from typing import Self

from wkpipe.dataset.caller import warn_caller
from wkpipe.dataset.dataset_copies import DatasetCopying
from wkpipe.dataset.dataset_facts import DatasetFacts
from wkpipe.dataset.dataset_image_layers import DatasetImageLayers
from wkpipe.dataset.dataset_images import DatasetImages
from wkpipe.dataset.dataset_references import DatasetReferences
from wkpipe.dataset.dataset_runs import DatasetRuns
from wkpipe.dataset.dataset_server import DatasetServer
from wkpipe.dataset.dataset_writing import DatasetWriting
from wkpipe.dataset.errors import DatasetDiffers, DatasetExists, DatasetNotFound, check_type
from wkpipe.dataset.layer import Layer, SegmentationLayer
from wkpipe.dataset.live_layer import LiveLayer
from wkpipe.dataset.old_names import accepts_old_calls
from wkpipe.errors import AlreadyExists, InputRefused, NotWritable
from wkpipe.geometry import Vec3FloatLike
from wkpipe.metadata.element_class import LayerCategory
from wkpipe.metadata.properties import PROPERTIES_FILE_NAME, DatasetProperties
from wkpipe.metadata.units import VoxelSize
from wkpipe.stored.lease import Lookout
from wkpipe.stored.locations import STATE_NAME
from wkpipe.stored.places import place_at

__all__ = ["Dataset"]


class Dataset(
    DatasetFacts, DatasetCopying, DatasetWriting, DatasetReferences, DatasetRuns, DatasetImages, DatasetImageLayers, DatasetServer
):
    """A dataset on the local file system: a directory with layers of voxels, which WEBKNOSSOS reads.

    Everything it reports is read from the present datasource-properties.json. Every change is made under a lock to
    the present content of the file, so handles in one or several processes never lose each other's changes. Boxes and
    offsets are in mag-1 voxels, x, y, z; voxel sizes are in nanometers.

    Examples
    --------
    >>> import numpy as np
    >>> from wkpipe import BoundingBox, Dataset
    >>> dataset = Dataset("brain", voxel_size=(11.24, 11.24, 25))
    >>> layer = dataset.add_layer("em", "color", bounding_box=BoundingBox((0, 0, 0), (256, 256, 16)))
    >>> mag = layer.add_mag(1)
    >>> mag.write(np.random.default_rng(0).integers(0, 255, (256, 256, 16), dtype="uint8"))
    >>> dataset.downsample(coarsest_mag=4)
    >>> [str(mag) for mag in Dataset.open("brain").get_layer("em").mags]
    ['1', '2-2-1', '4-4-2']
    """

    @accepts_old_calls("Dataset.__init__")
    def __init__(
        self,
        dataset_path: str | PathLike[str],
        voxel_size: Vec3FloatLike | None = None,
        name: str | None = None,
        exist_ok: bool = False,
        *,
        voxel_size_with_unit: VoxelSize | None = None,
        read_only: bool = False,
    ) -> None:
        """Create a dataset, or open one with `exist_ok`. With the path alone, an existing one is opened too, which is deprecated.

        Parameters
        ----------
        dataset_path
            the directory; it is made if it is missing.
        voxel_size
            x, y, z in nanometers. Old name, which warns: `scale`.
        name
            default: the last part of the path.
        exist_ok
            open a dataset that exists; voxel size and name, if given, must match.
        voxel_size_with_unit
            the same with a unit; a new dataset needs one of the two.
        read_only
            refuse every change; only for a dataset that exists.

        Raises
        ------
        DatasetExists
            the directory contains a dataset or other files (also a RuntimeError).
        DatasetDiffers
            with `exist_ok`, the dataset has another voxel size or name (also a DatasetExists).
        NotADatasetDirectory
            the path is a file (also a NotADirectoryError).
        InputRefused
            the voxel size is missing or not possible.
        NotWritable
            the directory is not writable.
        TryAgain
            a run is making a dataset there.

        Examples
        --------
        >>> from wkpipe import Dataset, VoxelSize
        >>> dataset = Dataset("brain", voxel_size_with_unit=VoxelSize((0.5, 0.5, 2), "micrometer"), name="Brain")
        >>> dataset.name, dataset.voxel_size
        ('Brain', Vec3Float(500.0,500.0,2000.0))
        >>> Dataset("brain", voxel_size=(500, 500, 2000), exist_ok=True).layers
        {}
        """
        if voxel_size is not None and voxel_size_with_unit is not None:
            raise InputRefused("voxel_size and voxel_size_with_unit were both given", fix="give one of them")
        check_type("voxel_size_with_unit", voxel_size_with_unit, VoxelSize, may_lack=True)
        check_type("name", name, str, may_lack=True)
        size = VoxelSize(voxel_size) if voxel_size is not None else voxel_size_with_unit
        self._start(dataset_path, read_only)
        if self._live.file.is_there():
            if size is None and name is None and not exist_ok:
                warn_caller(f"Dataset({str(dataset_path)!r}) to open a dataset is deprecated, use Dataset.open", DeprecationWarning)
            else:
                self._check_same(size, name, exist_ok)
            self._live.current()
            return
        with Lookout.begin(self._live.fixed).refusals_checked():
            self._create(size, name, exist_ok)

    @classmethod
    def open(cls, dataset_path: str | PathLike[str], read_only: bool = False) -> Self:
        """Open a dataset.

        Raises
        ------
        DatasetNotFound
            there is no dataset (also a FileNotFoundError).
        NotADatasetDirectory
            the path is a file (also a NotADirectoryError).
        MetadataError
            its properties are broken.

        Examples
        --------
        >>> from wkpipe import Dataset
        >>> Dataset.open("nowhere")
        Traceback (most recent call last):
            ...
        wkpipe.dataset.errors.DatasetNotFound: nowhere: datasource-properties.json file not found; give the path of a dataset, or create one
        """
        dataset = cls.__new__(cls)
        dataset._start(dataset_path, read_only)
        if not dataset._live.file.is_there():
            raise DatasetNotFound(
                f"{PROPERTIES_FILE_NAME} file not found", where=dataset_path, fix="give the path of a dataset, or create one"
            )
        dataset._live.current()
        return dataset

    def _start(self, path: str | PathLike[str], read_only: bool) -> None:
        super()._start(path, read_only)
        self._layers: dict[str, Layer] = {}

    def _create(self, voxel_size: VoxelSize | None, name: str | None, exist_ok: bool) -> None:
        if self._live.read_only:
            raise NotWritable("there is no dataset, and a read-only one cannot be created", where=self._path)
        if voxel_size is None:
            raise InputRefused("a new dataset needs a voxel size", fix="give voxel_size=(x, y, z) in nanometers")
        if not exist_ok and {*place_at(self._path).names()} - {STATE_NAME}:
            raise DatasetExists(f"{self._path} exists and is not empty", fix="choose another directory, or pass exist_ok=True")
        properties = DatasetProperties(self._path.name if name is None else name, voxel_size)
        try:
            self._live.file.create(properties)
        except AlreadyExists:  # another process was faster
            self._check_same(voxel_size, name, exist_ok)

    def _check_same(self, voxel_size: VoxelSize | None, name: str | None, exist_ok: bool) -> None:
        if not exist_ok:
            raise DatasetExists(f"{self._path} already contains a dataset", fix="open it with Dataset.open, or pass exist_ok=True")
        found = self._live.current()
        if voxel_size is not None and voxel_size.nm != found.voxel_size.nm:
            raise DatasetDiffers(f"{self._path} contains a dataset with the voxel size {found.voxel_size}, not {voxel_size}")
        if name is not None and name != found.name:
            raise DatasetDiffers(f"{self._path} contains a dataset with the name {found.name}, not {name}")

    @property
    def layers(self) -> dict[str, Layer]:
        """The layers by name, in the order of the properties."""
        found: dict[str, Layer] = {}
        known_layers = {layer.name: layer for layer in self._layers.values()}  # they may have other names since
        for layer in self._live.current().layers:
            kind = SegmentationLayer if layer.category is LayerCategory.SEGMENTATION else Layer
            known = known_layers.get(layer.name)
            found[layer.name] = known if known is not None and type(known) is kind else kind(self, LiveLayer(self._live, layer.name))
        self._layers = found
        return dict(found)
