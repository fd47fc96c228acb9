"""DatasetServer: send a dataset to a WEBKNOSSOS server, and get one from there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from os import PathLike
from typing import Any, Self, cast

from wkpipe.dataset.border import NotOffered
from wkpipe.dataset.dataset_base import DatasetBase
from wkpipe.dataset.remote_dataset import RemoteDataset, remote_dataset, server_of_user, token_of_user
from wkpipe.geometry import BoundingBox, MagLike
from wkpipe.plan.config import load_config
from wkpipe.plan.wishes.upload import request_of
from wkpipe.server.upload.limits import DEFAULT_CHUNK_BYTES, DEFAULT_JOBS
from wkpipe.server.upload.uploading import upload


class DatasetServer(DatasetBase, ABC):
    """The members of the class Dataset that speak to a server. The token is that of WK_TOKEN, or of the file in WK_TOKEN_FILE."""

    @classmethod
    @abstractmethod
    def open(cls, dataset_path: str | PathLike[str], read_only: bool = False) -> Self:
        """Open a dataset."""

    def upload(
        self,
        new_dataset_name: str | None = None,
        *,
        folder: str | None = None,
        jobs: int | None = None,
        webknossos_url: str | None = None,
        allow_http: bool = False,
        **others: Any,
    ) -> RemoteDataset:
        """Upload the dataset to a WEBKNOSSOS server; a stopped upload is resumed.

        Parameters
        ----------
        new_dataset_name
            default: its name here.
        folder
            of the server's dashboard, such as ``Datasets/mine``; default: the root folder.
        jobs
            requests at the same time; default 5.
        webknossos_url
            default: the variable WK_URL, else https://webknossos.org.
        allow_http
            True permits an address without encryption.

        Raises
        ------
        NotOffered
            another parameter of `webknossos` was given, such as `layers_to_link`.
        ServerError
            the server refuses or fails; it keeps what it has.
        """
        _refuse_others("Dataset.upload", others)
        token, server = token_of_user(), server_of_user(webknossos_url)
        values = {"webknossos_url": server, "dataset_name": new_dataset_name, "folder": folder, "upload_jobs": jobs or DEFAULT_JOBS}
        settings = {"allow_http": allow_http}
        given = {key: value for key, value in values.items() if value is not None} | settings
        config = load_config(given | {"target": self._live.locations.dataset}, "upload")
        request = request_of(config, config.target, self._live.locations.state, DEFAULT_CHUNK_BYTES)
        return remote_dataset(upload(request, token).url, server, settings, cast("Any", type(self).open))

    @classmethod
    def open_remote(
        cls,
        dataset_name_or_url: str | None = None,
        organization_id: str | None = None,
        *,
        webknossos_url: str | None = None,
        dataset_id: str | None = None,
        allow_http: bool = False,
        **others: Any,
    ) -> RemoteDataset:
        """Find a dataset on a WEBKNOSSOS server, to download it.

        Parameters
        ----------
        dataset_name_or_url
            its name, or the address of its page.
        organization_id
            not needed: names are looked up in the organization of the token.
        webknossos_url
            default: the variable WK_URL, else https://webknossos.org.
        dataset_id
            instead of a name.
        allow_http
            True permits an address without encryption.

        Raises
        ------
        NotOffered
            another parameter of `webknossos` was given, such as `sharing_token`.
        ServerError
            the server has no such dataset, refuses the token, or fails.
        """
        del organization_id
        _refuse_others("Dataset.open_remote", others)
        return remote_dataset(dataset_name_or_url or dataset_id or "", webknossos_url, {"allow_http": allow_http}, cast("Any", cls.open))

    @classmethod
    def download(
        cls,
        dataset_name_or_url: str,
        *,
        organization_id: str | None = None,
        webknossos_url: str | None = None,
        bbox: BoundingBox | None = None,
        layers: Sequence[str] | str | None = None,
        mags: Sequence[MagLike] | None = None,
        path: str | PathLike[str] | None = None,
        exist_ok: bool = False,
        allow_http: bool = False,
        **others: Any,
    ) -> Self:
        """Download a dataset from a WEBKNOSSOS server; see `open_remote` and `RemoteDataset.download`.

        Raises
        ------
        NotOffered
            another parameter of `webknossos` was given, such as `sharing_token`.
        ServerError
            the server has no such dataset, refuses the token, or fails.
        """
        _refuse_others("Dataset.download", others)
        remote = cls.open_remote(dataset_name_or_url, organization_id, webknossos_url=webknossos_url, allow_http=allow_http)
        return cast("Self", remote.download(bbox=bbox, layers=layers, mags=mags, path=path, exist_ok=exist_ok))


def _refuse_others(function: str, others: dict[str, Any]) -> None:
    """Refuse the parameters that only `webknossos` has, unless they are left at nothing."""
    given = [name for name, value in others.items() if value is not None and value is not False]
    if given:
        raise NotOffered(f"{function} has no {given[0]}", fix="leave it out, or use webknossos beside wkpipe")
