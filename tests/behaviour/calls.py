"""Calls in each state: what they change, what they refuse, which events follow."""

import pytest
from listening import ALL_IN_ORDER, types_of
from media import DEADLINE_S, counter_picture, decode

import recsvc
from recsvc.errors import InvalidStateError

from .studio import HEIGHT, WIDTH, Suite, until


class Calls(Suite):
    async def test_calls_that_need_a_recording_raise_while_inactive(self) -> None:
        studio = self.studio(mime_type="video/webm")
        recorder = studio.recorder

        async def refused() -> None:
            for name in ("stop", "pause", "resume", "request_data"):
                with pytest.raises(InvalidStateError, match=rf"{name}\(\).*inactive") as raised:
                    await getattr(recorder, name)()
                assert raised.value.name == "InvalidStateError"
                assert (recorder.state, recorder.mime_type) == ("inactive", "video/webm")
            assert (await recorder.statistics()).state == "inactive"

        await refused()
        with pytest.raises(TimeoutError):
            await recorder.wait("stop", 0.1)
        assert studio.events == []
        await studio.start()
        await recorder.stop()
        await refused()  # while the recording's events are still to come
        blob = await studio.stopped()
        await refused()  # and after it, which stays as it is
        assert recorder.recording is blob
        assert types_of(studio.events) == ALL_IN_ORDER

    async def test_start_while_active_raises_and_changes_nothing(self) -> None:
        studio = self.studio(bits_per_second=1_000_000)
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
        studio = self.studio("a", strict_stop=False)
        assert await studio.recorder.stop() is None
        await studio.start()
        for _ in range(3):
            assert await studio.recorder.stop() is None
        await studio.stopped()
        assert await studio.recorder.stop() is None
        assert types_of(studio.events) == ALL_IN_ORDER

    async def test_a_second_stop_before_the_events_raises_and_loses_nothing(self) -> None:
        studio = self.studio("a")
        await studio.start()
        await studio.play(0.1)
        await studio.recorder.stop()
        with pytest.raises(InvalidStateError):
            await studio.recorder.stop()
        blob = await studio.stopped()
        assert types_of(studio.events) == ALL_IN_ORDER
        studio.assert_holds(blob, range(0), 0.1)

    async def test_the_state_changes_in_the_call_and_each_change_has_one_event(self) -> None:
        studio = self.studio("a")
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
        studio = self.studio()
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
            studio = self.studio(kinds)
            await studio.start()
            await studio.stop()
            assert types_of(studio.events) == ALL_IN_ORDER
            [event] = [event for event in studio.events if event.type == "dataavailable"]
            assert (event.timecode, event.data.duration) == (0.0, 0.0)
            assert event.data.type == studio.recorder.recording.type != ""

    async def test_every_event_is_an_event_of_its_kind(self) -> None:
        studio = self.studio("a")
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
