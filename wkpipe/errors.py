"""Every error that wkpipe raises on purpose, and the exit code it ends a command with.

    WkpipeError                     1   a task failed
    ├── ProcessKilled               1   a process of it was killed; with more memory it may succeed
    ├── UsageError                  2   the command line or the config file is wrong
    ├── InputRefused                3   the input or the target can not be worked on as it is
    │   ├── UnreadableInput         3   a file is missing, truncated or not what its name says
    │   ├── MetadataError           3   datasource-properties.json or an array's metadata is broken
    │   ├── LayerNotFound           3   (also an IndexError)
    │   ├── MagNotFound             3   (also an IndexError)
    │   ├── RemoteMag               3   a mag is on a server
    │   ├── AlreadyExists           3   (also an IndexError)
    │   │   └── ForeignMag          3   a mag that wkpipe made is another tool's now
    │   └── NotWritable             3   read-only dataset, directory or disk; no space left
    ├── IntegrityError              4   stored data are damaged or gone
    │   ├── DamagedShard            4
    │   └── MissingShard            4
    ├── ServerError                 5   a WEBKNOSSOS server or its credentials
    ├── TryAgain                   75   somebody else is at work; the same command may succeed later
    └── Interrupted               130   Ctrl-C or SIGTERM

A message is one line: what, where, found against expected, and what to do. ``InputRefused`` is also a
``ValueError``, so that scripts which use the library catch it the usual way.
"""

from __future__ import annotations

from typing import ClassVar


class WkpipeError(Exception):
    """A task failed; the base of every error below."""

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        return one_line(super().__str__())


class ProcessKilled(WkpipeError):
    """A process of the job was killed, most likely for its memory."""


class UsageError(WkpipeError, ValueError):
    """The command line or the configuration is wrong."""

    exit_code = 2


class InputRefused(WkpipeError, ValueError):
    """The input or the target can not be worked on as it is; nothing was written."""

    exit_code = 3


class UnreadableInput(InputRefused):
    """An input file is missing, truncated, or not what its name says."""


class MetadataError(InputRefused):
    """A metadata file (properties, array, group) is broken."""


class LayerNotFound(InputRefused, IndexError):
    """The dataset has no layer of that name."""


class MagNotFound(InputRefused, IndexError):
    """The layer has no such mag."""


class RemoteMag(InputRefused):
    """A mag is not in the dataset's file system but at a URL."""


class AlreadyExists(InputRefused, IndexError):
    """A dataset, layer or mag of that name is already there."""


class ForeignMag(AlreadyExists):
    """A mag that wkpipe made was made again, or written to, by another tool."""


class NotWritable(InputRefused, RuntimeError):
    """The target is read-only, or the disk is full."""


class IntegrityError(WkpipeError):
    """Stored data are damaged or gone."""

    exit_code = 4


class DamagedShard(IntegrityError):
    """A storage shard can not be decoded, or differs from its recorded checksum."""


class MissingShard(IntegrityError):
    """A storage shard that must be there is gone."""


class ServerError(WkpipeError):
    """A WEBKNOSSOS server refused, failed, or the credentials are wrong."""

    exit_code = 5


class TryAgain(WkpipeError):
    """Another run holds the dataset; the same command may succeed later."""

    exit_code = 75


class Interrupted(WkpipeError):
    """The run was stopped by Ctrl-C or SIGTERM."""

    exit_code = 130


MOST_CHARACTERS = 2000


def one_line(message: object, most: int = MOST_CHARACTERS) -> str:
    """Return a message as one line of printable text that is no longer than `most`, whatever the names in it hold.

    >>> one_line("layer a\\x1b[31m\\nb")
    'layer a\\\\x1b[31m b'
    """
    text = " ".join(str(message).splitlines())
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= most else f"{text[: most - 1]}…"
