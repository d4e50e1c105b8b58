"""Where frames stand in recorded time, what is a key frame, where sound is missing."""

from recsvc.common.limits import (
    AUDIO_GAP_NS,
    BACKLOG_FRAMES_FAST,
    BACKLOG_FRAMES_SLOW,
    GAP_MAX_NS,
    HURRY_STEP_NS,
    KEY_FRAME_INTERVAL_COUNT,
    MS,
    SPEED_RESTORE_NS,
    VIDEO_CREDIT_FRAMES,
    S,
)
from recsvc.encode.timeline import TICK_NS, AudioTimeline, Hurry, KeyFrames, SpeedControl, VideoTimeline


def keys(policy: KeyFrames, frames: list[tuple[int, int]]) -> list[int]:
    """Indices of the frames (recorded_ns, paused_ns) that are key frames."""
    found = []
    for index, (recorded_ns, paused_ns) in enumerate(frames):
        if policy.wanted(recorded_ns, paused_ns):
            policy.made(recorded_ns)
            found.append(index)
    return found


def steady(count: int, interval_ns: int = 33 * MS) -> list[tuple[int, int]]:
    return [(index * interval_ns, 0) for index in range(count)]


def test_interval_count_means_so_many_others_between() -> None:
    assert keys(KeyFrames(None, 3), steady(10)) == [0, 4, 8]
    assert keys(KeyFrames(None, 0), steady(4)) == [0, 1, 2, 3]


def test_interval_duration_takes_the_first_frame_at_or_after_it() -> None:
    assert keys(KeyFrames(2000, None), steady(9, 500 * MS)) == [0, 4, 8]
    assert keys(KeyFrames(1999, None), steady(9, 500 * MS)) == [0, 4, 8]
    assert keys(KeyFrames(2001, None), steady(11, 500 * MS)) == [0, 5, 10]


def test_default_bounds_frames_and_time() -> None:
    assert keys(KeyFrames(None, None), steady(KEY_FRAME_INTERVAL_COUNT * 2 + 1)) == [0, 100, 200]
    assert keys(KeyFrames(None, None), steady(25, S)) == [0, 10, 20]


def test_the_first_frame_after_a_pause_is_a_key_frame() -> None:
    assert keys(KeyFrames(None, None), [(0, 0), (33 * MS, 0), (66 * MS, 5 * S), (99 * MS, 5 * S)]) == [0, 2]


def test_a_key_frame_the_encoder_made_by_itself_counts() -> None:
    policy = KeyFrames(None, 3)
    assert policy.wanted(0, 0)
    policy.made(0)
    for index in range(1, 3):
        assert not policy.wanted(index * MS, 0)
    policy.made(2 * MS)
    assert [policy.wanted(index * MS, 0) for index in range(3, 7)] == [False, False, False, True]


def test_video_times_rise_strictly_whatever_comes() -> None:
    timeline = VideoTimeline(30)
    placed = [timeline.place(t, 0)[0] for t in (100 * MS, 133 * MS, 133 * MS, 90 * MS, 133 * MS + 1, 200 * MS)]
    assert all(b - a >= TICK_NS for a, b in zip(placed, placed[1:], strict=False))
    assert placed[-1] == 200 * MS  # a good time stamp is never touched
    assert timeline.corrected == {"repeated": 1, "backward": 2}


def test_video_duration_is_the_last_interval() -> None:
    timeline = VideoTimeline(25)
    assert timeline.place(0, 0)[1] == 40 * MS
    assert timeline.place(50 * MS, 0)[1] == 50 * MS
    assert timeline.place(100 * S, 0)[1] == S  # rate control is not told of a whole pause


def test_video_stands_at_its_capture_time_less_the_pauses_and_may_come_a_tick_later() -> None:
    timeline = VideoTimeline(None)
    assert timeline.end_ns is None
    assert timeline.place(5 * S, 2 * S)[0] == 3 * S
    assert timeline.place(5 * S + TICK_NS, 2 * S)[0] == 3 * S + TICK_NS and timeline.corrected == {}
    assert timeline.place(5 * S + 2 * TICK_NS - 1, 2 * S)[0] == 3 * S + 2 * TICK_NS
    assert timeline.corrected == {"close": 1}


