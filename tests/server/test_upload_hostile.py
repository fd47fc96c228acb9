"""Hostile input: a dataset with a journal of its own, and a server with answers that no real server gives."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import google_crc32c
import pytest

from tests.server.upload_helpers import FAST, SECRET, Stage
from tests.server.wk_server import WkServer
from wkpipe.cli.app import run_app
from wkpipe.errors import InputRefused, MetadataError, ServerError, UsageError, WkpipeError
from wkpipe.server.upload.journal import FILE_NAME
from wkpipe.server.upload.request import UploadTarget
from wkpipe.server.upload.uploading import cancel, status

pytestmark = pytest.mark.sampled(every=3)

# -- a dataset ------------------------------------------------------------------------------------------------------


def signed(content: object) -> bytes:
    """Return a line as journals contain it."""
    text = json.dumps(content, separators=(",", ":")).encode()
    return b"%08x %s\n" % (google_crc32c.value(text), text)


def begun(stage: Stage) -> Path:
    """Begin an upload that is cut off, and return its journal's directory."""
    stage.fail("chunk", skip=3, count=None, status=404)
    stage.refused(ServerError, "injected 404")
    stage.clear_faults()
    return UploadTarget.of(stage.request()).directory


def change_head(directory: Path, **changes: str) -> None:
    first, _, rest = (directory / FILE_NAME).read_bytes().partition(b"\n")
    head = json.loads(first.partition(b" ")[2])
    (directory / FILE_NAME).write_bytes(signed(head | changes) + rest)


def test_the_token_does_not_go_to_a_server_that_a_journal_names(stage: Stage, tmp_path: Path) -> None:
    directory = begun(stage)
    with WkServer(tmp_path / "other", "another") as other:
        change_head(directory, url=other.url)
        stage.refused(MetadataError, "journal of another upload; upload again with --again")
        with pytest.raises(MetadataError, match="journal of another upload"):
            cancel(stage.request(), stage.token, FAST)
        assert stage.succeeds(again=True)
        assert not other.log


def test_a_journal_in_a_linked_directory_is_refused(stage: Stage, tmp_path: Path) -> None:
    directory = UploadTarget.of(stage.request()).directory
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/precious.log").write_text("x")
    directory.parent.mkdir()
    directory.symlink_to(tmp_path / "elsewhere")
    stage.refused(InputRefused, "is a link that leads out")
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["precious.log"]
    assert not stage.server.log


