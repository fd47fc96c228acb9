"""StoredDataset: open the mags that a dataset's properties name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wkpipe.errors import MetadataError, RemoteMag, UnreadableInput
from wkpipe.formats import open_array
from wkpipe.formats.base import DataFormat, Position, StoredArray
from wkpipe.formats.converted import as_dtype, can_convert
from wkpipe.geometry import Mag, NDBoundingBox
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.storage.inside import Looks
from wkpipe.storage.place import Place
from wkpipe.stored.locations import Locations
from wkpipe.stored.places import place_at
from wkpipe.stored.renaming import check_no_renaming


class StoredDataset:
    """A stored dataset: its properties as they were read, and its arrays."""

    def __init__(self, locations: Locations, properties: DatasetProperties) -> None:
        self.locations = locations.published(properties)
        self.properties = properties
        self._opened: dict[tuple[str, Mag], StoredArray] | None = None

    @classmethod
    def open(cls, root: Path, state_dir: Path | None = None) -> StoredDataset:
        """Read a dataset's properties.

        Raises:
            UnreadableInput: there is no dataset.
            MetadataError: its properties are broken.
            TryAgain: one of its layers is between two names.
        """
        if not place_at(root).is_directory():
            raise UnreadableInput(
                f"{root} is not a directory", fix="give the path of a dataset (a directory with datasource-properties.json)"
            )
        locations = Locations.of(root, state_dir)
        check_no_renaming(locations)
        file = locations.properties_file()
        if not file.is_there():
            locations.check_readable()
            if locations.has_conversion:
                raise UnreadableInput(
                    f"{root} is not finished", fix="run the same command (`wkpipe convert` or `wkpipe download`) again to resume"
                )
            raise UnreadableInput(f"{root} is not a dataset: it has no datasource-properties.json")
        return cls(locations, file.read())

    def looking_once(self) -> StoredDataset:
        """Return the same dataset for a single plan, which opens each array once; see `Looks`."""
        once = StoredDataset(replace(self.locations, looks=Looks(once=True)), self.properties)
        once._opened = {}
        return once

    def layer(self, name: str) -> LayerProperties:
        """Return a layer's properties.

        Raises:
            LayerNotFound: there is no such layer.
        """
        return self.properties.layer(name)

    def mag_place(self, layer: LayerProperties, entry: MagProperties) -> Place:
        """Return the place of a mag's array; if an old entry has no path, it has the mag's short or long name.

        Raises:
            RemoteMag: the mag is on a server.
        """
        if entry.path is None:
            directory = self.locations.data.child(layer.name)
            short, long = str(entry.mag), entry.mag.to_long_str()
            return directory.child(short if directory.has(short) or not directory.has(long) else long)
        if entry.is_remote:
            raise RemoteMag(
                f"{entry.path} is remote", where=f"layer {layer.name}, mag {entry.mag}", fix="copy the mag into the dataset first"
            )
        return self.locations.data.child(entry.path)

    def attachment_path(self, path: str) -> str:
        """Return the path of an attachment from anywhere, by that in the properties; a URL stays."""
        return path if "://" in path else self.locations.data.child(path).real()

    def open_mag(self, layer: LayerProperties, entry: MagProperties) -> StoredArray:
        """Open a mag's array; if its voxel type is not the layer's, as uint32 for uint8, it is read as the layer's type.

        Raises:
            MetadataError: the array's metadata is missing or broken, or does not fit the layer's.
        """
        if self._opened is None:
            return self._open(layer, entry)
        key = layer.name, entry.mag
        if key not in self._opened:
            self._opened[key] = self._open(layer, entry)
        return self._opened[key]

    def _open(self, layer: LayerProperties, entry: MagProperties) -> StoredArray:
        """See `open_mag`."""
        where = f"layer {layer.name}, mag {entry.mag}"
        place = self.mag_place(layer, entry)
        path = place.path()
        if not place.is_directory():
            check_no_renaming(self.locations)
            raise MetadataError(
                f"there is no directory {path}", where=where, fix="remove the mag from datasource-properties.json or restore it"
            )
        array = open_array(place, layer.data_format, layer.axes, shape=wkw_shape(layer, entry))
        if not can_convert(array.spec.dtype, layer.dtype):
            found, expected = f"{array.spec.dtype} in {path}", f"{layer.dtype} per channel as datasource-properties.json says"
            raise MetadataError(where=where, found=found, expected=expected)
        # A WKW array takes its shape from the properties, but its blocks decide the number of channels.
        shape = array.spec.chunk_shape if layer.data_format is DataFormat.WKW else array.spec.shape
        channels, needed = dict(zip(layer.axes, shape, strict=True)).get("c", 1), entry.channel_index + layer.num_channels
        if channels < needed:
            says = f"{layer.num_channels}" + (f" from channelIndex {entry.channel_index} on" if entry.channel_index else "")
            raise MetadataError(where=where, found=f"{channels} channels in {path}", expected=f"{says} as datasource-properties.json says")
        return as_dtype(array, layer.dtype)

    def shared_with(self, layer: LayerProperties, entry: MagProperties) -> str | None:
        """Return the name of another layer that has a mag in the same directory; None if there is none."""
        return self.user_of(self.mag_place(layer, entry), layer.name)

    def user_of(self, place: Place, besides: str) -> str | None:
        """Return the name of a layer, other than `besides`, with a mag in a directory or below it; None if there is none."""
        real = Path(place.real())
        for other in self.properties.layers:
            local = [mag for mag in other.mags if not mag.is_remote]
            if other.name != besides and any(Path(self.mag_place(other, mag).real()).is_relative_to(real) for mag in local):
                return other.name
        return None

    def owns(self, layer: LayerProperties, entry: MagProperties) -> bool:
        """True if a mag is inside this dataset, so that wkpipe may write it; symlinked mags are read-only sources."""
        if entry.is_remote:
            return False
        place = self.mag_place(layer, entry)
        return Path(place.real()).parent == self.locations.dataset / layer.name and not place.is_link()


def box_in_mag(box: NDBoundingBox, mag: Mag) -> NDBoundingBox:
    """Return the voxels of `mag` that a layer's box touches."""
    return box.align_with_mag(mag, ceil=True).in_mag(mag)


def wkw_shape(layer: LayerProperties, entry: MagProperties) -> Position | None:
    """Return the shape of a WKW array, which is not in its files: up to the end of the layer's box."""
    if layer.data_format is not DataFormat.WKW:
        return None
    corner = box_in_mag(layer.bounding_box(), entry.mag).bottomright_xyz
    return (entry.channel_index + layer.num_channels, *corner)


def array_corner(box: NDBoundingBox, axes: Sequence[str]) -> Position:
    """Return the last corner (exclusive) of a box in array order; 1 for axes that the box lacks."""
    return tuple(box.bounds(axis)[1] if axis in box.axes else 1 for axis in axes)
