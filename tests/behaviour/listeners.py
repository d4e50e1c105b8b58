"""Who hears of an event, when, and what becomes of what a listener raises; and waiting for one."""

import asyncio
import gc
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from listening import ALL_IN_ORDER, types_of
from media import DEADLINE_S

import recsvc
from recsvc.caller.events import EVENT_TYPES
from recsvc.errors import InvalidStateError

from .studio import Suite, until


class Listeners(Suite):
    def assert_owed(self, spool: Path, said: str) -> None:
        """Two recordings that no listener took are kept, and the log has said where."""
        assert len(list(spool.iterdir())) == 2
        for kept in spool.iterdir():
            assert str(kept) in said
            kept.unlink()

    @pytest.mark.parametrize(
        "raised", [ZeroDivisionError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, pytest.fail.Exception]
    )
    async def test_whatever_a_listener_raises_is_logged_and_stops_nothing(
        self, raised: type[BaseException], caplog: pytest.LogCaptureFixture, spool: Path
    ) -> None:
        """And it costs no data: what a listener was to have stays in the spool, and the log says where."""
        studio = self.studio("a")

        def fail(event: recsvc.Event) -> None:
            raise raised("the listener's own")

        async def fail_later(event: recsvc.Event) -> None:
            await asyncio.sleep(0.001)
            fail(event)

        heard: list[Any] = []
        studio.recorder.onstart = studio.recorder.ondataavailable = fail
        for type in ALL_IN_ORDER:
            studio.recorder.add_event_listener(type, self.face.listener(fail_later))
            studio.recorder.add_event_listener(type, heard.append)
        with caplog.at_level(logging.ERROR, "recsvc"):
            for turn in (1, 2):  # the next recording has its events, too
                await studio.start()
                await studio.stop()
                assert types_of(heard) == ALL_IN_ORDER * turn
        problems = [record for record in caplog.records if record.name == "recsvc"]
        assert len(problems) == 10
        assert all(problem.exc_info and problem.exc_info[0] is raised for problem in problems)
        assert all("listener of" in problem.getMessage() for problem in problems)
        said = "".join(problem.getMessage() for problem in problems)
        caplog.clear()  # the tracebacks hold the Blobs
        heard.clear()
        del problems, studio
        gc.collect()
        self.assert_owed(spool, said)

    async def test_who_is_called_when_an_event_is_dispatched(self) -> None:
        """The handler first, then the listeners as added, each once; none that was removed or came too late."""
        studio = self.studio("a")
        recorder, called = studio.recorder, []

        def note(text: str) -> Callable[[Any], None]:
            return lambda event: called.append(text)

        first, never, late = note("first"), note("never"), note("late")

        def change(event: recsvc.Event) -> None:
            called.append("change")
            recorder.remove_event_listener("stop", never)
            recorder.add_event_listener("stop", late)

        recorder.add_event_listener("stop", first)
        recorder.add_event_listener("stop", change)
        recorder.add_event_listener("stop", never)
        recorder.add_event_listener("stop", first)  # it is there already
        recorder.remove_event_listener("start", first)  # it is not there
        recorder.onstop = note("replaced")
        recorder.onstop = handler = note("handler")
        assert recorder.onstop is handler
        await studio.start()
        await studio.stop()
        assert called == ["handler", "first", "change"]
        recorder.onstop = None
        await studio.start()
        await studio.stop()
        assert called[3:] == ["first", "change", "late"]

    async def test_what_is_no_listener_and_no_event_is_refused(self) -> None:
        recorder = self.face.recorder(recsvc.MediaStream())
        for wrong in (None, 7, "text"):
            with pytest.raises(TypeError, match=repr(wrong)):
                recorder.add_event_listener("stop", wrong)
        with pytest.raises(TypeError, match="7"):
            recorder.onstop = 7
        for call in (recorder.add_event_listener, recorder.remove_event_listener):
            with pytest.raises(ValueError, match="'stopp'"):
                call("stopp", print)
            with pytest.raises(TypeError, match="7"):
                call(7, print)

    async def test_a_slow_listener_delays_neither_calls_nor_other_recorders(self) -> None:
        slow, other = self.studio("a"), self.studio("a")
        entered, release = threading.Event(), threading.Event()

        async def block(event: recsvc.Event) -> None:
            entered.set()
            await asyncio.to_thread(release.wait, DEADLINE_S)

        slow.recorder.onstart = self.face.listener(block)
        try:
            await slow.start()
            await until(entered.is_set, "the listener")
            await other.start()
            await other.play(0.1)
            await other.stop()
            for call in (slow.recorder.pause, slow.recorder.resume, slow.recorder.stop):
                await call()
            assert slow.recorder.state == "inactive"
            with pytest.raises(TimeoutError):
                await slow.recorder.wait("stop", 0.02)
            assert "stop" not in types_of(slow.events), "one at a time"
        finally:
            release.set()
        await slow.stopped()

    async def test_events_come_one_at_a_time(self) -> None:
        studio = self.studio("a")
        inside, most = [], []

        async def slow(event: recsvc.Event) -> None:
            inside.append(event)
            await asyncio.sleep(0.02)
            most.append(len(inside))
            inside.remove(event)

        for type in EVENT_TYPES:
            studio.recorder.add_event_listener(type, self.face.listener(slow))
        await studio.start(0)
        await studio.play(1)
        await studio.stop()
        assert len(most) == len(studio.events) > 3 and set(most) == {1}

    async def test_wait_gives_each_event_once_and_counts_those_already_fired(self) -> None:
        studio = self.studio("a")
        recorder = studio.recorder
        with pytest.raises(TimeoutError, match="'stop'.*0.01"):
            await recorder.wait("stop", 0.01)
        await studio.start()
        await recorder.stop()
        await recorder.wait("stop", DEADLINE_S)
        for type in ("start", "dataavailable"):
            assert await recorder.wait(type, 0) is studio.events[ALL_IN_ORDER.index(type)]
        for type in ("start", "stop", "error"):
            with pytest.raises(TimeoutError):
                await recorder.wait(type, 0)
        await studio.start()
        with pytest.raises(TimeoutError):
            await recorder.wait("stop", 0)
        await studio.stop()

    async def test_wait_names_what_it_refuses(self) -> None:
        recorder = self.face.recorder(recsvc.MediaStream())
        with pytest.raises(ValueError, match="'stopped'"):
            await recorder.wait("stopped")
        with pytest.raises(TypeError, match="7"):
            await recorder.wait(7)
        with pytest.raises(TypeError, match="'soon'"):
            await recorder.wait("stop", "soon")

    async def test_listeners_are_called_before_wait_returns(self) -> None:
        studio = self.studio("a")
        finished = []

        async def slow(event: recsvc.Event) -> None:
            await asyncio.sleep(0.05)
            finished.append(event.type)

        studio.recorder.onstop = self.face.listener(slow)
        await studio.start()
        await studio.stop()
        assert finished == ["stop"]

    async def test_waiting_inside_a_listener_is_refused(self) -> None:
        studio = self.studio("a")
        refused = []

        async def listen(event: recsvc.Event) -> None:
            try:
                await studio.recorder.wait("stop", DEADLINE_S)
            except InvalidStateError as error:
                refused.append(str(error))
            try:
                async for _ in studio.recorder.events():
                    pass
            except InvalidStateError as error:
                refused.append(str(error))
            await studio.recorder.close()  # stops, and waits for nothing
            assert studio.recorder.state == "inactive"

        studio.recorder.onstart = self.face.listener(listen)
        await studio.start()
        await studio.stopped()
        assert len(refused) == 2 and all("would wait for itself" in text for text in refused)
        assert types_of(studio.events) == ALL_IN_ORDER

    async def test_events_iterates_up_to_stop(self) -> None:
        studio = self.studio("a")
        seen: list[list[str]] = [[], []]

        async def iterate(to: list[str]) -> None:
            async for event in studio.recorder.events():
                to.append(event.type)

        before = asyncio.create_task(iterate(seen[0]))  # before there is anything to hear
        await asyncio.sleep(0.05)
        await studio.start()
        after = asyncio.create_task(iterate(seen[1]))
        await studio.pause()
        await studio.recorder.wait("pause", DEADLINE_S)
        await studio.stop()
        await asyncio.wait_for(asyncio.gather(before, after), DEADLINE_S)
        assert seen == [["start", "pause", "dataavailable", "stop"]] * 2
        assert [event async for event in studio.recorder.events()] == studio.events, "as often as one likes"
