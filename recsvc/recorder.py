"""MediaRecorder: the W3C recorder's semantics over a controller. State changes in the call; events follow."""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Literal, overload

import msgspec

from . import client, errors, mime
from .blob import Blob
from .events import BlobEvent, ErrorEvent, Event
from .limits import CLOSE_DEADLINE_NS, RPC_DEADLINE_NS, S, credit, drain_deadline_ns
from .listeners import EventTarget, Listeners
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
from .session import Session
from .state import Input, check_call
from .stream import MediaStream, MediaStreamTrack, _PushedOrigin
from .wire import messages
from .wire.messages import RecordingStatistics

log = logging.getLogger("recsvc")


class MediaRecorder(EventTarget):
    """Records a ``MediaStream`` (W3C MediaStream Recording, "MediaRecorder"; ``stop()`` as MDN documents it).

    ``mime_type``: see ``is_type_supported``; ``""``: the recorder chooses. Bitrates in bits per second;
    ``bits_per_second`` overrides both others, a tenth of it for sound. Key frame options exclude each other: ms
    since the last key frame, or frames between two. ``strict_stop=False``: ``stop()`` while inactive returns
    silently. ``overload``: ``"drop"`` or ``"finish-late"``. ``service``: a controller's endpoint; by default that
    of the stream's captured tracks, else ``RECSVC_SERVICE``, else a private one.

    Raises ``NotSupportedError`` (type, both key frame options), ``TypeError``, ``ValueError``. Thread-safe. As a
    context manager it stops an active recording at the end and waits for ``stop``.
    """

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
        service: str | None = None,
    ) -> None:
        if not isinstance(stream, MediaStream):
            raise TypeError(f"stream must be a MediaStream, got {stream!r}")
        mime.require_supported(mime_type)
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
        self._audio_bitrate_mode = choice("audio_bitrate_mode", audio_bitrate_mode, ("variable", "constant"))
        if video_key_frame_interval_duration is not None and video_key_frame_interval_count is not None:
            raise errors.NotSupportedError(
                "video_key_frame_interval_duration and video_key_frame_interval_count exclude each other: give one"
            )
        self._key_frame_ms = milliseconds("video_key_frame_interval_duration", video_key_frame_interval_duration)
        self._key_frame_count = uint32("video_key_frame_interval_count", video_key_frame_interval_count)
        if not isinstance(strict_stop, bool):
            raise TypeError(f"strict_stop must be True or False, got {strict_stop!r}")
        self._strict_stop = strict_stop
        self._overload = choice("overload", overload, ("drop", "finish-late"))
        self._service = service
        self._id = f"recorder-{uuid.uuid4().hex[:12]}"
        self._state = "inactive"
        self._lock = threading.RLock()
        self._listeners: Listeners = Listeners()
        self._session: Session | None = None  # the one that start() began and nothing has ended yet
        self._closed = False
        self._sessions: dict[str, Session] = {}  # those whose stop event is still to come
        self._queue: queue.SimpleQueue[client.RecorderMessage] = queue.SimpleQueue()
        self._dispatcher: threading.Thread | None = None
        self._statistics = RecordingStatistics(state="inactive")
        self._recording: Blob | None = None
        self._replaced: Blob | None = None
        stream._recorders.add(self)

    # --- attributes -------------------------------------------------------------------------------

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
        return self._state

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

    # --- methods ----------------------------------------------------------------------------------

    def start(self, timeslice: float | None = None) -> None:
        """Begins to record; ``state`` is ``"recording"`` at once, ``start`` follows.

        ``timeslice``: least media per ``dataavailable``, in ms; ``None``: one Blob at the end. Raises
        ``InvalidStateError`` when not inactive, ``NotSupportedError`` naming the track that cannot be recorded,
        ``ServiceError``. Blocks until the service has opened the recording (some ms).
        """
        timeslice_ms = milliseconds("timeslice", timeslice)
        with self._lock:
            if self._closed:
                raise errors.InvalidStateError("start() after close(): make a new MediaRecorder")
            check_call(self._state, Input.START)
            tracks = [track for track in self._stream.get_tracks() if track.ready_state == "live"]
            check_tracks(tracks)
            mime.choose(self._constrained_type, {track.kind for track in tracks})
            connection = self._connection(tracks)
            kinds = {track.kind for track in tracks}
            if self._bits_per_second is not None:
                self._bitrates = split(self._bits_per_second, kinds)
            name = f"{datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:8]}"
            session = Session(name, connection, tracks)
            self._session = self._sessions[name] = session
            self._state = "recording"
            self._listeners.forget()
            connection.on_recorder(self._id, self._queue.put)
            connection.on_end(self)
            try:
                self._open(session, timeslice_ms)
            except BaseException:
                session.end_pushed(time.monotonic_ns())
                session.detach()
                del self._sessions[name]
                self._inactivate(session)
                if not self._sessions:
                    connection.on_recorder(self._id, None)
                    self._listeners.end()
                raise
            if self._dispatcher is None:
                self._dispatcher = threading.Thread(target=self._dispatch, name="recsvc-recorder", daemon=True)
                self._dispatcher.start()

    def stop(self) -> None:
        """Ends the recording: inactive and capturing nothing any more at once, then ``dataavailable``, then ``stop``.

        Raises ``InvalidStateError`` while inactive (unless ``strict_stop=False``). Waits for nothing.
        """
        at_ns = time.monotonic_ns()
        with self._lock:
            if self._state == "inactive" and not self._strict_stop:
                return
            check_call(self._state, Input.STOP)
            session = self._session
            assert session is not None
            session.stop_ns = at_ns
            self._inactivate(session)
        session.count("stop")
        session.end_pushed(at_ns)
        session.end_captured(at_ns)
        session.detach()
        self._send(session, "stop", at_ns)

    def pause(self) -> None:
        """Records nothing until ``resume()``; that time is absent from the recording. ``InvalidStateError``."""
        at_ns = time.monotonic_ns()
        with self._lock:
            check_call(self._state, Input.PAUSE)
            if self._state == "paused":
                return
            self._state = "paused"
            session = self._session
            assert session is not None
            for sender, route in session.pushed():
                sender.pause(route, at_ns)
            self._command(session, "pause", at_ns)

    def resume(self) -> None:
        """Goes on after ``pause()``, with a key frame. ``InvalidStateError`` while inactive."""
        at_ns = time.monotonic_ns()
        with self._lock:
            check_call(self._state, Input.RESUME)
            if self._state == "recording":
                return
            self._state = "recording"
            session = self._session
            assert session is not None
            for sender, route in session.pushed():
                sender.resume(route, at_ns)
            self._command(session, "resume", at_ns)

    def request_data(self) -> None:
        """Fires ``dataavailable`` with everything captured up to the call and since the last one, an empty Blob for
        nothing; the recording goes on, or stays paused. Only sound that makes no whole packet yet, up to 30 ms, comes
        with the next. ``InvalidStateError`` while inactive."""
        at_ns = time.monotonic_ns()
        with self._lock:
            check_call(self._state, Input.REQUEST_DATA)
            session = self._session
            assert session is not None
            self._command(session, "request_data", at_ns)
            for sender, route in session.pushed():
                sender.mark(route, at_ns, session.asked)

    def close(self) -> None:
        """Stops an active recording and waits for its ``stop`` event, at most for the drain's deadline; idempotent.
        A closed recorder cannot start again."""
        with self._lock:
            self._closed = True
        self._end()

    def _end(self) -> None:
        with self._lock:
            if self._state != "inactive":
                self.stop()
            dispatcher = self._dispatcher
        if dispatcher is not None and dispatcher is not threading.current_thread():
            dispatcher.join(2 * drain_deadline_ns(self._overload) / S)

    def __enter__(self) -> MediaRecorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def statistics(self) -> RecordingStatistics:
        """The accounting of the active recording, as of now, else of the last one. Blocks for a moment."""
        return self._ask_statistics(RPC_DEADLINE_NS) or self._statistics

    def _ask_statistics(self, deadline_ns: int) -> RecordingStatistics | None:
        """Of the active recording; ``None`` where there is none, or nobody answers by then."""
        session = self._session
        if session is not None:
            try:
                result = session.client.request(messages.AskStatistics(recording=session.name), deadline_ns)
                found = msgspec.convert(result, RecordingStatistics)
                return msgspec.structs.replace(found, state=self._state)
            except (errors.InvalidStateError, errors.ServiceError):
                pass  # it ended while we asked
        return None

    @overload
    def wait(self, type: Literal["dataavailable"], timeout: float | None = None) -> BlobEvent: ...
    @overload
    def wait(self, type: Literal["error"], timeout: float | None = None) -> ErrorEvent: ...
    @overload
    def wait(self, type: str, timeout: float | None = None) -> Event: ...
    def wait(self, type: str, timeout: float | None = None) -> Event:
        """The next event of this type since the last ``start()`` that was not yet waited for; its listeners have
        been called. Blocks; ``TimeoutError`` after ``timeout`` seconds."""
        return self._listeners.wait(type, timeout)

    def events(self) -> Iterator[Event]:
        """Iterates over the events since the last ``start()`` and on to ``stop``."""
        return self._listeners.iterate()

    # --- inside -----------------------------------------------------------------------------------

    def _connection(self, tracks: list[MediaStreamTrack]) -> client.Client:
        captured = {track._origin.client for track in tracks if track._origin.client is not None}
        if len(captured) > 1:
            raise errors.NotSupportedError("the stream's tracks are captured by different services")
        if captured:
            found = captured.pop()
            if self._service is not None and client.connect(self._service) is not found:
                raise errors.NotSupportedError(f"the stream's tracks are not captured by the service {self._service}")
            return found
        return client.connect(self._service)

    def _open(self, session: Session, timeslice_ms: float | None) -> None:
        at_ns = time.monotonic_ns()
        for track in session.tracks:
            if isinstance(track._origin, _PushedOrigin):
                track._origin.sender.prepare(session.route(track), at_ns, *credit(track.kind, self._overload))
                track._origin.sender.enable(session.route(track), track.enabled)
        reply = session.client.request(
            messages.Start(
                client=session.client.name,
                recorder=self._id,
                recording=session.name,
                tracks=tuple(
                    messages.RecordedTrack(
                        track=track.id if not track._origin.captured else track._origin.track,  # type: ignore[attr-defined]
                        kind=track.kind,
                        captured=track._origin.captured,
                        settings=track.get_settings(),
                        enabled=track.enabled,
                    )
                    for track in session.tracks
                ),
                options=self._options(timeslice_ms),
                at_ns=at_ns,
            )
        )
        session.path = reply["path"]
        routes = msgspec.convert(reply["routes"], list[messages.RouteDescription])
        for track, route in zip(session.tracks, routes, strict=True):
            track._routes[route.route] = 0
            if isinstance(track._origin, _PushedOrigin):
                track._origin.sender.open(route)

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

    def _command(self, session: Session, action: str, at_ns: int) -> None:
        session.count(action)
        self._send(session, action, at_ns)

    def _send(self, session: Session, action: str, at_ns: int) -> None:
        try:
            session.client.command(messages.Control(recording=session.name, action=action, at_ns=at_ns))
        except errors.ServiceError:
            log.debug("%s of %s: the service is gone; error and stop follow", action, session.name)

    def _inactivate(self, session: Session) -> None:
        """MediaStream Recording, "inactivate the recorder"; nothing when a newer recording is active already."""
        with self._lock:
            if self._session is session:
                self._session = None
                self._state = "inactive"
                self._mime_type = self._constrained_type
                self._bitrates = self._constructed

    def _stream_modified(self) -> None:
        """A track was added to or removed from the stream; that is no error where every track has ended already."""
        with self._lock:
            if self._session is not None and any(track.ready_state == "live" for track in self._session.tracks):
                self._command(self._session, "modified", time.monotonic_ns())
                self._session.end_pushed(time.monotonic_ns())

    def service_closing(self) -> None:
        """This process leaves its controller, which finishes the recordings: pushed tracks end here."""
        for session in list(self._sessions.values()):
            session.end_pushed(time.monotonic_ns())

    def service_lost(self, error: Exception) -> None:
        """The controller is gone: the error is told at once; the file's end is waited for on the events' own thread."""
        for session in list(self._sessions.values()):
            session.end_pushed(time.monotonic_ns())  # an encoder that still lives can finish its files
        self._conclude_without_service(error)

    def _conclude_without_service(self, error: Exception) -> None:
        """What the controller cannot tell any more: for recordings whose end it has not told already."""
        for session in list(self._sessions.values()):
            event = messages.RecorderEvent(
                recorder=self._id, recording=session.name, sequence=0, type="error", at_ns=time.monotonic_ns()
            )
            self._queue.put(msgspec.structs.replace(event, error="ServiceError", text=str(error)))
            self._queue.put(msgspec.structs.replace(event, type="dataavailable"))  # no Blob: what was left behind
            self._queue.put(msgspec.structs.replace(event, type="stop"))

    def service_closed(self) -> None:
        """The connection was closed, at the program's end perhaps: listeners still get what they were promised, and the
        time that they take, to save or upload. What has not been told by now nobody will tell any more."""
        dispatcher = self._dispatcher
        if dispatcher is None or dispatcher is threading.current_thread():
            return
        self._conclude_without_service(errors.ServiceError("the service ended before it told the end of the recording"))
        dispatcher.join(CLOSE_DEADLINE_NS / S)
        if dispatcher.is_alive():
            log.warning("waiting for the listeners of a recording, which are still busy with an event")
            dispatcher.join()

    # --- events -----------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """The recorder's own thread: one event after the other, until no recording is left."""
        while True:
            message = self._queue.get()
            session = self._sessions.get(message.recording)
            if session is None:
                continue
            try:
                self._take(session, message)
            except BaseException:  # one event is lost; the thread and with it all later ones must not be
                log.exception("handling %s failed", message)
            if isinstance(message, messages.RecorderEvent) and message.type == "stop":
                with self._lock:
                    del self._sessions[session.name]
                    if not self._sessions:
                        session.client.on_recorder(self._id, None)
                        self._dispatcher = None
                        self._listeners.end()
                        return

    def _take(self, session: Session, message: client.RecorderMessage) -> None:
        if isinstance(message, messages.RecordingFinished):
            session.report = message
        elif isinstance(message, messages.Stopping):
            session.stop_known = True
        elif session.heard(message):
            self._fire(session, message)
        last = session.conclusion()
        if last is not None:
            self._fire(session, last)

    def _fire(self, session: Session, message: messages.RecorderEvent) -> None:
        try:
            event = self._event(session, message)
        except errors.RecorderError as error:  # its file cannot be opened: that is the event then
            event = ErrorEvent("error", error=error)
        except Exception as error:
            log.exception("the event %r could not be made", message.type)
            event = ErrorEvent(
                "error", error=errors.UnknownError(f"the event {message.type!r} could not be made: {error}")
            )
        self._listeners.fire(event)
        self._replaced = None

    def _event(self, session: Session, message: messages.RecorderEvent) -> Event:
        if message.type == "start":
            session.mime_type = message.mime_type
            with self._lock:
                if self._session is session:
                    self._mime_type = message.mime_type
        over = message.type in ("error", "stop") or message.statistics is not None
        if over and self._session is session:  # it ended by itself: all tracks over, or an error
            self._inactivate(session)
            session.end_pushed(message.at_ns)
            session.detach()
        if message.type == "error":
            return ErrorEvent("error", error=errors.event_error(message.error, message.text))
        if message.type == "dataavailable":
            return self._blob_event(session, message)
        return Event(message.type)

    def _blob_event(self, session: Session, message: messages.RecorderEvent) -> BlobEvent:
        if message.blob is None:
            message = session.left_behind(message)
        assert message.blob is not None
        session.handed_out.add(message.blob, message.timecode_ms)
        if message.statistics is not None:
            stages = dict(message.statistics.stop_stages_ns) if session.stop_ns is not None else {}
            if session.stop_ns is not None:
                stages["published"] = message.at_ns - session.stop_ns
                stages["blob_ready"] = time.monotonic_ns() - session.stop_ns
            self._statistics = msgspec.structs.replace(message.statistics, stop_stages_ns=stages)
        if message.whole is not None:
            self._replaced = self._recording  # its file goes when nobody waits for an event
            self._recording = None  # the one before must not pass for one that cannot be opened
        data = session.blob(message.blob)
        if message.whole is not None:
            self._recording = session.blob(message.whole)
        return BlobEvent("dataavailable", data=data, timecode=message.timecode_ms)
