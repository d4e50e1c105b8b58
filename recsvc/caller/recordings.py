"""What a recorder has begun: its recordings, from ``start()`` to ``stop`` events, and the thread that fires these."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import uuid
from typing import ClassVar

import msgspec

from .. import errors
from ..common.descriptions import RecordingAction
from ..common.limits import CLOSE_DEADLINE_NS, EVENT_ASK_NS, MS, STOP_ASK_NS, S
from ..common.state import Input, Phase
from ..wire import messages
from ..wire.messages import RecordingStatistics
from .blob import Blob, content_of
from .calls import OfProcess
from .events import BlobEvent, ErrorEvent, Event
from .listeners import EventTarget, Registry
from .options import Bitrates
from .session import Session
from .storage import SpoolFile
from .subscription import Inbox

log = logging.getLogger("recsvc")

_CHANGE_NS = 50 * MS  # so long after a change of the stream its recordings end


class Recordings(EventTarget, OfProcess):
    """What a recorder has begun, and the thread that fires its events."""

    _make_listeners: ClassVar[type[Registry]]
    """How a face of recsvc calls listeners and lets its users wait."""

    def __init__(self) -> None:
        super().__init__()
        self._id = f"recorder-{uuid.uuid4().hex[:12]}"
        self._mime_type = self._constrained_type = ""
        self._bitrates = self._constructed = Bitrates(0, 0)
        self._lock = threading.RLock()
        self._listeners = self._make_listeners()
        self._session: Session | None = None  # the one that start() began and nothing has ended yet
        self._sessions: dict[str, Session] = {}  # those whose stop event is still to come
        self._inbox: Inbox | None = None  # while there are any
        self._dispatcher: threading.Thread | None = None
        self._statistics = RecordingStatistics(state="inactive")
        self._recording: Blob | None = None
        self._replaced: Blob | None = None  # the recording before, until the event of its successor was fired

    @property
    def _phase(self) -> Phase:
        session = self._session
        return Phase.IDLE if session is None else session.phase

    def _discard(self, session: Session) -> None:
        """A recording that has not begun for anybody: here and at the service it has never been."""
        session.drop_pushed()
        session.detach()
        self._send(session, "discard", time.monotonic_ns())
        del self._sessions[session.name]
        self._inactivate(session)
        if self._inbox is not None:
            self._inbox.leave(session.client, session.name)
        if self._dispatcher is not None:
            self._wake_dispatcher()  # it ends, if that was all
        elif not self._sessions:
            self._forget()

    def _send(self, session: Session, action: RecordingAction, at_ns: int, number: int = 0) -> None:
        command = messages.Control(
            recording=session.name, action=action, at_ns=at_ns, number=number, client=session.client.name
        )
        try:
            session.client.command(command)
        except errors.ServiceError:
            log.debug("%s of %s: the service is gone; error and stop follow", action, session.name)

    def _inactivate(self, session: Session) -> None:
        """MediaStream Recording, "inactivate the recorder"; nothing when a newer recording is active already."""
        with self._lock:
            if self._session is session:
                self._session = None
                session.happened(Input.STOP)
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
            if self._session is session and any(track.live for track in session.tracks):
                self._send(session, "modified", time.monotonic_ns())
                session.end_pushed(time.monotonic_ns())

    def service_closing(self) -> None:
        """This process leaves its controller, which finishes the recordings: pushed tracks end here."""
        for session in list(self._sessions.values()):
            session.end_pushed(time.monotonic_ns())

    def service_lost(self, error: Exception) -> None:
        """A controller is gone. The file's end is waited for on the events' own thread."""
        for session in list(self._sessions.values()):
            if not session.client.usable:
                session.end_pushed(time.monotonic_ns())  # an encoder that still lives can finish its files
                session.lost = session.lost or error
        self._wake_dispatcher()

    def service_closed(self) -> None:
        """The connection was closed, at the program's end perhaps: listeners still get what they were promised, and the
        time that they take, to save or upload. No controller publishes anything more."""
        dispatcher = self._dispatcher
        if dispatcher is not None and dispatcher is not threading.current_thread():
            self.service_lost(errors.ServiceError("the service ended before it published the recording's end"))
            dispatcher.join(CLOSE_DEADLINE_NS / S)
            if dispatcher.is_alive():
                log.warning("waiting for the listeners of a recording, which are still busy with an event")
                dispatcher.join()
        recording = self._recording_of_nobody()
        if recording is not None and hasattr(sys, "last_value"):  # an exception that nobody caught
            for path in content_of(recording).owe():
                log.warning("the program failed before it saved the recording, which is kept in %s", path)

    def service_given_up(self) -> list[str]:
        """The program leaves before its listeners have had everything: the files of these recordings stay. Where."""
        sessions = list(self._sessions.values())
        for session in sessions:
            if isinstance(session.file, SpoolFile):
                session.file.keep()
        return [session.path for session in sessions if session.path and os.path.exists(session.path)]

    def _recording_of_nobody(self) -> Blob | None:
        """The last one, if whoever started it was to take it himself, and has not failed to."""
        recording = self._recording
        if recording is None or any(self._listeners.turn("dataavailable")):
            return None
        return None if content_of(recording).is_owed else recording

    # --- events -----------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """The recorder's own thread: one event after the other, until no recording is left."""
        inbox = self._inbox
        assert inbox is not None
        while True:
            try:
                event = inbox.next(min(self._due_ns(), time.monotonic_ns() + STOP_ASK_NS))  # it may stop meanwhile
                if event is not None:
                    self._take(event)
                else:
                    self._look(inbox)
            except Exception as error:  # nobody else would bring these recordings to their end
                log.exception("the events of %s cannot be had any more", self._id)
                for session in list(self._sessions.values()):
                    self._send(session, "stop", time.monotonic_ns())
                    self._conclude(session, error)
            with self._lock:
                if not self._sessions:
                    self._forget()
                    return

    def _take(self, event: messages.RecorderEvent) -> None:
        session = self._sessions.get(event.recording)
        if session is None:
            return
        session.asked_ns = time.monotonic_ns()
        if event.type != "start" and session.path and not session.mime_type:
            # It was opened, and the controller is gone whose event of that is missing.
            self._take(session.made_up("start", mime_type=session.full_type))
        if event.type in ("pause", "resume"):
            self._obey(session, event)
        try:
            if event.type != "start" or self._begins(session, event):
                self._fire(session, event)
        except BaseException:  # one event is lost; the thread and with it all later ones must not be
            log.exception("handling %s failed", event)
        if event.type == "stop":
            with self._lock:
                session.happened(Input.FINISHED)
                self._sessions.pop(session.name, None)

    def _obey(self, session: Session, event: messages.RecorderEvent) -> None:
        """Somebody else may have paused or resumed it: then so are its tracks here, from now on."""
        with self._lock:
            if self._session is session:
                session.obey(Input(event.type), event.number)

    def _due_ns(self) -> int:
        """When ``_look`` has something to do, unless it is woken."""
        sessions = list(self._sessions.values())
        dues = [self._ask_at_ns(session) for session in sessions]
        dues += [one.changed_ns + _CHANGE_NS for one in sessions if one.changed_ns is not None]
        return min(dues, default=0)

    def _ask_at_ns(self, session: Session) -> int:
        """When it has been silent for so long that events may have been missed."""
        return session.asked_ns + (STOP_ASK_NS if session.phase is Phase.STOPPING else EVENT_ASK_NS)

    def _look(self, inbox: Inbox) -> None:
        """Ends recordings whose stream has changed, and those whose controller is gone, once what that had published
        is here; asks for events that may have been missed."""
        now_ns = time.monotonic_ns()
        for session in list(self._sessions.values()):
            if session.changed_ns is not None and now_ns >= session.changed_ns + _CHANGE_NS:
                self._end_changed(session)
            if session.lost is not None:
                if inbox.at(session.client).is_silent():
                    self._conclude(session, session.lost)
                else:
                    inbox.wake()  # after those events it is looked again
        for session in list(self._sessions.values()):
            if now_ns >= self._ask_at_ns(session):
                session.asked_ns = now_ns
                self._ask(session, inbox)

    def _ask(self, session: Session, inbox: Inbox) -> None:
        if session.phase is Phase.OPENING:
            return
        try:
            inbox.at(session.client).ask(session.name)
        except errors.InvalidStateError as error:  # the service does not know it
            self._conclude(session, error)
        except errors.RecorderError as error:
            log.debug("asking for events of %s: %s", session.name, error)

    def _conclude(self, session: Session, error: Exception) -> None:
        """The last events of a recording whose controller publishes nothing more."""
        self._take(session.made_up("error", error="ServiceError", text=str(error)))
        self._take(session.made_up("dataavailable"))  # no Blob: what was left behind
        self._take(session.made_up("stop"))

    def _wake_dispatcher(self) -> None:
        with self._lock:
            if self._inbox is not None:
                self._inbox.wake()

    def _forget(self) -> None:
        """Nothing more is to come."""
        if self._inbox is not None:
            self._inbox.close()
        self._inbox = self._dispatcher = None
        self._listeners.end()

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
            for path in content_of(event.data).keep():
                log.warning("the program ended, and nobody listens: the recording is kept in %s", path)

    def _event(self, session: Session, message: messages.RecorderEvent) -> Event:
        over = message.type in ("error", "stop") or message.statistics is not None
        if over and self._session is session:  # it ended by itself: all tracks over, or an error
            self._inactivate(session)
            session.end_pushed(session.client.ours_ns(message.at_ns))
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
                stages["published"] = session.client.ours_ns(message.at_ns) - session.stop_ns
                stages["blob_ready"] = time.monotonic_ns() - session.stop_ns
            self._statistics = msgspec.structs.replace(message.statistics, stop_stages_ns=stages)
        if message.whole is not None:
            self._replaced = self._recording  # to remove its file would delay the event
            self._recording = None  # the one before must not pass for one that cannot be opened
        data = session.blob(message.blob)
        if message.whole is not None:
            self._recording = session.blob(message.whole)
        return BlobEvent("dataavailable", data=data, timecode=message.timecode_ms)
