"""DatasetLayerCopying: layers of other datasets, copied into a dataset."""

from __future__ import annotations

from abc import ABC

from wkpipe.dataset.caller import warn_caller
from wkpipe.dataset.copied_attachments import attachments_to_copy, copy_layers_with
from wkpipe.dataset.copying import layer_copies, recoding_of
from wkpipe.dataset.dataset_layers import DatasetLayers
from wkpipe.dataset.executors import RunOptions, SubmitsCalls
from wkpipe.dataset.layer import Layer
from wkpipe.dataset.new_mag import WantedLayout
from wkpipe.dataset.old_names import accepts_old_calls
from wkpipe.dataset.referenced import LayerSource, referenced_layer
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import Vec3IntLike
from wkpipe.plan.wishes.copying import Recoding


class DatasetLayerCopying(DatasetLayers, ABC):
    """The members of the class Dataset that copy layers."""

    @accepts_old_calls("Dataset.add_layer_as_copy")
    def add_layer_as_copy(
        self,
        foreign_layer: LayerSource,
        new_layer_name: str | None = None,
        *,
        chunk_shape: Vec3IntLike | int | None = None,
        shard_shape: Vec3IntLike | int | None = None,
        chunks_per_shard: Vec3IntLike | int | None = None,
        data_format: DataFormat | str | None = None,
        compress: bool | None = None,
        exists_ok: bool = False,
        executor: SubmitsCalls | None = None,
        with_attachments: bool = True,
    ) -> Layer:
        """Copy a layer of any dataset with its properties and all its mags; see `Layer.add_mag_as_copy`.

        The layer becomes visible when all its mags and attachments are complete; a call that was stopped resumes when it is repeated.

        Parameters
        ----------
        foreign_layer
            the layer, or its path (``DATASET/LAYER``).
        new_layer_name
            default: the same name.
        chunk_shape, shard_shape
            of all mags, x, y, z in voxels; default: as in the source.
        chunks_per_shard
            deprecated, use `shard_shape`.
        data_format
            zarr3, zarr or wkw; default: as the source, or zarr3 if wkpipe only reads that format.
        compress
            default: True for the mags that are compressed.
        exists_ok
            bring a layer that is the same copy up to date, with the mags that it lacks.
        executor
            does the tasks of the run, in processes or jobs: one of concurrent.futures or cluster_tools. Default: this process.
        with_attachments
            True copies the files of attachments too; those at URLs are referred to.

        Raises
        ------
        AlreadyExists
            the dataset has a layer with that name (also an IndexError).
        InputRefused
            the layer cannot be read, or not be stored as it is wanted.
        IntegrityError
            a storage shard of the source is gone or damaged.
        NotWritable, TryAgain
            the dataset is read-only, or another run works on it.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 16))
        >>> cells = Dataset("raw", voxel_size=(4, 4, 40)).add_layer("cells", "segmentation", dtype="uint32", bounding_box=box)
        >>> cells.add_mag(1).write(np.full((64, 64, 16), 7, np.uint32))
        >>> copy = Dataset("brain", voxel_size=(4, 4, 40)).add_layer_as_copy(cells, "corrected", data_format="wkw")
        >>> str(copy.data_format), copy.bounding_box == box, int(copy.get_mag(1).read().max())
        ('wkw', True, 7)
        """
        recoding = recoding_of(WantedLayout.of(chunk_shape, shard_shape, chunks_per_shard, compress))
        return self._copied(foreign_layer, new_layer_name, data_format, recoding, exists_ok, executor, with_attachments)

    @accepts_old_calls("Dataset.add_copy_layer")
    def add_copy_layer(
        self,
        foreign_layer: LayerSource,
        new_layer_name: str | None = None,
        *,
        chunk_shape: Vec3IntLike | int | None = None,
        shard_shape: Vec3IntLike | int | None = None,
        chunks_per_shard: Vec3IntLike | int | None = None,
        data_format: DataFormat | str | None = None,
        compress: bool | None = None,
        exists_ok: bool = False,
        executor: SubmitsCalls | None = None,
        with_attachments: bool = True,
    ) -> Layer:
        """The old name of `add_layer_as_copy`, which warns."""
        warn_caller("add_copy_layer is deprecated, use add_layer_as_copy", DeprecationWarning)
        recoding = recoding_of(WantedLayout.of(chunk_shape, shard_shape, chunks_per_shard, compress))
        return self._copied(foreign_layer, new_layer_name, data_format, recoding, exists_ok, executor, with_attachments)

    def add_fs_copy_layer(self, foreign_layer: LayerSource, new_layer_name: str | None = None) -> Layer:
        """Copy a layer, stored as it is; see `Layer.add_fs_copy_mag`. Warns, because `add_layer_as_copy` is the present name.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 16))
        >>> dataset = Dataset("brain", voxel_size=(4, 4, 40))
        >>> mag = dataset.add_layer("em", "color", bounding_box=box).add_mag(1)
        >>> mag.write(np.full((64, 64, 16), 7, np.uint8))
        >>> layer = Dataset("copy", voxel_size=(4, 4, 40)).add_fs_copy_layer(dataset.get_layer("em"), "raw")
        >>> layer.name, int(layer.get_mag(1).read().min())
        ('raw', 7)
        """
        warn_caller("add_fs_copy_layer is deprecated, use add_layer_as_copy", DeprecationWarning)
        return self._copied(foreign_layer, new_layer_name, None, Recoding(as_stored=True), False, None)

    def _copied(
        self,
        source: LayerSource,
        name: str | None,
        data_format: DataFormat | str | None,
        recoding: Recoding,
        exists_ok: bool,
        executor: SubmitsCalls | None,
        with_attachments: bool = True,
    ) -> Layer:
        self._live.check_writable()
        stored, layer = referenced_layer(source)
        copies = layer_copies(self._live.current(), stored, layer, name, data_format, recoding, exists_ok)
        attachments = {copies.layer.name: attachments_to_copy(stored, layer)} if with_attachments else {}
        copy_layers_with(self._live, None, [copies], attachments, exists_ok, RunOptions(executor))
        return self.get_layer(copies.layer.name)
