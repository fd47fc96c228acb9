"""StoredDataset: open the mags that a dataset's properties name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wkpipe.errors import MetadataError, RemoteMag, UnreadableInput
from wkpipe.formats import open_array
from wkpipe.formats.base import DataFormat, Position, StoredArray
from wkpipe.formats.converted import as_dtype, can_convert
from wkpipe.geometry import Mag, NDBoundingBox
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.store import PropertiesFile
from wkpipe.stored.locations import Locations


class StoredDataset:
    """A dataset on disk: its properties as they were read, and its arrays."""

    def __init__(self, locations: Locations, properties: DatasetProperties) -> None:
        self.locations = locations
        self.properties = properties

    @classmethod
    def open(cls, root: Path, state_dir: Path | None = None) -> StoredDataset:
        """Read a dataset's properties.

        Raises:
            UnreadableInput: there is no dataset.
            MetadataError: its properties are broken.
        """
        if not root.is_dir():
            raise UnreadableInput(f"{root} is not a directory; give the path of a dataset (a directory with datasource-properties.json)")
        locations = Locations.of(root, state_dir)
        file = PropertiesFile(locations.dataset, locations.state)
        if not file.exists():
            locations.check_readable()
            if locations.conversion.exists():
                raise UnreadableInput(f"{root} is not finished; run the same command (`wkpipe convert` or `wkpipe download`) to go on")
            raise UnreadableInput(f"{root} is not a dataset: it has no datasource-properties.json")
        return cls(locations, file.read())

    def layer(self, name: str) -> LayerProperties:
        """Return a layer's properties.

        Raises:
            LayerNotFound: there is no such layer.
        """
        return self.properties.layer(name)

    def mag_path(self, layer: LayerProperties, entry: MagProperties) -> Path:
        """Return where a mag's array lies; old entries without a path lie under the mag's short or long name.

        Raises:
            RemoteMag: the mag is on a server.
        """
        root = self.locations.dataset
        if entry.path is None:
            short, long = (root / layer.name / name for name in (str(entry.mag), entry.mag.to_long_str()))
            return short if short.exists() or not long.exists() else long
        if entry.is_remote:
            raise RemoteMag(f"layer {layer.name}, mag {entry.mag}: {entry.path} is remote; copy the mag into the dataset first")
        return root / entry.path

    def open_mag(self, layer: LayerProperties, entry: MagProperties) -> StoredArray:
        """Open a mag's array; one of another type of voxels than the layer's, as uint32 for uint8, is read as the layer's.

        Raises:
            MetadataError: the array's metadata are missing or broken, or do not fit the layer's.
        """
        where = f"layer {layer.name}, mag {entry.mag}"
        path = self.mag_path(layer, entry)
        if not path.is_dir():
            raise MetadataError(f"{where}: there is no directory {path}; remove the mag from datasource-properties.json or restore it")
        array = open_array(path, layer.data_format, layer.axes, shape=wkw_shape(layer, entry))
        if not can_convert(array.spec.dtype, layer.dtype):
            raise MetadataError(
                f"{where}: the array in {path} holds {array.spec.dtype}, datasource-properties.json says {layer.dtype} per channel"
            )
        # A WKW array takes its shape from the properties; what it really holds is in its blocks.
        shape = array.spec.chunk_shape if layer.data_format is DataFormat.WKW else array.spec.shape
        channels, needed = dict(zip(layer.axes, shape, strict=True)).get("c", 1), entry.channel_index + layer.num_channels
        if channels < needed:
            says = f"{layer.num_channels}" + (f" from channelIndex {entry.channel_index} on" if entry.channel_index else "")
            raise MetadataError(f"{where}: the array in {path} has {channels} channels, datasource-properties.json says {says}")
        return as_dtype(array, layer.dtype)

    def shared_with(self, layer: LayerProperties, entry: MagProperties) -> str | None:
        """Return the name of another layer that has a mag in the same directory; None if there is none."""
        path = self.mag_path(layer, entry).resolve()
        for other in self.properties.layers:
            local = [mag for mag in other.mags if not mag.is_remote]
            if other.name != layer.name and any(self.mag_path(other, mag).resolve() == path for mag in local):
                return other.name
        return None

    def owns(self, layer: LayerProperties, entry: MagProperties) -> bool:
        """Whether a mag lies inside this dataset, where wkpipe may write it; symlinked mags are read-only sources."""
        if entry.is_remote:
            return False
        path = self.mag_path(layer, entry)
        return path.resolve().parent == self.locations.dataset / layer.name and not path.is_symlink()


def box_in_mag(box: NDBoundingBox, mag: Mag) -> NDBoundingBox:
    """Return the voxels of `mag` that a layer's box touches."""
    return box.align_with_mag(mag, ceil=True).in_mag(mag)


def wkw_shape(layer: LayerProperties, entry: MagProperties) -> Position | None:
    """Return the shape of a WKW array, which does not stand in its files: as far as the layer's box goes."""
    if layer.data_format is not DataFormat.WKW:
        return None
    corner = box_in_mag(layer.bounding_box(), entry.mag).bottomright_xyz
    return (entry.channel_index + layer.num_channels, *corner)


def array_corner(box: NDBoundingBox, axes: Sequence[str]) -> Position:
    """Return the last corner (exclusive) of a box in the order of an array's axes; axes that the box lacks count 1."""
    return tuple(box.bounds(axis)[1] if axis in box.axes else 1 for axis in axes)
