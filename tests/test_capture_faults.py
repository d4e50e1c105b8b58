"""What goes wrong inside a source is known outside: lost sound is counted to the sample, a fault ends the track."""

import threading
import time
from types import SimpleNamespace

import pytest
from fixtures_media import KeepingSink, wait_until
from media import DEADLINE_S

from recsvc.capture import clock, microphone
from recsvc.capture.delivery import Playout
from recsvc.capture.microphone import MicrophoneSource
from recsvc.capture.source import AudioFormat, TrackInfo, VideoFormat
from recsvc.common.media import BT601
from recsvc.errors import NotReadableError

S = 1_000_000_000
RATE, BLOCK = 48_000, 480


class Device:
    """A device as sounddevice has it, whose blocks the test brings."""

    PortAudioError = RuntimeError

    def __init__(self, *, starts: bool = True, speaks: bool = True) -> None:
        self.latency, self.closed, self.blocks = 0.01, 0, 0
        self._starts, self._speaks = starts, speaks
        self.latencies: list[float] = []  # that were asked for
        self.refuses = 0  # so many further streams

    def RawInputStream(self, **settings):  # noqa: N802, as sounddevice spells it
        self._callback = settings["callback"]
        self.latencies.append(settings["latency"])
        if self.refuses and len(self.latencies) > 1:
            self.refuses -= 1
            raise self.PortAudioError("busy")
        return self

    def start(self):
        if not self._starts:
            raise self.PortAudioError("in use")
        if self._speaks:
            self.bring()

    def abort(self):
        pass

    def close(self):
        self.closed += 1

    def bring(self, blocks: int = 1, overflow: bool = False) -> None:
        for _ in range(blocks):
            when = SimpleNamespace(inputBufferAdcTime=0.0, currentTime=0.0)
            self.blocks += 1
            samples = self.blocks.to_bytes(2) * BLOCK
            self._callback(samples, BLOCK, when, SimpleNamespace(input_overflow=overflow))


@pytest.fixture(autouse=True)
def no_gaps(monkeypatch):
    """The blocks that a test brings come all at once, however long it takes: that is no gap of the device."""
    monkeypatch.setattr(clock, "GAP_WINDOW_NS", 3600 * S)


def opened(device: Device) -> MicrophoneSource:
    return MicrophoneSource(device, {"name": "fake", "index": 0}, AudioFormat(RATE, 1, "s16"))


def started(source: MicrophoneSource, device: Device, sink: KeepingSink) -> None:
    """What ends before the start is not delivered: so much is brought that the last of it ends after."""
    source.start({"audio": sink})
    device.bring(200)
    last = device.blocks.to_bytes(2)
    wait_until(lambda: sink.sounds and sink.sounds[-1].samples[:2] == last, "the first blocks", DEADLINE_S)


