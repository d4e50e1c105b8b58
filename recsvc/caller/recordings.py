"""What a recorder has begun: its recordings, from ``start()`` to ``stop`` events, and the thread that fires these."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
import uuid

import msgspec

from .. import errors
from ..common.limits import CLOSE_DEADLINE_NS, S
from ..wire import messages
from ..wire.messages import RecordingStatistics
from . import client
from .blob import Blob
from .calls import OfProcess
from .events import BlobEvent, ErrorEvent, Event
from .listeners import EventTarget, Listeners, Registry
from .options import Bitrates
from .session import Session

log = logging.getLogger("recsvc")

_CHANGE_NS = 50_000_000  # so long after a change of the stream its recordings end


class Recordings(EventTarget, OfProcess):
    """The inside of a ``MediaRecorder``."""

    def __init__(self) -> None:
        super().__init__()
        self._id = f"recorder-{uuid.uuid4().hex[:12]}"
        self._state = "inactive"
        self._mime_type = self._constrained_type = ""
        self._bitrates = self._constructed = Bitrates(0, 0)
        self._lock = threading.RLock()
        self._listeners: Listeners = Listeners()
        self._audience: Registry = self._listeners  # of ``recsvc.aio`` those of its own recorder
        self._session: Session | None = None  # the one that start() began and nothing has ended yet
        self._sessions: dict[str, Session] = {}  # those whose stop event is still to come
        self._client: client.Client | None = None  # of the newest recording
        self._queue: queue.SimpleQueue[client.RecorderMessage] = queue.SimpleQueue()
        self._dispatcher: threading.Thread | None = None
        self._statistics = RecordingStatistics(state="inactive")
        self._recording: Blob | None = None
        self._replaced: Blob | None = None

    def _discard(self, session: Session) -> None:
        """A recording that has not begun for anybody: here and at the service it has never been."""
        session.drop_pushed()
        session.detach()
        self._send(session, "discard", time.monotonic_ns())
        del self._sessions[session.name]
        self._inactivate(session)
        if self._dispatcher is not None:
            self._wake_dispatcher()  # it ends, if that was all
        elif not self._sessions:
            self._forget()

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
        """A track was added to or removed from the stream. The recording ends by it a moment later, on the events' own
        thread, as the specification has it: the calls that follow at once come first, a ``stop()`` among them."""
        with self._lock:
            if self._session is not None and self._session.changed_ns is None:
                self._session.changed_ns = time.monotonic_ns()
                self._wake_dispatcher()

    def _end_changed(self, session: Session) -> None:
        """It is no error where every track has ended already."""
        with self._lock:
            session.changed_ns = None
            if self._session is session and any(track.ready_state == "live" for track in session.tracks):
                self._command(session, "modified", time.monotonic_ns())
                session.end_pushed(time.monotonic_ns())

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
        if dispatcher is not None and dispatcher is not threading.current_thread():
            self._conclude_without_service(errors.ServiceError("the service ended before it told the recording's end"))
            dispatcher.join(CLOSE_DEADLINE_NS / S)
            if dispatcher.is_alive():
                log.warning("waiting for the listeners of a recording, which are still busy with an event")
                dispatcher.join()
        recording = self._recording_of_nobody()
        if recording is not None and hasattr(sys, "last_value"):  # an exception that nobody caught
            for path in recording._content.owe():
                log.warning("the program failed before it saved the recording, which is kept in %s", path)

    def service_given_up(self) -> list[str]:
        """The program leaves before its listeners have had everything: the files of these recordings stay. Where."""
        sessions = list(self._sessions.values())
        for session in sessions:
            if session.file is not None:
                session.file.keep()
        return [session.path for session in sessions if session.path and os.path.exists(session.path)]

    def _recording_of_nobody(self) -> Blob | None:
        """The last one, if whoever started it was to take it himself, and has not failed to."""
        recording = self._recording
        if recording is None or any(self._audience.turn("dataavailable")):
            return None
        return None if recording._content.is_owed else recording

    # --- events -----------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """The recorder's own thread: one event after the other, until no recording is left."""
        while True:
            message = self._next_message()
            session = self._sessions.get(message.recording)
            if session is not None:
                try:
                    self._take(session, message)
                except BaseException:  # one event is lost; the thread and with it all later ones must not be
                    log.exception("handling %s failed", message)
            with self._lock:
                if session is not None and isinstance(message, messages.RecorderEvent) and message.type == "stop":
                    del self._sessions[session.name]
                if not self._sessions:
                    self._forget()
                    return

    def _next_message(self) -> client.RecorderMessage:
        """The next one; meanwhile it is looked whether the stream has changed."""
        while True:
            session = self._session
            due_ns = None if session is None else session.changed_ns
            try:
                return self._queue.get(timeout=due_ns and max(due_ns + _CHANGE_NS - time.monotonic_ns(), 0) / S)
            except queue.Empty:
                assert session is not None
                self._end_changed(session)

    def _wake_dispatcher(self) -> None:
        self._queue.put(messages.Stopping(recorder=self._id, recording=""))

    def _forget(self) -> None:
        """Nothing more is to come."""
        assert self._client is not None
        self._client.on_recorder(self._id, None)
        self._dispatcher = None
        self._listeners.end()

    def _take(self, session: Session, message: client.RecorderMessage) -> None:
        if isinstance(message, messages.RecordingFinished):
            session.report = message
        elif isinstance(message, messages.Stopping):
            session.stop_known = True
        elif (message.type != "start" or self._begins(session, message)) and session.heard(message):
            self._fire(session, message)
        last = session.conclusion()
        if last is not None:
            self._fire(session, last)

    def _begins(self, session: Session, message: messages.RecorderEvent) -> bool:
        """Whether its ``start()`` has not been given up. From here on an interrupted one is stopped as any other."""
        with self._lock:
            if session.name not in self._sessions:
                return False
            session.mime_type = message.mime_type
            if self._session is session:
                self._mime_type = message.mime_type
            return True

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
        self._keep_if_nobody_comes(session, event)
        self._listeners.fire(event)
        self._replaced = None

    def _keep_if_nobody_comes(self, session: Session, event: Event) -> None:
        """The program ended, by an exception perhaps, before it had this recording: had it been killed, the file would
        be in the spool, and so it is now, where nobody listens."""
        if isinstance(event, BlobEvent) and session.client.closing and not any(self._listeners.turn(event.type)):
            for path in event.data._content.keep():
                log.warning("the program ended, and nobody listens: the recording is kept in %s", path)

    def _event(self, session: Session, message: messages.RecorderEvent) -> Event:
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
