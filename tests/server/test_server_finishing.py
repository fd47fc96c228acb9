"""The test server's rules for finishing and cancelling uploads, and its list of datasets."""

from __future__ import annotations

import io
import json
import time
import zipfile

import pytest

from tests.server.raw_client import JSON_FILE, SOME_ID, TREE, UPLOAD, Client, error_of
from tests.server.wk_server import WkServer

# -- 7. finish ----------------------------------------------------------------------------------------


def test_finish_moves_the_files_and_deletes_what_nothing_names(server: WkServer, client: Client) -> None:
    tree = TREE | {"zarr.json": b"{}", "color/zarr.json": b"{}", "notes.txt": b"n", ".wkpipe/journal": b"j"}
    answer = client.upload(tree, total=sum(map(len, tree.values())))
    dataset_id = answer.json()["datasetId"]
    assert answer.json() == {"datasetId": dataset_id}
    assert server.tree() == TREE
    assert not server.state.upload_directory("u1").exists()
    info = client.wk(f"/api/v16/datasets/{dataset_id}").json()
    assert (info["isActive"], info["name"], "status" in info["dataSource"]) == (True, "my_data", False)
    assert client.get(f"/data/v15/zarr/{dataset_id}/{JSON_FILE}").json()["dataLayers"][0]["name"] == "color"
    assert client.finish().status_code == client.chunk("a", b"a").status_code == client.get(UPLOAD).status_code == 400
    client.reserve()
    assert len(server.datasets) == 2, "the id is unknown again"


def test_finish_without_what_was_reserved_changes_nothing(server: WkServer, client: Client) -> None:
    assert client.finish("other").status_code == 400
    client.reserve(files=3)
    assert "no files" in error_of(client.finish())
    client.chunk(JSON_FILE, TREE[JSON_FILE])
    client.chunk("color/1/zarr.json", b"{}")
    assert "(2 vs 3)" in error_of(client.finish())
    client.chunk("color/1/c/0/0/0/0", b"ab", 1, count=2, size=2)
    assert "1 of 2 chunks" in error_of(client.finish())
    client.chunk("color/1/c/0/0/0/0", b"c", 2, count=2, size=2)
    client.chunk("color/1/c/0/0/0/1", b"c")
    assert "(4 vs 3)" in error_of(client.finish())
    assert len(server.datasets) == len(server.state.uploads) == 1


def test_finish_deletes_an_upload_that_is_too_large_before_it_looks_for_missing_chunks(server: WkServer, client: Client) -> None:
    client.reserve(files=9, total=10)
    client.chunk("a", bytes(11))
    assert "More bytes than reserved" in error_of(client.finish())
    assert not server.datasets
    assert not server.state.uploads
    assert not server.state.upload_directory("u1").exists()


@pytest.mark.parametrize(
    "path", ["/etc/data", "../other", "color/../../x", "https://127.0.0.1/x"],
)  # fmt: skip
def test_finish_deletes_a_dataset_whose_paths_lead_out(server: WkServer, client: Client, path: str) -> None:
    properties = json.loads(TREE[JSON_FILE])
    properties["dataLayers"][0]["mags"][0]["path"] = path
    answer = client.upload(TREE | {JSON_FILE: json.dumps(properties).encode()})
    assert (answer.status_code, server.datasets, list(server.state.uploads)) == (400, [], [])
    assert not [path for path in server.state.directory.rglob("*") if path.is_file()]


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}"])
def test_finish_deletes_a_dataset_whose_properties_can_not_be_read(server: WkServer, client: Client, content: bytes) -> None:
    assert client.upload(TREE | {JSON_FILE: content}).status_code == 400
    assert not server.datasets


def test_finish_leaves_an_unusable_row_where_the_properties_make_no_dataset(server: WkServer, client: Client) -> None:
    properties = json.loads(TREE[JSON_FILE])
    properties["dataLayers"][0]["category"] = "sound"
    assert client.upload(TREE | {JSON_FILE: json.dumps(properties).encode()}).status_code == 400
    assert [dataset.properties for dataset in server.datasets] == [None]
    assert not server.state.uploads


