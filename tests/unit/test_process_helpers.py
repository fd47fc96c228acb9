"""The helpers of tests that stop and kill processes: these may end at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil

from tests.cluster.cluster_helpers import stopped
from tests.workflow.workflow_helpers import kill_tree, send

FAMILY = "import subprocess, sys, time; subprocess.Popen(['sleep', '1000']); print(flush=True); time.sleep(1000)"
THREADS = "import threading, time; threading.Thread(target=time.sleep, args=(1000,)).start(); print(flush=True); time.sleep(1000)"


def started(code: str) -> psutil.Popen:
    """Start a program, and return when it prints a line."""
    process = psutil.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


def test_a_family_is_killed() -> None:
    process = started(FAMILY)
    (child,) = process.children()
    kill_tree(process)
    assert process.returncode == -signal.SIGKILL
    assert not child.is_running()


def test_a_process_that_has_ended_may_be_killed() -> None:
    process = psutil.Popen(["true"])
    process.wait(300)
    kill_tree(process)
    assert process.returncode == 0


def test_those_that_are_stopped_are_returned_and_others_are_not() -> None:
    process, ended, unreaped = started(THREADS), started("print()"), started("print()")
    ended.wait(300)
    os.waitid(os.P_PID, unreaped.pid, os.WEXITED | os.WNOWAIT)
    try:
        assert stopped([ended, process, unreaped]) == [process]
        states = [psutil.Process(thread.id).status() for thread in process.threads()]
        assert states == [psutil.STATUS_STOPPED] * 2
        send(signal.SIGCONT, [ended, process])
    finally:
        for each in (process, unreaped):
            kill_tree(each)
