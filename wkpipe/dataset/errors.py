"""Errors of the library that scripts can also catch as Python's own exceptions; all errors are in `wkpipe.errors`."""

from __future__ import annotations

from wkpipe.errors import AlreadyExists, ExistsDifferently, InputRefused, NotWritable, UnreadableInput


class DatasetNotFound(UnreadableInput, FileNotFoundError):
    """There is no dataset in that directory."""


class DatasetExists(AlreadyExists, RuntimeError):
    """The directory contains another dataset or other files."""


class DatasetDiffers(DatasetExists, ExistsDifferently):
    """The dataset that exists has another voxel size or name than the one that was asked for."""


class MagExists(AlreadyExists, AssertionError):
    """The layer already has the mag that is to be made."""


class AttachmentExists(AlreadyExists, FileExistsError):
    """An attachment with that name, or other data in its place, already exists."""


class NoGraph(InputRefused, NotImplementedError):
    """An attachment is stored in a way in which wkpipe does not read graphs."""


class NotADatasetDirectory(UnreadableInput, NotADirectoryError):
    """The path is a file, not a directory."""


class ReadOnlyView(NotWritable, AssertionError):
    """A view that can be written was asked of one that cannot."""


class WrongDtype(InputRefused, TypeError):
    """Voxels of this type cannot be stored in the layer without loss."""


class WrongType(InputRefused, TypeError):
    """A value, or the layer of that name, has another type than the call needs."""


class WrongShape(InputRefused, AssertionError):
    """A shape, a size or a place does not fit the storage shards, the view or the data."""


def check_type(what: str, value: object, *kinds: type, may_lack: bool = False) -> None:
    """Refuse a value of another type than those that are possible; with `may_lack`, None is possible too.

    Raises:
        WrongType: the value is something else.
    """
    if not isinstance(value, kinds) and not (may_lack and value is None):
        raise WrongType(f"{what} {value!r} is not possible", expected=f"the type {' or '.join(kind.__name__ for kind in kinds)}")


ImageConversionError = InputRefused
"""The images cannot be converted as they are."""

CorruptImageError = UnreadableInput
"""An image file is damaged, or not what its name says."""

UnsupportedImageFormatError = UnreadableInput
"""No reader opens the image file."""

UnsupportedImageDataError = InputRefused
"""The image has voxels or axes that a layer cannot have."""

ArrayException = InputRefused
"""An array cannot be opened."""
