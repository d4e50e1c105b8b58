"""Microphones: ``mic:`` (the default one) and ``mic:NAME``, through sounddevice (PortAudio).

PortAudio's thread calls back with a block of samples; the callback copies it into a bounded queue and
returns. A thread of ours stamps the blocks and hands them on. It also notices when blocks stop coming.

Capture times count samples, on a clock fitted to the blocks' arrival: what PortAudio reports as a block's
time jumps by 100 ms on some sound servers, so it is used only for the delay of the first block, and after an
overflow, within the bounds that the stream's latency sets.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..common.constraints import AudioWish
from ..errors import NotFoundError, NotReadableError, OverconstrainedError
from .clock import Stamper
from .quiet import quiet_stderr
from .source import AudioFormat, Sink, TrackInfo

log = logging.getLogger("recsvc")

SECOND_NS = 1_000_000_000

# Blocks between PortAudio's thread and ours: at 2 ms a block still half a second, in which ours must
# run once.
QUEUE_BLOCKS_MAX = 256
# From opening to the first block: sound servers wake a sleeping device, wireless ones connect.
OPEN_LIMIT_S = 5.0
# A working device calls back every few ms, whether there is sound or not.
STALL_LIMIT_S = 3.0
# How often the thread looks whether the device is still there.
WATCH_POLL_S = 0.25
# A flush waits for what is between converter and us: the stream's latency, doubled for a late callback,
# and this.
FLUSH_EXTRA_S = 0.1
# A sound server that has gone may block the closing of its stream; it is left behind.
CLOSE_LIMIT_S = 2.0
RATE_PREFERRED = 48_000
DTYPES = {"s16": "int16", "f32": "float32"}


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


def open_microphone(name: str, wish: AudioWish) -> MicrophoneSource:
    """Opens the input device whose number is ``name`` or whose name contains it; ``""``: the default one.

    Blocks while PortAudio looks for devices (0.1 to 2 s, once a process) and until the first block has come, at
    most ``OPEN_LIMIT_S``. Raises as ``open_source`` does.
    """
    sounddevice = load_sounddevice()
    with quiet_stderr():
        device = _find(sounddevice, name)
        form = _format(sounddevice, device, wish)
        return MicrophoneSource(sounddevice, device, form)


class _Block(NamedTuple):
    samples: bytes
    delay_ns: int  # between the first sample's capture and the callback, by PortAudio; 0: not known
    called_ns: int
    overflow: bool
    lost: int  # samples before it that found the queue full


class MicrophoneSource:
    """An opened microphone. See ``recsvc.capture.source.Source``."""

    pace_max = False

    def __init__(self, sounddevice: Any, device: Mapping[str, Any], form: AudioFormat) -> None:
        self._what = f"microphone {device['name']!r}"
        self.tracks = [TrackInfo("audio", device["name"], form)]
        self._format = form
        self._queue: queue.SimpleQueue[_Block | None] = queue.SimpleQueue()
        self._lost = 0  # samples that found the queue full since the last block in it; the callback's
        self._finished = False
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._over = False
        self._error: Exception | None = None
        self._alive = False  # a block has come
        self._start_ns: int | None = None
        self._given_until_ns = 0
        self._sink: Sink | None = None
        try:
            self._stream = sounddevice.RawInputStream(
                samplerate=form.sample_rate,
                blocksize=0,
                device=device["index"],
                channels=form.channel_count,
                dtype=DTYPES[form.sample_format],
                latency="high",
                callback=self._callback,
                finished_callback=self._on_finished,
            )
        except sounddevice.PortAudioError as error:
            raise NotReadableError(f"{self._what} cannot be opened (in use elsewhere?): {error}") from error
        self._latency_ns = int(self._stream.latency * SECOND_NS)
        self._stamper = Stamper(form.sample_rate, self._latency_ns)
        self._thread = threading.Thread(target=self._run, name="capture mic:", daemon=True)
        try:
            self._stream.start()
        except sounddevice.PortAudioError as error:
            self._stream.close()
            raise NotReadableError(f"{self._what} does not start: {error}") from error
        self._thread.start()
        self._await_first_block()

    def start(self, sinks: Mapping[str, Sink]) -> None:
        """The device runs since it was opened: delivers what is captured from now on. May be called once."""
        with self._changed:
            if self._start_ns is not None:
                raise RuntimeError(f"{self._what} was started before")
            self._start_ns = self._given_until_ns = time.monotonic_ns()
            self._sink = sinks.get("audio")
            if self._over and self._sink is not None:
                self._sink.ended(self._error)

    def flush(self, until_ns: int) -> None:
        """Waits for the block that covers ``until_ns``: about the stream's latency, at most twice that and
        0.1 s.
        """
        deadline_s = time.monotonic() + 2 * self._latency_ns / SECOND_NS + FLUSH_EXTRA_S
        until_ns = min(until_ns, time.monotonic_ns())
        with self._changed:
            while self._start_ns is not None and not (self._over or self._closing.is_set()):
                if self._given_until_ns > until_ns:
                    return
                if not self._changed.wait(deadline_s - time.monotonic()):
                    return

    def close(self) -> None:
        """Stops the device; blocks at most ``CLOSE_LIMIT_S``."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        self._queue.put(None)
        if self._thread is not threading.current_thread():
            self._thread.join(CLOSE_LIMIT_S)

    def _await_first_block(self) -> None:
        deadline_s = time.monotonic() + OPEN_LIMIT_S
        with self._changed:
            while not (self._alive or self._over):
                if not self._changed.wait(deadline_s - time.monotonic()):
                    break
            alive, error = self._alive, self._error
        if not alive:
            self.close()
            raise error or NotReadableError(f"{self._what} was opened, but no sound came for {OPEN_LIMIT_S:g} s")

    def _callback(self, samples: Any, frames: int, when: Any, status: Any) -> None:
        """In PortAudio's thread: copies and returns."""
        if self._queue.qsize() >= QUEUE_BLOCKS_MAX:
            self._lost += frames
            return
        delay_ns = 0
        if when.inputBufferAdcTime > 0:
            delay_ns = int((when.currentTime - when.inputBufferAdcTime) * SECOND_NS)
        lost, self._lost = self._lost, 0
        self._queue.put(_Block(bytes(samples), delay_ns, time.monotonic_ns(), bool(status.input_overflow), lost))

    def _on_finished(self) -> None:
        self._finished = True
        self._queue.put(None)

    def _run(self) -> None:
        error: Exception | None = None
        try:
            error = self._take_blocks()
        except Exception as failure:
            log.exception("capture of %s stopped", self._what)
            error = failure
        with self._changed:
            self._over, self._error = True, error
            self._changed.notify_all()
            if self._sink is not None and not self._closing.is_set():
                if self._lost:
                    self._sink.count("capture_queue_full", self._lost)
                self._sink.ended(error)
        try:
            self._stream.abort()
            self._stream.close()
        except Exception:
            log.debug("%s did not close", self._what, exc_info=True)

    def _take_blocks(self) -> Exception | None:
        """Hands blocks on until closed; returns the reason when the device stopped by itself."""
        alive_s = time.monotonic()
        while not self._closing.is_set():
            try:
                block = self._queue.get(timeout=WATCH_POLL_S)
            except queue.Empty:
                block = None
            if block is not None:
                alive_s = time.monotonic()
                self._give(block)
            elif self._finished:
                return NotReadableError(f"{self._what}: the device stopped; was it unplugged?")
            elif self._alive and time.monotonic() - alive_s > STALL_LIMIT_S:
                return NotReadableError(f"{self._what}: no sound for {STALL_LIMIT_S:g} s; was it unplugged?")
        return None

    def _give(self, block: _Block) -> None:
        count = len(block.samples) // self._format.frame_bytes
        with self._changed:
            started = self._start_ns is not None
            self._stamper.skip(block.lost)
            captured_ns = self._stamper.stamp(
                count, block.called_ns, block.delay_ns, block.overflow, settling=not started
            )
            end_ns = captured_ns + count * SECOND_NS // self._format.sample_rate
            self._alive = True
            self._changed.notify_all()
            if self._closing.is_set() or self._start_ns is None or end_ns <= self._start_ns:
                return
            if self._sink is not None:
                if block.overflow:
                    self._sink.count("device_overflow")
                if block.lost:
                    self._sink.count("capture_queue_full", block.lost)
                self._sink.audio(captured_ns, block.samples)
            self._given_until_ns = end_ns


