"""Where a service keeps its recordings: its catalog's process, and what that is to know of each recording.

Nothing here is on a recording's way. What is reported was published before; a catalog that hangs or is dead
delays nothing, and the one that takes its place gets all that the last one has not confirmed.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from ..common.descriptions import RecordingInfo, Started
from ..common.service import CATALOG_PORT, ServiceOptions
from ..common.service_limits import CATALOG_ANSWER_NS, CATALOG_RETRY_NS, CATALOG_UNWRITTEN_MAX, CATALOG_WAIT_NS
from ..wire import messages
from .recording import Recording
from .restarts import Restarts
from .supervisor import Child, Supervisor

log = logging.getLogger("recsvc.controller")


class Keeping:
    """Not thread-safe: the controller's loop calls it. Where recordings are not kept it does nothing."""

    def __init__(self, supervisor: Supervisor, directory: Path, options: ServiceOptions) -> None:
        self.endpoints: tuple[str, ...] = ()
        """Where clients reach the catalog, one that takes another's place too."""
        self._supervisor = supervisor
        self._directory = directory
        self._options = options
        # Recordings that go on, and those whose end is not written yet, the oldest first.
        self._known: dict[str, tuple[RecordingInfo, str]] = {}
        self._sent = 0
        self._unanswered: dict[int, int] = {}  # since when, by the number of what was sent
        self._child: Child | None = None
        self._has_served = False
        self._restarts = Restarts(time.monotonic_ns() + CATALOG_WAIT_NS if options.keeps else None)
        self._retry_ns: int | None = None  # when what could not be written is sent again
        self._given = self._arguments() if options.keeps else ()

    def with_catalog(self, result: Any) -> Any:
        """What a reply carries: what was started also says where its file can be fetched."""
        return msgspec.structs.replace(result, catalog=self.endpoints) if isinstance(result, Started) else result

    # --- recordings -------------------------------------------------------------------------------

    def began(self, recording: Recording) -> None:
        """It is about to be opened."""
        if not self._options.keeps:
            return
        info = RecordingInfo(
            recording=recording.name,
            name=recording.title,
            owner=recording.owner,
            state="recording",
            mime_type=recording.mime_type,
            began=recording.began,
            topic=recording.topic,
        )
        self._enter(info, os.path.basename(recording.path))

    def published(self, event: messages.RecorderEvent) -> None:
        """Everybody has this event."""
        known = self._known.get(event.recording)
        if known is None:
            return
        info, file = known
        if event.type == "pause":
            info = msgspec.structs.replace(info, state="paused")
        elif event.type == "resume":
            info = msgspec.structs.replace(info, state="recording")
        elif event.type == "error":
            info = msgspec.structs.replace(info, error=f"{event.error}: {event.text}"[:1000])
        elif event.type == "dataavailable" and event.whole is not None:
            whole = event.whole
            info = msgspec.structs.replace(
                info, statistics=event.statistics, duration=whole.duration, size_bytes=whole.end
            )
        elif event.type == "stop":
            info = msgspec.structs.replace(info, state="failed" if info.error else "finished", ended=time.time())
        else:
            return
        if event.type in ("pause", "resume", "stop"):
            self._enter(info, file)
        else:
            self._known[event.recording] = info, file  # goes with what follows

    def dropped(self, recording: Recording) -> None:
        """It was given up."""
        self._known.pop(recording.name, None)
        if self._child is not None:
            self._supervisor.ask(self._child, messages.ForgetRecording(recording=recording.name))

    def _enter(self, info: RecordingInfo, file: str) -> None:
        self._known.pop(info.recording, None)
        self._known[info.recording] = info, file
        if len(self._known) > CATALOG_UNWRITTEN_MAX:
            oldest = next((name for name, (one, _) in self._known.items() if one.ended), None)
            if oldest is not None:
                del self._known[oldest]
        self._send(info, file)

    def _send(self, info: RecordingInfo, file: str) -> None:
        if self._child is None:
            return
        child = self._child
        self._sent += 1
        self._unanswered[self._sent] = time.monotonic_ns()
        enter = messages.EnterRecording(info=info, file=file)
        self._supervisor.ask(child, enter, partial(self._answered, child, info, self._sent))

    def _answered(self, child: Child, info: RecordingInfo, number: int, reply: messages.Reply) -> None:
        if child is not self._child:
            return
        self._unanswered.pop(number, None)
        known = self._known.get(info.recording)
        if reply.error:
            if self._retry_ns is None:
                log.warning(
                    "the catalog has not written recording %s, and is asked again: %s", info.recording, reply.text
                )
                self._retry_ns = time.monotonic_ns() + CATALOG_RETRY_NS
        elif info.ended and known is not None and known[0] is info:
            del self._known[info.recording]

    # --- the process ------------------------------------------------------------------------------

    def _arguments(self) -> tuple[str, ...]:
        options = self._options
        ipc, tcp = f"ipc://{self._directory}/catalog", options.tcp_endpoint(CATALOG_PORT)
        if tcp.endswith((":*", ":0")):
            tcp = f"{tcp.rpartition(':')[0]}:{_free_port()}"
        self.endpoints = (ipc, f"tcp://*:{tcp.rpartition(':')[2]}") if tcp else (ipc,)
        age_s, *sizes = options.retention_age_s, options.retention_bytes, options.retention_free_bytes
        retention = msgspec.json.encode([float(age_s), *map(int, sizes)]).decode()
        given = ("--endpoint", ipc, "--spool", options.spool, "--retention", retention)
        if not tcp:
            return given
        keys = () if options.insecure else ("--keys", options.keys, "--key-file", options.key_file)
        return *given, "--tcp", tcp, *keys

    def worker_ready(self) -> None:
        """What recordings need has started: so the catalog is no more in its way."""
        self._restarts.hurry(time.monotonic_ns())

    def _start(self) -> None:
        if self._restarts.failures and not self._has_served:
            self._given = self._arguments()
        try:
            self._child = self._supervisor.start("catalog", *self._given)
        except OSError as error:
            log.warning("no catalog can be started: %s", error)
            self._restarts.ended(time.monotonic_ns(), None)
            return
        for info, file in list(self._known.values()):
            self._send(info, file)
        self._supervisor.ask(self._child, messages.Survey())

    def ended(self, child: Child) -> None:
        """It is replaced at once, but not over and over."""
        self._child, self._retry_ns = None, None
        self._has_served |= child.ready
        self._unanswered.clear()
        if not child.ending:
            self._restarts.ended(time.monotonic_ns(), child.ready_ns)

    def end(self) -> None:
        """None is started any more."""
        self._restarts.end()

    def next_ns(self) -> int | None:
        """When ``look`` has something to do."""
        dues = [due for due in (self._restarts.due_ns, self._retry_ns) if due is not None]
        if self._unanswered:
            dues.append(next(iter(self._unanswered.values())) + CATALOG_ANSWER_NS)
        return min(dues, default=None)

    def postpone(self, lost_ns: int) -> None:
        """As ``Patient`` says."""
        self._unanswered = {number: since_ns + lost_ns for number, since_ns in self._unanswered.items()}

    def look(self) -> None:
        """What is due by now, at every turn of the loop."""
        now = time.monotonic_ns()
        if self._restarts.take(now):
            self._start()
        if self._retry_ns is not None and now >= self._retry_ns:
            self._retry_ns = None
            for info, file in list(self._known.values()):
                if info.ended:
                    self._send(info, file)
        oldest_ns = next(iter(self._unanswered.values()), now)
        if now - oldest_ns >= CATALOG_ANSWER_NS and self._child is not None:
            log.warning("the catalog does not answer and is killed")
            self._unanswered.clear()
            self._supervisor.kill(self._child)


def _free_port() -> int:
    """One that nobody has now; the catalog keeps it when another process takes its place."""
    with socket.create_server(("", 0)) as probe:
        return int(probe.getsockname()[1])
