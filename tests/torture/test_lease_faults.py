"""A file that cannot be read does not count as missing; a run that lost the lease gives no file its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.faulty_disk import FaultyOs
from wkpipe.errors import NotWritable, TryAgain
from wkpipe.storage.group import PendingGroup, replace_files
from wkpipe.storage.lease import RunLease, read_epoch
from wkpipe.storage.local import Local
from wkpipe.storage.scratch import Scratch


def test_an_epoch_that_cannot_be_read_does_not_begin_again(tmp_path: Path) -> None:
    for _ in range(3):
        with RunLease(Local(tmp_path)):
            pass
    with FaultyOs(1, "EIO", reads=True).installed(), pytest.raises(NotWritable, match="input/output error"):
        read_epoch(Local(tmp_path))
    assert read_epoch(Local(tmp_path)) == 3


def test_a_lease_that_cannot_be_read_is_not_lost(tmp_path: Path) -> None:
    with RunLease(Local(tmp_path)) as lease:
        with FaultyOs(1, "EIO", reads=True).installed(), pytest.raises(NotWritable, match="input/output error"):
            lease.epoch.check()
        failure = NotWritable("something else")
        with FaultyOs(1, "EIO", reads=True).installed():
            assert lease.epoch.cause_of(failure) is failure
        lease.epoch.check()
        lease.path.unlink()
        assert isinstance(lease.epoch.cause_of(failure), TryAgain)


def test_an_orphan_is_stopped_before_its_files_get_their_names(tmp_path: Path) -> None:
    file = tmp_path / "0"
    with RunLease(Local(tmp_path / "locks")) as lease:
        scratch = Scratch(tmp_path / "tmp", lease.epoch.check)
        replace_files({file: b"the run's"}, scratch)
        lease.path.unlink()
        group = PendingGroup(scratch)
        group.add(file, b"the orphan's")
        with pytest.raises(TryAgain):
            group.commit()
        with pytest.raises(TryAgain):
            replace_files({file: b"the orphan's"}, scratch)
    assert file.read_bytes() == b"the run's"
