"""A controller that was late itself takes nobody for silent. Without a service."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recsvc.common.limits import LINE_WAITING_MAX, MS, S
from recsvc.common.service import ServiceOptions
from recsvc.common.service_limits import CATALOG_ANSWER_NS, PACE_LATE_NS, PACE_LOOK_NS
from recsvc.controller import callers as callers_module
from recsvc.controller import ending, keeping, supervisor
from recsvc.controller.callers import Callers
from recsvc.controller.pace import Pace
from recsvc.controller.recording import Recording
from recsvc.wire import line, messages


class Time:
    """Goes on as it is said to, in poll and in whoever reads it."""

    def __init__(self) -> None:
        self.ns = 1_000 * S
        self.late_ns = 0  # by how much the next poll is

    def monotonic_ns(self) -> int:
        return self.ns

    def time(self) -> float:
        return 0.0

    def poll(self, wait_ms: int) -> list[Any]:
        self.ns += wait_ms * MS + self.late_ns
        self.late_ns = 0
        return []


def recording(due_ns: int) -> Any:
    found = Recording.__new__(Recording)
    found.due, found.postponed_ns = (due_ns, lambda one: None), 0
    found.name, found.cut = "r", False
    return found


def test_a_turn_that_takes_long_is_nobodys_silence() -> None:
    clock, one, postponed = Time(), recording(0), []
    recordings: Any = SimpleNamespace(active={"r": one})
    patient: Any = SimpleNamespace(postpone=postponed.append)
    pace = Pace(recordings, patient, clock=clock.monotonic_ns)

    def turn(late_ns: int, took_ns: int, due_ns: int | None) -> int:
        """By how much everybody was given more."""
        clock.late_ns = late_ns
        postponed.clear()
        before = one.due[0]
        began_ns = clock.ns
        pace.poll(clock, [None, due_ns])
        limit_ns = 60 * S if due_ns is None else PACE_LOOK_NS
        assert clock.ns - began_ns <= limit_ns + late_ns
        clock.ns += took_ns
        pace.look()
        assert sum(postponed) == one.due[0] - before
        return sum(postponed)

    assert turn(0, 0, None) == turn(0, 0, clock.ns + 100 * S) == 0
    assert turn(PACE_LATE_NS // 3, PACE_LATE_NS // 3, clock.ns + S) == 0
    assert turn(30 * S, 0, clock.ns + S) == 30 * S, "it was halted"
    assert turn(0, 3 * S, clock.ns + S) == 3 * S, "it had much to do"
    assert turn(2 * S, 3 * S, clock.ns + S) == 5 * S


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    found = Time()
    for module in (callers_module, ending, keeping, supervisor, line):
        monkeypatch.setattr(module, "time", found)
    return found


def test_everybody_who_is_waited_for_gets_the_time_that_was_lost(clock: Time, tmp_path: Path) -> None:
    """Those that are taken for hung or gone when they do not answer: roles, lines, the catalog, clients, recordings."""
    killed: list[str] = []

    def child(name: str, deadline_ns: int | None, its_line: Any) -> Any:
        process = SimpleNamespace(kill=lambda: killed.append(name))
        return SimpleNamespace(deadline_ns=deadline_ns, line=its_line, ending=False, process=process)

    stuck = line.Line.__new__(line.Line)
    stuck.descriptor, stuck._read_ns = -1, clock.ns
    stuck._waiting = line.deque([b""] * LINE_WAITING_MAX)
    stuck.flush = lambda: None  # type: ignore[method-assign]
    free: Any = SimpleNamespace(waits=False, is_stuck=False, postpone=lambda lost_ns: None)
    roles = supervisor.Supervisor(None, tmp_path, *[lambda *_: None] * 3)  # type: ignore[arg-type]
    roles._by_descriptor = {1: child("late", clock.ns + S, free), 2: child("stuck", None, stuck)}

    kept: Any = SimpleNamespace(kill=lambda child: killed.append("catalog"))
    catalog = keeping.Keeping(kept, tmp_path, ServiceOptions(spool=str(tmp_path)))
    catalog._child, catalog._unanswered = SimpleNamespace(), {1: clock.ns}  # type: ignore[assignment]

    silent: list[str] = []
    callers = Callers(SimpleNamespace(), lambda client: None, silent.append)
    callers.came(b"", messages.Ping(client="c"))

    active: Any = SimpleNamespace(active={"r": recording(clock.ns + S)}, workers=SimpleNamespace(end=lambda: None))
    host: Any = SimpleNamespace(ending=lambda count: None, ended=lambda *_: killed.append("ended"))
    end = ending.Ending(active, SimpleNamespace(children=[1], end=lambda child: None), host, 0)  # type: ignore[arg-type]
    active.active["r"].hurry = lambda at_ns: None
    end.begin(lambda *_: None)

    pace = Pace(active, roles, callers, catalog, end, clock=clock.monotonic_ns)
    lost_ns = 2 * CATALOG_ANSWER_NS
    clock.late_ns = lost_ns
    pace.poll(clock, [clock.ns])
    for part in (pace, roles, callers, catalog):
        part.look()
    assert not end.is_over()
    assert not killed and not silent
    assert active.active["r"].due[0] > clock.ns
    for _ in range(2 * CATALOG_ANSWER_NS // PACE_LOOK_NS):
        pace.poll(clock, [clock.ns + S])
    for part in (pace, roles, callers, catalog):
        part.look()
    end.is_over()
    assert sorted(killed) == ["catalog", "ended", "late", "stuck"] and silent == ["c"], "who is really silent"
