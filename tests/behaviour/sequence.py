"""One recording after the other, and what is said of them."""

import pytest
from listening import ALL_IN_ORDER, types_of
from media import assert_accounted, decode

import recsvc

from .studio import WAITING, Suite, until, until_encoded


class Sequence(Suite):
    async def test_start_right_behind_stop_mixes_nothing(self) -> None:
        studio = self.studio()
        for _ in range(4):
            await studio.start()
            await studio.play(0.2)
            await studio.recorder.stop()
        await until(lambda: types_of(studio.events).count("stop") == 4, "the last stop")
        assert types_of(studio.events) == ALL_IN_ORDER * 4
        blobs = [event.data for event in studio.events if event.type == "dataavailable"]
        for n, blob in enumerate(blobs):
            studio.assert_holds(blob, range(5 * n, 5 * n + 5), 0.2)

    async def test_start_in_the_stop_listener_begins_the_next_recording(self) -> None:
        studio = self.studio("a")

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
        studio = self.studio("v")
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
        studio = self.studio()
        before = await studio.recorder.statistics()
        assert (before.state, before.tracks) == ("inactive", ())
        await studio.start()
        await studio.play(1)
        await until_encoded(studio)
        during = await studio.recorder.statistics()
        assert during.state == "recording" and during.duration > 0.4 and during.stop_stages_ns == {}
        for track in during.tracks:
            left = studio.pushed[track.kind] - track.frames_accepted
            assert 0 <= left <= WAITING[track.kind] and track.frames_accepted
        await studio.recorder.pause()
        assert (await studio.recorder.statistics()).state == "paused"
        blob = await studio.stop()
        after = await studio.recorder.statistics()
        assert (after.state, after.size_bytes) == ("inactive", blob.size)
        assert after.duration == pytest.approx(blob.duration)
        assert after.stop_stages_ns and all(stage > 0 for stage in after.stop_stages_ns.values())
        assert_accounted(after, decode(blob))
