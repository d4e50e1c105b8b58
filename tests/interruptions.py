"""Interrupts Python code wherever CPython may run a signal handler: at the beginning of a function, behind a call of
what is written in C, and at the end of a loop's turn. One place after the other, so that each is met once."""

import dis
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest


class Interruption(BaseException):
    """What the handler raises."""


_BEHIND = {dis.opmap[name] for name in ("CALL", "CALL_FUNCTION_EX", "JUMP_BACKWARD", "RESUME") if name in dis.opmap}


class Interrupter:
    """Calls ``handler`` at the ``number``-th place in the functions of ``files`` (ends of their paths)."""

    def __init__(self, number: int, handler: Callable[[], None], files: tuple[str, ...]) -> None:
        self._left = number
        self._handler = handler
        self._files = files
        self._before: dict[FrameType, int] = {}
        self.done = False

    def __enter__(self) -> "Interrupter":
        self._tracer = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._tracer)
        self._before.clear()

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if self.done or not frame.f_code.co_filename.endswith(self._files):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self._before[frame] = -1  # it begins
        return self._inside

    def _inside(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "return" and frame.f_back is not None:
            self._before.pop(frame.f_back, None)  # no handler runs behind the call of a Python function
        if self.done or event != "opcode":
            return self._inside
        code = frame.f_code.co_code
        before = self._before.get(frame)
        self._before[frame] = frame.f_lasti
        if before is None or before >= 0 and code[before] not in _BEHIND:
            return self._inside
        self._left -= 1
        if self._left < 0:
            self.done = True
            self._handler()
        return self._inside


def everywhere(
    files: tuple[str, ...], handler: Callable[[], None], act: Callable[[Interrupter], None], most: int = 2000
) -> int:
    """Calls ``act`` with an ``Interrupter`` for the first place, the second, and so on until none is left; how many
    there were."""
    for number in range(most):
        interrupter = Interrupter(number, handler, files)
        act(interrupter)
        if not interrupter.done:
            return number
    pytest.fail(f"more than {most} places")


def interrupt() -> None:
    raise Interruption
