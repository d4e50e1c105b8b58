"""Packets of every codec that is recorded as it is, made by FFmpeg's encoders, and what it says of them."""

from __future__ import annotations

import contextlib
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
    "h264 whole": ("libx264", {"preset": "ultrafast", "tune": "zerolatency", "x264-params": "keyint=10:threads=1"}),
    "h264 sliced": ("libx264", {"preset": "ultrafast", "tune": "zerolatency", "x264-params": "keyint=10:threads=3"}),
    "h265": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none:bframes=3:keyint=10:scenecut=0:info=0"}),
    "h265 sliced": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none:bframes=0:keyint=10:slices=2"}),
    "av1": ("libsvtav1", {"preset": "12", "svtav1-params": "lp=1"}),
    "vp8": ("libvpx", {"deadline": "realtime", "cpu-used": "8"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
}  # fmt: skip
_CONTAINERS = {"vp8": "webm", "vp9": "webm", "opus": "webm"}


@functools.cache
def film(name: str, count: int = 50, size: tuple[int, int] = (160, 120)) -> bytes:
    """A file with ``count`` pictures: MP4 or WebM."""
    encoder, options = _OPTIONS[name]
    codec = name.split()[0]
    file = io.BytesIO()
    with av.open(file, "w", format=_CONTAINERS.get(codec, "mp4")) as output:
        stream = output.add_stream(encoder, RATE, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.gop_size = GROUP
        for number in range(count):
            picture = np.full((size[1] * 3 // 2, size[0]), 16 + number * 4 % 200, np.uint8)
            picture[: number + 1, : 2 * number + 2] ^= 0x55
            frame = av.VideoFrame.from_ndarray(picture, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


@functools.cache
def pictures(name: str, count: int = 50, *, annex_b: bool = False) -> Encoded:
    """The packets of ``film``; with ``annex_b`` with start codes, and parameter sets in band."""
    return _read(name.split()[0], io.BytesIO(film(name, count)), annex_b)


@functools.cache
def tone(codec: str, seconds: float = 2.0, *, adts: bool = False) -> bytes:
    """A file with a tone: Opus (WebM) and AAC (MP4, ADTS) with 48 kHz and two channels, the others (WAV) 8 kHz and
    one."""
    file = io.BytesIO()
    if codec in ("pcm", "alaw", "ulaw"):
        encoder = {"pcm": "pcm_s16le", "alaw": "pcm_alaw", "ulaw": "pcm_mulaw"}[codec]
        with av.open(file, "w", format="wav") as output:
            stream = output.add_stream(encoder, 8_000, layout="mono")
            samples = (np.sin(np.arange(round(8_000 * seconds)) * 0.3) * 9000).astype(np.int16)
            for at in range(0, len(samples), 160):
                frame = av.AudioFrame.from_ndarray(samples[at : at + 160].reshape(1, -1), "s16", "mono")
                frame.sample_rate, frame.pts, frame.time_base = 8_000, at, Fraction(1, 8_000)
                output.mux(stream.encode(frame))
        return file.getvalue()
    with av.open(file, "w", format="adts" if adts else _CONTAINERS.get(codec, "mp4")) as output:
        stream = output.add_stream("libopus" if codec == "opus" else codec, 48_000, layout="stereo")
        tone = (np.sin(np.arange(round(48_000 * seconds)) * 0.05) * 9000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.repeat(tone, 2).reshape(1, -1), "s16", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


@functools.cache
def sound(codec: str, seconds: float = 2.0, *, adts: bool = False) -> Encoded:
    """The packets of ``tone``; those of PCM hold 20 ms each, of any samples."""
    if codec in ("pcm", "alaw", "ulaw"):
        size = 320 if codec == "pcm" else 160
        made = [bytes((number * 7 + at) % 256 for at in range(size)) for number in range(round(seconds * 50))]
        return Encoded(codec, tuple(Packet(data, at * S // 50, True) for at, data in enumerate(made)), b"")
    return _read(codec, io.BytesIO(tone(codec, seconds, adts=adts)), annex_b=False)


def put_into(path: str, *files: bytes, form: str | None = None, **options: str) -> None:
    """The first track of each of these files, in one file of the format that its name's ending, or ``form``, says."""
    with contextlib.ExitStack() as stack:
        inputs = [stack.enter_context(av.open(io.BytesIO(file))) for file in files]
        output = stack.enter_context(av.open(path, "w", format=form, options=options))
        streams = {one: output.add_stream_from_template(one.streams[0], opaque=True) for one in inputs}
        packets = [(packet, one) for one in inputs for packet in one.demux(one.streams[0]) if packet.size]
        packets.sort(key=lambda pair: (pair[0].dts if pair[0].dts is not None else -1) * pair[0].time_base)
        for packet, one in packets:
            packet.stream = streams[one]
            output.mux(packet)


def _read(codec: str, file: io.BytesIO, annex_b: bool) -> Encoded:
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
