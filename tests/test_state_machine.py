"""Random calls in random orders, against small models written independently: the table, and a real recorder.

A failure prints the calls that led to it and a line that repeats them (``@reproduce_failure``).
"""

import contextlib
import time
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from listening import record_events, types_of
from media import assert_rising, counter_picture, decode, tone

import recsvc
from recsvc.common import state
from recsvc.common.state import Input
from recsvc.errors import InvalidStateError, NotSupportedError

# Less than elsewhere, for a failure is repeated before it is reported.
HEARD_LIMIT_S = 15.0

RANDOM = settings(
    deadline=None,
    print_blob=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # what takes real time is not worth shrinking: the calls are few
)
PURE = settings(RANDOM, max_examples=100, stateful_step_count=60, phases=[Phase.generate, Phase.shrink])
REAL = settings(RANDOM, max_examples=40, stateful_step_count=50)


class TheTable(RuleBasedStateMachine):
    """The table against three facts: is there a recording, is it open, is it ending; and whether it is paused."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = state.Phase.IDLE
        self.alive = self.open = self.ending = self.paused = False

    @rule(happened=st.sampled_from(list(Input)))
    def happen(self, happened: Input) -> None:
        try:
            after = state.next_phase(self.phase, happened)
        except InvalidStateError as error:
            assert not self.possible(happened), f"{happened} was refused"
            assert happened.value in str(error) and self.phase.value in str(error)
            return
        assert self.possible(happened), f"{happened} was accepted"
        self.follow(happened)
        self.phase = after

    def possible(self, happened: Input) -> bool:
        if not self.alive or happened is Input.START:
            return not self.alive and happened is Input.START
        if happened is Input.FINISHED:
            return self.ending or not self.open
        if happened is Input.OPENED:
            return not self.open or self.ending
        ends = (Input.STOP, Input.FAIL, Input.TRACKS_ENDED)  # possible while it is being opened, too
        return self.open or self.ending or happened in ends

    def follow(self, happened: Input) -> None:
        if happened is Input.START:
            self.alive, self.open, self.ending, self.paused = True, False, False, False
        elif happened is Input.FINISHED:
            self.alive = self.open = self.ending = False
        elif happened is Input.OPENED:
            self.open = True
        elif happened in (Input.STOP, Input.FAIL, Input.TRACKS_ENDED):
            self.ending = True
        elif happened in (Input.PAUSE, Input.RESUME) and not self.ending:
            self.paused = happened is Input.PAUSE

    @invariant()
    def public(self) -> None:
        active = self.alive and not self.ending
        expected = ("paused" if self.paused else "recording") if active else "inactive"
        assert state.PUBLIC[self.phase] == expected
        for call in (Input.START, Input.STOP, Input.PAUSE, Input.RESUME, Input.REQUEST_DATA):
            try:
                state.check_call(self.phase, call)
            except InvalidStateError:
                assert active == (call is Input.START)
            else:
                assert active == (call is not Input.START)


def test_the_table_against_a_model() -> None:
    run_state_machine_as_test(TheTable, settings=PURE)


class Session:
    """What one recording should fire and hold."""

    def __init__(self, tracks: list[Any], with_timeslice: bool) -> None:
        self.tracks = tracks  # those that still live
        self.with_timeslice = with_timeslice
        self.events = ["start"]
        self.numbers: list[int] = []
        self.samples = 0
        self.ends_by_itself = False
        self.ended_meanwhile = False

    def end(self, *events: str, by_itself: bool) -> None:
        self.events += [*events, "dataavailable", "stop"]
        self.ends_by_itself = by_itself

    @property
    def over(self) -> bool:
        return self.events[-1] == "stop"

    def expected(self, types: list[str]) -> list[str]:
        """The types that are the model's business. With a timeslice it is not the number of pieces, but that the last
        one comes before stop. After a change of the stream a stop(), or the end of all tracks, may come before anybody
        has looked at it: then there is no error."""
        if self.with_timeslice:
            types = [
                type for n, type in enumerate(types) if type != "dataavailable" or types[n + 1 : n + 2] == ["stop"]
            ]
        if self.ended_meanwhile:
            types = [type for type in types if type != "error"]
        return types


class TheRecorder(RuleBasedStateMachine):
    """A recorder of pushed tracks: random calls and what happens to its tracks, against ``Session``s."""

    def __init__(self) -> None:
        super().__init__()
        self.stream = recsvc.MediaStream()
        self.sources: list[Any] = []
        self.recorder = recsvc.MediaRecorder(self.stream)
        self.events = record_events(self.recorder)
        self.state = "inactive"
        self.sessions: list[Session] = []
        self.number = 0

    # --- the model --------------------------------------------------------------------------------

    @property
    def session(self) -> Session | None:
        """The active one, which may be about to end by itself."""
        return self.sessions[-1] if self.state != "inactive" else None

    @property
    def sure(self) -> bool:
        """Whether the state is known: a recording that ends by itself takes its time."""
        return self.session is None or not self.session.over

    def call(self, name: str, allowed: bool, *arguments: Any) -> bool:
        """Makes a call; whether it was done. It raises exactly when it is not allowed."""
        try:
            assert getattr(self.recorder, name)(*arguments) is None
        except InvalidStateError as error:
            assert not allowed, f"{name}() was refused: {error}"
            assert f"{name}()" in str(error) and self.state in str(error)
            return False
        assert allowed, f"{name}() was accepted"
        return True

    def modified(self) -> None:
        if self.session is not None and not self.session.over:
            self.session.end("error", by_itself=True)

    def track_ended(self, source: Any) -> None:
        session = self.session
        if session is None or source not in session.tracks:
            return
        session.tracks.remove(source)
        if not session.tracks and session.over:
            session.ended_meanwhile = True
        elif not session.tracks:
            session.end(by_itself=True)

    # --- calls ------------------------------------------------------------------------------------

    @precondition(lambda self: self.state == "inactive")
    @rule(kinds=st.sampled_from(["v", "av"]), timeslice=st.sampled_from([None, None, 0, 50]))
    def start_with_new_tracks(self, kinds: str, timeslice: int | None) -> None:
        for source in self.sources:
            self.stream.remove_track(source.track)
        self.sources.clear()
        for kind in kinds:
            self.add_source(kind)
        self.start(timeslice)

    @precondition(lambda self: self.sure)
    @rule(timeslice=st.sampled_from([None, None, 0, 50]))
    def start(self, timeslice: int | None) -> None:
        live = [source for source in self.sources if source.track.ready_state == "live"]
        kinds = [source.track.kind for source in live]
        if self.state == "inactive" and (not live or len(set(kinds)) < len(kinds)):
            try:
                self.recorder.start(timeslice)
            except NotSupportedError:
                return
            raise AssertionError(f"tracks {kinds} were accepted")
        if self.call("start", self.state == "inactive", timeslice):
            self.state = "recording"
            self.sessions.append(Session(live, timeslice is not None))

    @rule()
    def stop(self) -> None:
        session = self.session
        if session is not None and session.over:  # it may have ended by itself already
            with contextlib.suppress(InvalidStateError):
                self.recorder.stop()
                session.ended_meanwhile = True
        elif self.call("stop", session is not None) and session is not None:
            session.end(by_itself=False)
        self.state = "inactive"

    @precondition(lambda self: self.sure)
    @rule()
    def pause(self) -> None:
        if self.call("pause", self.state != "inactive") and self.state != "paused":
            self.state = "paused"
            self.sessions[-1].events.append("pause")

    @precondition(lambda self: self.sure)
    @rule()
    def resume(self) -> None:
        if self.call("resume", self.state != "inactive") and self.state != "recording":
            self.state = "recording"
            self.sessions[-1].events.append("resume")

    @precondition(lambda self: self.sure)
    @rule()
    def request_data(self) -> None:
        if self.call("request_data", self.state != "inactive"):
            self.sessions[-1].events.append("dataavailable")

    # --- tracks -----------------------------------------------------------------------------------

    def add_source(self, kind: str) -> None:
        if kind == "v":
            source: Any = recsvc.VideoSource(64, 48, when_full="wait")
        else:
            source = recsvc.AudioSource(48_000, 1, when_full="wait")
        self.sources.append(source)
        self.stream.add_track(source.track)
        self.modified()

    @rule(data=st.data(), what=st.sampled_from(["add", "add again", "remove", "end source", "stop track"]))
    def change_tracks(self, data: st.DataObject, what: str) -> None:
        if what == "add" or not self.sources:
            self.add_source(data.draw(st.sampled_from("av")))
            return
        source = self.sources[data.draw(st.integers(0, 9)) % len(self.sources)]
        if what == "add again":
            self.stream.add_track(source.track)
        elif what == "remove":
            self.stream.remove_track(source.track)
            self.sources.remove(source)
            self.modified()
        else:
            if what == "end source":
                source.end()
            else:
                source.track.stop()
            assert source.track.ready_state == "ended"
            self.track_ended(source)

    @rule(which=st.integers(0, 9), count=st.integers(1, 5))
    def write(self, which: int, count: int) -> None:
        if not self.sources:
            return
        source = self.sources[which % len(self.sources)]
        session = self.session
        wanted = session is not None and self.state == "recording" and source in session.tracks
        for _ in range(count):
            video = source.track.kind == "video"
            frame = counter_picture(self.number, 64, 48) if video else tone(480)
            try:
                taken = source.write(frame)
            except InvalidStateError:
                assert source.track.ready_state == "ended", "it was not ended"
                return
            # After a change of the stream frames are taken until somebody has looked at it.
            assert taken is wanted or (wanted and session is not None and session.over)
            if taken and session is not None:
                session.numbers += [self.number] if video else []
                session.samples += 0 if video else 480
            self.number += 1

    # --- what was fired ---------------------------------------------------------------------------

    def heard(self) -> list[list[Any]]:
        """The events so far, by recording."""
        found: list[list[Any]] = [[]]
        for event in list(self.events):
            found[-1].append(event)
            if event.type == "stop":
                found.append([])
        return found if found[-1] else found[:-1]

    @rule()
    def settle(self) -> None:
        """All that was promised so far is fired, in this order, and holds what was written."""
        expected = [session.expected(session.events) for session in self.sessions]
        deadline_s = time.monotonic() + HEARD_LIMIT_S
        while True:
            heard = self.heard()
            types = [session.expected(types_of(events)) for events, session in zip(heard, self.sessions, strict=False)]
            if types == expected and len(heard) == len(self.sessions):
                break
            assert time.monotonic() < deadline_s, f"expected {expected}, got {types}"
            time.sleep(0.002)
        if self.session is not None and self.session.over:
            self.state = "inactive"
        for session, events in zip(self.sessions, heard, strict=True):
            if session.over:
                self.check_media(session, [event for event in events if event.type == "dataavailable"])
                session.numbers = []
        if self.session is None:
            for track in self.recorder.statistics().tracks:
                assert track.frames_accepted == track.frames_encoded and track.frames_dropped == 0

    def check_media(self, session: Session, pieces: list[Any]) -> None:
        if session.numbers:
            decoded = decode(recsvc.Blob([piece.data for piece in pieces]))
            assert decoded.counters == session.numbers
        timecodes = [piece.timecode for piece in pieces]
        assert timecodes[0] == 0
        assert_rising(timecodes)

    @invariant()
    def the_state_is_the_expected_one(self) -> None:
        if self.sure:
            assert self.recorder.state == self.state
            if self.state == "inactive":
                assert self.recorder.mime_type == ""

    def teardown(self) -> None:
        if self.session is not None:
            self.stop()
        self.settle()
        self.recorder.close()
        assert self.recorder.state == "inactive"
        self.events.clear()


def test_a_real_recorder_against_a_model() -> None:
    run_state_machine_as_test(TheRecorder, settings=REAL)
