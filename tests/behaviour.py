"""What every face of recsvc promises: one suite, run against each of them.

``Behaviour`` holds the tests. A face is an adapter that makes sources and recorders whose calls are awaited:
``test_behaviour_sync.py`` and ``test_behaviour_aio.py`` each bring one, and a service elsewhere would be a third.
Frames are pushed with capture times of their own, so that minutes of media take no minute; where real time matters,
it is used and bounded from both sides.
"""

import asyncio
import functools
import gc
import inspect
import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import ebml
import numpy as np
import pytest
from listening import ALL_IN_ORDER, record_events, types_of
from media import DEADLINE_S, TICK_S, S, assert_accounted, counter_picture, decode, opened, tone

import recsvc
from recsvc.caller.events import EVENT_TYPES
from recsvc.errors import InvalidModificationError, InvalidStateError, NotSupportedError

WIDTH, HEIGHT = 64, 48
BLOCK_S = 0.02
FULL = "video/webm;codecs=vp8,opus"


class Face(Protocol):
    """What the suite needs of a face. Recorders and sources have the shape of those in ``recsvc.aio``."""

    def audio_source(self, *arguments: Any, **options: Any) -> Any:
        """A push source of sound."""

    def video_source(self, *arguments: Any, **options: Any) -> Any:
        """A push source of pictures."""

    def recorder(self, stream: recsvc.MediaStream, **options: Any) -> Any:
        """A recorder whose ``start stop pause resume request_data close wait statistics`` are awaited."""

    def listener(self, function: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Any]:
        """A listener that runs a coroutine function to its end."""

    def reference(self, recorder: Any) -> Callable[[], Any]:
        """A weak reference to the recorder itself."""


async def until(condition: Callable[[], Any], what: str) -> None:
    """Waits for a condition; fails, naming it, at the deadline."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"{what}: not within {DEADLINE_S:g} s"
        await asyncio.sleep(0.005)


class Studio:
    """Pushed tracks, their recorder, and what it fired. ``play`` pushes media along a clock of its own."""

    def __init__(self, face: Face, kinds: str = "av", **options: Any) -> None:
        self.video = face.video_source(WIDTH, HEIGHT, when_full="wait") if "v" in kinds else None
        self.audio = face.audio_source(48_000, 1, when_full="wait") if "a" in kinds else None
        self.sources = [source for source in (self.video, self.audio) if source is not None]
        self.stream = recsvc.MediaStream([source.track for source in self.sources])
        self.recorder = face.recorder(self.stream, **options)
        self.events = record_events(self.recorder)
        self.at_ns = time.monotonic_ns()
        self.number = 0
        self._paused_ns = 0

    async def play(self, seconds: float, rate: int = 25) -> None:
        """Pictures that count on, and a tone, at their due times; as fast as they are taken."""
        due = [(self.at_ns + n * S // rate, "picture") for n in range(round(seconds * rate)) if self.video]
        if self.audio:
            due += [(self.at_ns + round(n * BLOCK_S * S), "sound") for n in range(round(seconds / BLOCK_S))]
        block = tone(round(48_000 * BLOCK_S), frequency=1000)
        for at_ns, what in sorted(due):
            if what == "sound":
                await self.audio.write(block, at_ns)
            else:
                await self.video.write(counter_picture(self.number, WIDTH, HEIGHT), at_ns)
                self.number += 1
        self.at_ns += round(seconds * S)

    async def start(self, *arguments: Any) -> None:
        await self.recorder.start(*arguments)
        self.at_ns = max(self.at_ns, time.monotonic_ns())

    async def pause(self) -> None:
        self._paused_ns = time.monotonic_ns()
        await self.recorder.pause()

    async def resume(self) -> None:
        """The studio's clock moves by the time that was paused."""
        await self.recorder.resume()
        self.at_ns += time.monotonic_ns() - self._paused_ns

    async def stopped(self) -> recsvc.Blob:
        """Waits for ``stop``; the whole recording."""
        await self.recorder.wait("stop", DEADLINE_S)
        return self.recorder.recording

    async def stop(self) -> recsvc.Blob:
        await self.recorder.stop()
        return await self.stopped()


def brightness(blob: recsvc.Blob) -> list[tuple[float, float]]:
    """The time and the mean luma of each picture."""
    found = []
    with opened(blob) as container:
        for frame in container.decode(video=0):
            luma = np.frombuffer(frame.planes[0], np.uint8).reshape(frame.height, -1)[:, : frame.width]
            found.append((float(frame.time), float(luma.mean())))
    return found


def key_frames(blob: recsvc.Blob) -> list[int]:
    """Which pictures are key frames, as the container says."""
    return [n for n, block in enumerate(ebml.read(blob.bytes()).of(1)) if block.is_key_frame]


def loudest(samples: np.ndarray, from_s: float, until_s: float) -> float:
    return float(np.abs(samples[round(from_s * 48_000) : round(until_s * 48_000)]).max())


