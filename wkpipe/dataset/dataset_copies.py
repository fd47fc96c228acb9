"""DatasetCopying: copies of whole datasets, and compressing them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Self

from wkpipe.dataset.caller import warn_caller
from wkpipe.dataset.copied_attachments import attachments_to_copy, copy_layers_with
from wkpipe.dataset.copied_layers import DatasetLayerCopying
from wkpipe.dataset.copying import end_swaps, layer_copies, recode, recoding_of, target_of_copy
from wkpipe.dataset.errors import WrongType
from wkpipe.dataset.executors import RunOptions, SubmitsCalls, checked_executor
from wkpipe.dataset.mag_view import MagView
from wkpipe.dataset.new_mag import WantedLayout
from wkpipe.dataset.old_names import accepts_old_calls
from wkpipe.errors import InputRefused
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import Vec3FloatLike, Vec3IntLike
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.units import VoxelSize
from wkpipe.plan.wishes.copying import Recoding


class DatasetCopying(DatasetLayerCopying, ABC):
    """The members of the class Dataset that copy or compress it whole."""

    @classmethod
    @abstractmethod
    def open(cls, dataset_path: str | PathLike[str], read_only: bool = False) -> Self:
        """Open a dataset."""

    @accepts_old_calls("Dataset.copy_dataset")
    def copy_dataset(
        self,
        new_dataset_path: str | PathLike[str],
        *,
        voxel_size: Vec3FloatLike | None = None,
        chunk_shape: Vec3IntLike | int | None = None,
        shard_shape: Vec3IntLike | int | None = None,
        chunks_per_shard: Vec3IntLike | int | None = None,
        data_format: DataFormat | str | None = None,
        compress: bool | None = None,
        exists_ok: bool = False,
        executor: SubmitsCalls | None = None,
        voxel_size_with_unit: VoxelSize | None = None,
        layers_to_ignore: Iterable[str] | None = None,
    ) -> Self:
        """Copy the dataset with all its layers and attachments to another directory; see `add_layer_as_copy`.

        If anything is refused, nothing is created. A copy that was interrupted resumes with `exists_ok`.

        Parameters
        ----------
        new_dataset_path
            the directory of the copy, whose name the copy takes.
        voxel_size
            of the copy, x, y, z in nanometers; default: that of this dataset.
        chunk_shape, shard_shape, chunks_per_shard, data_format, compress
            see `add_layer_as_copy`.
        exists_ok
            bring a copy up to date: only storage shards that are missing or whose source changed are made.
        executor
            see `add_layer_as_copy`.
        voxel_size_with_unit
            the same as `voxel_size` with a unit.
        layers_to_ignore
            names of layers that are not copied.

        Raises
        ------
        DatasetExists
            the directory contains a dataset or other files (also a RuntimeError).
        LayerNotFound
            a layer to ignore does not exist (also an IndexError).
        InputRefused, IntegrityError, NotWritable, TryAgain
            see `add_layer_as_copy`.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> dataset = Dataset("raw", voxel_size=(4, 4, 40))
        >>> box = BoundingBox((0, 0, 0), (64, 64, 16))
        >>> dataset.add_layer("em", "color", bounding_box=box).add_mag(1).write(np.full((64, 64, 16), 7, np.uint8))
        >>> copy = dataset.copy_dataset("brain", data_format="wkw")
        >>> copy.name, str(copy.get_layer("em").data_format), int(copy.get_layer("em").get_mag(1).read().max())
        ('brain', 'wkw', 7)
        """
        if voxel_size is not None and voxel_size_with_unit is not None:
            raise InputRefused("voxel_size and voxel_size_with_unit were both given", fix="give one of them")
        size = VoxelSize(voxel_size) if voxel_size is not None else voxel_size_with_unit
        recoding = recoding_of(WantedLayout.of(chunk_shape, shard_shape, chunks_per_shard, compress))
        return self._copied_to(new_dataset_path, size, data_format, recoding, exists_ok, layers_to_ignore, executor)

    def fs_copy_dataset(
        self, new_dataset_path: str | PathLike[str], *, exists_ok: bool = False, layers_to_ignore: Iterable[str] | None = None
    ) -> Self:
        """Copy the dataset, stored as it is; see `Layer.add_fs_copy_mag`. Warns, because `copy_dataset` is the present name.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 16))
        >>> dataset = Dataset("brain", voxel_size=(4, 4, 40))
        >>> mag = dataset.add_layer("em", "color", bounding_box=box).add_mag(1)
        >>> mag.write(np.full((64, 64, 16), 7, np.uint8))
        >>> copy = dataset.fs_copy_dataset("copy")
        >>> int(copy.get_layer("em").get_mag(1).read().min())
        7
        """
        warn_caller("fs_copy_dataset is deprecated, use copy_dataset", DeprecationWarning)
        return self._copied_to(new_dataset_path, None, None, Recoding(as_stored=True), exists_ok, layers_to_ignore, None)

    def compress(self, *, executor: SubmitsCalls | None = None) -> None:
        """Compress all mags of all layers that are in this dataset and not compressed yet; see `MagView.compress`.

        Parameters
        ----------
        executor
            see `MagView.rechunk`.

        Raises
        ------
        InputRefused
            a mag is shared with another layer, or its format is only read.
        IntegrityError
            a storage shard is gone or damaged.
        NotWritable, TryAgain
            the dataset is read-only, or another run works on it.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 16))
        >>> dataset = Dataset("brain", voxel_size=(4, 4, 40))
        >>> mag = dataset.add_layer("em", "color", bounding_box=box).add_mag(1, compress=False)
        >>> mag.write(np.full((64, 64, 16), 7, np.uint8))
        >>> dataset.compress()
        >>> mag.info.compression_mode
        True
        """
        checked_executor(executor)
        end_swaps(self._live)
        mags = {name: tuple(mag for mag, view in layer.mags.items() if _is_raw(view)) for name, layer in self.layers.items()}
        recode(self._live, {name: found for name, found in mags.items() if found}, Recoding(compress=True), executor)

    def _copied_to(
        self,
        path: str | PathLike[str],
        voxel_size: VoxelSize | None,
        data_format: DataFormat | str | None,
        recoding: Recoding,
        exists_ok: bool,
        ignored: Iterable[str] | None,
        executor: SubmitsCalls | None,
    ) -> Self:
        stored = self._live.stored()
        source = stored.properties
        layers = _kept(source, ignored)
        live, new = target_of_copy(stored, Path(path).absolute(), voxel_size, exists_ok)
        target = live.current() if new is None else new
        wanted = []
        for layer in layers:
            wanted.append(layer_copies(target, stored, layer, None, data_format, recoding, exists_ok))
            target = target if target.has_layer(layer.name) else target.with_layer(wanted[-1].layer)
        attachments = {layer.name: attachments_to_copy(stored, layer) for layer in layers}
        copy_layers_with(live, new, wanted, attachments, exists_ok, RunOptions(executor))
        return self.open(path)


def _is_raw(mag: MagView) -> bool:
    """True if a mag is in its dataset and not compressed."""
    return not mag.is_foreign and not mag.info.compression_mode


def _kept(source: DatasetProperties, ignored: Iterable[str] | None) -> list[LayerProperties]:
    """Return the layers to copy.

    Raises:
        LayerNotFound: a layer to ignore does not exist.
        WrongType: the names are a single text.
    """
    if isinstance(ignored, str):
        raise WrongType(f"layers_to_ignore={ignored!r} is not possible", expected="a list of names")
    left_out = set(ignored or ())
    for name in sorted(left_out):
        source.layer(name)
    return [layer for layer in source.layers if layer.name not in left_out]
