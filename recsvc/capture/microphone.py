"""Microphones: ``mic:`` (the default one) and ``mic:NAME``, through sounddevice (PortAudio).

PortAudio's thread calls back with a block of samples; the callback copies it into a bounded queue and
returns. A thread of ours stamps the blocks and hands them on.

Capture times count samples, on a clock fitted to the blocks' arrival: what PortAudio reports as a block's
time jumps by 100 ms on some sound servers, so it is used only for the delay of the first block, and after an
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
from ..common.limits import S
from ..common.media import OPUS_RATE
from ..errors import NotFoundError, NotReadableError, OverconstrainedError
from .clock import Stamper
from .limits import MICROPHONE_BLOCKS_MAX, MICROPHONE_FLUSH_EXTRA_NS, MICROPHONE_OPEN_NS, MICROPHONE_STALL_NS
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
        return MicrophoneSource(sounddevice, device, form)


class _Block(NamedTuple):
    samples: bytes
    delay_ns: int
    """Between the first sample's capture and the callback, by PortAudio; 0: not known."""
    called_ns: int
    overflow: bool
    lost: int
    """Samples before it that found the queue full."""


class MicrophoneSource(Device):
    """An opened microphone. Its ``flush`` takes about the stream's latency, at most twice that and
    ``MICROPHONE_FLUSH_EXTRA_NS``."""

    def __init__(self, sounddevice: Any, device: Mapping[str, Any], form: AudioFormat) -> None:
        what = f"microphone {device['name']!r}"
        self._format = form
        self._queue: queue.SimpleQueue[_Block | None] = queue.SimpleQueue()
        self._lost = 0
        """Samples that found the queue full since the last block in it. Only the callback writes it."""
        self._came = threading.Event()
        """A block has come, or the end."""
        try:
            self._stream = sounddevice.RawInputStream(
                samplerate=form.sample_rate,
                blocksize=0,
                device=device["index"],
                channels=form.channel_count,
                dtype=DTYPES[form.sample_format],
                latency="high",
                callback=self._callback,
                finished_callback=self._interrupt,
            )
        except sounddevice.PortAudioError as error:
            raise NotReadableError(f"{what} cannot be opened (in use elsewhere?): {error}") from error
        latency_ns = int(self._stream.latency * S)
        self._stamper = Stamper(form.sample_rate, latency_ns)
        super().__init__(
            what,
            TrackInfo("audio", device["name"], form),
            flush_limit_ns=2 * latency_ns + MICROPHONE_FLUSH_EXTRA_NS,
            stall_ns=MICROPHONE_STALL_NS,
        )
        try:
            self._stream.start()
        except sounddevice.PortAudioError as error:
            self._stream.close()
            raise NotReadableError(f"{what} does not start: {error}") from error
        self._thread.start()
        if not self._came.wait(MICROPHONE_OPEN_NS / S) or self._delivery.is_over:
            silent = NotReadableError(f"{what} was opened, but no sound came for {MICROPHONE_OPEN_NS / S:g} s")
            reason = self._delivery.error or silent
            self.close()
            raise reason
        self._watchdog.start()

    def _callback(self, samples: Any, frames: int, when: Any, status: Any) -> None:
        """In PortAudio's thread: copies and returns."""
        if self._queue.qsize() >= MICROPHONE_BLOCKS_MAX:
            self._lost += frames
            return
        delay_ns = 0
        if when.inputBufferAdcTime > 0:
            delay_ns = int((when.currentTime - when.inputBufferAdcTime) * S)
        lost, self._lost = self._lost, 0
        self._queue.put(_Block(bytes(samples), delay_ns, time.monotonic_ns(), bool(status.input_overflow), lost))

    def _interrupt(self) -> None:
        """The device has stopped or nothing more is wanted."""
        self._queue.put(None)

    def _read(self) -> None:
        while (block := self._queue.get()) is not None:
            self._give(block)
        self._delivery.give_count("audio", "capture_queue_full", self._lost)
        raise NotReadableError(f"{self._what}: the device stopped; was it unplugged?")

    def _give(self, block: _Block) -> None:
        count = len(block.samples) // self._format.frame_bytes
        self._brought += 1
        self._stamper.skip(block.lost)
        captured_ns = self._stamper.stamp(
            count, block.called_ns, block.delay_ns, block.overflow, settling=not self._is_started
        )
        self._delivery.give_count("audio", "device_overflow", block.overflow)
        self._delivery.give_count("audio", "capture_queue_full", block.lost)
        self._delivery.audio(captured_ns, block.samples)
        self._came.set()

    def _free(self) -> None:
        self._came.set()
        try:
            self._stream.abort()
            self._stream.close()
        except Exception:
            log.debug("%s did not close", self._what, exc_info=True)


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
