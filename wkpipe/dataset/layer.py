"""Layer: intensities or segments of a dataset, in one or more mags."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wkpipe.dataset.arrays import change_box, make_mag, new_mag_shapes, remove_mag
from wkpipe.dataset.live_properties import LiveProperties
from wkpipe.dataset.mag_view import MagView
from wkpipe.dataset.region import public_box
from wkpipe.dataset.runs import coarsest_text, interpolation_text, run_config, sampling_text
from wkpipe.errors import InputRefused, MagNotFound
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import Mag, MagLike, NDBoundingBox, Vec3Int, Vec3IntLike
from wkpipe.metadata.element_class import LayerCategory
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.view_configuration import LayerViewConfiguration
from wkpipe.plan.mag_plan import DOWNSAMPLE
from wkpipe.plan.recipe import load_recipe
from wkpipe.sampling import InterpolationMode, SamplingMode

if TYPE_CHECKING:
    from wkpipe.dataset.dataset import Dataset


class Layer:
    """A layer of a dataset. What it tells is read from the dataset's properties as they are now.

    Do not construct it yourself: use `Dataset.get_layer` or `Dataset.add_layer`.
    """

    def __init__(self, dataset: Dataset, live: LiveProperties, name: str) -> None:
        self._dataset = dataset
        self._live = live
        self._name = name
        self._views: dict[Mag, MagView] = {}

    # -- what it is ---------------------------------------------------------------------------------------------

    @property
    def _properties(self) -> LayerProperties:
        return self._live.layer(self._name)

    @property
    def name(self) -> str:
        """The layer's name."""
        return self._name

    @property
    def path(self) -> Path:
        """The directory of the layer's mags."""
        return self._dataset.path / self._name

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
        """The type of all channels of a voxel together, as ``uint24`` for three of uint8."""
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
        """How the layer's mags are stored."""
        return self._properties.data_format

    @property
    def read_only(self) -> bool:
        """Whether every change is refused: the dataset is read-only, or the layer's directory leads out of it."""
        directory = self._live.locations.dataset / self._name
        return self._live.read_only or directory.resolve().parent != self._live.locations.dataset

    # -- metadata that can be set -------------------------------------------------------------------------------

    @property
    def bounding_box(self) -> NDBoundingBox:
        """The box of the layer's data in mag-1 voxels; a BoundingBox (x, y, z) where there are no axes but c, x, y, z.

        Setting it fits the arrays of all mags: their shapes end with the box, rounded up to whole shards. No voxel is
        deleted; what lies outside is seen again when the box grows.

        Raises:
            InputRefused: on setting, a negative corner or axes that do not fit the layer.
            NotWritable, TryAgain: on setting, the dataset is read-only, or a run works on it.
        """
        return public_box(self._properties.bounding_box())

    @bounding_box.setter
    def bounding_box(self, box: NDBoundingBox) -> None:
        change_box(self._live, self._name, lambda _: box)

    @property
    def default_view_configuration(self) -> LayerViewConfiguration | None:
        """How WEBKNOSSOS shows the layer at first; None for the viewer's defaults."""
        return self._properties.default_view_configuration

    @default_view_configuration.setter
    def default_view_configuration(self, configuration: LayerViewConfiguration | None) -> None:
        self._replace(default_view_configuration=configuration)

    def _replace(self, **values: Any) -> None:
        self._live.update_layer(self._name, lambda layer: replace(layer, **values))

    # -- mags ---------------------------------------------------------------------------------------------------

    @property
    def mags(self) -> dict[Mag, MagView]:
        """The layer's mags, in the order of the properties."""
        mags = [entry.mag for entry in self._properties.mags]
        self._views = {mag: self._views.get(mag) or MagView(self, self._live, mag) for mag in mags}
        return dict(self._views)

    def get_mag(self, mag: MagLike) -> MagView:
        """Return one mag.

        Raises:
            MagNotFound: the layer has no such mag (also an IndexError).
        """
        return self.mags[self._properties.mag(mag).mag]

    def get_finest_mag(self) -> MagView:
        """Return the finest mag.

        Raises:
            MagNotFound: the layer has no mag.
        """
        mags = self.mags
        if not mags:
            raise MagNotFound(f"layer {self._name} has no mag; add one with add_mag")
        return mags[min(mags)]

    def add_mag(
        self,
        mag: MagLike,
        *,
        chunk_shape: Vec3IntLike | int | None = None,
        shard_shape: Vec3IntLike | int | None = None,
        chunks_per_shard: Vec3IntLike | int | None = None,
        compress: bool = True,
        chunk_size: Vec3IntLike | int | None = None,
        block_len: int | None = None,
        file_len: int | None = None,
    ) -> MagView:
        """Add an empty mag, which is visible at once. Nothing is made where anything is wrong with the wishes.

        Args:
            mag: as 1, ``"2-2-1"`` or (2, 2, 1).
            chunk_shape: voxels that are compressed at once, x, y, z; a power of two each; default 32.
            shard_shape: voxels in one file, x, y, z; powers of two, multiples of `chunk_shape`; default 1024, and in
                layers of at most 32 slices that have a mag already 4096, 4096, 32. Zarr 2 has no shards.
            compress: zstd, or LZ4-HC for WKW.
            chunks_per_shard: deprecated, use `shard_shape`.
            chunk_size, block_len: deprecated, use `chunk_shape`.
            file_len: deprecated, use `shard_shape`.

        Raises:
            AlreadyExists: the layer has the mag, or other data lie in its place (also an IndexError).
            InputRefused: shapes that the format can not hold.
            NotWritable, TryAgain: the dataset is read-only, or a run works on it.
        """
        chunk = _renamed("chunk_shape", chunk_shape, chunk_size=chunk_size, block_len=block_len)
        per_shard = _renamed("chunks_per_shard", chunks_per_shard, file_len=file_len)
        if chunks_per_shard is not None:
            _deprecated("chunks_per_shard", "shard_shape", 3)
        new = Mag(mag)
        make_mag(
            self._live,
            self._name,
            new,
            lambda layer: new_mag_shapes(layer, new, chunk, _vector(shard_shape), per_shard, compress),
            compress,
        )
        return self.get_mag(new)

    def get_or_add_mag(
        self,
        mag: MagLike,
        *,
        chunk_shape: Vec3IntLike | int | None = None,
        shard_shape: Vec3IntLike | int | None = None,
        chunks_per_shard: Vec3IntLike | int | None = None,
        compress: bool | None = None,
    ) -> MagView:
        """Return a mag, adding it where it is missing; see `add_mag`.

        Raises:
            InputRefused: the mag exists with other shapes or another compression than those that were given.
        """
        wanted = Mag(mag)
        if wanted not in self.mags:
            return self.add_mag(
                wanted,
                chunk_shape=chunk_shape,
                shard_shape=shard_shape,
                chunks_per_shard=chunks_per_shard,
                compress=True if compress is None else compress,
            )
        view = self.get_mag(wanted)
        found = view.info
        given = {
            "chunk_shape": _vector(chunk_shape),
            "shard_shape": _vector(shard_shape),
            "chunks_per_shard": _vector(chunks_per_shard),
            "compression_mode": compress,
        }
        for name, value in given.items():
            if value is not None and getattr(found, name) != value:
                raise InputRefused(f"layer {self._name}: mag {wanted} exists with {name} {getattr(found, name)}, not {value}")
        return view

    def delete_mag(self, mag: MagLike) -> None:
        """Delete a mag: first from the properties, then its files. Of a link or a reference the data stay.

        Raises:
            MagNotFound: the layer has no such mag (also an IndexError).
            NotWritable, TryAgain: the dataset is read-only, or a run works on it.
        """
        remove_mag(self._live, self._name, Mag(mag))

    # -- runs ---------------------------------------------------------------------------------------------------

    def downsample(
        self,
        from_mag: MagLike | None = None,
        coarsest_mag: MagLike | None = None,
        interpolation_mode: InterpolationMode | str = "default",
        compress: bool = True,
        sampling_mode: SamplingMode | str = SamplingMode.ANISOTROPIC,
        *,
        chunk_shape: Vec3IntLike | int | None = None,
        shard_shape: Vec3IntLike | int | None = None,
        max_mag: MagLike | None = None,
    ) -> None:
        """Make coarser mags: what wkpipe made before is brought up to date, then the ladder is extended.

        Repeating it makes only what is missing or whose source changed. The mags appear when all of them are whole.

        Args:
            from_mag: where the ladder starts; default the coarsest mag. A finer one is accepted if wkpipe made all
                coarser ones from it.
            coarsest_mag: where the ladder ends; default: the larger of width and height then has at most 100 voxels.
            interpolation_mode: default (median for color, mode for segmentation), median, mode, nearest, bilinear,
                bicubic, max or min.
            compress: whether the new mags are compressed.
            sampling_mode: anisotropic, isotropic or constant_z.
            chunk_shape, shard_shape: of the new mags, x, y, z in voxels; see `add_mag`.
            max_mag: deprecated, use `coarsest_mag`.

        Raises:
            MagNotFound: the layer has no mag, or not `from_mag`.
            InputRefused: the ladder can not be made.
            IntegrityError: a storage shard is damaged or gone.
            NotWritable, TryAgain: the dataset is read-only, or another run works on it.
        """
        if max_mag is not None:
            _deprecated("max_mag", "coarsest_mag", 3)
        self._live.check_writable()
        if from_mag is not None:
            self._check_start(Mag(from_mag))
        values = {
            "target": self._live.locations.dataset,
            "layer_name": self._name,
            "coarsest_mag": coarsest_text(coarsest_mag, max_mag),
            "interpolation_mode": interpolation_text(interpolation_mode),
            "sampling_mode": sampling_text(sampling_mode),
            "compress": compress,
            "chunk_shape": _vector(chunk_shape),
            "shard_shape": _vector(shard_shape),
        }
        run_config(values, f"layer {self._name}")

    def _check_start(self, start: Mag) -> None:
        """Refuse a mag to start from that has coarser ones which were not made from it."""
        layer = self._properties
        layer.mag(start)
        for mag in (entry.mag for entry in layer.mags if entry.mag > start):
            recipe = load_recipe(self._live.locations, self._name, mag)
            if recipe is None or recipe.kind != DOWNSAMPLE:
                raise InputRefused(
                    f"layer {self._name}: can not downsample from mag {start}, for the coarser mag {mag} exists and was not made from it; "
                    f"start from {mag}, or delete it"
                )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r}, {self._dataset.path})"


def _vector(value: Vec3IntLike | int | None) -> Vec3Int | None:
    """Return a shape as a vector.

    Raises:
        InputRefused: not a positive integer, nor three of them.
    """
    if value is None:
        return None
    try:
        vector = Vec3Int.from_vec_or_int(value)
    except (ValueError, TypeError):
        vector = Vec3Int.zeros()
    if not vector.is_positive():
        raise InputRefused(f"shape {value!r} is not valid: expected a positive integer like 32, or three like 32,32,32")
    return vector


def _renamed(name: str, value: Vec3IntLike | int | None, **old: Vec3IntLike | int | None) -> Vec3Int | None:
    """Return the value of an argument that has old names too."""
    for old_name, old_value in old.items():
        if old_value is not None:
            _deprecated(old_name, "shard_shape" if name == "chunks_per_shard" else name, 4)
            if value is not None:
                raise InputRefused(f"{old_name}={old_value} is another name of {name}={value}; give {name} alone")
            value = old_value
    return _vector(value)


def _deprecated(old: str, new: str, depth: int) -> None:
    warnings.warn(f"{old} is deprecated, use {new}", DeprecationWarning, stacklevel=depth)
