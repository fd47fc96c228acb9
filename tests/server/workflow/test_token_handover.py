"""The token goes from the main process to the upload job through memory, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wkpipe.errors import ServerError, UsageError
from wkpipe.runs.token_handover import PLACE_FILE, kept_in_memory, token_handed_over
from wkpipe.server.http.token import Token
from wkpipe.storage.seal import VARIABLE, Seal

SECRET = "a-secret-that-nobody-sees"
READ = (
    "import sys; from pathlib import Path; from wkpipe.runs.token_handover import token_handed_over\n"
    "from wkpipe.storage.seal import Seal\n"
    "print(len(token_handed_over(Path(sys.argv[1]), Seal.all_of_environment()[0]).reveal()))"
)
SEAL = Seal.new()


def note_place(run: Path, place: str, seal: Seal = SEAL) -> None:
    (run / PLACE_FILE).write_bytes(seal.sealed(PLACE_FILE, place.encode()))


def test_another_process_gets_it_as_long_as_the_first_one_keeps_it(tmp_path: Path) -> None:
    with kept_in_memory(Token(SECRET)) as place:
        note_place(tmp_path, place)
        for _ in range(2):  # as when the job is tried again
            environment = os.environ | {VARIABLE: SEAL.variable}
            result = subprocess.run([sys.executable, "-c", READ, tmp_path], capture_output=True, text=True, check=True, env=environment)
            assert result.stdout.strip() == str(len(SECRET))
        assert token_handed_over(tmp_path, SEAL).reveal() == SECRET
    with pytest.raises(ServerError, match="set WK_TOKEN and run the same command again"):
        token_handed_over(tmp_path, SEAL)


def test_a_child_does_not_inherit_it(tmp_path: Path) -> None:
    with kept_in_memory(Token(SECRET)) as place:
        code = f"import os; print(sorted(os.listdir('/proc/self/fd'))); print(os.path.exists('/proc/self/fd/{Path(place).name}'))"
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, close_fds=False)
    assert result.stdout.splitlines()[-1] == "False"


def test_another_file_at_the_same_place_is_not_taken_for_it(tmp_path: Path) -> None:
    """The process may be gone, and another one may have its number."""
    (tmp_path / "other").write_text(SECRET)
    with (tmp_path / "other").open("rb") as file:
        note_place(tmp_path, f"/proc/{os.getpid()}/fd/{file.fileno()}")
        with pytest.raises(ServerError, match="no token"):
            token_handed_over(tmp_path, SEAL)


def test_another_run_does_not_say_where_it_is(tmp_path: Path) -> None:
    with kept_in_memory(Token(SECRET)) as place:
        note_place(tmp_path, place, Seal(SEAL.run, b"another secret"))
        with pytest.raises(UsageError, match="was not written by the process that started the run"):
            token_handed_over(tmp_path, SEAL)


def test_without_a_token_the_job_says_so(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="no token"):
        token_handed_over(tmp_path, SEAL)


def test_once_it_is_taken_the_environment_has_it_no_more() -> None:
    """The process's initial memory, which forks inherit, does not have it either."""
    code = (
        "import os; from pathlib import Path; from wkpipe.server.http.token import take_token\n"
        "token = take_token(); after = Path('/proc/self/environ').read_bytes()\n"
        f"print(token.reveal() == '{SECRET}', 'WK_TOKEN' in os.environ, b'{SECRET}' in after, b'WK_TOKEN=' in after, os.environ['LAST'])"
    )
    environment = os.environ | {"WK_TOKEN": SECRET, "LAST": "is whole"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert result.stdout.strip() == "True False False True is whole"