class Behaviour:
    """The tests. A subclass names its ``face``; its coroutine methods become ordinary tests."""

    face: Face

    def __init_subclass__(cls) -> None:
        for name, test in inspect.getmembers(cls, inspect.iscoroutinefunction):
            if name.startswith("test_"):
                setattr(cls, name, _run(test))

    # --- states and errors ------------------------------------------------------------------------

    async def test_calls_that_need_a_recording_raise_while_inactive(self) -> None:
        studio = Studio(self.face)
        for turn in range(2):
            for name in ("stop", "pause", "resume", "request_data"):
                with pytest.raises(InvalidStateError, match=rf"{name}\(\).*inactive") as raised:
                    await getattr(studio.recorder, name)()
                assert raised.value.name == "InvalidStateError"
                assert studio.recorder.state == "inactive"
            assert types_of(studio.events) == ALL_IN_ORDER * turn
            if turn == 0:
                await studio.start()
                await studio.stop()  # the same once more, behind a recording

    async def test_start_while_active_raises_and_changes_nothing(self) -> None:
        studio = Studio(self.face, bits_per_second=1_000_000)
        await studio.start()
        await studio.play(0.2)
        for state, call in (("recording", None), ("paused", studio.recorder.pause)):
            if call is not None:
                await call()
            with pytest.raises(InvalidStateError, match=rf"start\(\).*{state}"):
                await studio.recorder.start(100)
            assert studio.recorder.state == state
        decoded = decode(await studio.stop())
        assert decoded.counters == [0, 1, 2, 3, 4]
        assert types_of(studio.events) == ["start", "pause", "dataavailable", "stop"]

    async def test_without_strict_stop_a_needless_stop_returns_silently(self) -> None:
        studio = Studio(self.face, "a", strict_stop=False)
        assert await studio.recorder.stop() is None
        await studio.start()
        for _ in range(3):
            assert await studio.recorder.stop() is None
        await studio.stopped()
        assert await studio.recorder.stop() is None
        assert types_of(studio.events) == ALL_IN_ORDER

    async def test_a_second_stop_before_the_events_raises_and_loses_nothing(self) -> None:
        studio = Studio(self.face, "a")
        await studio.start()
        await studio.play(0.1)
        await studio.recorder.stop()
        with pytest.raises(InvalidStateError):
            await studio.recorder.stop()
        blob = await studio.stopped()
        assert types_of(studio.events) == ALL_IN_ORDER
        assert len(decode(blob).samples) == 4800

    async def test_the_state_changes_in_the_call_and_each_change_has_one_event(self) -> None:
        studio = Studio(self.face, "a")
        recorder = studio.recorder
        await studio.start()
        states = [recorder.state]
        calls = (recorder.resume, recorder.pause, recorder.pause, recorder.resume, recorder.resume, recorder.pause)
        for call in calls:
            assert await call() is None
            states.append(recorder.state)
        await until(lambda: types_of(studio.events)[1:] == ["pause", "resume", "pause"], "the events")
        await recorder.stop()
        states.append(recorder.state)
        await studio.stopped()
        assert states == ["recording", "recording", *["paused"] * 2, *["recording"] * 2, "paused", "inactive"]
        assert types_of(studio.events) == ["start", "pause", "resume", "pause", "dataavailable", "stop"]

    async def test_stop_from_paused_gives_what_was_recorded_before(self) -> None:
        studio = Studio(self.face)
        await studio.start()
        await studio.play(0.4)
        await studio.pause()
        assert not await studio.video.write(counter_picture(99, WIDTH, HEIGHT)), "nobody records now"
        await studio.recorder.wait("pause", DEADLINE_S)
        decoded = decode(await studio.stop())
        assert decoded.counters == list(range(10))
        assert len(decoded.samples) == round(0.4 * 48_000)
        assert types_of(studio.events) == ["start", "pause", "dataavailable", "stop"]

    async def test_start_is_fired_even_if_stop_follows_at_once(self) -> None:
        for kinds in ("a", "v", "av"):
            studio = Studio(self.face, kinds)
            await studio.start()
            await studio.stop()
            assert types_of(studio.events) == ALL_IN_ORDER
            [event] = [event for event in studio.events if event.type == "dataavailable"]
            assert (event.timecode, event.data.duration) == (0.0, 0.0)
            assert event.data.type == studio.recorder.recording.type != ""

    async def test_every_event_is_an_event_of_its_kind(self) -> None:
        studio = Studio(self.face, "a")
        await studio.start()
        await studio.pause()
        await studio.recorder.wait("pause", DEADLINE_S)
        await studio.resume()
        await studio.recorder.wait("resume", DEADLINE_S)
        studio.stream.remove_track(studio.audio.track)
        await studio.stopped()
        kinds = {event.type: type(event) for event in studio.events}
        assert kinds == {
            "start": recsvc.Event,
            "pause": recsvc.Event,
            "resume": recsvc.Event,
            "error": recsvc.ErrorEvent,
            "dataavailable": recsvc.BlobEvent,
            "stop": recsvc.Event,
        }
        [data] = [event for event in studio.events if event.type == "dataavailable"]
        assert data.data is data.data and isinstance(data.timecode, float)

    # --- options ----------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("options", "audio", "video"),
        [
            ({}, 128_000, 2_500_000),
            ({"audio_bits_per_second": 64_000}, 64_000, 2_500_000),
            ({"video_bits_per_second": 0}, 128_000, 0),
            ({"bits_per_second": 1_000_000}, 100_000, 900_000),
            ({"bits_per_second": 1_000_000, "audio_bits_per_second": 9, "video_bits_per_second": 9}, 100_000, 900_000),
            ({"bits_per_second": 0}, 6_000, 75_000),
            ({"bits_per_second": 2**32 - 1}, 510_000, 1_000_000_000),
        ],
    )
    async def test_bitrates_default_and_split(self, options: dict[str, int], audio: int, video: int) -> None:
        recorder = self.face.recorder(recsvc.MediaStream(), **options)
        assert (recorder.audio_bits_per_second, recorder.video_bits_per_second) == (audio, video)

    @pytest.mark.parametrize(
        ("kinds", "while_recording"),
        [("av", (100_000, 900_000)), ("a", (510_000, 0)), ("v", (0, 1_000_000))],
    )
    async def test_bitrates_are_split_for_the_kinds_there_and_restored(
        self, kinds: str, while_recording: tuple[int, int]
    ) -> None:
        studio = Studio(self.face, kinds, bits_per_second=1_000_000)

        def bitrates() -> tuple[int, int]:
            return studio.recorder.audio_bits_per_second, studio.recorder.video_bits_per_second

        for end_by_itself in (False, True):
            assert bitrates() == (100_000, 900_000)
            await studio.start()
            assert bitrates() == while_recording
            await studio.play(0.1)
            assert bitrates() == while_recording
            if end_by_itself:
                for source in studio.sources:
                    source.end()
            else:
                await studio.recorder.stop()
                assert bitrates() == (100_000, 900_000), "restored in the call"
            await studio.stopped()
        assert bitrates() == (100_000, 900_000)

    async def test_bitrates_that_were_named_stay(self) -> None:
        studio = Studio(self.face, "v", audio_bits_per_second=96_000, video_bits_per_second=300_000)
        await studio.start()
        assert (studio.recorder.audio_bits_per_second, studio.recorder.video_bits_per_second) == (96_000, 300_000)
        await studio.stop()
        assert (studio.recorder.audio_bits_per_second, studio.recorder.video_bits_per_second) == (96_000, 300_000)

    async def test_the_bitrate_reaches_the_encoders(self) -> None:
        sizes = []
        for audio, mode in ((16_000, "constant"), (128_000, "constant"), (24_000, "variable")):
            studio = Studio(self.face, "a", audio_bits_per_second=audio, audio_bitrate_mode=mode)
            assert studio.recorder.audio_bitrate_mode == mode
            await studio.start()
            await studio.play(1)
            blocks = ebml.read((await studio.stop()).bytes()).of(2)
            sizes.append([len(block.data) for block in blocks])
        assert len(set(sizes[0])) == 1 and len(set(sizes[1])) == 1, "constant"
        assert (sizes[0][0], sizes[1][0]) == (16_000 // 8 // 50, 128_000 // 8 // 50)
        assert len(set(sizes[2])) > 1, "variable"

    async def test_wrong_options_are_refused_with_the_value(self) -> None:
        for error, options in (
            (TypeError, {"bits_per_second": "1M"}),
            (ValueError, {"video_bits_per_second": 2**32}),
            (ValueError, {"video_key_frame_interval_duration": -0.5}),
            (TypeError, {"video_key_frame_interval_count": 2.5}),
            (ValueError, {"audio_bitrate_mode": "sometimes"}),
            (TypeError, {"strict_stop": "no"}),
            (ValueError, {"overload": "hurry"}),
            (NotSupportedError, {"mime_type": "video/mp4"}),
        ):
            [(name, value)] = options.items()
            with pytest.raises(error, match=name) as raised:
                self.face.recorder(recsvc.MediaStream(), **options)
            assert str(value) in str(raised.value)
        studio = Studio(self.face, "a")
        for error, timeslice in ((TypeError, "1"), (TypeError, True), (ValueError, -1), (ValueError, math.inf)):
            with pytest.raises(error, match="timeslice.*" + str(timeslice)):
                await studio.recorder.start(timeslice)
        assert studio.recorder.state == "inactive" and studio.events == []

    async def test_both_key_frame_options_at_once_are_not_supported(self) -> None:
        with pytest.raises(NotSupportedError, match="duration.*count"):
            self.face.recorder(
                recsvc.MediaStream(), video_key_frame_interval_duration=1000, video_key_frame_interval_count=30
            )

    @pytest.mark.parametrize(
        ("options", "rate", "count", "expected"),
        [
            ({"video_key_frame_interval_count": 3}, 25, 14, [0, 4, 8, 12]),
            ({"video_key_frame_interval_count": 0}, 25, 4, [0, 1, 2, 3]),
            ({"video_key_frame_interval_duration": 2000}, 5, 24, [0, 10, 20]),
            ({"video_key_frame_interval_duration": 1900}, 5, 24, [0, 10, 20]),
            ({"video_key_frame_interval_duration": 0}, 25, 4, [0, 1, 2, 3]),
            ({}, 25, 210, [0, 100, 200]),
            ({}, 2, 45, [0, 20, 40]),
        ],
    )
    async def test_key_frames_come_when_asked_for(
        self, options: dict[str, int], rate: int, count: int, expected: list[int]
    ) -> None:
        studio = Studio(self.face, "v", **options)
        await studio.start()
        await studio.play(count / rate, rate)
        blob = await studio.stop()
        assert len(decode(blob).pictures) == count
        assert key_frames(blob) == expected

    async def test_the_first_picture_after_resume_is_a_key_frame(self) -> None:
        studio = Studio(self.face, "v")
        await studio.start()
        for _ in range(3):
            await studio.play(0.2)
            await studio.pause()
            await studio.resume()
        await studio.play(0.2)
        assert key_frames(await studio.stop()) == [0, 5, 10, 15]

    async def test_the_type_is_as_given_but_the_full_one_while_recording(self) -> None:
        for given, kinds, full in (
            ("", "av", FULL),
            ("", "a", "audio/webm;codecs=opus"),
            ("video/webm", "v", "video/webm;codecs=vp8"),
            ("Video/X-Matroska; codecs=VP9", "v", "video/x-matroska;codecs=vp9"),
        ):
            studio = Studio(self.face, kinds, mime_type=given)
            seen: list[str] = []

            def note(event: recsvc.Event, to: list[str] = seen, of: Studio = studio) -> None:
                to.append(of.recorder.mime_type)

            for type in ALL_IN_ORDER:
                studio.recorder.add_event_listener(type, note)
            assert studio.recorder.mime_type == given
            await studio.start()
            await studio.recorder.wait("start", DEADLINE_S)
            assert studio.recorder.mime_type == full
            await studio.recorder.stop()
            assert studio.recorder.mime_type == given, "in the call"
            blob = await studio.stopped()
            assert (studio.recorder.mime_type, blob.type, seen) == (given, full, [full, given, given])

    async def test_is_type_supported_agrees_with_the_constructor(self) -> None:
        recorder = self.face.recorder(recsvc.MediaStream())
        for type, supported in (("", True), ("audio/ogg", True), (FULL, True), ("video/mp4", False), ("x", False)):
            assert recorder.is_type_supported(type) is supported
            if not supported:
                with pytest.raises(NotSupportedError, match=type):
                    self.face.recorder(recsvc.MediaStream(), mime_type=type)
        with pytest.raises(TypeError):
            recorder.is_type_supported(None)

    # --- pieces -----------------------------------------------------------------------------------

    @pytest.mark.parametrize("timeslice", [0, 1, 300, 999.5])
    async def test_a_timeslice_is_the_least_media_of_a_piece(self, timeslice: float) -> None:
        studio = Studio(self.face)
        await studio.start(timeslice)
        await studio.play(4)
        whole = await studio.stop()
        pieces = [event for event in studio.events if event.type == "dataavailable"]
        assert types_of(studio.events) == ["start", *["dataavailable"] * len(pieces), "stop"]
        durations_ms = [piece.data.duration * 1000 for piece in pieces]
        assert len(pieces) >= 4000 // (timeslice + 500)
        assert all(timeslice <= duration_ms <= timeslice + 500 for duration_ms in durations_ms[:-1]), durations_ms
        assert durations_ms[-1] <= timeslice + 500
        assert sum(durations_ms) == pytest.approx(whole.duration * 1000, abs=1)
        timecodes = [piece.timecode for piece in pieces]
        begins_ms = [sum(durations_ms[:n]) for n in range(len(pieces))]
        assert timecodes == pytest.approx(begins_ms, abs=1) and timecodes[0] == 0
        assert all(a < b for a, b in zip(timecodes, timecodes[1:], strict=False))
        joined = decode(recsvc.Blob([piece.data for piece in pieces]))
        assert joined.counters == decode(whole).counters == list(range(100))
        assert len(joined.samples) == 4 * 48_000
        assert {piece.data.type for piece in pieces} == {FULL}

    async def test_a_timeslice_without_media_gives_one_piece_at_the_end(self) -> None:
        studio = Studio(self.face, "v")
        await studio.start(0)
        await studio.stop()
        assert types_of(studio.events) == ALL_IN_ORDER

    async def test_without_a_timeslice_there_is_one_piece_and_it_is_the_whole(self) -> None:
        studio = Studio(self.face)
        await studio.start()
        await studio.play(3)
        whole = await studio.stop()
        [piece] = [event for event in studio.events if event.type == "dataavailable"]
        assert piece.data.bytes() == whole.bytes()

    async def test_request_data_gives_everything_that_was_written_before(self) -> None:
        studio = Studio(self.face)
        await studio.start()
        await studio.recorder.request_data()
        pieces = [await studio.recorder.wait("dataavailable", DEADLINE_S)]
        assert pieces[0].data.size == 0, "nothing is there"
        written_s = 0.0
        for seconds, state in ((1.0, "recording"), (0.04, "recording"), (0.2, "recording"), (1.0, "paused")):
            await studio.play(seconds)
            written_s += seconds
            if state == "paused":
                await studio.pause()
            await studio.recorder.request_data()
            assert studio.recorder.state == state
            pieces.append(await studio.recorder.wait("dataavailable", DEADLINE_S))
            so_far = decode(recsvc.Blob([piece.data for piece in pieces]))
            assert so_far.counters == list(range(studio.number))
            assert written_s - 0.03 < so_far.sound_s <= written_s
        await studio.recorder.request_data()
        pieces.append(await studio.recorder.wait("dataavailable", DEADLINE_S))
        assert pieces[-1].data.size == 0, "nothing was captured since"
        whole = await studio.stop()
        pieces.append(await studio.recorder.wait("dataavailable", DEADLINE_S))
        assert types_of(studio.events).count("dataavailable") == len(pieces)
        timecodes = [piece.timecode for piece in pieces]
        assert timecodes[0] == 0 and all(a < b for a, b in zip(timecodes, timecodes[1:], strict=False))
        joined = decode(recsvc.Blob([piece.data for piece in pieces]))
        assert joined.counters == decode(whole).counters == list(range(studio.number))
        assert joined.sound_s == decode(whole).sound_s

    async def test_calls_have_their_events_in_their_order(self) -> None:
        """Also where the worker answers one of them, and where stop() follows at once."""
        for turn in range(8):
            studio = Studio(self.face, "v")
            recorder = studio.recorder
            await studio.start()
            await studio.play(0.04 * (turn % 3))
            for call in (recorder.request_data, recorder.pause, recorder.resume, recorder.request_data, recorder.stop):
                await call()
            await studio.stopped()
            expected = ["start", "dataavailable", "pause", "resume", "dataavailable", "dataavailable", "stop"]
            assert types_of(studio.events) == expected

    async def test_request_data_among_the_pieces_of_a_timeslice_mixes_nothing(self) -> None:
        studio = Studio(self.face, "v")
        await studio.start(0)
        for _ in range(60):
            await studio.play(1, 5)
            await studio.recorder.request_data()
        whole = await studio.stop()
        pieces = [event for event in studio.events if event.type == "dataavailable"]
        timecodes = [piece.timecode for piece in pieces]
        assert len(pieces) > 60 and all(a < b for a, b in zip(timecodes, timecodes[1:], strict=False))
        joined = recsvc.Blob([piece.data for piece in pieces])
        assert decode(joined).counters == decode(whole).counters == list(range(300))

    async def test_a_second_recording_counts_its_timecodes_anew(self) -> None:
        studio = Studio(self.face, "a")
        for _ in range(2):
            del studio.events[:]
            await studio.start(200)
            await studio.play(1)
            await studio.stop()
            assert [event.timecode for event in studio.events if event.type == "dataavailable"][0] == 0

    async def test_the_recording_is_whole_and_seekable_with_pieces_too(self) -> None:
        studio = Studio(self.face, video_key_frame_interval_count=9)
        assert studio.recorder.recording is None
        await studio.start(100)
        await studio.play(2)
        assert studio.recorder.recording is None
        whole = await studio.stop()
        file = ebml.read(whole.bytes())
        assert file.segment_size_known and file.duration_ms == pytest.approx(whole.duration * 1000, abs=1)
        assert [cue.ms for cue in file.cues] == [400 * n for n in range(5)]

    # --- time -------------------------------------------------------------------------------------

    async def test_time_runs_from_the_first_frame_to_the_stop_call(self) -> None:
        """Also of a source that shows one frame, late, and then nothing."""
        for kinds in ("v", "a"):
            studio = Studio(self.face, kinds)
            await studio.recorder.start()
            await asyncio.sleep(0.2)
            first_s = time.monotonic()
            frame = counter_picture(7, WIDTH, HEIGHT) if kinds == "v" else tone(2400)
            assert await studio.sources[0].write(frame, round(first_s * S))
            await asyncio.sleep(0.5)
            before_stop_s = time.monotonic()
            await studio.recorder.stop()
            after_stop_s = time.monotonic()
            blob = await studio.stopped()
            decoded = decode(blob)
            assert before_stop_s - first_s - TICK_S <= decoded.duration_s <= after_stop_s - first_s + TICK_S
            assert blob.duration == pytest.approx(decoded.duration_s, abs=TICK_S)
            assert decoded.counters == ([7] if kinds == "v" else [])
            assert len(decoded.samples) == (0 if kinds == "v" else 2400)

    async def test_paused_time_is_absent_and_the_same_for_both_tracks(self) -> None:
        studio = Studio(self.face)
        await studio.start()
        for _ in range(4):
            await studio.play(0.4)
            await studio.pause()
            await asyncio.sleep(0.15)
            await studio.resume()
        await studio.play(0.4)
        decoded = decode(await studio.stop())
        assert decoded.counters == list(range(50))
        # Each resume may take some ms, which the studio's clock counts as recorded; paused time would be 0.6 s.
        assert 2.0 - TICK_S <= decoded.duration_s < 2.3
        assert abs(decoded.sound_s - decoded.duration_s) <= 0.1
        assert abs(decoded.pictures[40].at_s - (decoded.pictures[0].at_s + 1.6)) < 0.3

    async def test_a_sound_source_that_stalls_leaves_silence_of_the_right_length(self) -> None:
        studio = Studio(self.face, "a")
        await studio.start()
        await studio.play(0.4)
        studio.at_ns += S // 2
        await studio.play(0.4)
        decoded = decode(await studio.stop())
        assert len(decoded.samples) == round(1.3 * 48_000)
        assert loudest(decoded.samples, 0.45, 0.85) < 0.01 < loudest(decoded.samples, 0.95, 1.25)
        [track] = (await studio.recorder.statistics()).tracks
        assert track.timestamps_corrected == {"gap": 1}
        assert track.frames_encoded == round(0.8 * 48_000)

    # --- tracks -----------------------------------------------------------------------------------

    @pytest.mark.parametrize("change", ["add", "remove", "add while paused"])
    async def test_a_changed_stream_ends_the_recording_with_its_data(self, change: str) -> None:
        studio = Studio(self.face)
        states: list[tuple[str, str]] = []
        for type in EVENT_TYPES:
            studio.recorder.add_event_listener(type, lambda event: states.append((event.type, studio.recorder.state)))
        await studio.start()
        await studio.play(0.4)
        if "paused" in change:
            await studio.pause()
            await studio.recorder.wait("pause", DEADLINE_S)
        if "add" in change:
            studio.stream.add_track(studio.audio.track)  # one that is there already changes nothing
            studio.stream.add_track(self.face.audio_source(48_000, 1).track)
        else:
            studio.stream.remove_track(studio.audio.track)
        blob = await studio.stopped()
        pauses = ["pause"] if "paused" in change else []
        assert types_of(studio.events) == ["start", *pauses, "error", "dataavailable", "stop"]
        error = studio.events[-3].error
        assert isinstance(error, InvalidModificationError) and error.name == "InvalidModificationError"
        assert states[-3:] == [("error", "inactive"), ("dataavailable", "inactive"), ("stop", "inactive")]
        assert decode(blob).counters == list(range(10))

    async def test_a_stream_changed_behind_stop_is_no_error(self) -> None:
        studio = Studio(self.face)
        await studio.start()
        await studio.play(0.2)
        await studio.recorder.stop()
        studio.stream.remove_track(studio.audio.track)
        studio.stream.add_track(studio.audio.track)
        assert decode(await studio.stopped()).counters == list(range(5))
        assert types_of(studio.events) == ALL_IN_ORDER

    @pytest.mark.parametrize("how", ["source", "track", "stream", "paused"])
    async def test_all_tracks_ended_end_the_recording_without_an_error(self, how: str) -> None:
        studio = Studio(self.face)
        await studio.start()
        await studio.play(0.4)
        if how == "paused":
            await studio.pause()
            await studio.recorder.wait("pause", DEADLINE_S)
        if how in ("source", "paused"):
            for source in studio.sources:
                source.end()
        elif how == "track":
            for track in studio.stream.get_tracks():
                track.stop()
        else:
            studio.stream.close()
        blob = await studio.stopped()
        pauses = ["pause"] if how == "paused" else []
        assert types_of(studio.events) == ["start", *pauses, "dataavailable", "stop"]
        assert (studio.recorder.state, studio.stream.active) == ("inactive", False)
        decoded = decode(blob)
        assert decoded.counters == list(range(10)) and len(decoded.samples) == round(0.4 * 48_000)
        with pytest.raises(NotSupportedError, match="no live track"):
            await studio.recorder.start()

    @pytest.mark.parametrize("ended", ["audio", "video"])
    async def test_one_of_two_ended_and_the_other_goes_on(self, ended: str) -> None:
        studio = Studio(self.face)
        await studio.start()
        await studio.play(0.4)
        getattr(studio, ended).end()
        setattr(studio, ended, None)
        await studio.play(0.6)
        assert studio.recorder.state == "recording"
        decoded = decode(await studio.stop())
        assert types_of(studio.events) == ALL_IN_ORDER
        assert decoded.counters == list(range(10 if ended == "video" else 25))
        assert len(decoded.samples) == round((0.4 if ended == "audio" else 1.0) * 48_000)

    @pytest.mark.parametrize("how", ["muted", "disabled", "disabled before start"])
    async def test_a_muted_or_disabled_track_is_black_or_silent_for_as_long(self, how: str) -> None:
        studio = Studio(self.face)

        def switch(off: bool) -> None:
            for source in studio.sources:
                if how == "muted":
                    source.muted = off
                    assert source.track.muted is off
                else:
                    source.track.enabled = not off

        if "before" in how:
            switch(True)
        await studio.start()
        if "before" not in how:
            await studio.play(0.4)
            switch(True)
        await studio.play(0.4)
        switch(False)
        await studio.play(0.4)
        blob = await studio.stop()
        pictures, decoded = brightness(blob), decode(blob)
        off_s = 0.0 if "before" in how else 0.4
        assert len(pictures) == round((off_s + 0.8) * 25)
        for at_s, luma in pictures:
            assert (luma < 20) == (off_s - TICK_S <= at_s < off_s + 0.4 - TICK_S), (at_s, luma)
        assert len(decoded.samples) == round((off_s + 0.8) * 48_000)
        assert loudest(decoded.samples, off_s + 0.05, off_s + 0.35) < 0.01
        assert loudest(decoded.samples, off_s + 0.45, off_s + 0.75) > 0.3
        assert_accounted(await studio.recorder.statistics(), decoded)

    async def test_streams_that_cannot_be_recorded_are_refused_by_name(self) -> None:
        studio = Studio(self.face)
        audio, video = studio.audio.track, studio.video.track
        for tracks, mime_type, text in (
            ([], "", "no live track"),
            ([audio, audio.clone()], "", f"2 live audio tracks.*{audio.label}"),
            ([video, audio, video.clone()], "", f"2 live video tracks.*{video.label}"),
            ([audio, video], "audio/webm", "video track.*audio/webm"),
            ([video], "audio/ogg", "video track.*audio/ogg"),
            ([audio, video], "video/webm;codecs=vp9", "audio track.*codec"),
        ):
            recorder = self.face.recorder(recsvc.MediaStream(tracks), mime_type=mime_type, bits_per_second=10**6)
            events = record_events(recorder)
            with pytest.raises(NotSupportedError, match=text):
                await recorder.start()
            assert (recorder.state, recorder.mime_type, events) == ("inactive", mime_type, [])
            assert recorder.audio_bits_per_second == 100_000
            await recorder.close()

    async def test_ended_tracks_are_left_out(self) -> None:
        studio = Studio(self.face, mime_type="audio/webm")
        with pytest.raises(NotSupportedError, match="video track"):
            await studio.recorder.start()
        studio.video.end()
        await studio.start()
        await studio.recorder.wait("start", DEADLINE_S)
        assert studio.recorder.mime_type == "audio/webm;codecs=opus"
        await studio.stop()

    # --- one recording after the other ------------------------------------------------------------

    async def test_start_right_behind_stop_mixes_nothing(self) -> None:
        studio = Studio(self.face)
        for _ in range(4):
            await studio.start()
            await studio.play(0.2)
            await studio.recorder.stop()
        await until(lambda: types_of(studio.events).count("stop") == 4, "the last stop")
        assert types_of(studio.events) == ALL_IN_ORDER * 4
        blobs = [event.data for event in studio.events if event.type == "dataavailable"]
        assert [decode(blob).counters for blob in blobs] == [list(range(5 * n, 5 * n + 5)) for n in range(4)]
        assert all(len(decode(blob).samples) == 9600 for blob in blobs)

    async def test_start_in_the_stop_listener_begins_the_next_recording(self) -> None:
        studio = Studio(self.face, "a")

        async def again(event: recsvc.Event) -> None:
            if types_of(studio.events).count("stop") < 3:
                await studio.recorder.start()
                await studio.recorder.stop()

        studio.recorder.add_event_listener("stop", self.face.listener(again))
        await studio.start()
        await studio.recorder.stop()
        await until(lambda: types_of(studio.events).count("stop") == 3, "the third recording")
        assert types_of(studio.events) == ALL_IN_ORDER * 3

    async def test_the_old_data_stays_when_a_new_recording_begins(self) -> None:
        studio = Studio(self.face, "v")
        await studio.start()
        await studio.play(0.2)
        first = await studio.stop()
        await studio.start()
        assert studio.recorder.recording is first, "until the new one is finished"
        await studio.play(0.4)
        second = await studio.stop()
        assert decode(first).counters == list(range(5))
        assert decode(second).counters == list(range(5, 15))

    async def test_statistics_tell_of_now_and_at_last_of_everything(self) -> None:
        studio = Studio(self.face)
        before = await studio.recorder.statistics()
        assert (before.state, before.tracks) == ("inactive", ())
        await studio.start()
        await studio.play(1)
        await until_encoded(studio)
        during = await studio.recorder.statistics()
        assert during.state == "recording" and during.duration > 0.4 and during.stop_stages_ns == {}
        assert {track.kind: track.frames_accepted for track in during.tracks} == {"video": 25, "audio": 48_000}
        await studio.recorder.pause()
        assert (await studio.recorder.statistics()).state == "paused"
        blob = await studio.stop()
        after = await studio.recorder.statistics()
        assert (after.state, after.size_bytes) == ("inactive", blob.size)
        assert after.duration == pytest.approx(blob.duration)
        assert after.stop_stages_ns and all(stage > 0 for stage in after.stop_stages_ns.values())
        assert_accounted(after, decode(blob))

    # --- listeners --------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "raised", [ZeroDivisionError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, pytest.fail.Exception]
    )
    async def test_whatever_a_listener_raises_is_logged_and_stops_nothing(
        self, raised: type[BaseException], caplog: pytest.LogCaptureFixture, spool: Path
    ) -> None:
        """And it costs no data: what a listener was to have stays in the spool, and the log says where."""
        studio = Studio(self.face, "a")

        def fail(event: recsvc.Event) -> None:
            raise raised("the listener's own")

        async def fail_later(event: recsvc.Event) -> None:
            await asyncio.sleep(0.001)
            fail(event)

        heard: list[Any] = []
        studio.recorder.onstart = studio.recorder.ondataavailable = fail
        for type in ALL_IN_ORDER:
            studio.recorder.add_event_listener(type, self.face.listener(fail_later))
            studio.recorder.add_event_listener(type, heard.append)
        with caplog.at_level(logging.ERROR, "recsvc"):
            for turn in (1, 2):  # the next recording has its events, too
                await studio.start()
                await studio.stop()
                assert types_of(heard) == ALL_IN_ORDER * turn
        problems = [record for record in caplog.records if record.name == "recsvc"]
        assert len(problems) == 10
        assert all(problem.exc_info and problem.exc_info[0] is raised for problem in problems)
        assert all("listener of" in problem.getMessage() for problem in problems)
        said = "".join(problem.getMessage() for problem in problems)
        caplog.clear()  # the tracebacks hold the Blobs
        heard.clear()
        del problems, studio
        gc.collect()
        assert len(list(spool.iterdir())) == 2
        for kept in spool.iterdir():
            assert str(kept) in said
            kept.unlink()

    async def test_who_is_called_when_an_event_is_dispatched(self) -> None:
        """The handler first, then the listeners as added, each once; none that was removed or came too late."""
        studio = Studio(self.face, "a")
        recorder, called = studio.recorder, []

        def note(text: str) -> Callable[[Any], None]:
            return lambda event: called.append(text)

        first, never, late = note("first"), note("never"), note("late")

        def change(event: recsvc.Event) -> None:
            called.append("change")
            recorder.remove_event_listener("stop", never)
            recorder.add_event_listener("stop", late)

        recorder.add_event_listener("stop", first)
        recorder.add_event_listener("stop", change)
        recorder.add_event_listener("stop", never)
        recorder.add_event_listener("stop", first)  # it is there already
        recorder.remove_event_listener("start", first)  # it is not there
        recorder.onstop = note("replaced")
        recorder.onstop = handler = note("handler")
        assert recorder.onstop is handler
        await studio.start()
        await studio.stop()
        assert called == ["handler", "first", "change"]
        recorder.onstop = None
        await studio.start()
        await studio.stop()
        assert called[3:] == ["first", "change", "late"]

    async def test_what_is_no_listener_and_no_event_is_refused(self) -> None:
        recorder = self.face.recorder(recsvc.MediaStream())
        for wrong in (None, 7, "text"):
            with pytest.raises(TypeError, match=repr(wrong)):
                recorder.add_event_listener("stop", wrong)
        with pytest.raises(TypeError, match="7"):
            recorder.onstop = 7
        for call in (recorder.add_event_listener, recorder.remove_event_listener):
            with pytest.raises(ValueError, match="'stopp'"):
                call("stopp", print)
            with pytest.raises(TypeError, match="7"):
                call(7, print)

    async def test_a_slow_listener_delays_neither_calls_nor_other_recorders(self) -> None:
        slow, other = Studio(self.face, "a"), Studio(self.face, "a")
        entered, release = threading.Event(), threading.Event()

        async def block(event: recsvc.Event) -> None:
            entered.set()
            await asyncio.to_thread(release.wait, DEADLINE_S)

        slow.recorder.onstart = self.face.listener(block)
        try:
            await slow.start()
            await until(entered.is_set, "the listener")
            await other.start()
            await other.play(0.1)
            await other.stop()
            for call in (slow.recorder.pause, slow.recorder.resume, slow.recorder.stop):
                await call()
            assert slow.recorder.state == "inactive"
            with pytest.raises(TimeoutError):
                await slow.recorder.wait("stop", 0.02)
            assert "stop" not in types_of(slow.events), "one at a time"
        finally:
            release.set()
        await slow.stopped()

    async def test_events_come_one_at_a_time(self) -> None:
        studio = Studio(self.face, "a")
        inside, most = [], []

        async def slow(event: recsvc.Event) -> None:
            inside.append(event)
            await asyncio.sleep(0.02)
            most.append(len(inside))
            inside.remove(event)

        for type in EVENT_TYPES:
            studio.recorder.add_event_listener(type, self.face.listener(slow))
        await studio.start(0)
        await studio.play(1)
        await studio.stop()
        assert len(most) == len(studio.events) > 3 and set(most) == {1}

    # --- waiting ----------------------------------------------------------------------------------

    async def test_wait_gives_each_event_once_and_counts_those_already_fired(self) -> None:
        studio = Studio(self.face, "a")
        recorder = studio.recorder
        with pytest.raises(TimeoutError, match="'stop'.*0.01"):
            await recorder.wait("stop", 0.01)
        await studio.start()
        await recorder.stop()
        await recorder.wait("stop", DEADLINE_S)
        for type in ("start", "dataavailable"):
            assert await recorder.wait(type, 0) is studio.events[ALL_IN_ORDER.index(type)]
        for type in ("start", "stop", "error"):
            with pytest.raises(TimeoutError):
                await recorder.wait(type, 0)
        await studio.start()
        with pytest.raises(TimeoutError):
            await recorder.wait("stop", 0)
        await studio.stop()

    async def test_wait_names_what_it_refuses(self) -> None:
        recorder = self.face.recorder(recsvc.MediaStream())
        with pytest.raises(ValueError, match="'stopped'"):
            await recorder.wait("stopped")
        with pytest.raises(TypeError, match="7"):
            await recorder.wait(7)
        with pytest.raises(TypeError, match="'soon'"):
            await recorder.wait("stop", "soon")

    async def test_listeners_are_called_before_wait_returns(self) -> None:
        studio = Studio(self.face, "a")
        finished = []

        async def slow(event: recsvc.Event) -> None:
            await asyncio.sleep(0.05)
            finished.append(event.type)

        studio.recorder.onstop = self.face.listener(slow)
        await studio.start()
        await studio.stop()
        assert finished == ["stop"]

    async def test_waiting_inside_a_listener_is_refused(self) -> None:
        studio = Studio(self.face, "a")
        refused = []

        async def listen(event: recsvc.Event) -> None:
            try:
                await studio.recorder.wait("stop", DEADLINE_S)
            except InvalidStateError as error:
                refused.append(str(error))
            try:
                async for _ in studio.recorder.events():
                    pass
            except InvalidStateError as error:
                refused.append(str(error))
            await studio.recorder.close()  # stops, and waits for nothing
            assert studio.recorder.state == "inactive"

        studio.recorder.onstart = self.face.listener(listen)
        await studio.start()
        await studio.stopped()
        assert len(refused) == 2 and all("would wait for itself" in text for text in refused)
        assert types_of(studio.events) == ALL_IN_ORDER

    async def test_events_iterates_up_to_stop(self) -> None:
        studio = Studio(self.face, "a")
        seen: list[list[str]] = [[], []]

        async def iterate(to: list[str]) -> None:
            async for event in studio.recorder.events():
                to.append(event.type)

        before = asyncio.create_task(iterate(seen[0]))  # before there is anything to hear
        await asyncio.sleep(0.05)
        await studio.start()
        after = asyncio.create_task(iterate(seen[1]))
        await studio.pause()
        await studio.recorder.wait("pause", DEADLINE_S)
        await studio.stop()
        await asyncio.wait_for(asyncio.gather(before, after), DEADLINE_S)
        assert seen == [["start", "pause", "dataavailable", "stop"]] * 2
        assert [event async for event in studio.recorder.events()] == studio.events, "as often as one likes"

    # --- the end ----------------------------------------------------------------------------------

    async def test_leaving_the_context_stops_and_waits(self) -> None:
        studio = Studio(self.face, "a")
        finished = []

        async def slow(event: recsvc.Event) -> None:
            await asyncio.sleep(0.05)
            finished.append(event.type)

        for type in EVENT_TYPES:
            studio.recorder.add_event_listener(type, self.face.listener(slow))
        async with studio.recorder as recorder:
            assert recorder is studio.recorder
            await studio.start()
            await studio.play(0.1)
        assert finished == ALL_IN_ORDER, "also where a listener is at it"
        with pytest.raises(ZeroDivisionError):
            async with studio.recorder:
                await studio.start()
                raise ZeroDivisionError
        assert (studio.recorder.state, types_of(studio.events)) == ("inactive", ALL_IN_ORDER * 2)

    async def test_close_is_idempotent_and_final(self) -> None:
        studio = Studio(self.face, "a")
        await studio.start()
        for _ in range(2):
            await studio.recorder.close()
        with pytest.raises(InvalidStateError, match=r"start\(\) after close\(\)"):
            await studio.recorder.start()
        with pytest.raises(InvalidStateError, match="inactive"):
            await studio.recorder.stop()
        assert types_of(studio.events) == ALL_IN_ORDER
        assert studio.recorder.recording.size == studio.events[1].data.size, "what was recorded stays"
        unused = self.face.recorder(studio.stream)
        await unused.close()
        with pytest.raises(InvalidStateError, match=r"close\(\)"):
            await unused.start()

    async def test_close_behind_a_failed_start_returns(self) -> None:
        recorder = self.face.recorder(recsvc.MediaStream())
        with pytest.raises(NotSupportedError):
            await recorder.start()
        await asyncio.wait_for(recorder.close(), DEADLINE_S)

    async def test_a_forgotten_recorder_is_collected_but_not_while_it_records(self) -> None:
        heard: list[str] = []

        async def begin() -> tuple[Any, Callable[[], Any]]:
            studio = Studio(self.face, "a")
            studio.recorder.onstop = lambda event: heard.append(event.type)
            await studio.start()
            return studio.audio, self.face.reference(studio.recorder)

        source, recorder = await begin()
        for _ in range(3):
            gc.collect()
            await asyncio.sleep(0.01)
        assert recorder() is not None and recorder().state == "recording"
        source.end()
        await until(lambda: heard == ["stop"], "its stop event")
        await until(lambda: gc.collect() is not None and recorder() is None, "its end")


async def until_encoded(studio: Studio) -> None:
    """Waits until the worker has encoded all that was pushed, and what is complete is written."""
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        tracks = (await studio.recorder.statistics()).tracks
        encoded = {track.kind: track.frames_encoded for track in tracks}
        if encoded.get("video", studio.number) == studio.number and all(
            track.frames_encoded == track.frames_accepted > 0 for track in tracks
        ):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"not all is encoded within {DEADLINE_S:g} s: {tracks}")


def _run(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))  # type: ignore[arg-type]

    return run
