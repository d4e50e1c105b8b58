"""recsvc for asyncio: the same names, awaited. Nothing here blocks the loop.

A recorder belongs to the loop that runs when its ``start()`` is awaited; there may be several loops. Listeners may
be functions or coroutine functions; one recorder's events come one at a time.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, TypeVar

from . import recorder as _recorder
from . import recovery as _recovery
from . import stream as _stream
from .blob import Blob
from .errors import InvalidStateError
from .events import EVENT_TYPES, BlobEvent, ErrorEvent, Event
from .limits import EVENTS_KEPT_MAX
from .listeners import Listener, checked_timeout, checked_type
from .stream import MediaDeviceInfo, MediaStream, MediaStreamTrack
from .wire.messages import RecordingStatistics, TrackStatistics

__all__ = [
    "AudioSource",
    "Blob",
    "BlobEvent",
    "ErrorEvent",
    "Event",
    "MediaDeviceInfo",
    "MediaRecorder",
    "MediaStream",
    "MediaStreamTrack",
    "RecordingStatistics",
    "TrackStatistics",
    "VideoSource",
    "enumerate_devices",
    "get_user_media",
    "recover",
]

log = logging.getLogger("recsvc")

Result = TypeVar("Result")


async def _in_thread(call: Callable[[], Result], undo: Callable[[Result], Any]) -> Result:
    """Runs a blocking call beside the loop. Cancelled, it still ends first, and what it did is undone."""
    loop = asyncio.get_running_loop()
    work = loop.run_in_executor(None, call)  # no task: the end of a loop cancels all of those
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await _done(work)
        if work.exception() is None:
            undoing = loop.run_in_executor(None, undo, work.result())
            await _done(undoing)
            if undoing.exception() is not None:
                log.debug("undoing a cancelled call failed", exc_info=undoing.exception())
        raise


async def _done(work: asyncio.Future[Any]) -> None:
    """Waits for it through every cancellation."""
    while not work.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([work])


async def get_user_media(audio: Any = False, video: Any = False, *, service: str | None = None) -> MediaStream:
    """As ``recsvc.get_user_media``; cancelled, it leaves nothing open."""
    return await _in_thread(
        lambda: _stream.get_user_media(audio, video, service=service), lambda opened: opened.close()
    )


async def enumerate_devices() -> list[MediaDeviceInfo]:
    """As ``recsvc.enumerate_devices``."""
    return await asyncio.to_thread(_stream.enumerate_devices)


async def recover(path: str | os.PathLike[str]) -> Blob:
    """As ``recsvc.recover``. Cancelled, it still completes the file."""
    return await asyncio.to_thread(_recovery.recover, path)


class _Push:
    """``write`` of both push sources: awaited where it may have to wait."""

    _source: _stream.AudioSource | _stream.VideoSource
    _waits: bool

    @property
    def track(self) -> MediaStreamTrack:
        return self._source.track

    @property
    def muted(self) -> bool:
        return self._source.muted

    @muted.setter
    def muted(self, value: bool) -> None:
        self._source.muted = value

    async def write(self, buffer: Any, timestamp_ns: int | None = None) -> bool:
        """As the synchronous ``write``."""
        if self._waits:
            return await asyncio.to_thread(self._source.write, buffer, timestamp_ns)
        return self._source.write(buffer, timestamp_ns)

    def end(self) -> None:
        self._source.end()


class AudioSource(_Push):
    """As ``recsvc.AudioSource``; ``write`` is awaited."""

    def __init__(
        self, sample_rate: int, channel_count: int, sample_format: str = "s16", *, when_full: str = "drop"
    ) -> None:
        self._source = _stream.AudioSource(sample_rate, channel_count, sample_format, when_full=when_full)
        self._waits = when_full == "wait"


class VideoSource(_Push):
    """As ``recsvc.VideoSource``; ``write`` is awaited."""

    def __init__(self, width: int, height: int, pixel_format: str = "i420", *, when_full: str = "drop") -> None:
        self._source = _stream.VideoSource(width, height, pixel_format, when_full=when_full)
        self._waits = when_full == "wait"


class MediaRecorder:
    """As ``recsvc.MediaRecorder``; ``start``, ``stop`` and what else may take time are awaited."""

    def __init__(self, stream: MediaStream, **options: Any) -> None:
        self._recorder = _recorder.MediaRecorder(stream, **options)
        self._handlers: dict[str, Listener | None] = dict.fromkeys(EVENT_TYPES)
        self._listeners: dict[str, list[Listener]] = {type: [] for type in EVENT_TYPES}
        self._fired: deque[Event] = deque()  # since the last start; before these there were so many:
        self._forgotten = 0
        self._unwaited: dict[str, deque[Event]] = {}
        self._forget()
        self._begun = 0  # recordings whose stop event was not delivered yet
        self._changed = asyncio.Event()  # a new one after each change
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deliveries: deque[Event] = deque()
        self._delivery: asyncio.Task[None] | None = None  # while there is something to deliver
        for type in EVENT_TYPES:
            self._recorder.add_event_listener(type, self._from_thread)

    stream = property(lambda self: self._recorder.stream)
    mime_type = property(lambda self: self._recorder.mime_type)
    state = property(lambda self: self._recorder.state)
    audio_bits_per_second = property(lambda self: self._recorder.audio_bits_per_second)
    video_bits_per_second = property(lambda self: self._recorder.video_bits_per_second)
    audio_bitrate_mode = property(lambda self: self._recorder.audio_bitrate_mode)
    recording = property(lambda self: self._recorder.recording)
    is_type_supported = staticmethod(_recorder.MediaRecorder.is_type_supported)

    async def start(self, timeslice: float | None = None) -> None:
        """As the synchronous ``start``. Cancelled, it leaves the recorder inactive again."""
        loop = asyncio.get_running_loop()
        if self._recorder.state == "inactive":
            self._attach(loop)
        self._begun += 1

        def begin() -> None:
            try:
                self._recorder.start(timeslice)
            except BaseException:
                loop.call_soon_threadsafe(self._one_less)
                raise

        await _in_thread(begin, lambda _: self._recorder.stop())

    async def stop(self) -> None:
        """As the synchronous ``stop``: returns when the state has changed; the events follow."""
        await self._quick(self._recorder.stop)

    async def pause(self) -> None:
        await self._quick(self._recorder.pause)

    async def resume(self) -> None:
        await self._quick(self._recorder.resume)

    async def request_data(self) -> None:
        await self._quick(self._recorder.request_data)

    async def _quick(self, call: Callable[[], None]) -> None:
        """These only send; but a ``start()`` under way in a thread holds the recorder's lock for some ms."""
        if self._recorder._lock.acquire(blocking=False):
            try:
                call()
            finally:
                self._recorder._lock.release()
        else:
            await asyncio.to_thread(call)

    async def statistics(self) -> RecordingStatistics:
        return await asyncio.to_thread(self._recorder.statistics)

    async def close(self) -> None:
        """Stops an active recording and waits until its events were delivered; idempotent."""
        await asyncio.to_thread(self._recorder.close)
        delivery = self._delivery
        if delivery is not None and not self._inside_a_listener():
            await asyncio.wait([delivery])

    async def __aenter__(self) -> MediaRecorder:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def add_event_listener(self, type: str, listener: Listener) -> None:
        """``listener`` is a function or a coroutine function; added twice it is called once."""
        if not callable(listener):
            raise TypeError(f"a listener must be callable, got {listener!r}")
        listeners = self._listeners[checked_type(type)]
        if listener not in listeners:
            listeners.append(listener)

    def remove_event_listener(self, type: str, listener: Listener) -> None:
        listeners = self._listeners[checked_type(type)]
        if listener in listeners:
            listeners.remove(listener)

    async def wait(self, type: str, timeout: float | None = None) -> Event:
        """As the synchronous ``wait``; ``TimeoutError`` after ``timeout`` seconds."""
        checked_type(type)
        checked_timeout(timeout)
        if self._inside_a_listener():
            raise InvalidStateError(f"wait({type!r}) inside a listener would wait for itself")
        try:
            async with asyncio.timeout(timeout):
                while not self._unwaited[type]:
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(f"no {type!r} event within {timeout} s") from None
        return self._unwaited[type].popleft()

    async def events(self) -> AsyncIterator[Event]:
        """Iterates over the events since the last ``start()`` and on to ``stop``."""
        following = 0
        while True:
            position = max(following - self._forgotten, 0)
            if position < len(self._fired):
                following = self._forgotten + position + 1
                yield self._fired[position]
            elif self._over:
                return
            elif self._inside_a_listener():
                raise InvalidStateError("events() inside a listener would wait for itself")
            else:
                await self._changed.wait()

    # --- inside -----------------------------------------------------------------------------------

    def _inside_a_listener(self) -> bool:
        return self._delivery is not None and asyncio.current_task() is self._delivery

    def _attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """This recording's events go to this loop."""
        if self._loop is not loop:
            if self._loop is not None:
                self._changed, self._deliveries, self._delivery = asyncio.Event(), deque(), None
            self._loop = loop
        self._forget()

    def _forget(self) -> None:
        self._forgotten += len(self._fired)
        self._fired.clear()
        self._unwaited = {type: deque(maxlen=EVENTS_KEPT_MAX) for type in EVENT_TYPES}
        self._over = False

    def _one_less(self) -> None:
        """A recording is over, or never began."""
        self._begun -= 1
        self._over = self._begun == 0
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _from_thread(self, event: Event) -> None:
        """On the recorder's thread: the loop takes over, unless it has ended."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._take, event)
        except RuntimeError:
            log.warning("the loop of this recorder has ended; its event %r is not delivered", event.type)

    def _take(self, event: Event) -> None:
        self._deliveries.append(event)
        if self._delivery is None or self._delivery.done():
            self._delivery = asyncio.get_running_loop().create_task(self._deliver())

    async def _deliver(self) -> None:
        """One event after the other, until none is left."""
        while self._deliveries:
            event = self._deliveries.popleft()
            handler = self._handlers[event.type]
            if handler is not None:
                await self._call(handler, event)
            for listener in list(self._listeners[event.type]):
                if listener in self._listeners[event.type]:
                    await self._call(listener, event)
            if len(self._fired) == EVENTS_KEPT_MAX:
                self._fired.popleft()
                self._forgotten += 1
            self._fired.append(event)
            self._unwaited[event.type].append(event)
            if event.type == "stop":
                self._one_less()
            self._notify()
        self._delivery = None

    async def _call(self, listener: Listener, event: Event) -> None:
        try:
            result = listener(event)
            if inspect.isawaitable(result):
                await result
        except Exception:
            log.exception("a listener of %r failed; the recording goes on", event.type)


def _handler(type: str) -> property:
    def get(recorder: MediaRecorder) -> Listener | None:
        return recorder._handlers[type]

    def set(recorder: MediaRecorder, handler: Listener | None) -> None:
        if handler is not None and not callable(handler):
            raise TypeError(f"on{type} must be callable or None, got {handler!r}")
        recorder._handlers[type] = handler

    return property(
        get, set, doc=f"Called with each {type!r} event, before the listeners; may be a coroutine function."
    )


for _type in EVENT_TYPES:
    setattr(MediaRecorder, f"on{_type}", _handler(_type))
