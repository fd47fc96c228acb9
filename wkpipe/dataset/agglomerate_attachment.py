"""AgglomerateAttachment: a mapping of segments to larger ones; made of a graph, and read as one."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import DTypeLike

from wkpipe.dataset.attachment import Attachment, AttachmentDataFormat, checked_attachment_name
from wkpipe.dataset.errors import AttachmentExists, NoGraph, WrongType
from wkpipe.dataset.referenced import path_text
from wkpipe.errors import AlreadyExists, ExistsDifferently, InputRefused
from wkpipe.storage.new_directory import make_directory_with
from wkpipe.stored.places import place_at

if TYPE_CHECKING:
    from wkpipe.dataset.agglomerate_graph import AgglomerateGraph
    from wkpipe.dataset.layer import SegmentationLayer

_DTYPES: Final = ("uint32", "uint64")


class AgglomerateAttachment(Attachment):
    """A mapping of segments to larger ones.

    Examples
    --------
    >>> from wkpipe import AgglomerateAttachment
    >>> AgglomerateAttachment.from_path_and_name("/data/main.json", "main", data_format="json")
    Traceback (most recent call last):
        ...
    wkpipe.errors.InputRefused: agglomerate: found the format json, expected one of zarr3, hdf5
    """

    type_name = "agglomerate"
    container_name = "agglomerates"
    formats = (AttachmentDataFormat.ZARR3, AttachmentDataFormat.HDF5)

    @classmethod
    def create(cls, path: str | PathLike[str], graph: AgglomerateGraph, *, segmentation_dtype: DTypeLike = "uint32") -> Self:
        """Write the agglomerates of a graph to a new directory (Zarr 3), which appears when it is complete.

        Segments that are connected become one agglomerate. The ids of segments are 1 to n, without gaps; each node has the attribute
        ``position`` (x, y, z). Edges without the attribute ``affinity`` get 0.

        Parameters
        ----------
        path
            the directory; its last name becomes that of the attachment.
        graph
            or an undirected graph of networkx with the same attributes.
        segmentation_dtype
            that of the segmentation: uint32 or uint64.

        Raises
        ------
        AlreadyExists
            there is something else (also a FileExistsError).
        InputRefused
            a segment, position, edge or affinity is not possible, or the name, or the dtype.
        NotWritable
            the disk is full or read-only.
        WrongType
            it is not a graph.

        Examples
        --------
        >>> from wkpipe import AgglomerateAttachment, AgglomerateGraph
        >>> graph = AgglomerateGraph()
        >>> for number in (1, 2, 3):
        ...     graph.add_segment(number, position=(number, 0, 0))
        >>> graph.add_affinity_edge(1, 3, affinity=0.5)
        >>> attachment = AgglomerateAttachment.create("agglomerates_50", graph)
        >>> attachment.name, attachment.to_graph().edges(data=True)
        ('agglomerates_50', EdgeDataView([(1, 3, {'affinity': 0.5})]))
        """
        text = path_text("path", path, "the path of a new directory")
        if "://" in text:
            raise InputRefused("agglomerates are not written to a URL", where=text, fix="give a directory, and copy it afterwards")
        target = Path(text).absolute()
        made = cls(checked_attachment_name(target.name), target, AttachmentDataFormat.ZARR3)
        files = _files_of(graph, _checked_dtype(segmentation_dtype))
        try:
            make_directory_with(target, files)
        except AlreadyExists as error:
            raise AttachmentExists.of(error) from None
        return made

    @classmethod
    def create_and_add_to(cls, layer: SegmentationLayer, name: str, graph: AgglomerateGraph) -> Self:
        """Write the agglomerates of a graph into the directory of a layer, and add them to its attachments; see `create`.

        Parameters
        ----------
        layer
            its voxels are uint32 or uint64.
        name
            of the attachment.
        graph
            see `create`.

        Raises
        ------
        AlreadyExists
            the layer has agglomerates of that name, or other data are in their place (also a FileExistsError).
        ExistsDifferently
            the layer has another dtype (also an AssertionError).
        InputRefused, WrongType
            see `create`; or the layer is not a segmentation.
        NotWritable, TryAgain
            the dataset is read-only, or a run works on it.

        Examples
        --------
        >>> from wkpipe import AgglomerateAttachment, AgglomerateGraph, Dataset
        >>> cells = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("cells", "segmentation", dtype="uint32").as_segmentation_layer()
        >>> graph = AgglomerateGraph()
        >>> graph.add_segment(1, position=(7, 0, 0))
        >>> attachment = AgglomerateAttachment.create_and_add_to(cells, "agglomerates_50", graph)
        >>> attachment.path == cells.path / "agglomerates" / "agglomerates_50", len(cells.attachments.agglomerates)
        (True, 1)
        """
        if not hasattr(layer, "attachments"):
            raise WrongType(f"the layer {layer!r} is not possible", expected="a SegmentationLayer")
        made = cls(checked_attachment_name(name), Path(), AttachmentDataFormat.ZARR3)
        if layer.dtype.name not in _DTYPES:
            raise ExistsDifferently(where=f"layer {layer.name}", found=f"the dtype {layer.dtype}", expected=f"{' or '.join(_DTYPES)}")
        added = layer.attachments._add_made(made, _files_of(graph, layer.dtype))
        return cls(added.name, added.path, added.data_format)

    def to_graph(self) -> AgglomerateGraph:
        """Return the agglomerates as a graph; see `create`.

        Raises
        ------
        InputRefused
            they are at a URL, or stored as hdf5 (also a NotImplementedError), or would not fit into the memory.
        MetadataError
            a table is missing, or they contradict each other.
        DamagedShard
            a table cannot be decoded.
        """
        from wkpipe.dataset.agglomerate_graph import graph_of
        from wkpipe.dataset.agglomerate_tables import AgglomerateTables

        if isinstance(self.path, str) or self.data_format != AttachmentDataFormat.ZARR3:
            where, found = self.path, "a URL" if isinstance(self.path, str) else f"the format {self.data_format}"
            raise NoGraph(where=where, found=found, expected="agglomerates as zarr3 in a directory")
        return graph_of(AgglomerateTables.read(place_at(self.path)))


def _checked_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found.name not in _DTYPES:
        raise InputRefused(where="segmentation_dtype", found=repr(dtype), expected=" or ".join(_DTYPES))
    return found.newbyteorder("<")


def _files_of(graph: object, dtype: np.dtype[Any]) -> Sequence[tuple[str, bytes]]:
    from wkpipe.dataset.agglomerate_graph import tables_of  # here because networkx takes a tenth of a second, and few scripts need it

    return list(tables_of(graph, dtype).files())
