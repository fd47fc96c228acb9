"""A WEBKNOSSOS server for tests: real HTTP, the rules of the real one, and faults on demand.

    with WkServer(tmp_path / "server") as server:
        ...  # let a client upload to server.url with server.token
        server.check()  # fails if the client broke a rule

To make it: `WkServer(directory, token="", **settings)`; settings are the fields of `Settings` (`current_api=13, legacy_only=True`
is an old server; `quota_bytes`, `deletion_allowed`, `max_request_bytes` (413), `post_processing` (seconds), `keep="small"` for benches, …)
and may be changed at `server.settings` at any time.

For tests to set:
    server.fault("chunk", status=503, count=2, skip=1, headers={"Retry-After": "1"})      see `Fault` for all kinds of failure
    server.fault("chunk", where="color/1/c/0/0/0/0#1", close=True, performed=True)        the chunk is stored, its answer lost
    server.fault("finish", status=504, meanwhile=True)                                    a proxy gives up, the server continues
    server.random_faults(0.3, seed=1, routes=("reserve", "chunk", "finish"))              each request, with this probability
    server.faults.clear() · server.renew_token() · server.add_user(token, is_admin=False) · server.add_folder("A/B", is_editable=False)
    server.add_dataset(path)                                                              to be read, as after an upload
    server.stop_datastore() · server.start_datastore()                                    a restart

For tests to see:
    server.url · server.token · server.user · server.datastore_url · server.foreign_url
    server.requests("chunk") -> list[Entry]     (route, method, path, query, headers, json, multipart, subject, status, performed, fault)
    server.datasets -> rows (id, name, folder, properties or None while unusable) · server.tree() -> {path: bytes} of a finished upload
    server.problems · server.check() · server.chunk_bytes · server.most_chunks_in_flight · server.faults.happened · server.report()

Routes (`routes.py`): buildinfo user datastores name folders root_folder datasets dataset delete,
reserve chunk test finish cancel unfinished, zarr data.

Problems are: a token in an address or a wrong header, any request to a foreign origin (the datastore that accepts no uploads, the target
of redirects), the same chunk under way twice, a defect of this server.

In its own process, for benches: `with ServerProcess(directory, keep="small") as server: … server.ask("fault", "chunk", status=503)`,
`server.ask("report")`, `server.ask("chunk_bytes")`, `server.check()`.
"""

from tests.server.wk_server.faults import COMMON_KINDS, Fault
from tests.server.wk_server.log import Entry
from tests.server.wk_server.process import ServerProcess
from tests.server.wk_server.server import WkServer
from tests.server.wk_server.state import Dataset, Settings, User

__all__ = ["COMMON_KINDS", "Dataset", "Entry", "Fault", "ServerProcess", "Settings", "User", "WkServer"]
