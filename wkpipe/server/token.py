"""Token: the secret by which a server knows its user. It is shown nowhere: not in texts, not in files, not to children."""

from __future__ import annotations

import ctypes
import os
import re
import stat
from pathlib import Path
from typing import Any

from wkpipe.errors import ServerError, UsageError
from wkpipe.server.hiding import HIDDEN, Hiding
from wkpipe.storage.disk import read_small

TOKEN_VARIABLE = "WK_TOKEN"
FILE_VARIABLE = "WK_TOKEN_FILE"

_TOKEN = re.compile(r"[!-~]{1,4096}")
_DESCRIPTOR = re.compile(r"/proc/(self|\d+)/fd/\d+")
_WHERE_FROM = f"set {TOKEN_VARIABLE}, or give --token-file with a file that only you can read; a server shows yours under /account/token"


class Token:
    """Holds a secret; however it is printed, it reads ``***``.

    Raises:
        UsageError: empty, or with characters that no token has; the text is not told.
    """

    __slots__ = ("__hiding", "__secret")

    def __init__(self, secret: str) -> None:
        if not _TOKEN.fullmatch(secret):
            raise UsageError(f"the token is not one: expected a word of printable ASCII characters; {_WHERE_FROM}")
        self.__secret = secret
        self.__hiding = Hiding(secret)

    def reveal(self) -> str:
        """Return the secret: for the one header that needs it."""
        return self.__secret

    def cleaned(self, text: str, is_cut: bool = False) -> str:
        """Return the beginning of a text without the secret, to be shown. `is_cut`: the text may end within the secret.

        A text is cleaned before it is cut, never afterwards.
        """
        return self.__hiding.cleaned(text, is_cut)

    def with_echoes(self, content: Any) -> Any:
        """Return parsed JSON as it is, but for texts that hold the secret: each is an `Echo`. A secret that is a mere word is left in."""
        return self.__hiding.with_echoes(content)

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __format__(self, _: str) -> str:
        return HIDDEN

    def __reduce__(self) -> str:
        raise TypeError("a token is not to be pickled")


def take_token(token: str | None = None, token_file: Path | None = None) -> Token:
    """Return the token that was given: as such, as a file, by WK_TOKEN or by WK_TOKEN_FILE, in this order.

    Afterwards the environment has no token any more, so that no child of this process gets it.

    Raises:
        UsageError: there is none, or its file can be read by others.
        ServerError: its file can not be read.
    """
    in_environment = take_variable()
    file_in_environment = os.environ.get(FILE_VARIABLE)
    if token:
        return Token(token.strip())
    if token_file is not None:
        return read_token(token_file)
    if in_environment:
        return Token(in_environment.strip())
    if file_in_environment:
        return read_token(Path(file_in_environment))
    raise UsageError(f"a token is needed: {_WHERE_FROM}")


def take_variable() -> str | None:
    """Return what stands in WK_TOKEN, and remove it from the environment, so that no child of this process gets it.

    The memory that the process was started with is overwritten too: a child has a copy of it until it begins its own program.
    """
    value = os.environ.get(TOKEN_VARIABLE)
    if value is None:
        return None
    library = ctypes.CDLL(None)
    library.getenv.restype = ctypes.c_void_p
    if (place := library.getenv(TOKEN_VARIABLE.encode())) is not None:
        ctypes.memset(place, ord("*"), len(os.fsencode(value)))
    del os.environ[TOKEN_VARIABLE]
    return value


def read_token(file: Path) -> Token:
    """Read a token from a file that nobody else can read.

    Raises:
        UsageError: others can read it, or it holds no token.
        ServerError: it can not be read.
    """
    try:
        mode = file.stat().st_mode
        # A file without a name that another process of ours holds open; the kernel lets nobody else in, whatever its mode.
        if mode & (stat.S_IRWXG | stat.S_IRWXO) and not _DESCRIPTOR.fullmatch(str(file)):
            raise UsageError(f"{file}: others can read the token in it (mode {stat.S_IMODE(mode):04o}, expected 0600); chmod 600 {file}")
        data = file.read_bytes() if stat.S_ISFIFO(mode) else read_small(file)
    except OSError as error:
        raise ServerError(f"{file}: {error.strerror or error}; expected a file with the token of the server") from None
    try:
        return Token(data.decode(errors="replace").strip())
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None