class SlowSink(KeepingSink):
    """Holds up its source until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.go.set()

    def audio(self, captured_ns, samples):
        self.go.wait(DEADLINE_S)
        super().audio(captured_ns, samples)


def test_sound_lost_in_a_full_queue_is_counted_and_its_gap_is_where_it_was(monkeypatch):
    device, sink = Device(), SlowSink()
    source = opened(device)
    started(source, device, sink)
    monkeypatch.setattr(microphone, "MICROPHONE_QUEUE_NS", 4 * BLOCK * S // RATE)
    before = len(sink.sounds) - 1
    sink.go.clear()
    device.bring(1)
    wait_until(lambda: source._queue.qsize() == 0, "a thread that is held up", DEADLINE_S)
    device.bring(4)  # fill the queue
    device.bring(7)  # and are lost
    sink.go.set()
    wait_until(lambda: len(sink.sounds) == before + 6, "what was in the queue", DEADLINE_S)
    device.bring(2)
    wait_until(lambda: len(sink.sounds) == before + 8, "what came after it", DEADLINE_S)
    source.close()
    begin_ns = sink.sounds[before].captured_ns
    places = [round((block.captured_ns - begin_ns) * RATE / S / BLOCK, 2) for block in sink.sounds[before:]]
    assert places == [0, 1, 2, 3, 4, 5, 13, 14]
    assert sink.counts == {"capture_queue_full": 7 * BLOCK}


def test_what_a_process_that_stood_still_gets_at_once_is_kept_in_blocks_of_any_length():
    device, sink = Device(), SlowSink()
    source = opened(device)
    started(source, device, sink)
    before = len(sink.sounds)
    sink.go.clear()
    device.bring(400)
    sink.go.set()
    wait_until(lambda: len(sink.sounds) == before + 400, "4 s of sound", DEADLINE_S)
    source.close()
    assert not sink.counts


def test_sound_lost_at_the_end_is_counted_too(monkeypatch):
    device, sink = Device(), SlowSink()
    source = opened(device)
    started(source, device, sink)
    monkeypatch.setattr(microphone, "MICROPHONE_QUEUE_NS", 2 * BLOCK * S // RATE)
    before = len(sink.sounds) - 1
    sink.go.clear()
    device.bring(1)
    wait_until(lambda: source._queue.qsize() == 0, "a thread that is held up", DEADLINE_S)
    device.bring(5)
    source._interrupt()  # unplugged
    sink.go.set()
    wait_until(lambda: sink.ends, "the end", DEADLINE_S)
    source.close()
    assert len(sink.sounds) == before + 4 and sink.counts == {"capture_queue_full": 3 * BLOCK}


def test_a_microphone_that_falls_silent_ends_its_track_and_is_freed(monkeypatch):
    monkeypatch.setattr(microphone, "MICROPHONE_STALL_NS", S // 10)
    before = threading.active_count()
    device, sink = Device(), KeepingSink()
    source = opened(device)
    source.start({"audio": sink})
    wait_until(lambda: sink.ends, "the end of the track", DEADLINE_S)
    assert isinstance(sink.ends[0][1], NotReadableError) and "nothing came for 0.1 s" in str(sink.ends[0][1])
    wait_until(lambda: threading.active_count() <= before, "the end of its threads", DEADLINE_S)
    wait_until(lambda: device.closed, "that it is freed", DEADLINE_S)
    source.close()
    assert device.closed == 1 and len(sink.ends) == 1


@pytest.mark.parametrize("device", [Device(starts=False), Device(speaks=False)], ids=["in use", "silent"])
def test_a_microphone_that_cannot_be_opened_leaves_nothing(monkeypatch, device):
    monkeypatch.setattr(microphone, "MICROPHONE_OPEN_NS", S // 10)
    before = threading.active_count()
    with pytest.raises(NotReadableError):
        opened(device)
    wait_until(lambda: threading.active_count() <= before, "the end of its thread", DEADLINE_S)
    assert device.closed == 1


def test_a_driver_that_lost_sound_may_keep_more_once_nobody_records():
    device, sink = Device(), KeepingSink()
    source = opened(device)
    started(source, device, sink)
    sink.is_recorded = True
    device.bring(3, overflow=True)
    device.bring(3)
    wait_until(lambda: sink.counts.get("device_overflow") == 3, "what came with the overflow", DEADLINE_S)
    assert device.latencies == [0.02] and device.closed == 0
    sink.is_recorded = False
    device.bring(1)
    wait_until(lambda: len(device.latencies) == 2, "another stream", DEADLINE_S)
    wait_until(lambda: source._thread.is_alive() and source._queue.qsize() == 0, "its first block", DEADLINE_S)
    before = len(sink.sounds)
    assert source._stamper.is_new
    device.bring(200)
    wait_until(lambda: len(sink.sounds) > before, "its sound", DEADLINE_S)
    assert not source._stamper.is_new and device.latencies == [0.02, 0.04] and device.closed == 1 and not sink.ends
    source.close()
    assert device.closed == 2


def test_a_driver_that_refuses_another_stream_for_a_moment_is_asked_again():
    device, sink = Device(), KeepingSink()
    source = opened(device)
    started(source, device, sink)
    device.refuses, sink.is_recorded = 2, False
    device.bring(1, overflow=True)
    wait_until(lambda: len(device.latencies) == 4, "the third stream", DEADLINE_S)
    before = len(sink.sounds)
    wait_until(lambda: source._stream is device, "that it is open", DEADLINE_S)
    device.bring(200)
    wait_until(lambda: len(sink.sounds) > before, "its sound", DEADLINE_S)
    source.close()
    assert device.latencies == [0.02, 0.04, 0.04, 0.04] and device.closed == 2 and not sink.ends


def test_the_delay_of_another_stream_is_measured_anew_before_it_is_recorded():
    """One first report that is wrong, and blocks that come late at first, as after a start: both are forgotten."""
    stamper = clock.Stamper(RATE, 40_000_000)
    block_ns, late_ns, delay_ns = BLOCK * S // RATE, 25_000_000, 30_000_000
    for number in range(clock.MICROPHONE_DELAYS):
        assert stamper.is_new
        called_ns = S + (number + 1) * block_ns + (late_ns if not number else 0)
        captured_ns = stamper.stamp(BLOCK, called_ns, delay_ns if not number else block_ns, False, settling=True)
    assert not stamper.is_new and captured_ns == S + number * block_ns


def test_a_driver_keeps_what_its_caller_wishes(monkeypatch):
    device, sink = Device(), KeepingSink()
    source = MicrophoneSource(device, {"name": "fake", "index": 0}, AudioFormat(RATE, 1, "s16"), 5_000_000)
    started(source, device, sink)
    device.bring(1, overflow=True)
    device.bring(5)
    wait_until(lambda: sink.counts.get("device_overflow") == 1 and source._queue.qsize() == 0, "it all", DEADLINE_S)
    source.close()
    assert device.latencies == [0.005]


class BrokenSink(KeepingSink):
    def video(self, *picture):
        raise OSError(28, "no space left")


def test_a_fault_at_a_sink_ends_the_tracks_with_it(caplog):
    """Nobody else would notice that nothing arrives any more."""
    tracks = [
        TrackInfo("audio", "", AudioFormat(8_000, 1, "s16")),
        TrackInfo("video", "", VideoFormat.of((4, 2), "i420", 25.0, BT601)),
    ]
    playout = Playout(tracks)
    sinks = {"audio": KeepingSink(), "video": BrokenSink()}
    playout.begin(sinks)  # type: ignore[arg-type]
    playout.video(0, b"picture")
    wait_until(lambda: all(sink.ends for sink in sinks.values()), "the tracks' ends", DEADLINE_S)
    assert [type(sink.ends[0][1]) for sink in sinks.values()] == [OSError, OSError]
    assert "no space left" in caplog.text
    before_s = time.monotonic()
    with pytest.raises(OSError, match="no space"):
        playout.audio(60 * S, bytes(2))  # a reader is not held up by what nobody will take
    playout.flush(time.monotonic_ns())
    assert time.monotonic() - before_s < DEADLINE_S
    playout.close()
    assert all(len(sink.ends) == 1 for sink in sinks.values())
