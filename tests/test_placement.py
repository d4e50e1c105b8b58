"""What recordings are reckoned to cost, what is learned of that, and for whom there is room."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import recsvc
from recsvc.common import mime
from recsvc.common.descriptions import RecordedTrack
from recsvc.common.limits import S
from recsvc.common.service import ServiceOptions
from recsvc.common.service_limits import CORES_SHARE, COST_FACTOR_MAX, COST_FACTOR_MIN, COST_MEASURED_AFTER
from recsvc.controller.admission import Admission
from recsvc.controller.placement import (
    Cost,
    Demand,
    Factors,
    demand,
    picture_work,
    room,
    sound_work,
    threads_found,
    threads_needed,
)
from recsvc.controller.recording import Recording
from recsvc.controller.workers import STARTING_COST, Workers
from recsvc.errors import BusyError
from recsvc.wire import messages

VP8, VP9 = (mime.choose(f"video/webm;codecs={codec},opus", {"audio", "video"}) for codec in ("vp8", "vp9"))
SOUND = mime.choose("", {"audio"})
SIDES = st.integers(1, 8192)
RATES = st.floats(0.1, 240)
WORKS = st.dictionaries(st.sampled_from(["vp8/3", "vp8/5", "vp9/3", "opus"]), st.floats(2e7, 1e9), min_size=1)


def track(kind: str, *, captured: bool = False, **settings: Any) -> RecordedTrack:
    return RecordedTrack(track=kind, kind=kind, captured=captured, settings=settings)


def pictures(width: Any = 640, height: Any = 480, frame_rate: Any = 30, **more: Any) -> RecordedTrack:
    return track("video", width=width, height=height, frame_rate=frame_rate, **more)


def cores(of: Demand) -> float:
    return Factors().cores(of.work)


# --- what is declared -----------------------------------------------------------------------------


def test_pushed_pictures_are_reckoned_with_the_rate_that_is_declared() -> None:
    def declared(**given: Any) -> Demand:
        return demand([track("video", **recsvc.VideoSource(1920, 1080, **given).track.get_settings())], VP8, "drop")

    for rate, factor in ((60, 2.0), (Fraction(30_000, 1001), 30 / 30.03), (12.5, 12.5 / 30)):
        assert cores(declared(frame_rate=rate)) == pytest.approx(cores(declared()) * factor)
    packets = recsvc.EncodedVideoSource("h264", 1920, 1080, frame_rate=60).track.get_settings()
    assert packets["frame_rate"] == 60.0
    assert "frame_rate" not in recsvc.EncodedVideoSource("h264", 1920, 1080).track.get_settings()


@pytest.mark.parametrize("make", [lambda **more: recsvc.VideoSource(64, 48, **more),
                                  lambda **more: recsvc.EncodedVideoSource("vp8", 64, 48, **more)])  # fmt: skip
def test_a_rate_that_is_none_is_refused(make: Any) -> None:
    for rate, error in ((0, ValueError), (-25, ValueError), (math.nan, ValueError), (math.inf, ValueError),
                        (1000.5, ValueError), ("30", TypeError), (True, TypeError)):  # fmt: skip
        with pytest.raises(error, match=r"frame_rate must be .* 1000, got"):
            make(frame_rate=rate)


def test_the_default_figures_are_near_what_was_measured() -> None:
    """The worker's part of ``bench/README.md``: pictures and sound together, in cores."""
    sound = track("audio", sample_rate=48_000, channel_count=2)
    for chosen, tracks, measured in (
        (SOUND, [sound], 0.0258),
        (VP8, [sound, pictures(640, 480)], 0.152),
        (VP8, [sound, pictures(1280, 720)], 0.331),
        (VP8, [sound, pictures(1920, 1080)], 0.66),
        (VP9, [sound, pictures(640, 480)], 0.321),
    ):
        assert cores(demand(tracks, chosen, "drop")) == pytest.approx(measured, rel=0.15)


@given(SIDES, SIDES, RATES, st.sampled_from([VP8, VP9]))
def test_more_pixels_more_pictures_and_vp9_cost_more(width: int, height: int, rate: float, chosen: Any) -> None:
    base = cores(demand([pictures(width, height, rate)], chosen, "drop"))
    assert 0 < base < math.inf
    assert cores(demand([pictures(width + 1, height, rate)], chosen, "drop")) > base
    assert cores(demand([pictures(width, height, rate * 2)], chosen, "drop")) > base
    assert cores(demand([pictures(width, height, rate)], VP9, "drop")) >= base


