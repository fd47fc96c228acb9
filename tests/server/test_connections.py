"""How connections end: final errors end at once, the token goes nowhere else, and nothing but the token is kept."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.server.download_helpers import Download
from tests.server.test_upload_hostile import answering
from tests.server.upload_helpers import FAST, SECRET, Stage
from tests.server.wk_server import WkServer
from wkpipe.errors import ServerError, UsageError
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.server.http import policy
from wkpipe.server.http.address import datastore_address, server_address
from wkpipe.server.http.broken import NoAnswer
from wkpipe.server.http.connection import Connection
from wkpipe.server.http.network import Network
from wkpipe.server.http.token import Token
from wkpipe.server.upload.request import UploadTarget
from wkpipe.server.versions import negotiate
from wkpipe.steps.upload import upload_dataset

pytestmark = pytest.mark.sampled(every=3)

TLS = Path(__file__).parent / "data" / "tls"
PATIENT = replace(FAST, without_progress=1e6, first_pause=1e5, longest_pause=1e5)
"""With this policy a client that waits never ends, so the test notices it."""


@contextlib.contextmanager
def listening(answer: bytes, pem: Path | None = None, host: str = "127.0.0.1") -> Iterator[tuple[int, list[bytes]]]:
    """Answer every request like this, encrypted with a key and certificate; yield the port and the requests that arrived."""
    requests: list[bytes] = []
    context = None
    if pem is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with contextlib.suppress(OSError), connection:
                    connection.settimeout(30)
                    with context.wrap_socket(connection, server_side=True) if context else connection as opened:
                        requests.append(opened.recv(1 << 16))
                        opened.sendall(answer)

    with socket.create_server((host, 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], requests
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


# -- redirects ------------------------------------------------------------------------------------------------------

REDIRECTS = {
    "javascript:x": "an address that is not valid",
    "https://[::1": "an address that is not valid",
    "https://a\\x1bb": "",
    "https://a b/": "",
    "http://": "itself",
    "http://x:99999999/": "an address that is not valid",
    "mailto:a@b": "an address that is not valid",
    "": "itself",
    "/login": "itself",
    "?x": "itself",
    "//evil.example": "http://evil.example",
    "https://evil.example:8443/x": "https://evil.example:8443",
}


@pytest.mark.parametrize("status", [301, 302, 307])
@pytest.mark.parametrize("location", REDIRECTS)
def test_a_redirect_ends_it_at_once(stage: Stage, location: str, status: int) -> None:
    for route in ("buildinfo", "user", "reserve", "chunk"):
        stage.fail(route, status=status, headers={"Location": location}, count=None)
        text = stage.refused(ServerError, f"{status}, a redirect to {re.escape(REDIRECTS[location])}", policy=PATIENT)
        assert text.isprintable()
        stage.clear_faults()
    assert stage.count("buildinfo") == 4
    assert not stage.count_at("foreign")


# -- the way to a server --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "407 Proxy Authentication Required", "302 Found", "501 No"])
def test_a_proxy_that_refuses_ends_it_at_once(stage: Stage, status: str) -> None:
    with listening(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()) as (port, requests):
        text = f"the proxy refuses the connection \\({status}\\); check --proxy"
        stage.refused(ServerError, text, url="https://wk.example", proxy=f"http://127.0.0.1:{port}", policy=PATIENT)
    assert [request[:8] for request in requests] == [b"CONNECT "]
    assert SECRET.encode() not in requests[0]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_proxy_that_may_do_better_later_is_tried_again(stage: Stage, status: int) -> None:
    with listening(f"HTTP/1.1 {status} later\r\nContent-Length: 0\r\n\r\n".encode()) as (port, requests):
        stage.refused(ServerError, f"{status} later.*no progress", url="https://wk.example", proxy=f"http://127.0.0.1:{port}")
    assert len(requests) > 1


@pytest.mark.parametrize(
    "url, proxy",
    [
        ("https://no-such-host.invalid", None),
        ("http://no-such-host.localhost:1", None),
        ("https://wk.example", "http://no-such-proxy.invalid:3128"),
    ],
)
def test_a_name_that_is_not_known_ends_it_at_once(stage: Stage, url: str, proxy: str | None) -> None:
    what = "this name cannot be resolved" if proxy is None else "the name of the proxy cannot be resolved"
    stage.refused(ServerError, f"{what} .*check the address", url=url, proxy=proxy, policy=PATIENT, allow_http=True)


@pytest.mark.parametrize("url", ["https://a..b", f"https://{'a' * 64}.example"])
def test_a_name_that_cannot_be_one_ends_it_at_once(stage: Stage, url: str) -> None:
    stage.refused(ServerError, "is not an address", url=url, policy=PATIENT)


@pytest.mark.parametrize("was_reached", [False, True])
def test_a_name_that_was_known_is_asked_for_again(stage: Stage, monkeypatch: pytest.MonkeyPatch, was_reached: bool) -> None:
    """A name server that is away for a moment does not end hours of work."""

    def unknown(*_: object, **__: object) -> Any:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    url = stage.url.replace("127.0.0.1", "localhost") + "/api/buildinfo"
    with Network(stage.token, replace(FAST, was_reached=was_reached)) as network:
        ask = lambda: network.request("GET", url, {}, None, False, 5.0, time.monotonic() + 30)  # noqa: E731
        if not was_reached:
            assert ask().is_ok
            stage.fail("buildinfo", close=True)
            with pytest.raises(NoAnswer):
                ask()
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        with pytest.raises(NoAnswer, match="Temporary failure in name resolution"):
            ask()
    with Network(stage.token, FAST) as network, pytest.raises(ServerError, match="this name cannot be resolved"):
        ask()


def test_a_job_of_a_run_that_has_asked_the_server_waits_for_its_name(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with WkServer(tmp_path / "server", SECRET) as server:
        download = Download(server, tmp_path / "here", server.add_dataset(golden / "z3_rgb"))
        remote = download.plan().download
        assert remote is not None
        with remote.connected(Token(SECRET), FAST) as network:
            assert network.policy == replace(FAST, was_reached=True)


# -- certificates ---------------------------------------------------------------------------------------------------

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    "name, is_trusted, expected",
    [
        ("good", False, "certificate is not trusted .*give the certificate of its authority with --ca-file"),
        ("expired", True, "its certificate has expired; ask its administrator"),
        ("future", True, "its certificate is not valid yet; check the clock"),
        ("other", True, "its certificate is that of another"),
    ],
)
def test_a_certificate_that_is_wrong(stage: Stage, name: str, is_trusted: bool, expected: str) -> None:
    pem = TLS / f"{name}.pem"
    with listening(NOT_FOUND, pem) as (port, requests):
        url = f"https://127.0.0.1:{port}"
        text = stage.refused(ServerError, expected, url=url, ca_file=pem if is_trusted else None, policy=PATIENT)
    assert ("--ca-file" in text) is not is_trusted
    assert not requests


def test_an_authority_that_is_given_and_no_file_of_keys(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nothing"))
    with listening(NOT_FOUND, TLS / "good.pem") as (port, requests):
        stage.refused(ServerError, "answers 404 without versions", url=f"https://127.0.0.1:{port}", ca_file=TLS / "good.pem")
        proxy = f"https://127.0.0.1:{port}"
        stage.refused(ServerError, "the proxy refuses", url="https://wk.example", proxy=proxy, ca_file=TLS / "good.pem", policy=PATIENT)
    assert [request.split(b" ")[0] for request in requests] == [b"GET", b"CONNECT"]
    assert not (tmp_path / "keys").exists()


def test_a_server_that_cannot_encrypt_is_not_asked_for_long(stage: Stage) -> None:
    alert = b"\x15\x03\x03\x00\x02\x02\x28"  # fatal: handshake failure
    with answering(alert) as (port, _):
        stage.refused(ServerError, "no encrypted connection is possible", url=f"https://127.0.0.1:{port}", policy=PATIENT)


# -- this machine ---------------------------------------------------------------------------------------------------


def resolving(monkeypatch: pytest.MonkeyPatch, **names: str) -> None:
    """Make names below localhost resolve to other addresses."""
    real = socket.getaddrinfo

    def find(host: Any, port: Any, *more: Any, **others: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return real(names.get(str(name).removesuffix(".localhost"), host), port, *more, **others)

    monkeypatch.setattr(socket, "getaddrinfo", find)


def test_names_below_localhost_are_where_they_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, wk="127.0.0.1", evil="192.0.2.1", none="no-such-host.invalid")
    assert server_address("http://wk.localhost:9000", allow_http=False) == "http://wk.localhost:9000"
    assert datastore_address("http://wk.localhost", "http://localhost", allow_http=False) == "http://wk.localhost"
    for host in ("evil.localhost", "none.localhost", "a..localhost", f"{'a' * 64}.localhost"):
        with pytest.raises(UsageError, match="is not encrypted"):
            server_address(f"http://{host}", allow_http=False)
        with pytest.raises(ServerError, match="the token is not sent there"):
            datastore_address(f"http://{host}", "http://localhost", allow_http=False)
        assert server_address(f"http://{host}", allow_http=True)


def own_address() -> str:
    """Return an address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # sends nothing
        return str(probe.getsockname()[0])
    return "127.0.0.1"


