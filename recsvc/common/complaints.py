"""What others do wrong is logged: the first time at once, repetitions as a count from time to time."""

from __future__ import annotations

import logging
import time

from .limits import COMPLAINT_INTERVAL_NS, COMPLAINTS_MAX


class Complaints:
    """Warnings that somebody else causes, perhaps hundreds of times a second."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._logged: dict[str, tuple[int, int]] = {}  # subject -> when its next line is due, how many were left out

    def about(self, subject: str, text: str) -> None:
        """Logs ``text``, unless a line about ``subject`` was logged just now: then it is counted, for the next line. Of
        a route, its name says which recording it is."""
        now_ns = time.monotonic_ns()
        if subject not in self._logged and len(self._logged) >= COMPLAINTS_MAX:
            self._logged = {name: logged for name, logged in self._logged.items() if logged[0] > now_ns}
            if len(self._logged) >= COMPLAINTS_MAX:
                subject = ""  # all the others together
        due_ns, left_out = self._logged.get(subject, (now_ns, 0))
        if now_ns < due_ns:
            self._logged[subject] = due_ns, left_out + 1
            return
        self._logged[subject] = now_ns + COMPLAINT_INTERVAL_NS, 0
        more = f" ({left_out} more since the last line like this)" if left_out else ""
        recording, slash, _ = subject.partition("/")
        self._logger.warning("%s%s", text, more, extra={"recording": recording if slash else ""})
