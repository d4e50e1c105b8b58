"""When a process that has ended is started again: at once, but not over and over. Pure."""

from __future__ import annotations

from ..common.limits import WORKER_PAUSE_MAX_NS, WORKER_PAUSE_NS, WORKER_STEADY_NS


class Restarts:
    """Of one kind of process. Times are of the monotonic clock."""

    def __init__(self, first_ns: int | None = None) -> None:
        """``first_ns``: when it is started for the first time; ``None``: somebody else does that."""
        self.due_ns = first_ns
        """When it is to be started; ``None``: it is not."""
        self.failures = 0
        """How often it ended soon, one time after the other, or could not be started at all."""
        self._is_over = False

    def hurry(self, now_ns: int) -> None:
        """What the first start has waited for is there."""
        if self.due_ns is not None and not self.failures:
            self.due_ns = now_ns

    def take(self, now_ns: int) -> bool:
        """Whether it is to be started now."""
        if self.due_ns is None or now_ns < self.due_ns:
            return False
        self.due_ns = None
        return True

    def ended(self, now_ns: int, ready_ns: int | None) -> None:
        """It has ended; ``ready_ns``: when it had been ready, ``None``: never."""
        if not self._is_over:
            steady = ready_ns is not None and now_ns - ready_ns >= WORKER_STEADY_NS
            self.failures = 0 if steady else self.failures + 1
            self.due_ns = now_ns + pause_ns(self.failures)

    def end(self) -> None:
        """It is not started any more."""
        self.due_ns, self._is_over = None, True


def pause_ns(failures: int) -> int:
    """How long to wait after so many failures in a row."""
    return 0 if failures < 2 else int(min(WORKER_PAUSE_NS * 2 ** min(failures - 2, 30), WORKER_PAUSE_MAX_NS))
