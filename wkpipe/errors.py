"""Every error that wkpipe raises on purpose, and the exit code of a command that ends with it.

    WkpipeError                     1   a task failed
    ├── UnreadableImages            1   images could not be read while they were converted; the others were
    ├── ProcessKilled               1   a process of the task was killed; with more memory it may succeed
    ├── UsageError                  2   the command line or the config file is wrong
    ├── InputRefused                3   the input or the target cannot be used as it is
    │   ├── UnreadableInput         3   a file is missing, truncated or not what its name says
    │   ├── MetadataError           3   datasource-properties.json or an array's metadata is broken
    │   │   └── UnknownVersion      3   (also an AssertionError)
    │   ├── LayerNotFound           3   (also an IndexError)
    │   ├── MagNotFound             3   (also an IndexError, a KeyError and an AssertionError)
    │   ├── RemoteMag               3   a mag is on a server
    │   ├── LinkedLayer             3   the directory of a layer is a link
    │   ├── AlreadyExists           3   (also an IndexError and an AssertionError)
    │   │   └── ForeignMag          3   another tool has replaced or changed a mag that wkpipe made
    │   ├── NotWritable             3   read-only dataset, directory, disk or format; no space left
    │   ├── ExistsDifferently       3   what exists differs from what was asked for (also an AssertionError)
    │   ├── UnknownCategory         3   (also a RuntimeError)
    │   ├── UnknownMode             3   of sampling or interpolation (also an AttributeError and a KeyError)
    │   ├── LadderRefused           3   the mags of a ladder are not possible (also a RuntimeError, an AssertionError)
    │   └── WrongGeometry           3   a vector, mag or box that is not possible (also an AssertionError)
    │       └── AxisNotFound        3   (also a KeyError)
    ├── IntegrityError              4   stored data are damaged or gone
    │   ├── DamagedShard            4
    │   └── MissingShard            4
    ├── ServerError                 5   a WEBKNOSSOS server or its credentials
    ├── TryAgain                   75   another run or program is at work; the same command may succeed later
    └── Interrupted               130   Ctrl-C or SIGTERM

An error carries its parts as fields; only this module makes its text from them, as one line. Code that needs a part reads
the field. ``InputRefused`` is also a ``ValueError``; some errors are further exceptions of Python, so that scripts that were
written for other versions of the API catch what they expect.
"""

from __future__ import annotations

from typing import ClassVar, Self