@pytest.mark.skipif(own_address().startswith("127."), reason="this machine has no other address than loopback")
def test_a_name_that_leads_elsewhere_when_it_is_used(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server may answer the check and the request differently."""
    with listening(NOT_FOUND, host=own_address()) as (port, requests):
        resolving(monkeypatch, wk="127.0.0.1")
        url = server_address(f"http://wk.localhost:{port}", allow_http=False)
        monkeypatch.undo()
        resolving(monkeypatch, wk=own_address())
        for allow_http, expected in ((False, "leads to another machine: the token is not sent"), (True, "404 without versions")):
            with Network(stage.token, PATIENT, allow_http=allow_http) as network, pytest.raises(ServerError, match=expected):
                negotiate(Connection(network, url))
    assert [request.split(b" ")[0] for request in requests if request] == [b"GET"]


def test_the_user_decides_on_unencrypted_servers_elsewhere(stage: Stage, golden: Path, tmp_path: Path) -> None:
    for allow_http in (True, False):
        with UploadTarget.of(stage.request(allow_http=allow_http)).network(stage.token, FAST) as network:
            assert network.allow_http is allow_http
    with WkServer(tmp_path / "server", SECRET) as server:
        download = Download(server, tmp_path / "here", server.add_dataset(golden / "z3_rgb"))
        for allow_http in (True, False):
            remote = download.plan(allow_http=allow_http).download
            assert remote is not None
            with type(remote).from_json(remote.to_json()).connected(Token(SECRET)) as network:
                assert network.allow_http is allow_http


# -- addresses ------------------------------------------------------------------------------------------------------

ODD_ADDRESSES = [
    *("https://a b", "https://a\tb", "https://a\r\nX: y", "https://a\x00b", "https://a\x1b", "https://a/\r\n", "https://a\\b"),
    *("https://a\u200bb", "https://a\u2028b", "https://a:0", "http://evil.example\\.localhost"),
]


@pytest.mark.parametrize("url", ODD_ADDRESSES)
def test_addresses_that_are_read_in_several_ways_are_refused(stage: Stage, url: str) -> None:
    if url == url.strip():  # a user may paste blanks around the address
        with pytest.raises(UsageError, match="is not an address"):
            server_address(url, allow_http=False)
    with pytest.raises(ServerError, match="not an address that the token is sent to"):
        datastore_address(url, "https://wk.example", allow_http=False)
    stage.fail("datastores", status=200, body=f'[{{"name": "d", "url": {json.dumps(url)}, "allowsUpload": true}}]', count=None)
    text = stage.refused(ServerError, "not an address that the token is sent to", policy=PATIENT)
    assert text.isprintable()


# -- nothing is kept, and what counts as data -----------------------------------------------------------------------


def test_cookies_are_not_kept(stage: Stage) -> None:
    for route in ("buildinfo", "user", "reserve", "chunk"):
        stage.fail(route, status=503, headers={"Set-Cookie": "wk=1; Path=/"})
    stage.succeeds()
    assert not [entry for entry in stage.server.log if "cookie" in entry.headers]
    assert {entry.headers.get("accept-encoding") for entry in stage.server.log} == {"identity"}
    assert {entry.headers.get("user-agent") for entry in stage.server.log} == {"wkpipe"}


@pytest.mark.parametrize("coding", ["gzip", "br", "X-y"])
def test_voxels_in_a_coding_are_none(golden: Path, tmp_path: Path, coding: str) -> None:
    values = {"ignore_disk_space": True, "download_mags": ["1"]}
    with WkServer(tmp_path / "server", SECRET) as server:
        download = Download(server, tmp_path / "here", server.add_dataset(golden / "z3_rgb"), values)
        answer = {"body": b"x" * 23166, "content_type": "application/octet-stream"}
        server.fault("data", status=200, count=None, headers={"Content-Encoding": coding}, **answer)
        with pytest.raises(ServerError, match="answers with 23166 bytes in a Content-Encoding that was not requested"):
            download.run()
        server.faults.clear()
        server.fault("data", status=200, count=None, headers={"Content-Encoding": "identity"}, **answer)
        download.run()


@pytest.mark.parametrize("versions", [(13, 10**4000), (-(10**4000), 16), (13, -1), (-1, 16)])
def test_versions_that_no_server_has(stage: Stage, versions: tuple[int, int]) -> None:
    body = f'{{"httpApiVersioning": {{"oldestSupportedApiVersion": {versions[0]}, "currentApiVersion": {versions[1]}}}}}'
    stage.fail("buildinfo", status=200, body=body)
    assert len(stage.refused(ServerError, "answers 200 without versions")) < 300


def test_a_datastore_that_has_moved(stage: Stage) -> None:
    stage.fail("chunk", skip=3, count=None, status=404)
    stage.refused(ServerError, "injected 404")
    stage.clear_faults()
    stage.server.move_datastore()
    stage.refused(ServerError, "has no datastore http://.*; choose one of .*if its address has changed, pass --again")
    stage.succeeds(again=True)


@pytest.mark.parametrize("others", [0, 3])
def test_an_upload_after_other_tasks_has_asked_the_server_before(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    """Its job waits for a name server that is away; an upload without earlier tasks asks first, and ends at once."""
    values = {"target": str(stage.dataset), "webknossos_url": "http://no-such-host.localhost:1", "allow_http": True}
    plan = make_plan(load_config({**values, "dataset_name": "my_data"}, "test"), Sizing.local(2))
    (task,) = plan.tasks
    plan = replace(plan, tasks=(replace(task, inputs=tuple(f"other {i}" for i in range(others))),))
    monkeypatch.setattr(policy, "Policy", lambda **more: replace(FAST, **more))
    with pytest.raises(ServerError, match="no progress for" if others else "this name cannot be resolved"):
        upload_dataset(plan, tmp_path, Token(SECRET))
