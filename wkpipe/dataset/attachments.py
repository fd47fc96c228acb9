"""Attachments: those of one segmentation layer; list, add, copy, rename and delete them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike

from wkpipe.dataset.agglomerate_attachment import AgglomerateAttachment
from wkpipe.dataset.attaching import attach, attach_copy, attach_found, attach_link, attach_made, attachment_of, detach, rename
from wkpipe.dataset.attachment import Attachment, AttachmentDataFormat, checked_attachment_name
from wkpipe.dataset.attachment_kinds import ConnectomeAttachment, CumsumAttachment, MeshAttachment, SegmentIndexAttachment
from wkpipe.dataset.errors import check_type
from wkpipe.dataset.live_layer import LiveLayer


class Attachments:
    """The attachments of a layer; iterating gives all of them.

    Meshes, agglomerates and connectomes have different names; of the other kinds, a layer has at most one.

    Raises
    ------
    LayerNotFound
        from all members, after the layer was deleted (also an IndexError).

    Examples
    --------
    >>> from pathlib import Path
    >>> from wkpipe import Dataset
    >>> cells = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("cells", "segmentation").as_segmentation_layer()
    >>> _ = Path("main.hdf5").write_bytes(b"meshes")
    >>> mesh = cells.attachments.add_mesh(Path("main.hdf5").absolute(), name="main", data_format="hdf5")
    >>> mesh.path == Path("main.hdf5").absolute(), [attachment.name for attachment in cells.attachments]
    (True, ['main'])
    >>> cells.attachments.delete_attachment(mesh)
    >>> cells.attachments.is_empty, Path("main.hdf5").exists()
    (True, True)
    """

    def __init__(self, layer: LiveLayer) -> None:
        self._layer = layer

    def __iter__(self) -> Iterator[Attachment]:
        for kind, entry in self._layer.properties.attachments.each():
            yield attachment_of(self._layer, kind, entry)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._layer.name}, {list(self)})"

    # -- listing ------------------------------------------------------------------------------------------------

    @property
    def is_empty(self) -> bool:
        """True if there are none."""
        return not any(True for _ in self)

    @property
    def meshes(self) -> tuple[Attachment, ...]:
        """The meshes."""
        return self._of("meshes")

    @property
    def agglomerates(self) -> tuple[Attachment, ...]:
        """The agglomerates."""
        return self._of("agglomerates")

    @property
    def connectomes(self) -> tuple[Attachment, ...]:
        """The connectomes."""
        return self._of("connectomes")

    @property
    def segment_index(self) -> Attachment | None:
        """The segment index; None if there is none."""
        return self._one("segment_index")

    @property
    def segment_statistics(self) -> Attachment | None:
        """The segment statistics; None if there are none."""
        return self._one("segment_statistics")

    @property
    def cumsum(self) -> Attachment | None:
        """The cumsum; None if there is none."""
        return self._one("cumsum")

    def _of(self, kind: str) -> tuple[Attachment, ...]:
        return tuple(attachment for attachment in self if attachment.container_name == kind)

    def _one(self, kind: str) -> Attachment | None:
        return next(iter(self._of(kind)), None)

    # -- adding -------------------------------------------------------------------------------------------------

    def add_mesh(self, path: str | PathLike[str], *, name: str, data_format: AttachmentDataFormat | str) -> Attachment:
        """Add meshes that stay where they are.

        Parameters
        ----------
        path
            of a file or directory, a relative one from the dataset's directory; or a URL.
        name
            letters, digits, ``_``, ``-`` and, except as the first character, dots.
        data_format
            zarr3, hdf5 or neuroglancerPrecomputed.

        Raises
        ------
        AlreadyExists
            the layer has meshes of that name.
        InputRefused
            name or format are not possible.
        NotWritable
            the dataset is read-only.
        """
        return self._add(MeshAttachment, path, name, data_format)

    def add_agglomerate(self, path: str | PathLike[str], *, name: str, data_format: AttachmentDataFormat | str) -> Attachment:
        """Add an agglomerate that stays where it is, as zarr3 or hdf5; see `add_mesh`."""
        return self._add(AgglomerateAttachment, path, name, data_format)

    def add_connectome(self, path: str | PathLike[str], *, name: str, data_format: AttachmentDataFormat | str) -> Attachment:
        """Add a connectome that stays where it is, as zarr3 or hdf5; see `add_mesh`."""
        return self._add(ConnectomeAttachment, path, name, data_format)

    def set_segment_index(self, path: str | PathLike[str], *, name: str, data_format: AttachmentDataFormat | str) -> Attachment:
        """Set the segment index, as zarr3 or hdf5, in the place of an earlier one; see `add_mesh`."""
        return self._add(SegmentIndexAttachment, path, name, data_format)

    def set_cumsum(self, path: str | PathLike[str], *, name: str, data_format: AttachmentDataFormat | str) -> Attachment:
        """Set the cumsum, as zarr3 or json, in the place of an earlier one; see `add_mesh`."""
        return self._add(CumsumAttachment, path, name, data_format)

    def _add(self, kind: type[Attachment], path: str | PathLike[str], name: str, data_format: AttachmentDataFormat | str) -> Attachment:
        dataset = self._layer.live.fixed.dataset
        return self.add_attachment_as_ref(kind.from_path_and_name(path, name, data_format=data_format, dataset_path=dataset))

    def add_attachment_as_ref(self, attachment: Attachment, *, new_name: str | None = None) -> Attachment:
        """Add an attachment of another layer, which stays where it is.

        Parameters
        ----------
        attachment
            of any layer, or one that was made by `from_path_and_name`.
        new_name
            default: the name that it has.

        Raises
        ------
        AlreadyExists
            the layer has an attachment of that kind and name.
        WrongType
            it is something else.
        NotWritable
            the dataset is read-only.
        """
        checked = _checked(attachment)
        return attach(self._layer, checked, checked.name if new_name is None else checked_attachment_name(new_name))

    def add_attachments(self, *other: Attachment) -> list[Attachment]:
        """Add several attachments that stay where they are; see `add_attachment_as_ref`."""
        return [self.add_attachment_as_ref(attachment) for attachment in other]

    def add_attachment_as_copy(self, attachment: Attachment) -> Attachment:
        """Copy the files of an attachment into the layer's directory, and add it.

        Raises
        ------
        AlreadyExists
            the layer has an attachment of that kind and name, or other data are in its place.
        InputRefused
            there is no such file, it is at a URL, or it contains a link.
        NotWritable, TryAgain
            the dataset is read-only, or a run works on it.

        Examples
        --------
        >>> from pathlib import Path
        >>> from wkpipe import Dataset, MeshAttachment
        >>> cells = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("cells", "segmentation").as_segmentation_layer()
        >>> _ = Path("main.hdf5").write_bytes(b"meshes")
        >>> mesh = MeshAttachment.from_path_and_name("main.hdf5", "main", data_format="hdf5")
        >>> cells.attachments.add_attachment_as_copy(mesh).path == cells.path / "meshes" / "main.hdf5"
        True
        """
        return attach_copy(self._layer, _checked(attachment))

    def _add_made(self, attachment: Attachment, files: Sequence[tuple[str, bytes]]) -> Attachment:
        """Write the files of a new attachment, and add it; see `attach_made`."""
        return attach_made(self._layer, attachment, files)

    def add_copy_attachments(self, *other: Attachment) -> list[Attachment]:
        """Copy several attachments; see `add_attachment_as_copy`."""
        return [self.add_attachment_as_copy(attachment) for attachment in other]

    def add_symlink_attachments(self, *other: Attachment, make_relative: bool = False) -> list[Attachment]:
        """Add several attachments that stay where they are, and symbolic links to them in the layer's directory.

        Parameters
        ----------
        other
            of any layer, or made by `from_path_and_name`.
        make_relative
            both places can be moved together.

        Raises
        ------
        AlreadyExists
            the layer has an attachment of that kind and name, or other data are in its place.
        InputRefused
            one is at a URL.
        NotWritable
            the dataset is read-only.
        """
        return [attach_link(self._layer, _checked(attachment), make_relative) for attachment in other]

    def detect_legacy_attachments(self) -> None:
        """Add the files that are in the layer's directory under the names that older versions look for.

        These are ``meshes/*.hdf5``, ``agglomerates/*.hdf5``, ``connectomes/*.hdf5``, ``segmentIndex/segmentIndex.hdf5`` and
        ``agglomerates/cumsum.json``. Files that are attachments already stay as they are.

        Raises
        ------
        AlreadyExists
            the layer has an attachment of that kind and name with another file.
        NotWritable
            the dataset is read-only.

        Examples
        --------
        >>> from wkpipe import Dataset
        >>> cells = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("cells", "segmentation").as_segmentation_layer()
        >>> (cells.path / "meshes").mkdir(parents=True)
        >>> _ = (cells.path / "meshes" / "main.hdf5").write_bytes(b"meshes")
        >>> cells.attachments.detect_legacy_attachments()
        >>> [mesh.name for mesh in cells.attachments.meshes]
        ['main']
        """
        attach_found(self._layer)

    # -- changing -----------------------------------------------------------------------------------------------

    def rename_attachment(self, attachment: Attachment, *, new_name: str) -> Attachment:
        """Give an attachment another name; its files keep theirs.

        Raises
        ------
        AlreadyExists
            the layer has an attachment of that kind and name.
        InputRefused
            it is not an attachment of this layer, or the name is not possible.
        NotWritable
            the dataset is read-only.
        """
        return rename(self._layer, _checked(attachment), checked_attachment_name(new_name))

    def delete_attachment(self, attachment: Attachment) -> None:
        """Delete an attachment, and its files if they are in the layer's directory; what it refers to elsewhere stays.

        Raises
        ------
        InputRefused
            it is not an attachment of this layer.
        NotWritable, TryAgain
            the dataset is read-only, or a run works on it.
        """
        detach(self._layer, _checked(attachment))


def _checked(attachment: Attachment) -> Attachment:
    """Return an attachment.

    Raises:
        WrongType: it is something else, or of no kind.
    """
    check_type("attachment", attachment, Attachment)
    return attachment