class WkpipeError(Exception):
    """A task failed; the base of every error below.

    Parameters
    ----------
    what
        what is wrong, as a clause; empty if `found` says it.
    where
        the file, layer, mag, option or key that the error is about.
    found
        what was found there.
    expected
        what should be there.
    fix
        what the user can do.

    Examples
    --------
    >>> from wkpipe.errors import WkpipeError
    >>> str(WkpipeError(where="em/1/zarr.json", found="shape 3", expected="three integers", fix="restore the file"))
    'em/1/zarr.json: found shape 3, expected three integers; restore the file'
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str = "", *, where: object = "", found: object = "", expected: object = "", fix: str = "") -> None:
        self.what, self.where, self.found, self.expected, self.fix = what, str(where), str(found), str(expected), fix
        super().__init__(self._line())

    def _line(self) -> str:
        """Return ``WHERE: WHAT, found FOUND, expected EXPECTED; FIX`` with the parts that are given."""
        body = ": ".join(part for part in (self.where, self.problem) if part)
        return "; ".join(part for part in (body, self.fix) if part)

    @property
    def problem(self) -> str:
        """The line without where and fix."""
        named = (self.what, self.found and f"found {self.found}", self.expected and f"expected {self.expected}")
        return ", ".join(part for part in named if part)

    def but(self, **fields: str) -> Self:
        """Return the same error with some fields changed, as in ``error.but(where="layer em")``."""
        parts = {"what": self.what, "where": self.where, "found": self.found, "expected": self.expected, "fix": self.fix, **fields}
        return type(self)(parts.pop("what"), **parts)

    @classmethod
    def of(cls, error: WkpipeError) -> Self:
        """Return an error of this class with the fields of another one."""
        return cls(error.what, where=error.where, found=error.found, expected=error.expected, fix=error.fix)

    def within(self, where: object) -> Self:
        """Return the same error with `where` put before its own, as in ``layer em: mag 2: …``."""
        return self.but(where=": ".join(part for part in (str(where), self.where) if part))

    def __str__(self) -> str:
        return one_line(self._line())


class UnreadableImages(WkpipeError):
    """Images could not be read while they were converted; everything else of the task was made."""


class ProcessKilled(WkpipeError):
    """A process of the job was killed, most likely because of its memory."""


class UsageError(WkpipeError, ValueError):
    """The command line or the configuration is wrong."""

    exit_code = 2


class InputRefused(WkpipeError, ValueError):
    """The input or the target cannot be used as it is; nothing was written.

    Examples
    --------
    >>> from wkpipe import Mag
    >>> try:
    ...     Mag(3)
    ... except ValueError as error:
    ...     error.exit_code
    3
    """

    exit_code = 3


class UnreadableInput(InputRefused):
    """An input file is missing, truncated, or not what its name says.

    Examples
    --------
    >>> from wkpipe import Dataset
    >>> from wkpipe.errors import UnreadableInput
    >>> try:
    ...     Dataset.open("brain")
    ... except UnreadableInput as error:
    ...     error.where
    'brain'
    """


class MetadataError(InputRefused):
    """A metadata file (properties, array, group) is broken."""


class UnknownVersion(MetadataError, AssertionError):
    """A metadata file has a version that wkpipe does not know."""


class LayerNotFound(InputRefused, IndexError):
    """The dataset has no layer with that name."""


class MagNotFound(InputRefused, IndexError, KeyError, AssertionError):
    """The layer has no such mag."""


class RemoteMag(InputRefused):
    """A mag is at a URL, not in the dataset's file system."""


class LinkedLayer(InputRefused):
    """The directory of a layer is a link, and wkpipe writes only inside of the dataset."""


class AlreadyExists(InputRefused, IndexError, AssertionError):
    """A dataset, layer or mag with that name already exists."""


class ForeignMag(AlreadyExists):
    """Another tool has made a mag of wkpipe again, or has written to it."""


class NotWritable(InputRefused, RuntimeError):
    """The target is read-only, or the disk is full."""


class ExistsDifferently(InputRefused, AssertionError):
    """What exists differs from what was asked for."""


class UnknownCategory(InputRefused, RuntimeError):
    """There is no layer category of that name."""


class UnknownMode(InputRefused, AttributeError, KeyError):
    """There is no sampling or interpolation mode of that name."""


class LadderRefused(InputRefused, RuntimeError, AssertionError):
    """The mags that a ladder would have are not possible."""


class WrongGeometry(InputRefused, AssertionError):
    """A vector, mag or box is not possible, or does not fit the other one."""


class AxisNotFound(WrongGeometry, KeyError):
    """A vector or box has no axis of that name."""


class IntegrityError(WkpipeError):
    """Stored data are damaged or gone."""

    exit_code = 4


class DamagedShard(IntegrityError):
    """A storage shard cannot be decoded, or differs from its recorded checksum."""


class MissingShard(IntegrityError):
    """A storage shard that must exist is gone."""


class ServerError(WkpipeError):
    """A WEBKNOSSOS server refused a request or failed, or the credentials are wrong."""

    exit_code = 5


class TryAgain(WkpipeError):
    """Another run holds the dataset; the same command may succeed later."""

    exit_code = 75


class Interrupted(WkpipeError):
    """The run was stopped by Ctrl-C or SIGTERM."""

    exit_code = 130


MOST_CHARACTERS = 2000


def one_line(message: object, most: int = MOST_CHARACTERS) -> str:
    """Return a message as one line of printable text of at most `most` characters, whatever names it contains.

    >>> one_line("layer a\\x1b[31m\\nb")
    'layer a\\\\x1b[31m b'
    """
    text = " ".join(str(message).splitlines())
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= most else f"{text[: most - 1]}…"
