"""Makes media whose every frame can be told apart, records it, and reads recordings back with other programs."""

import contextlib
import functools
import json
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av
import ebml
import numpy as np
from fixtures_media import program
from pattern import read_counter

import recsvc
from recsvc.capture.pattern import Pattern

S = 1_000_000_000
# Time in a file is in milliseconds, rounded; two roundings make a difference of one.
TICK_S = 0.001
# No condition is given up earlier; a loaded machine may take seconds for what usually takes milliseconds.
DEADLINE_S = 60.0
TOOL_DEADLINE_S = 60.0
# Small pictures keep two cores idle enough for ten recordings; the counter is readable from 64x48 on.
SMALL = "width=160&height=120"
SMALL_TEST = f"test:{SMALL}"


class Picture(NamedTuple):
    at_s: float
    counter: int | None
    is_key_frame: bool


@dataclass
class Decoded:
    """What a decoder makes of a file. ``samples``: one row per sample, one column per channel."""

    container: str
    codecs: dict[str, str]
    duration_s: float | None
    pictures: list[Picture] = field(default_factory=list)
    samples: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    sound_at_s: float | None = None

    @property
    def counters(self) -> list[int | None]:
        return [picture.counter for picture in self.pictures]

    @property
    def times(self) -> list[float]:
        return [picture.at_s for picture in self.pictures]

    @property
    def sound_s(self) -> float:
        return len(self.samples) / 48_000


@contextlib.contextmanager
def opened(source: Any) -> Iterator[Any]:
    """A Blob, a path or a file object as a PyAV container."""
    file = source.open() if isinstance(source, recsvc.Blob) else source
    with av.open(str(file) if isinstance(file, Path) else file) as container:
        yield container


def decode(source: Any) -> Decoded:
    """Decodes all of it. Fails where the sound is no unbroken run, or the pictures' times do not rise."""
    with opened(source) as container:
        result = Decoded(
            container.format.name,
            {stream.type: stream.codec_context.name for stream in container.streams},
            None if container.duration is None else container.duration / av.time_base,
        )
        blocks: list[np.ndarray] = []
        count = 0
        for frame in container.decode():
            if isinstance(frame, av.VideoFrame):
                luma = frame.planes[0]
                counter = read_counter(luma, frame.width, frame.height, luma.line_size)
                assert not result.pictures or frame.time > result.pictures[-1].at_s, "times of pictures do not rise"
                result.pictures.append(Picture(float(frame.time), counter, bool(frame.key_frame)))
            else:
                if result.sound_at_s is None:
                    result.sound_at_s = float(frame.time)
                assert abs(frame.time - result.sound_at_s - count / 48_000) <= 2 * TICK_S, f"sound jumps at {count}"
                blocks.append(frame.to_ndarray().T)
                count += frame.samples
        if blocks:
            result.samples = np.concatenate(blocks)
        return result


def decoded_after_seek(source: Any, at_s: float) -> Picture:
    """The first picture decoded after a seek to ``at_s``."""
    with opened(source) as container:
        stream = container.streams.video[0]
        container.seek(round(Fraction(at_s).limit_denominator(1000) / stream.time_base), stream=stream)
        frame = next(container.decode(stream))
        luma = frame.planes[0]
        counter = read_counter(luma, frame.width, frame.height, luma.line_size)
        return Picture(float(frame.time), counter, bool(frame.key_frame))


def sample_count_by_container(blob: recsvc.Blob) -> int:
    """How many samples a WebM file says it has: its Opus packets of 20 ms, less what is to be left out."""
    file = ebml.read(blob.bytes())
    [track] = [track for track in file.tracks.values() if track["codec"] == "A_OPUS"]
    left_out_ns = int(track["codec_delay_ns"]) + sum(block.discard_padding_ns for block in file.of(2))
    return 960 * len(file.of(2)) - round(left_out_ns * 48_000 / S)


