"""What recordings cost of the processors' time, which worker gets one, and whether there is room. Pure.

Costs are in cores: 0.25 is a quarter of one core's time. What a track needs is reckoned from what it declares (pixels
and pictures per second, sound's rate and channels) in default figures, per class of codec and size. Workers report now
and then how much CPU time they used and what they encoded; from that a factor for each class is learned, and what each
recording really brings replaces what it declared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..common.codecs import codec_of
from ..common.descriptions import RecordedTrack
from ..common.limits import S
from ..common.mime import Format
from ..common.service_limits import (
    CORES_SHARE,
    COST_DECAY,
    COST_FACTOR_MAX,
    COST_FACTOR_MIN,
    COST_LEARNED_FROM_NS,
    COST_LEARNING,
    COST_MEASURED_AFTER,
    ENCODER_THREADS_MAX,
    FRAME_RATE_SUPPOSED,
)

PICTURE_NS = {"vp8": 1_200_000, "vp9": 1_200_000}
PIXEL_NS = {"vp8": 9.6, "vp9": 27.0}
"""Encoding a picture, for itself and for each pixel, the worker's whole work for it included: from the CPU time per
second of media in ``bench/README.md`` (640x480 to 1920x1080)."""
SOUND_NS = 17_000_000
CHANNEL_NS = 5_000_000
"""A second of sound, for itself and for each channel, from there too; at other rates than Opus' own it is much the
same."""
COPIED_NS = 200_000
"""A packet of a track that comes encoded."""
PACKETS_SUPPOSED = 50.0
"""Per second of sound that comes encoded: Opus' usual 20 ms each."""
CAPTURED_PICTURE_NS, CAPTURED_PIXEL_NS, CAPTURED_SOUND_NS, CAPTURED_COPY_NS = 500_000, 1.0, 13_000_000, 10_000_000
"""What the process that captures it takes, from there too: of the test source. What a camera or a network stream takes
to be decoded is not known before."""

Work = Mapping[str, float]
"""What there is to do per second, or was done: default ns by class."""


@dataclass(frozen=True)
class Demand:
    """What a recording declares: ``work`` for its worker, ``captured`` cores for its capture processes. ``elastic``: it
    may take longer than its media lasts, so it takes the time that others leave."""

    work: Work
    captured: float = 0.0
    elastic: bool = False


def sound_work(seconds: float, channel_count: float) -> Work:
    """Of so much sound."""
    return {"opus": seconds * (SOUND_NS + CHANNEL_NS * channel_count)}


