"""ServedDataset: a dataset on a server: its address, how to reach it, and its properties as the server reports them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from wkpipe.errors import MOST_CHARACTERS, InputRefused, MetadataError, ServerError, UsageError, one_line
from wkpipe.geometry import Mag
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.server.http.address import datastore_address, server_address
from wkpipe.server.http.token import Token
from wkpipe.server.versions import Versions, negotiate
from wkpipe.server.wk_api import WkApi, page_of

if TYPE_CHECKING:
    import numpy as np

    from wkpipe.server.download.boxes import BoxReader
    from wkpipe.server.http.network import Network
    from wkpipe.server.http.policy import Policy

_ID = re.compile(r"(?:.*-)?([0-9a-f]{24})")
VOXEL_NM = 1e-9, 1e27
"""The voxel sizes that are accepted from a server: from far below an atom to above a galaxy."""

MOST_LAYERS = 4096
"""The most layers of a dataset on a server; more would take long to check."""

_EXPECTED = "that of a dataset's page, like https://webknossos.org/datasets/my_data-0123456789abcdef01234567"


@dataclass(frozen=True)
class DatasetAddress:
    """The address of a dataset as a user gives it: the server, and the dataset's id or name there."""

    server: str
    dataset_id: str | None
    name: str

    @classmethod
    def parse(cls, text: str, server: str, allow_http: bool) -> DatasetAddress:
        """Parse the address of a dataset's page, or the id or name of a dataset of `server`.

        Raises:
            UsageError: it is none of these, or contains a secret.
        """
        if "://" not in text:
            return cls._named(server_address(server, allow_http), text)
        shown = one_line(text, 200).partition("?")[0].split("@")[-1]
        try:
            parts = urlsplit(text.strip())
            origin = f"{parts.scheme}://{parts.netloc}"
        except ValueError:
            raise UsageError(f"{shown} is not an address", expected=_EXPECTED) from None
        if "token=" in parts.query.lower():
            raise UsageError(
                "the address contains a token", where=shown, fix="give the page's address without it, and your own token as WK_TOKEN"
            )
        kind, *names = [unquote(part) for part in parts.path.split("/") if part] or [""]
        if kind == "annotations":
            raise UsageError(f"{shown} is an annotation, which cannot be downloaded", fix="give the address of its dataset")
        if names[-1:] == ["view"]:
            names.pop()
        if kind != "datasets" or not 1 <= len(names) <= 2:
            raise UsageError(f"{shown} is not the address of a dataset", expected=_EXPECTED)
        return cls._named(server_address(origin, allow_http), names[-1])

    @classmethod
    def _named(cls, server: str, name: str) -> DatasetAddress:
        if not name.strip():
            raise UsageError("a dataset's name must not be empty", fix="give its name, its id or the address of its page")
        found = _ID.fullmatch(name)
        return cls(server, None if found is None else found[1], name)


