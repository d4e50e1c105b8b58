"""Microphones: ``mic:`` (the default one) and ``mic:NAME``, through sounddevice (PortAudio).

PortAudio's thread calls back with a block of samples; the callback copies it into a bounded queue and
returns. A thread of ours stamps the blocks and hands them on.

Capture times count samples, on a clock fitted to the blocks' arrival: what PortAudio reports as a block's
time jumps by 100 ms on some sound servers, so it is used only for the delay of the first blocks, and after an
overflow, within the bounds that the stream's latency sets.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..common.constraints import AudioWish
from ..common.limits import MS, S
from ..common.media import OPUS_RATE
from ..errors import NotFoundError, NotReadableError, OverconstrainedError
from .clock import Stamper
from .limits import (
    MICROPHONE_DELAYS,
    MICROPHONE_FLUSH_EXTRA_NS,
    MICROPHONE_LATENCY_MAX_NS,
    MICROPHONE_LATENCY_NS,
    MICROPHONE_OPEN_NS,
    MICROPHONE_QUEUE_NS,
    MICROPHONE_SETTLE_NS,
    MICROPHONE_STALL_NS,
)
from .running import Device
from .source import AudioFormat, TrackInfo

log = logging.getLogger("recsvc")

DTYPES = {"s16": "int16", "f32": "float32"}


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """What anything in this process writes to file descriptor 2 meanwhile is discarded.

    ALSA and PortAudio report every device that they tried in vain. Process-wide: keep it short.
    """
    try:
        saved = os.dup(2)
    except OSError:  # no stderr at all
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def load_sounddevice() -> Any:
    """The module ``sounddevice``. Raises ``NotReadableError`` when it or PortAudio is missing."""
    try:
        with quiet_stderr():
            import sounddevice
    except ImportError as error:
        raise NotReadableError("microphones need the Python package sounddevice") from error
    except OSError as error:
        raise NotReadableError(
            "microphones need the PortAudio library, which is missing; "
            "install it (Debian and Ubuntu: the package libportaudio2)"
        ) from error
    return sounddevice


def inputs(sounddevice: Any) -> list[Mapping[str, Any]]:
    """The devices that can be recorded, as sounddevice describes them."""
    return [device for device in sounddevice.query_devices() if device["max_input_channels"] > 0]


def open_microphone(name: str, wish: AudioWish) -> MicrophoneSource:
    """Opens the input device whose number is ``name`` or whose name contains it; ``""``: the default one.

    Blocks while PortAudio looks for devices (0.1 to 2 s, once a process) and until the first block has come, at
    most ``MICROPHONE_OPEN_NS``. Raises as ``open_source`` does.
    """
    sounddevice = load_sounddevice()
    with quiet_stderr():
        device = _find(sounddevice, name)
        form = _format(sounddevice, device, wish)
        latency_ns = None if wish.latency is None else int(wish.latency * S)
        return MicrophoneSource(sounddevice, device, form, latency_ns)


class _Block(NamedTuple):
    samples: bytes
    delay_ns: int
    """Between the first sample's capture and the callback, by PortAudio; 0: not known."""
    called_ns: int
    overflow: bool
    lost: int
    """Samples before it that found the queue full."""


class _Blocks:
    """What the thread of PortAudio calls, of one stream."""

    def __init__(self, blocks: queue.SimpleQueue[_Block | None], sample_rate: int) -> None:
        self._queue, self._rate = blocks, sample_rate
        self._put = 0
        self.taken = 0
        """Samples that have left the queue; who takes them counts."""
        self.lost = 0
        """Samples that found the queue full since the last block in it."""

    def take(self, samples: Any, frames: int, when: Any, status: Any) -> None:
        """Copies and returns."""
        if (self._put - self.taken) * S >= MICROPHONE_QUEUE_NS * self._rate:
            self.lost += frames
            return
        self._put += frames
        delay_ns = 0
        if when.inputBufferAdcTime > 0:
            delay_ns = int((when.currentTime - when.inputBufferAdcTime) * S)
        lost, self.lost = self.lost, 0
        self._queue.put(_Block(bytes(samples), delay_ns, time.monotonic_ns(), bool(status.input_overflow), lost))

    def end(self) -> None:
        """The device has stopped."""
        self._queue.put(None)


