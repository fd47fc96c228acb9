"""Download units from a server as a stream: several requests at once bring cubes of voxels, which are appended in Morton order."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass

from wkpipe.engine.budget import CUBE_BYTES, connections_of
from wkpipe.engine.cubes import Cube, UnitGrid
from wkpipe.engine.ordered import ordered_map
from wkpipe.formats.base import EncodedChunks, Position, StoredArray, UnitProof, UnitWriter, Voxels
from wkpipe.formats.chunk_coder import has_any
from wkpipe.geometry import Vec3Int
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.server.download.remote import ServedDataset
from wkpipe.server.http.network import Network, Stopped
from wkpipe.server.http.policy import Policy
from wkpipe.server.http.token import Token
from wkpipe.server.progress import OneAtATime, Progress
from wkpipe.storage.scratch import Scratch


@dataclass(frozen=True)
class _Item:
    """A cube of a unit that is being written."""

    unit: Position
    grid: UnitGrid
    writer: UnitWriter
    cube: Cube
    is_last: bool


class Downloader:
    """Download units of one mag, with several requests at once."""

    def __init__(self, network: Network, remote: ServedDataset, plan: MagPlan, connections: int) -> None:
        self._network, self._plan = network, plan
        channels = plan.spec.shape[plan.spec.axes.index("c")]
        self._reader = remote.reader(network, plan.first_name, plan.mag, plan.spec.dtype, channels)
        self._connections = connections
        self._lock = threading.Lock()
        self._failure: BaseException | None = None

    def download(
        self, target: StoredArray, units: Iterable[Position], scratch: Scratch, on_voxels: Callable[[int], None] = lambda _: None
    ) -> Generator[tuple[Position, UnitProof], None, None]:
        """Download units of `target` and yield each when it is committed.

        `on_voxels` is called with the number of voxels since its last call. Requests do not wait for the end of a unit, so
        that small units come as fast as large ones.

        Raises:
            ServerError: the server refuses, fails for too long, or does not answer with voxels.
            NotWritable: the disk is full or read-only.
        """
        opened: dict[Position, UnitWriter] = {}
        items = self._items(target, units, scratch, opened)
        try:
            with contextlib.closing(ordered_map(self._fetched, items, self._connections, self._network.abort)) as fetched:
                for item, chunks in fetched:
                    item.writer.append_all(chunks)
                    on_voxels(len(chunks.sizes) * item.grid.chunk.prod())
                    if item.is_last:
                        yield item.unit, opened.pop(item.unit).commit()
        except Stopped:
            assert self._failure is not None, "only a failure stops the others"
            raise self._failure from None
        finally:
            for writer in opened.values():
                writer.discard()

    def _items(
        self, target: StoredArray, units: Iterable[Position], scratch: Scratch, opened: dict[Position, UnitWriter]
    ) -> Iterator[_Item]:
        """Yield the cubes of all units in file order; each unit is opened when its turn comes."""
        for unit in units:
            grid = UnitGrid(target.spec, unit, *self._plan.unit_box(unit))
            writer = opened[unit] = target.unit_writer(unit, scratch)
            cubes = list(grid.cubes(target.spec.chunk_bytes, CUBE_BYTES))
            for cube in cubes:
                yield _Item(unit, grid, writer, cube, cube is cubes[-1])

    def _fetched(self, item: _Item) -> tuple[_Item, EncodedChunks]:
        positions = item.grid.positions(item.cube)
        voxels = self._read(*item.grid.region(item.cube))
        if not has_any(voxels):
            return item, EncodedChunks.fill(positions)
        return item, item.writer.encode_grid(item.grid.whole_chunks(item.cube, voxels), positions - positions[0], positions)

    def _read(self, first: Vec3Int, shape: Vec3Int) -> Voxels:
        """Read a box; the first failure in any thread ends the requests of the others, which may wait for minutes."""
        try:
            return self._reader.read(first, shape)
        except Stopped:
            raise
        except BaseException as error:
            with self._lock:
                self._failure = self._failure or error
            self._network.abort()
            raise


@contextlib.contextmanager
def downloader(
    remote: ServedDataset, plan: MagPlan, threads: int, token: Token, say: Callable[[str], None], policy: Policy | None = None
) -> Iterator[Downloader]:
    """Return a context with a downloader for the units of a mag; `say` gets reports of lasting trouble."""
    connections = connections_of(threads)
    with remote.connected(token, policy) as network:
        network.on_trouble = OneAtATime(_Trouble(say)).trouble
        yield Downloader(network, remote, plan, connections)


class _Trouble(Progress):
    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def trouble(self, text: str) -> None:
        self._say(text)
