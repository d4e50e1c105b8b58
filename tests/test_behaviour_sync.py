"""The synchronous face: the common behaviour, and what threads may do."""

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

pytest.register_assert_rewrite("behaviour")

from behaviour import Behaviour, Captured, Studio  # noqa: E402
from listening import ALL_IN_ORDER, types_of  # noqa: E402
from media import DEADLINE_S, decode  # noqa: E402

import recsvc  # noqa: E402
from recsvc.caller import connections  # noqa: E402
from recsvc.errors import InvalidStateError  # noqa: E402

CALLS = ("start", "stop", "pause", "resume", "request_data", "close", "statistics", "write")


class Awaited:
    """A synchronous recorder or source whose calls are awaited, in the thread that awaits them."""

    def __init__(self, inner: Any) -> None:
        object.__setattr__(self, "inner", inner)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if name not in CALLS:
            return found

        async def call(*arguments: Any) -> Any:
            return found(*arguments)

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.inner, name, value)

    async def wait(self, *arguments: Any) -> recsvc.Event:
        """In a listener, which has a loop of its own: in its thread, else beside the loop."""
        if threading.current_thread() is threading.main_thread():
            return await asyncio.to_thread(self.inner.wait, *arguments)
        return self.inner.wait(*arguments)

    async def events(self) -> AsyncIterator[recsvc.Event]:
        iterator = self.inner.events()
        main = threading.current_thread() is threading.main_thread()
        while (event := await asyncio.to_thread(next, iterator, None) if main else next(iterator, None)) is not None:
            yield event

    async def __aenter__(self) -> "Awaited":
        self.inner.__enter__()
        return self

    async def __aexit__(self, *exception: Any) -> None:
        self.inner.__exit__(*exception)


class Synchronous:
    """``recsvc`` itself."""

    def audio_source(self, *arguments: Any, **options: Any) -> Awaited:
        return Awaited(recsvc.AudioSource(*arguments, **options))

    def video_source(self, *arguments: Any, **options: Any) -> Awaited:
        return Awaited(recsvc.VideoSource(*arguments, **options))

    def recorder(self, stream: recsvc.MediaStream, **options: Any) -> Awaited:
        return Awaited(recsvc.MediaRecorder(stream, **options))

    def listener(self, function: Callable[[Any], Awaitable[None]]) -> Callable[[Any], None]:
        return lambda event: asyncio.run(function(event))  # type: ignore[arg-type]

    def reference(self, recorder: Awaited) -> Callable[[], recsvc.MediaRecorder | None]:
        return weakref.ref(recorder.inner)


class TestSynchronous(Behaviour):
    face = Synchronous()


class TestCaptured(Captured):
    face = Synchronous()


def at_once(count: int, call: Callable[[], Any]) -> list[Any]:
    """The results, or exceptions, of so many threads that make a call together."""
    barrier, results = threading.Barrier(count), []

    def run() -> None:
        barrier.wait(DEADLINE_S)
        try:
            results.append(call())
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert len(results) == count
    return results


def test_of_many_threads_one_starts_and_one_stops() -> None:
    studio = Studio(Synchronous(), "a")
    recorder = studio.recorder.inner
    for _ in range(5):
        for call in (recorder.start, recorder.stop):
            results = at_once(8, call)
            assert results.count(None) == 1
            assert all(isinstance(result, InvalidStateError) for result in results if result is not None)
        recorder.wait("stop", DEADLINE_S)
    assert types_of(studio.events) == ALL_IN_ORDER * 5


def test_each_event_wakes_one_of_many_that_wait() -> None:
    studio = Studio(Synchronous(), "a")
    recorder = studio.recorder.inner

    def wait() -> Any:
        return recorder.wait("pause", 0.5)

    recorder.start()
    waiting = threading.Thread(target=lambda: results.extend(at_once(4, wait)))
    results: list[Any] = []
    waiting.start()
    for _ in range(2):
        recorder.pause()
        recorder.resume()
    waiting.join(DEADLINE_S)
    recorder.close()
    assert sorted(type(result).__name__ for result in results) == ["Event", "Event", "TimeoutError", "TimeoutError"]


def test_all_events_of_a_recording_come_on_one_thread_that_is_not_the_callers() -> None:
    studio = Studio(Synchronous(), "a")
    recorder, threads = studio.recorder.inner, set()
    for type in ("start", "pause", "dataavailable", "stop"):
        recorder.add_event_listener(type, lambda event: threads.add(threading.get_ident()))
    recorder.start()
    recorder.pause()
    recorder.close()
    assert len(threads) == 1 and threading.get_ident() not in threads


def test_the_end_of_a_program_that_still_pushes_completes_its_recording(own_controller: None) -> None:
    """What ``atexit`` does: the tracks are pushed by this very process, so nobody else could end them."""
    studio = Studio(Synchronous())
    asyncio.run(studio.start())
    asyncio.run(studio.play(0.4))
    connections.close_all()
    assert types_of(studio.events) == ALL_IN_ORDER
    assert decode(studio.recorder.recording).counters == list(range(10))