@given(st.one_of(st.none(), st.text(), st.floats(), st.integers(), st.booleans(), st.lists(st.integers())))
def test_settings_that_make_no_sense_count_as_usual(value: Any) -> None:
    """They come from clients."""
    found = demand([pictures(value, value, value), track("audio", channel_count=value)], VP8, "drop")
    assert 0 < cores(found) < math.inf and not found.elastic
    if not isinstance(value, int | float) or isinstance(value, bool):
        assert found == demand([pictures(), track("audio", channel_count=2)], VP8, "drop")


def test_what_captures_costs_too_and_what_may_be_late_is_elastic() -> None:
    own, captured = (demand([pictures(captured=on)], VP8, "drop") for on in (False, True))
    assert own.captured == 0 < captured.captured < 0.1 and own.work == captured.work
    assert demand([pictures()], VP8, "finish-late").elastic
    assert demand([pictures(clock="media")], VP8, "drop").elastic
    assert not own.elastic


# --- what is learned ------------------------------------------------------------------------------


@given(st.floats(COST_FACTOR_MIN * 2, COST_FACTOR_MAX / 2), WORKS)
def test_the_speed_of_the_machine_is_learned(real: float, work: dict[str, float]) -> None:
    factors = Factors()
    for _ in range(80):
        factors.learn(real * sum(work.values()), work)
    assert factors.cores(work) * S == pytest.approx(real * sum(work.values()), rel=0.05)


@given(st.lists(st.tuples(st.floats(-1e12, 1e12), WORKS), max_size=20))
def test_factors_stay_within_their_bounds_whatever_is_measured(measured: list[tuple[float, dict[str, float]]]) -> None:
    factors = Factors()
    for used_ns, work in measured:
        factors.learn(used_ns, work)
    for key in ("vp8/3", "vp8/5", "vp9/3", "opus", "vp8/1"):
        assert COST_FACTOR_MIN <= factors.of(key) <= COST_FACTOR_MAX


def test_classes_are_told_apart_though_they_are_measured_together() -> None:
    factors, real = Factors(), {"vp9/5": 2.0, "opus": 0.5}
    for turn in range(400):
        work = {"vp9/5": 3e8 + turn % 7 * 1e8, "opus": 2e7 + turn % 5 * 8e7}
        factors.learn(sum(real[key] * ns for key, ns in work.items()), work)
    assert factors.of("vp9/5") == pytest.approx(2.0, rel=0.05) and factors.of("opus") == pytest.approx(0.5, rel=0.2)
    assert factors.of("vp9/3") == factors.of("vp9/5"), "a size that was not seen yet counts as those of its codec"
    assert factors.of("vp8/5") == 1.0


def test_no_work_teaches_nothing() -> None:
    factors = Factors()
    factors.learn(1e9, {})
    for _ in range(100):  # a worker that is busy with something else
        factors.learn(1e9, sound_work(0.1, 2))
        factors.learn(1e9, {"opus": 1e6, "vp8/3": 1e7})
    assert factors.of("opus") == factors.of("vp8/3") == 1.0
    assert picture_work("vp8", 0, 0) == {}


def test_a_recording_counts_as_what_it_brings_once_enough_was_measured() -> None:
    factors, declared = Factors(), demand([pictures(1920, 1080, 30)], VP8, "drop")
    cost, little = Cost(declared), picture_work("vp8", 5, 5 * 1920 * 1080)
    for _ in range(COST_MEASURED_AFTER):
        assert cost.cores(factors) == factors.cores(declared.work)
        cost.brought(little)
    assert cost.cores(factors) == pytest.approx(factors.cores(little))
    cost.brought(declared.work)
    cost.brought(little)
    assert cost.cores(factors) > 0.9 * factors.cores(declared.work), "the most that came is not forgotten at once"
    for _ in range(1000):
        cost.brought(little)
    assert cost.cores(factors) == pytest.approx(factors.cores(little), rel=0.01)


def test_a_recording_that_has_brought_nothing_yet_counts_as_declared() -> None:
    factors, declared = Factors(), demand([pictures(1920, 1080, 30)], VP8, "drop")
    cost = Cost(declared)
    for _ in range(2 * COST_MEASURED_AFTER):
        cost.brought({})
        assert cost.cores(factors) == factors.cores(declared.work)
    cost.brought(picture_work("vp8", 5, 5 * 1920 * 1080))
    for _ in range(COST_MEASURED_AFTER):
        cost.brought({})
    assert 0 < cost.cores(factors) < factors.cores(declared.work), "it has begun, and may have a break"


