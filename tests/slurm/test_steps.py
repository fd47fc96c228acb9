"""The other commands also run their tasks as jobs of Slurm, but for tasks that need the token."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster_helpers import LAYER, MANY_JOBS, assert_same, copy_of, damage, profile_with
from tests.server.wk_server.server import WkServer
from tests.server.workflow.watched import TOKEN, Server, no_token_in
from tests.slurm.cluster.cluster import Cluster
from tests.slurm.slurm_helpers import ON_SLURM, jobs_of, started
from tests.workflow.workflow_helpers import SHARDS, VOXEL_SIZE, WKPIPE, data_files, identities
from wkpipe.cli.remote_convert import check_shared
from wkpipe.errors import InputRefused

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory outside the places that are local to each host."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = next((place for place in (cache, Path("/srv"), Path("/opt")) if _may_be_shared(place)), None)
    if place is None:
        pytest.skip("there is no directory here that other hosts might see")
    with tempfile.TemporaryDirectory(dir=place, prefix="wkpipe-shared-") as directory:
        yield Path(directory)


def _may_be_shared(place: Path) -> bool:
    try:
        check_shared(place)
    except InputRefused:
        return False
    return place.is_dir()


def test_verify_repairs_by_jobs(slurm: Cluster, pyramid: Path, tmp_path: Path) -> None:
    """The finest mag is made again from the images, the others from their finer ones."""
    dataset = copy_of(pyramid, tmp_path / "work")
    before = identities(dataset)
    shards = [sorted(path for path in (dataset / LAYER / mag).rglob("c/*/*/*/*") if path.is_file()) for mag in ("1", "2-2-1", "4-4-2")]
    finest, lost, damaged = shards[0][0], shards[1][1], shards[2][0]
    damage(finest)
    lost.unlink()
    damage(damaged)
    command = [*WKPIPE, "verify", str(dataset), *ON_SLURM]
    with started(slurm, [*command, "--repair"], tmp_path / "out", **MANY_JOBS) as run:
        output = run.ends_with(0)
    assert output.count("found: ") == 3
    assert_same(dataset, pyramid)
    after = identities(dataset)
    assert {dataset / name for name in before if before[name] != after[name]} == {finest, lost, damaged}
    assert {job.state for job in jobs_of(slurm, dataset)} == {"COMPLETED"}


def test_remote_convert_uploads_from_here(slurm: Cluster, stack: Path, expected: Path, shared: Path, tmp_path: Path) -> None:
    """Jobs make the dataset, this host sends it; no job sees the token, although Slurm passes the environment on."""
    seen = shared / "seen"
    seen.mkdir()
    profile = profile_with("slurm", shared / "profile", {"wkpipe-slurm-setup": f"env > {seen}/$SLURM_JOB_ID"})
    command = [
        *(*WKPIPE, "remote-convert", str(stack), "--voxel-size", VOXEL_SIZE, *SHARDS, "--work-dir", str(shared / "work")),
        *(*ON_SLURM, *profile),
    ]
    (shared / "work").mkdir()
    arrays = {name: found for name, found in data_files(expected).items() if name.count("/") > 1}
    with WkServer(tmp_path / "server", TOKEN) as wk:
        server = Server(wk)
        with started(
            slurm, [*command, "--webknossos-url", server.url], tmp_path / "out", WK_TOKEN=TOKEN, PROBE="handed-on", **MANY_JOBS
        ) as run:
            output = run.ends_with(0)
        assert server.trees() == [arrays]
        assert f"uploaded: {server.page}" in output
        wk.check()
    jobs = jobs_of(slurm, shared)
    assert len(jobs) >= 4
    assert {job.state for job in jobs} == {"COMPLETED"}
    assert not [job for job in jobs if "upload" in job.name]
    assert {path.name for path in seen.iterdir()} == {job.id for job in jobs}
    assert all("PROBE=handed-on" in path.read_text() for path in seen.iterdir())
    no_token_in(seen, output)
    assert not any((shared / "work").iterdir())


def test_verify_and_adopt_read_by_jobs(slurm: Cluster, pyramid: Path, tmp_path: Path) -> None:
    """The report is that of this host; lost records are restored, and jobs prove a copy without times."""
    dataset = copy_of(pyramid, tmp_path / "work")
    for segment in (dataset / ".wkpipe" / "ledger" / LAYER / "2-2-1").glob("*.segment"):
        segment.unlink()
    verify = [*WKPIPE, "verify", str(dataset), *ON_SLURM]
    with started(slurm, verify, tmp_path / "lost", **MANY_JOBS) as run:
        assert "no record of it in the ledger" in run.ends_with(4)
    with started(slurm, [*verify, "--adopt"], tmp_path / "adopted", **MANY_JOBS) as run:
        assert "nothing is wrong" in run.ends_with(0)
    assert {job.state for job in jobs_of(slurm, dataset)} == {"COMPLETED"}
    assert any("verify" in job.name for job in jobs_of(slurm, dataset))
    for path in (dataset / LAYER).rglob("c/*/*/*/*"):
        os.utime(path)
    before = identities(dataset)
    with started(slurm, [*WKPIPE, "downsample", str(dataset), *ON_SLURM], tmp_path / "proven", **MANY_JOBS) as run:
        assert "0 storage shards made" in run.ends_with(0)
    assert identities(dataset) == before
    assert any("prove" in job.name for job in jobs_of(slurm, dataset))
