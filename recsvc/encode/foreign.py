"""Times of a sender on another machine, in ours: where its messages come in."""

from __future__ import annotations

import time

from ..common.clocks import Translation
from ..common.limits import GAP_MAX_NS
from ..wire import messages


class ForeignTimes:
    """Of one route. What was paused is translated as well, by when it was."""

    def __init__(self, translation: Translation, is_media: bool) -> None:
        """``is_media``: stamps are positions in the media, which no clock shows."""
        self._translation = translation
        self._is_media = is_media
        self._theirs_ns = self._ours_ns = 0  # paused, all together

    def translate(self, message: messages.DataMessage) -> None:
        """In place. Stamps far from now are of a clock that nobody knows, and stay."""
        ours = self._translation.ours
        if isinstance(message, messages.End):
            message.paused_ns = self._paused(message.paused_ns, message.until_ns)
            message.until_ns = ours(message.until_ns)
            message.at_ns, message.sent_ns = (at_ns and ours(at_ns) for at_ns in (message.at_ns, message.sent_ns))
        elif isinstance(message, messages.FrameHeader) and not self._is_media:
            captured_ns = ours(message.captured_ns)
            is_near = abs(captured_ns - time.monotonic_ns()) <= GAP_MAX_NS
            message.paused_ns = self._paused(message.paused_ns, message.captured_ns if is_near else None)
            if is_near:
                message.captured_ns = captured_ns
            if message.since_ns:
                message.since_ns = ours(message.since_ns)

    def _paused(self, theirs_ns: int, until_ns: int | None) -> int:
        if self._is_media:
            return theirs_ns
        paused_ns = theirs_ns - self._theirs_ns
        if paused_ns:
            self._theirs_ns = theirs_ns
            if until_ns is None:
                self._ours_ns += paused_ns
            else:
                self._ours_ns += self._translation.ours(until_ns) - self._translation.ours(until_ns - paused_ns)
        return self._ours_ns
