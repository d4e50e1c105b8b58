"""The encoder worker, turn by turn: who is served when, and what becomes of the frames of others."""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import media
import pytest
from fixtures_media import wait_until
from worker_bench import RATE, Bench, S, accounted

import recsvc
from recsvc import errors
from recsvc.common.complaints import Complaints
from recsvc.common.limits import (
    AUDIO_MESSAGE_NS,
    BLOCK_NS_MAX,
    COMPLAINT_INTERVAL_NS,
    COMPLAINTS_MAX,
    DRAIN_DEADLINE_NS,
    FIRST_FRAME_WAIT_NS,
    FRAME_BYTES_MAX,
    HEADER_BYTES_MAX,
    IDLE_FLUSH_NS,
    UNFED_SILENCE_NS,
)
from recsvc.common.service_limits import AUDIO_LINE_NS, AUDIO_MESSAGE_MANY_NS, ROUTES_FEW
from recsvc.encode import intake
from recsvc.encode.unwritten import Unwritten
from recsvc.wire import line, messages, sockets
from recsvc.wire.answers import take_requests
from recsvc.wire.line import Line, pair

log = logging.getLogger("recsvc")

pytest_plugins = ["worker_bench"]

# --- accounts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_the_frame_on_which_an_encoder_fails_and_those_behind_it_are_counted(kind: str, bench: Bench) -> None:
    now_ns = time.monotonic_ns()
    bench.open("a", "audio", "video")
    for number in range(4):
        bench.sound("a", now_ns + number * S // 50, 960)
        bench.picture("a", now_ns + number * S // 50)
    bench.work(lambda: bench.encoded("a/audio") and bench.encoded("a/video"))

    def fail(*_: object, **__: object) -> None:
        raise recsvc.errors.EncodingError("it does not like this one")

    track = bench.worker.intake.routes[f"a/{kind}"].track
    track._encoder.encode_silence = track._encoder.encode = fail  # type: ignore
    bench.work()
    report = bench.finished("a")
    assert report.error == "EncodingError"
    sound, pictures = report.statistics.tracks
    assert accounted(sound)[0] == 4 * 960
    assert accounted(pictures)[0] == 4
    assert pictures.frames_encoded > 0 and sound.frames_encoded > 0
    for one in (sound, pictures):
        assert set(one.dropped_by_cause) <= {"failed"}
    decoded = media.decode(recsvc.Blob([Path(report.whole.path).read_bytes()]))
    assert len(decoded.pictures) == pictures.frames_encoded
    if kind == "video":
        assert len(decoded.samples) == sound.frames_encoded


@pytest.mark.parametrize("when", ["take", "release"])
def test_trouble_with_a_frame_that_has_come_ends_its_own_recording_alone(when: str, bench: Bench) -> None:
    now_ns = time.monotonic_ns()
    for name in ("a", "b"):
        bench.open(name, "audio")
        bench.sound(name, now_ns, 960)

    def fail(*_: object, **__: object) -> None:
        raise IndexError("a fault of ours")

    setattr(bench.worker.intake.routes["a/audio"].track.clock, when, fail)
    for name in ("a", "b"):
        bench.sound(name, now_ns + S // 50, 960)
        bench.end(f"{name}/audio", now_ns + S // 25)
        bench.stop(name)
    bench.work()
    reports = [report for report in bench.reports() if isinstance(report, messages.RecordingFinished)]
    failed, fine = sorted(reports, key=lambda report: report.recording)
    assert (failed.error, fine.error) == ("UnknownError", "")
    assert fine.statistics.tracks[0].frames_encoded == 2 * 960
    accounted(failed.statistics.tracks[0])


def test_a_mistake_with_a_message_ends_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise IndexError("a fault of ours")

    now_ns = time.monotonic_ns()
    bench.open("a", "audio")
    bench.sound("a", now_ns, 960)
    with monkeypatch.context() as broken:
        broken.setattr(bench.worker.intake.routes["a/audio"], "skip", fail)
        bench._next("a/audio")
        bench.sound("a", now_ns + S // 25, 960)
    bench.sound("a", now_ns + S // 25, 960)
    bench.end("a/audio", now_ns + 3 * S // 50)
    bench.stop("a")
    bench.work()
    (report,) = [one for one in bench.reports() if isinstance(one, messages.RecordingFinished)]
    (track,) = report.statistics.tracks
    assert (report.error, track.frames_encoded, track.dropped_by_cause["refused"]) == ("", 2 * 960, 1)


@pytest.mark.parametrize("first", ["audio", "video"])
def test_media_that_begins_before_what_came_first_keeps_its_distance(first: str, bench: Bench) -> None:
    """A program writes faster than its media plays: a second of one track may come before the other's first frame."""
    bench.open("a", "audio", "video", clock="media")
    recording = bench.worker._recordings["a"]
    starts = {first: 5 * S, "video" if first == "audio" else "audio": 4 * S}
    for kind, from_ns in starts.items():
        for number in range(10):
            if kind == "audio":
                bench.sound("a", from_ns + number * S // 10, RATE // 10, media.tone(RATE // 10, RATE).tobytes())
            else:
                bench.picture("a", from_ns + number * S // 10)
            recording._first_ns = time.monotonic_ns() + 60 * S  # however busy this machine is
        bench.work()
    bench.end("a/audio", 0)
    bench.end("a/video", 0)
    bench.work()
    decoded = media.decode(recsvc.Blob([Path(bench.finished("a").whole.path).read_bytes()]))
    assert decoded.sound_at_s is not None
    apart_s = decoded.sound_at_s - decoded.pictures[0].at_s
    assert apart_s == pytest.approx((starts["audio"] - starts["video"]) / S, abs=2 * media.TICK_S)
    assert decoded.duration_s == pytest.approx(2, abs=media.TICK_S)


def test_a_request_for_data_before_any_frame_says_nothing_of_the_beginning(bench: Bench) -> None:
    """The command comes on its own way, here when sound is encoded and the pictures before it are not."""
    bench.open("a", "audio", "video", clock="media")
    bench.mark("a/audio", 1)
    bench.sound("a", 5 * S, RATE // 10, media.tone(RATE // 10, RATE).tobytes())
    bench.work()
    bench.mark("a/video", 1)
    bench.work()
    bench.ask_for_data("a", 1)
    assert bench.pieces() == [None]
    for number in range(3):
        bench.picture("a", 4 * S + number * S // 10)
    bench.work()
    bench.mark("a/audio", 2)
    bench.mark("a/video", 2)
    bench.ask_for_data("a", 2)
    bench.work()
    [piece] = bench.pieces()
    assert piece is not None and piece.sound_at_s == pytest.approx(1, abs=media.TICK_S)
    media.assert_times(piece.times, [0, 0.1, 0.2])


def test_media_of_one_track_does_not_wait_long_for_the_other(bench: Bench) -> None:
    bench.open("a", "audio", "video", clock="media")
    recording = bench.worker._recordings["a"]
    for number in range(10):
        bench.sound("a", number * S // 10, RATE // 10)
    bench.work()
    assert recording._muxer.origin_ns is None
    recording._first_ns -= FIRST_FRAME_WAIT_NS
    recording.idle(time.monotonic_ns() + IDLE_FLUSH_NS)
    assert recording._muxer.written_until_ns > 0


def test_a_fault_of_ours_fails_its_recording_alone_and_is_logged_with_its_traceback(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    now_ns = time.monotonic_ns()
    for name in ("a", "b"):
        bench.open(name, "video")
        bench.picture(name, now_ns)
    track = bench.worker.intake.routes["a/video"].track

    def fail(*_: object, **__: object) -> None:
        raise KeyError("nobody thought of that")

    track.encode = fail  # type: ignore
    bench.work()
    report = bench.finished("a")
    assert report.error == "UnknownError" and "nobody thought of that" in report.text
    assert accounted(report.statistics.tracks[0]) == (1, 0, 1)
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.exc_info is not None and record.exc_info[0] is KeyError
    assert bench.encoded("b/video") == 1


def test_what_was_on_its_way_when_a_recording_failed_is_no_garbage(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    now_ns = time.monotonic_ns()
    bench.open("a", "audio")
    bench.sound("a", now_ns, 960)
    bench.worker._finish(bench.worker._recordings["a"], "QuotaExceededError", "the disk is full")
    bench.sound("a", now_ns + S // 50, 960)
    bench.end("a/audio", now_ns + S // 25)
    assert caplog.records == []
    bench.give(messages.Attach(route="never-there"))
    assert len(caplog.records) == 1


@pytest.fixture
def lines() -> Iterator[tuple[Line, Line]]:
    """A controller's end and its role's."""
    ours, theirs = pair()
    controller = Line(ours, messages.ROLE_REPORTS, Complaints(log))
    role = Line(theirs, messages.WORKER_REQUESTS, Complaints(log))
    yield controller, role
    for one in (controller, role):
        with contextlib.suppress(OSError):
            os.close(one.descriptor)


def test_commands_that_fail_by_a_fault_of_ours_are_logged_with_their_traceback(
    lines: tuple[Line, Line],
    caplog: pytest.LogCaptureFixture,
) -> None:
    controller, role = lines
    problems = [errors.NotFoundError("not there"), ValueError("out of range"), ZeroDivisionError("ours")]
    for number in range(1, 4):
        controller.send(messages.Shutdown(id=number))

        def do(request: messages.Shutdown) -> None:
            raise problems[request.id - 1]

        take_requests(role, do)
        reply = controller.receive()
        assert reply.id == number and reply.text == str(problems[number - 1])
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.exc_info is not None and record.exc_info[0] is ZeroDivisionError


def fill(one: Line) -> int:
    """How many messages it takes before the first one has to wait."""
    count = 0
    while not one.waits:
        count += 1
        one.send(messages.Shutdown(id=count))
    return count


def test_messages_that_nobody_reads_wait_in_their_order(lines: tuple[Line, Line]) -> None:
    controller, role = lines
    count = fill(controller) + 10
    for number in range(count - 9, count + 1):
        controller.send(messages.Shutdown(id=number))
    found = []
    while len(found) < count:
        found.append(role.receive().id)
        controller.flush()
    assert found == list(range(1, count + 1)) and not controller.waits


def test_a_machine_without_memory_only_delays_a_message(
    lines: tuple[Line, Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    controller, role = lines

    def write(*_: object) -> int:
        raise OSError(errno.ENOBUFS, "no buffer space available")

    with monkeypatch.context() as patched:
        patched.setattr(line.os, "write", write)
        controller.send(messages.Shutdown(id=1))
    controller.flush()
    assert role.receive().id == 1 and not controller.waits


def test_messages_that_wait_for_a_process_that_dies_are_let_go(lines: tuple[Line, Line]) -> None:
    controller, role = lines
    controller.send(messages.Shutdown(id=1))
    fill(role)
    role.send(messages.Ready())
    os.close(controller.descriptor)
    role.flush()
    assert not role.waits
    role.send(messages.Ready())
    assert role.receive().id == 1 and role.receive() is None and role.is_over


def test_a_process_is_taken_for_hung_only_when_it_reads_nothing_for_long(
    lines: tuple[Line, Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    controller, role = lines
    monkeypatch.setattr(line, "LINE_WAITING_MAX", 10)
    now_ns = time.monotonic_ns()
    monkeypatch.setattr(line.time, "monotonic_ns", lambda: now_ns)
    fill(controller)
    for _ in range(20):
        controller.send(messages.Shutdown())
    assert controller.is_full and not controller.is_stuck
    now_ns += line.LINE_STUCK_NS
    assert controller.is_stuck
    role.receive()
    controller.flush()
    assert controller.is_full and not controller.is_stuck


def test_a_message_that_could_not_be_read_is_refused_by_its_sender(lines: tuple[Line, Line]) -> None:
    controller, role = lines
    with pytest.raises(messages.MessageError, match="at most"):
        controller.send(messages.RecoverFile(path="x" * HEADER_BYTES_MAX))
    controller.send(messages.Shutdown(id=7))
    take_requests(role, lambda _: "x" * HEADER_BYTES_MAX)
    reply = controller.receive()
    assert reply.id == 7 and reply.error == "UnknownError" and "at most" in reply.text


def test_no_program_that_a_role_starts_holds_its_line(lines: tuple[Line, Line]) -> None:
    assert not any(os.get_inheritable(one.descriptor) for one in lines)


def test_a_worker_whose_controller_stands_still_cuts_longer_pieces(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "LINE_WAITING_MAX", 3)
    begin_ns = time.monotonic_ns()
    bench.open("a", "audio", timeslice_ms=0)
    fill(bench._theirs)
    for number in range(500):
        bench.sound("a", begin_ns + number * S // 50, 960)
    bench.end("a/audio", begin_ns + 10 * S)
    bench.stop("a")
    bench.work()
    found = []
    while bench._theirs.waits or not found:
        found += bench.reports()
        bench._theirs.flush()
    found += bench.reports()
    pieces = [report.blob for report in found if isinstance(report, messages.DataReady)]
    [end] = [report for report in found if isinstance(report, messages.RecordingFinished)]
    assert 0 < len(pieces) <= 3
    assert sum(piece.duration for piece in pieces) + end.blob.duration == pytest.approx(10, abs=0.1)
    assert pieces[-1].end == end.blob.start


@pytest.mark.parametrize("encoded", [True, False])
def test_a_frame_after_the_end_of_stream_is_refused_and_the_file_stays_whole(encoded: bool, bench: Bench) -> None:
    now_ns = time.monotonic_ns()
    bench.open("a", "audio")
    bench.sound("a", now_ns, 960)
    bench.end("a/audio", now_ns + S // 50)
    if encoded:
        bench.work()
    bench.sound("a", now_ns + S // 50, 960)
    bench.work()
    report = bench.finished("a")
    assert report.error == "" and report.statistics.tracks[0].dropped_by_cause == {"refused": 1}
    assert report.statistics.tracks[0].frames_encoded == 960


def test_routes_that_nobody_feeds_end_each_after_its_own_silence(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often others of the worker are added to them."""
    now_ns = time.monotonic_ns()
    monkeypatch.setattr(time, "monotonic_ns", lambda: now_ns)
    for name in ("a", "b"):
        bench.open(name, "audio")
        bench.sound(name, now_ns, 960)
    bench.worker._do(messages.CloseRoutes(routes=("a/audio",), until_ns=now_ns))
    now_ns += UNFED_SILENCE_NS
    bench.worker._do(messages.CloseRoutes(routes=("b/audio",), until_ns=now_ns))
    bench.worker.intake.look(now_ns)
    assert bench.worker.intake.routes["a/audio"].ends and not bench.worker.intake.routes["b/audio"].ends


def test_a_route_whose_source_cannot_know_that_it_is_over_ends_while_it_goes_on(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_ns = now_ns = time.monotonic_ns()
    monkeypatch.setattr(time, "monotonic_ns", lambda: now_ns)
    bench.open("a", "audio")
    bench.worker._do(messages.CloseRoutes(routes=("a/audio",), until_ns=now_ns, goes_on=True))
    for number in range(50):
        now_ns = begin_ns + number * S // 50
        bench.sound("a", now_ns, 960)
        bench.worker.intake.look(now_ns)
    bench.end("a/audio", now_ns)
    bench.work()
    report = bench.finished("a")
    assert report.error == "" and caplog.records == []
    assert UNFED_SILENCE_NS <= report.whole.duration * S <= UNFED_SILENCE_NS + S // 20


def test_refused_messages_are_logged_once_and_then_counted_now_and_then(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ns = time.monotonic_ns()
    monkeypatch.setattr(time, "monotonic_ns", lambda: now_ns)
    for name in ("a", "b"):
        bench.open(name, "audio")
    for _ in range(300):
        for name in ("a", "b"):
            bench.sound(name, now_ns, 960, b"too short")
    assert len(caplog.records) == 2
    now_ns += COMPLAINT_INTERVAL_NS
    bench.sound("a", now_ns, 960, b"too short")
    assert len(caplog.records) == 3 and "(299 more" in caplog.records[2].getMessage()
    for number in range(1000):
        bench.give(messages.Attach(route=f"invented-{number}"))
    assert len(caplog.records) <= 3 + COMPLAINTS_MAX
    assert accounted(bench.worker.intake.routes["a/audio"].track.statistics()) == (301, 0, 301)


def test_pictures_that_were_captured_after_a_pause_make_none_after_it_wrong(bench: Bench) -> None:
    """They were sent before the command came to their source; the next ones stand before them."""
    begin_ns = time.monotonic_ns()
    paused_at_ns, paused_ns = begin_ns + 300 * S // 1000, 7 * S
    bench.open("a", "video", captured=True)
    payload = media.counter_picture(0, 160, 120).tobytes()
    times = [(begin_ns + n * S // 25, 0, begin_ns) for n in range(11)]  # those from 300 ms on are left out
    resumed_ns = paused_at_ns + paused_ns
    times += [(resumed_ns + 3_000_000 + n * S // 25, paused_ns, resumed_ns) for n in range(8)]
    for number, (at_ns, paused, since_ns) in enumerate(times):
        header = messages.VideoFrame(
            route="a/video", sequence=number, captured_ns=at_ns, paused_ns=paused, since_ns=since_ns,
            pixel_format="i420", width=160, height=120,
        )  # fmt: skip
        bench.give(header, payload)
    bench.give(messages.End(route="a/video", count=19, until_ns=resumed_ns + S, paused_ns=paused_ns, exact=True))
    bench.work()
    report = bench.finished("a")
    [track] = report.statistics.tracks
    assert track.timestamps_corrected == {} and track.frames_encoded == 16
    decoded = media.decode(recsvc.Blob([Path(report.whole.path).read_bytes()]))
    expected = [n * 0.04 for n in range(8)] + [0.303 + n * 0.04 for n in range(8)]
    media.assert_times(decoded.times, expected)


# --- requests for data ----------------------------------------------------------------------------


def test_a_request_for_data_waits_for_the_mark_of_each_track(bench: Bench) -> None:
    now_ns = time.monotonic_ns()
    bench.open("a", "audio", "video")
    for number in range(5):
        bench.picture("a", now_ns + number * S // 25)
        bench.sound("a", now_ns + number * S // 25, 1920)
    bench.ask_for_data("a", 1)
    bench.work()
    assert bench.pieces() == []
    bench.mark("a/video", 1)
    bench.picture("a", now_ns + 5 * S // 25)
    bench.work()
    assert bench.pieces() == []
    bench.mark("a/audio", 1)
    bench.work()
    [piece] = bench.pieces()
    assert piece is not None
    assert len(piece.pictures) == 6 and piece.sound_s > 0.2 - 0.03
    bench.mark("a/audio", 2)
    bench.mark("a/video", 2)
    bench.work()
    bench.ask_for_data("a", 2)
    assert bench.pieces() == [None]


def test_pictures_that_a_command_on_its_way_may_exclude_are_not_handed_out(bench: Bench) -> None:
    now_ns = time.monotonic_ns()
    bench.open("a", "video")
    for number in range(4):
        bench.picture("a", now_ns + number * S // 25)
    bench.ask_for_data("a", 1)
    bench.mark("a/video", 1, exact=True, recorded_ns=now_ns + 2 * S // 25)
    bench.work()
    [piece] = bench.pieces()
    assert piece is not None and len(piece.pictures) == 3
    bench.end("a/video", now_ns + 2 * S // 25, exact=True)
    bench.work()
    [track] = bench.finished("a").statistics.tracks
    assert accounted(track) == (3, 3, 0)


def test_a_track_that_has_ended_needs_no_mark(bench: Bench) -> None:
    now_ns = time.monotonic_ns()
    bench.open("a", "audio", "video")
    bench.picture("a", now_ns)
    bench.sound("a", now_ns, 1920)
    bench.end("a/audio", now_ns + S)
    bench.end("a/video", now_ns + S)
    bench.work()
    assert bench.reports()[1:] == []
    bench.ask_for_data("a", 1)
    assert [type(report).__name__ for report in bench.reports()] == ["DataReady"]


def test_a_file_is_complete_before_the_stop_and_a_request_on_its_way_still_gets_everything(bench: Bench) -> None:
    now_ns = time.monotonic_ns()
    bench.open("a", "audio")
    for number in range(20):
        bench.sound("a", now_ns + number * S // 50, 960)
    bench.end("a/audio", now_ns + 20 * S // 50)
    bench.work()
    path = bench.worker._recordings["a"].path
    assert media.decode(path).sound_s == pytest.approx(0.4, abs=media.TICK_S)
    bench.worker._flush_idle()
    bench.ask_for_data("a", 1)
    bench.stop("a", now_ns + 20 * S // 50)
    piece, report = [one for one in bench.reports() if not isinstance(one, messages.Ready)]
    assert piece.blob.end == path.stat().st_size and piece.blob.duration == pytest.approx(0.4)
    assert (report.blob.start, report.blob.end, report.error) == (piece.blob.end, piece.blob.end, "")
    assert report.timecode_ms > piece.timecode_ms and report.whole.duration == pytest.approx(0.4)


@pytest.mark.parametrize("order", list(itertools.permutations(["stop", "a/audio", "a/video"])))
def test_a_recording_is_finished_by_the_stop_and_every_end_of_stream_in_any_order(
    order: tuple[str, ...], bench: Bench
) -> None:
    now_ns = time.monotonic_ns()
    bench.open("a", "audio", "video")
    bench.picture("a", now_ns)
    bench.sound("a", now_ns, 1920)
    bench.reports()
    for what in order:
        bench.work()
        assert bench.reports() == []
        if what == "stop":
            bench.stop("a", now_ns)
        else:
            bench.end(what, now_ns + S)
    bench.work()
    [report] = bench.reports()
    assert report.error == "" and report.statistics.duration == pytest.approx(1, abs=media.TICK_S)
    stages = report.statistics.stop_stages_ns
    assert set(stages) == {"capture_ended", "frames_drained", "encoders_drained", "muxed"}
    assert 0 < stages["capture_ended"] <= stages["frames_drained"]  # of a sender that left out when it sent the end


def test_no_stage_of_a_stop_is_before_the_stop(bench: Bench) -> None:
    """A stop by another clock, which is a little ahead of ours."""
    bench.open("a", "audio")
    bench.reports()
    bench.end("a/audio", time.monotonic_ns())
    bench.stop("a", time.monotonic_ns() + 10 * S)
    bench.work()
    [report] = bench.reports()
    assert set(report.statistics.stop_stages_ns.values()) == {0}


def test_a_stuck_source_delays_a_request_for_data_no_longer_than_a_drain(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.open("a", "audio", "video")
    bench.picture("a", time.monotonic_ns())
    bench.mark("a/video", 1)
    bench.ask_for_data("a", 1)
    bench.work()
    bench.worker._flush_idle()
    assert bench.pieces() == []
    later_ns = time.monotonic_ns() + DRAIN_DEADLINE_NS
    monkeypatch.setattr(time, "monotonic_ns", lambda: later_ns)
    bench.worker._flush_idle()
    [piece] = bench.pieces()
    assert piece is not None and len(piece.pictures) == 1


# --- credits --------------------------------------------------------------------------------------


class _Answers:
    """Stands for what sends through the data socket: the newest credit of each route."""

    def __init__(self) -> None:
        self.credits: dict[str, messages.Credit] = {}

    def __call__(self, part: bytes, flags: int) -> None:
        if not flags & sockets.SNDMORE:
            credit = messages.SENDER.decode(part)
            self.credits[credit.route] = credit


def test_a_worker_with_many_tracks_asks_for_long_messages_of_sound(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = _Answers()
    names = [str(number) for number in range(ROUTES_FEW + 1)]
    with monkeypatch.context() as patched:
        patched.setattr(bench.worker.intake, "_send", answers)
        patched.setattr(intake, "AUDIO_LINE_ROUTES", 2)
        for name in names:
            bench.open(name, "audio")
            bench.give(messages.Attach(route=f"{name}/audio"))
        asked = [answers.credits[f"{name}/audio"].message_ns for name in names]
        assert asked == [0] * ROUTES_FEW + [AUDIO_MESSAGE_MANY_NS]
        assert [answers.credits[f"{name}/audio"].line_ns for name in names] == [0, 0, AUDIO_LINE_NS, AUDIO_LINE_NS]
        bench.worker._fail(bench.worker._recordings["0"], errors.UnknownError("it is over"))
        bench.give(messages.Attach(route="1/audio"))
        assert answers.credits["1/audio"].message_ns == 0
        bench.open("film", "video")
        bench.give(messages.Attach(route="1/audio"))
        assert answers.credits["1/audio"].message_ns == AUDIO_MESSAGE_MANY_NS


def test_an_idle_worker_gives_credit_to_who_has_stopped_sending_and_may_wait_for_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who goes on gets it in steps, for each is a message that wakes its process."""
    now_ns = time.monotonic_ns()
    bench.open("a", "audio")
    answers = _Answers()
    with monkeypatch.context() as patched:
        patched.setattr(bench.worker.intake, "_send", answers)
        bench.give(messages.Attach(route="a/audio"))
        first = answers.credits.pop("a/audio")
        for number in range(3):
            bench.sound("a", now_ns + number * S // 50, 960)
            bench.work()
            bench.worker.intake.settle(now_ns)
            assert answers.credits == {}
        bench.worker.intake.settle(now_ns)
        assert answers.credits["a/audio"].frames == first.frames + 3


# --- turns ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["long block", "long muted block", "gap"])
def test_a_stop_waits_for_no_more_than_a_part_of_a_neighbours_long_sound(what: str, bench: Bench) -> None:
    now_ns = time.monotonic_ns()
    bench.open("long", "audio")
    bench.open("short", "audio")
    bench.sound("long", now_ns, 960)
    if what == "gap":
        bench.sound("long", now_ns + 120 * S, 960, bytes(1920))
        bench.sound("long", now_ns + 120 * S + S // 50, 960, bytes(1920))
        bench.sound("long", now_ns + 120 * S + S // 25, 960, bytes(1920))
    else:
        bench.sound("long", now_ns + S // 50, 120 * RATE, bytes(2 * 120 * RATE) if what == "long block" else None)
    for _ in range(20):
        bench.turn()
    for block in range(5):
        bench.sound("short", now_ns + block * S // 50, 960)
    for name in ("short", "long"):
        bench.stop(name)
    bench.end("short/audio", now_ns + S // 10)
    assert bench.work(lambda: "short" not in bench.worker._recordings) == 6
    assert len(bench.worker._scheduler) > 0
    ended_ns = bench.worker._recordings["long"].reached_by("long/audio")
    assert ended_ns is not None and ended_ns < now_ns + 10 * S
    bench.end("long/audio", now_ns + 150 * S)
    bench.work()
    reports = [report for report in bench.reports() if isinstance(report, messages.RecordingFinished)]
    assert [report.recording for report in reports] == ["short", "long"]
    [track] = reports[1].statistics.tracks
    length = 4 * 960 if what == "gap" else 960 + 120 * RATE
    assert accounted(track) == (length, length, 0)
    decoded = media.decode(recsvc.Blob([Path(reports[1].whole.path).read_bytes()]))
    length_s = 120.06 if what == "gap" else 120.02
    assert decoded.sound_s == pytest.approx(length_s, abs=0.03)


def test_an_endless_muted_block_is_refused(bench: Bench) -> None:
    bench.open("a", "audio")
    bench.sound("a", time.monotonic_ns(), 2**31 - 1)
    assert len(bench.worker._scheduler) == 0
    bench.sound("a", time.monotonic_ns(), 3600 * RATE + 1)
    assert len(bench.worker._scheduler) == 0
    bench.sound("a", time.monotonic_ns(), 3600 * RATE)
    assert len(bench.worker._scheduler) == 1
    assert bench.worker.intake.routes["a/audio"].track.account.dropped == {"refused": 2}


@pytest.mark.parametrize(("rate", "channels", "most"), [(8000, 1, 2 * 8000 * 1800), (192_000, 8, 128 * 1024 * 1024)])
def test_a_block_that_could_never_be_recorded_is_refused_where_it_is_written(
    rate: int, channels: int, most: int
) -> None:
    source = recsvc.AudioSource(rate, channels)
    assert source.write(bytes(most)) is False  # nobody records
    with pytest.raises(ValueError, match=f"at most {most} "):
        source.write(bytes(most + 2 * channels))
    # Joined with less than a message of others, it is still one that a worker takes.
    joined_ns = 1800 * S + 2 * AUDIO_MESSAGE_NS
    assert joined_ns <= BLOCK_NS_MAX and most + 2 * rate * channels * AUDIO_MESSAGE_NS // S <= FRAME_BYTES_MAX
    source.end()


def test_under_overload_time_stamps_decide_nothing(bench: Bench) -> None:
    """Three sources bring more than can be encoded: one stamps by our clock, one since 1970, one from 0."""
    clocks = {"ours": time.monotonic_ns(), "since-1970": time.time_ns(), "zero": 0}
    for name in clocks:
        bench.open(name, "video")
    for number in range(30):
        for name, begin_ns in clocks.items():
            bench.picture(name, begin_ns + number * S // 30)
        bench.turn()
    for _ in range(30):
        bench.turn()
    assert [bench.encoded(f"{name}/video") for name in clocks] == [20, 20, 20]


def test_sound_and_pictures_that_come_one_after_the_other_are_encoded_together(bench: Bench) -> None:
    begin_ns = time.monotonic_ns()
    bench.open("a", "audio", "video")
    for block in range(50):
        bench.sound("a", begin_ns + block * S // 25, 2 * 960)
    for number in range(60):
        bench.picture("a", begin_ns + number * S // 30)
    recording = bench.worker._recordings["a"]
    while bench.worker._scheduler.waiting("a/audio") and bench.worker._scheduler.waiting("a/video"):
        bench.turn()
        ends = [recording.reached_by("a/audio"), recording.reached_by("a/video")]
        if None not in ends:
            assert abs(ends[0] - ends[1]) <= S // 10  # type: ignore[operator]


@pytest.mark.alone
def test_a_neighbours_stop_does_not_wait_for_a_block_of_ten_minutes(own_controller: None) -> None:
    """Both recordings in one worker: this process, and so all it starts, has one processor for the time of the test."""
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})
    try:
        long, short = (recsvc.AudioSource(8000, 1) for _ in range(2))
        recorders = [recsvc.MediaRecorder(recsvc.MediaStream([source.track])) for source in (long, short)]
        for recorder in recorders:
            recorder.start()
        assert short.write(bytes(1600))
        assert long.write(bytes(2 * 600 * 8000))
        wait_until(lambda: recorders[0].statistics().duration > 0, "the long block's first part")
        recorders[1].stop()
        recorders[1].wait("stop", media.DEADLINE_S)
        left_s = 600 - recorders[0].statistics().duration
        recorders[0].stop()
        recorders[0].wait("stop", media.DEADLINE_S)
    finally:
        os.sched_setaffinity(0, processors)
    assert left_s > 0
    [track] = recorders[0].statistics().tracks
    assert accounted(track) == (600 * 8000, 600 * 8000, 0)


def test_what_is_encoded_is_written_with_others_and_one_that_fails_is_alone() -> None:
    written: list[str] = []

    class Fake:
        def __init__(self, name: str) -> None:
            self.name = name

        def write(self) -> None:
            written.append(self.name)
            if self.name == "3":
                raise errors.QuotaExceededError("the disk is full")

    failed: list[Any] = []
    some: list[Any] = [Fake(str(number)) for number in range(20)]
    unwritten = Unwritten(some, lambda recording, error: failed.append((recording.name, type(error))))
    for recording in [*some[:7], some[0]]:
        unwritten.add(recording)
    assert not written
    unwritten.add(some[7])
    assert written == [str(number) for number in range(8)] and failed == [("3", errors.QuotaExceededError)]
    for recording in some[8:11]:
        unwritten.add(recording)
    unwritten.forget(some[9])
    unwritten.write()
    unwritten.write()
    assert written[8:] == ["8", "10"]
    del some[2:]
    for recording in some:  # all there are
        unwritten.add(recording)
    assert written[10:] == ["0", "1"]


def test_packets_of_a_recording_go_to_its_file_though_it_is_busy(bench: Bench) -> None:
    """They wait to be written with others; a crash loses no more for it than the worker looks after."""
    for name in "ab":
        bench.open(name, "audio")
    recording = bench.worker._recordings["a"]
    now_ns = time.monotonic_ns()
    for number in range(12):
        bench.sound("a", now_ns + number * S // 10, RATE // 10, bytes(2 * RATE // 10))
    bench.work(lambda: bench.encoded("a/audio") >= RATE)
    before_ns = recording._muxer.written_until_ns
    bench.worker._flush_idle()  # frames wait to be encoded
    assert recording._muxer.written_until_ns >= max(before_ns, 500_000_000)
