"""LayerSegments: the members that only segmentation layers have."""

from __future__ import annotations

from abc import ABC

from wkpipe.dataset.attachments import Attachments
from wkpipe.dataset.errors import WrongDtype
from wkpipe.dataset.executors import SubmitsCalls, checked_executor
from wkpipe.dataset.grids import Shape
from wkpipe.dataset.layer_mags import LayerMags
from wkpipe.dataset.segment_scan import largest_id
from wkpipe.metadata.segment_ids import checked_segment_id


class LayerSegments(LayerMags, ABC):
    """The members of the class SegmentationLayer."""

    @property
    def largest_segment_id(self) -> int | None:
        """The largest id of a segment in the layer; None if it is not known. Writing voxels does not update it.

        Raises
        ------
        InputRefused
            on setting, the value is not an integer of at most 64 bits.
        NotWritable
            on setting, the dataset is read-only.
        """
        return self._properties.largest_segment_id

    @largest_segment_id.setter
    def largest_segment_id(self, value: int | None) -> None:
        self._replace(largest_segment_id=None if value is None else checked_segment_id(value))

    @property
    def attachments(self) -> Attachments:
        """The attachments of the layer, such as meshes."""
        return Attachments(self._entry)

    def refresh_largest_segment_id(self, chunk_shape: Shape | None = None, executor: SubmitsCalls | None = None) -> None:
        """Set `largest_segment_id` to the largest voxel of the finest mag.

        It is 0 if all voxels are 0, and None if the layer has no mag or its box is empty. Little memory is used, however
        large the layer and its storage shards are.

        Parameters
        ----------
        chunk_shape
            the box that one call of the executor scans, x, y, z in mag-1 voxels; default: a storage shard.
        executor
            anything with `submit`, as in concurrent.futures; by default, threads of this process scan the layer.

        Raises
        ------
        WrongDtype
            the voxels are floats, not ids (also a TypeError).
        WrongShape
            the chunk shape is not possible (also an AssertionError).
        MissingShard, DamagedShard
            a storage shard is gone or damaged.
        NotWritable
            the dataset is read-only.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 32))
        >>> cells = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("cells", "segmentation", dtype="uint64", bounding_box=box)
        >>> cells.add_mag(1).write(np.full((8, 8, 8), 2**40 + 1, np.uint64), allow_unaligned=True)
        >>> cells.refresh_largest_segment_id()
        >>> cells.largest_segment_id
        1099511627777
        """
        self._entry.live.check_writable()
        checked_executor(executor)
        layer = self._properties
        if layer.dtype.kind not in "iu":
            raise WrongDtype(f"layer {layer.name} has no segment ids", found=f"voxels of {layer.dtype}", expected="integers")
        has_voxels = layer.mags and not layer.bounding_box().is_empty()
        self.largest_segment_id = largest_id(self.get_finest_mag(), chunk_shape, executor) if has_voxels else None
