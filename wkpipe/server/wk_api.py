"""Questions to the server itself: user, datastores, folders, names, datasets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from wkpipe.errors import InputRefused, ServerError, one_line
from wkpipe.server.http.address import datastore_address
from wkpipe.server.versions import Versions

if TYPE_CHECKING:
    from wkpipe.server.http.answer import Answer
    from wkpipe.server.http.connection import Connection

DATASET_ID = re.compile(r"[0-9a-f]{24}")
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_LEAST_NAME = 3
_DEEPEST_FOLDER = 100


@dataclass(frozen=True)
class User:
    """The user that a token belongs to."""

    user_id: str
    organization: str


@dataclass(frozen=True)
class DatasetState:
    """The state of a dataset on a server: if it exists, if it can be viewed, and why not."""

    exists: bool
    is_usable: bool = False
    why: str = ""


def check_name(name: str) -> None:
    """Check the name of a dataset against the rules of all servers.

    Raises:
        InputRefused: it breaks a rule.
    """
    if len(name) < _LEAST_NAME or name.startswith(".") or not _NAME.fullmatch(name):
        raise InputRefused(
            f"dataset name {one_line(name, 80)!r} is not possible on a server",
            expected=f"at least {_LEAST_NAME} of A-Z a-z 0-9 _ . - and no dot in first place",
            fix="choose another one with --dataset-name",
        )


class WkApi:
    """Questions to a server, in the version that both sides support."""

    def __init__(self, connection: Connection, versions: Versions) -> None:
        self.connection = connection
        self.versions = versions

    def _get(self, what: str, path: str, query: dict[str, str] | None = None) -> Answer:
        return self.connection.ask(what, "GET", self.versions.wk(path), query=query)

    def _json(self, what: str, path: str, kind: type, query: dict[str, str] | None = None) -> Any:
        answer = self._get(what, path, query)
        content = answer.json() if answer.is_ok else None
        if not answer.is_ok:
            raise self.connection.refusal(what, answer)
        if not isinstance(content, kind):
            raise ServerError(
                f"{self.connection.base} answers with something else than expected", where=what, fix="is it a WEBKNOSSOS server?"
            )
        return content

    def user(self) -> User:
        """Return the user that the token belongs to."""
        what = "asking for the token's user"
        content = self._json(what, "user", dict)
        found = self.connection.used(what, [content.get("id"), content.get("organization")])
        if not all(isinstance(value, str) and value and value.isprintable() for value in found):
            raise ServerError(f"{self.connection.base} names no user", where=what)
        return User(*map(str, found))

    def datastore(self, wanted: str | None, allow_http: bool, otherwise: str = "") -> str:
        """Return the address of the datastore to send to: the first that accepts uploads, or the one that is `wanted`.

        `otherwise` is added to the fix if the server does not have the wanted one.

        Raises:
            ServerError: there is none, or the wanted one does not exist.
        """
        listed = self._json("asking for datastores", "datastores", list)
        stores = [store for store in listed if isinstance(store, dict) and store.get("allowsUpload") is True and store.get("url")]
        names = ", ".join(self._shown(f"{store.get('name')} ({store.get('url')})", 200) for store in stores)
        if not stores:
            raise ServerError(f"{self.connection.base} has no datastore that accepts uploads")
        if wanted is not None:
            key = wanted.rstrip("/")
            stores = [store for store in stores if key in (store.get("name"), str(store.get("url")).rstrip("/"))]
            if not stores:
                raise ServerError(
                    f"{self.connection.base} has no datastore {wanted} that accepts uploads", fix=f"choose one of {names}{otherwise}"
                )
        url = self.connection.used("asking for datastores", stores[0]["url"])
        return datastore_address(url, self.connection.base, allow_http, self._shown)

    def _shown(self, value: object, most: int) -> str:
        return self.connection.network.shown(value, most)

    def check_new_name(self, name: str) -> None:
        """Have the server check the name of a new dataset.

        Raises:
            InputRefused: it does not accept the name.
        """
        what = f"checking the name {name}"
        content = self._json(what, f"datasets/{quote(name, safe='')}/isValidNewName", dict)
        if content.get("isValid") is not True:
            errors = content.get("errors")
            why = "; ".join(map(str, errors)) if isinstance(errors, list) else str(errors or "no reason is given")
            raise InputRefused(
                f"{self.connection.base} does not accept the dataset name {name}: {self._shown(why, 300)}", fix="choose another one"
            )

    def folder_id(self, path: str) -> str:
        """Return the id of a folder; `path` is names with slashes, with or without that of the root.

        Raises:
            InputRefused: there is no such folder, the path is ambiguous, or the user may not write to the folder.
        """
        folders = _folders(self._json("asking for folders", "folders/tree", list))
        wanted = tuple(part for part in path.split("/") if part)
        found = [folder for folder in folders if wanted in (folder.path, folder.path[1:])]
        if not wanted or not found:
            there = self._shown(_candidates(folders, wanted), 1000)
            raise InputRefused(f"{self.connection.base} has no folder {one_line(path, 200)}", fix=f"choose one of {there}")
        if len(found) > 1:
            both = self._shown(" or ".join("/".join(folder.path) for folder in found), 1000)
            raise InputRefused(f"the folder {one_line(path, 200)} may be {both}", fix="give the whole path with the name of the root")
        if not found[0].is_editable:
            there = self._shown("/".join(found[0].path), 200)
            raise InputRefused(f"you may not add datasets to the folder {there}", fix="choose another one")
        return str(self.connection.used("asking for folders", found[0].folder_id))

    def own_datasets(self, user: User, name: str, folder_id: str | None) -> frozenset[str] | None:
        """Return the ids of the user's datasets of exactly this name; None if the server does not list them."""
        query = self._by_name(name) | {"uploaderId": user.user_id}
        if folder_id is not None:
            query["folderId"] = folder_id
        answer = self._get("asking for own datasets", "datasets", query)
        content = answer.json() if answer.is_ok else None
        return _ids_of(content, name) if isinstance(content, list) else None

    def dataset(self, dataset_id: str) -> DatasetState:
        """Return the state of a dataset.

        Raises:
            ServerError: the server does not report it.
        """
        what = f"asking for dataset {dataset_id}"
        answer = self._get(what, f"datasets/{dataset_id}")
        if answer.status == 404:
            return DatasetState(False, why="the server does not have it")
        content = answer.json() if answer.is_ok else None
        source = content.get("dataSource") if isinstance(content, dict) else None
        if not isinstance(source, dict):
            raise self.connection.refusal(what, answer)
        reason = source.get("status")
        return DatasetState(True, reason is None, self._shown(reason or "", 300))

    def place(self, dataset_id: str) -> tuple[str, object]:
        """Return the name of a dataset that can be viewed, and the address of its datastore as the server names it.

        Raises:
            ServerError: there is none, it cannot be viewed, or the server does not report it.
        """
        what = f"asking for dataset {dataset_id}"
        answer = self._get(what, f"datasets/{dataset_id}")
        if answer.status == 404:
            raise ServerError(
                f"{self.connection.base} has no dataset {dataset_id} that this token's user may see", fix="check address and token"
            )
        content = answer.json() if answer.is_ok else None
        if not isinstance(content, dict):
            raise self.connection.refusal(what, answer)
        source, store = content.get("dataSource"), content.get("dataStore")
        if not isinstance(source, dict) or not isinstance(store, dict) or not isinstance(content.get("name"), str):
            raise ServerError(
                f"{self.connection.base} answers with something else than expected", where=what, fix="is it a WEBKNOSSOS server?"
            )
        if source.get("status") is not None:
            raise ServerError(f"dataset {dataset_id} of {self.connection.base} cannot be read: {self._shown(source['status'], 300)}")
        name, url = self.connection.used(what, [content["name"], store.get("url")])
        return name, url

    def named_datasets(self, name: str) -> frozenset[str]:
        """Return the ids of all usable datasets of exactly this name that the user may see."""
        query = self._by_name(name) | {"isActive": "true"}
        return _ids_of(self._json("asking for datasets", "datasets", list, query), name)

    def _by_name(self, name: str) -> dict[str, str]:
        """Return the query for datasets whose names contain this one."""
        return {"searchQuery": name, **({"compact": "true"} if self.versions.api <= 15 else {})}

    def page(self, dataset_id: str) -> str:
        """Return the address of a dataset's page, on the server that the user named."""
        return page_of(self.connection.base, dataset_id)


