"""recsvc for asyncio: the same names, awaited. Nothing here blocks the loop.

A recorder belongs to the loop that runs when its ``start()`` is awaited; there may be several loops. Listeners may
be functions or coroutine functions; one recorder's events come one at a time.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from . import recorder as _recorder
from . import stream as _stream
from .blob import Blob
from .errors import InvalidStateError
from .events import EVENT_TYPES, BlobEvent, ErrorEvent, Event
from .listeners import Listener, checked_type
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
]

log = logging.getLogger("recsvc")

Result = TypeVar("Result")


async def _in_thread(call: Callable[[], Result], undo: Callable[[Result], Any]) -> Result:
    """Runs a blocking call beside the loop. Cancelled, it still ends first, and what it did is undone."""
    work = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        result = await asyncio.gather(work, return_exceptions=True)
        if not isinstance(result[0], BaseException):
            await asyncio.to_thread(undo, result[0])
        raise


async def get_user_media(audio: Any = False, video: Any = False, *, service: str | None = None) -> MediaStream:
    """As ``recsvc.get_user_media``; cancelled, it leaves nothing open."""
    return await _in_thread(
        lambda: _stream.get_user_media(audio, video, service=service), lambda opened: opened.close()
    )


async def enumerate_devices() -> list[MediaDeviceInfo]:
    """As ``recsvc.enumerate_devices``."""
    return await asyncio.to_thread(_stream.enumerate_devices)


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
        self._fired: list[Event] = []
        self._unwaited: dict[str, list[Event]] = {type: [] for type in EVENT_TYPES}
        self._changed: asyncio.Condition | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deliveries: asyncio.Queue[Event] | None = None
        self._delivery: asyncio.Task[None] | None = None
        self._delivering = False
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
        await _in_thread(lambda: self._recorder.start(timeslice), lambda _: self._recorder.stop())

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
        if self._delivery is not None and not self._delivering:
            await asyncio.wait([self._delivery])

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
        waiting = self._unwaited[checked_type(type)]
        if self._delivering and asyncio.current_task() is self._delivery:
            raise InvalidStateError(f"wait({type!r}) inside a listener would wait for itself")
        condition = self._condition()
        async with asyncio.timeout(timeout), condition:
            await condition.wait_for(lambda: self._unwaited[type])
            waiting = self._unwaited[type]
            return waiting.pop(0)

    async def events(self) -> AsyncIterator[Event]:
        """Iterates over the events since the last ``start()`` and on to ``stop``."""
        condition = self._condition()
        fired, position = self._fired, 0
        while True:
            async with condition:
                while len(fired) <= position:
                    if fired is not self._fired:
                        return
                    await condition.wait()
            event = fired[position]
            position += 1
            yield event
            if event.type == "stop" and position == len(fired) and self._recorder.state == "inactive":
                return

    # --- inside -----------------------------------------------------------------------------------

    def _condition(self) -> asyncio.Condition:
        if self._changed is None:
            self._changed = asyncio.Condition()
        return self._changed

    def _attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """This recording's events go to this loop."""
        if self._loop is not loop:
            self._loop, self._changed, self._delivery = loop, None, None
            self._deliveries = asyncio.Queue()
        self._fired = []
        self._unwaited = {type: [] for type in EVENT_TYPES}
        if self._delivery is None or self._delivery.done():
            self._delivery = loop.create_task(self._deliver())

    def _from_thread(self, event: Event) -> None:
        """On the recorder's thread: the loop takes over, unless it has ended."""
        assert self._loop is not None and self._deliveries is not None
        try:
            self._loop.call_soon_threadsafe(self._deliveries.put_nowait, event)
        except RuntimeError:
            log.warning("the loop of this recorder has ended; its event %r is not delivered", event.type)

    async def _deliver(self) -> None:
        """One event after the other, until a recording is over and no newer one has begun."""
        assert self._deliveries is not None
        while True:
            event = await self._deliveries.get()
            self._delivering = True
            handler = self._handlers[event.type]
            if handler is not None:
                await self._call(handler, event)
            for listener in list(self._listeners[event.type]):
                if listener in self._listeners[event.type]:
                    await self._call(listener, event)
            self._delivering = False
            condition = self._condition()
            async with condition:
                self._fired.append(event)
                self._unwaited[event.type].append(event)
                condition.notify_all()
            if event.type == "stop" and self._deliveries.empty() and self._recorder.state == "inactive":
                return

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
