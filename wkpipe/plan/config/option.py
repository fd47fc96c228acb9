"""Option: how the command line spells a setting; a field of the config has one or several."""

from __future__ import annotations

from dataclasses import dataclass

CONVERT, DOWNSAMPLE, DOWNLOAD, UPLOAD, REMOTE_CONVERT = "convert", "downsample", "download", "upload", "remote-convert"


@dataclass(frozen=True)
class Option:
    """How commands spell and describe a setting, if not as ``--`` with its key and by its description.

    of: the commands that the option is for; () = all others. names: the names of the option. argument: the name of the
    argument that replaces the option. text: the text in --help. variable: the environment variable that is used if the option
    is not given. is_required: True if the command does not work without it.
    """

    of: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    argument: str | None = None
    text: str | None = None
    variable: str | None = None
    is_required: bool = False
