"""Hand the token to the jobs of an upload or a download: it stays in the memory of the run's main process, where only these look.

A variable would be inherited by every job, an argument stands in the process list, a file on the disk outlives a crash. So
the main process keeps the token in a file without a name that lies in memory (`memfd_create`), and vanishes with it. The job,
which runs on the same host, opens it through /proc, as only the same user can. The run's directory says where: that is no secret.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from wkpipe.errors import ServerError
from wkpipe.server.token import Token, read_token
from wkpipe.storage.seal import Seal

NAME = "wkpipe-token"
PLACE_FILE = "token-place"


@contextlib.contextmanager
def kept_in_memory(token: Token) -> Iterator[str]:
    """Keep a token in memory within the block; yields the place where processes of the same user on this host find it."""
    descriptor = os.memfd_create(NAME, os.MFD_CLOEXEC)
    try:
        os.write(descriptor, token.reveal().encode())
        yield f"/proc/{os.getpid()}/fd/{descriptor}"
    finally:
        os.close(descriptor)


def token_handed_over(run: Path, seal: Seal) -> Token:
    """Return the token that the main process of a run keeps for its jobs.

    Raises:
        ServerError: it is not there, as that process has ended, runs on another host, or has none.
        UsageError: another process has written where it is.
    """
    with contextlib.suppress(OSError, ServerError):
        place = Path(os.fsdecode(seal.opened(PLACE_FILE, (run / PLACE_FILE).read_bytes())))
        # The process may be gone and its number be another's now, whose files are none of the server's business.
        if str(place.readlink()) == f"/memfd:{NAME} (deleted)":
            return read_token(place)
    raise ServerError(
        "the job has no token: the process that started the run keeps it, and is gone or on another host; "
        "set WK_TOKEN and run the same command again"
    )
