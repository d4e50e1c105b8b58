"""Time stamps of every kind, at random: they never end a recording, and cost no sample and no picture."""

from __future__ import annotations

import random

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from recsvc.common.limits import AUDIO_STRETCH_PPM_MAX, MS, S
from recsvc.encode.timeline import TICK_NS, AudioTimeline, VideoTimeline

RANDOM = settings(
    deadline=None,
    print_blob=True,
    database=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
RATES = [8_000, 11_025, 16_000, 44_100, 48_000, 96_000, 192_000]
EXTREMES = [-(2**62), -1, 0, 1, 2**62]


@st.composite
def frames(draw: st.DrawFn) -> list[tuple[int, int, int, int]]:
    """``(captured_ns, paused_ns, sample_count, sample_rate)`` of each block: stretches of some kind of trouble each."""
    rng = draw(st.randoms(use_true_random=False))
    rate = draw(st.sampled_from(RATES))
    at_ns = draw(st.sampled_from([0, S, 10**18, *EXTREMES]) | st.integers(-(2**62), 2**62))
    paused_ns = 0
    found = []
    troubles = ["steady", "jitter", "burst", "step", "repeat", "hole", "restart", "extreme", "pause", "rate", "odd"]
    for trouble in draw(st.lists(st.sampled_from(troubles), min_size=1, max_size=12)):
        count = rng.choice([rate // 100, rate // 50, rate // 2, 1, 7])
        jitter_ns = rng.choice([25, 50, 200, 2000]) * MS if trouble == "jitter" else 0
        if trouble == "step":
            at_ns += rng.choice([-1, 1]) * rng.choice([21 * MS, 100 * MS, S, 600 * S])
        elif trouble == "hole":
            at_ns += rng.choice([30 * MS, S, 40 * S, 5000 * S])
        elif trouble == "restart":
            at_ns = rng.choice([0, S, 10**18])
        elif trouble == "pause":
            paused_ns += rng.choice([1, MS, 10 * S])
        elif trouble == "rate":
            rate = rng.choice(RATES)
        for _ in range(rng.randrange(1, 120)):
            block = rng.randrange(0, rate // 5) if trouble == "odd" else count
            stamp_ns = at_ns + rng.randint(-jitter_ns, jitter_ns)
            if trouble == "extreme" and rng.random() < 0.1:
                stamp_ns = rng.choice(EXTREMES)
            found.append((min(max(stamp_ns, -(2**62)), 2**62), paused_ns, block, rate))
            if trouble not in ("burst", "repeat"):
                at_ns += block * S // rate
        if trouble == "burst":
            at_ns += S
    return found


@RANDOM
@given(frames())
def test_sound_with_any_stamps_is_one_run_of_all_its_samples(given_frames: list[tuple[int, int, int, int]]) -> None:
    timeline = AudioTimeline(given_frames[0][3])
    media_ns = 0.0
    for captured_ns, paused_ns, count, rate in given_frames:
        silence = timeline.place(captured_ns, paused_ns, count, rate)
        assert silence >= 0
        assert timeline.stretch_ppm is None or abs(timeline.stretch_ppm) <= AUDIO_STRETCH_PPM_MAX
        media_ns += (silence + count) * S / rate
        assert timeline.first_ns is not None and timeline.end_ns is not None
        slack_ns = media_ns * AUDIO_STRETCH_PPM_MAX * 1e-6 + len(given_frames)
        assert abs(timeline.end_ns - timeline.first_ns - media_ns) <= slack_ns


@RANDOM
@given(frames(), st.sampled_from([None, 1, 25, 1000]))
def test_pictures_with_any_stamps_rise(given_frames: list[tuple[int, int, int, int]], rate: float | None) -> None:
    timeline = VideoTimeline(rate)
    last_ns = None
    for captured_ns, paused_ns, _, _ in given_frames:
        recorded_ns, expected_ns = timeline.place(captured_ns, paused_ns)
        assert last_ns is None or recorded_ns >= last_ns + TICK_NS
        assert expected_ns > 0
        last_ns = recorded_ns


@pytest.mark.parametrize("jitter_ms", [25, 50, 200])
def test_minutes_of_jitter_never_ask_for_less_than_no_silence(jitter_ms: int) -> None:
    """The gaps that jitter feigns may be shorter than what sound and clock are apart already."""
    for seed in range(40):
        rng = random.Random(seed)
        timeline = AudioTimeline(16_000)
        for index in range(3000):
            silence = timeline.place(S + index * 20 * MS + rng.randint(-jitter_ms, jitter_ms) * MS, 0, 320)
            assert silence >= 0, f"seed {seed}, block {index}"
