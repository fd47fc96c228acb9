"""Find the route of a request, by version.

Routes of WEBKNOSSOS: buildinfo, user, datastores, name, folders, root_folder, datasets, dataset, delete.
Routes of the datastore: reserve, chunk, test, finish, cancel, unfinished, zarr, data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.server.wk_server.refusals import Refused
from tests.server.wk_server.state import Settings

WK = [
    ("GET", r"buildinfo", "buildinfo"),
    ("GET", r"user", "user"),
    ("GET", r"datastores", "datastores"),
    ("GET", r"datasets/([^/]+)/isValidNewName", "name"),
    ("GET", r"folders/tree", "folders"),
    ("GET", r"folders/root", "root_folder"),
    ("GET", r"datasets", "datasets"),
    ("GET", r"datasets/([0-9a-f]{24})", "dataset"),
    ("DELETE", r"datasets/([0-9a-f]{24})", "delete"),
]
UPLOAD = "datasets/upload/dataset"
MODERN = [
    ("POST", rf"{UPLOAD}/reserveUpload", "reserve"),
    ("POST", UPLOAD, "chunk"),
    ("GET", UPLOAD, "test"),
    ("POST", rf"{UPLOAD}/finishUpload", "finish"),
    ("POST", rf"{UPLOAD}/cancelUpload", "cancel"),
    ("GET", rf"{UPLOAD}/unfinishedUploads", "unfinished"),
]
LEGACY = [
    ("POST", r"datasets/reserveUpload", "reserve"),
    ("POST", r"datasets", "chunk"),
    ("GET", r"datasets", "test"),
    ("POST", r"datasets/finishUpload", "finish"),
    ("GET", r"datasets/unfinishedUploads", "unfinished"),
]
WITHOUT_VERSION = [("POST", r"datasets", "chunk"), ("GET", r"datasets", "test")]
LEGACY_CANCEL = ("POST", r"datasets/cancelUpload", "cancel")  # of old servers only
READING = [
    ("GET", r"zarr/([0-9a-f]{24})/(.+)", "zarr"),
    ("HEAD", r"zarr/([0-9a-f]{24})/(.+)", "zarr"),
    ("GET", r"datasets/([0-9a-f]{24})/layers/([^/]+)/data", "data"),
]

OPEN = ("buildinfo", "datastores")  # need no token


@dataclass
class Route:
    name: str
    version: int | None
    parts: tuple[str, ...] = ()
    legacy: bool = False


def route_of(origin: str, method: str, path: str, settings: Settings) -> Route:
    """Return a request's route; raise Refused if this server has no such route."""
    matched = re.fullmatch(rf"/{'api' if origin == 'wk' else 'data'}(?:/v(\d+))?/(.+)", path)
    if matched is None:
        raise Refused(404, f"no such route: {method} {path}")
    version, rest = int(matched[1]) if matched[1] else None, matched[2]
    newest = settings.current_api if origin == "wk" else settings.datastore_api
    if version is not None and not settings.oldest_api <= version <= newest:
        raise Refused(400, f"This server supports the API versions {settings.oldest_api} to {newest}, not {version}.")
    for route_method, pattern, name in _table(origin, version, settings):
        if route_method == method and (found := re.fullmatch(pattern, rest)):
            legacy = origin == "datastore" and not rest.startswith(UPLOAD)
            return Route(name, version, found.groups(), legacy)
    raise Refused(404, f"no such route: {method} {path}")


def _table(origin: str, version: int | None, settings: Settings) -> list[tuple[str, str, str]]:
    old_server = settings.legacy_only or settings.current_api <= 13
    if origin == "wk":
        return WK if version is not None else WK[:1]
    if version is None:
        return [*WITHOUT_VERSION, *([LEGACY_CANCEL] if old_server else [])]
    if version <= 13:
        return [*LEGACY, *READING, *([LEGACY_CANCEL] if old_server else [])]
    return [*MODERN, *READING]
