"""Data in pieces: of a timeslice, and asked for."""

import ebml
import pytest
from listening import ALL_IN_ORDER, types_of
from media import DEADLINE_S, assert_rising, assert_times, decode

import recsvc

from .studio import FULL, Suite


class Pieces(Suite):
    @pytest.mark.parametrize("timeslice", [0, 1, 300, 999.5])
    async def test_a_timeslice_is_the_least_media_of_a_piece(self, timeslice: float) -> None:
        studio = self.studio()
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
        assert timecodes[0] == 0
        assert_times(timecodes, begins_ms, 1)
        assert_rising(timecodes)
        joined = decode(recsvc.Blob([piece.data for piece in pieces]))
        assert joined.counters == decode(whole).counters == list(range(100))
        assert len(joined.samples) == 4 * 48_000
        assert {piece.data.type for piece in pieces} == {FULL}

    async def test_a_timeslice_without_media_gives_one_piece_at_the_end(self) -> None:
        studio = self.studio("v")
        await studio.start(0)
        await studio.stop()
        assert types_of(studio.events) == ALL_IN_ORDER

    async def test_without_a_timeslice_there_is_one_piece_and_it_is_the_whole(self) -> None:
        studio = self.studio()
        await studio.start()
        await studio.play(3)
        whole = await studio.stop()
        [piece] = [event for event in studio.events if event.type == "dataavailable"]
        assert piece.data.bytes() == whole.bytes()

    async def test_request_data_gives_everything_that_was_written_before(self) -> None:
        studio = self.studio()
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
        assert timecodes[0] == 0
        assert_rising(timecodes)
        joined = decode(recsvc.Blob([piece.data for piece in pieces]))
        assert joined.counters == decode(whole).counters == list(range(studio.number))
        assert joined.sound_s == decode(whole).sound_s

    async def test_calls_have_their_events_in_their_order(self) -> None:
        """Also where the worker answers one of them, and where stop() follows at once."""
        for turn in range(8):
            studio = self.studio("v")
            recorder = studio.recorder
            await studio.start()
            await studio.play(0.04 * (turn % 3))
            for call in (recorder.request_data, recorder.pause, recorder.resume, recorder.request_data, recorder.stop):
                await call()
            await studio.stopped()
            expected = ["start", "dataavailable", "pause", "resume", "dataavailable", "dataavailable", "stop"]
            assert types_of(studio.events) == expected

    async def test_request_data_among_the_pieces_of_a_timeslice_mixes_nothing(self) -> None:
        studio = self.studio("v")
        await studio.start(0)
        for _ in range(60):
            await studio.play(1, 5)
            await studio.recorder.request_data()
        whole = await studio.stop()
        pieces = [event for event in studio.events if event.type == "dataavailable"]
        timecodes = [piece.timecode for piece in pieces]
        assert len(pieces) > 60
        assert_rising(timecodes)
        joined = recsvc.Blob([piece.data for piece in pieces])
        assert decode(joined).counters == decode(whole).counters == list(range(300))

    async def test_a_second_recording_counts_its_timecodes_anew(self) -> None:
        studio = self.studio("a")
        for _ in range(2):
            del studio.events[:]
            await studio.start(200)
            await studio.play(1)
            await studio.stop()
            assert [event.timecode for event in studio.events if event.type == "dataavailable"][0] == 0

    async def test_the_recording_is_whole_and_seekable_with_pieces_too(self) -> None:
        studio = self.studio(video_key_frame_interval_count=9)
        assert studio.recorder.recording is None
        await studio.start(100)
        await studio.play(2)
        assert studio.recorder.recording is None
        whole = await studio.stop()
        file = ebml.read(whole.bytes())
        assert file.segment_size_known and file.duration_ms == pytest.approx(whole.duration * 1000, abs=1)
        assert [cue.ms for cue in file.cues] == [400 * n for n in range(5)]
