"""The server: its origins, its way from a request to an answer, and the interface for tests."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.server.wk_server import finishing, reading, reception, webknossos
from tests.server.wk_server.faults import COMMON_KINDS, Fault, Faults
from tests.server.wk_server.log import Entry, Log
from tests.server.wk_server.multipart import Multipart
from tests.server.wk_server.refusals import Refused, json_body
from tests.server.wk_server.routes import OPEN, Route, route_of
from tests.server.wk_server.state import Dataset, Folder, Settings, State, User
from tests.server.wk_server.wire import Answer, BadRequest, HangUp, Listener, Request


class WkServer:
    """A WEBKNOSSOS server and its datastore, on two ports of 127.0.0.1, and a third port that must get no requests."""

    def __init__(self, directory: Path, token: str = "", **settings: Any) -> None:
        """`settings` are the fields of Settings. `directory` is for uploads under way and the datasets' final trees."""
        self.settings = Settings(**settings)
        self.state = State(directory, self.settings)
        self.token = token or secrets.token_urlsafe(24)
        self.user = User()
        self.state.users[self.token] = self.user
        self._old_tokens: set[str] = set()
        self.faults = Faults()
        self._log = Log()
        self._ended = threading.Event()
        self._wk = Listener(lambda request: self._answer("wk", request))
        self._datastore = Listener(lambda request: self._answer("datastore", request))
        self._foreign = Listener(self._answer_foreign)

    # -- life ---------------------------------------------------------------------------------------------------------

    def __enter__(self) -> WkServer:
        for listener in (self._wk, self._datastore, self._foreign):
            listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for listener in (self._wk, self._datastore, self._foreign):
            listener.stop()

    def stop_datastore(self) -> None:
        """Close the datastore's port and connections; it keeps its records and files."""
        self._datastore.stop()

    def start_datastore(self) -> None:
        self._datastore.start()

    def move_datastore(self) -> None:
        """Have the datastore listen on another port from now on."""
        self._datastore.stop()
        self._datastore.port = 0
        self._datastore.start()

    @property
    def url(self) -> str:
        """The origin of WEBKNOSSOS, as a user gives it."""
        return self._wk.url

    @property
    def datastore_url(self) -> str:
        return self._datastore.url

    @property
    def foreign_url(self) -> str:
        """An origin that belongs to neither; every request there is a problem."""
        return self._foreign.url

    # -- for tests to set ---------------------------------------------------------------------------------------------

    def fault(self, route: str, **what: Any) -> Fault:
        """Add a fault; the arguments are the fields of Fault."""
        fault = Fault(route, **what)
        self.faults.add(fault)
        return fault

    def random_faults(
        self, probability: float, seed: int, kinds: list[dict[str, Any]] | None = None, routes: tuple[str, ...] = ("*",)
    ) -> None:
        """Make requests of the routes fail at random, in one of the kinds (arguments of Fault; default: COMMON_KINDS)."""
        self.faults.at_random(probability, seed, COMMON_KINDS if kinds is None else kinds, routes)

    def renew_token(self) -> str:
        """Let the token expire and return the same user's new one."""
        del self.state.users[self.token]
        self._old_tokens.add(self.token)
        self.token = secrets.token_urlsafe(24)
        self.state.users[self.token] = self.user
        return self.token

    def add_user(self, token: str, **fields: Any) -> User:
        """Add another user; the arguments are the fields of User."""
        self.state.users[token] = User(**fields)
        return self.state.users[token]

    def add_folder(self, path: str, is_editable: bool = True) -> Folder:
        """Add a folder, and those above it, by its path below the root."""
        return self.state.add_folder(path, is_editable)

    def add_dataset(self, path: Path | str, name: str = "") -> Dataset:
        """Serve a dataset on the disk, in place."""
        path = Path(path)
        dataset = Dataset(name or path.name, self.user.organization, self.state.root.id, self.user.id, path=path)
        dataset.properties = reading.properties_of(path)
        self.state.datasets[dataset.id] = dataset
        return dataset

    # -- for tests to see ---------------------------------------------------------------------------------------------

    @property
    def log(self) -> list[Entry]:
        return self._log.entries

    def requests(self, *routes: str) -> list[Entry]:
        """Return the requests of some routes, or all."""
        return [entry for entry in self._log.entries if not routes or entry.route in routes]

    @property
    def problems(self) -> list[str]:
        return self._log.problems

    @property
    def chunk_bytes(self) -> int:
        """Bytes of files that arrived, in all attempts."""
        return self._log.chunk_bytes

    @property
    def most_chunks_in_flight(self) -> int:
        return self._log.most_chunks_in_flight

    @property
    def datasets(self) -> list[Dataset]:
        """All datasets' rows, usable or not, in the order in which they were made."""
        return list(self.state.datasets.values())

    def tree(self, dataset: Dataset | str | None = None) -> dict[str, bytes]:
        """Return a dataset's files by their path at the end of its upload; by default those of the only dataset."""
        if dataset is None:
            (dataset,) = self.datasets
        found = self.state.datasets[dataset] if isinstance(dataset, str) else dataset
        assert found.path is not None, f"dataset {found.id} has no files yet"
        return {path.relative_to(found.path).as_posix(): path.read_bytes() for path in sorted(found.path.rglob("*")) if path.is_file()}

    def report(self) -> dict[str, Any]:
        """Return all records as plain values, without the token."""
        return {
            "problems": self.problems,
            "chunk_bytes": self.chunk_bytes,
            "most_chunks_in_flight": self.most_chunks_in_flight,
            "datasets": [
                {"id": d.id, "name": d.name, "folder": d.folder, "path": d.path and str(d.path), "usable": d.properties is not None}
                for d in self.datasets
            ],
            "requests": [entry.facts() for entry in self.log],
        }

    def check(self) -> None:
        """Fail if the client broke a rule, or the server has a defect."""
        assert not self.problems, "\n".join(self.problems)

    # -- from a request to an answer ----------------------------------------------------------------------------------

    def _answer(self, origin: str, request: Request) -> Answer:
        route: Route | Refused
        try:
            route = route_of(origin, request.method, request.path, self.settings)
            name = route.name
        except Refused as refused:
            route, name = refused, "unknown"
        with self._log.entry(origin, name, request) as entry:
            self._look_for_tokens(entry, request)
            try:
                if isinstance(route, Refused):
                    raise route
                answer = self._routed(entry, route, request)
            except Refused as refused:
                answer = refused.answer
            except (HangUp, OSError, BadRequest):
                raise
            except Exception as error:
                self._log.problem(f"the test server failed at {request.method} {request.path}: {error!r}")
                answer = Answer.error(500, repr(error))
            entry.status = answer.status
            return answer

    def _answer_foreign(self, request: Request) -> Answer:
        with self._log.entry("foreign", "foreign", request) as entry:
            with_token = " with the token" if request.headers.get("x-auth-token") else ""
            self._log.problem(f"a request went to a foreign origin{with_token}: {request.method} {request.path}")
            self._look_for_tokens(entry, request)
            entry.status = 404
            return Answer.error(404, "nobody is here")

    def _look_for_tokens(self, entry: Entry, request: Request) -> None:
        """Report a problem if the token is anywhere but in its header."""
        tokens = [*self.state.users, *self._old_tokens]
        elsewhere = {name: value for name, value in request.headers.items() if name != "x-auth-token"}
        if "token" in request.query or any(token in text for token in tokens for text in (request.target, *elsewhere.values())):
            self._log.problem(f"the token is in the address or a wrong header: {entry.method} {entry.path}")

    def _routed(self, entry: Entry, route: Route, request: Request) -> Answer:
        if request.body.length > self.settings.max_request_bytes:
            return Answer(413, b"<html><h1>413 Request Entity Too Large</h1></html>", "text/html", close=True)
        if route.name != "chunk":
            return self._with_faults(entry, request, lambda: self._perform(entry, route, request))
        form = Multipart(request)
        form.find_file()
        with self._log.chunk(entry, request, form):
            return self._with_faults(entry, request, lambda: reception.receive(self.state, self._owner(entry, route, request), form))

    def _with_faults(self, entry: Entry, request: Request, perform: Callable[[], Answer]) -> Answer:
        fault = self.faults.pick(entry.route, entry.subject)
        if fault is None:
            entry.performed = True
            return perform()
        entry.fault = repr(fault)
        self._ended.wait(fault.delay)
        if not fault.replaces_answer:
            entry.performed = True
            return _spoiled(fault, perform())
        if fault.meanwhile:
            entry.performed = True
            request.content()
            threading.Thread(target=lambda: _quietly(perform), daemon=True).start()
        elif fault.performed:
            entry.performed = True
            _quietly(perform)
        return self._misbehaved(fault, request)

    def _misbehaved(self, fault: Fault, request: Request) -> Answer:
        if fault.close:
            raise HangUp
        if fault.close_at is not None:
            for _ in request.body.pieces(fault.close_at):
                pass
            raise HangUp
        if fault.stall is not None:
            left = fault.stall
            while left > 0 and not request.peer_is_gone() and not self._ended.wait(min(left, 0.05)):
                left -= 0.05
            raise HangUp
        if fault.redirect is not None:
            headers = {"Location": fault.redirect or self.foreign_url + request.target}
            return Answer(307, headers=headers)
        assert fault.status is not None
        answer = _spoiled(fault, Answer.error(fault.status, f"injected {fault.status}"))
        answer.headers, answer.close = fault.headers or {}, fault.early
        return answer

    def _owner(self, entry: Entry, route: Route, request: Request) -> User:
        """Return the user whose token the request has; a token in the query wins over the header."""
        token = request.query.get("token", [request.headers.get("x-auth-token", "")])[0]
        owner = self.state.users.get(token)
        if owner is None and entry.origin == "datastore":
            raise Refused(403, Answer(403, b"Token may be expired. Please reload the page."))
        if owner is None:
            raise Refused(401, "You are not authorized. Please log in.")
        return owner

    def _perform(self, entry: Entry, route: Route, request: Request) -> Answer:
        state = self.state
        owner = User() if route.name in OPEN else self._owner(entry, route, request)
        match route.name:
            case "buildinfo":
                return webknossos.buildinfo(state)
            case "datastores":
                return webknossos.datastores(state, self.datastore_url, self.foreign_url)
            case "user":
                return webknossos.user(owner)
            case "folders":
                return webknossos.folders(state)
            case "root_folder":
                return webknossos.root_folder(state)
            case "name":
                return webknossos.name(route)
            case "datasets":
                return webknossos.datasets(state, owner, route, request, self.datastore_url)
            case "dataset":
                return webknossos.dataset(state, owner, route, self.datastore_url)
            case "delete":
                return webknossos.delete(state, owner, route)
            case "reserve":
                entry.json = body = json_body(request)
                return reception.reserve(state, owner, body, route.legacy)
            case "test":
                return reception.is_there(state, owner, request)
            case "finish":
                return self._finish(entry, owner, route, request)
            case "cancel":
                entry.json = body = json_body(request)
                return finishing.cancel(state, owner, request.query, body)
            case "unfinished":
                return finishing.unfinished(state, owner, request.query.get("organizationName", [None])[0])
            case "zarr":
                return reading.zarr_file(state, owner, *route.parts)
            case "data":
                return reading.data(state, owner, *route.parts, request)
        raise AssertionError(route.name)

    def _finish(self, entry: Entry, owner: User, route: Route, request: Request) -> Answer:
        if route.legacy:
            entry.json = json_body(request)
        upload_id = (entry.json if route.legacy else {key: values[0] for key, values in request.query.items()}).get("uploadId")
        if not isinstance(upload_id, str):
            raise Refused(400, "Missing parameter: uploadId")
        dataset_id = finishing.finish(self.state, owner, upload_id, self._ended.wait)
        return Answer.json({"newDatasetId" if route.legacy else "datasetId": dataset_id})


def _quietly(perform: Callable[[], Answer]) -> None:
    with contextlib.suppress(Refused):
        perform()


def _spoiled(fault: Fault, answer: Answer) -> Answer:
    if fault.content_type is not None:
        answer.content_type = fault.content_type
    if fault.body is not None:
        answer.body = fault.body if isinstance(fault.body, bytes) else fault.body.encode()
    if fault.truncate:
        answer.body = answer.body[: len(answer.body) // 2]
    if fault.cut:
        answer.cut = len(answer.body) // 2
    return answer
