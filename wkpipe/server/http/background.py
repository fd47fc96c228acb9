"""Run calls in threads while the main thread shows progress and can take signals at any time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from wkpipe.server.http.network import Network, Stopped

TICK_SECONDS = 0.2
STOP_SECONDS = 5.0


def in_background(network: Network, calls: Sequence[Callable[[], None]], tick: Callable[[], None]) -> None:
    """Run calls side by side and return when all are done. The first error ends all of them and is raised.

    Whatever ends the waiting, even a signal, aborts the network: threads that wait for a server wake up.
    """
    errors: list[BaseException] = []
    left = threading.Semaphore(0)

    def run(call: Callable[[], None]) -> None:
        try:
            call()
        except Stopped:
            pass
        except BaseException as error:
            errors.append(error)
        finally:
            left.release()

    threads = [threading.Thread(target=run, args=(call,), name=f"wkpipe-upload-{i}", daemon=True) for i, call in enumerate(calls)]
    try:
        for thread in threads:
            thread.start()
        done = 0
        while done < len(threads) and not errors:
            if left.acquire(timeout=TICK_SECONDS):
                done += 1
            else:
                tick()
        if errors:
            raise errors[0]
        tick()
    except BaseException:
        network.abort()
        _join(threads)
        raise


def _join(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        if thread.ident is not None:  # it was started
            thread.join(STOP_SECONDS)
