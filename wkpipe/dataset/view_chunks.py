"""ViewChunks: cut a view into chunks, and call a function for each of them, in parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from wkpipe.dataset.errors import WrongShape
from wkpipe.dataset.executors import SubmitsCalls, checked_executor, run_each
from wkpipe.dataset.grids import (
    Shape,
    check_mag_divides,
    checked_chunk_shape,
    paired_boxes,
    positive_shape,
    unit_in_mag1,
)
from wkpipe.dataset.region import public_box
from wkpipe.dataset.view_base import ViewBase, checked_view
from wkpipe.errors import NotWritable
from wkpipe.geometry import SPATIAL_AXES, Vec3Int

if TYPE_CHECKING:
    from wkpipe.dataset.view import View

Result = TypeVar("Result")


class ViewChunks(ViewBase):
    """The members of the class View that cut it into chunks."""

    def chunk(self, chunk_shape: Shape, *, chunk_border_alignments: Shape | None = None, read_only: bool | None = None) -> Iterator[View]:
        """Return views of the parts of this view, x outermost and z innermost.

        Parameters
        ----------
        chunk_shape
            x, y, z in mag-1 voxels, or one value per axis of the view's box. With three values, other axes than c
            are cut into single positions.
        chunk_border_alignments
            cut from the multiple of this before the first corner of the view; `chunk_shape` must be a
            multiple of it. Default: cut from the first corner itself. Chunks at the view's border are smaller.
        read_only
            default: like this view.

        Raises
        ------
        WrongShape
            the shape is not possible (also an AssertionError).
        NotWritable
            a read-only view has no writable views.

        Examples
        --------
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((16, 0, 0), (64, 64, 16))
        >>> mag = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box).add_mag(1)
        >>> [view.bounding_box.bounds("x") for view in mag.chunk((32, 64, 16))]
        [(16, 48), (48, 80)]
        >>> [view.bounding_box.bounds("x") for view in mag.chunk((32, 64, 16), chunk_border_alignments=(32, 32, 16))]
        [(16, 32), (32, 64), (64, 80)]
        """
        box = self._box()
        visible = public_box(box).axes
        shape = positive_shape("chunk_shape", chunk_shape, 3, len(visible))
        axes = SPATIAL_AXES if len(shape) == 3 else visible
        check_mag_divides("chunk_shape", shape, axes, self.mag)
        wanted = self.read_only if read_only is None else read_only
        if self.read_only and not wanted:
            raise NotWritable("a view of it cannot be writable, because it is read-only itself", where=self)
        alignment = None
        if chunk_border_alignments is not None:
            alignment = positive_shape("chunk_border_alignments", chunk_border_alignments, len(shape))
            if any(value % step for value, step in zip(shape, alignment, strict=True)):
                raise WrongShape(
                    f"chunk_shape {','.join(map(str, shape))} is not a multiple of the alignment {','.join(map(str, alignment))}"
                )
        return (self._part(part, wanted) for part in box.chunk(shape, alignment))

    def for_each_chunk(
        self,
        func_per_chunk: Callable[[tuple[View, int]], object],
        *,
        chunk_shape: Shape | None = None,
        executor: SubmitsCalls | None = None,
        progress_desc: str | None = None,
    ) -> None:
        """Call a function for every chunk of the view, in parallel; the chunks are whole storage shards, cut by the view's border.

        The first error ends the work and is raised.

        Parameters
        ----------
        func_per_chunk
            gets (view of the chunk, number of the chunk). With an executor of processes, it must be pickleable.
        chunk_shape
            x, y, z in mag-1 voxels, a multiple of the storage shards; default: one storage shard, or about 1024³
            voxels if every chunk is a file.
        executor
            anything with `submit`, such as those of concurrent.futures and cluster_tools; default: threads of this
            process, one for each core.
        progress_desc
            shows this text and the number of finished chunks on stderr.

        Raises
        ------
        WrongShape
            the chunk shape cuts storage shards (also an AssertionError).
        WrongType
            the executor has no `submit`, or what should be a function or a view is none (also a TypeError).

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (128, 128, 32))
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box)
        >>> mag = layer.add_mag(1, chunk_shape=32, shard_shape=64)
        >>> def number(args):
        ...     view, i = args
        ...     view.write(np.full((64, 64, 32), i, np.uint8))
        >>> mag.for_each_chunk(number)
        >>> mag.read()[0, ::64, ::64, 0].tolist()
        [[0, 1], [2, 3]]
        """
        chunks = [(view, number) for number, view in enumerate(self._whole_chunks(chunk_shape))]
        for _ in run_each(func_per_chunk, chunks, checked_executor(executor), progress_desc):
            pass

    def map_chunk(
        self,
        func_per_chunk: Callable[[View], Result],
        *,
        chunk_shape: Shape | None = None,
        executor: SubmitsCalls | None = None,
        progress_desc: str | None = None,
    ) -> list[Result]:
        """Call a function for every chunk of the view, in parallel, and return the results in order; see `for_each_chunk`.

        Raises
        ------
        WrongShape, WrongType
            see `for_each_chunk`.

        Examples
        --------
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (128, 128, 32))
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box)
        >>> layer.add_mag(1, chunk_shape=32, shard_shape=64).map_chunk(lambda view: int(view.read().max()))
        [0, 0, 0, 0]
        """
        return list(run_each(func_per_chunk, list(self._whole_chunks(chunk_shape)), checked_executor(executor), progress_desc))

    def for_zipped_chunks(
        self,
        func_per_chunk: Callable[[tuple[View, View, int]], object],
        target_view: View,
        *,
        source_chunk_shape: Shape | None = None,
        target_chunk_shape: Shape | None = None,
        executor: SubmitsCalls | None = None,
        progress_desc: str | None = None,
    ) -> None:
        """Call a function for every chunk of this view and the chunk of another view in the same place, in parallel.

        Parameters
        ----------
        func_per_chunk
            gets (view of this chunk, view of the target's chunk, number of the chunk).
        target_view
            cut along its whole storage shards; of the size of this view, times the ratio of the chunk shapes.
        source_chunk_shape, target_chunk_shape
            x, y, z in mag-1 voxels; give both or none. Default: the larger storage shard of both.
        executor, progress_desc
            see `for_each_chunk`.

        Raises
        ------
        WrongShape
            the views do not fit together, or a chunk cuts storage shards of the target (also an AssertionError).
        WrongType
            the executor has no `submit`, or what should be a function or a view is none (also a TypeError).

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> dataset = Dataset("brain", voxel_size=(4, 4, 40))
        >>> box = BoundingBox((0, 0, 0), (128, 128, 32))
        >>> em = dataset.add_layer("em", "color", bounding_box=box).add_mag(1, chunk_shape=32, shard_shape=64)
        >>> em.write(np.full((128, 128, 32), 200, np.uint8))
        >>> cells = dataset.add_layer("cells", "segmentation", dtype="uint32", bounding_box=box)
        >>> target = cells.add_mag(1, chunk_shape=32, shard_shape=64)
        >>> def segment(args):
        ...     source, target, number = args
        ...     target.write((source.read() > 100) * np.uint32(number + 1))
        >>> em.for_zipped_chunks(segment, target)
        >>> np.unique(target.read()).tolist()
        [1, 2, 3, 4]
        """
        checked_executor(executor)
        checked_view("target_view", target_view)
        shapes = self._zipped_shapes(target_view, source_chunk_shape, target_chunk_shape)
        boxes = paired_boxes(self._box(), target_view._box(), shapes, (self.mag, target_view.mag))
        own, other = self.read_only, target_view.read_only
        parts = [(self._part(a, own), target_view._part(b, other), number) for number, (a, b) in enumerate(boxes)]
        for _ in run_each(func_per_chunk, parts, executor, progress_desc):
            pass

    def _zipped_shapes(self, target: View, source_shape: Shape | None, target_shape: Shape | None) -> tuple[Vec3Int, Vec3Int]:
        """Return the chunk shapes of this view and of the target."""
        wanted = target._array.open().spec
        if source_shape is None and target_shape is None:
            both = unit_in_mag1(self._array.open().spec, self.mag).pairmax(unit_in_mag1(wanted, target.mag))
            return both, both
        if source_shape is None or target_shape is None:
            missing = "source_chunk_shape" if source_shape is None else "target_chunk_shape"
            raise WrongShape(f"{missing} is missing", fix="give the chunk shapes of source and target, or none of them")
        source = positive_shape("source_chunk_shape", source_shape, 3)
        check_mag_divides("source_chunk_shape", source, SPATIAL_AXES, self.mag)
        return Vec3Int(source), checked_chunk_shape("target_chunk_shape", target_shape, wanted, target.mag)

    def _whole_chunks(self, chunk_shape: Shape | None) -> Iterator[View]:
        """Return views of chunks that are whole storage shards, cut by the view's border."""
        spec = self._array.open().spec
        shape = unit_in_mag1(spec, self.mag) if chunk_shape is None else checked_chunk_shape("chunk_shape", chunk_shape, spec, self.mag)
        read_only = self.read_only
        return (self._part(part, read_only) for part in self._box().chunk(shape, shape))
