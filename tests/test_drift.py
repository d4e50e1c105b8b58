"""Ten hours of clocks that drift, stamps that jitter, pauses and gaps: sound keeps to the recorded time."""

from __future__ import annotations

import array
import random
from collections.abc import Iterator

import pytest

from recsvc.common.limits import AUDIO_DRIFT_NS, MS, S
from recsvc.encode.drift import DriftEstimator
from recsvc.encode.timeline import AudioTimeline
from recsvc.encode.tracks import AudioTrack
from recsvc.mux.packets import AudioPacket, Packet
from recsvc.wire.messages import AudioFrame, RecordedTrack, RecordingOptions

RATE = 48_000
HOURS = 10
OFFSET_NS_MAX = 10 * MS
# A gap or a pause is as wrong as the stamps at its edges: so long it may take to make that good.
SETTLE_NS = 60 * S


class Outcome:
    """What a simulation came to: the greatest offset, and where the estimator ended."""

    def __init__(self, timeline: AudioTimeline, offset_ns: float, seam_offset_ns: float, wrong_gaps: int) -> None:
        self.timeline = timeline
        self.offset_ns = offset_ns
        self.seam_offset_ns = seam_offset_ns
        self.wrong_gaps = wrong_gaps


def blocks(
    rng: random.Random, hours: float, count: int, ppm: float, events: dict[int, str]
) -> Iterator[tuple[float, int, bool]]:
    """``(true capture time, paused time before, first after a pause or gap)`` of each block. A sound clock that is
    fast by ``ppm`` takes ``count`` samples in less time. ``events``: index of a block -> what comes before it."""
    length_ns = count * S / RATE / (1 + ppm * 1e-6)
    at_ns, paused_ns = 0.0, 0
    for index in range(int(hours * 3600 * RATE / count)):
        event = events.get(index, "")
        if event == "pause":
            paused = rng.randrange(S, 60 * S)
            at_ns += paused
            paused_ns += paused
        elif event == "gap":
            at_ns += rng.randrange(60 * MS, 2 * S)
        yield at_ns, paused_ns, event != ""
        at_ns += length_ns


