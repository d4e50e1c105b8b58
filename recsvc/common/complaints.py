"""What others do wrong is logged: the first time at once, what follows as a count now and then."""

from __future__ import annotations

import logging
import time

from .limits import COMPLAINT_INTERVAL_NS, COMPLAINTS_MAX


class Complaints:
    """Warnings that somebody else causes, perhaps hundreds of times a second."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._said: dict[str, tuple[int, int]] = {}  # about whom -> when again, how many were not said since

    def about(self, whom: str, text: str) -> None:
        """Logs ``text``, unless something was logged about ``whom`` just now: then it is counted, for the next line."""
        now_ns = time.monotonic_ns()
        if whom not in self._said and len(self._said) >= COMPLAINTS_MAX:
            self._said = {one: said for one, said in self._said.items() if said[0] > now_ns}
            if len(self._said) >= COMPLAINTS_MAX:
                whom = ""  # all the others together
        again_ns, unsaid = self._said.get(whom, (now_ns, 0))
        if now_ns < again_ns:
            self._said[whom] = again_ns, unsaid + 1
            return
        self._said[whom] = now_ns + COMPLAINT_INTERVAL_NS, 0
        self._logger.warning("%s%s", text, f" ({unsaid} more since the last line like this)" if unsaid else "")