def picture_work(codec: str, pictures: float, pixels: float) -> Work:
    """Of so many pictures with so many pixels together. Small pictures have another class than large ones."""
    if not pictures:
        return {}
    size = max(0, int(pixels / pictures) // 1024).bit_length() // 2
    return {f"{codec}/{size}": pictures * PICTURE_NS[codec] + pixels * PIXEL_NS[codec]}


def copied_work(packets: float) -> Work:
    """Of so many packets that came encoded."""
    return {"copied": packets * COPIED_NS} if packets > 0 else {}


def demand(tracks: Iterable[RecordedTrack], chosen: Format, overload: str) -> Demand:
    """What these tracks declare. Settings are their caller's word: what makes no sense there counts as usual."""
    work: dict[str, float] = {}
    captured_ns, elastic = 0.0, overload == "finish-late"
    for track in tracks:
        settings = track.settings
        rate = _number(settings, "frame_rate", FRAME_RATE_SUPPOSED, 1000.0)
        elastic = elastic or settings.get("clock") == "media"
        if codec_of(track) is not None:
            more = copied_work(rate if track.kind == "video" else PACKETS_SUPPOSED)
            captured_ns += CAPTURED_COPY_NS * track.captured
        elif track.kind == "video" and chosen.video_codec is not None:
            pixels = _number(settings, "width", 640, 16384) * _number(settings, "height", 480, 16384) * rate
            more = picture_work(chosen.video_codec, rate, pixels)
            captured_ns += (rate * CAPTURED_PICTURE_NS + pixels * CAPTURED_PIXEL_NS) * track.captured
        else:
            more = sound_work(1.0, _number(settings, "channel_count", 2, 8))
            captured_ns += CAPTURED_SOUND_NS * track.captured
        for key, ns in more.items():
            work[key] = work.get(key, 0.0) + ns
    return Demand(work, captured_ns / S, elastic)


def _number(settings: Mapping[str, Any], name: str, usual: float, most: float) -> float:
    value = settings.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        return usual
    return float(value)


class Factors:
    """By how much the time that work of a class really takes differs from its default."""

    def __init__(self) -> None:
        self._of: dict[str, float] = {}

    def of(self, key: str) -> float:
        """That of a class of which nothing is known is what the others of its codec have on the average."""
        found = self._of.get(key)
        if found is not None:
            return found
        alike = [factor for name, factor in self._of.items() if name.partition("/")[0] == key.partition("/")[0]]
        return sum(alike) / len(alike) if alike else 1.0

    def cores(self, work: Work) -> float:
        return sum(ns * self.of(key) for key, ns in work.items()) / S

    def learn(self, used_ns: float, done: Work) -> None:
        """A worker used so much CPU time for this work. Where it was of several classes, each takes its share of the
        difference by the square of its work, so that the one that had most to do with it learns most."""
        if sum(done.values()) < COST_LEARNED_FROM_NS:
            return
        squares = sum(ns * ns for ns in done.values())
        error_ns = used_ns - self.cores(done) * S
        for key, ns in done.items():
            learned = self.of(key) + COST_LEARNING * error_ns * ns / squares
            self._of[key] = min(max(learned, COST_FACTOR_MIN), COST_FACTOR_MAX)


@dataclass
class Cost:
    """What one recording costs: what it declared, until enough was measured."""

    demand: Demand
    threads: int = 1
    """That encode its pictures."""
    measured: dict[str, float] = field(default_factory=dict)
    reports: int = 0

    def brought(self, work: Work) -> None:
        """This much came of it per second lately; while it is paused this is not to be called. The most that came
        counts, and is forgotten slowly: what a camera does not bring in the dark it brings again in the light. What has
        brought nothing at all yet goes on to count as declared: its source may only be about to begin."""
        if not work and not self.measured:
            return
        self.reports += 1
        keys = {*self.measured, *work}
        self.measured = {key: max(work.get(key, 0.0), COST_DECAY * self.measured.get(key, 0.0)) for key in keys}

    def cores(self, factors: Factors) -> float:
        """Of its worker, all threads together."""
        return factors.cores(self.measured if self.reports >= COST_MEASURED_AFTER else self.demand.work)

    def held(self, factors: Factors) -> float:
        """The cores that other encoders should leave to it."""
        return max(self.cores(factors), self.threads if self.threads > 1 else 0)


@dataclass(frozen=True)
class Room:
    """What a new recording would find: ``needed``, and ``free`` of that, in cores."""

    needed: float
    free: float

    @property
    def fits(self) -> bool:
        return self.needed <= self.free


def most_of_worker(cores: float) -> float:
    """What the recordings of one worker that must keep up may take of its loop, which has no more than one core."""
    return min(1.0, cores) * CORES_SHARE


def threads_needed(needed: Demand, factors: Factors, cores: float) -> int:
    """How many threads should encode a recording's pictures: one, where one core does that in real time, for several
    cost more together and wait for each other; else as many as that takes."""
    pictures = factors.cores({key: ns for key, ns in needed.work.items() if "/" in key})
    return max(1, min(math.ceil(pictures / most_of_worker(cores)), ENCODER_THREADS_MAX))


def threads_found(count: int, needed: Demand, taken: float, cores: float) -> int:
    """How many of these there are cores for which other recordings do not take (``taken``)."""
    return max(1, min(count, round(cores - taken - needed.captured)))


def room(
    needed: Demand, factors: Factors, loops: Iterable[float], taken: float, cores: float, threads: int = 1
) -> Room:
    """``loops``: how much of its loop's core the recordings of each worker take, but for the elastic ones; ``taken``:
    the cores that these and capture processes take in all; ``cores``: how many there are. A recording has no more of
    them than ``threads``. A share of all is kept free for what is not reckoned: the controller, callers, the system,
    and what comes irregularly."""
    everywhere = cores * CORES_SHARE - taken
    most = max((most_of_worker(cores) - loop for loop in loops), default=0.0) * threads
    own = factors.cores(needed.work)
    free = max(0.0, min(most, everywhere - needed.captured))
    return Room(own, free)
