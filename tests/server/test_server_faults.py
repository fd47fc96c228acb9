"""The test server's faults, and its records of requests."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.server.raw_client import BOUNDARY, JSON_FILE, TREE, UPLOAD, Client, form
from tests.server.wk_server import ServerProcess, WkServer

# -- 9. faults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("performed", [False, True])
def test_a_lost_or_replaced_answer(server: WkServer, client: Client, performed: bool) -> None:
    client.reserve()
    server.fault("chunk", where="/a#", status=503, headers={"Retry-After": "7"}, performed=performed, count=1)
    server.fault("chunk", where="/b#", close=True, performed=performed)
    server.fault("chunk", where="/c#", stall=0.1, performed=performed)
    answer = client.chunk("a", b"a")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
    for file in "bc":
        with pytest.raises(httpx.RemoteProtocolError):
            client.chunk(file, b"a")
    for file in "abc":
        assert client.test(file) == (200 if performed else 204)
        assert client.chunk(file, b"a").status_code == 200
    assert [entry.status for entry in server.requests("chunk")] == [503, None, None, 200, 200, 200]
    assert [entry.performed for entry in server.requests("chunk")] == [performed] * 3 + [True] * 3
    assert len(server.faults.happened) == 3


def test_skip_count_and_delay(server: WkServer, client: Client) -> None:
    server.fault("user", skip=1, count=2, status=500)
    assert [client.wk("/api/v16/user").status_code for _ in range(5)] == [200, 500, 500, 200, 200]
    server.fault("*", count=None, status=502)
    assert [client.wk("/api/v16/user").status_code, client.wk("/api/buildinfo").status_code] == [502, 502]
    server.faults.clear()
    server.fault("user", delay=0.3)
    start = time.monotonic()
    assert client.wk("/api/v16/user").status_code == 200
    assert time.monotonic() - start >= 0.3


def test_spoiled_answers(server: WkServer, client: Client) -> None:
    for what in ({"truncate": True}, {"body": "<html>"}, {"content_type": "text/html"}, {"cut": True}, {"status": 404, "body": "gone"}):
        server.fault("user", **what)
    with pytest.raises(ValueError, match=r"delimiter|Unterminated|Expecting"):
        client.wk("/api/v16/user").json()
    assert client.wk("/api/v16/user").text == "<html>"
    assert client.wk("/api/v16/user").headers["content-type"] == "text/html"
    with pytest.raises(httpx.RemoteProtocolError):
        client.wk("/api/v16/user")
    answer = client.wk("/api/v16/user")
    assert (answer.status_code, answer.text) == (404, "gone")


def test_random_faults_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    seen = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        with WkServer(tmp_path / name) as server:
            server.random_faults(0.3, seed, [{"status": 503}, {"status": 500, "performed": True}], ("user",))
            client = Client(server)
            seen.append([client.wk("/api/v16/user").status_code for _ in range(100)])
            assert client.wk("/api/buildinfo").status_code == 200
    assert seen[0] == seen[1] != seen[2]
    assert 15 < sum(status != 200 for status in seen[0]) < 45
    assert {200, 500, 503} == set(seen[0])


def test_a_request_that_is_too_large(server: WkServer, client: Client) -> None:
    client.reserve()
    server.settings.max_request_bytes = 2000
    assert client.chunk("a", bytes(1000)).status_code == 200
    assert client.chunk("b", bytes(2000)).status_code == 413
    assert client.test("b") == 204


def test_a_restart_keeps_records_and_files(server: WkServer, client: Client) -> None:
    client.reserve()
    client.chunk("a", b"a")
    server.stop_datastore()
    with pytest.raises(httpx.TransportError):
        client.chunk("b", b"b")
    assert client.wk("/api/v16/user").status_code == 200
    server.start_datastore()
    assert (client.test("a"), client.test("b"), client.chunk("b", b"b").status_code) == (200, 204, 200)


# -- 10. the server's records ---------------------------------------------------------------------------


def test_a_chunk_twice_in_flight_is_a_problem(server: WkServer, client: Client) -> None:
    client.reserve()
    server.fault("chunk", delay=1.0, count=None)
    threads = [threading.Thread(target=client.chunk, args=("a", b"a")) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.problems == ["chunk u1/a#1 is sent twice at the same time"]


def test_an_attempt_that_the_client_gave_up_is_not_in_flight(server: WkServer, client: Client) -> None:
    client.reserve()
    server.fault("chunk", delay=100.0)  # the server's end ends it too
    with pytest.raises(httpx.ReadTimeout):
        client.http.post(
            server.datastore_url + UPLOAD,
            content=form({"resumableIdentifier": "u1/a", "resumableChunkNumber": 1}, b"a"),
            headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
            timeout=httpx.Timeout(60, read=0.2),
        )
    assert client.chunk("a", b"a").status_code == 200
    server.check()


def test_the_log_has_what_was_sent(server: WkServer, client: Client) -> None:
    client.upload(TREE)
    reserve, *chunks, finish = server.log
    assert (reserve.route, reserve.json["datasetName"], reserve.status) == ("reserve", "my_data", 200)
    assert [chunk.subject for chunk in chunks] == [f"u1/{path}#1" for path in TREE]
    assert chunks[0].multipart is not None
    assert chunks[0].multipart["file"] == {"filename": "upload", "content_type": "application/octet-stream", "length": len(TREE[JSON_FILE])}
    assert chunks[0].order[-1] == "file"
    assert (finish.query, finish.performed) == ({"uploadId": ["u1"]}, True)
    assert server.chunk_bytes == sum(map(len, TREE.values()))


def test_chunks_may_be_counted_only(tmp_path: Path) -> None:
    """As benchmarks need it: files have their size, but large chunks are not written."""
    with ServerProcess(tmp_path / "server", keep="small") as process:
        with httpx.Client(headers={"X-Auth-Token": process.token}, trust_env=False) as http:
            datastore = http.get(f"{process.url}/api/v16/datastores").json()[1]["url"]
            body = {
                "resumableUploadInfo": {"uploadId": "u1", "totalFileCount": 2},
                "datasetName": "abc",
                "organizationId": "sample_organization",
            }
            assert http.post(f"{datastore}{UPLOAD}/reserveUpload", json={**body, "initialTeamIds": []}).status_code == 200
            for path, content in ((JSON_FILE, TREE[JSON_FILE]), ("color/1/big", b"x" * 3_000_000)):
                fields = {
                    "resumableIdentifier": f"u1/{path}",
                    "resumableChunkSize": 10**7,
                    "resumableTotalChunks": 1,
                    "resumableChunkNumber": 1,
                }
                answer = http.post(
                    datastore + UPLOAD,
                    content=form({**fields, "resumableCurrentChunkSize": len(content)}, content),
                    headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
                )
                assert answer.status_code == 200
            assert http.post(f"{datastore}{UPLOAD}/finishUpload", params={"uploadId": "u1"}).status_code == 200
        (dataset,) = process.ask("report")["datasets"]
        assert dataset["usable"]
        assert (Path(dataset["path"]) / "color/1/big").stat().st_size == 3_000_000
        process.ask("fault", "user", status=503)
        assert httpx.get(f"{process.url}/api/v16/user", trust_env=False).status_code == 503
        process.check()
    assert process.process.returncode == 0
