"""Dataset: a directory with layers of volume data, as WEBKNOSSOS reads it."""

from __future__ import annotations

import warnings
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from numpy.typing import DTypeLike

from wkpipe.dataset.arrays import remove_layer
from wkpipe.dataset.errors import DatasetExists, DatasetNotFound, NotADatasetDirectory
from wkpipe.dataset.layer import Layer
from wkpipe.dataset.live_properties import LiveProperties
from wkpipe.dataset.new_layer import check_same, new_layer_properties
from wkpipe.dataset.runs import coarsest_text, interpolation_text, run_config, sampling_text
from wkpipe.dataset.segmentation_layer import SegmentationLayer
from wkpipe.errors import AlreadyExists, InputRefused, NotWritable
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import BoundingBox, MagLike, NDBoundingBox, Vec3IntLike
from wkpipe.metadata.element_class import LayerCategory, is_shown_by_viewer
from wkpipe.metadata.properties import PROPERTIES_FILE_NAME, DatasetProperties
from wkpipe.metadata.units import VoxelSize
from wkpipe.metadata.view_configuration import DatasetViewConfiguration
from wkpipe.sampling import InterpolationMode, SamplingMode
from wkpipe.stored.lease import Lookout
from wkpipe.stored.locations import STATE_NAME


class Dataset:
    """A dataset on the local file system.

    What it tells is read from its datasource-properties.json as that is now; every change is made under a lock on the
    file's present content. So many handles, in one process or in several, never lose each other's changes.

    >>> dataset = Dataset("brain", voxel_size=(11.24, 11.24, 25))  # doctest: +SKIP
    >>> mag = dataset.add_layer("em", "color", bounding_box=BoundingBox((0, 0, 0), (512, 512, 64))).add_mag(1)  # doctest: +SKIP
    >>> mag.write(voxels)  # doctest: +SKIP
    >>> dataset.downsample()  # doctest: +SKIP
    """

    def __init__(
        self,
        path: str | PathLike[str],
        voxel_size: tuple[float, float, float] | None = None,
        *,
        voxel_size_with_unit: VoxelSize | None = None,
        name: str | None = None,
        exist_ok: bool = False,
        read_only: bool = False,
    ) -> None:
        """Create a dataset, or open one with `exist_ok`.

        Args:
            path: the directory; it is made where it is missing.
            voxel_size: x, y, z in nanometers.
            voxel_size_with_unit: the same with a unit; one of both is needed for a new dataset.
            name: default: the last part of the path.
            exist_ok: open a dataset that is there; voxel size and name, where given, must be its own.
            read_only: refuse every change; only for a dataset that is there.

        Raises:
            DatasetExists: the directory holds a dataset or other files (also a RuntimeError).
            NotADatasetDirectory: the path is a file (also a NotADirectoryError).
            InputRefused: no voxel size, or one that is not possible.
            NotWritable: the place is not writable.
            TryAgain: a run is making a dataset there.
        """
        if voxel_size is not None and voxel_size_with_unit is not None:
            raise InputRefused("voxel_size and voxel_size_with_unit were both given; give one of them")
        size = VoxelSize(tuple(voxel_size)) if voxel_size is not None else voxel_size_with_unit  # type: ignore[arg-type]
        self._start(path, read_only)
        if self._live.file.exists():
            self._check_same(size, name, exist_ok)
            return
        with Lookout.begin(self._live.locations).refusals_checked():
            self._create(size, name, exist_ok)

    @classmethod
    def open(cls, path: str | PathLike[str], read_only: bool = False) -> Dataset:
        """Open a dataset.

        Raises:
            DatasetNotFound: there is none (also a FileNotFoundError).
            NotADatasetDirectory: the path is a file (also a NotADirectoryError).
            MetadataError: its properties are broken.
        """
        dataset = cls.__new__(cls)
        dataset._start(path, read_only)
        if not dataset._live.file.exists():
            raise DatasetNotFound(f"{path}: {PROPERTIES_FILE_NAME} file not found; give the path of a dataset, or create one")
        dataset._live.current()
        return dataset

    def _start(self, path: str | PathLike[str], read_only: bool) -> None:
        self._path = Path(path).absolute()
        if self._path.exists() and not self._path.is_dir():
            raise NotADatasetDirectory(f"{path} is a file; a dataset is a directory")
        self._live = LiveProperties(self._path, read_only)
        self._layers: dict[str, Layer] = {}

    def _create(self, voxel_size: VoxelSize | None, name: str | None, exist_ok: bool) -> None:
        if self._live.read_only:
            raise NotWritable(f"{self._path} has no dataset, and a read-only one can not be created")
        if voxel_size is None:
            raise InputRefused("a new dataset needs a voxel size: voxel_size=(x, y, z) in nanometers")
        if not exist_ok and self._path.is_dir() and any(entry.name != STATE_NAME for entry in self._path.iterdir()):
            raise DatasetExists(f"{self._path} exists and is not empty; choose another directory, or pass exist_ok=True")
        properties = DatasetProperties(self._path.name if name is None else name, voxel_size)
        try:
            self._live.file.create(properties)
        except AlreadyExists:  # somebody was faster
            self._check_same(voxel_size, name, exist_ok)

    def _check_same(self, voxel_size: VoxelSize | None, name: str | None, exist_ok: bool) -> None:
        if not exist_ok:
            raise DatasetExists(f"{self._path} holds a dataset already; open it with Dataset.open, or pass exist_ok=True")
        found = self._live.current()
        if voxel_size is not None and voxel_size.nm != found.voxel_size.nm:
            raise DatasetExists(f"{self._path} holds a dataset with the voxel size {found.voxel_size}, not {voxel_size}")
        if name is not None and name != found.name:
            raise DatasetExists(f"{self._path} holds a dataset with the name {found.name}, not {name}")

    @classmethod
    def from_images(
        cls,
        source: str | PathLike[str],
        target: str | PathLike[str],
        voxel_size: tuple[float, float, float],
        *,
        unit: str = "nanometer",
        name: str | None = None,
        layer_name: str | None = None,
        category: LayerCategory | str | None = None,
        data_format: DataFormat | str = DataFormat.ZARR3,
        chunk_shape: Vec3IntLike | int | None = None,
        shard_shape: Vec3IntLike | int | None = None,
        compress: bool = True,
        compression_level: int | None = None,
        downsample: bool = True,
        coarsest_mag: MagLike | None = None,
        max_mag: MagLike | None = None,
        interpolation_mode: InterpolationMode | str = "default",
        sampling_mode: SamplingMode | str = SamplingMode.ANISOTROPIC,
        batch_size: int | None = None,
        overwrite_existing: bool = False,
    ) -> Dataset:
        """Convert images into a new dataset, with the same bytes as the command line makes.

        Args:
            source: an image file, or a directory that is searched for images.
            target: the dataset's directory. One that the same conversion left unfinished is resumed.
            voxel_size: x, y, z in `unit`.
            layer_name, category: default: recognised from the images.
            chunk_shape, shard_shape: x, y, z in voxels; the coarser mags take over what is given.
            compression_level: of zstd, 1 to 22; default 5.
            downsample: whether coarser mags are made, until `coarsest_mag` (also called `max_mag`).
            batch_size: images that are converted at once at least.
            overwrite_existing: delete a target that holds something else.

        Raises:
            UsageError: a value is not possible.
            InputRefused: the images can not be converted, or the target holds something else.
            NotWritable, TryAgain: the target is not writable, or another run works on it.
        """
        values: dict[str, Any] = {
            "source": Path(source),
            "target": Path(target),
            "voxel_size": list(voxel_size),
            "unit": unit,
            "name": name,
            "layer_name": layer_name,
            "category": None if category is None else str(category),
            "data_format": str(data_format),
            "chunk_shape": chunk_shape,
            "shard_shape": shard_shape,
            "compress": compress,
            "compression_level": compression_level,
            "downsample": downsample,
            "coarsest_mag": coarsest_text(coarsest_mag, max_mag),
            "interpolation_mode": interpolation_text(interpolation_mode),
            "sampling_mode": sampling_text(sampling_mode),
            "batch_size": batch_size,
            "overwrite_existing": overwrite_existing,
        }
        run_config(values, "from_images")
        return cls.open(target)

    # -- what it is ---------------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The dataset's directory."""
        return self._path

    @property
    def read_only(self) -> bool:
        """Whether every change is refused."""
        return self._live.read_only

    @property
    def name(self) -> str:
        """The dataset's name.

        Raises:
            NotWritable: on setting, the dataset is read-only.
        """
        return self._live.current().name

    @name.setter
    def name(self, name: str) -> None:
        self._live.update(lambda properties: replace(properties, name=name))

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """The size of a mag-1 voxel, x, y, z in nanometers."""
        return self._live.current().voxel_size.nm

    @property
    def voxel_size_with_unit(self) -> VoxelSize:
        """The size of a mag-1 voxel as it was given, with its unit."""
        return self._live.current().voxel_size

    @property
    def default_view_configuration(self) -> DatasetViewConfiguration | None:
        """How WEBKNOSSOS shows the dataset at first; None for the viewer's defaults.

        Raises:
            NotWritable: on setting, the dataset is read-only.
        """
        return self._live.current().default_view_configuration

    @default_view_configuration.setter
    def default_view_configuration(self, configuration: DatasetViewConfiguration | None) -> None:
        self._live.update(lambda properties: replace(properties, default_view_configuration=configuration))

    def calculate_bounding_box(self) -> BoundingBox:
        """Return the smallest box (x, y, z, mag-1 voxels) around the boxes of all layers; empty without layers."""
        box = BoundingBox.empty()
        for layer in self._live.current().layers:
            box = box.extended_by(layer.box)
        return box

    # -- layers -------------------------------------------------------------------------------------------------

    @property
    def layers(self) -> dict[str, Layer]:
        """The layers by name, in the order of the properties."""
        found: dict[str, Layer] = {}
        for layer in self._live.current().layers:
            kind = SegmentationLayer if layer.category is LayerCategory.SEGMENTATION else Layer
            known = self._layers.get(layer.name)
            found[layer.name] = known if known is not None and type(known) is kind else kind(self, self._live, layer.name)
        self._layers = found
        return dict(found)

    def get_layer(self, name: str) -> Layer:
        """Return one layer.

        Raises:
            LayerNotFound: the dataset has no such layer (also an IndexError).
        """
        self._live.layer(name)
        return self.layers[name]

    def get_color_layers(self) -> list[Layer]:
        """Return the layers of category color."""
        return [layer for layer in self.layers.values() if not isinstance(layer, SegmentationLayer)]

    def get_segmentation_layers(self) -> list[SegmentationLayer]:
        """Return the layers of category segmentation."""
        return [layer for layer in self.layers.values() if isinstance(layer, SegmentationLayer)]

    def add_layer(
        self,
        name: str,
        category: LayerCategory | str,
        *,
        dtype: DTypeLike | None = None,
        dtype_per_channel: DTypeLike | None = None,
        num_channels: int | None = None,
        data_format: DataFormat | str = DataFormat.ZARR3,
        bounding_box: NDBoundingBox | None = None,
        largest_segment_id: int | None = None,
        mappings: list[str] | None = None,
    ) -> Layer:
        """Add a layer without mags. Only the properties are written; directories come with the first mag.

        Args:
            name: ASCII letters, digits, ``_ $ @ -`` and, not in first place, dots.
            category: color or segmentation.
            dtype: of one channel; default uint8.
            dtype_per_channel: another name of `dtype`.
            num_channels: default: what the box says, else 1.
            data_format: zarr3, zarr or wkw.
            bounding_box: in mag-1 voxels; axes besides c, x, y, z become the layer's additional axes, in this order.
                Default: an empty box at 0.
            largest_segment_id, mappings: of segmentations.

        Raises:
            AlreadyExists: the dataset has a layer of that name (also an IndexError).
            InputRefused: a value is not possible.
            NotWritable: the dataset is read-only.
        """
        new = new_layer_properties(
            name,
            category,
            dtype=dtype,
            dtype_per_channel=dtype_per_channel,
            num_channels=num_channels,
            data_format=data_format,
            box=bounding_box,
            largest_segment_id=largest_segment_id,
            mappings=mappings,
        )
        self._live.update(lambda properties: properties.with_new_layer(new))
        if not is_shown_by_viewer(new.dtype, new.num_channels):
            text = f"layer {name}: WEBKNOSSOS shows one channel, or three of uint8, but not {new.num_channels} of {new.dtype}"
            warnings.warn(text, UserWarning, stacklevel=2)
        return self.get_layer(name)

    def get_or_add_layer(
        self,
        name: str,
        category: LayerCategory | str,
        *,
        dtype: DTypeLike | None = None,
        dtype_per_channel: DTypeLike | None = None,
        num_channels: int | None = None,
        data_format: DataFormat | str | None = None,
        bounding_box: NDBoundingBox | None = None,
        largest_segment_id: int | None = None,
        mappings: list[str] | None = None,
    ) -> Layer:
        """Return a layer, adding it where it is missing; see `add_layer`. The box counts for a new layer only.

        Raises:
            InputRefused: the layer exists with another category, dtype, number of channels or format than given.
        """
        if not self._live.current().has_layer(name):
            return self.add_layer(
                name,
                category,
                dtype=dtype,
                dtype_per_channel=dtype_per_channel,
                num_channels=num_channels,
                data_format=DataFormat.ZARR3 if data_format is None else data_format,
                bounding_box=bounding_box,
                largest_segment_id=largest_segment_id,
                mappings=mappings,
            )
        check_same(self._live.layer(name), category, dtype_per_channel if dtype is None else dtype, num_channels, data_format)
        return self.get_layer(name)

    def delete_layer(self, name: str) -> None:
        """Delete a layer: first from the properties, then its files.

        Raises:
            LayerNotFound: the dataset has no such layer (also an IndexError).
            NotWritable, TryAgain: the dataset is read-only, or a run works on it.
        """
        remove_layer(self._live, name)

    # -- runs ---------------------------------------------------------------------------------------------------

    def downsample(
        self,
        *,
        sampling_mode: SamplingMode | str = SamplingMode.ANISOTROPIC,
        coarsest_mag: MagLike | None = None,
        interpolation_mode: InterpolationMode | str = "default",
        compress: bool = True,
    ) -> None:
        """Make coarser mags of all layers, with the same bytes as the command line; see `Layer.downsample`.

        The ladders of the layers are aligned: the first layer in the file decides where they could differ.

        Raises:
            InputRefused: a ladder can not be made.
            IntegrityError: a storage shard is damaged or gone.
            NotWritable, TryAgain: the dataset is read-only, or another run works on it.
        """
        self._live.check_writable()
        values = {
            "target": self._live.locations.dataset,
            "coarsest_mag": coarsest_text(coarsest_mag, None),
            "interpolation_mode": interpolation_text(interpolation_mode),
            "sampling_mode": sampling_text(sampling_mode),
            "compress": compress,
        }
        run_config(values, "downsample")

    def __repr__(self) -> str:
        return f"Dataset({str(self._path)!r})"
