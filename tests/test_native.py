"""The Python face of the native core; what the core itself does is tested in C (native/tests)."""

from __future__ import annotations

import array
import gc
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np
import pytest

from recsvc.common import media
from recsvc.encode import core
from recsvc.encode.native import AudioEncoder, Packet, VideoEncoder
from recsvc.errors import EncodingError, InvalidStateError


def sine(sample_rate: int, sample_count: int, channel_count: int, frequency: float = 1000.0) -> np.ndarray:
    wave = 0.5 * np.sin(2 * math.pi * frequency * np.arange(sample_count) / sample_rate)
    return np.repeat(wave[:, None], channel_count, axis=1).astype(np.float32)


def moving(width: int, height: int, step: int) -> np.ndarray:
    """An RGB picture of smooth colours."""
    y, x = np.mgrid[0:height, 0:width]
    planes = (np.sin(x / 20 + step / 5), np.cos(y / 15), np.sin((x + y) / 30))
    return np.stack([(128 + 90 * plane).astype(np.uint8) for plane in planes], axis=2)


def encode_all(encoder: AudioEncoder, samples: Any, block: int) -> list[Packet]:
    packets: list[Packet] = []
    for start in range(0, len(samples), block):
        packets += encoder.encode(samples[start : start + block])
    return packets + encoder.drain()


def hear(packets: list[Packet], pre_skip_samples: int, channel_count: int) -> np.ndarray:
    """Decoded sound as [sample, channel], less the pre-skip and the padding."""
    decoder: Any = av.CodecContext.create("libopus", "r")
    decoder.sample_rate = 48000
    decoder.layout = "stereo" if channel_count == 2 else "mono"
    blocks = []
    for packet in packets:
        for frame in decoder.decode(av.Packet(packet.data)):
            values = frame.to_ndarray().astype(np.float64)
            blocks.append(values.reshape(-1, channel_count) / 32768)
    heard = np.concatenate(blocks)
    return heard[pre_skip_samples : len(heard) - packets[-1].padding_samples]


