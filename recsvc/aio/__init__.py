"""recsvc for asyncio: the same names, awaited. Nothing here blocks the loop.

There may be several loops, at once or one after another; one loop at a time uses a recorder. Listeners are functions or
coroutine functions, and a recorder's events come one at a time.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Literal, TypeVar, overload

from ..caller import recovery as _recovery
from ..caller import user_media as _user_media
from ..caller.blob import Blob
from ..caller.events import BlobEvent, ErrorEvent, Event
from ..caller.listeners import checked_timeout, checked_type
from ..caller.push import Buffer, PushedPictures, PushedSound
from ..caller.push_encoded import PushedEncodedPictures, PushedEncodedSound
from ..caller.recorder import Recorder
from ..caller.stream import MediaStream, MediaStreamTrack
from ..caller.user_media import MediaDeviceInfo, Wish
from ..common.descriptions import RecordingStatistics, TrackStatistics
from . import recording as recording
from .loops import Room, Rooms

__all__ = [
    "AudioSource",
    "Blob",
    "BlobEvent",
    "EncodedAudioSource",
    "EncodedVideoSource",
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
    """Runs a blocking call beside the loop. When it is cancelled, the call still ends, and is undone."""
    loop = asyncio.get_running_loop()
    work = loop.run_in_executor(None, call)  # not a task, all of which are cancelled when a loop ends
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
    """Waits until it is done, whatever is cancelled meanwhile."""
    while not work.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([work])


async def get_user_media(
    audio: Wish = False, video: Wish = False, *, service: str | os.PathLike[str] | None = None
) -> MediaStream:
    """As ``recsvc.get_user_media``. When it is cancelled, it leaves nothing open."""
    return await _in_thread(
        lambda: _user_media.get_user_media(audio, video, service=service), lambda opened: opened.close()
    )


async def enumerate_devices() -> list[MediaDeviceInfo]:
    """As ``recsvc.enumerate_devices``."""
    return await asyncio.to_thread(_user_media.enumerate_devices)


async def recover(path: str | os.PathLike[str]) -> Blob:
    """As ``recsvc.recover``. When it is cancelled, it still completes the file."""
    return await asyncio.to_thread(_recovery.recover, path)


class AudioSource(PushedSound):
    """As ``recsvc.AudioSource``, with ``write`` awaited."""

    async def write(self, buffer: Buffer, timestamp_ns: int | None = None) -> bool:
        """As the synchronous ``write``. Only a source with ``when_full="wait"`` waits."""
        if self._waits:
            return await asyncio.to_thread(self._write, buffer, timestamp_ns)
        return self._write(buffer, timestamp_ns)


class VideoSource(PushedPictures):
    """As ``recsvc.VideoSource``, with ``write`` awaited."""

    async def write(self, buffer: Buffer, timestamp_ns: int | None = None) -> bool:
        """As the synchronous ``write``. Only a source with ``when_full="wait"`` waits."""
        if self._waits:
            return await asyncio.to_thread(self._write, buffer, timestamp_ns)
        return self._write(buffer, timestamp_ns)


class EncodedAudioSource(PushedEncodedSound):
    """As ``recsvc.EncodedAudioSource``, with ``write`` awaited."""

    async def write(self, packet: Buffer, timestamp_ns: int | None = None, *, key_frame: bool | None = None) -> bool:
        """As the synchronous ``write``. Only a source with ``when_full="wait"`` waits."""
        if self._waits:
            return await asyncio.to_thread(self._write, packet, timestamp_ns, key_frame)
        return self._write(packet, timestamp_ns, key_frame)


class EncodedVideoSource(PushedEncodedPictures):
    """As ``recsvc.EncodedVideoSource``, with ``write`` awaited."""

    async def write(self, packet: Buffer, timestamp_ns: int | None = None, *, key_frame: bool | None = None) -> bool:
        """As the synchronous ``write``. Only a source with ``when_full="wait"`` waits."""
        if self._waits:
            return await asyncio.to_thread(self._write, packet, timestamp_ns, key_frame)
        return self._write(packet, timestamp_ns, key_frame)


class MediaRecorder(Recorder):
    """As ``recsvc.MediaRecorder``, with ``start``, ``stop`` and all else that may take time awaited.

    Its events come on the loop that awaits ``start()``. When that loop has ended, the next one that awaits something of
    the recorder goes on. If that is another ``start()``, the events that the old loop did not take are dropped.
    """

    _make_listeners = Rooms
    _listeners: Rooms

    async def start(self, timeslice: float | None = None) -> None:
        """As the synchronous ``start``. When it is cancelled, the recorder is inactive again."""
        self._check_process()
        room = self._listeners.enter(fresh=self.state == "inactive")

        def begin() -> None:
            try:
                self._begin(timeslice)
            except BaseException:
                self._listeners.leave(room)
                raise

        await _in_thread(begin, lambda _: self._now(self._stop))

    async def stop(self) -> None:
        """As the synchronous ``stop``. Returns when the state has changed; the events follow."""
        await self._soon(self._stop)

    async def pause(self) -> None:
        """As the synchronous ``pause``."""
        await self._soon(self._pause)

    async def resume(self) -> None:
        """As the synchronous ``resume``."""
        await self._soon(self._resume)

    async def request_data(self) -> None:
        """As the synchronous ``request_data``."""
        await self._soon(self._request_data)

    async def _soon(self, step: Callable[[int], None]) -> None:
        """Makes a call that only sends; on a thread while another one, in ``start()``, has the recorder's lock."""
        self._here()
        if self._starting:
            await asyncio.to_thread(self._now, step)
        else:
            self._now(step)

    async def statistics(self) -> RecordingStatistics:
        """As the synchronous ``statistics``."""
        return await asyncio.to_thread(self._latest_statistics)

    async def close(self) -> None:
        """Stops an active recording and waits until its events are delivered. Idempotent. A closed recorder cannot
        start again."""
        await self._delivered(self._close)

    async def _delivered(self, call: Callable[[], None]) -> None:
        room = self._here()
        await asyncio.to_thread(call)
        await room.delivered()

    async def __aenter__(self) -> MediaRecorder:
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        if not self._elsewhere:  # a forked child leaves the block, too
            await self._delivered(self._end)
            self._owe_for(error)

    @overload
    async def wait(self, type: Literal["dataavailable"], timeout: float | None = None) -> BlobEvent: ...
    @overload
    async def wait(self, type: Literal["error"], timeout: float | None = None) -> ErrorEvent: ...
    @overload
    async def wait(self, type: str, timeout: float | None = None) -> Event: ...
    async def wait(self, type: str, timeout: float | None = None) -> Event:
        """As the synchronous ``wait``; ``TimeoutError`` after ``timeout`` seconds."""
        checked_type(type)
        checked_timeout(timeout)
        try:
            async with asyncio.timeout(timeout):
                return await self._here().wait(type)
        except TimeoutError:
            raise TimeoutError(f"no {type!r} event within {timeout} s") from None

    async def events(self) -> AsyncIterator[Event]:
        """Iterates over the events since the last ``start()`` and on to ``stop``."""
        async for event in self._here().iterate():
            yield event

    def _here(self) -> Room:
        self._check_process()
        return self._listeners.here()