def _ids_of(entries: Sequence[Any], name: str) -> frozenset[str]:
    """Return the ids of those listed datasets that have exactly this name."""
    found = [entry.get("id") for entry in entries if isinstance(entry, dict) and entry.get("name") == name]
    return frozenset(each for each in found if isinstance(each, str) and DATASET_ID.fullmatch(each))


def page_of(server: str, dataset_id: str) -> str:
    """Return the address of a dataset's page."""
    return f"{server}/datasets/{dataset_id}"


@dataclass(frozen=True)
class _Folder:
    folder_id: str
    path: tuple[str, ...]
    is_editable: bool


def _folders(entries: list[Any]) -> list[_Folder]:
    known = {
        entry["id"]: entry
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("id"), str) and isinstance(entry.get("name"), str)
    }
    folders = []
    for folder_id, entry in known.items():
        path: list[str] = []
        above: Any = entry
        while above is not None and len(path) < _DEEPEST_FOLDER:
            path.insert(0, above["name"])
            parent = above.get("parent")
            above = known.get(parent) if isinstance(parent, str) else None
        folders.append(_Folder(folder_id, tuple(path), entry.get("isEditable") is not False))
    return folders


def _candidates(folders: Sequence[_Folder], wanted: tuple[str, ...]) -> str:
    """Return the names of folders that could be meant by one that was not found."""
    parents = [folder.path for folder in folders if wanted[:-1] in (folder.path, folder.path[1:])]
    beside = ["/".join(folder.path) for folder in folders if folder.path[:-1] in parents]
    names = sorted(beside or ["/".join(folder.path) for folder in folders])
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"{', '.join(names[:20])}{more}"
