"""Place: where the bytes of a dataset, or of its state, are stored; today a directory, later a prefix in a bucket.

The key of an object is its path relative to the place, with ``/`` between the names. All places promise:

* A reader sees nothing or a whole object, never a part of one.
* Once `put` or `Pending.commit` has returned, the object is durable.
* Every change of an object gives it another stamp.
* If several writers `put` with a condition at once, one succeeds. A writer recognises its own write if the answer was lost.
* Before an object gets its name, the fence of its writer is called (see `wkpipe.storage.scratch.Scratch`).

Only `wkpipe.storage` uses what only a disk can do (exclusive create, append, memory maps, links). `can_rename` is True if
a directory can replace another one; only then is `move_to` called. `wkpipe.storage.testing` has the tests that every place
must pass.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from wkpipe.storage.pending import Pending, PendingObjects
from wkpipe.storage.proof import Stamp
from wkpipe.storage.scratch import Scratch


class Facts(NamedTuple):
    """The facts of an object that are known without reading it. `modified_ns` is by the place's clock, not by this host's."""

    size: int
    stamp: Stamp
    modified_ns: int


class Entry(NamedTuple):
    """A name one level below a prefix. Without `facts` it is a directory, or it is no object, like a pipe on a disk.

    `is_link` is True if the name leads elsewhere, like a symbolic link; `Place.real` says where to.
    """

    name: str
    facts: Facts | None
    is_directory: bool = False
    is_link: bool = False


class Opened(Protocol):
    """One content of an object: all reads give this content, even if the object is replaced meanwhile."""

    path: str
    """The object's name in messages."""

    size: int

    @property
    def facts(self) -> Facts:
        """The facts of this content."""

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes at `offset`.

        Raises:
            Damage: the object is shorter, or this content is gone.
        """

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill a buffer with the bytes at `offset`.

        Raises: as `read`.
        """