def test_a_last_picture_lasts_as_its_rate_says_or_as_the_one_before_it() -> None:
    rated, unrated = VideoTimeline(25), VideoTimeline(None)
    for timeline in (rated, unrated):
        timeline.place(S, 0)
        timeline.place(9 * S, 0)  # however far apart
    assert (rated.end_ns, unrated.end_ns) == (9 * S + 40 * MS, 17 * S)


def test_sound_by_positions_in_the_media_is_filled_up_to_the_limit_alone() -> None:
    for apart_ns, silence, corrected in (
        (AUDIO_GAP_NS, 0, {}),
        (AUDIO_GAP_NS + MS, 21 * 48, {"gap": 1}),
        (GAP_MAX_NS, 3600 * 48_000, {"gap": 1}),
        (GAP_MAX_NS + MS, 0, {}),
        (-AUDIO_GAP_NS - MS, 0, {"early": 1}),
    ):
        timeline = AudioTimeline(48_000, is_media=True)
        timeline.place(0, 0, 48_000)
        assert timeline.place(S + apart_ns, 0, 480) == silence, apart_ns
        assert timeline.corrected == corrected, apart_ns


def test_jitter_and_small_delays_leave_sound_alone() -> None:
    timeline = AudioTimeline(48_000)
    for index in range(100):
        assert timeline.place(S + index * 10 * MS + (19 * MS if index % 3 else 0), 0, 480) == 0
    assert timeline.end_ns == 2 * S and timeline.corrected == {}


def test_a_gap_becomes_silence_of_its_length() -> None:
    timeline = AudioTimeline(48_000)
    assert timeline.place(0, 0, 480) == 0
    assert timeline.place(110 * MS, 0, 480) == 4800
    assert timeline.end_ns == 120 * MS
    assert timeline.corrected == {"gap": 1}


def test_paused_time_is_no_gap() -> None:
    timeline = AudioTimeline(48_000)
    timeline.place(0, 0, 480)
    assert timeline.place(5 * S + 10 * MS, 5 * S, 480) == 0


def test_an_absurd_time_stamp_is_counted_and_fills_no_disk() -> None:
    timeline = AudioTimeline(48_000)
    timeline.place(0, 0, 480)
    assert timeline.place(GAP_MAX_NS * 2, 0, 480) == 0
    assert timeline.corrected == {"absurd": 1}


def test_the_encoder_hurries_only_while_pictures_pile_up() -> None:
    control = SpeedControl(2, Hurry())
    assert not any(control.update(BACKLOG_FRAMES_SLOW - 1, index * MS) for index in range(100))
    changes = [control.update(BACKLOG_FRAMES_SLOW, index * 10 * MS) for index in range(100)]
    assert (control.step, control.raised) == (2, 2)
    # A step is given time to show its effect.
    first, second = [index for index, changed in enumerate(changes) if changed]
    assert second - first > BACKLOG_FRAMES_SLOW and second - first >= 2 * HURRY_STEP_NS // (10 * MS)
    calm = [control.update(0, S + index * S) for index in range(30)]
    assert control.step == 0 and sum(calm) == 2
    assert SPEED_RESTORE_NS == 5 * S and calm.index(True) == 5


def hurried_within(limit_ns: int, waiting: int) -> list[int]:
    """Which of 8 recordings of one worker are hurried, in that order, when so many pictures of each wait."""
    hurry = Hurry()
    controls = [SpeedControl(3, hurry) for _ in range(8)]
    for control in controls:
        assert not any(control.update(0, index * MS) for index in range(20))
    instants = range(S, S + limit_ns, 30 * MS)
    return [number for at_ns in instants for number, one in enumerate(controls) if one.update(waiting, at_ns)]


def test_a_worker_that_is_late_hurries_one_recording_after_the_other_and_all_before_any_drops() -> None:
    assert hurried_within(30 * MS, BACKLOG_FRAMES_SLOW) == [0]
    assert hurried_within(3 * HURRY_STEP_NS, BACKLOG_FRAMES_SLOW) == [0, 1, 2]
    assert hurried_within(20 * HURRY_STEP_NS, BACKLOG_FRAMES_SLOW)[:8] == list(range(8))
    assert hurried_within(30 * MS, BACKLOG_FRAMES_FAST) == list(range(8))
    assert BACKLOG_FRAMES_FAST < VIDEO_CREDIT_FRAMES // 2