def test_what_copied_packets_take_is_not_taken_for_the_cost_of_sound() -> None:
    """One worker has 100 streams that come encoded, and one recording of sound."""
    admission = Admission(ServiceOptions(admission=True), 4, lambda *_: None)
    worker: Any = object()
    copied = track("video", codec="avc1", width=1920, height=1080)
    done = {}
    for number, one in enumerate([track("audio", sample_rate=48_000, channel_count=2), *[copied] * 100]):
        recording = Recording(_start(f"r{number}", one), worker, {}, "", "video/webm;codecs=vp8")
        done[recording] = Cost(demand([one], VP8, "drop"))
        admission.began(recording, done[recording])
    declared = [admission.cost(recording) for recording in done]
    for second in range(1, 60):
        sound, *copies = (recording.name for recording in done)
        loads = [messages.RecordingLoad(recording=sound, size_bytes=1, sound_ns=second * S, channel_count=2)]
        loads += [messages.RecordingLoad(recording=name, size_bytes=1, copied=30 * second) for name in copies]
        cpu_ns = round(second * sum(declared) * S)
        admission.took(worker, messages.Load(at_ns=second * S, cpu_ns=cpu_ns, recordings=tuple(loads)))
    assert [admission.cost(recording) for recording in done] == pytest.approx(declared, rel=0.05)


def test_a_recording_that_went_on_with_one_thread_takes_all_of_its_workers_loop() -> None:
    admission = Admission(ServiceOptions(admission=True), 4, lambda *_: None)
    worker: Any = object()
    large = pictures(3840, 2160, 30)
    recording = Recording(_start("r", large), worker, {}, "", "video/webm;codecs=vp9")
    admission.began(recording, Cost(demand([large], VP9, "drop"), threads=4))
    shared = admission.load(worker)
    one = messages.RecordingLoad(recording="r", size_bytes=1, encoder_threads=1)
    admission.took(worker, messages.Load(at_ns=S, cpu_ns=S, recordings=(one,)))
    assert admission.load(worker) == pytest.approx(4 * shared)


# --- room -----------------------------------------------------------------------------------------


@given(st.lists(st.floats(0.01, 2.0), max_size=40), st.integers(1, 8), st.floats(0.3, 8))
def test_what_is_admitted_never_needs_more_than_there_is(wanted: list[float], count: int, there: float) -> None:
    """Each is placed where most room is."""
    workers = [0.0] * count
    for needed in wanted:
        found = room(Demand({"opus": needed * S}), Factors(), workers, sum(workers), there)
        assert found.needed == pytest.approx(needed) and found.free >= 0
        if found.fits:
            workers[workers.index(min(workers))] += needed
    assert sum(workers) <= there * CORES_SHARE + 1e-6
    assert max(workers) <= min(1.0, there) * CORES_SHARE + 1e-6


def test_a_recording_that_needs_more_than_one_core_needs_several_threads() -> None:
    large = Demand({"vp9/6": 1.2 * S})
    found = room(large, Factors(), [0.0] * 8, 0.0, 8)
    assert not found.fits and found.free == CORES_SHARE
    assert room(large, Factors(), [0.0] * 8, 0.0, 8, threads=2).fits
    assert not room(large, Factors(), [0.3] * 8, 2.4, 8, threads=2).fits, "each thread has less than its part"
    assert not room(large, Factors(), [0.0] * 8, 6.0, 8, threads=2).fits, "others have the cores"


# --- threads --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sides_rate", "there", "taken", "expected"),
    [
        ((3840, 2160, 30), 2, 0.0, 2),
        ((3840, 2160, 30), 8, 0.0, 3),
        ((3840, 2160, 30), 8, 6.0, 2),
        ((3840, 2160, 30), 2, 0.4, 2),
        ((3840, 2160, 30), 2, 0.6, 1),
        ((3840, 2160, 30), 1, 0.0, 1),
        ((3840, 2160, 30), 2, 9.0, 1),
        ((1920, 1080, 60), 2, 0.0, 2),
        ((1920, 1080, 30), 64, 0.0, 1),
        ((640, 480, 30), 64, 0.0, 1),
    ],
)
def test_large_pictures_have_as_many_threads_as_they_need_and_find(
    sides_rate: tuple[int, int, int], there: float, taken: float, expected: int
) -> None:
    sound = track("audio", sample_rate=48_000, channel_count=8)
    assert _threads(demand([pictures(*sides_rate), sound], VP8, "drop"), taken, there) == expected


