"""The kinds of attachments."""

from __future__ import annotations

from typing import Final

from wkpipe.dataset.agglomerate_attachment import AgglomerateAttachment
from wkpipe.dataset.attachment import Attachment, AttachmentDataFormat


class MeshAttachment(Attachment):
    """Meshes of segments.

    Examples
    --------
    >>> from wkpipe import MeshAttachment
    >>> MeshAttachment.container_name
    'meshes'
    """

    type_name = "mesh"
    container_name = "meshes"
    formats = (AttachmentDataFormat.ZARR3, AttachmentDataFormat.HDF5, AttachmentDataFormat.PRECOMPUTED)


class ConnectomeAttachment(Attachment):
    """Synapses between segments.

    Examples
    --------
    >>> from wkpipe import ConnectomeAttachment
    >>> ConnectomeAttachment.container_name
    'connectomes'
    """

    type_name = "connectome"
    container_name = "connectomes"
    formats = (AttachmentDataFormat.ZARR3, AttachmentDataFormat.HDF5)


class SegmentIndexAttachment(Attachment):
    """Where the voxels of each segment are; a layer has at most one.

    Examples
    --------
    >>> from wkpipe import SegmentIndexAttachment
    >>> SegmentIndexAttachment.container_name
    'segment_index'
    """

    type_name = "segmentIndex"
    container_name = "segment_index"
    formats = (AttachmentDataFormat.ZARR3, AttachmentDataFormat.HDF5)


class SegmentStatisticsAttachment(Attachment):
    """Facts about each segment; a layer has at most one.

    Examples
    --------
    >>> from wkpipe import SegmentStatisticsAttachment
    >>> SegmentStatisticsAttachment.container_name
    'segment_statistics'
    """

    type_name = "segmentStatistics"
    container_name = "segment_statistics"
    formats = (AttachmentDataFormat.ZARR3,)


class CumsumAttachment(Attachment):
    """Sums of the sizes of a mapping's files; a layer has at most one.

    Examples
    --------
    >>> from wkpipe import CumsumAttachment
    >>> CumsumAttachment.container_name
    'cumsum'
    """

    type_name = "cumsum"
    container_name = "cumsum"
    formats = (AttachmentDataFormat.ZARR3, AttachmentDataFormat.JSON)


KINDS: Final = {
    kind.container_name: kind
    for kind in (
        *(MeshAttachment, AgglomerateAttachment, ConnectomeAttachment),
        *(SegmentIndexAttachment, SegmentStatisticsAttachment, CumsumAttachment),
    )
}
"""The kinds of attachments, by their field in the properties."""
