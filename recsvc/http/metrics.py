"""``/metrics``: how the service is, in the text format of Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from ..common.descriptions import ServiceStatus
from ..common.limits import S
from ..wire.messages import RecorderEvent
from .totals import Totals

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Of a stop: from half a millisecond to the drain's deadline."""
_STATES = ("opening", "recording", "paused", "stopping")


class Metrics(Collector):
    """Reads what the service answers, and counts what its recordings publish."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._stops = Histogram(
            "recsvc_stop_seconds",
            "Time from the stop of a recording until it reached a stage; the last one is when its data were published",
            ["stage"],
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._totals = Totals()
        self._status: ServiceStatus | None = None

    def take(self, event: RecorderEvent) -> None:
        """An event of any recording."""
        if event.type == "error":
            self._totals.failed(event.recording)
        elif event.type == "dataavailable" and event.statistics is not None:
            self._totals.ended(event.recording, event.statistics)
            for stage, after_ns in event.statistics.stop_stages_ns.items():
                self._stops.labels(stage).observe(after_ns / S)
        elif event.type == "stop":
            self._totals.stopped(event.recording)

    def text(self, status: ServiceStatus) -> bytes:
        """All metrics, with this answer of the service."""
        self._totals.running(status.recordings)
        self._status = status
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        status = self._status
        if status is None:
            return
        yield _gauge("info", "Always 1; which version of recsvc it is", {(status.version,): 1.0}, "version")
        yield _gauge("start_time_seconds", "When the service began, in seconds since 1970", {(): status.began})
        yield _gauge("clients", "Clients that are connected", {(): status.clients})
        if status.free_bytes is not None:
            yield _gauge("free_bytes", "Room for recordings on the disk of the spool", {(): status.free_bytes})
        yield _gauge(
            "cost_max", "Load of all workers together up to which recordings are admitted", {(): status.cost_max}
        )
        states = Counter(dict.fromkeys(_STATES, 0))
        states.update(status.recordings_by_state)
        yield _gauge("recordings", "Recordings that go on", {(s,): n for s, n in states.items()}, "state")
        refused = {(error,): count for error, count in status.refused.items()}
        yield _counter(
            "requests_refused",
            "What was refused to clients, by error: requests, data messages, connections",
            refused,
            "error",
        )
        yield from self._of_workers(status)
        yield from self._of_recordings()

    def _of_workers(self, status: ServiceStatus) -> Iterator[Metric]:
        workers = {(str(worker.number),): worker for worker in status.workers}
        for name, text in (
            ("load", "Share of one core that the recordings of a worker took lately"),
            ("cost", "Share of one core that placement reckons with for the recordings of a worker"),
            ("recordings", "Recordings that a worker encodes"),
            ("queue_frames", "Frames that wait to be encoded"),
            ("queue_bytes", "Bytes of the frames that wait to be encoded"),
        ):
            of_each = {labels: float(getattr(worker, name)) for labels, worker in workers.items()}
            yield _gauge(f"worker_{name}", text, of_each, "worker")
        # Of one that did not answer in time nothing is known, and a total must not seem to begin anew.
        known = {labels: worker for labels, worker in workers.items() if worker.frames_encoded or worker.encode_ns}
        encoding_s = {labels: worker.encode_ns / S for labels, worker in known.items()}
        yield _counter("encode_seconds", "CPU time of a worker, nearly all of it in encoders", encoding_s, "worker")
        encoded = {labels: worker.frames_encoded for labels, worker in known.items()}
        yield _counter("encode_frames", "Frames that a worker encoded, blocks of sound among them", encoded, "worker")

    def _of_recordings(self) -> Iterator[Metric]:
        sums = self._totals.sums()
        ended = {(how,): self._totals.finished[how] for how in ("finished", "failed")}
        yield _counter("recordings_ended", "Recordings that have ended", ended, "result")
        yield _counter("recorded_bytes", "Bytes of recordings on the disk", {(): sums["bytes", "", ""]})
        unit = "; of sound, samples per channel"
        for figure, text in (("accepted", "taken from sources"), ("encoded", "in the recordings' files")):
            of_kinds = {(kind,): sums[figure, kind, ""] for kind in ("audio", "video")}
            yield _counter(f"frames_{figure}", f"Frames {text}{unit}", of_kinds, "kind")
        dropped = {(kind, cause): n for (figure, kind, cause), n in sums.items() if figure == "dropped"}
        yield _counter("frames_dropped", f"Frames dropped, by cause{unit}", dropped, "kind", "cause")


def _gauge(name: str, text: str, values: Mapping[Any, float], *labels: str) -> Metric:
    family = GaugeMetricFamily(f"recsvc_{name}", text, labels=labels)
    for of, value in values.items():
        family.add_metric(of, value)
    return family


def _counter(name: str, text: str, values: Mapping[Any, float], *labels: str) -> Metric:
    family = CounterMetricFamily(f"recsvc_{name}", text, labels=labels)
    for of, value in values.items():
        family.add_metric(of, value)
    return family