def frames_counted_by_ffprobe(path: Path, kind: str = "v") -> int:
    """How many frames ffprobe decodes from the first stream of a kind (``v`` or ``a``)."""
    command = [program("ffprobe"), "-v", "error", "-select_streams", f"{kind}:0", "-count_frames"]
    command += ["-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=TOOL_DEADLINE_S)
    return int(done.stdout.strip().strip(","))


def complaints(path: Path) -> list[str]:
    """What ffprobe, mkvmerge and mkvinfo find wrong with a file; Ogg is not for mkvinfo."""
    found = []
    probe = [program("ffprobe"), "-v", "warning", "-count_frames", "-show_streams", str(path)]
    merge = [program("mkvmerge"), "-J", str(path)]
    info = [program("mkvinfo"), "--ui-language", "en_US", "--all", str(path)]
    run = functools.partial(subprocess.run, capture_output=True, text=True, timeout=TOOL_DEADLINE_S)
    done = run(probe)
    found += [f"ffprobe: {line}" for line in done.stderr.splitlines()]
    found += [f"ffprobe: exit code {done.returncode}"] if done.returncode else []
    report = json.loads(run(merge).stdout)
    found += [f"mkvmerge: {line}" for line in report["errors"] + report["warnings"]]
    if path.suffix != ".ogg":
        done = run(info)
        bad = re.compile(r"error|warning|unknown|invalid|damage", re.I)
        found += [f"mkvinfo: {line}" for line in (done.stdout + done.stderr).splitlines() if bad.search(line)]
        found += [f"mkvinfo: exit code {done.returncode}"] if done.returncode else []
    return found


# --- making ---------------------------------------------------------------------------------------


@functools.cache
def _pattern(width: int, height: int) -> Pattern:
    return Pattern("counter", width, height, seed=1)


def counter_picture(number: int, width: int = 160, height: int = 120, pixel_format: str = "i420") -> np.ndarray:
    """A picture that carries ``number``; grey in the formats of red, green and blue."""
    i420 = np.frombuffer(_pattern(width, height).picture(number), np.uint8)
    luma = i420[: width * height]
    if pixel_format == "i420":
        return i420
    if pixel_format == "nv12":
        u, v = i420[width * height :].reshape(2, -1)
        return np.concatenate([luma, np.stack([u, v], axis=1).ravel()])
    channels = {"rgb24": 3, "bgr24": 3, "rgba": 4, "bgra": 4}[pixel_format]
    full_range = np.clip((luma.astype(np.int32) - 16) * 255 // 219, 0, 255).astype(np.uint8)
    return np.repeat(full_range, channels).reshape(height, width, channels)


def tone(sample_count: int, rate: int = 48_000, channels: int = 1, frequency: int = 440, dtype: str = "int16"):
    """Interleaved samples of a tone at half of full scale, one row per sample."""
    wave = 0.5 * np.sin(2 * np.pi * frequency * np.arange(sample_count) / rate)
    scaled = wave * 32767 if dtype == "int16" else wave
    return np.repeat(scaled.astype(dtype), channels).reshape(sample_count, channels)


def frequency_of(samples: np.ndarray, rate: int = 48_000) -> float:
    """The loudest frequency in Hz in the first channel, to about a tenth of a Hz for a steady tone."""
    mono = samples[:, 0] if samples.ndim == 2 else samples
    windowed = mono * np.hanning(len(mono))
    padded = 1 << (len(mono) * 8).bit_length()
    return float(np.argmax(np.abs(np.fft.rfft(windowed, padded))) * rate / padded)


# --- recording ------------------------------------------------------------------------------------


def finished(recorder: recsvc.MediaRecorder) -> recsvc.Blob:
    """Stops, waits for ``stop`` and returns the whole recording."""
    recorder.stop()
    recorder.wait("stop", DEADLINE_S)
    assert recorder.recording is not None
    return recorder.recording


def record_for(recorder: recsvc.MediaRecorder, seconds: float) -> recsvc.Blob:
    """Records for so long; the whole recording."""
    recorder.start()
    time.sleep(seconds)
    return finished(recorder)


def assert_accounted(statistics: recsvc.RecordingStatistics, decoded: Decoded, *, dropped: int | None = 0) -> None:
    """Accepted is encoded and dropped, dropped has causes, and encoded is what a decoder finds."""
    for track in statistics.tracks:
        assert track.frames_accepted == track.frames_encoded + track.frames_dropped, track
        assert track.frames_dropped == sum(track.dropped_by_cause.values()), track
        assert dropped is None or track.frames_dropped == dropped, track
        if track.kind == "video":
            assert len(decoded.pictures) == track.frames_encoded, track
    sizes = {track.kind for track in statistics.tracks}
    assert sizes == set(decoded.codecs), (sizes, decoded.codecs)


def assert_consecutive(counters: Sequence[int | None]) -> None:
    """Every frame exactly once, in order."""
    assert counters, "no picture at all"
    assert None not in counters, f"unreadable pictures: {counters}"
    for n, (before, after) in enumerate(pairwise(counters)):
        assert after == (before or 0) + 1, f"number {n + 1} of {len(counters)} is picture {after}, before it {before}"


def assert_times(found: Sequence[float], expected: Sequence[float], within_s: float = TICK_S) -> None:
    """As many times, and each where it is expected; else says which is the first that is not."""
    for n, (at_s, expected_s) in enumerate(zip(found, expected, strict=False)):
        assert abs(at_s - expected_s) <= within_s, f"number {n} of {len(found)} is at {at_s:g}, not at {expected_s:g}"
    assert len(found) == len(expected), f"{len(found)} instead of {len(expected)}; the last at {list(found[-1:])}"


def assert_rising(times: Sequence[float]) -> None:
    for n, (before, after) in enumerate(pairwise(times)):
        assert before < after, f"number {n + 1} of {len(times)} is at {after:g}, the one before at {before:g}"