def _threads(needed: Demand, taken: float, there: float) -> int:
    return threads_found(threads_needed(needed, Factors(), there), needed, taken, there)


def test_sound_is_never_a_reason_for_threads() -> None:
    assert threads_needed(Demand(sound_work(1000, 8)), Factors(), 64) == 1


@given(st.lists(st.tuples(SIDES, SIDES, RATES, st.sampled_from([VP8, VP9])), max_size=12), st.floats(0.3, 64))
def test_encoders_with_several_threads_have_no_more_than_there_are_cores(
    wanted: list[tuple[int, int, float, Any]], there: float
) -> None:
    factors = Factors()
    costs: list[Cost] = []
    for width, height, rate, chosen in wanted:
        needed = demand([pictures(width, height, rate)], chosen, "drop")
        costs.append(Cost(needed, _threads(needed, sum(cost.held(factors) for cost in costs), there)))
    several = [cost.threads for cost in costs if cost.threads > 1]
    assert sum(several) <= round(there)


def test_capture_processes_take_their_part() -> None:
    half = Demand(sound_work(10, 2), captured=0.5)
    assert not room(half, Factors(), [0.0], 0.3, 1).fits
    assert room(half, Factors(), [0.0], 0.0, 1).fits


def _start(name: str, one: RecordedTrack, overload: str = "drop") -> messages.Start:
    options = messages.RecordingOptions(
        mime_type="", audio_bits_per_second=1, video_bits_per_second=1, overload=overload
    )
    return messages.Start(client="c", recorder="r", recording=name, tracks=(one,), options=options, at_ns=1)


class _Pool:
    """Workers without processes; they are chosen as the real ones are."""

    def __init__(self, count: int) -> None:
        self.pool = [SimpleNamespace(ready=number % 2 == 0, number=number) for number in range(count)]

    def choose(self, load: Any) -> Any:
        return min(self.pool, key=lambda one: load(one) + (0 if one.ready else STARTING_COST))


_WANTED = st.tuples(st.sampled_from([120, 480, 720, 1080]), st.booleans(), st.integers(0, 5))


@given(st.lists(_WANTED, max_size=40), st.integers(1, 4), st.floats(0.4, 4))
def test_no_worker_ever_has_more_than_it_can_do_in_time(
    wanted: list[tuple[int, bool, int]], count: int, there: float
) -> None:
    """Whatever comes and ends, beside recordings that need not keep up, and while some workers only start."""
    workers: Any = _Pool(count)
    admission = Admission(ServiceOptions(admission=True), there, lambda *_: None)
    going: list[Any] = []
    for number, (lines, elastic, ending) in enumerate(wanted):
        one = pictures(lines * 4 // 3, lines, 30)
        request = _start(f"r{number}", one, "finish-late" if elastic else "drop")
        try:
            worker, found = admission.place(request, VP8, "c", workers)
        except BusyError as busy:
            assert not elastic and busy.needed > busy.free
        else:
            recording = Recording(request, worker, {}, "", "video/webm;codecs=vp8")
            admission.began(recording, found)
            going.append((recording, found))
        if going and ending == 0:
            admission.ended(going.pop(0)[0])
        assert all(cost.threads == 1 for _, cost in going), "no picture here needs more than a core"
        kept_up = [(one, cores(cost.demand)) for one, cost in going if not cost.demand.elastic]
        assert sum(needed for _, needed in kept_up) <= there * CORES_SHARE + 1e-6
        for worker in workers.pool:
            its = sum(needed for one, needed in kept_up if one.worker is worker)
            assert its <= min(1.0, there) * CORES_SHARE + 1e-6


def test_the_sound_of_each_worker_is_due_at_another_time(tmp_path: Path) -> None:
    """So that hardly ever all processors are busy at once; who takes the place of another has its time."""
    started: list[SimpleNamespace] = []

    def start(role: str, *arguments: str) -> SimpleNamespace:
        at_ns = int(arguments[arguments.index("--sound-at") + 1])
        started.append(SimpleNamespace(at_ns=at_ns, ending=False, ready=True, ready_ns=0))
        return started[-1]

    supervisor: Any = SimpleNamespace(start=start, knows=lambda child: True)
    workers = Workers(supervisor, tmp_path, ServiceOptions(workers=4), lambda child: 1.0)
    workers.choose()
    assert [one.at_ns for one in started] == [0, 6_250_000, 12_500_000, 18_750_000]
    workers._children.remove(started[2])
    workers.choose()
    assert started[-1].at_ns == 12_500_000