class MicrophoneSource(Device):
    """An opened microphone. Its ``flush`` takes about the stream's latency, at most twice that and
    ``MICROPHONE_FLUSH_EXTRA_NS``.

    A driver that keeps little sound brings it soon, so that a stop waits less, and loses some where this machine is
    too busy to fetch it in time: then it may keep more from the next recording on.
    """

    def __init__(
        self, sounddevice: Any, device: Mapping[str, Any], form: AudioFormat, latency_ns: int | None = None
    ) -> None:
        """``latency_ns``: as its caller wants it; ``None``: what this machine can bear."""
        self._sounddevice = sounddevice
        self._device = device
        self._format = form
        self._is_fixed = latency_ns is not None
        self._latency_ns = MICROPHONE_LATENCY_NS if latency_ns is None else latency_ns
        self._overflowed = False
        """Since the stream was opened."""
        self._came = threading.Event()
        """A block has come, or the end."""
        self._settled = threading.Event()
        """So many that their delay is known, or the end."""
        self._open()
        super().__init__(
            f"microphone {device['name']!r}",
            TrackInfo("audio", device["name"], form),
            flush_limit_ns=self._flush_limit_ns(),
            stall_ns=MICROPHONE_STALL_NS,
        )
        self._start()
        self._thread.start()
        if not self._came.wait(MICROPHONE_OPEN_NS / S) or self._delivery.is_over:
            silent = NotReadableError(f"{self._what} was opened, but no sound came for {MICROPHONE_OPEN_NS / S:g} s")
            reason = self._delivery.error or silent
            self.close()
            raise reason
        self._settled.wait(MICROPHONE_SETTLE_NS / S)
        self._watchdog.start()

    def _open(self) -> None:
        """Makes a stream, with a queue of its own: what another one still calls comes to nobody."""
        self._queue: queue.SimpleQueue[_Block | None] = queue.SimpleQueue()
        blocks = _Blocks(self._queue, self._format.sample_rate)
        try:
            self._stream: Any = self._sounddevice.RawInputStream(
                samplerate=self._format.sample_rate,
                blocksize=0,
                device=self._device["index"],
                channels=self._format.channel_count,
                dtype=DTYPES[self._format.sample_format],
                latency=self._latency_ns / S,
                callback=blocks.take,
                finished_callback=blocks.end,
            )
        except self._sounddevice.PortAudioError as error:
            raise NotReadableError(
                f"microphone {self._device['name']!r} cannot be opened (in use elsewhere?): {error}"
            ) from error
        self._blocks = blocks
        self._stamper = Stamper(self._format.sample_rate, int(self._stream.latency * S))

    def _start(self) -> None:
        try:
            self._stream.start()
        except self._sounddevice.PortAudioError as error:
            self._free_stream()
            raise NotReadableError(f"{self._what} does not start: {error}") from error

    def _flush_limit_ns(self) -> int:
        return 2 * int(self._stream.latency * S) + MICROPHONE_FLUSH_EXTRA_NS

    def _interrupt(self) -> None:
        """Nothing more is wanted."""
        self._queue.put(None)

    def _read(self) -> None:
        while (block := self._queue.get()) is not None:
            self._give(block)
            if self._overflowed and not self._is_fixed:
                self._widen()
        self._delivery.give_count("audio", "capture_queue_full", self._blocks.lost)
        raise NotReadableError(f"{self._what}: the device stopped; was it unplugged?")

    def _give(self, block: _Block) -> None:
        count = len(block.samples) // self._format.frame_bytes
        self._blocks.taken += count
        self._brought += 1
        self._overflowed |= block.overflow or block.lost > 0
        self._stamper.skip(block.lost)
        settling = not self._is_started or (self._stamper.is_new and not self._is_recorded)
        captured_ns = self._stamper.stamp(count, block.called_ns, block.delay_ns, block.overflow, settling=settling)
        self._delivery.give_count("audio", "device_overflow", block.overflow)
        self._delivery.give_count("audio", "capture_queue_full", block.lost)
        self._delivery.audio(captured_ns, block.samples)
        self._came.set()
        if self._brought >= MICROPHONE_DELAYS:
            self._settled.set()

    def _widen(self) -> None:
        """The driver may keep twice as much, once no recording is torn by that."""
        if self._latency_ns >= MICROPHONE_LATENCY_MAX_NS or self._is_recorded:
            return
        self._latency_ns = min(2 * self._latency_ns, MICROPHONE_LATENCY_MAX_NS)
        log.info("%s lost sound; from now on its driver keeps %d ms", self._what, self._latency_ns // MS)
        self._free_stream()
        until_ns = time.monotonic_ns() + MICROPHONE_OPEN_NS // 2
        while True:  # what made the driver lose sound may also make it refuse another stream for a moment
            try:
                self._open()
                self._start()
                break
            except NotReadableError:
                if time.monotonic_ns() > until_ns or self._delivery.closing.wait(MICROPHONE_SETTLE_NS / S):
                    raise
        self._overflowed = False
        self._delivery.flush_limit_ns = self._flush_limit_ns()
        if self._delivery.closing.is_set():
            self._interrupt()  # the one that came meanwhile is in the other queue

    @property
    def _is_recorded(self) -> bool:
        sink = self._delivery.sinks.get("audio")
        return sink is not None and sink.is_recorded

    def _free_stream(self) -> None:
        """Once: PortAudio looks into the memory of a stream that it has freed when it is closed again."""
        stream, self._stream = self._stream, None
        try:
            if stream is not None:
                stream.abort()
                stream.close()
        except Exception:
            log.debug("%s did not close", self._what, exc_info=True)

    def _free(self) -> None:
        self._came.set()
        self._settled.set()
        self._free_stream()


def _find(sounddevice: Any, name: str) -> Mapping[str, Any]:
    devices = inputs(sounddevice)
    if not name:
        if not devices:
            raise NotFoundError("no microphone: PortAudio found no device with an input")
        default = sounddevice.default.device[0]
        if default < 0:
            defaults = [api["default_input_device"] for api in sounddevice.query_hostapis()]
            default = next((number for number in defaults if number >= 0), -1)
        return next((device for device in devices if device["index"] == default), devices[0])
    wanted = name.casefold()

    def rank(device: Mapping[str, Any]) -> int:
        label = device["name"].casefold()
        return [wanted == label, wanted == str(device["index"]), wanted in label, True].index(True)

    best = min(devices, key=rank, default=None)
    if best is None or rank(best) == 3:
        there = ", ".join(repr(device["name"]) for device in devices) or "none"
        raise NotFoundError(f"no microphone is called {name!r}; there are: {there}")
    return best


def _format(sounddevice: Any, device: Mapping[str, Any], wish: AudioWish) -> AudioFormat:
    """The format to open the device with. Raises ``OverconstrainedError`` when it cannot do the wish."""
    what = f"microphone {device['name']!r}"
    channels_max, own_rate = device["max_input_channels"], int(device["default_samplerate"])
    channels = wish.channel_count or min(2, channels_max)
    if channels > channels_max:
        raise OverconstrainedError(f"channel_count: {what} has {channels_max} channels, not {channels}")
    sample_format = wish.sample_format or "s16"
    reason: Exception | None = None
    for rate in [wish.sample_rate] if wish.sample_rate else [OPUS_RATE, own_rate]:
        try:
            sounddevice.check_input_settings(device["index"], channels, DTYPES[sample_format], None, rate)
        except sounddevice.PortAudioError as error:
            reason = error
        else:
            return AudioFormat(rate, channels, sample_format)
    text = f"{what} cannot do {wish.sample_rate or own_rate} Hz, {channels} channels: {reason}"
    if wish.sample_rate or wish.channel_count:
        raise OverconstrainedError(f"{'sample_rate' if wish.sample_rate else 'channel_count'}: {text}") from reason
    raise NotReadableError(text) from reason
