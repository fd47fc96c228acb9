"""DatasetImages: make a dataset from images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self

from wkpipe.dataset.dataset_base import DatasetBase
from wkpipe.dataset.executors import RunOptions, SubmitsCalls
from wkpipe.dataset.image_files import LayerNames, SortKey, grouping_values, shape_values, warn_of_flips
from wkpipe.dataset.old_names import accepts_old_calls
from wkpipe.dataset.runs import config_of, interpolation_text, mag_text, run_config, sampling_text
from wkpipe.errors import InputRefused
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import BoundingBox, MagLike, Vec3FloatLike, Vec3Int, Vec3IntLike
from wkpipe.images import MAX_LAYERS, grouping
from wkpipe.metadata.element_class import LayerCategory
from wkpipe.metadata.units import VoxelSize
from wkpipe.sampling import InterpolationMode, SamplingMode


class DatasetImages(DatasetBase, ABC):
    """The members of the class Dataset that convert images."""

    ConversionLayerMapping: ClassVar = grouping.ConversionLayerMapping

    @classmethod
    @abstractmethod
    def open(cls, dataset_path: str | PathLike[str], read_only: bool = False) -> Self:
        """Open a dataset."""

    @classmethod
    @accepts_old_calls("Dataset.from_images")
    def from_images(
        cls,
        input_path: str | PathLike[str],
        output_path: str | PathLike[str],
        voxel_size: Vec3FloatLike | None = None,
        name: str | None = None,
        *,
        map_filepath_to_layer_name: LayerNames = grouping.INSPECTED,
        z_slices_sort_key: SortKey | None = None,
        voxel_size_with_unit: VoxelSize | None = None,
        layer_name: str | None = None,
        layer_category: LayerCategory | str | None = None,
        family: str | Sequence[str] | None = None,
        pattern: str | None = None,
        missing_slices: str = "close",
        concat: str | None = None,
        spool_dir: str | PathLike[str] | None = None,
        series: int | str | None = None,
        channels: Sequence[int | str] | None = None,
        max_layers: int = MAX_LAYERS,
        sparse: str = "fill",
        rgb_labels: str | None = None,
        rgb: str = "keep",
        bilevel: str | None = None,
        dtype: str | None = None,
        rescale_min_max: tuple[float, float] | None = None,
        mag: MagLike = 1,
        topleft: Vec3IntLike | None = None,
        bbox: BoundingBox | None = None,
        swap_xy: bool = False,
        flip_x: bool = False,
        flip_y: bool = False,
        flip_z: bool = False,
        padding: str = "fail",
        data_format: DataFormat | str = DataFormat.ZARR3,
        chunk_shape: Vec3IntLike | int | None = None,
        shard_shape: Vec3IntLike | int | None = None,
        chunks_per_shard: Vec3IntLike | int | None = None,
        compress: bool = True,
        compression_level: int | None = None,
        downsample: bool | None = None,
        coarsest_mag: MagLike | None = None,
        interpolation_mode: InterpolationMode | str = "default",
        sampling_mode: SamplingMode | str = SamplingMode.ANISOTROPIC,
        batch_size: int | None = None,
        overwrite_existing: bool = False,
        executor: SubmitsCalls | None = None,
    ) -> Self:
        """Convert images into a new dataset, with the same bytes as the command line makes.

        Parameters
        ----------
        input_path
            an image file, a directory that is searched for images, a zip or tar of images, or a glob.
        output_path
            the dataset's directory; an unfinished conversion of the same images is resumed.
        voxel_size
            x, y, z in nanometers; default: as the images say.
        name
            default: the last part of `output_path`.
        map_filepath_to_layer_name
            which files make a layer: one of `Dataset.ConversionLayerMapping`, or a function that gets the
            path of an image below `input_path` and returns the name of its layer. Files of several folders follow each other
            folder after folder.
        z_slices_sort_key
            a function that gets the path of an image and returns a value; the images of a layer are sorted along z by
            these values; default: by the numbers in their names, see `missing_slices`.
        voxel_size_with_unit
            the same with a unit.
        layer_name, layer_category
            default: recognised from the images.
        family
            the endings of the images to use, like ``.tif``; default: the largest family of files in a folder.
        pattern
            the form of the files' paths below `input_path`, like ``img_{z}_Ch{c}.tif`` or ``{z}/{y}/{x}.jpg`` (tiles).
        missing_slices
            what to do about numbers that no slice has: fail, fill (with 0), repeat (the slice before), close (the gap,
            with a warning), or ``from:`` and the path of a list of lost sections, which are filled.
        concat
            ``z`` joins all files and folders, which follow each other along z, to one layer.
        spool_dir
            where a source that is a compressed tar is decompressed, once; default: in the user's cache.
        series
            of files with several, the number from 0 or the name of one, or "all".
        channels
            numbers from 0 or names of the channels to convert; default: all. `max_layers`: the most layers.
        sparse
            "fill" reads strips and tiles without data as fill, "fail" refuses them.
        rgb_labels
            how ids are made of colours: "index", "pack" or "map".
        rgb
            "gray" makes one channel of red, green and blue, which must be equal everywhere; "keep" keeps three.
        bilevel
            what 1-bit images become: "0/1" or "0/255".
        dtype, rescale_min_max
            the type of the voxels, and the stored values that become its smallest and its largest.
        mag
            the mag of the images, the finest that is made; `voxel_size` is that of mag 1.
        topleft
            the position of the images in the dataset, in voxels of mag 1; a multiple of `mag`.
        bbox
            the box of the images to convert, in their voxels as they are stored; default: all of them.
        swap_xy
            True exchanges x and y. flip_x, flip_y, flip_z: True mirrors this axis of the layer, after that. Without `swap_xy`,
            webknossos 4.3.3 mirrors y for `flip_x` and x for `flip_y`.
        padding
            slices of different sizes: "fail" refuses them, "fill" fills the smaller ones with 0 at their right and bottom.
        data_format
            zarr3, zarr or wkw.
        chunk_shape, shard_shape
            x, y, z in voxels; the coarser mags inherit them if they are given.
        chunks_per_shard
            deprecated, use `shard_shape`.
        compress
            True compresses chunks, with zstd, or LZ4-HC for WKW.
        compression_level
            of zstd, 1 to 22; default 5.
        downsample
            True makes coarser mags too; default: only if `coarsest_mag` is given. The command line always makes them.
        coarsest_mag
            where they end; another name: `max_mag`.
        interpolation_mode, sampling_mode
            of the coarser mags, see `Layer.downsample`.
        batch_size
            the least number of images per job.
        overwrite_existing
            True deletes a target that contains something else.
        executor
            does the tasks of the run, in processes or jobs: one of concurrent.futures or cluster_tools. Default: this process.

        Raises
        ------
        UsageError
            a value is not possible.
        InputRefused
            the images cannot be converted, or the target contains something else.
        NotWritable, TryAgain
            the target is not writable, or another run works on it.

        Examples
        --------
        >>> from pathlib import Path
        >>> import numpy as np, tifffile
        >>> from wkpipe import Dataset
        >>> Path("slices").mkdir()
        >>> for z in range(4):
        ...     tifffile.imwrite(f"slices/{z}.tif", np.full((200, 300), z, np.uint8))  # y, x
        >>> dataset = Dataset.from_images("slices", "brain", voxel_size=(4, 4, 40), layer_name="em", coarsest_mag=2)
        >>> layer = dataset.get_layer("em")
        >>> layer.bounding_box, [str(mag) for mag in layer.mags]
        (BoundingBox((0, 0, 0), (300, 200, 4)), ['1', '2-2-1'])
        """
        if voxel_size is not None and voxel_size_with_unit is not None:
            raise InputRefused("voxel_size and voxel_size_with_unit were both given", fix="give one of them")
        warn_of_flips(flip_x, flip_y, swap_xy)
        size = voxel_size_with_unit if voxel_size is None else VoxelSize(voxel_size)
        values: dict[str, Any] = {
            "source": Path(input_path),
            "target": Path(output_path),
            "voxel_size": None if size is None else list(size.factor),
            "unit": None if size is None else str(size.unit),
            "name": name,
            "category": None if layer_category is None else str(layer_category),
            "family": family,
            "pattern": pattern,
            "missing_slices": missing_slices,
            "concat": concat,
            "spool_dir": None if spool_dir is None else Path(spool_dir),
            "series": None if series is None else str(series),
            "channels": None if channels is None else list(channels),
            "max_layers": max_layers,
            "sparse": sparse,
            "rgb_labels": rgb_labels,
            "rgb": rgb,
            "bilevel": bilevel,
            "dtype": dtype,
            "rescale_min_max": None if rescale_min_max is None else list(rescale_min_max),
            "mag": mag_text(mag),
            "topleft": None if topleft is None else list(Vec3Int(topleft)),
            "bbox": None if bbox is None else [*bbox.topleft, *bbox.size],
            "swap_xy": swap_xy,
            "flip_x": flip_x,
            "flip_y": flip_y,
            "flip_z": flip_z,
            "padding": padding,
            "data_format": str(data_format),
            "compress": compress,
            "compression_level": compression_level,
            "downsample": coarsest_mag is not None if downsample is None else downsample,
            "coarsest_mag": mag_text(coarsest_mag),
            "interpolation_mode": interpolation_text(interpolation_mode),
            "sampling_mode": sampling_text(sampling_mode),
            "batch_size": batch_size,
            "overwrite_existing": overwrite_existing,
            **shape_values(chunk_shape, shard_shape, chunks_per_shard),
        }
        options = config_of(values, "from_images").source_options
        values |= grouping_values(Path(input_path), map_filepath_to_layer_name, z_slices_sort_key, layer_name, options)
        run_config(values, "from_images", RunOptions(executor))
        return cls.open(output_path)
