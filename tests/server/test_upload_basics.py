"""Token, addresses, waiting, and the journal: the parts of an upload that need no server."""

from __future__ import annotations

import datetime as dt
import json
import os
import pickle
import subprocess
import sys
import traceback
from email.utils import format_datetime
from pathlib import Path

import pytest

from wkpipe.cli.upload import parse_size
from wkpipe.errors import InputRefused, MetadataError, ServerError, UsageError
from wkpipe.server.http.address import datastore_address, server_address
from wkpipe.server.http.policy import Policy, asked_pause
from wkpipe.server.http.token import FILE_VARIABLE, TOKEN_VARIABLE, Token, take_token
from wkpipe.server.upload.journal import FILE_NAME, Head, Journal
from wkpipe.server.upload.source_file import SourceFile
from wkpipe.server.wk_api import check_name
from wkpipe.storage.local import Local

SECRET = "s3cret/+=token"

# -- token ----------------------------------------------------------------------------------------------------------


def test_a_token_is_not_shown() -> None:
    token = Token(SECRET)
    shown = [repr(token), str(token), f"{token}", f"{token:>20}", f"{token!r}", repr([token]), repr({"t": token}), str(vars(Token))]
    assert not any(SECRET in text for text in shown)
    assert token.reveal() == SECRET
    with pytest.raises(TypeError):
        pickle.dumps(token)
    with pytest.raises(TypeError):
        json.dumps(token)
    with pytest.raises(UsageError) as refused:
        Token(f"{SECRET} {SECRET}")
    assert SECRET not in "".join(traceback.format_exception(refused.value))


def test_what_a_server_echoes_is_redacted() -> None:
    answer = f'{{"error": "no {SECRET}", "url": "/x?token=abc&y=1", "again": "s3cret%2F%2B%3Dtoken"}}'
    assert Token(SECRET).cleaned(answer) == '{"error": "no ***", "url": "/x?token=***&y=1", "again": "***"}'
    assert Token(SECRET).cleaned(r'"s3cret\/+=token", "s3\u0063ret/\u002B=token", s3cret&#x2f;+&#61;token') == '"***", "***", ***'


def test_the_environment_gives_the_token_away_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, SECRET)
    assert take_token().reveal() == SECRET
    code = f"import os; print({SECRET!r} in os.environ.values())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
    with pytest.raises(UsageError, match="a token is needed"):
        take_token()


def test_a_token_file_must_be_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o640)
    with pytest.raises(UsageError, match="others can read the token"):
        take_token(token_file=file)
    file.chmod(0o600)
    assert take_token(token_file=file).reveal() == SECRET
    monkeypatch.setenv(FILE_VARIABLE, str(file))
    assert take_token().reveal() == SECRET
    with pytest.raises(ServerError, match="No such file"):
        take_token(token_file=tmp_path / "none")


def test_a_token_is_taken_from_a_file_without_a_name() -> None:
    descriptor = os.memfd_create("token")
    try:
        os.write(descriptor, SECRET.encode())
        assert take_token(token_file=Path(f"/proc/{os.getpid()}/fd/{descriptor}")).reveal() == SECRET
    finally:
        os.close(descriptor)


# -- addresses and names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["https://webknossos.org", "https://webknossos.org/", "http://localhost:9000", "http://[::1]:9000"])
def test_addresses_that_are_taken(url: str) -> None:
    assert server_address(url, allow_http=False) == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    ["http://webknossos.org", "https://user:pass@webknossos.org", "webknossos.org", "ftp://webknossos.org", "https://webknossos.org/datasets/1",
     "https://webknossos.org?token=abc", "https://", "https://webknossos.org:x", ""],
)  # fmt: skip
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        server_address(url, allow_http=False)
    assert "pass@" not in str(refused.value)
    assert "abc" not in str(refused.value)


def test_unencrypted_servers_are_allowed_on_request_alone() -> None:
    assert server_address("http://wk.local", allow_http=True) == "http://wk.local"
    assert datastore_address("http://ds.local/", "http://wk.local", allow_http=True) == "http://ds.local"
    for url, server in (
        ("http://ds.local", "https://wk.local"),
        ("http://ds.local", "http://localhost"),
        ("https://a@ds", "https://wk"),
        (None, "https://wk"),
    ):
        with pytest.raises(ServerError):
            datastore_address(url, server, allow_http=server.startswith("https"))


@pytest.mark.parametrize("name", ["", "ab", ".abc", "a b c", "a/b/c", "a?b#", "äöü", "abc\n"])
def test_names_that_no_server_takes_are_refused_here(name: str) -> None:
    with pytest.raises(InputRefused, match="is not possible on a server"):
        check_name(name)


