"""Token: the secret that identifies a user to a server. It is never shown in a text, stored in a file or passed to children."""

from __future__ import annotations

import ctypes
import os
import re
import stat
from pathlib import Path
from typing import Any

from wkpipe.errors import ServerError, UsageError
from wkpipe.server.http.hiding import HIDDEN, Hiding
from wkpipe.storage.opened import read_small

TOKEN_VARIABLE = "WK_TOKEN"
FILE_VARIABLE = "WK_TOKEN_FILE"

_TOKEN = re.compile(r"[!-~]{1,4096}")
_DESCRIPTOR = re.compile(r"/proc/(self|\d+)/fd/\d+")
_WHERE_FROM = f"set {TOKEN_VARIABLE}, or give --token-file with a file that only you can read; a server shows yours under /account/token"


class Token:
    """A secret; however it is printed, the text is ``***``.

    Raises:
        UsageError: it is empty, or has characters that no token has; the error does not show it.
    """

    __slots__ = ("__hiding", "__secret")

    def __init__(self, secret: str) -> None:
        if not _TOKEN.fullmatch(secret):
            raise UsageError("the token is not valid", expected="a word of printable ASCII characters", fix=_WHERE_FROM)
        self.__secret = secret
        self.__hiding = Hiding(secret)

    def reveal(self) -> str:
        """Return the secret, for the one header that needs it."""
        return self.__secret

    def cleaned(self, text: str, is_cut: bool = False) -> str:
        """Return the beginning of a text without the secret, to be shown.

        `is_cut`: the text may end within the secret. Clean a text before you cut it, never afterwards.
        """
        return self.__hiding.cleaned(text, is_cut)

    def with_echoes(self, content: Any) -> Any:
        """Return parsed JSON in which each text that contains the secret is an `Echo`; a secret that is a mere word is kept."""
        return self.__hiding.with_echoes(content)

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __format__(self, _: str) -> str:
        return HIDDEN

    def __reduce__(self) -> str:
        raise TypeError("a token is not to be pickled")


def take_token(token: str | None = None, token_file: Path | None = None) -> Token:
    """Return the user's token: the given one, that of the given file, or that of WK_TOKEN or WK_TOKEN_FILE, in this order.

    Afterwards the environment has no token, so that no child of this process inherits it.

    Raises:
        UsageError: there is none, or others can read its file.
        ServerError: its file cannot be read.
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
    raise UsageError("a token is needed", fix=_WHERE_FROM)


def take_variable() -> str | None:
    """Return the value of WK_TOKEN and remove it from the environment, so that no child of this process inherits it.

    The process's initial memory is overwritten too: a child has a copy of it until it starts its own program.
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
        UsageError: others can read it, or it contains no token.
        ServerError: it cannot be read.
    """
    try:
        mode = file.stat().st_mode
        # A file without a name that another process of the run keeps open; the kernel protects it, whatever its mode.
        if mode & (stat.S_IRWXG | stat.S_IRWXO) and not _DESCRIPTOR.fullmatch(str(file)):
            raise UsageError(
                "others can read the token in it",
                where=file,
                found=f"mode {stat.S_IMODE(mode):04o}",
                expected="0600",
                fix=f"chmod 600 {file}",
            )
        data = file.read_bytes() if stat.S_ISFIFO(mode) else read_small(file)
    except OSError as error:
        raise ServerError(error.strerror or str(error), where=file, expected="a file with the token of the server") from None
    try:
        return Token(data.decode(errors="replace").strip())
    except UsageError as error:
        raise error.within(file) from None
