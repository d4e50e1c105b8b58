"""The sending end of the frame path; above all a write that a signal handler interrupts, at every place where CPython
runs one: by an exception, or by calls of its own.

What a worker makes of the messages is done here by a small model of it, so that thousands of writes take a second.
"""

import array
import itertools
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fixtures_media import wait_until
from interruptions import Interrupter, Interruption, everywhere, interrupt

from recsvc.common.limits import MS, S
from recsvc.common.media import AudioFormat
from recsvc.common.service import ServiceAddress
from recsvc.wire import lending, messages, sockets
from recsvc.wire.captured import CapturedPictureSender, CapturedSoundSender
from recsvc.wire.frames import Block, Packet, Picture
from recsvc.wire.packets import PacketSender
from recsvc.wire.pictures import PictureSender
from recsvc.wire.ring import RingView
from recsvc.wire.sender import FrameSender
from recsvc.wire.sound import SoundSender

FILES = tuple(
    f"wire/{name}.py" for name in ("sender", "lending", "route", "sound", "pictures", "packets", "ring", "flow")
)
RATE = 8_000
FORM = AudioFormat(RATE, 1, "s16")
LENGTH = 160  # samples: 20 ms


class Receiver:
    """Takes messages as a worker does: frames, credits, the end."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.socket, _ = sockets.data_server(endpoint)
        self.frames: dict[str, list[Any]] = {}
        self.payloads: dict[str, list[bytes]] = {}
        self.ends: dict[str, messages.End] = {}
        self.marks: dict[str, list[tuple[int, int]]] = {}  # requests for data, and how many frames came before
        self.rings: dict[int, RingView] = {}
        self.maps = True
        self.message_ns = self.line_ns = 0
        self.late: list[Any] = []

    def take(self) -> None:
        while sockets.readable(self.socket):
            identity, *parts = [bytes(part) if i else part for i, part in enumerate(self.socket.recv_multipart())]
            parts = parts[-2:]
            try:
                message = messages.DATA.decode(parts[0])
            except messages.MessageError:
                self.late.append(parts)  # a payload that came behind the end
                continue
            if isinstance(message, messages.Ring) and self.maps:
                self.rings[message.ring] = RingView(message)
                self.socket.send_multipart(
                    [identity, messages.encode(messages.RingReady(route=message.route, ring=message.ring))]
                )
            elif isinstance(message, messages.End):
                assert message.route not in self.ends
                assert message.sent_samples == self._samples(message.route)
                self.ends[message.route] = message
            elif isinstance(message, messages.Mark):
                before = len(self.frames.get(message.route, []))
                self.marks.setdefault(message.route, []).append((message.number, before))
            elif isinstance(message, messages.FrameHeader):
                self._frame(identity, message, parts)

    def _frame(self, identity: bytes, message: Any, parts: list[bytes]) -> None:
        assert message.route not in self.ends, "a frame behind the end of stream"
        assert len(parts) == 2, "a frame without its payload"
        frames = self.frames.setdefault(message.route, [])
        if frames and frames[-1].sequence == message.sequence:
            return
        payload = parts[1]
        if isinstance(message, messages.VideoFrame) and message.ring:
            payload = bytes(self.rings[message.ring].picture(message.offset, message.payload_bytes()))
        messages.check_payload(message, len(payload))
        assert message.sequence == len(frames)
        if isinstance(message, messages.AudioFrame):
            assert message.sent_samples == self._samples(message.route)
        frames.append(message)
        self.payloads.setdefault(message.route, []).append(payload)
        credit = messages.Credit(
            route=message.route,
            frames=1000 + len(frames),
            bytes=10**9,
            released=message.sequence + 1,
            message_ns=self.message_ns,
            line_ns=self.line_ns,
        )
        self.socket.send_multipart([identity, messages.encode(credit)])

    def _samples(self, route: str) -> int:
        return sum(frame.sample_count for frame in self.frames.get(route, ()) if isinstance(frame, messages.AudioFrame))

    def until_ended(self, routes: set[str]) -> None:
        while not routes <= set(self.ends):
            assert self.socket.poll(10_000), f"no end of stream of {routes - set(self.ends)}"
            self.take()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with tempfile.TemporaryDirectory(prefix="rsi-") as directory:
        made = Receiver(f"ipc://{Path(directory) / 'data'}")
        yield made
        made.socket.close(0)


def beside(call: Callable[[], Any]) -> None:
    """What a handler's call of recsvc does: another thread does the work, and this one waits, whatever it is in."""
    with lending.lend():
        thread = threading.Thread(target=call)
        thread.start()
        thread.join(10)
        assert not thread.is_alive(), "the halted write holds it up"


