"""What workers report of their work, and that they are warm before the first."""

from __future__ import annotations

import time

import pytest
from worker_bench import RATE, Bench, S

from recsvc.common.limits import HEADER_BYTES_MAX
from recsvc.common.service_limits import LOAD_REPORT_NS, LOADS_PER_REPORT, WARM_AFTER_NS
from recsvc.encode import load
from recsvc.encode.load import Loads, figures
from recsvc.encode.warm import warm
from recsvc.wire import messages

pytest_plugins = ["worker_bench"]


def test_a_worker_that_has_nothing_to_do_warms_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    monkeypatch.setattr(load, "warm", lambda: done.append(1))
    before_ns = time.monotonic_ns()
    loads = Loads()
    assert before_ns < loads.due_ns <= time.monotonic_ns() + WARM_AFTER_NS and loads.wait_ms < 1_000
    assert list(loads.reports([], loads.due_ns)) == [] and done == [1]
    assert list(loads.reports([], loads.due_ns)) == [] and done == [1]
    assert loads.wait_ms >= 10_000, "it does not wake up any more"


def test_a_worker_that_has_a_recording_already_does_not(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    monkeypatch.setattr(load, "warm", lambda: pytest.fail("the recording would wait"))
    bench.open("a", "audio")
    loads = Loads()
    recordings = list(bench.worker._recordings.values())
    assert list(loads.reports(recordings, loads.due_ns)) != []
    assert list(loads.reports([], loads.due_ns)) != []
    assert list(loads.reports([], loads.due_ns)) == []


def test_every_codec_can_be_warmed_up() -> None:
    warm()


def test_a_report_has_what_was_encoded(bench: Bench) -> None:
    now_ns = time.monotonic_ns()
    bench.open("a", "audio", "video")
    bench.open("b", "audio")
    for number in range(5):
        bench.sound("a", now_ns + number * S // 50, RATE // 50)
        bench.picture("a", now_ns + number * S // 50)
    bench.work(lambda: bench.encoded("a/audio") == RATE // 10 and bench.encoded("a/video") == 5)
    loads, recordings = Loads(), list(bench.worker._recordings.values())
    [report] = loads.reports(recordings, 7 * S)
    assert loads.due_ns == 7 * S + LOAD_REPORT_NS and report.at_ns == 7 * S and not report.goes_on
    assert report.cpu_ns > 0
    first, second = report.recordings
    assert (first.recording, first.pictures, first.pixels) == ("a", 5, 5 * 160 * 120)
    assert (first.sound_ns, first.channel_count) == (S // 10, 1)
    assert first.size_bytes == bench.worker._recordings["a"].path.stat().st_size
    assert (second.recording, second.pictures, second.sound_ns) == ("b", 0, 0)
    [idle] = loads.reports([], 8 * S)
    assert idle.recordings == () and list(loads.reports([], 9 * S)) == []


def test_many_recordings_are_reported_in_parts_that_have_room_in_a_message(bench: Bench) -> None:
    names = [f"{'n' * 90}-{number}" for number in range(LOADS_PER_REPORT + 3)]
    for name in names:
        bench.open(name, "audio")
    reports = list(Loads().reports(list(bench.worker._recordings.values()), S))
    assert [report.goes_on for report in reports] == [True, False]
    assert [one.recording for report in reports for one in report.recordings] == names
    assert all(len(messages.encode(report)) < HEADER_BYTES_MAX for report in reports)


def test_figures_of_recordings_stay_below_the_bound_of_a_message(bench: Bench) -> None:
    """Their senders name causes of drops as they like."""
    causes = {f"{'c' * 190}{number}": number for number in range(60)}
    names = [f"r{number}" for number in range(10)]
    for name in names:
        bench.open(name, "audio")
        bench.worker.intake.routes[f"{name}/audio"].track.account.note_sender_totals(causes, {})
    asked = messages.AskFigures(recordings=tuple(names), directory="/")
    found = figures(asked, bench.worker._recordings.values(), bench.worker.intake)
    assert 0 < len(found.recordings) < len(names) and len(messages.encode(found)) < HEADER_BYTES_MAX
    assert found.free_bytes is not None and found.cpu_ns > 0
    nowhere = figures(messages.AskFigures(recordings=(), directory="/nowhere/at/all"), [], bench.worker.intake)
    assert nowhere.free_bytes is None
