"""LayerUpsampling: make finer mags of a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wkpipe.dataset.borrowing import borrowed, source_mag
from wkpipe.dataset.dataset_base import DatasetBase
from wkpipe.dataset.errors import WrongType
from wkpipe.dataset.executors import SubmitsCalls
from wkpipe.dataset.layer_base import LayerBase
from wkpipe.dataset.mag_view import MagView
from wkpipe.dataset.old_names import accepts_old_calls
from wkpipe.dataset.runs import run_request, storing_of
from wkpipe.geometry import Mag, MagLike, Vec3IntLike
from wkpipe.plan.wishes.upsampling import UpsamplingRequest
from wkpipe.sampling import SamplingMode

if TYPE_CHECKING:
    from wkpipe.dataset.dataset import Dataset


class LayerUpsampling(LayerBase):
    """The member of the class Layer that makes finer mags."""

    @accepts_old_calls("Layer.upsample")
    def upsample(
        self,
        from_mag: MagLike,
        finest_mag: MagLike | None = 1,
        compress: bool = True,
        sampling_mode: SamplingMode | str = SamplingMode.ANISOTROPIC,
        align_with_other_layers: bool | Dataset = True,
        buffer_shape: Vec3IntLike | None = None,  # noqa: ARG002
        buffer_edge_len: int | None = None,  # noqa: ARG002
        args: Any = None,  # noqa: ARG002
        executor: SubmitsCalls | None = None,
        *,
        from_mag_view: MagView | None = None,
        chunk_shape: Vec3IntLike | int | None = None,
        shard_shape: Vec3IntLike | int | None = None,
    ) -> None:
        """Make finer mags from a coarser one: every voxel fills the block that it covers.

        The new mags are those that downsampling from `finest_mag` to `from_mag` passes. They become visible when all are
        complete. A call that was interrupted resumes when it is repeated. Runs that bring derived mags up to date, such as
        `downsample`, also make storage shards of these mags again whose source has changed.

        Parameters
        ----------
        from_mag
            the mag to start from.
        finest_mag
            the last mag to make. Old name, which warns: `min_mag`.
        compress
            True compresses the new mags.
        sampling_mode
            anisotropic, isotropic or constant_z, which keeps z as it is in `from_mag`.
        align_with_other_layers
            True takes over mags of the other layers; a dataset, those of its layers.
        buffer_shape, buffer_edge_len, args
            accepted for older scripts; wkpipe chooses its buffers and processes itself.
        executor
            where the work runs, see `downsample`; by default in this process.
        from_mag_view
            the mag of another layer to start from, see `downsample`; it must be `from_mag`.
        chunk_shape, shard_shape
            of the new mags, x, y, z in voxels; see `add_mag`.

        Raises
        ------
        MagNotFound
            the layer lacks `from_mag` (also an AssertionError and a KeyError).
        AlreadyExists
            the layer has one of the mags to make (also an AssertionError).
        LadderRefused
            no ladder leads from `finest_mag` to `from_mag` (also an AssertionError).
        UnknownMode
            there is no such sampling mode (also an AttributeError).
        InputRefused
            the layer's format is only read, or does not allow the shapes.
        IntegrityError
            a storage shard is damaged or gone.
        NotWritable, TryAgain
            the dataset is read-only, or another run works on it.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 16))
        >>> cells = Dataset("brain", voxel_size=(4, 4, 10)).add_layer("cells", "segmentation", dtype="uint32", bounding_box=box)
        >>> cells.add_mag("4-4-2").write(np.arange(16 * 16 * 8, dtype="uint32").reshape(16, 16, 8))
        >>> cells.upsample("4-4-2")
        >>> [str(mag) for mag in cells.mags]
        ['4-4-2', '2-2-1', '1']
        >>> cells.get_mag(1).read()[0, 4:10, 0, 0]
        array([128, 128, 128, 128, 256, 256], dtype=uint32)
        """
        self._entry.live.check_writable()
        request = UpsamplingRequest(
            dataset=self._entry.live.fixed.dataset,
            layer=self._entry.name,
            from_mag=source_mag(from_mag, from_mag_view) or Mag(from_mag),
            finest_mag=Mag(1 if finest_mag is None else finest_mag),
            mode=SamplingMode.parse(sampling_mode),
            align_with=self._other_mags(align_with_other_layers),
            storing=storing_of(compress, chunk_shape, shard_shape),
        )
        with borrowed(self._entry, from_mag_view):
            run_request(request, executor)

    def _other_mags(self, align: bool | Dataset) -> tuple[Mag, ...] | None:
        """Return the mags that new ones are aligned with; None for no alignment."""
        if align is False:
            return None
        if align is not True and not isinstance(align, DatasetBase):
            raise WrongType(f"align_with_other_layers={align!r} is not possible", expected="True, False or a dataset")
        live = align._live if isinstance(align, DatasetBase) else self._entry.live
        own = self._entry.name if live is self._entry.live else None
        return tuple(entry.mag for layer in live.current().layers if layer.name != own for entry in layer.mags)
