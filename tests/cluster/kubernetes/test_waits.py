"""For how long jobs may wait."""

from __future__ import annotations

import pytest

from wkpipe.cluster.backend import Cause, Outlook, Phase, Seen
from wkpipe.cluster.kubernetes.reasons import Look, Wait
from wkpipe.cluster.kubernetes.waits import WAIT_MINUTES, Waits


def pending(wait: Wait | None, id_: str = "a") -> Look:
    return Look(Seen(id_, id_, Phase.PENDING, "", None, "why", Outlook.ODD), wait)


RUNNING = Look(Seen("b", "b", Phase.RUNNING))


@pytest.mark.parametrize("wait", [Wait.IMAGE, Wait.NODE, Wait.START])
def test_a_job_that_waits_for_too_long_never_starts(wait: Wait) -> None:
    waits, seconds = Waits.of({}), 60 * WAIT_MINUTES[wait]
    assert waits.limited([pending(wait)], 1000.0)[0].outlook is Outlook.ODD
    assert waits.limited([pending(wait)], 999.0 + seconds)[0].outlook is Outlook.ODD
    (seen,) = waits.limited([pending(wait)], 1000.0 + seconds)
    assert (seen.outlook, seen.reason) == (Outlook.NEVER, f"why; it has waited for {WAIT_MINUTES[wait]:g} minutes")


def test_a_limit_is_an_option() -> None:
    waits = Waits.of({"image-minutes": "1"})
    waits.limited([pending(Wait.IMAGE)], 0.0)
    (seen,) = waits.limited([pending(Wait.IMAGE)], 60.0)
    assert seen.reason == "why; it has waited for 1 minute"


def test_the_time_begins_again_if_the_reason_was_another_one_meanwhile() -> None:
    waits = Waits.of({"image-minutes": "5"})
    waits.limited([pending(Wait.IMAGE)], 0.0)
    waits.limited([pending(None)], 200.0)
    waits.limited([pending(Wait.IMAGE)], 250.0)
    assert waits.limited([pending(Wait.IMAGE)], 301.0)[0].outlook is Outlook.ODD


def test_what_has_no_limit_waits_for_ever() -> None:
    waits = Waits.of({})
    assert {waits.limited([pending(None)], float(now))[0].outlook for now in (0, 10**6)} == {Outlook.ODD}


def test_while_others_run_it_is_usual_to_wait_for_their_nodes() -> None:
    waits = Waits.of({"node-minutes": "1"})
    for now in (0.0, 100.0, 200.0):
        assert waits.limited([pending(Wait.NODE), RUNNING], now)[0].outlook is Outlook.USUAL
    assert waits.limited([pending(Wait.NODE)], 250.0)[0].outlook is Outlook.ODD
    assert waits.limited([pending(Wait.NODE)], 261.0)[0].outlook is Outlook.NEVER


def test_a_pod_that_does_not_end_has_lost_its_node() -> None:
    waits = Waits.of({"lost-minutes": "2"})
    look = Look(Seen("a", "a", Phase.RUNNING, "Terminating", None, "its node n does not answer"), Wait.LOST)
    assert waits.limited([look], 0.0) == [look.seen]
    (seen,) = waits.limited([look], 120.0)
    assert (seen.phase, seen.outlook, seen.cause) == (Phase.RUNNING, Outlook.HELD, Cause.NODE)
    assert seen.is_live
