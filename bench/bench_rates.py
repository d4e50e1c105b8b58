"""How large video comes out against what was asked for, and how good it is then: the encoder alone, out of real time.

In full size ten seconds each; ``python bench/bench_rates.py`` prints the table. With the tests a second of two scenes.
"""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import av
import numpy
import pytest
import scenes

from recsvc.encode.native import VideoEncoder

FRAME_RATE, KEY_FRAMES, KEY_FRAME_NEVER = 30, 100, 30_000
SIZES = {
    (640, 360): (300_000, 500_000, 1_000_000),
    (640, 480): (500_000, 1_000_000),
    (1280, 720): (1_000_000, 2_500_000),
}
HEAD = "| codec | scene | size | kbit/s | error % | first key | others | mean dB | least | first | ms a frame |"


class Outcome(NamedTuple):
    """Of one run: sizes of packets in bytes, luma's signal-to-noise ratio in dB, CPU time of a frame in ms."""

    bytes: list[int]
    psnr: list[float]
    encode_ms: float

    def row(self, bits_per_second: int) -> str:
        """Sizes of key frames count in average frames."""
        share = bits_per_second / FRAME_RATE / 8
        keys = [size / share for size in self.bytes[::KEY_FRAMES]]
        error = 100 * (sum(self.bytes) / len(self.bytes) / share - 1)
        others = sum(keys[1:]) / max(len(keys) - 1, 1)
        mean = sum(self.psnr) / len(self.psnr)
        least, first = min(self.psnr), self.psnr[0]
        numbers = f"{error:+.1f} | {keys[0]:.0f} | {others:.0f} | {mean:.1f} | {least:.1f} | {first:.1f}"
        return f"{numbers} | {self.encode_ms:.1f} |"


def encode(codec: str, size: tuple[int, int], bits_per_second: int, pictures: list[bytes]) -> Outcome:
    width, height = size
    decoder: Any = av.CodecContext.create(codec, "r")
    outcome_bytes, psnr, cpu_s = [], [], 0.0
    with VideoEncoder(
        codec, width, height, bits_per_second=bits_per_second, key_frame_interval_max=KEY_FRAME_NEVER
    ) as encoder:
        for number, picture in enumerate(pictures):
            key, at_us = number % KEY_FRAMES == 0, number * 1_000_000 // FRAME_RATE
            before_s = time.thread_time()
            (packet,) = encoder.encode(
                picture, "i420", width, height, at_us, 1_000_000 // FRAME_RATE, force_key_frame=key
            )
            cpu_s += time.thread_time() - before_s
            assert packet.is_key_frame or not key  # VP9 makes one more where everything changes
            outcome_bytes.append(len(packet.data))
            (frame,) = decoder.decode(av.Packet(packet.data))
            luma = numpy.frombuffer(frame.planes[0], numpy.uint8).reshape(-1, frame.planes[0].line_size)
            off = luma[:height, :width].astype(numpy.int32) - numpy.frombuffer(
                picture, numpy.uint8, width * height
            ).reshape(height, width)
            psnr.append(20 * math.log10(255) - 10 * math.log10(max(float((off * off).mean()), 0.001)))
    return Outcome(outcome_bytes, psnr, cpu_s / len(pictures) * 1000)


@pytest.mark.parametrize("codec", ["vp8", "vp9"])
@pytest.mark.parametrize("scene", ["noisy", "wakes"])
def test_every_picture_is_encoded_and_can_be_seen(codec: str, scene: str) -> None:
    pictures = list(scenes.pictures(scene, 320, 180, FRAME_RATE))
    outcome = encode(codec, (320, 180), 300_000, pictures)
    assert len(outcome.bytes) == len(outcome.psnr) == len(pictures)
    assert min(outcome.psnr) > 20 and outcome.row(300_000).count("|") == 7


def main() -> None:
    print(HEAD + "\n" + "|---" * (HEAD.count("|") - 1) + "|")
    for size, rates in SIZES.items():
        for scene in scenes.SCENES:
            pictures = list(scenes.pictures(scene, *size, 10 * FRAME_RATE))
            for codec in ("vp8", "vp9"):
                for rate in rates:
                    outcome = encode(codec, size, rate, pictures)
                    named = f"| {codec.upper()} | {scene} | {size[0]}x{size[1]} | {rate // 1000} "
                    print(f"{named}| {outcome.row(rate)}", flush=True)


if __name__ == "__main__":
    main()
