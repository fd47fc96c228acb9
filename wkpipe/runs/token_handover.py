"""Hand the token to the jobs of an upload or a download; it stays in the memory of the run's main process.

Every job would inherit a variable, an argument is visible in the process list, and a file on the disk outlives a crash. So the
main process keeps the token in a file without a name in memory (`memfd_create`), which vanishes with the process. The job runs on the
same host and opens it through /proc, as only the same user can. The run's directory names the place, which is no secret.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from wkpipe.errors import ServerError, UnreadableInput
from wkpipe.metadata.json_node import MAX_BYTES
from wkpipe.server.http.token import Token, read_token
from wkpipe.storage.seal import Seal
from wkpipe.stored.places import place_at

NAME = "wkpipe-token"
PLACE_FILE = "token-place"


@contextlib.contextmanager
def kept_in_memory(token: Token) -> Iterator[str]:
    """Keep a token in memory within the block; yield the place where processes of the same user on this host find it."""
    descriptor = os.memfd_create(NAME, os.MFD_CLOEXEC)
    try:
        os.write(descriptor, token.reveal().encode())
        yield f"/proc/{os.getpid()}/fd/{descriptor}"
    finally:
        os.close(descriptor)


def token_handed_over(run: Path, seal: Seal) -> Token:
    """Return the token that the main process of a run keeps for its jobs.

    Raises:
        ServerError: there is none, because that process has ended, runs on another host, or has no token.
        UsageError: the seal of its place is not the run's.
    """
    with contextlib.suppress(OSError, ServerError, UnreadableInput):
        if (content := place_at(run).content(PLACE_FILE, MAX_BYTES)) is not None:
            kept = Path(os.fsdecode(seal.opened(PLACE_FILE, content)))
            # The process may be gone, and its number may be that of another one, whose files must not go to the server.
            if str(kept.readlink()) == f"/memfd:{NAME} (deleted)":
                return read_token(kept)
    raise ServerError(
        "the job has no token: the process that started the run keeps it, and is gone or on another host",
        fix="set WK_TOKEN and run the same command again",
    )
