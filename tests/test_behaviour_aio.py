"""The asyncio face: the common behaviour, and that nothing blocks the loop, whatever is cancelled."""

import asyncio
import os
import signal
import threading
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("behaviour")

from behaviour import Behaviour, Studio, until  # noqa: E402
from listening import ALL_IN_ORDER, record_events, types_of  # noqa: E402
from media import DEADLINE_S, SMALL_TEST, assert_consecutive, decode  # noqa: E402
from services import roles  # noqa: E402

import recsvc  # noqa: E402
from recsvc import aio  # noqa: E402
from recsvc.caller import connections  # noqa: E402
from recsvc.errors import InvalidStateError, NotSupportedError  # noqa: E402


class Asyncio:
    """``recsvc.aio``."""

    audio_source = staticmethod(aio.AudioSource)
    video_source = staticmethod(aio.VideoSource)
    recorder = staticmethod(aio.MediaRecorder)

    def listener(self, function: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        return function

    def reference(self, recorder: aio.MediaRecorder) -> Callable[[], aio.MediaRecorder | None]:
        return weakref.ref(recorder)


class TestAsyncio(Behaviour):
    face = Asyncio()


FACE = Asyncio()

# Where a loop ends while events come, nobody is there to listen; the warning would keep the recorder and its data.
unheard_at_the_end = pytest.mark.filterwarnings("ignore:coroutine 'Room._deliver' was never awaited")


class Frozen:
    """Holds the private controller still for the length of the block, so that its answers take that long."""

    async def __aenter__(self) -> None:
        [self._pid] = roles("controller")
        os.kill(self._pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._pid, signal.SIGCONT)

    async def __aexit__(self, *_: object) -> None:
        self.go_on()


class Heartbeat:
    """Counts how often the loop came round."""

    def __init__(self) -> None:
        self.beats = 0
        self._task = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(0.005)
            self.beats += 1

    async def several(self) -> None:
        """Returns when the loop has come round a few times more."""
        seen = self.beats
        await until(lambda: self.beats >= seen + 5, "the heartbeat")

    def end(self) -> None:
        self._task.cancel()


@pytest.fixture(autouse=True)
def with_a_controller() -> None:
    """The module's controller is there before it is frozen or looked for."""
    connections.connect()


# --- nothing blocks the loop ----------------------------------------------------------------------


def test_the_loop_runs_on_while_the_service_does_not_answer() -> None:
    """Whichever call waits for the service: the heartbeat goes on, and the call returns once it answers."""

    async def main() -> None:
        heart = Heartbeat()
        studio = Studio(FACE, "a")
        async with Frozen():
            starting = asyncio.create_task(studio.recorder.start())
            await heart.several()
            assert not starting.done()
        await starting
        async with Frozen():
            asking = asyncio.create_task(studio.recorder.statistics())
            await heart.several()
            assert not asking.done()
            # These wait for nothing, so they return while it is frozen.
            await studio.recorder.pause()
            await studio.recorder.resume()
            await studio.recorder.request_data()
        await asking
        async with Frozen():
            closing = asyncio.create_task(studio.recorder.close())
            await until(lambda: studio.recorder.state == "inactive", "the stop inside close()")
            await heart.several()
            assert not closing.done()
        await closing
        async with Frozen():
            opening = asyncio.create_task(aio.get_user_media(audio=SMALL_TEST))
            await heart.several()
            assert not opening.done()
        (await opening).close()
        heart.end()

    asyncio.run(main())


def test_calls_during_a_start_that_takes_long_wait_without_blocking() -> None:
    async def main() -> None:
        heart = Heartbeat()
        studio = Studio(FACE, "a")
        async with Frozen():
            starting = asyncio.create_task(studio.recorder.start())
            await until(lambda: studio.recorder.state == "recording", "the state in the call")
            stopping = asyncio.create_task(studio.recorder.stop())
            await heart.several()
            assert not stopping.done()
        await starting
        await stopping
        await studio.stopped()
        assert types_of(studio.events) == ALL_IN_ORDER
        heart.end()

    asyncio.run(main())


def test_a_write_that_waits_for_room_does_not_block_the_loop() -> None:
    async def main() -> None:
        heart = Heartbeat()
        studio = Studio(FACE, "v")
        async with Frozen():
            starting = asyncio.create_task(studio.recorder.start())
            await until(lambda: studio.recorder.state == "recording", "the state in the call")
            playing = asyncio.create_task(studio.play(3))  # more frames than may be under way
            await heart.several()
            await until(lambda: studio.number >= 20, "the first credit")
            await heart.several()
            assert not playing.done()
        await starting
        await playing
        assert decode(await studio.stop()).counters == list(range(75))
        heart.end()

    asyncio.run(main())


# --- cancellation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 3])
def test_a_cancelled_start_leaves_the_recorder_inactive(times: int) -> None:
    async def main() -> None:
        studio = Studio(FACE)
        async with Frozen():
            starting = asyncio.create_task(studio.recorder.start())
            await until(lambda: studio.recorder.state == "recording", "the state in the call")
            for _ in range(times):
                starting.cancel()
                await asyncio.sleep(0.01)
            assert not starting.done(), "it first undoes what it did"
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert studio.recorder.state == "inactive"
        await studio.stopped()
        assert types_of(studio.events) == ALL_IN_ORDER
        with pytest.raises(InvalidStateError):
            await studio.recorder.stop()
        # And it can start again.
        await studio.start()
        await studio.play(0.2)
        assert decode(await studio.stop()).counters == list(range(5))
        assert types_of(studio.events) == ALL_IN_ORDER * 2

    asyncio.run(main())


def test_a_cancelled_start_that_fails_is_cancelled_all_the_same() -> None:
    async def main() -> None:
        studio = Studio(FACE, "a")
        async with Frozen():
            starting = asyncio.create_task(studio.recorder.start())
            await until(lambda: studio.recorder.state == "recording", "the state in the call")
            failing = asyncio.create_task(studio.recorder.start())
            await asyncio.sleep(0.05)  # it waits for the first one to end
            failing.cancel()
        await starting
        with pytest.raises(asyncio.CancelledError):
            await failing
        assert studio.recorder.state == "recording", "the first one's recording is not the cancelled one's to stop"
        await studio.stop()

    asyncio.run(main())


def test_a_cancelled_get_user_media_leaves_nothing_open() -> None:
    async def main() -> None:
        before = roles("capture")
        async with Frozen():
            opening = asyncio.create_task(aio.get_user_media(audio=SMALL_TEST, video=SMALL_TEST))
            await asyncio.sleep(0.05)
            opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await until(lambda: roles("capture") == before, "the end of the capture process")

    asyncio.run(main())


def test_a_cancelled_wait_takes_no_event() -> None:
    async def main() -> None:
        studio = Studio(FACE, "a")
        waiting = asyncio.create_task(studio.recorder.wait("stop"))
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await studio.start()
            iterating = asyncio.create_task(anext(aiter(studio.recorder.events())))
            cancelled = [asyncio.create_task(studio.recorder.wait("stop")) for _ in range(3)]
            await asyncio.sleep(0.01)
            for task in cancelled:
                task.cancel()
            await studio.stop()
            assert (await iterating).type == "start"
        assert all(task.cancelled() for task in cancelled)

    asyncio.run(main())


@unheard_at_the_end
def test_the_end_of_the_loop_in_the_middle_of_a_start_stops_the_recording(spool: Path) -> None:
    """``asyncio.run`` cancels what is left; nothing goes on recording that nobody can stop."""
    studio = Studio(FACE, "a")

    async def main() -> None:
        frozen = Frozen()
        await frozen.__aenter__()
        threading.Timer(0.2, frozen.go_on).start()
        main.starting = asyncio.create_task(studio.recorder.start())
        await until(lambda: studio.recorder.state == "recording", "the state in the call")

    asyncio.run(main())
    assert main.starting.cancelled() and studio.recorder.state == "inactive"
    forget_unheard(spool)


# --- loops ----------------------------------------------------------------------------------------


def test_two_loops_in_two_threads_at_once() -> None:
    results: dict[int, Any] = {}

    async def main(number: int) -> None:
        studios = [Studio(FACE) for _ in range(2)]
        async with asyncio.TaskGroup() as group:
            for studio in studios:
                group.create_task(studio.start())
        async with asyncio.TaskGroup() as group:
            for studio in studios:
                group.create_task(studio.play(0.6))
        threads = set()
        for studio in studios:
            studio.recorder.onstop = lambda event: threads.add(threading.get_ident())
        counters = [decode(await studio.stop()).counters for studio in studios]
        results[number] = counters, threads == {threading.get_ident()}, [types_of(s.events) for s in studios]

    runs = [threading.Thread(target=lambda n=number: asyncio.run(main(n))) for number in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(DEADLINE_S)
    assert results == {number: ([list(range(15))] * 2, True, [ALL_IN_ORDER] * 2) for number in range(2)}


def test_a_recorder_follows_the_loop_that_starts_it() -> None:
    studio = Studio(FACE, "a")

    async def main() -> None:
        await studio.start()
        await studio.play(0.1)
        async with asyncio.timeout(DEADLINE_S):
            await studio.stop()
        assert [event.type async for event in studio.recorder.events()] == ALL_IN_ORDER

    for _ in range(3):
        asyncio.run(main())
    assert types_of(studio.events) == ALL_IN_ORDER * 3


def forget_unheard(spool: Path) -> None:
    """What no listener has heard of, or had to the end, stays in the spool."""
    connections.close_all()
    for path in spool.iterdir():
        path.unlink()


@unheard_at_the_end
def test_a_second_loop_waits_for_its_own_recording_alone(spool: Path) -> None:
    """The first loop ends before it has heard of anything."""
    studio = Studio(FACE, "a")

    async def unheard() -> None:
        await studio.start()
        await studio.recorder.stop()

    async def heard() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await studio.start()
            iterating = asyncio.create_task(anext(aiter(studio.recorder.events())))
            await studio.play(0.2)
            await studio.stop()
            assert (await iterating).type == "start"
            assert [event.type async for event in studio.recorder.events()] == ALL_IN_ORDER
            for type in ALL_IN_ORDER[:2]:
                await studio.recorder.wait(type)
        assert len(decode(studio.recorder.recording).samples) == 9600

    for _ in range(3):
        asyncio.run(unheard())
        studio.events.clear()
        asyncio.run(heard())
        assert types_of(studio.events) == ALL_IN_ORDER
    forget_unheard(spool)


@unheard_at_the_end
def test_a_second_loop_goes_on_with_the_recording_of_the_first(caplog: pytest.LogCaptureFixture) -> None:
    studio = Studio(FACE, "a")
    calls = []

    async def interrupted(event: recsvc.Event) -> None:
        calls.append(event.type)
        await asyncio.sleep(DEADLINE_S)

    async def first() -> None:
        studio.recorder.onstart = interrupted
        await studio.start()
        await until(lambda: calls, "the first listener")

    async def second() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await studio.play(0.2)
            assert len(decode(await studio.stop()).samples) == 9600
            assert [event.type async for event in studio.recorder.events()] == ALL_IN_ORDER

    asyncio.run(first())
    asyncio.run(second())
    assert (calls, types_of(studio.events)) == (["start"], ALL_IN_ORDER)
    caplog.clear()  # the traceback holds the recorder


@unheard_at_the_end
def test_what_a_loop_did_not_take_is_there_for_the_next_one_that_asks() -> None:
    studio = Studio(FACE, "a")

    async def first() -> None:
        await studio.start()
        await studio.recorder.stop()

    async def second() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await studio.stopped()
            assert [event.type async for event in studio.recorder.events()] == ALL_IN_ORDER

    asyncio.run(first())
    asyncio.run(second())
    assert types_of(studio.events) == ALL_IN_ORDER


def test_two_running_loops_cannot_wait_at_one_recorder() -> None:
    studio = Studio(FACE, "a")

    async def main() -> None:
        await studio.start()
        with pytest.raises(InvalidStateError, match="another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(studio.recorder.wait("stop", 1)))
        await studio.stop()

    asyncio.run(main())


def test_a_cancelled_task_inside_a_listener_loses_no_event(caplog: pytest.LogCaptureFixture, spool: Path) -> None:
    """Neither where a listener awaits a task that gets cancelled, nor where the program cancels every task: what
    it had not done with its data then, it can still do with the file."""

    async def main() -> None:
        studio = Studio(FACE, "a")
        listening = asyncio.Event()

        async def await_cancelled(event: recsvc.Event) -> None:
            task = asyncio.create_task(asyncio.sleep(DEADLINE_S))
            asyncio.get_running_loop().call_soon(task.cancel)
            await task

        async def hold(event: recsvc.Event) -> None:
            listening.set()
            await asyncio.sleep(DEADLINE_S)

        async def cancel_all() -> None:
            await listening.wait()
            for task in asyncio.all_tasks() - {asyncio.current_task(), main_task}:
                task.cancel()

        main_task = asyncio.current_task()
        after: list[recsvc.Event] = []
        studio.recorder.onstart = studio.recorder.ondataavailable = await_cancelled
        studio.recorder.add_event_listener("dataavailable", hold)
        studio.recorder.add_event_listener("dataavailable", after.append)
        cancelling = asyncio.create_task(cancel_all())
        async with asyncio.timeout(DEADLINE_S):
            await studio.start()
            await studio.stop()
            for type in ALL_IN_ORDER[:2]:
                await studio.recorder.wait(type)
        await cancelling
        assert types_of(studio.events) == ALL_IN_ORDER and types_of(after) == ["dataavailable"]

    asyncio.run(main())
    caplog.clear()  # the tracebacks hold the Blobs
    assert len(list(spool.iterdir())) == 1
    forget_unheard(spool)


def test_a_listener_can_await_while_others_go_on() -> None:
    """A coroutine listener holds up its own recorder's events only; the loop and the recording go on."""

    async def main() -> None:
        heart = Heartbeat()
        studio = Studio(FACE, "a")
        release = asyncio.Event()

        async def hold(event: recsvc.Event) -> None:
            await release.wait()

        studio.recorder.onstart = hold
        await studio.start()
        await studio.play(0.2)
        await heart.several()
        await studio.recorder.stop()
        assert studio.events == []
        release.set()
        assert len(decode(await studio.stopped()).samples) == 9600
        heart.end()

    asyncio.run(main())


def test_captured_tracks_end_to_end() -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="audio.*video"):
            await aio.get_user_media()
        with await aio.get_user_media(audio=SMALL_TEST, video=SMALL_TEST) as stream:
            assert isinstance(stream, aio.MediaStream)
            async with aio.MediaRecorder(stream) as recorder:
                events = record_events(recorder)
                await recorder.start(100)
                await recorder.wait("dataavailable", DEADLINE_S)
                await recorder.pause()
                await recorder.resume()
                await recorder.wait("dataavailable", DEADLINE_S)
            assert types_of(events)[-1] == "stop"
            joined = recsvc.Blob([event.data for event in events if event.type == "dataavailable"])
            assert decode(joined).counters == decode(recorder.recording).counters
            await recorder.start()
            await asyncio.sleep(0.2)
        await recorder.wait("stop", DEADLINE_S)
        assert_consecutive(decode(recorder.recording).counters)
        with pytest.raises(NotSupportedError, match="no live track"):
            await recorder.start()

    asyncio.run(main())
