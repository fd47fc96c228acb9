"""Layer and SegmentationLayer: intensities or segments of a dataset, in one or more mags."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wkpipe.dataset.categories import COLOR_CATEGORY, SEGMENTATION_CATEGORY, LayerCategories
from wkpipe.dataset.downsampling_utils import SamplingModes
from wkpipe.dataset.errors import WrongType
from wkpipe.dataset.layer_copies import LayerCopying
from wkpipe.dataset.layer_facts import LayerFacts
from wkpipe.dataset.layer_mags import LayerMags
from wkpipe.dataset.layer_references import LayerReferences
from wkpipe.dataset.layer_runs import LayerRuns
from wkpipe.dataset.layer_segments import LayerSegments
from wkpipe.dataset.layer_steps import LayerSteps
from wkpipe.dataset.layer_upsampling import LayerUpsampling
from wkpipe.dataset.live_layer import LiveLayer
from wkpipe.dataset.mag_array import MagArray
from wkpipe.dataset.mag_view import MagView
from wkpipe.dataset.mags import Mags
from wkpipe.geometry import Mag

if TYPE_CHECKING:
    from wkpipe.dataset.dataset import Dataset

__all__ = ["COLOR_CATEGORY", "SEGMENTATION_CATEGORY", "Layer", "LayerCategories", "SamplingModes", "SegmentationLayer"]


class Layer(LayerFacts, LayerReferences, LayerCopying, LayerMags, LayerRuns, LayerSteps, LayerUpsampling):
    """A layer of a dataset: one box of voxels, stored in one or more mags.

    Everything it reports is read from the present properties of the dataset. Boxes and offsets are in mag-1 voxels,
    x, y, z. Arrays have the axes c, x, y, z; layers with more axes, such as t, have them in storage order.

    Do not construct it yourself: use `Dataset.get_layer` or `Dataset.add_layer`.

    Raises
    ------
    LayerNotFound
        from all members, after the layer was deleted (also an IndexError).

    Examples
    --------
    >>> from wkpipe import BoundingBox, Dataset
    >>> dataset = Dataset("brain", voxel_size=(4, 4, 40))
    >>> layer = dataset.add_layer("em", "color", dtype="uint16", bounding_box=BoundingBox((0, 0, 0), (512, 512, 64)))
    >>> layer.add_mag(1).path == layer.path / "1"
    True
    >>> layer.name, str(layer.dtype), layer.num_channels, str(layer.data_format)
    ('em', 'uint16', 1, 'zarr3')
    >>> layer.get_mag(2)
    Traceback (most recent call last):
        ...
    wkpipe.errors.MagNotFound: The mag 2 is not a mag of this layer (em has 1)
    """

    def __init__(self, dataset: Dataset, entry: LiveLayer) -> None:
        super().__init__(dataset, entry)
        self._views: dict[Mag, MagView] = {}

    @property
    def mags(self) -> Mags:
        """The layer's mags, in the order of the properties; a key may be anything that a Mag accepts, as in ``"2-2-1" in layer.mags``."""
        mags = [entry.mag for entry in self._properties.mags]
        self._views = {mag: self._views.get(mag) or MagView(self, MagArray(self._entry, mag)) for mag in mags}
        return Mags(self._views)

    def as_segmentation_layer(self) -> SegmentationLayer:
        """Return the layer itself, as the type that a segmentation has.

        Raises
        ------
        WrongType
            it is a color layer (also a TypeError).

        Examples
        --------
        >>> from wkpipe import Dataset
        >>> dataset = Dataset("brain", voxel_size=(4, 4, 40))
        >>> cells = dataset.add_layer("cells", "segmentation")
        >>> cells.as_segmentation_layer() is cells
        True
        >>> dataset.add_layer("em", "color").as_segmentation_layer()
        Traceback (most recent call last):
            ...
        wkpipe.dataset.errors.WrongType: layer em is not a segmentation, found category color
        """
        if not isinstance(self, SegmentationLayer):
            raise WrongType(f"layer {self._entry.name} is not a segmentation", found=f"category {self.category}")
        return self


class SegmentationLayer(Layer, LayerSegments):
    """A layer of category segmentation: its voxels are ids of segments, and it knows the largest one.

    Raises
    ------
    LayerNotFound
        from all members, after the layer was deleted (also an IndexError).

    Examples
    --------
    >>> from wkpipe import Dataset
    >>> cells = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("cells", "segmentation", dtype="uint32")
    >>> cells.largest_segment_id is None
    True
    >>> cells.largest_segment_id = 1999
    >>> cells.largest_segment_id
    1999
    >>> cells.largest_segment_id = 1.5
    Traceback (most recent call last):
        ...
    wkpipe.errors.InputRefused: largest segment id 1.5 is not valid, expected an integer of at most 64 bits
    """
