"""Pictures in shared memory: none is overwritten while it is read, none is needed to record, nothing stays."""

import contextlib
import gc
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from fixtures_media import wait_until
from media import DEADLINE_S, assert_accounted, counter_picture, decode, finished

import recsvc
from recsvc.common.limits import RING_BYTES_MAX
from recsvc.wire import messages, sockets
from recsvc.wire.frames import Picture
from recsvc.wire.messages import MessageError
from recsvc.wire.pictures import PictureSender
from recsvc.wire.ring import FrameRing, RingView


@pytest.fixture
def ring() -> Iterator[FrameRing]:
    made = FrameRing(1, 5_000)
    yield made
    made.close()


def put(ring: FrameRing, data: bytes) -> int:
    offset = ring.put(memoryview(data))
    assert offset is not None
    return offset


def test_a_reader_sees_what_was_put(ring: FrameRing) -> None:
    view = RingView(ring.announcement("r"))
    for data in (b"a" * 5_000, b"b" * 17):
        assert view.picture(put(ring, data), len(data)) == data


def test_a_slot_is_used_again_only_when_all_have_released_it(ring: FrameRing) -> None:
    first = put(ring, b"1")
    ring.hold(first)
    others = []
    while (offset := ring.put(memoryview(b"2"))) is not None:
        others.append(offset)
    assert len({first, *others}) == len(others) + 1 and len(others) > 20
    ring.release(first)
    assert ring.put(memoryview(b"3")) is None
    ring.release(first)
    assert ring.put(memoryview(b"3")) == first


def test_what_an_encoder_that_was_late_has_made_a_ring_take_is_given_back(ring: FrameRing) -> None:
    """Nothing of what is still read; and what is given back is used again."""
    view, size = RingView(ring.announcement("r")), 5_000
    held = [(put(ring, bytes([number]) * size), bytes([number]) * size) for number in range(30)]
    most = os.fstat(ring._descriptor).st_blocks
    for offset, _ in held[2:]:
        ring.release(offset)
    assert os.fstat(ring._descriptor).st_blocks < most / 2
    again = [(put(ring, bytes([number]) * size), bytes([number]) * size) for number in range(100, 130)]
    for offset, data in held[:2] + again:
        assert view.picture(offset, size) == data
    assert len({offset for offset, _ in held[:2] + again}) == 32


def test_every_slot_can_be_read_and_nothing_beyond_them(ring: FrameRing) -> None:
    view = RingView(ring.announcement("r"))
    offsets = []
    while (offset := ring.put(memoryview(bytes([len(offsets)]) * ring.slot_bytes))) is not None:
        offsets.append(offset)
    for number, offset in enumerate(offsets):
        assert view.picture(offset, ring.slot_bytes) == bytes([number]) * ring.slot_bytes
    first, last = min(offsets), max(offsets)
    assert last + ring.slot_bytes == ring.announcement("r").size
    for offset, size in ((last + 1, ring.slot_bytes), (last, ring.slot_bytes + 1), (first - 1, 1)):
        with pytest.raises(MessageError, match="outside its ring"):
            view.picture(offset, size)


def test_what_is_mapped_outlives_the_sender(ring: FrameRing) -> None:
    view = RingView(ring.announcement("r"))
    picture = view.picture(put(ring, b"still here"), 10)
    ring.close()
    del view
    assert picture == b"still here" and picture.readonly