def simulate(
    seed: int,
    *,
    hours: float = HOURS,
    count: int = 960,
    ppm: float = 0,
    jitter_ns: int = 0,
    pauses: int = 0,
    gaps: int = 0,
) -> Outcome:
    """The offset is how much later a sample stands in the file than it was captured, compared with the first one."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    total = int(hours * 3600 * RATE / count)
    events = {rng.randrange(1000, total): "pause" for _ in range(pauses)}
    events |= {rng.randrange(1000, total): "gap" for _ in range(gaps)}
    timeline = AudioTimeline(RATE)
    spread = 2 * jitter_ns
    worst = seam_worst = 0.0
    settled_ns = 0.0
    first_ns: float | None = None
    filled = 0
    block_ns = count * S / RATE
    for at_ns, paused_ns, is_seam in blocks(rng, hours, count, ppm, events):
        stamp_ns = round(S + at_ns + rng.random() * spread - jitter_ns)
        silence = timeline.place(stamp_ns, paused_ns, count, RATE)
        filled += silence > 0
        end_ns = timeline.end_ns
        assert end_ns is not None
        stands_ns = end_ns - block_ns - (at_ns - paused_ns)
        if first_ns is None:
            first_ns = stands_ns
        offset_ns = abs(stands_ns - first_ns)
        if is_seam and jitter_ns:
            settled_ns = at_ns + SETTLE_NS
        if at_ns < settled_ns:
            seam_worst = max(seam_worst, offset_ns)
        else:
            worst = max(worst, offset_ns)
    wanted = sum(1 for event in events.values() if event == "gap")
    print(f"offset {worst / MS:.2f} ms, at seams {seam_worst / MS:.2f} ms, drift {timeline.clock_drift_ppm} ppm")
    return Outcome(timeline, worst, seam_worst, filled - wanted)


@pytest.mark.parametrize(
    ("seed", "hours", "count", "ppm", "jitter_ms"),
    [(1, 10, 960, 300, 15), (2, 3, 960, -300, 15)],
)
def test_ten_hours_of_drift(seed: int, hours: int, count: int, ppm: float, jitter_ms: int) -> None:
    outcome = simulate(seed, hours=hours, count=count, ppm=ppm, jitter_ns=jitter_ms * MS)
    assert outcome.offset_ns <= OFFSET_NS_MAX
    assert outcome.wrong_gaps == 0
    assert outcome.timeline.clock_drift_ppm == pytest.approx(ppm, abs=20)


@pytest.mark.parametrize(("seed", "count", "ppm"), [(6, 480, 300), (7, 4800, -300), (8, 48_000, 300), (9, 1024, 30)])
def test_clean_stamps_and_blocks_of_any_length(seed: int, count: int, ppm: float) -> None:
    outcome = simulate(seed, hours=1, count=count, ppm=ppm)
    assert outcome.offset_ns <= OFFSET_NS_MAX + (count > RATE / 2) * 10 * MS  # ten long blocks last longer
    assert outcome.wrong_gaps == 0
    assert outcome.timeline.clock_drift_ppm == pytest.approx(ppm, abs=3)


@pytest.mark.parametrize(("seed", "hours", "count", "jitter_ms"), [(11, 1, 480, 15), (12, 2, 960, 20), (13, 1, 960, 1)])
def test_steady_clocks_are_left_alone(seed: int, hours: int, count: int, jitter_ms: int) -> None:
    outcome = simulate(seed, hours=hours, count=count, jitter_ns=jitter_ms * MS)
    assert outcome.timeline.stretch_ppm is None
    assert outcome.timeline.corrected.get("gap", 0) == 0
    assert outcome.offset_ns < 1000


@pytest.mark.parametrize(
    ("seed", "hours", "ppm", "jitter_ms"),
    [(21, 1, 300, 15), (22, 1, -300, 15), (23, 1, 300, 0), (24, 1, 0, 15)],
)
def test_pauses_and_gaps(seed: int, hours: float, ppm: float, jitter_ms: int) -> None:
    outcome = simulate(seed, hours=hours, ppm=ppm, jitter_ns=jitter_ms * MS, pauses=100, gaps=50)
    assert outcome.offset_ns <= OFFSET_NS_MAX
    assert outcome.seam_offset_ns <= OFFSET_NS_MAX + 2 * jitter_ms * MS
    assert outcome.wrong_gaps == 0
    assert outcome.timeline.clock_drift_ppm == pytest.approx(ppm, abs=20)


def test_exact_stamps_of_a_steady_clock_survive_pauses_and_gaps() -> None:
    outcome = simulate(31, hours=2, pauses=100, gaps=100)
    assert outcome.timeline.stretch_ppm is None
    assert outcome.offset_ns < 2 * S / RATE  # gaps are filled in whole samples, and the rests do not add up


@pytest.mark.parametrize("seed", range(41, 61))
def test_nothing_is_filled_or_stretched_in_the_first_minutes(seed: int) -> None:
    """Also where the very first stamp is the earliest or the latest of all."""
    outcome = simulate(seed, hours=0.03, count=480, jitter_ns=20 * MS)
    assert outcome.timeline.stretch_ppm is None
    assert outcome.timeline.corrected.get("gap", 0) == 0


class Feed:
    """Gives an estimator blocks of 10 ms."""

    def __init__(self) -> None:
        self.estimator = DriftEstimator()
        self.media_ns = 0

    def give(self, seconds: int, late_ms: list[float], ppm: float = 0) -> float:
        """Blocks that are late by these in turn, by a clock that is slow by ``ppm``; the offset then."""
        begin_ns = self.media_ns
        for index in range(seconds * 100):
            slow_ns = (self.media_ns - begin_ns) * ppm * 1e-6
            self.estimator.add(self.media_ns, round(late_ms[index % len(late_ms)] * MS + slow_ns))
            self.media_ns += 10 * MS
        return self.estimator.offset_ns(self.media_ns)


@pytest.mark.parametrize(
    "phases",
    [
        [[0.0], [0.0, 19.0, 19.0], [0.0]],  # a machine gets busy: late blocks, but some are in time
        [[0.0], [-15.0, 15.0], [0.0]],
        [[-20.0, 20.0], [0.0], [-3.0, 3.0], [-20.0, 20.0]],
        [[0.0, -90.0, -80.0, -70.0, -60.0, -50.0], [0.0, -90.0]],  # bursts
        [[0.0] * 99 + [19.0], [0.0] * 99 + [-19.0]],  # single ones
    ],
)
def test_another_jitter_is_no_drift(phases: list[list[float]]) -> None:
    feed = Feed()
    for phase in phases * 3:
        assert abs(feed.give(30, phase)) < AUDIO_DRIFT_NS
        assert abs(feed.estimator.slope) < 100e-6


def test_a_jump_moves_the_line_and_not_its_slope() -> None:
    feed = Feed()
    feed.give(300, [0.0, 4.0], 100)
    slope = feed.estimator.slope
    assert slope == pytest.approx(100e-6, abs=2e-6)
    offset_ns = feed.give(10, [12.0 + 30, 16.0 + 30], 100)
    assert offset_ns == pytest.approx(42 * MS + 1 * MS, abs=MS)
    assert feed.estimator.slope == pytest.approx(slope, abs=10e-6)


def test_a_clock_that_changes_its_pace_is_learned_anew() -> None:
    feed = Feed()
    feed.give(300, [0.0, 4.0])
    offset_ns = feed.give(300, [0.0, 4.0], 400)
    assert feed.estimator.slope == pytest.approx(400e-6, abs=20e-6)
    assert offset_ns == pytest.approx(120 * MS, abs=3 * MS)


def test_a_source_ahead_of_time_is_no_clock() -> None:
    """Sound that is pushed twice as fast as it lasts is recorded as it is."""
    timeline = AudioTimeline(RATE)
    for index in range(20_000):
        assert timeline.place(S + index * 5 * MS, 0, 480) == 0
    assert timeline.stretch_ppm is None
    assert timeline.end_ns == S + 200 * S


def test_the_first_gap_is_seen_among_clean_stamps() -> None:
    timeline = AudioTimeline(RATE)
    for index in range(4):
        timeline.place(index * 10 * MS, 0, 480)
    assert timeline.place(40 * MS + 20 * MS, 0, 480) == 0
    timeline = AudioTimeline(RATE)
    for index in range(4):
        timeline.place(index * 10 * MS, 0, 480)
    assert timeline.place(40 * MS + 21 * MS, 0, 480) == 21 * 48


def test_a_gap_is_measured_against_the_drift() -> None:
    """A clock that is slow by 200 ppm: after 10 minutes blocks come 120 ms later than nominal; that is no gap."""
    timeline = AudioTimeline(RATE)
    slow = 1 + 200e-6
    for index in range(60_000):
        assert timeline.place(round(index * 10 * MS * slow), 0, 480) == 0
    at_ns = round(60_000 * 10 * MS * slow)
    silence = timeline.place(at_ns + 50 * MS, 0, 480)
    assert abs(silence - 2400) < 48
    assert timeline.corrected == {"gap": 1}


def test_the_encoders_count_is_the_end() -> None:
    timeline = AudioTimeline(RATE)
    timeline.place(S, 0, 480)
    timeline.wrote(10_001_000)
    assert timeline.end_ns == S + 10_001_000


def test_the_sample_rate_may_change() -> None:
    timeline = AudioTimeline(44_100)
    timeline.place(0, 0, 441)
    timeline.place(10 * MS, 0, 160, 16_000)
    timeline.place(20 * MS, 0, 480, 48_000)
    assert timeline.end_ns == 30 * MS
    assert timeline.place(130 * MS, 0, 80, 8_000) == 800
    assert timeline.end_ns == 140 * MS


# ---- with the encoder ------------------------------------------------------------------------------


def make_track(sample_rate: int, channel_count: int, sample_format: str = "s16") -> AudioTrack:
    settings = {"sample_rate": sample_rate, "channel_count": channel_count, "sample_format": sample_format}
    options = RecordingOptions(mime_type="", audio_bits_per_second=64_000, video_bits_per_second=0)
    return AudioTrack(RecordedTrack(track="t", kind="audio", captured=False, settings=settings), options)


def frame(captured_ns: int, sample_rate: int, channel_count: int, sample_format: str, count: int) -> AudioFrame:
    return AudioFrame(
        route="r",
        sequence=0,
        captured_ns=captured_ns,
        sample_format=sample_format,
        sample_rate=sample_rate,
        channel_count=channel_count,
        sample_count=count,
    )


def output_samples(packets: list[Packet], track: AudioTrack) -> int:
    """What a player hears: all packets, less the pre-skip and the padding of the last."""
    assert [packet.start_samples for packet in packets if isinstance(packet, AudioPacket)] == [
        960 * index for index in range(len(packets))
    ]
    return 960 * len(packets) - track.pre_skip_samples - packets[-1].padding_samples


@pytest.mark.parametrize(("ppm", "sample_rate"), [(250, 48_000), (-250, 44_100), (0, 16_000)])
def test_a_track_follows_its_clock(ppm: int, sample_rate: int) -> None:
    """Three minutes: the file is as long as the time was, to the sample as the track says, and the account is not
    touched."""
    track = make_track(sample_rate, 1)
    count = sample_rate // 100
    total = 18_000
    slow = 1 / (1 + ppm * 1e-6)
    packets = []
    payload = bytes(2 * count)
    for index in range(total):
        header = frame(round(S + index * 10 * MS * slow), sample_rate, 1, "s16", count)
        packets += track.encode(header, payload)
    packets += track.drain()
    heard = output_samples(packets, track)
    assert track.first_ns is not None and track.end_ns is not None
    assert abs((track.end_ns - track.first_ns) * 48_000 / S - heard) <= 1
    assert abs(heard - total * 480 * slow) <= 48 * 8
    assert (heard == total * 480) == (ppm == 0)
    statistics = track.statistics()
    assert statistics.frames_encoded == total * count
    assert statistics.clock_drift_ppm == pytest.approx(ppm, abs=2)
    track.close()


def test_a_track_whose_format_changes_loses_nothing() -> None:
    track = make_track(44_100, 1, "f32")
    rng = random.Random(5)
    packets = []
    at_ns, seconds, count_all = S, 0.0, 0
    for _ in range(300):
        rate = rng.choice([8_000, 44_100, 48_000, 96_000])
        channels, form = rng.randint(1, 6), rng.choice(["s16", "f32"])
        count = rng.randrange(1, rate // 20)
        payload = bytes(count * channels * (2 if form == "s16" else 4))
        packets += track.encode(frame(at_ns + round(seconds * S), rate, channels, form, count), payload)
        seconds += count / rate
        count_all += count
    packets += track.drain()
    assert track.entry.channel_count == 1
    assert abs(output_samples(packets, track) - seconds * 48_000) <= 0.501
    assert track.end_ns == pytest.approx(S + seconds * S, abs=1000)
    statistics = track.statistics()
    assert statistics.frames_encoded == count_all and not statistics.timestamps_corrected
    track.close()


# ---- at the bounds ---------------------------------------------------------------------------------


def jittered(count: int, late_ms: list[float]) -> AudioTimeline:
    """A timeline that has had so many blocks of 10 ms, late by these in turn, and no gap."""
    timeline = AudioTimeline(RATE)
    for index in range(count):
        assert timeline.place(S + index * 10 * MS + round(late_ms[index % len(late_ms)] * MS), 0, 480) == 0
    return timeline


@pytest.mark.parametrize(("off_ns", "is_gap"), [(-1, False), (0, False), (1, True)])
@pytest.mark.parametrize("seconds", [1, 4, 20])
def test_the_least_gap_after_a_pause_of_clean_stamps(seconds: int, off_ns: int, is_gap: bool) -> None:
    timeline = jittered(100 * seconds, [0.0])
    resumed_ns = S + seconds * S + 20 * MS + off_ns
    silence = timeline.place(resumed_ns + 7 * S, 7 * S, 480)
    assert silence == (960 if is_gap else 0)
    assert timeline.corrected == ({"gap": 1} if is_gap else {})


def test_a_gap_after_a_pause_is_filled() -> None:
    assert jittered(300, [0.0]).place(S + 3 * S + 28 * MS + 7 * S, 7 * S, 480) == 28 * 48


@pytest.mark.parametrize(("off_ns", "is_gap"), [(-1, False), (0, False), (1, True)])
@pytest.mark.parametrize("blocks_before", [10, 100, 400])
def test_the_least_gap_among_stamps_that_jitter(blocks_before: int, off_ns: int, is_gap: bool) -> None:
    """From a group of blocks on their jitter is known: 0 to 4 ms, so they are expected 2 ms late, to within a quarter
    of that jitter and the 20 ms of a gap."""
    timeline = jittered(blocks_before, [0.0, 4.0])
    silence = timeline.place(S + blocks_before * 10 * MS + 23 * MS + off_ns, 0, 480)
    assert silence == (21 * 48 if is_gap else 0)


def test_before_the_jitter_is_known_twice_as_much_is_no_gap() -> None:
    assert jittered(8, [0.0, 4.0]).place(S + 80 * MS + 43 * MS, 0, 480) == 0
    assert jittered(8, [0.0, 4.0]).place(S + 80 * MS + 43 * MS + 1, 0, 480) == 41 * 48


@pytest.mark.parametrize(
    ("sample_format", "values", "level_dbfs"),
    [
        ("h", [0, 16384, 100], -6.02),
        ("h", [0, -16384, -100], -6.02),
        ("h", [8192, -16384], -6.02),
        ("h", [16384, -8192], -6.02),
        ("h", [32767], 0.0),
        ("h", [-32768], 0.0),
        ("h", [0, 0], -120.0),
        ("f", [0.5, 0.25], -6.02),
        ("f", [-0.5, -0.25], -6.02),
    ],
)
def test_the_level_is_that_of_the_greatest_value_either_way(
    sample_format: str, values: list[float], level_dbfs: float
) -> None:
    name = {"h": "s16", "f": "f32"}[sample_format]
    track = make_track(48_000, 1, name)
    track.encode(frame(S, 48_000, 1, name, len(values)), bytes(array.array(sample_format, values)))
    assert track.statistics().level_dbfs == pytest.approx(level_dbfs, abs=0.01)
    track.close()
