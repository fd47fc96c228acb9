"""The server's state: users, folders, datasets, running uploads; and its settings."""

from __future__ import annotations

import re
import secrets
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

NOT_YET_UPLOADED = "not yet fully uploaded"
ID = re.compile(r"[0-9a-f]{24}")


def new_id() -> str:
    return secrets.token_hex(12)


@dataclass
class Settings:
    """The server's behaviour; may be changed at any time."""

    current_api: int = 16
    oldest_api: int = 10
    legacy_only: bool = False  # routes of API 13 alone, as of an old server
    deletion_allowed: bool = True
    quota_bytes: int | None = None
    restricted_to: str | None = None  # the only organization that may use the datastore
    max_request_bytes: int = 1 << 30  # larger requests get 413, as from a proxy
    post_processing: float = 0.0  # seconds that finish takes after the upload's record is gone
    quoted_ids: bool = False  # ids in the list of unfinished uploads carry quotes
    keep: Literal["all", "small"] = "all"  # "small": chunks over 1 MiB are counted and become holes instead of data
    datastores: Literal["both", "none", "readonly"] = "both"  # the datastores that the server lists

    @property
    def datastore_api(self) -> int:
        """The newest version of the datastore's routes."""
        return min(self.current_api, 15)


@dataclass
class User:
    id: str = field(default_factory=new_id)
    organization: str = "sample_organization"
    is_admin: bool = True
    is_dataset_manager: bool = True


@dataclass
class Folder:
    name: str
    parent: str | None
    is_editable: bool = True
    id: str = field(default_factory=new_id)


@dataclass
class Dataset:
    """A row of the server's table. It is usable if it has properties."""

    name: str
    organization: str
    folder: str
    uploader: str
    id: str = field(default_factory=new_id)
    created: float = field(default_factory=time.time)
    path: Path | None = None  # of its final tree
    properties: dict[str, Any] | None = None

    @property
    def directory_name(self) -> str:
        return f"{self.name}-{self.id}"

    @property
    def data_source(self) -> dict[str, Any]:
        identity = {"name": self.directory_name, "team": self.organization}
        return {"id": identity, "status": NOT_YET_UPLOADED} if self.properties is None else self.properties | {"id": identity}


@dataclass
class UploadedFile:
    total_chunks: int
    received: set[int] = field(default_factory=set)


@dataclass
class Upload:
    """A running upload's record."""

    id: str
    dataset: Dataset
    total_files: int
    total_bytes: int | None
    file_paths: list[str]
    directory: Path
    needs_conversion: bool = False
    files: dict[str, UploadedFile] = field(default_factory=dict)
    created: float = field(default_factory=time.time)


class State:
    """Everything the server knows. `lock` guards it; files are written outside of it."""

    def __init__(self, directory: Path, settings: Settings) -> None:
        self.directory = directory
        self.settings = settings
        self.lock = threading.RLock()
        self.users: dict[str, User] = {}  # by token
        self.root = Folder("Organization Root", None)
        self.folders = {self.root.id: self.root}
        self.datasets: dict[str, Dataset] = {}
        self.uploads: dict[str, Upload] = {}

    def add_folder(self, path: str, is_editable: bool = True) -> Folder:
        """Add a folder by its path below the root, and missing ones above it."""
        folder = self.root
        for name in path.split("/"):
            siblings = [f for f in self.folders.values() if f.parent == folder.id and f.name == name]
            folder = siblings[0] if siblings else Folder(name, folder.id)
            self.folders[folder.id] = folder
        folder.is_editable = is_editable
        return folder

    def upload_directory(self, upload_id: str) -> Path:
        return self.directory / "uploading" / upload_id

    def dataset_directory(self, dataset: Dataset) -> Path:
        return self.directory / "datasets" / dataset.organization / dataset.directory_name
