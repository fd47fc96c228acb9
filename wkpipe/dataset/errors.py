"""Refusals of the library that scripts also catch under a name of Python's own; the tree is that of `wkpipe.errors`."""

from __future__ import annotations

from wkpipe.errors import AlreadyExists, InputRefused, UnreadableInput


class DatasetNotFound(UnreadableInput, FileNotFoundError):
    """There is no dataset in that directory."""


class DatasetExists(AlreadyExists, RuntimeError):
    """The directory is taken: by another dataset, or by files that are none."""


class NotADatasetDirectory(UnreadableInput, NotADirectoryError):
    """The path is a file, not a directory."""


class WrongDtype(InputRefused, TypeError):
    """Voxels of this type can not be stored in the layer without loss."""
