"""What the suite records with: a face, a studio of pushed or of captured tracks, and how its tests are run."""

import asyncio
import functools
import inspect
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, Protocol

from listening import record_events
from media import DEADLINE_S, S, assert_consecutive, counter_picture, decode, tone

import recsvc
from recsvc.common.limits import AUDIO_MESSAGE_NS

WIDTH, HEIGHT = 64, 48
BLOCK_S = 0.02
FULL = "video/webm;codecs=vp8,opus"


class Face(Protocol):
    """What the suite needs of a face. Recorders and sources have the shape of those in ``recsvc.aio``."""

    def audio_source(self, *arguments: Any, **options: Any) -> Any:
        """A push source of sound."""

    def video_source(self, *arguments: Any, **options: Any) -> Any:
        """A push source of pictures."""

    def recorder(self, stream: recsvc.MediaStream, **options: Any) -> Any:
        """A recorder whose ``start stop pause resume request_data close wait statistics`` are awaited."""

    def listener(self, function: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Any]:
        """A listener that runs a coroutine function to its end."""

    def reference(self, recorder: Any) -> Callable[[], Any]:
        """A weak reference to the recorder itself."""


async def until(condition: Callable[[], Any], what: str) -> None:
    """Waits for a condition; fails, naming it, at the deadline."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"{what}: not within {DEADLINE_S:g} s"
        await asyncio.sleep(0.005)


class Studio:
    """Pushed tracks, their recorder, and what it fired. ``play`` pushes media along a clock of its own."""

    def __init__(self, face: Face, kinds: str = "av", **options: Any) -> None:
        self.video = face.video_source(WIDTH, HEIGHT, when_full="wait") if "v" in kinds else None
        self.audio = face.audio_source(48_000, 1, when_full="wait") if "a" in kinds else None
        self.sources = [source for source in (self.video, self.audio) if source is not None]
        self.stream = recsvc.MediaStream([source.track for source in self.sources])
        self._record(face, options)
        self.at_ns = time.monotonic_ns()
        self.number = self.samples = 0  # what was pushed
        self._paused_ns = 0

    @property
    def pushed(self) -> dict[str, int]:
        return {"video": self.number, "audio": self.samples}

    def _record(self, face: Face, options: dict[str, Any]) -> None:
        self.recorder = face.recorder(self.stream, **options)
        self.events = record_events(self.recorder)

    async def play(self, seconds: float, rate: int = 25) -> None:
        """Pictures that count on, and a tone, at their due times; as fast as they are taken."""
        due = [(self.at_ns + n * S // rate, "picture") for n in range(round(seconds * rate)) if self.video]
        if self.audio:
            due += [(self.at_ns + round(n * BLOCK_S * S), "sound") for n in range(round(seconds / BLOCK_S))]
        block = tone(round(48_000 * BLOCK_S), frequency=1000)
        for at_ns, what in sorted(due):
            if what == "sound":
                await self.audio.write(block, at_ns)
                self.samples += len(block)
            else:
                await self.video.write(counter_picture(self.number, WIDTH, HEIGHT), at_ns)
                self.number += 1
        self.at_ns += round(seconds * S)

    async def start(self, *arguments: Any) -> None:
        await self.recorder.start(*arguments)
        self.at_ns = max(self.at_ns, time.monotonic_ns())

    async def pause(self) -> None:
        self._paused_ns = time.monotonic_ns()
        await self.recorder.pause()

    async def resume(self) -> None:
        """The studio's clock moves by the time that was paused."""
        await self.recorder.resume()
        self.at_ns += time.monotonic_ns() - self._paused_ns

    async def stopped(self) -> recsvc.Blob:
        """Waits for ``stop``; the whole recording."""
        await self.recorder.wait("stop", DEADLINE_S)
        return self.recorder.recording

    async def stop(self) -> recsvc.Blob:
        await self.recorder.stop()
        return await self.stopped()

    def assert_holds(self, blob: recsvc.Blob, pictures: range, sound_s: float) -> None:
        """It has exactly these pictures and so much sound."""
        decoded = decode(blob)
        assert decoded.counters == list(pictures)
        assert len(decoded.samples) == round(sound_s * 48_000)


class CapturedStudio(Studio):
    """Tracks that are captured; ``play`` lets so much of them be recorded."""

    def __init__(self, face: Face, stream: recsvc.MediaStream, kinds: str = "av", **options: Any) -> None:
        """``stream`` has a track of each kind, which nobody ends."""
        self.stream = recsvc.MediaStream(track.clone() for track in stream.get_tracks() if track.kind[0] in kinds)
        tracks = {track.kind: SimpleNamespace(track=track, end=track.stop) for track in self.stream.get_tracks()}
        self.video, self.audio = tracks.get("video"), tracks.get("audio")
        self.sources = list(tracks.values())
        self._record(face, options)
        self._last = -1

    async def play(self, seconds: float, rate: int = 25) -> None:
        counts = Counter({"video": round(seconds * rate), "audio": round(seconds * 48_000)})
        wanted = await self._accepted() + Counter({kind: counts[kind] for kind in counts if getattr(self, kind)})
        deadline_s = time.monotonic() + DEADLINE_S
        while not await self._accepted() >= wanted:
            assert time.monotonic() < deadline_s, f"{wanted} were not captured within {DEADLINE_S:g} s"
            await asyncio.sleep(0.01)

    async def _accepted(self) -> Counter[str]:
        tracks = (await self.recorder.statistics()).tracks
        return Counter({track.kind: track.frames_accepted for track in tracks})

    async def start(self, *arguments: Any) -> None:
        await self.recorder.start(*arguments)

    async def pause(self) -> None:
        await self.recorder.pause()

    async def resume(self) -> None:
        await self.recorder.resume()

    def assert_holds(self, blob: recsvc.Blob, pictures: range, sound_s: float) -> None:
        """It has at least as many pictures and as much sound, none is missing between them, and none was in the one
        before."""
        decoded = decode(blob)
        if "video" in decoded.codecs:
            assert_consecutive(decoded.counters)
            assert len(decoded.counters) >= len(pictures)
            assert decoded.counters[0] > self._last, "a picture is in two recordings"
            self._last = decoded.counters[-1]
        assert decoded.sound_s >= sound_s - BLOCK_S


WAITING = {"video": 0, "audio": AUDIO_MESSAGE_NS * 48_000 // S}
"""How much of what was pushed may still be in this process while a recording goes on."""


async def until_encoded(studio: Studio) -> None:
    """Waits until the worker has encoded all that was pushed, but for sound that waits for more to go in one message;
    and what is complete is written."""
    pushed = studio.pushed
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        tracks = (await studio.recorder.statistics()).tracks
        if tracks and all(0 <= pushed[track.kind] - track.frames_encoded <= WAITING[track.kind] for track in tracks):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"not all of {pushed} is encoded within {DEADLINE_S:g} s: {tracks}")


class Suite:
    """Some of the tests. A subclass names its ``face``; its coroutine methods become ordinary tests."""

    face: Face

    def __init_subclass__(cls) -> None:
        for name, test in inspect.getmembers(cls, inspect.iscoroutinefunction):
            if name.startswith("test_"):
                setattr(cls, name, _run(test))

    def studio(self, kinds: str = "av", **options: Any) -> Studio:
        return Studio(self.face, kinds, **options)


def _run(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))  # type: ignore[arg-type]

    return run
