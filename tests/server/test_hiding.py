"""The token in a server's answer: hidden however it is spelled and wherever a text is cut; data are not changed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.reference.workshop import assert_same_facts, our_facts
from tests.server.download_helpers import Download
from tests.server.test_upload_hostile import answering
from tests.server.upload_helpers import FAST, SECRET, Stage
from tests.server.wk_server import WkServer, reading
from wkpipe.cli.app import run_app
from wkpipe.errors import ServerError, WkpipeError
from wkpipe.server.http.answer import Answer
from wkpipe.server.http.hiding import MOST_CHARACTERS, Echo, has_echo
from wkpipe.server.http.network import Network
from wkpipe.server.http.token import Token

TOKEN = Token(SECRET)
PIECE = SECRET[:4].lower()
"""A part of the token of this length, or longer, is never shown."""


def answered(body: bytes, **more: Any) -> str:
    return str(Answer(400, TOKEN, body, **more))


def spelled(how: Callable[[str], str]) -> str:
    return "".join(map(how, SECRET))


# -- texts that are shown -------------------------------------------------------------------------------------------

SPELLINGS = {
    "as it is": SECRET,
    "JSON": spelled(lambda c: f"\\u{ord(c):04x}"),
    "JSON in JSON": spelled(lambda c: f"\\\\u{ord(c):04x}"),
    "URL": spelled(lambda c: f"%{ord(c):02X}"),
    "URL in a URL": spelled(lambda c: f"%25{ord(c):02x}"),
    "HTML": spelled(lambda c: f"&#{ord(c)};"),
    "HTML in HTML": spelled(lambda c: f"&amp;#x{ord(c):04x};"),
    "Python": spelled(lambda c: f"\\x{ord(c):02x}"),
    "the other case": SECRET.swapcase(),
    "line ends": "\r\n".join(SECRET),
    "blanks": "  ".join(SECRET),
    "no width": "\u200b".join(SECRET),
    "markup": "<b></b>".join(SECRET),
    "a tag": f"<i {SECRET.swapcase()}>",
    "after a per cent sign": f"50%{SECRET.swapcase()}",
    "after a bracket": f"a < b {SECRET}",
}


@pytest.mark.parametrize("how", SPELLINGS)
@pytest.mark.parametrize("form", ["text", "JSON", "other JSON"])
def test_every_spelling_is_hidden(how: str, form: str) -> None:
    text = f"before {SPELLINGS[how]} after"
    bodies = {"text": text, "JSON": json.dumps({"messages": [{"error": text}]}), "other JSON": json.dumps({"a": [text]})}
    shown = answered(bodies[form].encode())
    assert "before" in shown
    assert "after" in shown
    letters = "".join(c for c in shown.lower().replace("<b></b>", "") if c.isascii() and c.isprintable() and c != " ")
    assert PIECE not in letters
    assert SPELLINGS[how] not in shown


def test_characters_with_a_name_in_html() -> None:
    assert Token("some_token+of=/1234").cleaned("a some&lowbar;token&plus;of&equals;&sol;1234 b") == "a *** b"


@pytest.mark.parametrize("at", range(0, len(SECRET) + 20, 3))
@pytest.mark.parametrize("filling", [b" ", b"<b>", b"\\", b"x" * 8 + b" "])
def test_no_cut_leaves_a_part(at: int, filling: bytes) -> None:
    """Blanks and tags are not shown, so the text at the cut would be."""
    start = (filling * MOST_CHARACTERS)[: MOST_CHARACTERS - at]
    for text in (SECRET, SPELLINGS["HTML"], SPELLINGS["URL"]):
        body = start + text.encode() + b" and more " * 10
        for shown in (answered(body), TOKEN.cleaned(body.decode())):
            assert PIECE not in shown.lower()
            assert SPELLINGS["HTML"][:11] not in shown
            assert SPELLINGS["URL"][:7] not in shown


@pytest.mark.parametrize("length", range(1, len(SECRET)))
def test_an_answer_that_was_cut_off_shows_no_part(length: int) -> None:
    shown = answered(f"{'some words, ' * 9} {SECRET[:length]}".encode(), is_cut=True)
    assert shown.startswith("400: some words, ")
    assert SECRET[:length][-4:] not in shown.removeprefix("400: ").replace("some words,", "").split()


def test_the_cleaning_of_a_text_of_any_kind_is_quick() -> None:
    """No time is measured: a quadratic algorithm, or a worse one, would not end."""
    for text in ("<", "<script", "\\", "\\u00", "%25", "&#x0", "&amp;", "token=", SECRET[0], SECRET[:-1], "\0"):
        answered((text * (10 << 20))[: 10 << 20].encode())


ENCODINGS = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "utf-8-sig"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "route, status", [("reserve", 400), ("finish", 400), ("name", 200), ("name", 400), ("dataset", 404), ("user", 401)]
)
def test_other_encodings_than_utf_8_show_nothing(stage: Stage, encoding: str, route: str, status: int) -> None:
    said = {"messages": [{"error": f"bad {SECRET} here"}], "isValid": False, "errors": [SECRET]}
    stage.fail(route, status=status, count=None, body=json.dumps(said).encode(encoding))
    text = stage.refused(WkpipeError, ".")
    assert PIECE not in "".join(c for c in text.lower().replace("\\x00", "") if c.isalnum())
    if status == 400:
        assert ("bad *** here" if encoding == "utf-8-sig" else "not a text in UTF-8") in text


def test_json_is_utf_8() -> None:
    for other in ENCODINGS:
        content = Answer(200, TOKEN, json.dumps({"a": 1}).encode(other)).json()
        assert content == ({"a": 1} if other == "utf-8-sig" else None)


def test_an_answer_that_comes_too_slowly_shows_no_part() -> None:
    start = f"HTTP/1.1 400 No\r\nContent-Length: 100000\r\n\r\n{'some words, ' * 9} {SECRET[:-3]}".encode()
    with answering(start, rest=b" ", pause=0.05) as (port, _), Network(TOKEN, FAST) as network:
        answer = network.request("GET", f"http://127.0.0.1:{port}/", {}, None, False, 60.0, time.monotonic() + 3)
    assert answer.is_cut
    assert PIECE not in str(answer).lower()


def test_an_exception_of_the_network_is_cleaned_before_it_is_cut(stage: Stage) -> None:
    """h11 reports a bad line as a whole."""
    with answering(b"HTTP/1.1 200 OK\r\n" + b"x" * 150 + SECRET.encode() * 9 + b"\r\n\r\n") as (port, _):
        text = stage.refused(ServerError, "broke off", url=f"http://127.0.0.1:{port}")
    assert PIECE not in text.lower()


@pytest.mark.parametrize("where", ["/{}/x", "https://{}.example/x", "//{}", "{}://x", "https://[{}", "javascript:{}"])
def test_no_redirect_shows_it(stage: Stage, where: str) -> None:
    for text in (SECRET, SECRET.swapcase(), SPELLINGS["URL"]):
        stage.fail("user", status=302, headers={"Location": where.format(text)})
        shown = stage.refused(ServerError, "a redirect to ")
        assert PIECE not in shown.lower()
        assert text.lower() not in shown.lower()


# -- data that are used ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["color", "uint24", "seg", "0", "boundingBox", "mag", "sample_organization", "127.0.0.1"])
def test_a_token_that_is_a_part_of_data_changes_none(golden: Path, tmp_path: Path, word: str) -> None:
    with WkServer(tmp_path / "server", word) as server:
        Download(server, tmp_path / "here", server.add_dataset(golden / "z3_rgb")).run()
    assert_same_facts(our_facts(tmp_path / "here"), our_facts(golden / "z3_rgb"), but=["data_format"], same_shapes=False)


def test_an_upload_with_such_a_token(stage: Stage) -> None:
    for word in ("sample_organization", "localhost", "e"):
        stage.server.state.users[word] = stage.server.user
        stage.token = Token(word)
        uploaded = stage.upload(name=f"my_data_{len(word)}")
        assert stage.server.tree(uploaded.dataset_id) == {
            path.relative_to(stage.dataset).as_posix(): path.read_bytes() for path in stage.files()
        }


ECHOES: list[tuple[str, dict[str, Any] | list[Any]]] = [
    ("user", {"id": SECRET, "organization": "o"}),
    ("user", {"id": "i", "organization": f"x{SECRET}x"}),
    ("user", {"id": "i", "organization": SECRET.swapcase()}),
    ("datastores", [{"name": "d", "url": f"https://{SECRET}.example", "allowsUpload": True}]),
    ("datastores", [{"name": "d", "url": f"https://d.example/{SECRET}", "allowsUpload": True}]),
    ("folders", [{"id": SECRET, "name": "A", "parent": None}]),
]


@pytest.mark.parametrize("route, content", ECHOES)
def test_an_echo_is_not_used(stage: Stage, route: str, content: Any) -> None:
    """The request would repeat the token, and the journal would store it."""
    stage.fail(route, status=200, body=json.dumps(content), count=None)
    text = stage.refused(ServerError, "answers with data that contain the token", folder="A" if route == "folders" else None)
    assert PIECE not in text.lower()
    assert not stage.count("reserve")


def test_an_echo_beside_what_is_used_does_not_matter(stage: Stage) -> None:
    content = {"id": "i" * 24, "organization": stage.server.user.organization, "token": SECRET, SECRET: 1}
    stage.fail("user", status=200, body=json.dumps(content), count=None)
    stage.succeeds()


@pytest.mark.parametrize("place", ["name", "layer", "view", "extra", "value in an error"])
def test_a_download_does_not_store_an_echo(
    golden: Path, tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WK_TOKEN", SECRET)
    with WkServer(tmp_path / "server", SECRET) as server:
        row = server.add_dataset(golden / "z3_rgb")
        properties = json.loads(json.dumps(reading.streamed_properties(row.data_source)))
        layer = properties["dataLayers"][0]
        if place == "name":
            row.name = SECRET
        elif place == "layer":
            layer["name"] = SECRET
        elif place == "view":
            layer["defaultViewConfiguration"] = {SECRET: 1}
        elif place == "extra":
            properties["id"]["team"] = SECRET
        else:
            layer["elementClass"] = "x" * 60 + SECRET
        server.fault("zarr", body=json.dumps(properties), count=None)
        code = run_app(["download", f"{server.url}/datasets/{row.id}"])
    out, errors = capsys.readouterr()
    assert code == ServerError.exit_code, errors
    assert "answers with data that contain the token" in errors
    assert PIECE not in (out + errors).lower()
    assert not list(tmp_path.iterdir())


def test_echoes_are_found_at_any_depth() -> None:
    deep: Any = SECRET
    for _ in range(300):
        deep = {"a": [deep]}
    content = TOKEN.with_echoes({"kept": [1, None, "text"], "deep": deep})
    assert content["kept"] == [1, None, "text"]
    assert has_echo(content["deep"])
    assert not has_echo(content["kept"])
    assert TOKEN.with_echoes([f"a {SECRET} b"]) == [Echo("a *** b")]
