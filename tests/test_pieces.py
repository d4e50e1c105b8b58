"""What was handed out of a spool file, by who makes the pieces and by who hears of them."""

import random

from recsvc.common.limits import MS, S
from recsvc.common.pieces import HandedOut

HEADER = bytes(300)
FILE = "/spool/a.webm", "video/webm"


def test_pieces_follow_each_other_and_who_hears_of_them_knows_the_rest() -> None:
    rng = random.Random(10)
    for count in range(6):
        worker, others = HandedOut(), HandedOut()
        size, until_ns, timecodes, end = 0, 0, [], 0
        for index in range(count):
            if index and rng.random() < 0.7:
                size, until_ns = max(size, len(HEADER)) + rng.randrange(5000), until_ns + rng.randrange(S)
            blob, timecode_ms = worker.next(*FILE, size, until_ns, HEADER)
            assert blob.start - len(blob.head) == end and (blob.end, blob.whole) == (size, False)
            assert blob.head == (HEADER if size and not end else b"")
            others.add(blob, timecode_ms)
            timecodes.append(timecode_ms)
            end = size
        duration = (until_ns + 70 * MS) / S
        last, whole, timecode_ms = worker.rest(*FILE, size + 1000, duration)
        assert (last, whole, timecode_ms) == others.rest(*FILE, size + 1000, duration)
        assert (last.start, last.end, whole.start, whole.end) == (end, size + 1000, 0, size + 1000)
        assert whole.whole and whole.duration == duration
        assert abs(last.duration - (0.07 if end else duration)) < 1e-6
        timecodes.append(timecode_ms)
        assert timecodes[0] == 0 and timecodes == sorted(set(timecodes))
        if end:
            assert timecode_ms >= until_ns / MS - 1e-6


def test_a_piece_is_due_once_enough_media_is_in_the_file() -> None:
    pieces = HandedOut()
    assert not pieces.is_due(0, 300, 0) and not pieces.is_due(100, 5000, 99 * MS) and pieces.is_due(100, 5000, 100 * MS)
    pieces.next(*FILE, 5000, 130 * MS, HEADER)
    assert not pieces.is_due(100, 9000, 200 * MS) and pieces.is_due(100, 9000, 230 * MS)
    assert not pieces.is_due(0, 5000, 400 * MS), "nothing that was not handed out already"
