"""Messages: what fits goes through unchanged, everything else is refused with its reason."""

import random

import msgspec
import pytest

from recsvc.common import media
from recsvc.common.limits import BLOCK_NS_MAX, FRAME_BYTES_MAX, S
from recsvc.wire import messages
from recsvc.wire.messages import AudioFrame, MessageError, VideoFrame

VIDEO = VideoFrame(
    route="r", sequence=1, captured_ns=5, pixel_format="i420", width=3, height=3, dropped={"queue_full": 2}
)
AUDIO = AudioFrame(
    route="r", sequence=1, captured_ns=5, sample_format="s16", sample_rate=48000, channel_count=2, sample_count=10
)


@pytest.mark.parametrize(
    "message", [VIDEO, AUDIO, messages.Attach(route="r"), messages.End(route="r", count=1, until_ns=9)]
)
def test_round_trip(message: messages.Message) -> None:
    assert messages.DATA.decode(messages.encode(message)) == message


def test_every_message_says_its_version_and_kind() -> None:
    found = msgspec.msgpack.decode(messages.encode(VIDEO))
    assert (found["v"], found["kind"]) == (messages.VERSION, "video")


def as_map(**changes: object) -> bytes:
    return msgspec.msgpack.encode({**msgspec.msgpack.decode(messages.encode(VIDEO)), **changes})


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xc1",
        b"not a map",
        messages.encode(VIDEO)[:-1],
        as_map(v=messages.VERSION + 1),
        as_map(v="1"),
        as_map(kind="nonsense"),
        as_map(kind=None),
        as_map(width=0),
        as_map(width=16384),
        as_map(height=-1),
        as_map(sequence=-1),
        as_map(captured_ns="now"),
        as_map(captured_ns=2**63),
        as_map(dropped=[1]),
        as_map(dropped={"x": -1}),
        as_map(route="x" * 201),
        as_map(route=None),
        b"\x81" * 50_000,
        b"\x00" * (64 * 1024 + 1),
    ],
)
def test_what_does_not_fit_is_refused_with_a_reason(header: bytes) -> None:
    with pytest.raises(MessageError, match=r"unreadable message|header of"):
        messages.DATA.decode(header)


def test_a_message_of_another_socket_is_refused() -> None:
    with pytest.raises(MessageError):
        messages.DATA.decode(messages.encode(messages.Shutdown()))


def test_random_bytes_never_raise_anything_else() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    good = bytearray(messages.encode(VIDEO))
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            message = messages.DATA.decode(bytes(data))
            if isinstance(message, (VideoFrame, AudioFrame)):
                messages.check_payload(message, 17)
        except MessageError:
            pass


@pytest.mark.parametrize(
    ("pixel_format", "width", "height", "size"),
    [
        ("i420", 640, 480, 460_800),
        ("i420", 3, 3, 9 + 2 * 4),
        ("nv12", 1, 1, 3),
        ("rgb24", 3, 2, 18),
        ("bgr24", 3, 2, 18),
        ("rgba", 3, 2, 24),
        ("bgra", 3, 2, 24),
    ],
)
def test_picture_bytes(pixel_format: str, width: int, height: int, size: int) -> None:
    assert media.picture_bytes(pixel_format, width, height) == size
    header = VideoFrame(route="r", sequence=0, captured_ns=0, pixel_format=pixel_format, width=width, height=height)
    messages.check_payload(header, size)
    for wrong in (size - 1, size + 1, 0):
        with pytest.raises(MessageError, match=str(size)):
            messages.check_payload(header, wrong)


def test_the_largest_picture_that_is_taken() -> None:
    header = VideoFrame(route="r", sequence=0, captured_ns=0, pixel_format="rgba", width=8192, height=8192)
    assert header.payload_bytes() == FRAME_BYTES_MAX
    messages.check_payload(header, FRAME_BYTES_MAX)
    larger = msgspec.structs.replace(header, height=8193)
    with pytest.raises(MessageError, match=str(FRAME_BYTES_MAX)):
        messages.check_payload(larger, larger.payload_bytes())


def test_payloads_of_unknown_formats_are_refused() -> None:
    with pytest.raises(MessageError, match="yuy2"):
        messages.check_payload(msgspec.structs.replace(VIDEO, pixel_format="yuy2"), 18)
    with pytest.raises(MessageError, match="s24"):
        messages.check_payload(msgspec.structs.replace(AUDIO, sample_format="s24"), 60)


def test_sound_payload() -> None:
    messages.check_payload(AUDIO, 40)
    with pytest.raises(MessageError, match="40"):
        messages.check_payload(AUDIO, 39)


def test_a_muted_frame_may_come_without_payload() -> None:
    messages.check_payload(msgspec.structs.replace(VIDEO, muted=True), 0)
    messages.check_payload(msgspec.structs.replace(AUDIO, muted=True), 0)


@pytest.mark.parametrize("rate", [8_000, 48_000])
@pytest.mark.parametrize("muted", [False, True])
def test_the_longest_block_of_sound_that_is_taken(rate: int, muted: bool) -> None:
    longest = BLOCK_NS_MAX // S * rate
    header = msgspec.structs.replace(
        AUDIO, sample_rate=rate, sample_count=longest, channel_count=1, sample_format="s16", muted=muted
    )
    if muted or 2 * longest <= FRAME_BYTES_MAX:
        messages.check_payload(header, 0 if muted else 2 * longest)
    longer = msgspec.structs.replace(header, sample_count=longest + 1)
    with pytest.raises(MessageError, match=f"{longest + 1} samples.*at most {BLOCK_NS_MAX // S} s"):
        messages.check_payload(longer, 0 if muted else 2 * longest + 2)


@pytest.mark.parametrize(("sample_format", "size"), [("s16", 2), ("f32", 4)])
def test_the_payload_of_sound_is_as_long_as_its_samples(sample_format: str, size: int) -> None:
    header = msgspec.structs.replace(AUDIO, sample_format=sample_format, sample_count=10, channel_count=3)
    messages.check_payload(header, 30 * size)
    for wrong in (30 * size - 1, 30 * size + 1):
        with pytest.raises(MessageError):
            messages.check_payload(header, wrong)


@pytest.mark.parametrize("name", ["ring", "pid", "size", "descriptor"])
def test_the_bounds_of_a_rings_description(name: str) -> None:
    """At each bound, and one beyond; what is not refused here is opened."""
    least, most = {"ring": (1, 2**62), "pid": (1, 2**31), "size": (1, 2**40), "descriptor": (0, 2**31)}[name]
    ring = messages.Ring(route="r/1", ring=1, pid=1, descriptor=3, size=4096, token=b"t" * 64)
    for value in (least, least + 1, most - 1, most):
        taken = messages.DATA.decode(messages.encode(msgspec.structs.replace(ring, **{name: value})))
        assert getattr(taken, name) == value
    for value in (least - 1, most + 1):
        with pytest.raises(MessageError, match=name):
            messages.DATA.decode(messages.encode(msgspec.structs.replace(ring, **{name: value})))
    with pytest.raises(MessageError, match="token"):
        messages.DATA.decode(messages.encode(msgspec.structs.replace(ring, token=b"t" * 65)))
