"""Attachments: files that belong to a segmentation, such as meshes and agglomerates."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import ClassVar, Final, Self

from wkpipe.dataset.referenced import path_text
from wkpipe.errors import InputRefused

_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,200}")


class AttachmentDataFormat(enum.StrEnum):
    """How an attachment is stored. Members are strings, so a name can be used in place of a member.

    Examples
    --------
    >>> from wkpipe import AttachmentDataFormat
    >>> AttachmentDataFormat("hdf5"), AttachmentDataFormat.Zarr3 == "zarr3"
    (<AttachmentDataFormat.HDF5: 'hdf5'>, True)
    """

    ZARR3 = "zarr3"
    HDF5 = "hdf5"
    JSON = "json"
    PRECOMPUTED = "neuroglancerPrecomputed"
    Zarr3 = "zarr3"
    NeuroglancerPrecomputed = "neuroglancerPrecomputed"

    @classmethod
    def known(cls, text: str) -> AttachmentDataFormat | str:
        """Return the format of that name; the text itself if wkpipe does not know it."""
        return cls(text) if text in [each.value for each in cls] else text

    @property
    def ending(self) -> str:
        """The ending of the file; empty if it is a directory."""
        return f".{self.value}" if self in (AttachmentDataFormat.HDF5, AttachmentDataFormat.JSON) else ""


@dataclass(frozen=True)
class Attachment:
    """One attachment: its name, its path (a text for a URL) and its format; its class says what it is.

    Examples
    --------
    >>> from wkpipe import MeshAttachment
    >>> MeshAttachment.from_path_and_name("/data/main.hdf5", "main", data_format="hdf5").type_name
    'mesh'
    """

    name: str
    path: Path | str
    data_format: AttachmentDataFormat | str

    type_name: ClassVar[str] = ""
    container_name: ClassVar[str] = ""
    formats: ClassVar[tuple[AttachmentDataFormat, ...]] = ()

    @classmethod
    def from_path_and_name(
        cls,
        path: str | PathLike[str],
        name: str,
        *,
        data_format: AttachmentDataFormat | str,
        dataset_path: str | PathLike[str] | None = None,
    ) -> Self:
        """Return an attachment that is not part of a layer yet.

        Parameters
        ----------
        path
            of the file or directory, or a URL.
        name
            letters, digits, ``_``, ``-`` and, except as the first character, dots.
        data_format
            one that this kind of attachment can have.
        dataset_path
            where a relative path begins; default: the working directory.

        Raises
        ------
        InputRefused
            name or format are not possible.
        WrongType
            the path is something else.
        """
        if not cls.formats:
            raise InputRefused("an attachment is of one of several kinds", fix="use MeshAttachment, AgglomerateAttachment or another one")
        if data_format not in cls.formats:
            raise InputRefused(where=cls.type_name, found=f"the format {data_format!s}", expected=f"one of {', '.join(cls.formats)}")
        checked_attachment_name(name)
        text = path_text("path", path, "the path of a file or directory")
        base = Path() if dataset_path is None else Path(dataset_path)
        return cls(name, text if "://" in text else (base / text).absolute(), AttachmentDataFormat(data_format))


def checked_attachment_name(name: object) -> str:
    """Return the name of an attachment.

    Raises:
        InputRefused: it is not possible.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputRefused(f"the name {name!r} is not possible for an attachment", expected="letters, digits, _ and -, and dots after them")
    return name
