"""DatasetWriting: make a layer of an array in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wkpipe.dataset.dataset_layers import DatasetLayers
from wkpipe.dataset.errors import WrongShape
from wkpipe.dataset.layer import Layer
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import SPATIAL_AXES, BoundingBox, Mag, MagLike, NDBoundingBox, Vec3IntLike
from wkpipe.geometry.constants import CXYZ_AXES
from wkpipe.metadata.element_class import LayerCategory
from wkpipe.stored.axes import in_axes

_USUAL_AXES = {3: SPATIAL_AXES, 4: CXYZ_AXES}


class DatasetWriting(DatasetLayers):
    """The member of the class Dataset that writes a whole layer."""

    def write_layer(
        self,
        layer_name: str,
        category: LayerCategory | str,
        data: npt.ArrayLike,
        *,
        data_format: DataFormat | str = DataFormat.ZARR3,
        downsample: bool = True,
        chunk_shape: Vec3IntLike | int | None = None,
        shard_shape: Vec3IntLike | int | None = None,
        chunks_per_shard: Vec3IntLike | int | None = None,
        axes: Sequence[str] | None = None,
        absolute_offset: Vec3IntLike | None = None,
        mag: MagLike = 1,
    ) -> Layer:
        """Add a layer with the voxels of an array, and by default its coarser mags. If it fails, there is no new layer.

        Parameters
        ----------
        layer_name, category, data_format
            see `add_layer`; dtype and number of channels are those of the data.
        data
            the voxels of `mag`.
        downsample
            True makes coarser mags, see `Layer.downsample`.
        chunk_shape, shard_shape, chunks_per_shard
            see `Layer.add_mag`.
        axes
            of the data; default: x, y, z of three-dimensional data, c, x, y, z of four-dimensional ones.
        absolute_offset
            the data's first corner, mag-1 voxels: x, y, z, or one value per axis.
        mag
            of the data.

        Raises
        ------
        WrongShape
            the number of axes does not fit the data, or the offset does not fit the mag (also an AssertionError).
        AlreadyExists, InputRefused, NotWritable, TryAgain
            see `add_layer`, `Layer.add_mag` and `Layer.downsample`.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import Dataset
        >>> dataset = Dataset("brain", voxel_size=(4, 4, 40))
        >>> layer = dataset.write_layer("em", "color", np.full((256, 128, 16), 7, np.uint8), absolute_offset=(64, 64, 0))
        >>> layer.bounding_box, [str(mag) for mag in layer.mags]
        (BoundingBox((64, 64, 0), (256, 128, 16)), ['1', '2-2-1', '4-4-1'])
        """
        voxels, wanted = np.asarray(data), Mag(mag)
        names = _checked_axes(voxels, axes)
        box = _box(voxels.shape, names, absolute_offset, wanted)
        layer = self.add_layer(layer_name, category, dtype=voxels.dtype, data_format=data_format, bounding_box=box)
        try:
            given: dict[str, Any] = {"chunk_shape": chunk_shape, "shard_shape": shard_shape, "chunks_per_shard": chunks_per_shard}
            view = layer.add_mag(wanted, **{name: shape for name, shape in given.items() if shape is not None})
            view.write(in_axes(voxels, names, view.info.axes), allow_unaligned=True)
            if downsample:
                layer.downsample(from_mag=wanted)
        except BaseException:
            self.delete_layer(layer_name)
            raise
        return layer


def _checked_axes(voxels: npt.NDArray[np.generic], axes: Sequence[str] | None) -> tuple[str, ...]:
    names = _USUAL_AXES.get(voxels.ndim) if axes is None else tuple(axes)
    if names is None or len(names) != voxels.ndim or not {*SPATIAL_AXES} <= {*names} or len(set(names)) != len(names):
        found = "no axes" if names is None else f"the axes {','.join(names)}"
        raise WrongShape(
            f"the data have {voxels.ndim} dimensions",
            found=found,
            expected="one name for each dimension, x, y and z among them",
            fix="give axes=",
        )
    if 0 in voxels.shape:
        raise WrongShape(f"the data have the shape {voxels.shape}", expected="no length of 0")
    return names


def _box(shape: Sequence[int], axes: tuple[str, ...], offset: Vec3IntLike | None, mag: Mag) -> NDBoundingBox:
    """Return the box of the data, in mag-1 voxels.

    Raises:
        WrongShape: the offset has another number of values, or is not a multiple of the mag.
    """
    values = [0] * len(axes) if offset is None else [int(value) for value in offset]
    given = SPATIAL_AXES if len(values) == 3 else axes
    if len(values) != len(given):
        raise WrongShape(f"absolute_offset {tuple(values)} has {len(values)} values", expected=f"x,y,z or {','.join(axes)}")
    first, factors = dict(zip(given, values, strict=True)), dict(zip(SPATIAL_AXES, mag, strict=True))
    size = [n * factors.get(axis, 1) for axis, n in zip(axes, shape, strict=True)]
    start = [first.get(axis, 0) for axis in axes]
    if any(value < 0 or value % factors.get(axis, 1) for axis, value in zip(axes, start, strict=True)):
        raise WrongShape(f"absolute_offset {tuple(values)} is not possible", expected=f"multiples of mag {mag}, 0 or more")
    box = NDBoundingBox(start, size, axes)
    return BoundingBox(box.topleft_xyz, box.size_xyz) if axes == SPATIAL_AXES else box
