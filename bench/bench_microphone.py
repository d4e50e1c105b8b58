"""A microphone beside a busy core: no sample may be lost.

In full for ten minutes, by itself: ``RECSVC_BENCH_SECONDS=600 python -m pytest bench/bench_microphone.py``. The melody
that the microphone hears never repeats (``devices.py``), so each second of the file shows where in it one is: a second
after another is a second further, to a few samples by which clocks may differ, where a lost block is hundreds. Nor does
it lack anything of its end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import content
import devices
import pytest
import recorded
import workloads
from peers import inspection
from workloads import A1, SAMPLE_RATE, SECONDS

import recsvc

RECORD_S = max(SECONDS, 2.0)
BUSY = max(1, (os.cpu_count() or 1) - 1) if RECORD_S > 10 else 0
"""Programs that only compute; none in the small form, whose neighbours keep the machine busy."""
STEP_MS_MAX = 2.0
LATE_S = 5.0
"""How much later than it is due a busy machine may call the stop."""


@pytest.mark.timeout(max(120, 2 * RECORD_S))
def test_no_sample_of_a_microphone_is_lost(benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark.group = "microphone beside busy programs"
    content.make(A1, tmp_path)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY)]
    try:
        with devices.microphone(A1, tmp_path, tmp_path) as device:
            for name, value in device.environment.items():
                monkeypatch.setenv(name, value)
            with (
                recsvc.get_user_media(audio=device.address) as stream,
                recsvc.MediaRecorder(stream, audio_bits_per_second=128_000) as recorder,
            ):

                def record() -> int:
                    recorder.start()
                    time.sleep(RECORD_S)
                    called_ns = time.monotonic_ns()
                    recorder.stop()
                    recorder.wait("stop", workloads.WAIT_S)
                    return called_ns

                called_ns = benchmark.pedantic(record, rounds=1, iterations=1)
                [track] = recorded.check(recorder).tracks
                assert recorder.recording is not None
                path = recorder.recording.save(tmp_path / "microphone.webm")
                lost_ms = device.lost_tail_ms(path, called_ns)
                assert lost_ms <= device.tolerated_ms(path), lost_ms
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert not track.dropped_by_cause, track
    _, sound = inspection.decode(path)
    steps_ms = steps(sound)
    largest_ms = max(map(abs, steps_ms), default=0.0)
    seconds = round(len(sound) / SAMPLE_RATE, 3)
    benchmark.extra_info.update(seconds=seconds, busy_programs=BUSY, largest_step_ms=largest_ms)
    assert RECORD_S - 0.2 <= seconds <= RECORD_S + LATE_S
    assert largest_ms <= STEP_MS_MAX, steps_ms


def steps(sound: Any) -> list[float]:
    """By how much each second of the melody in it is further on than it should be, in ms."""
    import numpy as np

    melody = np.tile(inspection.reference_sound(), 2)
    period = len(melody) // 2
    places = []
    for begin in range(0, len(sound) - SAMPLE_RATE // 2, SAMPLE_RATE):
        probe = sound[begin : begin + SAMPLE_RATE // 2]
        size = len(melody) + len(probe)
        product = np.fft.rfft(melody, size) * np.conj(np.fft.rfft(probe, size))
        places.append((int(np.argmax(np.fft.irfft(product, size)[: len(melody)])) - begin) % period)
    return [
        ((later - sooner + period // 2) % period - period // 2) * 1000 / SAMPLE_RATE
        for sooner, later in zip(places, places[1:], strict=False)
    ]
