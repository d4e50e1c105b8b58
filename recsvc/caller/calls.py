"""How public calls are safe against signal handlers, which may raise or call recsvc after any step of the main thread.

A helper thread makes each call of the main thread, as no handler ever runs there, and the main thread waits. An
exception interrupts only this waiting: the call is then completed, or given up and undone, before the exception goes
on. A call that a handler makes meanwhile gets another helper. Other threads make their calls themselves.

A call that a handler has halted in the main thread holds no lock that a helper needs: outside the helpers the main
thread takes recsvc's locks in ``write()`` alone, which lends them (``wire.lending``).
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from ..common import limits
from ..errors import InvalidStateError
from ..wire.lending import lend

Result = TypeVar("Result")
P = ParamSpec("P")
S = TypeVar("S", bound="OfProcess")


class GivenUp(BaseException):
    """Raised inside a helper when the caller of its call was interrupted and the call is to be undone."""


class _Call(Generic[Result]):
    """One call of the main thread, which a helper makes."""

    def __init__(self, body: Callable[[], Result], *, may_end: bool) -> None:
        """``may_end``: when it is interrupted, it is given up; otherwise it is completed."""
        self._body = body
        self._may_end = may_end
        self._taken = threading.Lock()
        self._over = threading.Lock()
        self._over.acquire()
        self.over = False
        self.interruption: BaseException | None = None
        self.result: Result
        """Once it is over, without an error."""
        self.error: BaseException | None = None

    @property
    def given_up(self) -> bool:
        return self.interruption is not None and self._may_end

    def run(self) -> None:
        """Makes the call, in a helper. Only the first ``run`` does, however often the call was handed over."""
        if not self._taken.acquire(blocking=False):
            return
        _here.call = self
        try:
            if self.given_up:
                raise GivenUp
            self.result = self._body()
        except BaseException as error:
            self.error = error
        finally:
            _here.call = None
            self.over = True
            self._over.release()

    def wait(self) -> None:
        """Hands the call over and waits for its end, in the main thread. May be interrupted and called again."""
        if not self._taken.locked():
            _calls.put(self)
        while not self.over:
            self._over.acquire()


_here = threading.local()
_calls: SimpleQueue[_Call[Any] | None] = SimpleQueue()
_helpers: list[threading.Thread] = []
_starting: list[None] = []
_under_way: list[_Call[Any]] = []  # of the main thread; each further one was made by a signal handler


def _start_helper() -> None:
    _starting.append(None)
    try:
        threading.Thread(target=_help, name="recsvc-calls", daemon=True).start()
    except RuntimeError:
        _starting.clear()


def _help() -> None:
    _helpers.append(threading.current_thread())
    _starting.clear()
    while (call := _calls.get()) is not None:
        call.run()
        del call


def _carry(call: _Call[Any]) -> None:
    """Waits until the call is over, whatever happens meanwhile."""
    while not call.over:
        try:
            if call not in _under_way:
                _under_way.append(call)
            if len(_helpers) < len(_under_way):
                _start_helper()
            with lend():
                if not _helpers and not _starting:
                    call.run()  # the interpreter is ending: there are no new threads any more
                call.wait()
        except BaseException as error:
            call.interruption = error
    if call in _under_way:
        _under_way.remove(call)


def whole(body: Callable[[], Result], undo: Callable[[Result], Any] | None = None) -> Result:
    """Runs ``body`` so that no signal handler runs inside of it. When it is interrupted, it is completed first. With
    ``undo`` it is given up (see ``look``), or undone if it was too late to give it up."""
    if threading.current_thread() is not threading.main_thread():
        return body()
    call = _Call(body, may_end=undo is not None)
    undoing: _Call[Any] | None = None
    while True:
        try:
            _carry(call)
            if call.interruption is None and call.error is None:
                return call.result
            if undo is not None and call.error is None:
                undoing = undoing or _Call(functools.partial(undo, call.result), may_end=False)
                _carry(undoing)
            break
        except BaseException as error:
            call.interruption = error
    failure = call.interruption or call.error
    call.interruption = call.error = None  # no circles, so that what the frames hold is freed at once
    assert failure is not None
    try:
        raise failure
    finally:
        del failure


def look() -> None:
    """Raises ``GivenUp`` where the call is no longer wanted. A long wait inside a ``whole`` calls this now and then."""
    call = getattr(_here, "call", None)
    if call is not None and call.given_up:
        raise GivenUp


def end_helpers() -> None:
    """Ends the helpers. The next call starts new ones."""
    ending, _helpers[:] = list(_helpers), []
    for _ in ending:
        _calls.put(None)
    for helper in ending:
        helper.join(limits.HELPERS_END_NS / limits.S)


# --- forks ----------------------------------------------------------------------------------------

_process = object()  # a forked child has a different one


class OfProcess:
    """An object that works in the process that made it. A forked child has neither its threads nor its connections."""

    def __init__(self) -> None:
        self._process = _process

    @property
    def _elsewhere(self) -> bool:
        return self._process is not _process

    def _check_process(self) -> None:
        if self._elsewhere:
            raise InvalidStateError(
                f"this {type(self).__name__.lstrip('_')} belongs to the process that process {os.getpid()} was forked "
                "from: make a new one here"
            )


def check_process(thing: OfProcess) -> None:
    """``InvalidStateError`` in a process that was forked from the one that made it."""
    thing._check_process()  # noqa: SLF001 for those who use it, where it checks itself in its own calls


def public(method: Callable[Concatenate[S, P], Result]) -> Callable[Concatenate[S, P], Result]:
    """A method that is done as a whole, whatever interrupts its caller, and raises in a forked child."""

    @functools.wraps(method)
    def call(self: S, /, *given: P.args, **named: P.kwargs) -> Result:
        self._check_process()
        return whole(lambda: method(self, *given, **named))

    return call


def _forked() -> None:
    global _process, _calls
    _process = object()
    _calls = SimpleQueue()
    _helpers.clear()
    _starting.clear()
    _under_way.clear()
    _here.call = None


os.register_at_fork(after_in_child=_forked)
