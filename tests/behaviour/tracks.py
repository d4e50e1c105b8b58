"""What the tracks bring: their time, their end, their changes."""

import asyncio
import time

import numpy as np
import pytest
from listening import ALL_IN_ORDER, record_events, types_of
from media import DEADLINE_S, TICK_S, S, assert_accounted, counter_picture, decode, opened, tone

import recsvc
from recsvc.caller.events import EVENT_TYPES
from recsvc.errors import InvalidModificationError, InvalidStateError, NotSupportedError

from .studio import HEIGHT, WIDTH, Suite


def brightness(blob: recsvc.Blob) -> list[tuple[float, float]]:
    """The time and the mean luma of each picture."""
    found = []
    with opened(blob) as container:
        for frame in container.decode(video=0):
            luma = np.frombuffer(frame.planes[0], np.uint8).reshape(frame.height, -1)[:, : frame.width]
            found.append((float(frame.time), float(luma.mean())))
    return found


def loudest(samples: np.ndarray, from_s: float, until_s: float) -> float:
    return float(np.abs(samples[round(from_s * 48_000) : round(until_s * 48_000)]).max())


class Tracks(Suite):
    async def test_time_runs_from_the_first_frame_to_the_stop_call(self) -> None:
        """Also of a source that shows one frame, late, and then nothing."""
        for kinds in ("v", "a"):
            studio = self.studio(kinds)
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
        studio = self.studio()
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
        studio = self.studio("a")
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

    @pytest.mark.parametrize("change", ["add", "remove", "add while paused"])
    async def test_a_changed_stream_ends_the_recording_with_its_data(self, change: str) -> None:
        studio = self.studio()
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
        studio.assert_holds(blob, range(10), 0.4)

    async def test_a_stream_changed_behind_stop_is_no_error(self) -> None:
        studio = self.studio()
        await studio.start()
        await studio.play(0.2)
        await studio.recorder.stop()
        studio.stream.remove_track(studio.audio.track)
        studio.stream.add_track(studio.audio.track)
        studio.assert_holds(await studio.stopped(), range(5), 0.2)
        assert types_of(studio.events) == ALL_IN_ORDER

    @pytest.mark.parametrize("how", ["source", "track", "stream", "paused"])
    async def test_all_tracks_ended_end_the_recording_without_an_error(self, how: str) -> None:
        studio = self.studio()
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
        studio.assert_holds(blob, range(10), 0.4)
        with pytest.raises(NotSupportedError, match="no live track"):
            await studio.recorder.start()

    @pytest.mark.parametrize("ended", ["audio", "video"])
    async def test_one_of_two_ended_and_the_other_goes_on(self, ended: str) -> None:
        studio = self.studio()
        await studio.start()
        await studio.play(0.4)
        getattr(studio, ended).end()
        setattr(studio, ended, None)
        await studio.play(0.6)
        assert studio.recorder.state == "recording"
        blob = await studio.stop()
        assert types_of(studio.events) == ALL_IN_ORDER
        studio.assert_holds(blob, range(10 if ended == "video" else 25), 0.4 if ended == "audio" else 1.0)
        decoded = decode(blob)
        ends_s = {"audio": decoded.sound_s, "video": decoded.pictures[-1].at_s}
        assert ends_s[ended] < max(ends_s.values()) - 0.4

    @pytest.mark.parametrize("how", ["muted", "disabled", "disabled before start"])
    async def test_a_muted_or_disabled_track_is_black_or_silent_for_as_long(self, how: str) -> None:
        studio = self.studio()

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
        studio = self.studio()
        audio, video = studio.audio.track, studio.video.track
        ended = self.face.video_source(WIDTH, HEIGHT)
        ended.end()
        for tracks, mime_type, text in (
            ([], "", "no live track"),
            ([ended.track], "", "no live track"),
            ([audio, audio.clone()], "", f"2 live audio tracks.*{audio.label}"),
            ([video, audio, video.clone()], "", f"2 live video tracks.*{video.label}"),
            ([audio, video], "audio/webm", "video track.*audio/webm"),
            ([video], "audio/ogg", "video track.*audio/ogg"),
            ([audio, video], "audio/ogg;codecs=opus", "video track"),
            ([audio, video], "video/webm;codecs=vp9", "audio track.*codec"),
            ([video], "video/webm;codecs=opus", "video track"),
        ):
            recorder = self.face.recorder(recsvc.MediaStream(tracks), mime_type=mime_type, bits_per_second=10**6)
            events = record_events(recorder)
            with pytest.raises(NotSupportedError, match=text):
                await recorder.start()
            assert (recorder.state, recorder.mime_type, events) == ("inactive", mime_type, [])
            assert recorder.audio_bits_per_second == 100_000
            with pytest.raises(InvalidStateError):
                await recorder.stop()
            await recorder.close()

    async def test_ended_tracks_are_left_out(self) -> None:
        studio = self.studio(mime_type="audio/webm")
        with pytest.raises(NotSupportedError, match="video track"):
            await studio.recorder.start()
        studio.video.end()
        await studio.start()
        await studio.recorder.wait("start", DEADLINE_S)
        assert studio.recorder.mime_type == "audio/webm;codecs=opus"
        await studio.stop()
