"""LayerCopying: mags of other layers and datasets, copied into a layer."""

from __future__ import annotations

from wkpipe.dataset.caller import warn_caller
from wkpipe.dataset.copying import copy_mag, recoding_of
from wkpipe.dataset.executors import RunOptions, SubmitsCalls
from wkpipe.dataset.layer_mags import LayerMags
from wkpipe.dataset.mag_view import MagView
from wkpipe.dataset.new_mag import WantedLayout
from wkpipe.dataset.old_names import accepts_old_calls
from wkpipe.dataset.referenced import MagSource, stored_mag
from wkpipe.geometry import Mag, MagLike, Vec3IntLike
from wkpipe.plan.wishes.copying import Recoding


class LayerCopying(LayerMags):
    """The members of the class Layer that copy mags."""

    @accepts_old_calls("Layer.add_mag_as_copy")
    def add_mag_as_copy(
        self,
        foreign_mag_view_or_path: MagSource,
        *,
        mag: MagLike | None = None,
        extend_layer_bounding_box: bool = True,
        chunk_shape: Vec3IntLike | int | None = None,
        shard_shape: Vec3IntLike | int | None = None,
        chunks_per_shard: Vec3IntLike | int | None = None,
        compress: bool | None = None,
        exists_ok: bool = False,
        executor: SubmitsCalls | None = None,
        progress_desc: str | None = None,
    ) -> MagView:
        """Copy a mag of any layer or dataset into this layer; its voxels are encoded again, as this layer stores them.

        The format may differ: N5 and precomputed are sources too. Memory stays bounded. A call that was interrupted
        resumes when it is repeated. The mag becomes visible when it is complete, and the layer's box grows with it.

        Parameters
        ----------
        foreign_mag_view_or_path
            the mag to copy, or its path (``DATASET/LAYER/MAG``).
        mag
            take the voxels as those of another mag, without sampling; default: the mag that they are.
        extend_layer_bounding_box
            let the layer's box contain that of the copied voxels. Otherwise voxels outside are not copied.
        chunk_shape, shard_shape
            x, y, z in voxels; default: as the source if this layer's format allows it. See `add_mag`.
        chunks_per_shard
            deprecated, use `shard_shape`.
        compress
            default: True if the source is compressed.
        exists_ok
            bring a mag that is the same copy up to date: only storage shards whose source changed are made again.
        executor
            does the tasks of the run, in processes or jobs: one of concurrent.futures or cluster_tools. Default: this process.
        progress_desc
            shows this text and the number of finished tasks on stderr.

        Raises
        ------
        AlreadyExists
            the layer has the mag, or other data are in its place (also an IndexError).
        ExistsDifferently
            the layer has another dtype, or other channels or axes (also an AssertionError).
        InputRefused
            the source is not a mag that can be read, or the format does not allow the shapes.
        IntegrityError
            a storage shard of the source is gone or damaged.
        NotWritable, TryAgain
            the dataset is read-only, or another run works on it.
        WrongType
            the executor has no `submit`.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 16))
        >>> raw = Dataset("raw", voxel_size=(4, 4, 40)).add_layer("em", "color", data_format="wkw", bounding_box=box).add_mag(1)
        >>> raw.write(np.full((64, 64, 16), 7, np.uint8))
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color")
        >>> mag = layer.add_mag_as_copy(raw, shard_shape=(64, 64, 32))
        >>> str(mag.info.data_format), mag.info.shard_shape, mag.bounding_box, int(mag.read().min())
        ('zarr3', Vec3Int(64, 64, 32), BoundingBox((0, 0, 0), (64, 64, 16)), 7)
        """
        recoding = recoding_of(WantedLayout.of(chunk_shape, shard_shape, chunks_per_shard, compress))
        wanted = None if mag is None else Mag(mag)
        source, options = stored_mag(foreign_mag_view_or_path), RunOptions(executor, progress_desc)
        return self.get_mag(copy_mag(self._entry, source, wanted, extend_layer_bounding_box, recoding, exists_ok, options))

    @accepts_old_calls("Layer.add_copy_mag")
    def add_copy_mag(
        self,
        foreign_mag_view_or_path: MagSource,
        *,
        extend_layer_bounding_box: bool = True,
        chunk_shape: Vec3IntLike | int | None = None,
        shard_shape: Vec3IntLike | int | None = None,
        chunks_per_shard: Vec3IntLike | int | None = None,
        compress: bool | None = None,
        exists_ok: bool = False,
        executor: SubmitsCalls | None = None,
        progress_desc: str | None = None,
    ) -> MagView:
        """The old name of `add_mag_as_copy`, which warns."""
        warn_caller("add_copy_mag is deprecated, use add_mag_as_copy", DeprecationWarning)
        recoding = recoding_of(WantedLayout.of(chunk_shape, shard_shape, chunks_per_shard, compress))
        source, options = stored_mag(foreign_mag_view_or_path), RunOptions(executor, progress_desc)
        return self.get_mag(copy_mag(self._entry, source, None, extend_layer_bounding_box, recoding, exists_ok, options))

    def add_fs_copy_mag(
        self, foreign_mag_view_or_path: MagSource, *, extend_layer_bounding_box: bool = True, exists_ok: bool = False
    ) -> MagView:
        """Copy a mag, stored as it is. Warns, because `add_mag_as_copy` is the present name.

        Stored chunks are taken as they are, without decoding, after each storage shard was found sound by the digest in its record;
        those without one are decoded to find damage. Chunks that the layer's format would store in another way are encoded again.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 16))
        >>> dataset = Dataset("brain", voxel_size=(4, 4, 40))
        >>> mag = dataset.add_layer("em", "color", bounding_box=box).add_mag(1)
        >>> mag.write(np.full((64, 64, 16), 7, np.uint8))
        >>> copy = Dataset("copy", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box).add_fs_copy_mag(mag)
        >>> int(copy.read().min())
        7
        """
        warn_caller("add_fs_copy_mag is deprecated, use add_mag_as_copy", DeprecationWarning)
        source = stored_mag(foreign_mag_view_or_path)
        return self.get_mag(
            copy_mag(self._entry, source, None, extend_layer_bounding_box, Recoding(as_stored=True), exists_ok, RunOptions())
        )
