"""The end of a recorder: closed, left, forgotten."""

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
from listening import ALL_IN_ORDER, types_of
from media import DEADLINE_S

import recsvc
from recsvc.caller.events import EVENT_TYPES
from recsvc.errors import InvalidStateError, NotSupportedError

from .studio import Suite, until


class Ending(Suite):
    async def test_leaving_the_context_stops_and_waits(self) -> None:
        studio = self.studio("a")
        finished = []

        async def slow(event: recsvc.Event) -> None:
            await asyncio.sleep(0.05)
            finished.append(event.type)

        for type in EVENT_TYPES:
            studio.recorder.add_event_listener(type, self.face.listener(slow))
        async with studio.recorder as recorder:
            assert recorder is studio.recorder
            await studio.start()
            await studio.play(0.1)
        assert finished == ALL_IN_ORDER, "also where a listener is at it"
        with pytest.raises(ZeroDivisionError):
            async with studio.recorder:
                await studio.start()
                raise ZeroDivisionError
        assert (studio.recorder.state, types_of(studio.events)) == ("inactive", ALL_IN_ORDER * 2)

    async def test_close_is_idempotent_and_final(self) -> None:
        studio = self.studio("a")
        await studio.start()
        for _ in range(2):
            await studio.recorder.close()
        with pytest.raises(InvalidStateError, match=r"start\(\) after close\(\)"):
            await studio.recorder.start()
        with pytest.raises(InvalidStateError, match="inactive"):
            await studio.recorder.stop()
        assert types_of(studio.events) == ALL_IN_ORDER
        assert studio.recorder.recording.size == studio.events[1].data.size, "what was recorded stays"
        unused = self.face.recorder(studio.stream)
        await unused.close()
        with pytest.raises(InvalidStateError, match=r"close\(\)"):
            await unused.start()

    async def test_close_behind_a_failed_start_returns(self) -> None:
        recorder = self.face.recorder(recsvc.MediaStream())
        with pytest.raises(NotSupportedError):
            await recorder.start()
        await asyncio.wait_for(recorder.close(), DEADLINE_S)

    async def test_a_forgotten_recorder_is_collected_but_not_while_it_records(self) -> None:
        heard: list[str] = []

        async def begin() -> tuple[Any, Callable[[], Any]]:
            studio = self.studio("a")
            studio.recorder.onstop = lambda event: heard.append(event.type)
            await studio.start()
            return studio.audio, self.face.reference(studio.recorder)

        source, recorder = await begin()
        for _ in range(3):
            gc.collect()
            await asyncio.sleep(0.01)
        assert recorder() is not None and recorder().state == "recording"
        source.end()
        await until(lambda: heard == ["stop"], "its stop event")
        await until(lambda: gc.collect() is not None and recorder() is None, "its end")