def test_a_journal_is_not_written_through_a_link(stage: Stage, tmp_path: Path) -> None:
    (log,) = begun(stage).glob("*.log")
    log.rename(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").read_bytes()
    log.symlink_to(tmp_path / "elsewhere")
    stage.refused(InputRefused, r"\.log is a link that leads out")
    assert (tmp_path / "elsewhere").read_bytes() == before


@pytest.mark.parametrize(
    "event",
    [{"dataset_id": "../../x\x1b"}, {"dataset_id": [1]},
     {"expected_id": "../x"}, {"finish": "x"}, {"dead": ["x"]}, {"is_usable": "x"}, {"x": 1}],
)  # fmt: skip
def test_events_of_another_kind_are_none(stage: Stage, event: dict[str, object]) -> None:
    (log,) = begun(stage).glob("*.log")
    with log.open("ab") as file:
        file.write(signed({"event": event}))
    found = status(stage.request())
    assert found is not None
    assert found.state == "sending"
    stage.resumes()


def test_what_a_journal_says_is_shown_in_one_line(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    change_head(begun(stage), name="a\x1b[31m\nb")
    assert run_app(["upload", str(stage.dataset), "--status"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.isprintable()
    assert line.startswith(r"a\x1b[31m b to ")


def test_a_dry_run_refuses_what_the_upload_would(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    for url, name in (("https://user:secret@wk.example", "abc"), (stage.url + "/x", "abc"), (stage.url, "a b")):
        assert run_app(["upload", str(stage.dataset), "--dry-run", "--webknossos-url", url, "--dataset-name", name]) in (2, 3)
    assert "secret" not in "".join(capsys.readouterr())


def test_the_status_of_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["upload", str(tmp_path / "nowhere"), "--status"]) == 3
    assert "nowhere is not a directory" in capsys.readouterr().err


def test_ctrl_c_anywhere_ends_in_a_line(stage: Stage, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "token", 0o600)
    command = stage.command("--cancel", "--token-file", str(tmp_path / "token"))
    environment = {name: value for name, value in os.environ.items() if name != "WK_TOKEN"}
    # What runs the tests in the background may have had its children ignore Ctrl-C.
    as_usual = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=as_usual)
    with (tmp_path / "token").open("wb"):  # it waits for the token now
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=500)
    assert process.returncode == 130
    assert errors.splitlines() == ["wkpipe: stopped"]


# -- a server -------------------------------------------------------------------------------------------------------

ESCAPED = SECRET.replace("t", r"\u0074")
ODD_ANSWERS = [
    ("buildinfo", '{"httpApiVersioning": {"currentApiVersion": 1e999, "oldestSupportedApiVersion": 10}}'),
    ("user", r'{"id": "\ud800", "organization": "o"}'),
    ("user", r'{"id": "e", "organization": "\u001b[31m"}'),
    ("folders", '[{"id": [], "name": "A", "parent": null}]'),
    ("folders", '[{"id": "x", "name": "B", "parent": []}, {"id": "y", "name": 1, "parent": {}}]'),
    ("folders", '[{"id": "x", "name": "B", "parent": "y"}, {"id": "y", "name": "C", "parent": "x"}]'),
    ("datastores", r'[{"name": "d", "url": "http://127.0.0.1:1/\u0007", "allowsUpload": true}]'),
    ("datastores", r'[{"name": "d", "url": "http://a\ud800.localhost", "allowsUpload": true}]'),
    ("datastores", '[{"name": "d", "url": "https://xn--zz", "allowsUpload": true}]'),
    ("name", rf'{{"isValid": false, "errors": "{ESCAPED} is no name"}}'),
    *((route, "[" * depth + "]" * depth) for route in ("buildinfo", "user", "datastores", "name") for depth in (900, 100_000)),
]


@pytest.mark.parametrize("route, body", ODD_ANSWERS)
def test_odd_answers_are_refused_in_one_line(stage: Stage, route: str, body: str) -> None:
    stage.fail(route, status=200, body=body, count=None)
    text = stage.refused(WkpipeError, ".", folder="A" if route == "folders" else None)
    assert text.isprintable()
    assert SECRET not in text
    assert not stage.rows()


@pytest.mark.parametrize("depth", range(900, 1000, 7))
def test_no_depth_of_an_answer_is_too_deep_for_its_refusal(stage: Stage, depth: int) -> None:
    stage.fail("reserve", status=400, body='{"a":' * depth + "1" + "}" * depth)
    stage.refused(ServerError, "answers 400: ")


@pytest.mark.parametrize("where", ["https://{}.example/x", "https://{}@elsewhere.example", "https://elsewhere.example/{}?token={}"])
def test_a_redirect_that_holds_the_token_does_not_show_it(stage: Stage, where: str) -> None:
    stage.fail("user", redirect=where.format(SECRET, SECRET))
    text = stage.refused(ServerError, "a redirect to https://")
    assert SECRET.lower() not in text.lower()


def test_a_retry_after_beyond_all_calendars_is_none(stage: Stage) -> None:
    for asked in ("Mon, 01 Jan 2024 00:00:00 +99999999999999999", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"):
        stage.fail("user", status=503, headers={"Retry-After": asked})
    stage.succeeds()


@contextlib.contextmanager
def answering(*pieces: bytes, rest: bytes = b"", pause: float = 0.0) -> Iterator[tuple[int, list[int]]]:
    """Answer every request on a port with these pieces, then `rest` repeatedly; yield the port and the sizes that were sent."""
    sent: list[int] = []

    def answer_all() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(1 << 16)
                    with contextlib.suppress(OSError):
                        for piece in itertools.chain(pieces, itertools.repeat(rest) if rest else ()):
                            connection.sendall(piece)
                            sent.append(len(piece))
                            time.sleep(pause)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer_all)
        thread.start()
        try:
            yield listening.getsockname()[1], sent
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_https_to_a_port_that_is_not_encrypted_is_not_tried_for_long(stage: Stage) -> None:
    with answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") as (port, _):
        stage.refused(ServerError, "its answer is not encrypted; check address and port", url=f"https://127.0.0.1:{port}")


@pytest.mark.parametrize("proxy", ["http://a b\n", "http://", "socks5://127.0.0.1:1", "127.0.0.1:3128"])
def test_a_proxy_that_is_no_address_is_refused(stage: Stage, proxy: str) -> None:
    stage.refused(UsageError, "the proxy address is not valid", proxy=proxy)


def test_proxies_of_the_environment_are_not_used(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    stage.succeeds()


def test_a_proxy_that_does_not_exist_is_reported(stage: Stage) -> None:
    url = stage.url.replace("http:", "https:")
    stage.refused(ServerError, "no connection through the proxy", url=url, proxy="http://127.0.0.1:1")


START = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n"


def test_of_an_endless_answer_no_more_than_some_megabytes_are_read(stage: Stage) -> None:
    with answering(START, rest=bytes(1 << 20)) as (port, sent):
        stage.refused(ServerError, "without versions", url=f"http://127.0.0.1:{port}")
    assert sum(sent) < 30 << 20


def test_an_answer_that_drips_is_not_waited_for_without_end(stage: Stage) -> None:
    with answering(START, rest=b" ", pause=0.05) as (port, _):
        stage.refused(ServerError, "without versions", url=f"http://127.0.0.1:{port}", policy=replace(FAST, least_total=0.5))


@pytest.mark.parametrize(
    "start, rest",
    [(b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n"), (b"HTTP/1.1 200 OK\r\nX: ", b"x"), (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n")],
    ids=["headers", "header", "hints"],
)
def test_an_answer_that_never_begins_is_not_waited_for_without_end(stage: Stage, start: bytes, rest: bytes) -> None:
    with answering(start, rest=rest, pause=0.05) as (port, _):
        stage.refused(
            ServerError, "no answer in time", url=f"http://127.0.0.1:{port}", policy=replace(FAST, least_total=0.3, without_progress=1.0)
        )
