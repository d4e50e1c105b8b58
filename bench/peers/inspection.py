"""What a file of any recorder holds, and what it lacks of what was delivered."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import av
import content
import numpy as np
from content import PICTURES
from workloads import FRAME_RATE, SAMPLE_RATE

from recsvc.capture.pattern import COLUMNS, ROWS, check_byte

from .recorder import Taken

_SEGMENT, _INFO, _DURATION, _CLUSTER, _CUES = 0x18538067, 0x1549A966, 0x4489, 0x1F43B675, 0x1C53BB6B
_WINDOW = 240  # samples that are looked at together when the end of the sound is looked for
_LIKENESS_MIN = 0.6
_NAN = float("nan")
_DOUBT = 30  # a cell this near to grey is not read


@dataclass(frozen=True)
class Found:
    """``pictures`` are in the file; ``missing_pictures`` are not (of recordings so short that no number comes twice);
    ``lost_..._ms``: what is missing at the end, ``nan`` where that is not known."""

    has_duration: bool
    has_cues: bool
    lost_picture_ms: float
    lost_sound_ms: float
    pictures: int
    missing_pictures: int

    @property
    def lost_tail_ms(self) -> float:
        return float(np.max([self.lost_picture_ms, self.lost_sound_ms]))


def inspect(path: Path, taken: Taken, reference: np.ndarray) -> Found:
    data = path.read_bytes()
    try:
        has_duration, has_cues = structure(data)
        pictures, sound = decode(path)
    except (IndexError, struct.error, av.FFmpegError):  # browsers on a busy machine leave such files
        return Found(False, False, _NAN, _NAN, 0, taken.pictures)
    if taken.samples < 0:
        return Found(has_duration, has_cues, _NAN, _NAN, len(pictures), max(0, taken.pictures - len(pictures)))
    lost_picture_ms = 0.0
    if taken.pictures:
        # Lost pictures are few, so their number is clear though the numbers begin again.
        last = pictures[-1] if pictures else None
        lost = _NAN if last is None else (taken.pictures - 1 - last) % PICTURES
        lost_picture_ms = lost * 1000 / FRAME_RATE
    end = end_of_sound(sound, reference)
    return Found(
        has_duration,
        has_cues,
        lost_picture_ms,
        _NAN if end is None else max(0.0, (taken.samples - end) * 1000 / SAMPLE_RATE),
        len(pictures),
        len(set(range(taken.pictures)) - set(pictures)),
    )


def structure(data: bytes) -> tuple[bool, bool]:
    """Whether a WebM file has a Duration above 0, and Cues."""
    has_duration = has_cues = False
    at = 0
    while at < len(data):
        identifier, at = _variable(data, at, keep_marker=True)
        size, begin = _variable(data, at, keep_marker=False)
        is_endless = size == (1 << 7 * (begin - at)) - 1
        if identifier == _DURATION:
            value = data[begin : begin + size]
            has_duration = struct.unpack(">d" if size == 8 else ">f", value)[0] > 0
        has_cues = has_cues or identifier == _CUES
        # What is inside an endless cluster cannot be mistaken for what follows it.
        inside = identifier in (_SEGMENT, _INFO) or is_endless
        at = begin if inside else begin + size
    return has_duration, has_cues


def _variable(data: bytes, at: int, *, keep_marker: bool) -> tuple[int, int]:
    """A variable-size integer and where it ends (RFC 8794 section 4)."""
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length], "big")
    return (value if keep_marker else value - (1 << 7 * length)), at + length


def decode(path: Path) -> tuple[list[int | None], np.ndarray]:
    """The numbers in the pictures, and the left channel."""
    numbers: list[int | None] = []
    blocks = [np.zeros(0, np.float32)]
    with av.open(str(path)) as container:
        for frame in container.decode():
            if isinstance(frame, av.VideoFrame):
                numbers.append(number(frame))
            else:
                blocks.append(frame.to_ndarray()[0])
    return numbers, np.concatenate(blocks)


def number(frame: av.VideoFrame) -> int | None:
    """The one that is shown; ``None`` where it cannot be read."""
    plane = frame.planes[0]
    luma = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height // 2, : frame.width]
    height, width = frame.height // 2 // ROWS, frame.width // COLUMNS
    cells = luma[: height * ROWS, : width * COLUMNS].reshape(ROWS, height, COLUMNS, width)
    middle = cells[:, height // 4 : -height // 4, :, width // 4 : -width // 4].mean(axis=(1, 3))
    if (abs(middle - 128) < _DOUBT).any():
        return None
    high, low, check = (int(byte) for byte in np.packbits(middle > 128, axis=1)[:, 0])
    shown = high << 8 | low
    return shown if check_byte(shown) == check else None


def reference_sound() -> np.ndarray:
    return content.sound()[:, 0].astype(np.float32)


def end_of_sound(found: np.ndarray, reference: np.ndarray) -> int | None:
    """How many samples of the content have been played where ``found`` ends; silence after it does not count."""
    probe = found[-SAMPLE_RATE * 35 // 100 : -SAMPLE_RATE // 10]
    if len(probe) < SAMPLE_RATE // 10 or not probe.any():
        return None
    size = len(reference) + len(probe)
    product = np.fft.rfft(reference, size) * np.conj(np.fft.rfft(probe, size))
    shift = int(np.argmax(np.fft.irfft(product, size)[: len(reference)]))
    offset = shift - max(0, len(found) - SAMPLE_RATE * 35 // 100)  # of the content's beginning against the file's
    end = len(found)
    while end >= _WINDOW:
        begin = end - _WINDOW + offset
        if begin < 0:
            return None
        expected = reference[begin : begin + _WINDOW]
        if len(expected) == _WINDOW and _likeness(found[end - _WINDOW : end], expected) >= _LIKENESS_MIN:
            return end + offset
        end -= _WINDOW // 4
    return None


def _likeness(one: np.ndarray, other: np.ndarray) -> float:
    power = float(np.sqrt((one * one).sum() * (other * other).sum()))
    return float((one * other).sum()) / power if power else 0.0
