"""The one truth about a recording's state: a table, without any I/O.

A recording is one life between ``start()`` and its ``stop`` event. The caller's recorder and the
controller each keep a machine of it: the caller's is ahead (its state changes in the call), the
controller's decides what is done. A missing entry is an error. This module must never know of
sockets, processes or clocks.
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
    """What can happen to it."""

    START = "start"
    OPENED = "opened"
    PAUSE = "pause"
    RESUME = "resume"
    REQUEST_DATA = "request_data"
    STOP = "stop"
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

# The caller's rules (MediaStream Recording, "MediaRecorder methods"): public state -> allowed calls.
ALLOWED_CALLS: dict[str, frozenset[Input]] = {
    "inactive": frozenset({_I.START}),
    "recording": frozenset({_I.PAUSE, _I.RESUME, _I.REQUEST_DATA, _I.STOP}),
    "paused": frozenset({_I.PAUSE, _I.RESUME, _I.REQUEST_DATA, _I.STOP}),
}


def next_phase(phase: Phase, happened: Input) -> Phase:
    """The phase after ``happened``; ``InvalidStateError`` where the table has no entry."""
    try:
        return TABLE[phase, happened]
    except KeyError:
        raise InvalidStateError(f"{happened.value} is not possible while {phase.value}") from None


def check_call(state: str, call: Input) -> None:
    """Raises ``InvalidStateError`` when a caller in this public state may not make this call."""
    if call not in ALLOWED_CALLS[state]:
        allowed = " or ".join(sorted(name for name, calls in ALLOWED_CALLS.items() if call in calls))
        raise InvalidStateError(f"{call.value}() needs state {allowed}, but the recorder is {state}")