@dataclass(frozen=True)
class ServedDataset:
    """A dataset on a server and how to reach it, without a token. `allow_http`: other machines too may be reached unencrypted."""

    server: str
    datastore: str
    api: int
    dataset_id: str
    ca_file: Path | None = None
    proxy: str | None = None
    allow_http: bool = False

    @property
    def page(self) -> str:
        """The address of the dataset's page."""
        return page_of(self.server, self.dataset_id)

    @contextlib.contextmanager
    def connected(self, token: Token, policy: Policy | None = None) -> Iterator[Network]:
        """Open a network for requests to the server, which `find_dataset` has reached before."""
        from wkpipe.server.http.network import Network  # planning alone does not need HTTP
        from wkpipe.server.http.policy import Policy

        known = replace(policy or Policy(), was_reached=True)
        with Network(token, known, self.ca_file, self.proxy, self.allow_http) as network:
            yield network

    def reader(self, network: Network, layer: str, mag: Mag, dtype: np.dtype[Any], channels: int) -> BoxReader:
        """Return a reader for boxes of a mag of a layer."""
        from wkpipe.server.download.boxes import BoxReader
        from wkpipe.server.http.connection import Connection

        return BoxReader(Connection(network, self.datastore), Versions(self.api), self.dataset_id, layer, mag, dtype, channels)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self) | {"ca_file": None if self.ca_file is None else str(self.ca_file)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ServedDataset:
        """Return the dataset that `to_json` describes."""
        return cls(**(dict(values) | {"ca_file": None if values["ca_file"] is None else Path(values["ca_file"])}))


@dataclass(frozen=True)
class FoundDataset:
    """A dataset that was found on a server: its properties, and the token that was used."""

    remote: ServedDataset
    properties: DatasetProperties
    token: Token

    @contextlib.contextmanager
    def reader(self, layer: str, mag: Mag) -> Iterator[BoxReader]:
        """Open a reader for boxes of a mag, one at a time."""
        from wkpipe.server.http.policy import Policy

        properties = self.properties.layer(layer)
        with self.remote.connected(self.token, Policy.brief()) as network:
            yield self.remote.reader(network, layer, mag, properties.dtype, properties.num_channels)


def find_dataset(
    address: DatasetAddress, token: Token, allow_http: bool, ca_file: Path | None = None, proxy: str | None = None
) -> FoundDataset:
    """Find a dataset on a server, with a few requests.

    Raises:
        UsageError: the proxy's address contains a secret.
        ServerError: the server has no such dataset, refuses the token, or fails.
        InputRefused: several datasets have that name.
        MetadataError: the dataset's properties are not valid.
    """
    from wkpipe.server.http.connection import Connection
    from wkpipe.server.http.network import Network
    from wkpipe.server.http.policy import Policy

    if proxy is not None and "@" in proxy:
        raise UsageError("the proxy's address contains a user or a password, which would be stored with the run's plan", fix="leave it out")
    with Network(token, Policy.brief(), ca_file, proxy, allow_http) as network:
        connection = Connection(network, address.server)
        versions = negotiate(connection)
        wk = WkApi(connection, versions)
        dataset_id = address.dataset_id or _id_of(wk, address)
        name, url = wk.place(dataset_id)
        datastore = Connection(network, datastore_address(url, address.server, allow_http, network.shown))
        properties = _properties(datastore, versions, dataset_id, name)
    ca_file = None if ca_file is None else ca_file.absolute()
    remote = ServedDataset(address.server, datastore.base, versions.api, dataset_id, ca_file, proxy, allow_http)
    return FoundDataset(remote, properties, token)


def _id_of(wk: WkApi, address: DatasetAddress) -> str:
    found = sorted(wk.named_datasets(address.name))
    if not found:
        raise ServerError(
            f"{address.server} has no dataset {one_line(address.name, 100)} that this token's user may see", fix="check the name"
        )
    if len(found) > 1:
        pages = ", ".join(page_of(address.server, dataset_id) for dataset_id in found[:10])
        raise InputRefused(
            f"{address.server} has {len(found)} datasets {one_line(address.name, 100)}", fix=f"give the address of one: {pages}"
        )
    return found[0]


def _properties(datastore: Any, versions: Versions, dataset_id: str, name: str) -> DatasetProperties:
    """Return the properties of a dataset as its datastore reports them, with the layers that it can read."""
    what = f"asking for the layers of dataset {dataset_id}"
    answer = datastore.ask(what, "GET", f"/data/v{versions.data}/zarr/{dataset_id}/datasource-properties.json")
    if not answer.is_ok:
        raise datastore.refusal(what, answer)
    content = datastore.used(what, answer.json())
    where = f"dataset {dataset_id} of {datastore.base}"
    layers = content.get("dataLayers") if isinstance(content, dict) else None
    if isinstance(layers, list) and len(layers) > MOST_LAYERS:
        raise MetadataError(
            where=f"{where}: dataLayers", found=f"{len(layers)} layers", expected=f"at most {MOST_LAYERS}", fix="correct it there"
        )
    try:
        properties = DatasetProperties.from_bytes(answer.body, where)
    except MetadataError as error:
        raise MetadataError(datastore.network.shown(error, MOST_CHARACTERS)) from None
    _check_numbers(properties, where)
    return DatasetProperties(one_line(name, 200), properties.voxel_size, properties.layers)


def _check_numbers(properties: DatasetProperties, where: str) -> None:
    """Refuse numbers that no microscope and no segmentation has, and that other tools cannot compute with.

    Raises:
        MetadataError: there is one.
    """
    least, most = VOXEL_NM
    if not all(least <= value <= most for value in properties.voxel_size.nm):
        raise MetadataError(
            where=f"{where}: scale",
            found=f"voxels of {properties.voxel_size}",
            expected=f"{least:g} to {most:g} nm along each axis",
            fix="correct it there",
        )
    for layer in properties.layers:
        if layer.largest_segment_id is not None and layer.largest_segment_id < 0:
            raise MetadataError(
                where=f"{where}: layer {one_line(layer.name, 80)}: largestSegmentId",
                found=layer.largest_segment_id,
                expected="no negative number",
                fix="correct it there",
            )