class Place(Protocol):
    """A directory of a dataset or of its state, wherever it is stored."""

    @property
    def can_rename(self) -> bool:
        """True if a directory can be renamed at once."""

    def child(self, name: str) -> Place:
        """Return the place below a name."""

    def writing(self, scratch: Scratch) -> Place:
        """Return the same place for a writer, whose fence is called before every change."""

    def path(self, key: str = "") -> Path:
        """Return an object's path for messages; only `wkpipe.storage` opens it."""

    # -- reading ------------------------------------------------------------------------------------------------

    def facts(self, key: str, fresh: bool = False) -> Facts | None:
        """Return the facts of an object; None if there is none.

        If other hosts write (NFS), they may be a minute old. With `fresh` they are current, at the cost of a request.

        Raises:
            UnreadableInput: this user may not ask.
            DamagedShard: there is something else, or the place reports an error.
        """

    def has(self, key: str) -> bool:
        """True if this user can see an object with this key, or any below it."""

    def is_directory(self, key: str = "") -> bool:
        """True if there are objects below a key; on a disk, if this user can see a directory, even an empty one."""

    def real(self, key: str = "") -> str:
        """Return the path of the place, or of a key, with links resolved: the same text for the same place, whatever path leads to it."""

    def is_inside(self, key: str) -> bool:
        """True if a key does not lead out of the place by a link."""

    def is_link(self, key: str = "") -> bool:
        """True if a key is a symbolic link that this user can see."""

    def refuse_links(self, *keys: str) -> None:
        """Check that none of these keys is a link.

        Raises:
            InputRefused: one is; names it and its target.
        """

    def refuse_strangers(self, unread: Collection[str] = ()) -> None:
        """Check that there are only objects, at any depth; `unread` are the keys (with ``*``) that are not looked at.

        Raises:
            InputRefused: there is anything else, such as a link or a pipe; names it.
        """

    def volume(self) -> Hashable:
        """Return a value that is the same for places that share their free space."""

    def free_bytes(self) -> int | None:
        """Return how many bytes this user may still put here; None if it is not known. Quotas do not count."""

    def taken(self) -> Iterator[int]:
        """Yield the bytes of the free space that each object below this place takes."""

    def check_room(self, least: int) -> None:
        """Check that the place has room for `least` bytes and a few objects, as far as it reports it.

        Raises:
            NotWritable: it does not.
        """

    def names(self, prefix: str = "") -> list[str]:
        """Return the names one level below a prefix, unsorted; an empty list if there are none."""

    def entries(self, prefix: str = "") -> list[Entry]:
        """Return all names one level below a prefix, sorted, with the facts of objects; links are followed.

        Raises:
            UnreadableInput, DamagedShard: one of them cannot be read.
        """

    def list(self, prefix: str = "") -> Iterator[tuple[str, Facts]]:
        """Yield key and facts of every object below a prefix, sorted within each level; links to directories are not followed."""

    def content(self, key: str, limit: int) -> bytes | None:
        """Return the content of a small object; None if there is none.

        Raises:
            TooLarge: it has more than `limit` bytes.
            UnreadableInput, DamagedShard: see `facts`.
        """

    def content_and_facts(self, key: str, limit: int) -> tuple[bytes, Facts] | None:
        """Return the content of a small object, and the facts of just this content; see `content`."""

    def open(self, key: str) -> Opened | None:
        """Open an object for reading; return None if there is none.

        Raises:
            UnreadableInput, DamagedShard: see `facts`.
        """

    def is_current(self, key: str, opened: Opened) -> bool:
        """True if an object still has the content that was opened.

        Raises:
            UnreadableInput, DamagedShard: see `facts`.
        """

    # -- permission ---------------------------------------------------------------------------------------------

    def is_readable(self, key: str) -> bool:
        """True if this user can read an object that exists."""

    def check_readable(self, keys: Sequence[str], fix: str) -> None:
        """Check that this user can read what exists of some keys.

        Raises:
            UnreadableInput: one cannot be read; says why, and the fix.
        """

    def check_writable(self, key: str = "", *, fix: str) -> None:
        """Check that this user can make objects below a key.

        Raises:
            NotWritable: it is refused; says why, and the fix.
        """

    def check_replaceable(self, key: str, fix: str) -> None:
        """Check that this user can make, replace or remove an object.

        Raises: as `check_writable`.
        """

    def check_removable(self, key: str = "", *, fix: str) -> None:
        """Check that this user can remove an object, or all below a key; a missing one is fine.

        Raises: as `check_writable`.
        """

    # -- writing ------------------------------------------------------------------------------------------------

    def writer(self, key: str) -> Pending:
        """Begin to write an object."""

    def group(self) -> PendingObjects:
        """Begin to write many small objects."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_stamp: Stamp | None = None, lasting: bool = True) -> Stamp | None:
        """Write a small object and return its stamp; None if the condition is not met and nothing was changed.

        Args:
            if_absent: only if there is no object of this key.
            if_stamp: only if the object has this stamp.
            lasting: False if the object may be gone after a power failure. With `if_absent`, it is never incomplete.

        Raises:
            NotWritable: the place refuses it; what was there before is unchanged.
        """

    def remove(self, keys: Sequence[str], lasting: bool = True) -> None:
        """Remove objects durably; those that are gone already are fine. With `lasting=False`, a power failure may bring them back."""

    def remove_below(self, key: str = "") -> None:
        """Remove an object, or all objects below a key, durably; a missing one is fine. Of a link, only the link is removed.

        Raises:
            InputRefused: a link leads to it.
            NotWritable: the place refuses it.
        """

    def tidy(self) -> None:
        """Remove temporary files that dead processes have left directly in this place."""

    def make_directory(self, key: str = "") -> None:
        """Make `is_directory` true for a key, even if there are no objects below it."""

    def move_to(self, target: Place) -> None:
        """Move all objects below this place to another, which is empty, at once and durably; only if `can_rename`.

        Raises:
            NotWritable: the place refuses it.
        """

    def note(self, key: str, text: str) -> None:
        """Write a small object that only informs: it may be lost or torn, and a failed write is not an error."""

    def clock_ns(self) -> int:
        """Return the time by the place's own clock, which also sets `Facts.modified_ns`; costs a request."""
