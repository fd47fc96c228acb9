"""Large uploads: memory does not grow with the size of files, and hardly grows with their number."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.upload_helpers import SECRET, write_chunk_files
from tests.server.wk_server.process import ServerProcess

MOST_MB = 200


def peak_mb(dataset: Path, url: str, *more: str) -> float:
    """Upload with the command; return the peak resident memory of its process."""
    command = [
        "upload",
        str(dataset),
        "--webknossos-url",
        url,
        "--dataset-name",
        "large",
        "--state-dir",
        str(dataset.parent / "state"),
        *more,
    ]
    code = (
        "import sys; from wkpipe.cli.app import run_app; code = run_app(sys.argv[1:]); "
        "from wkpipe.storage.process import peak_memory; print('peak', peak_memory()); sys.exit(code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, env={**os.environ, "WK_TOKEN": SECRET}, check=False
    )
    assert result.returncode == 0, result.stderr
    return int(result.stdout.rpartition("peak")[2]) / 1e6


@pytest.mark.slow
@pytest.mark.sampled(every=2)
def test_memory_of_a_file_of_5_gb(small_dataset: Path, tmp_path: Path) -> None:
    dataset = Path(shutil.copytree(small_dataset, tmp_path / "data"))
    with (dataset / "color/1/zz_large").open("wb") as file:
        file.truncate(5 << 30)
    with ServerProcess(tmp_path / "server", SECRET, keep="small") as server:
        peak = peak_mb(dataset, server.url, "--chunk-size", "100M")
        sent = server.ask("chunk_bytes")
        server.check()
    print(f"{sent / 1e9:.1f} GB, at most {peak:.0f} MB of memory")
    assert sent > 5 << 30
    assert peak < MOST_MB


@pytest.mark.slow
@pytest.mark.sampled(every=2)
@pytest.mark.timeout(1800)
def test_memory_of_100_000_files(small_dataset: Path, tmp_path: Path) -> None:
    dataset = Path(shutil.copytree(small_dataset, tmp_path / "data"))
    write_chunk_files(dataset / "color/1/more", 100_000)
    with ServerProcess(tmp_path / "server", SECRET) as server:
        peak = peak_mb(dataset, server.url)
        assert server.ask("most_chunks_in_flight") <= 5
        server.check()
    journal = sum(path.stat().st_size for path in (tmp_path / "state").rglob("*") if path.is_file())
    print(f"at most {peak:.0f} MB of memory, {journal / 1e6:.1f} MB of journal")
    assert peak < MOST_MB
    assert journal < 100_000 * 200
    shutil.rmtree(tmp_path / "server")
