"""DatasetImageLayers: add layers from images to a dataset."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from wkpipe.dataset.dataset_layers import DatasetLayers
from wkpipe.dataset.errors import WrongType
from wkpipe.dataset.executors import RunOptions, SubmitsCalls
from wkpipe.dataset.image_files import listed_values, shape_values, warn_of_flips
from wkpipe.dataset.layer import Layer
from wkpipe.dataset.old_names import accepts_old_calls
from wkpipe.dataset.runs import mag_text, run_added_layers
from wkpipe.errors import InputRefused
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import MagLike, Vec3Int, Vec3IntLike
from wkpipe.images import MAX_LAYERS
from wkpipe.metadata.element_class import LayerCategory


class DatasetImageLayers(DatasetLayers, ABC):
    """The members of the class Dataset that convert images into new layers."""

    @accepts_old_calls("Dataset.add_layer_from_images")
    def add_layer_from_images(
        self,
        images: str | PathLike[str] | Sequence[str | PathLike[str]],
        layer_name: str,
        category: LayerCategory | str | None = "color",
        *,
        data_format: DataFormat | str = DataFormat.ZARR3,
        mag: MagLike = 1,
        chunk_shape: Vec3IntLike | int | None = None,
        shard_shape: Vec3IntLike | int | None = None,
        chunks_per_shard: Vec3IntLike | int | None = None,
        compress: bool = True,
        topleft: Vec3IntLike = (0, 0, 0),
        swap_xy: bool = False,
        flip_x: bool = False,
        flip_y: bool = False,
        flip_z: bool = False,
        dtype: DTypeLike | None = None,
        channel: int | None = None,
        czi_channel: int | None = None,
        scale: int | None = None,
        batch_size: int | None = None,
        allow_multiple_layers: bool = False,
        max_layers: int = MAX_LAYERS,
        truncate_rgba_to_rgb: bool = True,
        series: int | str | None = None,
        missing_slices: str = "close",
        padding: str = "fail",
        executor: SubmitsCalls | None = None,
    ) -> Layer:
        """Convert images into a new layer of the dataset, as `Dataset.from_images` does for a new dataset, and return it.

        The layer becomes visible when it is complete. A call that was interrupted resumes when it is repeated.

        Parameters
        ----------
        images
            an image file; a directory, archive or glob, all of whose images follow each other along z, in the order of their
            names, folder after folder; or a list of image files in their order along z.
        layer_name
            the name of the layer; if there are several, theirs begin with it.
        category
            "color" or "segmentation"; None recognises it from the images.
        data_format
            zarr3, zarr or wkw.
        mag
            the mag of the images.
        chunk_shape, shard_shape
            x, y, z in voxels; see `Layer.add_mag`.
        chunks_per_shard
            deprecated, use `shard_shape`.
        compress
            True compresses chunks.
        topleft
            the position of the images, in voxels of mag 1; a multiple of `mag`.
        swap_xy, flip_x, flip_y, flip_z
            see `Dataset.from_images`.
        dtype
            the type of the voxels; default: that of the images.
        channel
            the number of the only channel to convert, from 0.
        czi_channel, scale
            of CZI files and OME-Zarr, which wkpipe does not read: refused.
        batch_size
            the least number of images per job.
        allow_multiple_layers
            True makes a layer of each channel of images that are not RGB, and of each series, and returns
            the first; False refuses such images.
        max_layers
            the most layers.
        truncate_rgba_to_rgb
            True leaves out alpha, which wkpipe always does; False is refused.
        series, missing_slices, padding
            see `Dataset.from_images`.
        executor
            does the tasks of the run, in processes or jobs: one of concurrent.futures or cluster_tools. Default: this process.

        Raises
        ------
        AlreadyExists
            the dataset has a layer with that name, or other data are in its place (also an IndexError).
        InputRefused
            the images cannot be converted, or make several layers.
        UsageError, WrongType
            a value is not possible.
        NotWritable, TryAgain
            the dataset is read-only, or another run works on it.

        Examples
        --------
        >>> from pathlib import Path
        >>> import numpy as np, tifffile
        >>> from wkpipe import Dataset
        >>> Path("slices").mkdir()
        >>> for z in range(4):
        ...     tifffile.imwrite(f"slices/{z}.tif", np.full((200, 300), z, np.uint8))  # y, x
        >>> dataset = Dataset("brain", voxel_size=(4, 4, 40))
        >>> dataset.add_layer_from_images("slices", "em", topleft=(0, 0, 10)).bounding_box
        BoundingBox((0, 0, 10), (300, 200, 4))
        >>> layer = dataset.add_layer_from_images(["slices/3.tif", "slices/1.tif"], "two")
        >>> layer.get_mag(1).read()[0, 0, 0].tolist()
        [3, 1]
        """
        self._live.check_writable()
        for name, value in (("czi_channel", czi_channel), ("scale", scale)):
            if value is not None:
                raise InputRefused(f"{name}={value} is not possible, because wkpipe does not read such images", fix="leave it out")
        if not truncate_rgba_to_rgb:
            raise InputRefused("truncate_rgba_to_rgb=False is not possible, because wkpipe does not convert alpha", fix="leave it out")
        warn_of_flips(flip_x, flip_y, swap_xy)
        values: dict[str, Any] = {
            **listed_values(images, layer_name),
            **shape_values(chunk_shape, shard_shape, chunks_per_shard),
            "target": self._live.fixed.dataset,
            "voxel_size": list(self._live.current().voxel_size.factor),
            "unit": str(self._live.current().voxel_size.unit),
            "layer_name": layer_name,
            "category": None if category is None else str(category),
            "data_format": str(data_format),
            "mag": mag_text(mag),
            "topleft": list(Vec3Int(topleft)),
            "compress": compress,
            "swap_xy": swap_xy,
            "flip_x": flip_x,
            "flip_y": flip_y,
            "flip_z": flip_z,
            "dtype": _dtype_text(dtype),
            "channels": None if channel is None else [channel],
            "batch_size": batch_size,
            "max_layers": max_layers,
            "series": None if series is None else str(series),
            "missing_slices": missing_slices,
            "padding": padding,
            "downsample": False,
        }
        names = run_added_layers(values, "add_layer_from_images", allow_multiple_layers, RunOptions(executor))
        return self.get_layer(names[0])


def _dtype_text(dtype: DTypeLike | None) -> str | None:
    """Return the config's name of a dtype.

    Raises:
        WrongType: it is none.
    """
    try:
        return None if dtype is None else np.dtype(dtype).name
    except TypeError:
        raise WrongType(f"dtype={dtype!r} is not possible", expected="a dtype such as uint8") from None
