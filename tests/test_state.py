"""The transition table, checked against rules that are written down a second time, in other words."""

import runpy
from pathlib import Path

import pytest

from recsvc.common.state import PUBLIC, TABLE, Input, Phase, allowed_calls, check_call, next_phase
from recsvc.errors import InvalidStateError


def walk(*inputs: Input) -> Phase:
    phase = Phase.IDLE
    for happened in inputs:
        phase = next_phase(phase, happened)
    return phase


def test_a_whole_life() -> None:
    phase = walk(Input.START, Input.OPENED, Input.PAUSE, Input.RESUME, Input.STOP)
    assert phase is Phase.STOPPING
    assert PUBLIC[phase] == "inactive"
    assert next_phase(phase, Input.FINISHED) is Phase.IDLE


def test_every_phase_has_a_public_state_and_can_be_left() -> None:
    assert set(PUBLIC) == set(Phase)
    for phase in Phase:
        assert any(before is phase and after is not phase for (before, _), after in TABLE.items())


def test_from_every_active_phase_idle_is_reached_through_a_stop_or_a_failure() -> None:
    for phase in (Phase.OPENING, Phase.RECORDING, Phase.PAUSED):
        for why in (Input.STOP, Input.FAIL, Input.TRACKS_ENDED):
            assert next_phase(next_phase(phase, why), Input.FINISHED) is Phase.IDLE


def test_what_comes_late_while_stopping_changes_nothing() -> None:
    for late in set(Input) - {Input.START, Input.FINISHED}:
        assert next_phase(Phase.STOPPING, late) is Phase.STOPPING


@pytest.mark.parametrize("happened", [i for i in Input if i is not Input.START])
def test_nothing_but_start_happens_to_an_idle_recorder(happened: Input) -> None:
    with pytest.raises(InvalidStateError, match=happened.value):
        next_phase(Phase.IDLE, happened)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("call", [Input.START, Input.PAUSE, Input.RESUME, Input.REQUEST_DATA, Input.STOP])
def test_calls_allowed_by_the_specification(phase: Phase, call: Input) -> None:
    state = PUBLIC[phase]
    allowed = (call is Input.START) == (state == "inactive")
    assert (call in allowed_calls(state)) == allowed
    if allowed:
        check_call(phase, call)
    else:
        needed = "inactive" if call is Input.START else "paused or recording"
        text = rf"^{call.value}\(\) needs state {needed}, but the recorder is {state}$"
        with pytest.raises(InvalidStateError, match=text):
            check_call(phase, call)


def test_the_picture_in_the_documents_is_that_of_the_table() -> None:
    root = Path(__file__).resolve().parent.parent
    drawn = runpy.run_path(str(root / "tools" / "draw_state.py"))["draw"]()
    assert (root / "docs" / "state.svg").read_text() == drawn, "draw it again: python tools/draw_state.py"