def test_finish_removes_the_record_before_the_dataset_is_usable(server: WkServer, client: Client) -> None:
    server.settings.post_processing = 3.0
    server.fault("finish", status=504, meanwhile=True)
    assert client.upload(TREE).status_code == 504
    dataset_id = server.datasets[0].id
    deadline = time.monotonic() + 200
    while client.test("color/1/zarr.json") != 400:
        assert time.monotonic() < deadline
    assert "status" in client.wk(f"/api/v16/datasets/{dataset_id}").json()["dataSource"]
    while "status" in client.wk(f"/api/v16/datasets/{dataset_id}").json()["dataSource"]:
        assert time.monotonic() < deadline
    assert server.tree() == TREE


def test_finish_strips_what_all_files_have_in_common(server: WkServer, client: Client) -> None:
    client.upload({f"my/data/{path}": content for path, content in TREE.items()})
    assert server.tree() == TREE


def test_finish_unpacks_an_archive(server: WkServer, client: Client) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for path, content in (TREE | {".hidden": b"h"}).items():
            file.writestr(f"data/{path}", content)
    client.upload({"data.zip": archive.getvalue()})
    assert server.tree() == TREE


# -- 8. cancel, unfinished uploads, list of datasets ----------------------------------------------------


def cancel(client: Client, query: str | None, body: str | None) -> int:
    params = {} if query is None else {"uploadId": query}
    return client.post(f"{UPLOAD}/cancelUpload", params=params, json={} if body is None else {"uploadId": body}).status_code


def test_cancel_deletes_all_where_that_is_allowed(server: WkServer, client: Client) -> None:
    client.reserve()
    client.chunk("a", b"a")
    server.settings.deletion_allowed = False
    assert cancel(client, "u1", "u1") == 403
    server.settings.deletion_allowed = True
    server.user.is_admin = False
    assert cancel(client, "u1", "u1") == 403
    server.user.is_admin = True
    assert client.test("a") == 200
    assert cancel(client, "u1", None) == cancel(client, "u1", "u2") == cancel(client, "u2", "u2") == 400
    assert cancel(client, "u1", "u1") == 200
    assert not server.datasets
    assert not server.state.upload_directory("u1").exists()
    assert cancel(client, "u1", "u1") == 400


def test_unfinished_uploads_are_the_users_own(server: WkServer, client: Client) -> None:
    client.reserve(info={"filePaths": ["a", "b"]})
    path = f"{UPLOAD}/unfinishedUploads"
    (found,) = client.get(path, params={"organizationName": "sample_organization"}).json()
    assert (found["uploadId"], found["datasetName"], found["filePaths"], found["allowedTeams"]) == ("u1", "my_data", ["a", "b"], [])
    server.settings.quoted_ids = True
    assert client.get(path, params={"organizationName": "sample_organization"}).json()[0]["uploadId"] == '"u1"'
    assert client.get(path).status_code == 400
    assert client.get(path, params={"organizationName": "other"}).status_code == 403
    server.add_user("second")
    client.http.headers["X-Auth-Token"] = "second"
    assert client.get(path, params={"organizationName": "sample_organization"}).json() == []


def test_the_list_of_datasets(server: WkServer, client: Client) -> None:
    client.upload(TREE)
    client.reserve("u2")
    newer, older = client.wk("/api/v16/datasets", params={"uploaderId": server.user.id, "searchQuery": "MY_d"}).json()
    assert (newer["status"], older["status"]) == ("not yet fully uploaded", "")
    assert (newer["isActive"], older["isActive"]) == (False, True)
    assert "dataSource" in client.wk("/api/v15/datasets").json()[0]
    assert "dataSource" not in client.wk("/api/v15/datasets", params={"compact": "true"}).json()[0]
    for other in ({"uploaderId": SOME_ID}, {"searchQuery": "your"}, {"folderId": SOME_ID}):
        assert client.wk("/api/v16/datasets", params=other).json() == []
    assert client.http.delete(f"{server.url}/api/v16/datasets/{older['id']}").status_code == 200
    assert client.wk(f"/api/v16/datasets/{older['id']}").status_code == 404
    server.add_user("elsewhere", organization="other")
    client.http.headers["X-Auth-Token"] = "elsewhere"
    assert client.wk(f"/api/v16/datasets/{newer['id']}").status_code == 404
