"""``/metrics``: read as Prometheus reads it, and true."""

from __future__ import annotations

import msgspec
import pytest
from fixtures_media import wait_until
from http_side import served, statistics
from prometheus_client.parser import text_string_to_metric_families

from recsvc.common.descriptions import RecordingStatus, ServiceStatus, WorkerStatus
from recsvc.common.status import joined
from recsvc.http.metrics import Metrics
from recsvc.http.totals import Totals
from recsvc.wire.messages import RecorderEvent

MS = 1_000_000


def read(text: bytes) -> dict[tuple[str, frozenset], float]:
    """Samples by name and labels, as the parser of Prometheus' own library finds them."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(samples, name, **labels):
    return samples[f"recsvc_{name}", frozenset(labels.items())]


def figures(accepted=0, encoded=0, size=0, kind="video", **dropped):
    track = {
        "kind": kind,
        "frames_accepted": accepted,
        "frames_encoded": encoded,
        "frames_dropped": sum(dropped.values()),
        "dropped_by_cause": dropped,
    }
    return statistics(state="recording", size_bytes=size, tracks=[track])


def running(name, found=None, state="recording"):
    return RecordingStatus(
        recording=name, name="", owner="", state=state, mime_type="video/webm", began=1.0, statistics=found
    )


def event(recording, type, sequence=0, found=None, stages=None):
    if found is not None and stages:
        found = msgspec.structs.replace(found, stop_stages_ns=stages)
    return RecorderEvent(recorder="r", recording=recording, sequence=sequence, type=type, at_ns=1, statistics=found)


STATUS = ServiceStatus(
    service="service-x",
    version="0.9",
    began=1_234.5,
    workers=(
        WorkerStatus(
            number=0, pid=1, state="ready", recordings=2, load=0.5, cost=0.25, queue_frames=3, queue_bytes=99,
            frames_encoded=1_000, encode_ns=2_500 * MS,
        ),
        WorkerStatus(number=1, pid=2, state="starting"),
    ),
    recordings=(running("a", figures(10, 9, 500)), running("b", None, "paused")),
    recordings_by_state={"recording": 1, "paused": 1},
    cost_max=1.5,
    refused={"NotAllowedError": 2},
    free_bytes=10**12,
    clients=4,
)  # fmt: skip


def test_every_figure_of_the_service_is_there():
    samples = read(Metrics().text(STATUS))
    assert value(samples, "info", version="0.9") == 1
    assert value(samples, "start_time_seconds") == 1_234.5
    assert value(samples, "clients") == 4
    assert value(samples, "free_bytes") == 10**12
    assert value(samples, "cost_max") == 1.5
    assert value(samples, "recordings", state="recording") == value(samples, "recordings", state="paused") == 1
    assert value(samples, "recordings", state="stopping") == 0
    assert value(samples, "worker_load", worker="0") == 0.5
    assert value(samples, "worker_cost", worker="0") == 0.25
    assert value(samples, "worker_recordings", worker="0") == 2
    assert value(samples, "worker_queue_frames", worker="0") == 3
    assert value(samples, "worker_queue_bytes", worker="0") == 99
    assert value(samples, "encode_seconds_total", worker="0") == 2.5
    assert value(samples, "encode_frames_total", worker="0") == 1_000
    assert ("recsvc_encode_frames_total", frozenset({("worker", "1")})) not in samples, "nothing is known of it"
    assert value(samples, "requests_refused_total", error="NotAllowedError") == 2
    assert value(samples, "frames_accepted_total", kind="video") == 10
    assert value(samples, "frames_encoded_total", kind="video") == 9
    assert value(samples, "recorded_bytes_total") == 500
    assert value(samples, "recordings_ended_total", result="failed") == 0


def test_a_status_in_several_answers_is_one():
    def page(names, queue, more):
        worker = msgspec.structs.replace(STATUS.workers[0], queue_frames=queue, queue_bytes=10 * queue)
        recordings = tuple(map(running, names))
        return msgspec.structs.replace(STATUS, recordings=recordings, workers=(worker,), more=more)

    found = joined(joined(page("ab", 1, True), page("bc", 2, True)), page("", 0, True))
    assert [one.recording for one in found.recordings] == ["a", "b", "c"]
    assert (found.workers[0].queue_frames, found.workers[0].queue_bytes, found.more) == (3, 30, False)


def test_stops_are_counted_by_stage():
    metrics = Metrics()
    for number, after_ms in enumerate((0.3, 3, 300)):
        stages = {"muxed": int(after_ms * MS), "frames_drained": 0}
        metrics.take(event(f"r{number}", "dataavailable", found=figures(1, 1), stages=stages))
    samples = read(metrics.text(STATUS))
    assert value(samples, "stop_seconds_count", stage="muxed") == 3
    assert value(samples, "stop_seconds_sum", stage="muxed") == pytest.approx(0.3033)
    assert value(samples, "stop_seconds_bucket", stage="muxed", le="0.0005") == 1
    assert value(samples, "stop_seconds_bucket", stage="muxed", le="0.005") == 2
    assert value(samples, "stop_seconds_bucket", stage="muxed", le="+Inf") == 3
    assert value(samples, "stop_seconds_bucket", stage="frames_drained", le="0.0005") == 3


def test_drops_have_their_causes_and_ends_their_results():
    metrics = Metrics()
    metrics.take(event("good", "dataavailable", found=figures(20, 15, 100, overload=3, late=2)))
    metrics.take(event("good", "stop"))
    metrics.take(event("bad", "error"))
    metrics.take(event("bad", "dataavailable", found=figures(48_000, 47_000, 50, "audio", overload=1_000)))
    metrics.take(event("bad", "stop"))
    samples = read(metrics.text(STATUS))
    assert value(samples, "frames_dropped_total", kind="video", cause="overload") == 3
    assert value(samples, "frames_dropped_total", kind="video", cause="late") == 2
    assert value(samples, "frames_dropped_total", kind="audio", cause="overload") == 1_000
    assert value(samples, "frames_accepted_total", kind="audio") == 48_000
    assert value(samples, "recordings_ended_total", result="finished") == 1
    assert value(samples, "recordings_ended_total", result="failed") == 1


def test_a_recording_is_counted_once_and_no_total_shrinks():
    totals = Totals()
    accepted = ("accepted", "video", "")
    steps = [
        lambda: totals.running([running("a", figures(10, 10))]),
        lambda: totals.running([running("a", figures(25, 20)), running("b", figures(5, 5))]),
        lambda: totals.running([running("a", figures(24, 20)), running("b", None)]),  # answers that came late
        lambda: totals.ended("a", figures(30, 30)),
        lambda: totals.running([running("a", figures(25, 20)), running("b", figures(6, 6))]),
        lambda: totals.stopped("a"),
        lambda: totals.running([]),
        lambda: totals.running([]),  # b vanished without a word: a crash
        lambda: totals.ended("b", None),
        lambda: totals.ended("c", figures(7, 7)),  # came and went between two looks
        lambda: totals.stopped("c"),
    ]
    seen = []
    for step in steps:
        step()
        seen.append(totals.sums()[accepted])
    assert seen == [10, 30, 30, 35, 36, 36, 36, 36, 36, 43, 43]
    assert totals.finished == {"finished": 2}


def test_what_recordings_publish_is_heard_over_the_wire(tmp_path):
    with served(tmp_path) as (fake, side):
        fake.status = msgspec.structs.replace(STATUS, recordings=())
        wait_until(lambda: fake.subscriptions, "the subscription")
        fake.publish(event("x", "dataavailable", found=figures(3, 3), stages={"muxed": MS}))
        fake.publish(event("x", "stop", 1))

        def ended():
            samples = read(side.ask("/metrics").body)
            return value(samples, "recordings_ended_total", result="finished") == 1 and samples

        samples = wait_until(ended, "the end of the recording")
        assert value(samples, "stop_seconds_count", stage="muxed") == 1
        assert side.ask("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")
