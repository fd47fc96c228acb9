"""MagRecoding: a mag that is stored in another way, in its place or in another dataset."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from wkpipe.dataset.copying import copy_to_dataset, recode
from wkpipe.dataset.executors import SubmitsCalls, checked_executor
from wkpipe.dataset.mag_merge import MagMerge
from wkpipe.dataset.new_mag import WantedLayout
from wkpipe.geometry import Vec3IntLike
from wkpipe.plan.wishes.copying import Recoding
from wkpipe.plan.wishes.shapes import SHARD_EDGE, default_shapes


class MagRecoding(MagMerge):
    """The members of the class MagView that store its voxels in another way."""

    def compress(self, *, target_path: str | PathLike[str] | None = None, executor: SubmitsCalls | None = None) -> None:
        """Compress the mag; nothing is done if it is compressed. See `rechunk`.

        Parameters
        ----------
        target_path
            the directory of another dataset, in which the compressed mag is made; default: in place.
        executor
            see `rechunk`.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 16))
        >>> mag = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box).add_mag(1, compress=False)
        >>> mag.write(np.full((64, 64, 16), 7, np.uint8))
        >>> mag.compress()
        >>> mag.info.compression_mode, int(mag.read().min())
        (True, 7)

        Raises: as `rechunk`.
        """
        checked_executor(executor)
        if not self.info.compression_mode:
            self._recode(Recoding(compress=True), target_path, executor)

    def rechunk(
        self,
        *,
        chunk_shape: Vec3IntLike | int | None = None,
        shard_shape: Vec3IntLike | int | None = None,
        compress: bool | None = None,
        target_path: str | PathLike[str] | None = None,
        executor: SubmitsCalls | None = None,
    ) -> None:
        """Store the mag with other shapes, by default those of new mags, and compressed; the voxels stay the same.

        The new array is made beside the old one and takes its place when it is complete. If a call is stopped while it does,
        the mag may not be visible; `Dataset.compress` or `wkpipe downsample` ends that. A mag that was made from a finer one stays
        connected with it, so that it is made again if the finer one changes.

        Parameters
        ----------
        chunk_shape, shard_shape
            x, y, z in voxels; default: as of new mags, see `Layer.add_mag`.
        compress
            default: True.
        target_path
            the directory of another dataset, in which the mag is made; it is created if it is missing. Default: in place.
        executor
            does the tasks of the run, in processes or jobs: one of concurrent.futures or cluster_tools. Default: this process.

        Raises
        ------
        InputRefused
            the format does not allow the shapes; or the mag is outside of the dataset, or shared with another layer.
        AlreadyExists
            the dataset at `target_path` has the mag (also an IndexError).
        WrongType
            the executor has no `submit`.
        IntegrityError
            a storage shard is gone or damaged.
        NotWritable, TryAgain
            the dataset is read-only, or another run works on it.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 16))
        >>> mag = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box).add_mag(1)
        >>> mag.write(np.full((64, 64, 16), 7, np.uint8))
        >>> mag.rechunk(chunk_shape=32, shard_shape=64)
        >>> mag.info.shard_shape, int(mag.read().min())
        (Vec3Int(64, 64, 64), 7)
        """
        wanted = WantedLayout.of(chunk_shape, shard_shape, None, compress)
        shapes = default_shapes(self.data_format, SHARD_EDGE, wanted.chunk_shape, wanted.shard_shape)
        self._recode(Recoding(shapes.chunk, shapes.shard, None, wanted.is_compressed), target_path, executor)

    def _recode(self, recoding: Recoding, target_path: str | PathLike[str] | None, executor: SubmitsCalls | None) -> None:
        array = self._array
        if target_path is None:
            recode(array.live, {array.layer.name: (self.mag,)}, recoding, executor)
        else:
            copy_to_dataset((array.live.stored(), *array.entry()), Path(target_path).absolute(), recoding, executor)
