"""What a network that was cut may bring twice, or not at all: done once, counted once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from recsvc.common.limits import AUDIO_CREDIT_FRAMES
from recsvc.common.service_limits import PEERS_KEPT
from recsvc.controller.once import Once
from recsvc.encode.account import Account
from recsvc.encode.route import Route
from recsvc.wire import messages


def test_a_request_that_comes_again_is_answered_again_and_not_done_again() -> None:
    once = Once()
    assert once.is_new(b"a", 1, b"stop") == (True, None)
    assert once.is_new(b"a", 1, b"stop") == (False, None)  # its answer is still to come
    once.answered(b"a", 1, b"done")
    assert once.is_new(b"a", 1, b"stop") == (False, b"done")
    assert once.is_new(b"b", 1, b"stop") == (True, None)  # another's
    assert once.is_new(b"a", 1, b"pause") == (True, None)  # who gives all of its requests one number
    assert once.is_new(b"a", 2, b"pause") == (True, None)
    once.answered(b"a", 1, b"late")
    assert once.is_new(b"a", 2, b"pause") == (False, None)


def test_who_asks_is_remembered_within_bounds() -> None:
    once = Once()
    for number in range(PEERS_KEPT + 1):
        once.is_new(b"%d" % number, 1, b"x")
    assert once.is_new(b"0", 1, b"x") == (True, None)
    assert once.is_new(b"%d" % PEERS_KEPT, 1, b"x") == (False, None)


def route() -> Route:
    recording: Any = SimpleNamespace(
        tracks={"r": SimpleNamespace(account=Account("audio"))}, options=SimpleNamespace(overload="drop")
    )
    made = Route(recording, "r", "audio")
    made.units = 960
    return made


def test_frames_that_were_lost_are_counted_and_use_no_credit() -> None:
    gap = route()
    gap.skip(3, 1920)
    assert (gap.received, gap.frames_done, gap.bytes_done) == (3, 3, 3 * 1920)
    assert gap.track.account.dropped["lost"] == 3 * 960
    gap.skip(10**12, 1920)  # nobody can have sent so many
    assert gap.received == AUDIO_CREDIT_FRAMES


@pytest.mark.parametrize("said", [True, False])
def test_sound_that_was_lost_is_counted_to_the_sample_where_its_sender_says_how_much_it_was(said: bool) -> None:
    came = 3 * 960
    one = route()
    one.received, one.track.account.received = 3, came
    one.skip(2, 1920, said * (came + 1000))
    assert one.track.account.dropped["lost"] == (1000 if said else 2 * 960)
    one.sent(messages.Attach(route="r", sent=6, sent_samples=said * (came + 1007)), is_idle=True)
    assert one.track.account.dropped["lost"] == (1007 if said else 3 * 960)
    one.lost(4, said * (came + 5000))
    assert one.track.account.dropped["lost"] == (5000 if said else 7 * 960)
    one.lost(1, said)  # less than came: it cannot be true
    assert one.track.account.dropped["lost"] == (5960 if said else 8 * 960)


def test_a_sender_that_attaches_again_shows_what_was_lost() -> None:
    cut = route()
    cut.received = cut.frames_done = 5
    cut.sent(messages.Attach(route="r", sent=9, sent_bytes=9 * 1920), is_idle=True)
    assert (cut.received, cut.frames_done, cut.bytes_done) == (9, 9, 9 * 1920)
    assert cut.track.account.dropped["lost"] == 4 * 960
    cut.sent(messages.Attach(route="r"), is_idle=True)  # one that counts nothing
    assert (cut.received, cut.bytes_done) == (9, 9 * 1920)
