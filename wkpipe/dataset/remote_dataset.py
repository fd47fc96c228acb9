"""RemoteDataset: a dataset on a WEBKNOSSOS server, as far as uploading and downloading go."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wkpipe.cluster.strategies import usable_cores
from wkpipe.dataset.border import NotOffered
from wkpipe.geometry import BoundingBox, Mag, MagLike, Vec3Float
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.runs.run import run_here
from wkpipe.server.download.remote import DatasetAddress, FoundDataset, find_dataset
from wkpipe.server.http.token import TOKEN_VARIABLE, Token, take_token
from wkpipe.server.upload.limits import DEFAULT_URL
from wkpipe.steps.work import Server

if TYPE_CHECKING:
    from wkpipe.dataset.dataset import Dataset

_LOG: Final = logging.getLogger("wkpipe")
_URL_VARIABLE: Final = "WK_URL"


class RemoteDataset:
    """A dataset on a WEBKNOSSOS server: its name, its page, and `download`.

    Do not construct it yourself: use `Dataset.open_remote`, or `Dataset.upload`, which returns one. The token is that of the
    variable WK_TOKEN, or of the file that WK_TOKEN_FILE names.

    Examples
    --------
    >>> from wkpipe import Dataset
    >>> Dataset.open_remote("https://webknossos.org/annotations/0123456789abcdef01234567")
    Traceback (most recent call last):
        ...
    wkpipe.errors.UsageError: https://webknossos.org/annotations/0123456789abcdef01234567 is an annotation, ...
    """

    def __init__(self, found: FoundDataset, token: Token, config: dict[str, Any], open_dataset: Callable[[Path], Dataset]) -> None:
        self._found, self._token, self._config, self._open = found, token, config, open_dataset

    @property
    def name(self) -> str:
        """The dataset's name on the server."""
        return self._found.properties.name

    @property
    def url(self) -> str:
        """The address of the dataset's page."""
        return self._found.remote.page

    @property
    def dataset_id(self) -> str:
        """The dataset's id on the server."""
        return self._found.remote.dataset_id

    @property
    def voxel_size(self) -> Vec3Float:
        """The size of a mag-1 voxel, x, y, z in nanometers."""
        return self._found.properties.voxel_size.nm

    def download(
        self,
        *,
        bbox: BoundingBox | None = None,
        layers: Sequence[str] | str | None = None,
        mags: Sequence[MagLike] | None = None,
        path: str | PathLike[str] | None = None,
        exist_ok: bool = False,
    ) -> Dataset:
        """Download the dataset, or some layers, mags or a box of it; a stopped download is resumed.

        Parameters
        ----------
        bbox
            in mag-1 voxels; default: all.
        layers
            names; default: all.
        mags
            default: all.
        path
            the directory to make; default: the dataset's name.
        exist_ok
            replace a directory with something else in it.

        Raises
        ------
        InputRefused
            the server lacks a layer or mag, or `path` contains something else.
        ServerError
            the server refuses or fails.
        """
        target = Path(self.name if path is None else path)
        values = self._config | {"target": target, "download_url": self.url, "overwrite_existing": exist_ok}
        if bbox is not None:
            values["download_bbox"] = list(bbox.to_tuple6())
        if layers is not None:
            values["download_layers"] = [layers] if isinstance(layers, str) else list(layers)
        if mags is not None:
            values["download_mags"] = [str(Mag(mag)) for mag in mags]

        def say(text: str) -> None:
            _LOG.warning("%s", text)

        plan = make_plan(load_config(values, "download"), Sizing.local(usable_cores()), found=self._found)
        run_here(plan, server=Server(self._token, say), notify=say)
        return self._open(target)

    def __getattr__(self, name: str) -> Any:
        raise NotOffered(f"a dataset on a server has no {name} in wkpipe", fix="download it, or use webknossos beside wkpipe")

    def __repr__(self) -> str:
        return f"RemoteDataset({self.url!r})"


def token_of_user() -> Token:
    """Return the user's token, and leave it in the environment: scripts ask more than once, and start programs of their own.

    Raises:
        UsageError: there is none.
    """
    secret = os.environ.get(TOKEN_VARIABLE)
    return Token(secret.strip()) if secret else take_token()


def server_of_user(webknossos_url: str | None) -> str:
    """Return the address of the server: the given one, that of WK_URL, or the default."""
    return webknossos_url or os.environ.get(_URL_VARIABLE) or DEFAULT_URL


def remote_dataset(
    place: str, webknossos_url: str | None, settings: dict[str, Any], open_dataset: Callable[[Path], Dataset]
) -> RemoteDataset:
    """Find a dataset on a server, by the address of its page, its id or its name.

    Raises:
        UsageError: there is no token, or the place is not valid.
        ServerError: the server has no such dataset, refuses the token, or fails.
    """
    address = DatasetAddress.parse(place, server_of_user(webknossos_url), settings["allow_http"])
    token = token_of_user()
    return RemoteDataset(find_dataset(address, token, settings["allow_http"]), token, settings, open_dataset)