def test_its_memory_is_bounded_and_cannot_shrink(ring: FrameRing) -> None:
    for size in (1, 1_000_000, RING_BYTES_MAX // 2):
        assert FrameRing.holds(size)
        big = FrameRing(2, size)
        assert big.announcement("r").size <= RING_BYTES_MAX + mmap.PAGESIZE
        put(big, b"1")
        put(big, b"2")
        big.close()
    assert not FrameRing.holds(0) and not FrameRing.holds(RING_BYTES_MAX // 2 + 1)
    path = f"/proc/self/fd/{ring.announcement('r').descriptor}"
    with pytest.raises(PermissionError):
        os.truncate(path, 100)


def test_what_is_no_ring_is_not_mapped(ring: FrameRing) -> None:
    true = ring.announcement("r")
    view = RingView(true)
    for offset, size in ((0, 100), (true.size - 99, 100), (2**60, 1)):
        with pytest.raises(MessageError, match="outside"):
            view.picture(offset, size)
    plain = os.memfd_create("plain")
    unsealed = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
    with open(__file__, "rb") as file:
        for descriptor in (plain, unsealed, file.fileno()):
            size = max(os.fstat(descriptor).st_size, 1)
            with pytest.raises(MessageError, match="sealed"):
                RingView(msgspec.structs.replace(true, descriptor=descriptor, size=size))
    os.close(plain)
    os.close(unsealed)
    reading, writing = os.pipe()
    with pytest.raises(MessageError, match="sealed"):
        RingView(msgspec.structs.replace(true, descriptor=reading))
    os.close(reading)
    os.close(writing)
    with pytest.raises(MessageError, match="another ring"):
        RingView(msgspec.structs.replace(true, token=b"x" * 16))
    with pytest.raises(MessageError, match="sealed"):
        RingView(msgspec.structs.replace(true, size=true.size - 1))
    with pytest.raises(OSError):
        RingView(msgspec.structs.replace(true, descriptor=9_999))
    with pytest.raises(OSError):
        RingView(msgspec.structs.replace(true, pid=2**31 - 1))


class Counted:
    """How many pictures went into shared memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.puts = 0
        self.rings = 0
        real_put, real_init = FrameRing.put, FrameRing.__init__

        def put(ring: FrameRing, payload: memoryview) -> int | None:
            self.puts += 1
            return real_put(ring, payload)

        def init(ring: FrameRing, number: int, slot_bytes: int) -> None:
            self.rings += 1
            real_init(ring, number, slot_bytes)

        monkeypatch.setattr(FrameRing, "put", put)
        monkeypatch.setattr(FrameRing, "__init__", init)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def pushed() -> tuple[recsvc.VideoSource, recsvc.MediaStream]:
    source = recsvc.VideoSource(320, 240, when_full="wait")
    return source, recsvc.MediaStream([source.track])


def test_pictures_go_through_shared_memory(counted: Counted) -> None:
    source, stream = pushed()
    recorder = recsvc.MediaRecorder(stream)
    recorder.start()
    picture = bytearray(320 * 240 * 3 // 2)
    for number in range(100):  # the caller may use its buffer again at once
        picture[:] = counter_picture(number, 320, 240).tobytes()
        assert source.write(picture, number * 20_000_000)
    picture.append(0)  # nobody holds on to it
    decoded = decode(finished(recorder))
    assert decoded.counters == list(range(100))
    assert counted.puts > 50 and counted.rings == 1
    assert_accounted(recorder.statistics(), decoded)


def test_recorders_that_come_and_go_see_no_picture_overwritten(counted: Counted) -> None:
    """One source, flat out, three recorders; a slot is free only when the slowest has read it, and one whose
    recording ends reads on without a word."""
    source, stream = pushed()
    types = [f"video/webm;codecs={codec}" for codec in ("vp8", "vp9", "vp8")]
    recorders = [recsvc.MediaRecorder(stream, mime_type=type) for type in types]
    done = threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        while not done.is_set():
            source.write(counter_picture(written, 320, 240), written * 20_000_000)
            written += 1

    recorders[0].start()
    recorders[1].start()
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(6):
            recorders[2].start()
            until, deadline_s = written + 40, time.monotonic() + DEADLINE_S
            while written < until and time.monotonic() < deadline_s:
                time.sleep(0.001)
            recorders[2].stop()
            recorders[2].wait("stop", DEADLINE_S)
            some = decode(recorders[2].recording).counters
            assert some == list(range(some[0], some[0] + len(some))) and len(some) >= 10
    finally:
        done.set()
        writer.join()
    for recorder in recorders[:2]:
        decoded = decode(finished(recorder))
        assert decoded.counters == list(range(written))
        assert_accounted(recorder.statistics(), decoded)
    assert counted.puts > written / 2


def test_a_size_that_grows_gets_another_ring(counted: Counted) -> None:
    source, stream = pushed()
    recorder = recsvc.MediaRecorder(stream)
    recorder.start()
    for number in range(30):
        assert source.write(counter_picture(number, 320, 240), number * 20_000_000)
    for number in range(30, 60):
        picture = Picture(number * 20_000_000, counter_picture(number, 640, 480).tobytes(), "i420", 640, 480)
        assert source._sender.send(picture)
    assert decode(finished(recorder)).counters == list(range(60))
    assert counted.rings == 2


@pytest.mark.parametrize("trouble", ["nobody can map it", "no memory for it"])
def test_without_shared_memory_pictures_are_part_of_the_messages(
    trouble: str, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trouble == "no memory for it":
        monkeypatch.setattr(os, "memfd_create", lambda *_: (_ for _ in ()).throw(OSError("none")))
    else:  # as from another machine, where this process has no such number
        real = FrameRing.announcement
        replaced = msgspec.structs.replace
        monkeypatch.setattr(FrameRing, "announcement", lambda ring, route: replaced(real(ring, route), pid=2**31 - 1))
    source, stream = pushed()
    recorder = recsvc.MediaRecorder(stream)
    recorder.start()
    for number in range(40):
        assert source.write(counter_picture(number, 320, 240), number * 20_000_000)
    assert decode(finished(recorder)).counters == list(range(40))
    assert counted.puts == 0


def test_a_picture_in_an_unknown_ring_is_refused() -> None:
    """As a client would that does not wait for ``ring_ready``."""
    source, stream = pushed()
    recorder = recsvc.MediaRecorder(stream)
    recorder.start()
    [route] = source._sender._routes.values()
    header = messages.VideoFrame(
        route=route.name, sequence=0, captured_ns=0, pixel_format="i420", width=320, height=240, ring=7, offset=4096
    )
    route.send(messages.encode(header), b"", 0)
    for number in range(5):
        assert source.write(counter_picture(number, 320, 240), number * 20_000_000)
    assert decode(finished(recorder)).counters == list(range(5))
    assert recorder.statistics().tracks[0].dropped_by_cause == {"refused": 1}


def open_rings() -> int:
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that lists is gone
            found += "recsvc-frames" in os.readlink(f"/proc/self/fd/{name}")
    return found


def test_rings_are_given_back(counted: Counted) -> None:
    gc.collect()  # those of other tests
    for _ in range(3):
        source, stream = pushed()
        with recsvc.MediaRecorder(stream) as recorder:
            recorder.start()
            for number in range(20):
                assert source.write(counter_picture(number, 320, 240), number * 20_000_000)
            assert open_rings() > 0
        source.end()
        assert open_rings() == 0
    assert counted.rings == 3


class SlowWorker:
    """Takes what is sent, maps rings, reads pictures when asked, and releases nothing by itself."""

    def __init__(self, directory: Path) -> None:
        self.socket, (self.endpoint,) = sockets.data_server(f"ipc://{directory}/data")
        self.identities: dict[str, bytes] = {}
        self.rings: dict[str, RingView] = {}
        self.pictures: dict[str, list[memoryview]] = {}

    def take(self, until: Callable[[], bool]) -> None:
        while not until():
            assert self.socket.poll(DEADLINE_S * 1000)
            identity, header, *_ = self.socket.recv_multipart()
            message = messages.DATA.decode(header)
            self.identities[message.route] = identity
            if isinstance(message, messages.Ring):
                self.rings[message.route] = RingView(message)
                self.say(messages.RingReady(route=message.route, ring=message.ring))
            elif isinstance(message, messages.VideoFrame):
                size = message.payload_bytes() if message.ring else 0
                view = self.rings[message.route].picture(message.offset, size) if size else memoryview(b"")
                self.pictures.setdefault(message.route, []).append(view)

    def say(self, message: messages.Credit | messages.RingReady) -> None:
        self.socket.send_multipart([self.identities[message.route], messages.encode(message)])


def test_a_worker_that_is_behind_at_the_end_still_finds_its_pictures(tmp_path: Path) -> None:
    worker = SlowWorker(tmp_path)
    frames = PictureSender()
    sent = 0

    def send() -> None:
        nonlocal sent
        assert frames.send(Picture(sent, bytes([sent % 251]) * 96, "i420", 8, 8))
        sent += 1

    def pictures(route: str) -> list[memoryview]:
        return worker.pictures.get(route, [])

    for route in ("one", "other"):
        frames.begin(
            messages.RouteDescription(
                route=route, track="t", endpoints=(worker.endpoint,), credit_frames=1000, credit_bytes=10**9
            ),
            0,
        )
    send()
    worker.take(lambda: len(pictures("one")) == len(pictures("other")) == 1)
    wait_until(lambda: send() or all(route.unread for route in frames.store.readers), "the ring", 10)
    for _ in range(5):
        send()
    first = sent
    worker.take(lambda: len(pictures("one")) == len(pictures("other")) == first)
    kept = [(number, view) for number, view in enumerate(pictures("one")) if len(view)]
    assert len(kept) >= 5 and kept[-1][0] == first - 1
    frames.end("one", sent)  # and says nothing more; the other has read all
    worker.say(messages.Credit(route="other", frames=1000, bytes=10**9, released=first))
    for _ in range(60):
        send()
    worker.take(lambda: len(pictures("other")) == sent)
    assert [view[0] for _, view in kept] == [number % 251 for number, _ in kept]
    frames.close()
    worker.socket.close(linger=0)
