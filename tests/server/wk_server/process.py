"""The server in its own process, so that it takes no time from the client under test.

The process reads a question as a line of JSON on its standard input and answers with one on its standard output; it ends with its parent.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from tests.server.wk_server.server import WkServer

ROOT = Path(__file__).resolve().parents[3]


class ServerProcess:
    """A server in another process. Questions are names of `WkServer`: `ask("fault", "chunk", status=503)`, `ask("report")`."""

    def __init__(self, directory: Path, token: str = "", **settings: Any) -> None:
        self._arguments = {"directory": str(directory), "token": token, **settings}

    def __enter__(self) -> ServerProcess:
        command = [sys.executable, "-m", "tests.server.wk_server", json.dumps(self._arguments)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started = self._answer()
        self.url: str = started["url"]
        self.token: str = started["token"]
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(300)

    def ask(self, name: str, *arguments: Any, **values: Any) -> Any:
        """Call a method of the server, or read an attribute, and return the result as far as JSON can express it."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([name, arguments, values]) + "\n")
        self.process.stdin.flush()
        answer = self._answer()
        if "error" in answer:
            raise AssertionError(answer["error"])
        return answer["value"]

    def check(self) -> None:
        self.ask("check")

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the test server's process has ended"
        found: dict[str, Any] = json.loads(line)
        return found


def serve(arguments: dict[str, Any], questions: IO[str], answers: IO[str]) -> None:
    """Run a server until there are no more questions."""
    directory = Path(arguments.pop("directory"))
    with WkServer(directory, **arguments) as server:
        _say(answers, {"url": server.url, "token": server.token})
        for line in questions:
            name, positional, values = json.loads(line)
            try:
                asked = getattr(server, name)
                value = asked(*positional, **values) if callable(asked) else asked
            except Exception as error:
                _say(answers, {"error": f"{type(error).__name__}: {error}"})
            else:
                _say(answers, {"value": value})


def _say(answers: IO[str], value: Any) -> None:
    answers.write(json.dumps(value, default=lambda found: vars(found) if hasattr(found, "__dict__") else str(found)) + "\n")
    answers.flush()
