"""The inside of both faces' recorders: options, state, and what each call does."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from datetime import datetime

import msgspec

from .. import errors
from ..common import mime
from ..common.limits import RPC_DEADLINE_NS, S, drain_deadline_ns
from ..common.recorded import BITRATE_MODES, OVERLOADS
from ..common.state import PUBLIC, Input, check_call
from ..wire import messages
from ..wire.messages import RecordingStatistics
from ..wire.replies import understood
from .blob import Blob, content_of
from .calls import check_process, look, whole
from .client import Client
from .options import (
    AUDIO_BITS_DEFAULT,
    VIDEO_BITS_DEFAULT,
    Bitrates,
    check_tracks,
    choice,
    milliseconds,
    possible,
    split,
    uint32,
)
from .recordings import Recordings
from .session import Session, connection_for
from .stream import MediaStream, track_of, watch
from .subscription import Inbox

log = logging.getLogger("recsvc")

_LOOK_S = 0.02  # a close() that was interrupted waits no longer


class Recorder(Recordings):
    """What the recorders of both faces have in common: options, attributes, and the steps of their calls."""

    def __init__(
        self,
        stream: MediaStream,
        *,
        mime_type: str = "",
        audio_bits_per_second: int | None = None,
        video_bits_per_second: int | None = None,
        bits_per_second: int | None = None,
        audio_bitrate_mode: str = "variable",
        video_key_frame_interval_duration: float | None = None,
        video_key_frame_interval_count: int | None = None,
        strict_stop: bool = True,
        overload: str = "drop",
        service: str | os.PathLike[str] | None = None,
    ) -> None:
        if not isinstance(stream, MediaStream):
            raise TypeError(f"stream must be a MediaStream, got {stream!r}")
        mime.require_supported(mime_type)
        super().__init__()
        check_process(stream)
        self._stream = stream
        self._constrained_type = self._mime_type = mime_type
        audio = uint32("audio_bits_per_second", audio_bits_per_second)
        video = uint32("video_bits_per_second", video_bits_per_second)
        self._bits_per_second = uint32("bits_per_second", bits_per_second)
        self._constructed = Bitrates(
            AUDIO_BITS_DEFAULT if audio is None else audio, VIDEO_BITS_DEFAULT if video is None else video
        )
        if self._bits_per_second is not None:
            self._constructed = split(self._bits_per_second, {"audio", "video"})
        self._bitrates = self._constructed
        self._audio_bitrate_mode = choice("audio_bitrate_mode", audio_bitrate_mode, BITRATE_MODES)
        if video_key_frame_interval_duration is not None and video_key_frame_interval_count is not None:
            raise errors.NotSupportedError(
                "video_key_frame_interval_duration and video_key_frame_interval_count exclude each other: give one"
            )
        self._key_frame_ms = milliseconds("video_key_frame_interval_duration", video_key_frame_interval_duration)
        self._key_frame_count = uint32("video_key_frame_interval_count", video_key_frame_interval_count)
        if not isinstance(strict_stop, bool):
            raise TypeError(f"strict_stop must be True or False, got {strict_stop!r}")
        self._strict_stop = strict_stop
        self._overload = choice("overload", overload, OVERLOADS)
        self._service = service
        self._starting = False  # a start() is under way, and has the lock for some ms
        self._closed = False
        watch(stream, self)

    @property
    def stream(self) -> MediaStream:
        return self._stream

    @property
    def mime_type(self) -> str:
        """As given; the full type (``video/webm;codecs=vp8,opus``) from just before ``start`` until inactive."""
        return self._mime_type

    @property
    def state(self) -> str:
        """``"inactive"``, ``"recording"`` or ``"paused"``."""
        return PUBLIC[self._phase]

    @property
    def audio_bits_per_second(self) -> int:
        return self._bitrates.audio

    @property
    def video_bits_per_second(self) -> int:
        return self._bitrates.video

    @property
    def audio_bitrate_mode(self) -> str:
        return self._audio_bitrate_mode

    @property
    def recording(self) -> Blob | None:
        """The whole of the last finished recording as one seekable Blob; ``None`` before its ``dataavailable``."""
        return self._recording

    @staticmethod
    def is_type_supported(type: str) -> bool:
        """Whether ``mime_type=type`` can be recorded (MediaStream Recording, "isTypeSupported()")."""
        return mime.is_type_supported(type)

    # --- calls ------------------------------------------------------------------------------------

    def _now(self, step: Callable[[int], None]) -> None:
        """Does one of the steps below as of this moment, as a whole."""
        self._check_process()
        at_ns = time.monotonic_ns()
        whole(lambda: step(at_ns))

    def _begin(self, timeslice: float | None) -> None:
        timeslice_ms = milliseconds("timeslice", timeslice)
        self._check_process()
        whole(lambda: self._start(timeslice_ms), self._undo_start)

    def _start(self, timeslice_ms: float | None) -> Session:
        with self._lock:
            if self._closed:
                raise errors.InvalidStateError("start() after close(): make a new MediaRecorder")
            check_call(self._phase, Input.START)
            tracks = [track for track in map(track_of, self._stream.get_tracks()) if track.live]
            check_tracks(tracks)
            kinds = {track.kind for track in tracks}
            mime.for_tracks(self._constrained_type, tracks)
            connection = connection_for(tracks, self._service)
            if self._bits_per_second is not None:
                self._bitrates = split(self._bits_per_second, kinds)
            name = f"{datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:8]}"
            session = Session(name, connection, tracks)
            self._session = self._sessions[name] = session
            self._listeners.forget()
            self._starting = True
            try:
                if self._inbox is None:
                    self._inbox = Inbox(self._id)
                session.open(self._id, self._options(timeslice_ms), self._follow)
                session.happened(Input.OPENED)
                session.asked_ns = time.monotonic_ns()
                self._inbox.wake()
                if self._dispatcher is None:
                    dispatcher = threading.Thread(target=self._dispatch, name="recsvc-recorder", daemon=True)
                    dispatcher.start()
                    self._dispatcher = dispatcher
            except BaseException:
                self._discard(session)
                raise
            finally:
                self._starting = False
            return session

    def _follow(self, session: Session, client: Client) -> None:
        """A recording's events come from this service alone."""
        assert self._inbox is not None
        if session.client is not client:
            self._inbox.leave(session.client, session.name)
            session.client = client
        self._inbox.follow(client, session.name)
        client.on_end(self)

    def _undo_start(self, session: Session) -> None:
        """The caller was interrupted when all was done. It never was, if it has no events yet; else it is stopped."""
        with self._lock:
            if session.mime_type:
                if self._session is session:
                    self._stop(time.monotonic_ns())
            elif session.name in self._sessions:
                self._discard(session)

    def _stop(self, at_ns: int) -> None:
        with self._lock:
            if self._session is None and not self._strict_stop:
                return
            check_call(self._phase, Input.STOP)
            session = self._session
            assert session is not None
            session.stop_ns = at_ns
            self._inactivate(session)
        session.end_pushed(at_ns)  # first: the last frames take longer than the command
        self._send(session, "stop", at_ns)
        session.detach()

    def _pause(self, at_ns: int) -> None:
        with self._lock:
            check_call(self._phase, Input.PAUSE)
            session = self._session
            assert session is not None
            if session.command(Input.PAUSE, at_ns):
                self._send(session, "pause", at_ns, session.commands)

    def _resume(self, at_ns: int) -> None:
        with self._lock:
            check_call(self._phase, Input.RESUME)
            session = self._session
            assert session is not None
            if session.command(Input.RESUME, at_ns):
                self._send(session, "resume", at_ns, session.commands)

    def _request_data(self, at_ns: int) -> None:
        with self._lock:
            check_call(self._phase, Input.REQUEST_DATA)
            session = self._session
            assert session is not None
            session.requests += 1
            self._send(session, "request_data", at_ns, session.requests)
            for origin, route in session.routes():
                origin.mark(route, at_ns, session.requests)

    def _close(self) -> None:
        self._check_process()
        self._closed = True
        self._end()

    def _end(self) -> None:
        dispatcher = whole(self._stop_if_active)
        if dispatcher is not None and dispatcher is not threading.current_thread():
            whole(lambda: self._await(dispatcher), lambda _: None)

    def _stop_if_active(self) -> threading.Thread | None:
        with self._lock:
            if self._session is not None:
                self._stop(time.monotonic_ns())
            return self._dispatcher

    def _await(self, dispatcher: threading.Thread) -> None:
        deadline_s = time.monotonic() + 2 * drain_deadline_ns(self._overload) / S
        while dispatcher.is_alive() and time.monotonic() < deadline_s:
            look()
            dispatcher.join(_LOOK_S)

    def _owe_for(self, error: BaseException | None) -> None:
        """An exception leaves the block that records: what comes after, and would save the recording, is not run."""
        recording = self._recording_of_nobody()
        if error is not None and recording is not None:
            content_of(recording).owe_for(error)
            if isinstance(error, SystemExit):  # of which nobody will read the notes
                log.warning("%s", "; ".join(getattr(error, "__notes__", ())))

    def _latest_statistics(self) -> RecordingStatistics:
        return self._ask_statistics(RPC_DEADLINE_NS) or self._statistics

    def _ask_statistics(self, deadline_ns: int) -> RecordingStatistics | None:
        self._check_process()
        return whole(lambda: self._request_statistics(deadline_ns), lambda _: None)

    def _request_statistics(self, deadline_ns: int) -> RecordingStatistics | None:
        session = self._session
        if session is not None:
            try:
                result = session.client.request(messages.AskStatistics(recording=session.name), deadline_ns)
                found = understood(result, RecordingStatistics)
                return msgspec.structs.replace(found, state=self.state)
            except (errors.InvalidStateError, errors.ServiceError):
                pass  # it ended while we asked
        return None

    def _options(self, timeslice_ms: float | None) -> messages.RecordingOptions:
        bits = possible(*self._bitrates)
        return messages.RecordingOptions(
            mime_type=self._constrained_type,
            audio_bits_per_second=bits.audio,
            video_bits_per_second=bits.video,
            audio_bitrate_mode=self._audio_bitrate_mode,
            key_frame_interval_ms=self._key_frame_ms,
            key_frame_interval_count=self._key_frame_count,
            timeslice_ms=timeslice_ms,
            overload=self._overload,
        )


def statistics_within(recorder: Recorder, deadline_ns: int) -> RecordingStatistics | None:
    """The accounting of its active recording. ``None`` where there is none, or its service does not answer by then."""
    return recorder._ask_statistics(deadline_ns)  # noqa: SLF001 for the command line, in its own time
