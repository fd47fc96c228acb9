"""DatasetRuns: the runs of wkpipe on a whole dataset."""

from __future__ import annotations

from wkpipe.dataset.dataset_base import DatasetBase
from wkpipe.dataset.executors import SubmitsCalls
from wkpipe.dataset.runs import interpolation_of, run_request, storing_of
from wkpipe.geometry import Mag, MagLike
from wkpipe.plan.request import DownsampleRequest
from wkpipe.sampling import InterpolationMode, SamplingMode


class DatasetRuns(DatasetBase):
    """The members of the class Dataset that start runs."""

    def downsample(
        self,
        *,
        sampling_mode: SamplingMode | str = SamplingMode.ANISOTROPIC,
        coarsest_mag: MagLike | None = None,
        interpolation_mode: InterpolationMode | str = "default",
        compress: bool = True,
        executor: SubmitsCalls | None = None,
    ) -> None:
        """Make coarser mags of all layers, with the same bytes as the command line; see `Layer.downsample`.

        The ladders of the layers are aligned: if they could differ, the first layer in the properties decides.

        Raises
        ------
        InputRefused
            a ladder cannot be made.
        IntegrityError
            a storage shard is damaged or gone.
        NotWritable, TryAgain
            the dataset is read-only, or another run works on it.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> dataset = Dataset("brain", voxel_size=(4, 4, 40))
        >>> box = BoundingBox((0, 0, 0), (256, 256, 8))
        >>> dataset.add_layer("em", "color", bounding_box=box).add_mag(1).write(np.ones((256, 256, 8), np.uint8))
        >>> dataset.downsample(coarsest_mag=2)
        >>> dataset.get_layer("em").get_mag("2-2-1").read().shape
        (1, 128, 128, 8)
        """
        self._live.check_writable()
        request = DownsampleRequest(
            dataset=self._live.fixed.dataset,
            coarsest=None if coarsest_mag is None else Mag(coarsest_mag),
            sampling=SamplingMode.parse(sampling_mode),
            interpolation=interpolation_of(interpolation_mode),
            storing=storing_of(compress, None, None),
        )
        run_request(request, executor)
