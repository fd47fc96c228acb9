"""The calls of the API when an answer breaks off, or belongs to another moment than the last one, by an HTTP server that does that."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from wkpipe.cluster.backend import Away
from wkpipe.cluster.kubernetes.api import Api

ANSWER = json.dumps({"items": [{"metadata": {"name": "a"}}], "metadata": {"resourceVersion": "7"}}).encode()


class AnsweringServer(ThreadingHTTPServer):
    """Gives answers (a status, and how many bytes of the body come before the connection breaks), the last one again and again."""

    def __init__(self, answers: list[tuple[int, int | None]]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = answers


class Handler(BaseHTTPRequestHandler):
    server: AnsweringServer

    def do_GET(self) -> None:
        status, end = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.send_response(status)
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER[:end])

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(name="api")
def api_of_a_server(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    pytest.importorskip("kubernetes")
    with AnsweringServer(request.param) as server:
        configuration = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}],
            "users": [{"name": "me", "user": {}}],
        }
        file = tmp_path / "configuration"
        file.write_text(json.dumps(configuration))
        monkeypatch.setenv("KUBECONFIG", str(file))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Api()
        server.shutdown()


@pytest.mark.parametrize("api", [[(200, 10), (200, None)]], indirect=True)
def test_a_call_whose_answer_breaks_off_is_made_again(api: Api) -> None:
    assert api.listed("jobs", "a=b") == ([{"metadata": {"name": "a"}}], "7")
    assert api.calls == {"list jobs": 2}


@pytest.mark.parametrize("api", [[(200, 10)]], indirect=True)
def test_answers_that_break_off_are_no_answers(api: Api) -> None:
    for call in (lambda: api.listed("jobs", "a=b"), lambda: api.log("pod")):
        with pytest.raises(Away):
            call()


@pytest.mark.parametrize("api", [[(409, None), (404, None), (201, None)]], indirect=True)
def test_a_job_that_is_gone_when_it_is_looked_at_is_created(api: Api) -> None:
    assert api.create_job({"metadata": {"name": "a"}})["metadata"]["resourceVersion"] == "7"
    assert api.calls == {"create job": 2, "get job": 1}
