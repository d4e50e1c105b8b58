"""A client of which nothing comes: what becomes of its recordings. Without a service."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from recsvc.common.service_limits import LEASE_NS
from recsvc.common.state import Phase
from recsvc.controller.leases import Leases
from recsvc.wire import messages

SILENT_NS, S_AGO = LEASE_NS + 1, 1_000_000_000


class Recording:
    def __init__(self, name: str, phase: Phase, silence_ns: int) -> None:
        self.name, self.phase, self.silence_ns = name, phase, silence_ns
        self.pushed, self.worker = [f"{name}/track"], self
        self.failed = self.orphaned = False

    def fail(self, error: str, text: str) -> None:
        self.failed = True


def after_silence(*own: Recording) -> bool:
    """Whether its client was given up."""
    given_up: list[str] = []
    signs = [0]

    def ask(worker: Recording, request: messages.AskSilence, on_reply: Any) -> None:
        on_reply(messages.Reply(id=0, result=worker.silence_ns))

    def give_up(client: str) -> None:
        given_up.append(client)
        leases.gone(client)

    callers: Any = SimpleNamespace(
        alive_ns=lambda client: signs[0],
        alive=lambda client, at_ns: signs.append(at_ns),
        give_up=give_up,
    )
    recordings: Any = SimpleNamespace(of=lambda client: own, orphan=lambda one: setattr(one, "orphaned", True))
    sources: Any = SimpleNamespace(close_client=lambda client: None, tracks_of=lambda client: ())
    leases = Leases(callers, SimpleNamespace(ask=ask), sources, recordings)  # type: ignore[arg-type]
    leases.silent("c")
    assert bool(given_up) is (len(signs) == 1)
    assert all(at_ns <= time.monotonic_ns() for at_ns in signs)
    return bool(given_up)


def test_a_stop_that_takes_long_is_no_failure_of_who_waits_for_it() -> None:
    stopping = Recording("a", Phase.STOPPING, SILENT_NS)
    assert after_silence(stopping)
    assert not stopping.failed and stopping.orphaned


def test_what_goes_on_has_failed_and_what_was_stopped_has_not() -> None:
    stopping, paused = Recording("a", Phase.STOPPING, SILENT_NS), Recording("b", Phase.PAUSED, SILENT_NS)
    assert after_silence(stopping, paused)
    assert paused.failed and paused.orphaned and not stopping.failed


@pytest.mark.parametrize("phase", [Phase.RECORDING, Phase.PAUSED, Phase.STOPPING])
def test_frames_that_still_come_are_signs_of_life(phase: Phase) -> None:
    assert not after_silence(Recording("a", Phase.RECORDING, SILENT_NS), Recording("b", phase, S_AGO))