# ---- sound ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sample_rate", "channel_count", "sample_format", "sample_count"),
    [(48000, 2, "s16", 48017), (44100, 1, "f32", 44101), (8000, 6, "s16", 1001), (192000, 2, "f32", 961)],
)
def test_sound_comes_back_as_long_as_it_was(
    sample_rate: int, channel_count: int, sample_format: str, sample_count: int
) -> None:
    samples = sine(sample_rate, sample_count, channel_count)
    if sample_format == "s16":
        samples = (samples * 32767).astype(np.int16)
    with AudioEncoder(sample_rate, channel_count, sample_format) as encoder:
        packets = encode_all(encoder, samples, 441)
        assert encoder.output_channel_count == min(channel_count, 2)
        heard = hear(packets, encoder.pre_skip_samples, encoder.output_channel_count)
    assert len(heard) == (sample_count * 48000 + sample_rate // 2) // sample_rate
    assert [packet.pts for packet in packets] == [960 * index for index in range(len(packets))]
    assert all(packet.duration == 960 and packet.is_key_frame for packet in packets)
    assert all(packet.padding_samples == 0 for packet in packets[:-1])
    if len(heard) > 4800:
        spectrum = np.abs(np.fft.rfft(heard[:4800, 0]))
        assert abs(int(spectrum.argmax()) * 10 - 1000) <= 10


def test_no_sound_gives_no_packets() -> None:
    with AudioEncoder(44100, 2, "f32") as encoder:
        assert encoder.encode(b"") == []
        assert encoder.encode_silence(0) == []
        assert encoder.drain() == []
        assert encoder.drain() == []


def test_silence_is_counted_in_samples_of_the_input() -> None:
    with AudioEncoder(8000, 1, "s16") as encoder:
        packets = encoder.encode_silence(8000) + encoder.drain()
        heard = hear(packets, encoder.pre_skip_samples, 1)
    assert len(heard) == 48000
    assert np.abs(heard).max() < 0.001


def test_one_call_can_give_many_packets() -> None:
    with AudioEncoder(48000, 1, "s16") as encoder:
        packets = encoder.encode(bytes(2 * 480_000))
    assert len(packets) == 500
    assert packets[499].pts == 499 * 960


def test_the_format_may_change_while_sound_runs() -> None:
    with AudioEncoder(44100, 1, "s16") as encoder:
        packets = encoder.encode((sine(44100, 44100, 1) * 32767).astype(np.int16))
        packets += encoder.set_input(16000, 2, "f32")
        assert encoder.output_samples == 48000
        with pytest.raises(TypeError, match="items"):
            encoder.encode(np.zeros(160, np.int16))
        packets += encoder.encode(sine(16000, 16001, 2))
        packets += encoder.set_input(16000, 2, "f32")  # no change
        packets += encoder.encode_silence(16000)
        for wrong in ((7999, 2, "f32"), (16000, 9, "f32"), (2**40, 2, "f32"), (16000, 2, "u8")):
            with pytest.raises(
                ValueError, match=str(wrong[{7999: 0, 2**40: 0}.get(wrong[0], 1 if wrong[1] == 9 else 2)])
            ):
                encoder.set_input(*wrong)
        packets += encoder.drain()
        assert encoder.output_channel_count == 1
        assert encoder.output_samples == 96003 + 48000
        heard = hear(packets, encoder.pre_skip_samples, 1)
        with pytest.raises(InvalidStateError, match="drained"):
            encoder.set_input(8000, 1, "s16")
    assert len(heard) == 96003 + 48000
    for start in (9600, 57600):
        spectrum = np.abs(np.fft.rfft(heard[start : start + 4800, 0]))
        assert abs(int(spectrum.argmax()) * 10 - 1000) <= 10
    assert np.abs(heard[-38400:]).max() < 0.001


def test_sound_is_stretched_without_a_seam() -> None:
    """A tone at the highest quality: what is heard around the beginning of the stretch is a tone still."""
    with AudioEncoder(48000, 1, "f32", bits_per_second=510_000) as encoder:
        encoder.set_complexity(10)
        encoder.set_stretch(0)
        samples = sine(48000, 480_000, 1)
        packets = encoder.encode(samples[:240_000])
        assert encoder.output_samples == 240_000
        encoder.set_stretch(1000)
        for start in range(240_000, 480_000, 480):
            packets += encoder.encode(samples[start : start + 480])
        total = encoder.output_samples
        assert abs(total - 480_240) <= 1
        packets += encoder.drain()
        assert encoder.output_samples == total
        heard = hear(packets, encoder.pre_skip_samples, 1)[:, 0]
        for wrong in (5001, -5001, math.nan):
            with pytest.raises(ValueError, match="ppm"):
                encoder.set_stretch(wrong)
        with pytest.raises(TypeError):
            encoder.set_stretch("1")  # type: ignore[arg-type]
    assert len(heard) == total
    position = np.arange(total, dtype=np.float64)
    position = np.where(position < 240_000, position, 240_000 + (position - 240_000) / 1.001)
    expected = 0.5 * np.sin(2 * math.pi * 1000 * position / 48000)
    for start in (120_000, 239_760, 240_000, 400_000):
        noise = heard[start : start + 960] - expected[start : start + 960]
        assert 10 * math.log10(0.125 / float(np.mean(noise**2))) > 40  # what Opus leaves of it


@pytest.mark.parametrize(
    "make",
    [
        bytes,
        bytearray,
        memoryview,
        lambda data: memoryview(bytearray(b"x") + data)[1:],  # not aligned
        lambda data: array.array("h", data),
        lambda data: np.frombuffer(data, np.int16).reshape(-1, 2),
    ],
    ids=["bytes", "bytearray", "memoryview", "unaligned", "array", "numpy"],
)
def test_any_buffer_is_taken(make: Callable[[bytes], Any]) -> None:
    data = (sine(48000, 960, 2) * 32767).astype(np.int16).tobytes()
    with AudioEncoder(48000, 2, "s16") as encoder, AudioEncoder(48000, 2, "s16") as reference:
        assert encoder.encode(make(data)) == reference.encode(data)


def test_the_buffer_is_let_go_when_the_call_returns() -> None:
    data = bytearray(960 * 2)
    with AudioEncoder(48000, 1, "s16") as encoder:
        encoder.encode(data)
        data.extend(b"12")  # BufferError if anything still held it
        with pytest.raises(ValueError, match="bytes"):
            encoder.encode(bytearray(3))
        encoder.drain()
        with pytest.raises(InvalidStateError):
            encoder.encode(data)
        data.clear()


@pytest.mark.parametrize("bits_per_second", [32_000, 64_000])
def test_bit_rates_of_sound(bits_per_second: int) -> None:
    with AudioEncoder(48000, 1, "s16", bits_per_second=bits_per_second, bitrate_mode="constant") as encoder:
        assert len(encoder.encode(bytes(1920))[0].data) == bits_per_second // 400
        for wrong in (11, 2**40):
            with pytest.raises(ValueError, match=str(wrong)):
                encoder.set_complexity(wrong)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        ((7999, 2, "s16"), {}, ValueError, "sample_rate is 7999"),
        ((2**40, 2, "s16"), {}, ValueError, str(2**40)),
        ((48000, 9, "s16"), {}, ValueError, "channel_count is 9"),
        ((48000, 0, "s16"), {}, ValueError, "channel_count is 0"),
        ((48000, 2, "u8"), {}, ValueError, "'u8'"),
        ((48000, 2, "s16"), {"bits_per_second": 0}, ValueError, "bits_per_second is 0"),
        ((48000, 2, "s16"), {"bitrate_mode": "other"}, ValueError, "'other'"),
        (("48000", 2, "s16"), {}, TypeError, "sample_rate"),
        ((48000.0, 2, "s16"), {}, TypeError, "sample_rate"),
        ((48000, 2, 16), {}, TypeError, "sample_format"),
    ],
)
def test_wrong_settings_of_sound(
    arguments: tuple[Any, ...], options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        AudioEncoder(*arguments, **options)


def test_wrong_samples() -> None:
    with AudioEncoder(48000, 2, "s16") as encoder:
        for wrong in (None, "text", 5, [1, 2], np.zeros(960, np.float32), np.zeros(960, np.int32)):
            with pytest.raises(TypeError):
                encoder.encode(wrong)
        with pytest.raises(ValueError, match="contiguous"):
            encoder.encode(np.zeros((960, 4), np.int16)[:, ::2])
        with pytest.raises(ValueError, match="3 bytes"):
            encoder.encode(b"123")
        with pytest.raises(ValueError, match="-1"):
            encoder.encode_silence(-1)
        with pytest.raises(TypeError):
            encoder.encode_silence(1.5)  # type: ignore[arg-type]
        assert encoder.encode_silence(960)[0].pts == 0  # the refused ones left nothing behind


# ---- pictures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ("vp8", "vp9"))
@pytest.mark.parametrize("pixel_format", ["rgb24", "bgr24", "rgba", "bgra"])
@pytest.mark.parametrize(("width", "height"), [(160, 120), (161, 91)])
def test_pictures_come_back(codec: str, pixel_format: str, width: int, height: int) -> None:
    decoder: Any = av.CodecContext.create(codec, "r")
    with VideoEncoder(codec, width, height, bits_per_second=2_000_000) as encoder:
        for step in range(5):
            rgb = moving(width, height, step)
            picture = rgb if pixel_format.startswith("rgb") else rgb[:, :, ::-1]
            if pixel_format.endswith("a"):
                picture = np.dstack([picture, np.full((height, width), 77, np.uint8)])
            picture = np.ascontiguousarray(picture)
            packets = encoder.encode(picture, pixel_format, width, height, step * 40_000, 40_000)
            assert [packet[1:] for packet in packets] == [(step * 40_000, 40_000, step == 0, 0)]
            (frame,) = decoder.decode(av.Packet(packets[0].data))
            shown = frame.to_ndarray(format="rgb24").astype(np.float64)
            error = float(np.mean((shown - rgb) ** 2))
            assert 10 * math.log10(255**2 / error) > 30


@pytest.mark.parametrize("codec", ("vp8", "vp9"))
def test_sizes_key_frames_and_black(codec: str) -> None:
    decoder: Any = av.CodecContext.create(codec, "r")
    sizes = [(64, 48), (64, 48), (65, 49), (32, 32), (32, 32)]
    with VideoEncoder(codec, 64, 48, bits_per_second=500_000) as encoder:
        for step, (width, height) in enumerate(sizes):
            (packet,) = encoder.encode(None, "i420", width, height, step, 1, force_key_frame=step == 4)
            assert packet.is_key_frame == (step in (0, 2, 3, 4))
            (frame,) = decoder.decode(av.Packet(packet.data))
            assert (frame.width, frame.height) == (width, height)
            assert frame.to_ndarray(format="rgb24").max() < 8


def test_key_frame_interval() -> None:
    with VideoEncoder("vp8", 64, 48, bits_per_second=500_000, key_frame_interval_max=4) as encoder:
        keys = [encoder.encode(None, "nv12", 64, 48, t, 1)[0].is_key_frame for t in range(10)]
    assert [index for index, is_key in enumerate(keys) if is_key] == [0, 4, 8]


@pytest.mark.parametrize("codec", ("vp8", "vp9"))
def test_speed_of_pictures(codec: str) -> None:
    random = np.random.default_rng(1)

    def second(start: int) -> int:
        size = 0
        for step in range(start, start + 30):
            noise = random.integers(0, 255, media.picture_bytes("i420", 160, 120), np.uint8)
            size += len(encoder.encode(noise, "i420", 160, 120, step * 33_333, 33_333)[0].data)
        return size

    with VideoEncoder(codec, 160, 120, bits_per_second=4_000_000) as encoder:
        before = second(0)
        encoder.set_speed(8)
        assert second(30) > before * 0.2
        with pytest.raises(ValueError, match="speed is 17"):
            encoder.set_speed(17)
        with pytest.raises(ValueError, match=str(2**40)):
            encoder.set_speed(2**40)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        (("h264", 64, 48), {}, ValueError, "'h264'"),
        ((8, 64, 48), {}, TypeError, "codec"),
        (("vp8", 0, 48), {}, ValueError, "width is 0"),
        (("vp8", 64, 16384), {}, ValueError, "height is 16384"),
        (("vp8", 64.0, 48), {}, TypeError, "width"),
        (("vp8", 64, 48), {"key_frame_interval_max": 0}, ValueError, "key_frame_interval_max is 0"),
        (("vp8", 64, 48), {"bits_per_second": 5}, ValueError, "bits_per_second is 5"),
    ],
)
def test_wrong_settings_of_pictures(
    arguments: tuple[Any, ...], options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        VideoEncoder(*arguments, **({"bits_per_second": 500_000} | options))


def test_wrong_pictures() -> None:
    good = bytes(media.picture_bytes("rgb24", 64, 48))
    with VideoEncoder("vp8", 64, 48, bits_per_second=500_000) as encoder:
        encoder.encode(good, "rgb24", 64, 48, 100, 10)
        for arguments, error, text in (
            ((good[1:], "rgb24", 64, 48, 200, 10), ValueError, "9215 bytes"),
            ((good, "bgra", 64, 48, 200, 10), ValueError, "9216 bytes"),
            ((good, "yuy2", 64, 48, 200, 10), ValueError, "'yuy2'"),
            ((good, "rgb24", 0, 48, 200, 10), ValueError, "0 x 48"),
            ((good, "rgb24", 64, 2**40, 200, 10), ValueError, str(2**40)),
            ((good, "rgb24", 64, 48, 100, 10), ValueError, "not after 100"),
            ((good, "rgb24", 64, 48, -1, 10), ValueError, "negative"),
            ((good, "rgb24", 64, 48, 2**70, 10), ValueError, str(2**70)),
            ((good, "rgb24", 64, 48, 200.5, 10), TypeError, None),
            ((good, None, 64, 48, 200, 10), TypeError, "pixel_format"),
            (("text", "rgb24", 64, 48, 200, 10), TypeError, None),
            ((np.zeros(9216, np.int16), "rgb24", 64, 48, 200, 10), TypeError, "items"),
            ((np.zeros((48, 64, 6), np.uint8)[:, :, ::2], "rgb24", 64, 48, 200, 10), ValueError, "contig"),
        ):
            with pytest.raises(error, match=text):
                encoder.encode(*arguments)
        assert not encoder.encode(good, "rgb24", 64, 48, 101, 10)[0].is_key_frame


# ---- both -----------------------------------------------------------------------------------------


@pytest.fixture(name="encoder", params=["audio", "video"])
def either_encoder(request: pytest.FixtureRequest) -> Iterator[AudioEncoder | VideoEncoder]:
    made: AudioEncoder | VideoEncoder
    if request.param == "audio":
        made = AudioEncoder(48000, 2, "s16")
    else:
        made = VideoEncoder("vp8", 64, 48, bits_per_second=500_000)
    yield made
    made.close()


def push(encoder: AudioEncoder | VideoEncoder) -> list[Packet]:
    if isinstance(encoder, AudioEncoder):
        return encoder.encode_silence(960)
    return encoder.encode(None, "i420", 64, 48, time.monotonic_ns(), 1)


def test_nothing_goes_in_after_drain() -> None:
    encoder = AudioEncoder(48000, 1, "s16")
    assert len(push(encoder)) == 1
    encoder.drain()
    with pytest.raises(InvalidStateError, match="drained"):
        push(encoder)


def test_nothing_works_after_close_but_close(encoder: AudioEncoder | VideoEncoder) -> None:
    packets = push(encoder)
    encoder.close()
    encoder.close()
    change = encoder.set_complexity if isinstance(encoder, AudioEncoder) else encoder.set_speed
    for call in (lambda: push(encoder), lambda: change(5)):
        with pytest.raises(InvalidStateError, match="closed"):
            call()
    assert len(packets[0].data) > 0  # packets outlive their encoder


def test_a_forgotten_encoder_is_freed() -> None:
    def resident_bytes() -> int:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * 4096

    def forget(count: int) -> None:
        for _ in range(count):
            push(VideoEncoder("vp8", 64, 48, bits_per_second=500_000))
        gc.collect()

    forget(20)
    before = resident_bytes()
    forget(300)
    assert resident_bytes() - before < 30_000_000  # 300 of them hold some 200 MB


def test_the_gil_is_released() -> None:
    """While one thread encodes ten seconds of sound in one call, this one goes on."""
    running = threading.Event()
    spans: list[float] = []

    def encode() -> None:
        with AudioEncoder(48000, 2, "s16") as encoder:
            running.set()
            start = time.perf_counter()
            encoder.encode(np.random.default_rng(1).integers(-9000, 9000, (480_000, 2), np.int16))
            spans.append(time.perf_counter() - start)

    thread = threading.Thread(target=encode)
    thread.start()
    running.wait()
    ticks = 0
    while thread.is_alive():
        time.sleep(0.001)
        ticks += 1
    thread.join()
    assert spans[0] > 0.02
    assert ticks >= 5  # held, it would be one or two


def test_close_waits_for_a_call_in_another_thread() -> None:
    for _ in range(20):
        encoder = AudioEncoder(48000, 2, "s16")
        outcome: list[object] = []

        def encode(encoder: AudioEncoder = encoder, outcome: list[object] = outcome) -> None:
            try:
                outcome.append(len(encoder.encode_silence(96_000)))
            except InvalidStateError as error:
                outcome.append(error)

        thread = threading.Thread(target=encode)
        thread.start()
        encoder.close()
        thread.join()
        assert outcome == [100] or isinstance(outcome[0], InvalidStateError)


def test_failures_of_the_core_become_exceptions() -> None:
    for name, error in (
        ("RECSVC_ERROR_ARGUMENT", ValueError),
        ("RECSVC_ERROR_STATE", InvalidStateError),
        ("RECSVC_ERROR_MEMORY", MemoryError),
        ("RECSVC_ERROR_CODEC", EncodingError),
    ):
        with pytest.raises(error):
            core.check(getattr(core.lib, name))


def test_versions() -> None:
    versions = core.versions()
    assert list(versions) == ["recsvc", "libopus", "libvpx", "libsoxr", "libyuv"]
    assert all(any(character.isdigit() for character in text) for text in versions.values())


def test_the_extension_exports_nothing_but_itself() -> None:
    """Other codec libraries in the process must not meet our symbols."""
    import ctypes

    from recsvc.encode import _native

    with pytest.raises(AttributeError):
        _ = ctypes.CDLL(_native.__file__).recsvc_version