# -- waiting --------------------------------------------------------------------------------------------------------


def test_pauses_grow_up_to_a_limit() -> None:
    policy = Policy()
    longest = [max(policy.pause(attempt) for _ in range(300)) for attempt in range(9)]
    assert all(0.5 * 2**i < longest[i] <= 2**i for i in range(6))
    assert longest[8] <= 60
    assert min(policy.pause(8) for _ in range(300)) < 20  # full jitter


def test_what_a_server_asks_for_is_kept() -> None:
    policy = Policy()
    assert 7 <= policy.pause(0, "7") <= 7.5
    assert 600 <= policy.pause(0, "86400") <= 600.5
    in_a_minute = format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60), usegmt=True)
    assert 55 <= (asked_pause(in_a_minute) or 0) <= 60
    assert asked_pause("soon") is None
    assert asked_pause("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert policy.pause(0, "soon") <= 1


def test_sizes() -> None:
    assert [parse_size(text) for text in ("5", "5k", "5M", "5 MiB", "1g")] == [5, 5 << 10, 5 << 20, 5 << 20, 1 << 30]
    for text in ("", "M", "-5", "5.5M", "5T"):
        with pytest.raises(UsageError):
            parse_size(text)


# -- journal --------------------------------------------------------------------------------------------------------

HEAD = Head("2026-01-01T00-00-00__x", "https://wk", "https://ds", 16, "org", "e" * 24, "name", None, ("a" * 24,))
FILES = (SourceFile("a/b", 2500, 5), SourceFile("a/c", 1000, 6), SourceFile("p.json", 7, 8))


def test_a_journal_records_what_happened(tmp_path: Path) -> None:
    journal = Journal.create(Local(tmp_path / "j"), HEAD, FILES, 1000)
    assert [list(journal.missing(i)) for i in range(3)] == [[1, 2, 3], [1], [1]]
    for number in (1, 3):
        journal.begin(0, number)
    journal.accept(0, 3)
    journal.resize(1, 300)
    journal.note(is_reserved=True, expected_id="b" * 24)
    journal.close()
    again = Journal.load(Local(tmp_path / "j"))
    assert again is not None
    assert (again.head, again.files) == (HEAD, FILES)
    assert list(again.missing(0)) == [1, 2]
    assert list(again.missing(1)) == [1, 2, 3, 4]
    assert again.in_doubt() == [(0, 1)]
    assert (again.done, again.total) == (500, 3507)
    assert again.events.is_reserved
    assert again.events.expected_id == "b" * 24
    again.withdraw(0, 3)
    assert list(again.missing(0)) == [1, 2, 3]
    again.close()


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_line_that_was_cut_short_does_not_count_and_spoils_no_other(tmp_path: Path, cut: int) -> None:
    journal = Journal.create(Local(tmp_path / "j"), HEAD, FILES, 1000)
    journal.accept(0, 1)
    journal.accept(0, 2)
    journal.close()
    (log,) = (tmp_path / "j").glob("*.log")
    log.write_bytes(log.read_bytes()[:-cut])
    again = Journal.load(Local(tmp_path / "j"))
    assert again is not None
    assert not again.has(0, 2) or cut == 1
    again.accept(0, 3)
    again.close()
    third = Journal.load(Local(tmp_path / "j"))
    assert third is not None
    assert third.has(0, 3)
    assert third.has(0, 1) == again.has(0, 1)


def test_damage_of_the_head_is_refused(tmp_path: Path) -> None:
    assert Journal.load(Local(tmp_path / "none")) is None
    Journal.create(Local(tmp_path / "j"), HEAD, FILES, 1000).close()
    file = tmp_path / "j" / FILE_NAME
    data = file.read_bytes()
    for damaged in (b"", data[:-3], data[: len(data) // 2], data.replace(b"1000", b"2000"), b"\n".join(data.splitlines()[:-1])):
        file.write_bytes(damaged)
        with pytest.raises(MetadataError, match="--again"):
            Journal.load(Local(tmp_path / "j"))


def test_an_upload_anew_forgets_the_old_one(tmp_path: Path) -> None:
    journal = Journal.create(Local(tmp_path / "j"), HEAD, FILES, 1000)
    journal.accept(0, 1)
    journal.close()
    Journal.create(Local(tmp_path / "j"), HEAD, FILES, 500).close()
    again = Journal.load(Local(tmp_path / "j"))
    assert again is not None
    assert not list(again.accepted())
