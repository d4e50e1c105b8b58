"""What becomes of the file of a recording whose worker died: another worker completes it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable

import msgspec

from ..common.descriptions import CompletedFile
from ..common.limits import RECOVERY_DEADLINE_NS
from ..errors import ServiceError
from ..mux.left_behind import left_behind
from ..wire import messages
from .journal import about
from .recording import Recording
from .supervisor import Supervisor
from .workers import Workers

log = logging.getLogger("recsvc.controller")


def remove_file(path: str) -> None:
    """Of a recording that was given up. Where that cannot be (the spool is read-only by now, or gone) it stays."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("%s is not removed: %s", path, error)


class Recovery:
    """One, of one recording; ``on_done(recording, report)`` is called once. Its deadline is the recording's."""

    def __init__(
        self,
        recording: Recording,
        supervisor: Supervisor,
        workers: Workers,
        on_done: Callable[[Recording, messages.RecordingFinished], None],
    ) -> None:
        self._recording = recording
        self._supervisor = supervisor
        self._workers = workers
        self._on_done = on_done
        self._is_over = False
        self._limit_ns = time.monotonic_ns() + RECOVERY_DEADLINE_NS - recording.postponed_ns
        self._ask()

    def _ask(self) -> None:
        """Workers may be killed all together, and one is chosen before its end is seen: then the next is asked, as long
        as there is time, and waited for where it is only started after a pause. None ends by this itself, which is
        Python and reads headers only."""
        deadline_ns = self._limit_ns + self._recording.postponed_ns
        self._recording.due = deadline_ns, lambda _: self._end(None, "it took too long")
        try:
            worker = self._workers.choose()
        except ServiceError as error:
            retry_ns = self._workers.next_ns
            if retry_ns is not None and retry_ns < deadline_ns:
                self._recording.due = retry_ns, lambda _: self._ask()
            else:
                self._end(None, str(error))
            return

        def answered(reply: messages.Reply) -> None:
            if not reply.error:
                self._end(msgspec.convert(reply.result, CompletedFile), "")
            elif self._supervisor.knows(worker) or self._is_over:
                self._end(None, reply.text)
            else:
                self._ask()

        self._supervisor.ask(worker, messages.RecoverFile(path=self._recording.path), answered)

    def _end(self, done: CompletedFile | None, text: str) -> None:
        """The file is completed, or it is what the dead worker left of it."""
        if self._is_over:
            return
        self._is_over = True
        recording, path = self._recording, self._recording.path
        if done is None:
            log.warning("%s is handed out as it is: %s", path, text, extra=about(recording.name))
        left = left_behind(path, recording.mime_type, recording.handed_out, done)
        report = messages.RecordingFinished(recording=recording.name, **left._asdict())
        self._on_done(recording, report)
