"""Packets of every codec that is recorded as it is, made by FFmpeg's encoders, and what it says of them."""

from __future__ import annotations

import functools
import io
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
from av.bitstream import BitStreamFilterContext

S = 1_000_000_000
RATE = 25
GROUP = 10
"""Pictures from one key frame to the next."""


class Packet(NamedTuple):
    data: bytes
    at_ns: int
    is_key: bool


class Encoded(NamedTuple):
    """``description``: as MP4 has it."""

    codec: str
    packets: tuple[Packet, ...]
    description: bytes


_OPTIONS = {
    "h264": ("libx264", {"preset": "ultrafast", "x264-params": "bframes=3:keyint=10:min-keyint=10:scenecut=0"}),
    "h264 open": ("libx264", {"preset": "ultrafast", "x264-params": "bframes=3:keyint=10:scenecut=0:open-gop=1"}),
    "h264 plain": ("libx264", {"preset": "ultrafast", "tune": "zerolatency", "x264-params": "keyint=10:scenecut=0"}),
    "h265": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none:bframes=3:keyint=10:scenecut=0:info=0"}),
    "av1": ("libsvtav1", {"preset": "12", "svtav1-params": "lp=1"}),
    "vp8": ("libvpx", {"deadline": "realtime", "cpu-used": "8"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
}  # fmt: skip
_CONTAINERS = {"vp8": "webm", "vp9": "webm", "opus": "webm"}


@functools.cache
def pictures(name: str, count: int = 50, *, annex_b: bool = False) -> Encoded:
    """``count`` pictures of 160x120; with ``annex_b`` with start codes, and parameter sets in band."""
    encoder, options = _OPTIONS[name]
    codec = name.split()[0]
    file = io.BytesIO()
    with av.open(file, "w", format=_CONTAINERS.get(codec, "mp4")) as output:
        stream = output.add_stream(encoder, RATE, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.codec_context.gop_size = GROUP
        for number in range(count):
            picture = np.full((180, 160), 16 + number * 4 % 200, np.uint8)
            picture[: number + 1, : 2 * number + 2] ^= 0x55
            frame = av.VideoFrame.from_ndarray(picture, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return _read(codec, file, annex_b)


@functools.cache
def sound(codec: str, seconds: float = 2.0, *, adts: bool = False) -> Encoded:
    """A tone: Opus and AAC with 48 kHz and two channels, the others 8 kHz and one."""
    if codec in ("pcm", "alaw", "ulaw"):
        size = 320 if codec == "pcm" else 160  # 20 ms
        made = [bytes((number * 7 + at) % 256 for at in range(size)) for number in range(round(seconds * 50))]
        return Encoded(codec, tuple(Packet(data, at * S // 50, True) for at, data in enumerate(made)), b"")
    file = io.BytesIO()
    with av.open(file, "w", format="adts" if adts else _CONTAINERS.get(codec, "mp4")) as output:
        stream = output.add_stream("libopus" if codec == "opus" else codec, 48_000, layout="stereo")
        tone = (np.sin(np.arange(round(48_000 * seconds)) * 0.05) * 9000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.repeat(tone, 2).reshape(1, -1), "s16", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return _read(codec, file, annex_b=False, adts=adts)


def _read(codec: str, file: io.BytesIO, annex_b: bool, adts: bool = False) -> Encoded:
    file.seek(0)
    found = []
    with av.open(file) as container:
        [stream] = container.streams
        description = bytes(stream.codec_context.extradata or b"")
        names = {"h264": "h264_mp4toannexb", "h265": "hevc_mp4toannexb"}
        bits = BitStreamFilterContext(names[codec], stream) if annex_b and codec in names else None
        for packet in container.demux(stream):
            if packet.size:
                at_ns = round(packet.pts * packet.time_base * S)
                [kept] = bits.filter(packet) if bits is not None else [packet]
                found.append(Packet(bytes(kept), at_ns, bool(kept.is_keyframe)))
    first_ns = min(packet.at_ns for packet in found)
    return Encoded(codec, tuple(one._replace(at_ns=one.at_ns - first_ns) for one in found), description)
