"""The answers of the WEBKNOSSOS origin: versions, the user, folders, datasets."""

from __future__ import annotations

import shutil
from typing import Any
from urllib.parse import unquote

from tests.server.wk_server.refusals import Refused, name_errors
from tests.server.wk_server.routes import Route
from tests.server.wk_server.state import Dataset, Folder, State, User
from tests.server.wk_server.wire import Answer, Request


def buildinfo(state: State) -> Answer:
    settings = state.settings
    return Answer.json(
        {
            "webknossos": {"name": "webknossos", "version": "test"},
            "schemaVersion": 160,
            "httpApiVersioning": {"currentApiVersion": settings.current_api, "oldestSupportedApiVersion": settings.oldest_api},
            "localDataStoreEnabled": True,
            "localTracingStoreEnabled": True,
        }
    )


def datastores(state: State, url: str, foreign_url: str) -> Answer:
    """List a datastore that accepts no uploads (at the foreign origin, which must get no requests), then the real one."""
    listed = state.settings.datastores
    found = [] if listed == "none" else [_datastore("readonly", foreign_url, False)]
    return Answer.json([*found, *([_datastore("localhost", url, True)] if listed == "both" else [])])


def _datastore(name: str, url: str, allows_upload: bool) -> dict[str, Any]:
    return {
        "name": name,
        "url": url,
        "allowsUpload": allows_upload,
        "isScratch": False,
        "jobsSupportedByAvailableWorkers": [],
        "jobsEnabled": False,
    }


def user(owner: User) -> Answer:
    return Answer.json(
        {
            "id": owner.id,
            "email": "user@example.org",
            "firstName": "U",
            "lastName": "S",
            "isAdmin": owner.is_admin,
            "isOrganizationOwner": owner.is_admin,
            "isDatasetManager": owner.is_dataset_manager,
            "isActive": True,
            "isAnonymous": False,
            "teams": [],
            "experiences": {},
            "lastActivity": 0,
            "organization": owner.organization,
            "created": 0,
            "isEditable": True,
            "novelUserExperienceInfos": {},
            "selectedTheme": "auto",
            "lastTaskTypeId": None,
            "isSuperUser": False,
            "isEmailVerified": True,
        }
    )


def folders(state: State) -> Answer:
    return Answer.json([_folder(folder) for folder in state.folders.values()])


def root_folder(state: State) -> Answer:
    return Answer.json(_folder(state.root))


def _folder(folder: Folder) -> dict[str, Any]:
    return {"id": folder.id, "name": folder.name, "parent": folder.parent, "metadata": [], "isEditable": folder.is_editable}


def name(route: Route) -> Answer:
    error = name_errors(unquote(route.parts[0]))
    return Answer.json({"isValid": True} if error is None else {"isValid": False, "errors": error})


def datasets(state: State, owner: User, route: Route, request: Request, datastore_url: str) -> Answer:
    """List datasets, newest first; the search is for a part of the name, in any case of letters."""
    query = {key: values[0] for key, values in request.query.items()}
    with state.lock:
        found = [
            dataset
            for dataset in state.datasets.values()
            if dataset.organization == owner.organization
            and query.get("uploaderId") in (None, dataset.uploader)
            and query.get("folderId") in (None, dataset.folder)
            and query.get("searchQuery", "").lower() in dataset.name.lower()
            and query.get("isActive") in (None, "false" if dataset.properties is None else "true")
        ]
        found.sort(key=lambda dataset: dataset.created, reverse=True)
        compact = route.version is None or route.version >= 16 or query.get("compact") == "true"
        return Answer.json([_compact(d) if compact else _info(state, d, datastore_url) for d in found[: int(query.get("limit", 10**6))]])


def dataset(state: State, owner: User, route: Route, datastore_url: str) -> Answer:
    with state.lock:
        return Answer.json(_info(state, _own_dataset(state, owner, route.parts[0]), datastore_url))


def delete(state: State, owner: User, route: Route) -> Answer:
    with state.lock:
        found = _own_dataset(state, owner, route.parts[0])
        if not (state.settings.deletion_allowed and owner.is_admin):
            raise Refused(403, "You may not delete this dataset.")
        del state.datasets[found.id]
        if found.path is not None and found.path.is_relative_to(state.directory):
            shutil.rmtree(found.path, ignore_errors=True)
    return Answer.json({"messages": [{"success": "Dataset deleted."}]})


def _own_dataset(state: State, owner: User, dataset_id: str) -> Dataset:
    found = state.datasets.get(dataset_id)
    if found is None or found.organization != owner.organization:
        raise Refused(404, f'Dataset "{dataset_id}" does not exist or could not be accessed.')
    return found


def _compact(found: Dataset) -> dict[str, Any]:
    layers = [] if found.properties is None else found.properties["dataLayers"]
    return {
        "id": found.id,
        "name": found.name,
        "owningOrganization": found.organization,
        "folderId": found.folder,
        "isActive": found.properties is not None,
        "created": int(found.created * 1000),
        "isEditable": True,
        "directoryName": found.directory_name,
        "status": found.data_source.get("status", ""),
        "tags": [],
        "isUnreported": False,
        "colorLayerNames": [layer["name"] for layer in layers if layer["category"] == "color"],
        "segmentationLayerNames": [layer["name"] for layer in layers if layer["category"] == "segmentation"],
    }


def _info(state: State, found: Dataset, datastore_url: str) -> dict[str, Any]:
    return {
        "id": found.id,
        "name": found.name,
        "dataSource": found.data_source,
        "dataStore": {
            "name": "localhost",
            "url": datastore_url,
            "allowsUpload": True,
            "isScratch": False,
            "jobsSupportedByAvailableWorkers": [],
            "jobsEnabled": False,
        },
        "owningOrganization": found.organization,
        "allowedTeams": [],
        "allowedTeamsCumulative": [],
        "isActive": found.properties is not None,
        "isPublic": False,
        "description": None,
        "directoryName": found.directory_name,
        "created": int(found.created * 1000),
        "isEditable": True,
        "lastUsedByUser": 0,
        "logoUrl": "",
        "sortingKey": int(found.created * 1000),
        "metadata": [],
        "isUnreported": False,
        "tags": [],
        "folderId": found.folder,
        "usedStorageBytes": 0,
    }
