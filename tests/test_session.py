"""When the worker's own report may be the last data: only if all that belongs before it has come."""

from types import SimpleNamespace

import pytest

from recsvc import errors
from recsvc.caller.session import Session
from recsvc.wire.messages import BlobDescription, RecorderEvent, RecordingFinished, RecordingStatistics

NOTHING = BlobDescription(path="/nowhere", start=0, end=0)
STATISTICS = RecordingStatistics(state="inactive")


def event(type, **fields):
    return RecorderEvent(recorder="r", recording="a", sequence=0, type=type, at_ns=0, **fields)


def report(**fields):
    common = {"recorder": "r", "recording": "a", "at_ns": 7, "blob": NOTHING, "whole": NOTHING, "timecode_ms": 1.5}
    return RecordingFinished(**{**common, "statistics": STATISTICS, **fields})


@pytest.fixture
def session():
    """A recording whose ``start`` has been fired and that its caller has stopped."""
    made = Session("a", SimpleNamespace(), [])
    made.mime_type, made.stop_ns = "audio/webm;codecs=opus", 5
    made.stop_known = True
    return made


def test_a_report_is_the_last_data_once(session):
    assert session.conclusion() is None, "there is none yet"
    session.report = report()
    last = session.conclusion()
    assert (last.type, last.blob, last.statistics, last.timecode_ms) == ("dataavailable", NOTHING, STATISTICS, 1.5)
    assert (last.mime_type, last.at_ns) == (session.mime_type, 7)
    assert session.conclusion() is None
    assert not session.heard(event("dataavailable", blob=NOTHING, statistics=STATISTICS)), "the controller's is late"
    assert session.heard(event("stop"))


def test_the_controllers_last_data_may_come_first(session):
    assert session.heard(event("dataavailable", blob=NOTHING, statistics=STATISTICS))
    session.report = report()
    assert session.conclusion() is None


def test_it_waits_for_the_events_of_earlier_calls(session):
    for action in ("pause", "request_data", "resume", "stop"):
        session.count(action)
    session.report = report(pieces=2, cuts=1)
    for before in (
        event("pause"),
        event("dataavailable", blob=NOTHING),
        event("resume"),
        event("dataavailable", blob=NOTHING),
    ):
        assert session.conclusion() is None
        assert session.heard(before)
    assert session.conclusion() is not None


def test_it_waits_for_start(session):
    session.mime_type, session.report = "", report()
    assert session.conclusion() is None


def test_it_does_not_count_where_data_was_asked_for_that_the_worker_knew_nothing_of(session):
    session.count("request_data")
    session.report = report()
    assert session.conclusion() is None


@pytest.mark.parametrize("why", ["failed", "an error is told", "ended by itself", "modified"])
def test_errors_and_ends_without_a_stop_are_the_controllers_business(session, why):
    session.report = report(error="UnknownError" if why == "failed" else "")
    if why == "an error is told":
        assert session.heard(event("error", error="UnknownError"))
    elif why == "ended by itself":
        session.stop_known = False
    elif why == "modified":
        session.count("modified")
    assert session.conclusion() is None


def test_what_a_lost_service_left_behind_is_no_second_last_data(session):
    session.report = report()
    assert session.conclusion() is not None
    assert not session.heard(event("dataavailable"))
    assert session.heard(event("error", error="ServiceError")) and session.heard(event("stop"))


@pytest.mark.parametrize("name", ["ValueError", "TypeError", "OverflowError", "", "NoSuchError"])
def test_an_error_event_bears_an_exception_of_ours_whatever_failed(name: str) -> None:
    error = errors.event_error(name, "-3 samples")
    assert type(error) is errors.UnknownError and str(error) == f"{name}: -3 samples"
    assert type(errors.event_error("EncodingError", "x")) is errors.EncodingError