def described(receiver: Receiver, route: str, frames: int = 1000, size: int = 10**9) -> messages.RouteDescription:
    return messages.RouteDescription(
        route=route, track="t", endpoints=(receiver.endpoint,), credit_frames=frames, credit_bytes=size
    )


def payload_of(kind: str, number: int) -> bytes:
    return bytes([number]) * (LENGTH * 2 if kind == "audio" else 24 * 16 * 3 // 2)


def frame_of(kind: str, number: int) -> Block | Picture | Packet:
    at_ns, payload = number * LENGTH * S // RATE, payload_of(kind, number)
    if kind == "packet":
        return Packet(number * 30 * MS, payload)  # some go at once, others wait for more
    return Block(at_ns, payload, LENGTH) if kind == "audio" else Picture(at_ns, payload, "i420", 24, 16)


class Case:
    """A sender with two routes, of which each frame can be told apart."""

    numbers = itertools.count()

    def __init__(self, receiver: Receiver, kind: str) -> None:
        self.kind = kind
        self.receiver = receiver
        senders = {"audio": lambda: SoundSender(FORM), "video": PictureSender, "packet": PacketSender}
        self.sender: FrameSender[Any] = senders[kind]()
        self.routes = [f"r{next(self.numbers)}/{name}" for name in "ab"]
        self.taken: list[int] = []
        self.refused: list[int] = []
        self.units = LENGTH if kind == "audio" else 1
        for route in self.routes:
            self.open(route)

    def open(self, route: str) -> None:
        self.sender.prepare(route, 0, 1000, 10**9)
        self.sender.open(route, ServiceAddress(self.receiver.endpoint))

    def payload(self, number: int) -> bytes:
        return payload_of(self.kind, number)

    def write(self, number: int) -> None:
        (self.taken if self.sender.send(frame_of(self.kind, number)) else self.refused).append(number)

    def end(self) -> None:
        self.sender.end_all(0)

    def check(self, *halted: int) -> None:
        """Every frame taken is there once, in order; what was interrupted is there as a whole or not at all. Routes may
        have ended inside the writes that were ``halted``; who had not ended has these, too."""
        self.receiver.until_ended(set(self.routes))
        there: set[int] = set()
        for route in self.routes:
            frames, end = self.receiver.frames.get(route, []), self.receiver.ends[route]
            assert end.count == len(frames)
            sound = b"".join(self.receiver.payloads.get(route, []))
            size = len(self.payload(0))
            assert len(sound) % size == 0
            numbers = [sound[at] for at in range(0, len(sound), size)]
            assert sound == b"".join(self.payload(number) for number in numbers)
            assert numbers == sorted(set(numbers))
            assert set(self.taken) - set(halted) <= set(numbers)
            there.update(numbers)
            dropped = sum(end.dropped.values())
            assert dropped <= len(self.refused) * self.units
        assert set(self.taken) <= there
        assert not self.sender.recorded


@pytest.mark.parametrize("kind", ["audio", "video", "packet"])
def test_an_exception_anywhere_in_a_write_tears_nothing(receiver: Receiver, kind: str) -> None:
    def act(interrupter: Interrupter) -> None:
        case = Case(receiver, kind)
        for number in range(3):
            case.write(number)
            receiver.take()  # so that pictures lie in shared memory
        for number in range(3, 6):
            with suppress(Interruption), interrupter:
                case.write(number)
        for number in range(6, 9):
            case.write(number)
        assert set(range(6, 9)) <= set(case.taken)
        if isinstance(case.sender, PictureSender):
            store = case.sender.store
            deadline_s = time.monotonic() + 10
            while any(route.unread for route in store.readers):
                assert time.monotonic() < deadline_s
                receiver.socket.poll(1)
                receiver.take()
                for route in store.readers:
                    route.take_credits()
            ring = store.ring(len(case.payload(0)))
            assert ring is not None
            slots = list(iter(lambda: ring.put(memoryview(b"")), None))
            assert len(slots) == ring.announcement("r").size // ring.slot_bytes - 1, "a place in the ring is lost"
            for slot in slots:
                ring.release(slot)
        case.end()
        case.check()

    assert everywhere(FILES, interrupt, act) > 50


@pytest.mark.parametrize("kind", ["audio", "video", "packet"])
@pytest.mark.parametrize("gone", [False, True])
def test_an_exception_inside_the_sending_of_a_part_tears_nothing(
    receiver: Receiver, kind: str, gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Handlers run inside of pyzmq's calls too, before the part has gone or after."""
    real, left = sockets.sending, itertools.repeat(-1)

    def sending(socket: Any) -> Callable[..., Any]:
        send = real(socket)

        def call(*given: Any) -> None:
            now = next(left) == 0
            if not now or gone:
                send(*given)
            if now:
                raise Interruption

        return call

    monkeypatch.setattr(sockets, "sending", sending)
    for number in itertools.count():
        case = Case(receiver, kind)
        left = itertools.count(number, -1)
        interrupted = False
        for each in range(6):
            try:
                case.write(each)
            except Interruption:
                interrupted = True
        left = itertools.repeat(-1)
        case.write(6)
        case.end()
        case.check()
        if not interrupted:
            break
    assert number > 5


@pytest.mark.parametrize("kind", ["audio", "video", "packet"])
def test_the_end_of_stream_may_come_anywhere_in_a_write(receiver: Receiver, kind: str) -> None:
    case: Case
    ended: list[bool] = []

    def handler() -> None:
        beside(case.end)
        receiver.until_ended(set(case.routes))  # at once: the handler may wait for the recording's end
        ended.append(True)

    def act(interrupter: Interrupter) -> None:
        nonlocal case
        case = Case(receiver, kind)
        for number in range(3):
            case.write(number)
            receiver.take()
        with interrupter:
            case.write(3)
        if not interrupter.done:
            case.end()
        case.write(4)
        assert 4 in case.refused
        case.check(3)

    assert everywhere(FILES, handler, act) > 30 and ended


@pytest.mark.parametrize("kind", ["audio", "video", "packet"])
def test_a_handler_may_write_and_pause_and_start_anywhere_in_a_write(receiver: Receiver, kind: str) -> None:
    case: Case

    def handler() -> None:
        case.write(100)  # of the same source: dropped, and counted, where the other one is in the midst
        beside(lambda: case.sender.pause(case.routes[0], 0))
        beside(lambda: case.sender.resume(case.routes[0], 0))
        case.routes.append(f"{case.routes[0]}-later")
        beside(lambda: case.open(case.routes[-1]))

    def act(interrupter: Interrupter) -> None:
        nonlocal case
        case = Case(receiver, kind)
        case.write(1)
        with interrupter:
            case.write(101)
        case.write(102)
        beside(case.end)
        receiver.until_ended(set(case.routes))
        for route in case.routes[:2]:
            frames, end = receiver.frames[route], receiver.ends[route]
            sound = b"".join(receiver.payloads[route])
            there = [sound[at] for at in range(0, len(sound), len(case.payload(0)))]
            missing = {1, 100, 101, 102} - set(there) - ({100} if not interrupter.done else set())
            assert missing <= {100, 101}
            assert end.count == len(frames) and len(there) == len(set(there))
            counted = sum(end.dropped.values()) // case.units
            assert missing - {101} == set(case.refused) & {100} and counted == (100 in missing)

    assert everywhere(FILES, handler, act) > 30


@pytest.mark.parametrize("own", [True, False], ids=["by the handler", "beside it"])
@pytest.mark.parametrize("kind", ["audio", "video", "packet"])
def test_a_handler_may_ask_for_data_anywhere_in_a_write(receiver: Receiver, kind: str, own: bool) -> None:
    case: Case

    def mark() -> None:
        case.sender.mark(case.routes[0], time.monotonic_ns(), 1)

    def act(interrupter: Interrupter) -> None:
        nonlocal case
        case = Case(receiver, kind)
        case.write(0)
        with interrupter:
            case.write(1)
        if not interrupter.done:
            mark()
        case.write(2)
        case.end()
        case.check()
        [(cuts, frames)] = receiver.marks[case.routes[0]]
        assert cuts == 1 and frames >= 1 and receiver.late == []

    assert everywhere(FILES, mark if own else lambda: beside(mark), act) > 30


def blocks(receiver: Receiver, route: str) -> list[tuple[int, int, bool, int]]:
    """Of each message: when captured, how many samples, whether muted, payload bytes."""
    receiver.until_ended({route})
    return [
        (frame.captured_ns, frame.sample_count, frame.muted, len(payload))
        for frame, payload in zip(receiver.frames[route], receiver.payloads[route], strict=True)
    ]


def sound(receiver: Receiver) -> tuple[FrameSender[Block], str]:
    case = Case(receiver, "audio")
    case.sender.end(case.routes[1], 0)
    return case.sender, case.routes[0]


TEN = bytes(160)  # ms


def test_what_is_muted_is_never_joined_with_what_is_not(receiver: Receiver) -> None:
    sender, route = sound(receiver)
    for number in range(6):
        sender.mute(number in (1, 4, 5))
        sender.send(Block(number * 10 * MS, TEN, 80))
    sender.end(route, 0)
    assert blocks(receiver, route) == [
        (0, 80, False, 160), (10 * MS, 80, True, 0), (20 * MS, 160, False, 320), (40 * MS, 160, True, 0),
    ]  # fmt: skip


def test_only_blocks_that_follow_each_other_are_joined(receiver: Receiver) -> None:
    """Up to 2 ms apart, or over each other, they do."""
    sender, route = sound(receiver)
    for at_ns in (56 * MS, 68 * MS, 80 * MS + 1, 88 * MS + 1, 98 * MS + 1, 116 * MS):
        sender.send(Block(at_ns, TEN, 80))
    sender.end(route, 0)
    assert [(at_ns, count) for at_ns, count, _, _ in blocks(receiver, route)] == [
        (56 * MS, 160), (80 * MS + 1, 240), (116 * MS, 80),
    ]  # fmt: skip


def test_messages_of_sound_end_on_lines_of_the_clock_whenever_their_sources_began(receiver: Receiver) -> None:
    ends = []
    for begin_ns in (3 * MS, 51 * MS):
        sender, route = sound(receiver)
        for number in range(13):
            sender.send(Block(begin_ns + number * 10 * MS, TEN, 80))
        sender.end(route, 0)
        found = blocks(receiver, route)
        assert sum(count for _, count, _, _ in found) == 13 * 80
        ends.append([at_ns + count * MS // 8 for at_ns, count, _, _ in found])
    lines = [[end_ns - end_ns % (40 * MS) for end_ns in one[:-1]] for one in ends]
    assert lines == [[40 * MS, 80 * MS, 120 * MS], [80 * MS, 120 * MS, 160 * MS]]
    assert all(end_ns % (40 * MS) < 10 * MS for one in ends for end_ns in one[:-1])


@pytest.mark.parametrize(
    ("asked_ns", "line_ns", "apart_ns"), [(0, 0, 40 * MS), (100 * MS, 30 * MS, 100 * MS), (10**15, 50 * MS, 100 * MS)]
)
def test_a_worker_says_how_long_messages_of_sound_are_to_be_and_where_they_end(
    asked_ns: int, line_ns: int, apart_ns: int, receiver: Receiver
) -> None:
    sender, route = sound(receiver)
    receiver.message_ns, receiver.line_ns = asked_ns, line_ns
    numbers = itertools.count()
    for number in itertools.islice(numbers, 16 * 4):
        sender.send(Block(number * 10 * MS, TEN, 80))

    def as_asked() -> bool:
        """Now and then it is looked what the worker asks for."""
        sender.send(Block(next(numbers) * 10 * MS, TEN, 80))
        receiver.take()
        return any(block.sample_count * MS // 8 == apart_ns for block in receiver.frames.get(route, [])[16:])

    wait_until(as_asked, "a message as long as the worker asks for")
    before = len(receiver.frames[route])
    for number in itertools.islice(numbers, 60):
        sender.send(Block(number * 10 * MS, TEN, 80))
    sender.end(route, 0)
    found = blocks(receiver, route)
    assert [count * MS // 8 for _, count, _, _ in found[:16]] == [40 * MS] * 16
    assert {count * MS // 8 for _, count, _, _ in found[before:-1]} == {apart_ns}
    assert {at_ns % apart_ns for at_ns, _, _, _ in found[before:]} == {line_ns}


def test_a_pause_between_two_blocks_separates_them(receiver: Receiver) -> None:
    sender, route = sound(receiver)
    sender.send(Block(0, TEN, 80))
    sender.pause(route, 5 * MS)
    assert not sender.send(Block(5 * MS, TEN, 80))
    sender.resume(route, 10 * MS)
    sender.send(Block(10 * MS, TEN, 80))
    sender.end(route, 0)
    assert [(at_ns, count) for at_ns, count, _, _ in blocks(receiver, route)] == [(0, 80), (10 * MS, 80)]


def test_a_recording_that_is_paused_wants_no_frame(receiver: Receiver) -> None:
    """What its neighbour has taken was taken by all that wanted it."""
    case = Case(receiver, "video")
    paused, other = case.routes
    case.sender.pause(paused, 0)
    case.write(1)
    case.sender.pause(other, 0)
    case.write(2)
    case.sender.resume(paused, 0)
    case.write(3)
    case.end()
    receiver.until_ended(set(case.routes))
    assert (case.taken, case.refused) == ([1, 3], [2])
    assert [receiver.payloads[route] for route in case.routes] == [[case.payload(3)], [case.payload(1)]]
    assert all(not receiver.ends[route].dropped for route in case.routes)


def test_a_device_s_recording_has_what_came_before_its_beginning_was_known(receiver: Receiver) -> None:
    senders: dict[str, FrameSender[Any]] = {"audio": CapturedSoundSender(FORM), "video": CapturedPictureSender()}
    for kind, sender in senders.items():
        route = f"late/{kind}"
        for number in range(20):  # 20 ms each
            if number == 14:
                sender.begin(described(receiver, route), 90 * MS)
            sender.send(frame_of(kind, number))
        sender.end(route, 390 * MS)
        receiver.until_ended({route})
        data = b"".join(receiver.payloads[route])
        end = receiver.ends[route]
        assert end.exact and end.until_ns == 390 * MS
        assert [data.count(number) for number in range(5, 19)] == [len(payload_of(kind, 0))] * 14
        if kind == "audio":  # half of each, where one sample may fall either way
            assert [data.count(4), data.count(19)] == pytest.approx([LENGTH, LENGTH], abs=2)
        else:
            assert set(data) == set(range(5, 20))


@pytest.mark.parametrize(("kind", "late_ms", "first"), [("audio", 1_500, 5), ("video", 150, 5), ("video", 1_500, 70)])
def test_what_a_start_that_takes_long_to_arrive_has_missed_is_counted(
    receiver: Receiver, kind: str, late_ms: int, first: int
) -> None:
    sender: FrameSender[Any] = CapturedSoundSender(FORM) if kind == "audio" else CapturedPictureSender()
    route, arrived = f"slow/{kind}{late_ms}", 5 + late_ms // 20
    for number in range(arrived + 1):
        sender.send(frame_of(kind, number))
    sender.begin(described(receiver, route), 100 * MS)
    sender.end(route, (arrived + 1) * 20 * MS)
    receiver.until_ended({route})
    data = b"".join(receiver.payloads[route])
    assert data[:: len(payload_of(kind, 0))] == bytes(range(first, arrived + 1))
    assert receiver.ends[route].dropped == ({"start_late": first - 5} if first > 5 else {})


def test_a_recording_counts_what_happened_to_its_source_in_its_time_alone(receiver: Receiver) -> None:
    sender = CapturedSoundSender(FORM)
    routes = ["count/1", "count/2"]
    sender.count("device_overflow", 7)  # before there is any recording
    for amount, route in enumerate(routes, 1):
        sender.begin(described(receiver, route), 0)
        sender.count("device_overflow", amount)
        sender.count(f"own_{amount}")
    for route in routes:
        sender.end(route, 0)
    receiver.until_ended(set(routes))
    first, second = (receiver.ends[route].counted for route in routes)
    assert first == {"device_overflow": 3, "own_1": 1, "own_2": 1} and second == {"device_overflow": 2, "own_2": 1}


def test_a_block_that_has_no_credit_waits_for_nothing_and_is_counted(receiver: Receiver) -> None:
    sender = SoundSender(FORM)
    sender.prepare("tight/a", 0, 2, 10**6)
    for number in range(12):
        assert sender.send(Block(number * 20 * MS, TEN * 2, 160)) == (number < 4)
    sender.open("tight/a", ServiceAddress(receiver.endpoint))
    sender.end("tight/a", 0)
    assert [count for _, count, _, _ in blocks(receiver, "tight/a")] == [320, 320]
    assert receiver.ends["tight/a"].dropped == {"queue_full": 8 * 160}


def test_a_route_that_ends_before_it_is_open_sends_all_it_has_and_the_end(receiver: Receiver) -> None:
    sender = PictureSender()
    sender.prepare("early/v", 0, 10, 10**6)
    assert sender.send(Picture(0, bytes(24 * 16 * 3 // 2), "i420", 24, 16))
    sender.end("early/v", 1)
    sender.end("early/v", 2)
    assert not sender.send(Picture(2, bytes(24 * 16 * 3 // 2), "i420", 24, 16))
    sender.open("early/v", ServiceAddress(receiver.endpoint))
    receiver.until_ended({"early/v"})
    assert receiver.ends["early/v"].count == len(receiver.frames["early/v"]) == 1
    assert not sender.recorded


def test_requests_for_data_double_no_sample_and_lose_none(receiver: Receiver) -> None:
    """The stamps of captured blocks jitter and overlap; each sample goes once and in its order all the same."""
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    sender = CapturedSoundSender(FORM)
    routes = [f"captured-{seed}/{name}" for name in "ab"]
    for route in routes:
        sender.begin(described(receiver, route), 0)
    samples = array.array("h")
    for number in range(200):
        block = array.array("h", (rng.randrange(-30_000, 30_000) for _ in range(rng.randrange(1, 120))))
        at_ns = len(samples) * S // RATE + rng.randrange(S // 200)
        samples += block
        sender.send(Block(at_ns, block.tobytes(), len(block)))
        if rng.random() < 0.4:
            sender.mark(rng.choice(routes), at_ns + rng.randrange(-S // 50, S // 50), number)
        receiver.take()
    sender.end_all(60 * S)
    receiver.until_ended(set(routes))
    for route in routes:
        assert b"".join(receiver.payloads[route]) == samples.tobytes()
        assert receiver.marks[route]


def test_packets_go_together_where_a_line_of_the_clock_is_reached_and_whatever_waits_goes_with_the_end(
    receiver: Receiver,
) -> None:
    sender, route = PacketSender(), "packets/a"
    sender.begin(described(receiver, route), 0)
    sent = []
    for number in range(10):
        assert sender.send(Packet(S + number * 30 * MS, bytes([number])))
        sent.append(sender._routes[route].sequence)
    assert sent == [1, 1, 1, 1, 5, 5, 5, 8, 8, 8]  # those at 1.12 and 1.21 s are the first behind a line
    sender.end_all(0)
    receiver.until_ended({route})
    assert [one.sequence for one in receiver.frames[route]] == list(range(10))
    assert receiver.payloads[route] == [bytes([number]) for number in range(10)]


def test_packets_without_credit_do_not_hold_back_those_that_wait(receiver: Receiver) -> None:
    sender, route = PacketSender(), "packets/b"
    sender.begin(described(receiver, route, frames=3), 0)
    taken = [sender.send(Packet(number * MS, b"data")) for number in range(5)]
    assert taken == [True] * 3 + [False] * 2 and sender._routes[route].sequence == 3
    sender.end_all(0)
    receiver.until_ended({route})
    assert receiver.ends[route].dropped == {"queue_full": 2} and receiver.ends[route].count == 3
    assert all(not one.dropped for one in receiver.frames[route])  # what was dropped later is no gap before them