def _find(sounddevice: Any, name: str) -> Mapping[str, Any]:
    devices = [device for device in sounddevice.query_devices() if device["max_input_channels"] > 0]
    there = ", ".join(repr(device["name"]) for device in devices) or "none"
    if not devices and not name:
        raise NotFoundError("no microphone: PortAudio found no device with an input")
    if not name:
        default = sounddevice.default.device[0]
        if default < 0:
            defaults = [api["default_input_device"] for api in sounddevice.query_hostapis()]
            default = next((number for number in defaults if number >= 0), -1)
        found = [device for device in devices if device["index"] == default] or devices
        return found[0]
    wanted = name.casefold()
    for matches in (
        lambda device: wanted == device["name"].casefold(),
        lambda device: wanted == str(device["index"]),
        lambda device: wanted in device["name"].casefold(),
    ):
        for device in devices:
            if matches(device):
                return device
    raise NotFoundError(f"no microphone is called {name!r}; there are: {there}")


def _format(sounddevice: Any, device: Mapping[str, Any], wish: AudioWish) -> AudioFormat:
    """The format to open the device with. Raises ``OverconstrainedError`` when it cannot do the wish."""
    channels_max = device["max_input_channels"]
    channels = wish.channel_count or min(2, channels_max)
    if channels > channels_max:
        raise OverconstrainedError(
            f"channel_count: microphone {device['name']!r} has {channels_max} channels, not {channels}"
        )
    sample_format = wish.sample_format or "s16"
    own_rate = int(device["default_samplerate"])
    reason: Exception | None = None
    for rate in [wish.sample_rate] if wish.sample_rate else [RATE_PREFERRED, own_rate]:
        try:
            sounddevice.check_input_settings(device["index"], channels, DTYPES[sample_format], None, rate)
        except sounddevice.PortAudioError as error:
            reason = error
        else:
            return AudioFormat(rate, channels, sample_format)
    what = f"{wish.sample_rate or own_rate} Hz, {channels} channels"
    text = f"microphone {device['name']!r} cannot do {what}: {reason}"
    if wish.sample_rate or wish.channel_count:
        raise OverconstrainedError(f"{'sample_rate' if wish.sample_rate else 'channel_count'}: {text}") from reason
    raise NotReadableError(text) from reason
