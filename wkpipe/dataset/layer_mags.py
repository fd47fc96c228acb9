"""LayerMags: the mags of a layer; get, add and delete them."""

from __future__ import annotations

from abc import ABC, abstractmethod

from wkpipe.dataset.layer_base import LayerBase
from wkpipe.dataset.mag_view import MagView
from wkpipe.dataset.mags import Mags
from wkpipe.dataset.new_mag import WantedLayout, make_mag
from wkpipe.dataset.old_names import accepts_old_calls
from wkpipe.dataset.removal import remove_mag
from wkpipe.errors import MagNotFound
from wkpipe.geometry import Mag, MagLike, Vec3IntLike


class LayerMags(LayerBase, ABC):
    """The members of the class Layer that concern its mags."""

    @property
    @abstractmethod
    def mags(self) -> Mags:
        """The layer's mags, in the order of the properties."""

    def get_mag(self, mag: MagLike) -> MagView:
        """Return one mag.

        Raises
        ------
        MagNotFound
            the layer has no such mag (also an IndexError).

        Examples
        --------
        >>> from wkpipe import Dataset
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color")
        >>> layer.add_mag("2-2-1") is layer.get_mag((2, 2, 1))
        True
        """
        return self.mags[self._properties.mag(mag).mag]

    def get_finest_mag(self) -> MagView:
        """Return the finest mag.

        Raises
        ------
        MagNotFound
            the layer has no mag (also an IndexError).

        Examples
        --------
        >>> from wkpipe import Dataset
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color")
        >>> coarse, fine = layer.add_mag(4), layer.add_mag("2-2-1")
        >>> layer.get_finest_mag().name
        '2-2-1'
        """
        mags = self.mags
        if not mags:
            raise MagNotFound(f"layer {self._entry.name} has no mag", fix="add one with add_mag")
        return mags[min(mags)]

    @accepts_old_calls("Layer.add_mag")
    def add_mag(
        self,
        mag: MagLike,
        *,
        chunk_shape: Vec3IntLike | int | None = None,
        shard_shape: Vec3IntLike | int | None = None,
        chunks_per_shard: Vec3IntLike | int | None = None,
        compress: bool = True,
    ) -> MagView:
        """Add an empty mag, which is visible immediately. If any argument is invalid, nothing is created.

        Parameters
        ----------
        mag
            such as 1, ``"2-2-1"`` or (2, 2, 1).
        chunk_shape
            voxels that are compressed at once, x, y, z; a power of two each; default 32. Old names, which
            warn: `chunk_size`, `block_len`.
        shard_shape
            voxels in one file, x, y, z; powers of two, multiples of `chunk_shape`; default 1024, and in
            layers of at most 32 slices that already have a mag 4096, 4096, 32. Zarr 2 has no shards.
        chunks_per_shard
            deprecated, use `shard_shape`; so is its older name `file_len`.
        compress
            with zstd, or LZ4-HC for WKW.

        Raises
        ------
        AlreadyExists
            the layer has the mag, or other data are in its place (also an IndexError).
        InputRefused
            the format does not allow the shapes.
        NotWritable, TryAgain
            the dataset is read-only, or a run works on it.

        Examples
        --------
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (512, 512, 64))
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box)
        >>> mag = layer.add_mag(1, chunk_shape=32, shard_shape=(512, 512, 64))
        >>> mag.info.shard_shape, mag.info.compression_mode
        (Vec3Int(512, 512, 64), True)
        >>> layer.add_mag("1")
        Traceback (most recent call last):
            ...
        wkpipe.errors.AlreadyExists: layer em already has mag 1; use get_mag or get_or_add_mag, or delete it first
        """
        return self._add_mag(Mag(mag), WantedLayout.of(chunk_shape, shard_shape, chunks_per_shard, compress))

    @accepts_old_calls("Layer.get_or_add_mag")
    def get_or_add_mag(
        self,
        mag: MagLike,
        *,
        chunk_shape: Vec3IntLike | int | None = None,
        shard_shape: Vec3IntLike | int | None = None,
        chunks_per_shard: Vec3IntLike | int | None = None,
        compress: bool | None = None,
    ) -> MagView:
        """Return a mag; add it if it is missing, see `add_mag`.

        Raises
        ------
        InputRefused
            the mag exists with other shapes or another compression than those that were given.

        Examples
        --------
        >>> from wkpipe import Dataset
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color")
        >>> mag = layer.get_or_add_mag(1, chunk_shape=32)
        >>> layer.get_or_add_mag(1) is mag
        True
        >>> layer.get_or_add_mag(1, chunk_shape=64)
        Traceback (most recent call last):
            ...
        wkpipe.errors.ExistsDifferently: ...
        """
        wanted = WantedLayout.of(chunk_shape, shard_shape, chunks_per_shard, compress)
        view: MagView | None = self.mags.get(mag)
        if view is None:
            return self._add_mag(Mag(mag), wanted)
        wanted.check_same(self._entry.name, view.mag, view.info)
        return view

    def _add_mag(self, mag: Mag, wanted: WantedLayout) -> MagView:
        make_mag(self._entry, mag, wanted)
        return self.get_mag(mag)

    def delete_mag(self, mag: MagLike) -> None:
        """Delete a mag: first from the properties, then its files. The data behind a link or a reference stay.

        Raises
        ------
        MagNotFound
            the layer has no such mag (also an IndexError).
        InputRefused
            another layer shows the same data, which would be lost.
        NotWritable, TryAgain
            the dataset is read-only, or a run works on it.

        Examples
        --------
        >>> from wkpipe import Dataset
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color")
        >>> path = layer.add_mag(1).path
        >>> layer.delete_mag(1)
        >>> list(layer.mags), path.exists()
        ([], False)
        """
        remove_mag(self._entry, Mag(mag))
