"""The one truth about a recording's state: a table, without any I/O.

A recording is one life between ``start()`` and its ``stop`` event. The caller's recorder and the controller each keep a
phase of it by this table: the caller's is ahead (it changes in the call), the controller's decides what is done. A
missing entry is an error. This module must never know of sockets, processes or clocks.
"""

from __future__ import annotations

from enum import Enum

from ..errors import InvalidStateError


class Phase(Enum):
    """Where a recording is in its life."""

    IDLE = "idle"
    OPENING = "opening"
    RECORDING = "recording"
    PAUSED = "paused"
    STOPPING = "stopping"


class Input(Enum):
    """What can happen to it: the recorder's methods, then what the service sees."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    REQUEST_DATA = "request_data"
    STOP = "stop"
    OPENED = "opened"
    FAIL = "fail"
    TRACKS_ENDED = "tracks_ended"
    FINISHED = "finished"


_P, _I = Phase, Input

TABLE: dict[tuple[Phase, Input], Phase] = {
    (_P.IDLE, _I.START): _P.OPENING,
    (_P.OPENING, _I.OPENED): _P.RECORDING,
    # Its source, its caller or the service may end while it is being opened.
    (_P.OPENING, _I.STOP): _P.STOPPING,
    (_P.OPENING, _I.FAIL): _P.STOPPING,
    (_P.OPENING, _I.TRACKS_ENDED): _P.STOPPING,
    (_P.OPENING, _I.FINISHED): _P.IDLE,
    (_P.RECORDING, _I.PAUSE): _P.PAUSED,
    (_P.RECORDING, _I.RESUME): _P.RECORDING,
    (_P.RECORDING, _I.REQUEST_DATA): _P.RECORDING,
    (_P.RECORDING, _I.STOP): _P.STOPPING,
    (_P.RECORDING, _I.FAIL): _P.STOPPING,
    (_P.RECORDING, _I.TRACKS_ENDED): _P.STOPPING,
    (_P.PAUSED, _I.PAUSE): _P.PAUSED,
    (_P.PAUSED, _I.RESUME): _P.RECORDING,
    (_P.PAUSED, _I.REQUEST_DATA): _P.PAUSED,
    (_P.PAUSED, _I.STOP): _P.STOPPING,
    (_P.PAUSED, _I.FAIL): _P.STOPPING,
    (_P.PAUSED, _I.TRACKS_ENDED): _P.STOPPING,
    (_P.STOPPING, _I.FINISHED): _P.IDLE,
    # What was under way when the other side stopped or failed first; it changes nothing any more.
    (_P.STOPPING, _I.OPENED): _P.STOPPING,
    (_P.STOPPING, _I.STOP): _P.STOPPING,
    (_P.STOPPING, _I.FAIL): _P.STOPPING,
    (_P.STOPPING, _I.TRACKS_ENDED): _P.STOPPING,
    (_P.STOPPING, _I.PAUSE): _P.STOPPING,
    (_P.STOPPING, _I.RESUME): _P.STOPPING,
    (_P.STOPPING, _I.REQUEST_DATA): _P.STOPPING,
}

PUBLIC: dict[Phase, str] = {
    _P.IDLE: "inactive",
    _P.OPENING: "recording",
    _P.RECORDING: "recording",
    _P.PAUSED: "paused",
    _P.STOPPING: "inactive",
}
"""The recorder's ``state`` (MediaStream Recording, "RecordingState"). It is idle where it has no recording."""

_CALLS = (_I.START, _I.PAUSE, _I.RESUME, _I.REQUEST_DATA, _I.STOP)
_AT_REST = (_P.IDLE, _P.RECORDING, _P.PAUSED)  # the phases in which a caller's calls are decided


def next_phase(phase: Phase, happened: Input) -> Phase:
    """The phase after ``happened``; ``InvalidStateError`` where the table has no entry."""
    try:
        return TABLE[phase, happened]
    except KeyError:
        raise InvalidStateError(f"{happened.value} is not possible while {phase.value}") from None


class Life:
    """The phase of one recording, from its ``start`` on."""

    def __init__(self) -> None:
        self.phase = next_phase(Phase.IDLE, Input.START)

    def happened(self, what: Input) -> bool:
        """Applies an input; whether the phase changed. ``InvalidStateError`` where the table has none."""
        before = self.phase
        self.phase = next_phase(before, what)
        return self.phase is not before


def allowed_calls(state: str) -> tuple[Input, ...]:
    """The methods that may be called in this public state."""
    return tuple(call for call in _CALLS if any((p, call) in TABLE for p in _AT_REST if PUBLIC[p] == state))


def check_call(phase: Phase, call: Input) -> None:
    """Raises ``InvalidStateError`` when a caller may not make this call in this phase."""
    state = PUBLIC[phase]
    if call not in allowed_calls(state):
        states = dict.fromkeys(PUBLIC.values())
        allowed = " or ".join(sorted(one for one in states if call in allowed_calls(one)))
        raise InvalidStateError(f"{call.value}() needs state {allowed}, but the recorder is {state}")
