"""Who may begin a recording: as far as there is room, and within a client's bounds. And what a service says of
itself."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from fixtures_media import wait_until
from listening import record_events, types_of
from media import DEADLINE_S, assert_accounted, counter_picture, decode, finished, tone
from services import children
from tuned import Tuned, tuned

import recsvc
from recsvc.common.descriptions import ServiceStatus
from recsvc.common.limits import S
from recsvc.common.service_limits import CORES_SHARE, LOAD_REPORT_NS, STATUS_BYTES_MAX
from recsvc.controller.admission import _Captures
from recsvc.controller.placement import Cost, Demand
from recsvc.controller.workers import capacity
from recsvc.errors import BusyError, QuotaExceededError
from recsvc.wire import messages

pytestmark = pytest.mark.usefixtures("own_controller")


def status(there: Tuned, after: str = "") -> ServiceStatus:
    return msgspec.convert(there.client.request(messages.AskStatus(after=after)), ServiceStatus)


def recorder_of(there: Tuned, *sources: Any, **options: Any) -> recsvc.MediaRecorder:
    stream = recsvc.MediaStream([source.track for source in sources])
    return recsvc.MediaRecorder(stream, service=there.endpoint, **options)


def pictures(width: int = 160, height: int = 120) -> recsvc.VideoSource:
    return recsvc.VideoSource(width=width, height=height)


def sound() -> recsvc.AudioSource:
    return recsvc.AudioSource(sample_rate=48_000, channel_count=1)


# --- admission ------------------------------------------------------------------------------------


def test_what_cannot_be_recorded_in_real_time_is_refused_and_what_runs_goes_on(tmp_path: Path) -> None:
    with tuned(tmp_path, admission=True) as there:
        source = sound()
        running = recorder_of(there, source)
        running.start()
        source.write(tone(48_000).tobytes())
        refused: list[recsvc.MediaRecorder] = []
        large = pictures(3840, 2160)
        with pytest.raises(BusyError, match="needs .* cores .* free") as caught:
            for _ in range(40):
                refused.append(recorder_of(there, large, mime_type="video/webm;codecs=vp9"))
                refused[-1].start()
        assert isinstance(caught.value, QuotaExceededError)
        assert caught.value.needed > caught.value.free >= 0
        assert caught.value.needed > 1, "of one worker"
        assert len(refused) == 1 and refused[0].state == "inactive"
        found = status(there)
        assert found.refused == {"busy": 1} and found.cost_max == pytest.approx(capacity() * CORES_SHARE)
        decoded = decode(finished(running))
        assert_accounted(running.statistics(), decoded)
        assert running.statistics().tracks[0].frames_encoded == 48_000


def test_room_that_was_taken_is_free_again_after_the_end(tmp_path: Path) -> None:
    with tuned(tmp_path, admission=True, workers=1) as there:
        source = pictures(640, 480)
        recorders = [recorder_of(there, source, mime_type="video/webm;codecs=vp9") for _ in range(8)]
        begun = []
        with pytest.raises(BusyError) as caught:
            for recorder in recorders:
                recorder.start()
                begun.append(recorder)
        assert len(begun) in (1, 2, 3), caught.value
        free = caught.value.free
        [worker] = status(there).workers
        assert worker.recordings == len(begun)
        assert min(1.0, capacity()) * CORES_SHARE - worker.cost == pytest.approx(free, abs=0.01)
        begun[0].stop()
        begun[0].wait("stop", DEADLINE_S)
        recorders[-1].start()
        for recorder in (*begun[1:], recorders[-1]):
            finished(recorder)


def test_what_may_be_late_is_not_refused(tmp_path: Path) -> None:
    """It is recorded, and all of it, where what is to be in time is refused."""
    frames = [counter_picture(number, 3840, 2160).tobytes() for number in range(2)]
    with tuned(tmp_path, admission=True) as there:
        in_time = recorder_of(there, pictures(3840, 2160), mime_type="video/webm;codecs=vp9")
        with pytest.raises(BusyError):
            in_time.start()
        live = pictures(3840, 2160)
        media = recsvc.VideoSource(width=3840, height=2160, clock="media")
        recorders = (
            recorder_of(there, live, overload="finish-late", mime_type="video/webm;codecs=vp9"),
            recorder_of(there, media, mime_type="video/webm;codecs=vp9"),
        )
        for recorder in recorders:
            recorder.start()
        at_ns = time.monotonic_ns()
        for number, frame in enumerate(frames):
            assert live.write(frame, at_ns + number * S // 25)
            assert media.write(frame, number * S // 25)
        for recorder in recorders:
            decoded = decode(finished(recorder))
            assert_accounted(recorder.statistics(), decoded)
            assert recorder.statistics().tracks[0].frames_encoded == len(frames)
        assert status(there).refused == {"busy": 1}


def test_without_admission_nothing_is_refused(tmp_path: Path) -> None:
    with tuned(tmp_path) as there:
        recorder = recorder_of(there, pictures(3840, 2160), mime_type="video/webm;codecs=vp9")
        recorder.start()
        finished(recorder)
        assert status(there).cost_max == 0


class _Child:
    def __init__(self, pid: int) -> None:
        self.process = SimpleNamespace(pid=pid)


def test_what_a_capture_process_takes_is_measured() -> None:
    """Not what it declares, which here is nothing: it is this process, which works meanwhile."""
    captures, child, gone = _Captures(), _Child(os.getpid()), _Child(2**22 + 1)
    running: Any = SimpleNamespace(feeders={"a": child}), Cost(Demand({}, captured=0.2))
    other: Any = SimpleNamespace(feeders={"b": child, "c": gone}), Cost(Demand({}, captured=0.3))
    assert captures.cores([running, other]) == 0.5
    began_ns = time.monotonic_ns()
    captures.look({child, gone}, began_ns)
    cpu_ns = time.process_time_ns()
    while time.process_time_ns() - cpu_ns < 50_000_000:
        pass
    captures.look({child, gone}, began_ns + LOAD_REPORT_NS - 1)
    assert captures.cores([running]) == 0.2, "not yet"
    captures.look({child, gone}, began_ns + LOAD_REPORT_NS)
    found = captures.cores([running, running])
    assert 0.05 <= found < 1, "one process counts once"
    assert captures.cores([running, other]) == pytest.approx(0.3 + found)
    captures.look(set(), began_ns + 3 * LOAD_REPORT_NS)
    assert captures.cores([running]) == 0.2


# --- bounds of a client ---------------------------------------------------------------------------


def test_a_client_has_so_many_recordings_at_once(tmp_path: Path) -> None:
    with tuned(tmp_path, recordings_per_client_max=2) as there:
        source = sound()
        recorders = [recorder_of(there, source) for _ in range(3)]
        recorders[0].start()
        recorders[1].start()
        with pytest.raises(QuotaExceededError, match="may have 2 at once") as caught:
            recorders[2].start()
        assert not isinstance(caught.value, BusyError)
        finished(recorders[0])
        recorders[2].start()
        finished(recorders[1])
        finished(recorders[2])


def test_near_the_limit_of_descriptors_further_recordings_are_refused_and_what_runs_goes_on(tmp_path: Path) -> None:
    """libzmq aborts a process that has none left for a connection, and with it all that it records."""
    with tuned(tmp_path, workers=1) as there:
        source = sound()
        running = [recorder_of(there, source)]
        running[0].start()
        worker = children("encode", there.process.pid)[0]
        limit_descriptors(worker, spare=24)
        with pytest.raises(QuotaExceededError, match="LimitNOFILE"):
            for _ in range(30):
                running.append(recorder_of(there, source))
                running[-1].start()
        limit_descriptors(worker, spare=1000)
        limit_descriptors(there.process.pid, spare=12)
        with pytest.raises(QuotaExceededError, match="LimitNOFILE"):
            running[-1].start()
        source.write(tone(4800))
        for recorder in running[:-1]:
            assert len(decode(finished(recorder)).samples) == 4800
        assert len(running) > 2


def limit_descriptors(pid: int, spare: int) -> None:
    most = len(os.listdir(f"/proc/{pid}/fd")) + spare
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))


def test_a_client_that_has_too_many_bytes_loses_its_largest_recording_with_its_data(tmp_path: Path) -> None:
    most = 60_000
    with tuned(tmp_path, bytes_per_client_max=most) as there:
        large, small = sound(), sound()
        first, second = recorder_of(there, large), recorder_of(there, small)
        events = record_events(first)
        for recorder in (first, second):
            recorder.start()
        small.write(tone(4_800).tobytes())
        block = tone(48_000).tobytes()

        def ends() -> bool:
            large.write(block)
            return first.state != "recording"

        wait_until(ends, "the end of the one that grows", DEADLINE_S)
        first.wait("stop", DEADLINE_S)
        assert types_of(events) == ["start", "error", "dataavailable", "stop"]
        assert isinstance(events[1].error, QuotaExceededError) and f"may have {most}" in str(events[1].error)
        assert first.recording is not None and first.recording.size > most / 2
        assert len(decode(first.recording).samples) == first.statistics().tracks[0].frames_encoded > 0
        assert second.state == "recording"
        assert len(decode(finished(second)).samples) == 4_800


def encoded(recorder: recsvc.MediaRecorder) -> int:
    tracks = recorder.statistics().tracks
    return tracks[0].frames_encoded if tracks else 0


# --- status ---------------------------------------------------------------------------------------


def test_a_service_says_how_it_is(tmp_path: Path) -> None:
    with tuned(tmp_path, workers=2) as there:
        wait_until(lambda: [one.state for one in status(there).workers] == ["ready"] * 2, "both workers", DEADLINE_S)
        source = sound()
        recorder = recorder_of(there, source)
        recorder.start()
        source.write(tone(48_000).tobytes())
        wait_until(lambda: encoded(recorder) == 48_000, "the sound", DEADLINE_S)
        recorder.pause()
        wait_until(lambda: status(there).recordings_by_state == {"paused": 1}, "the pause", DEADLINE_S)
        found = status(there)
        [one] = found.recordings
        assert one.recording == recorder._session.name and one.state == "paused"
        assert one.statistics is not None and one.statistics.state == "paused"
        assert one.statistics.tracks[0].frames_encoded == 48_000 and one.statistics.tracks[0].level_dbfs is not None
        assert abs(one.began - time.time()) < DEADLINE_S and one.cost > 0
        assert sorted(worker.pid for worker in found.workers) == sorted(children("encode", there.process.pid))
        assert [worker.number for worker in found.workers] == [0, 1]
        own = next(worker for worker in found.workers if worker.number == one.worker)
        assert own.recordings == 1 and own.frames_encoded > 0 and own.encode_ns > 0
        disk = os.statvfs(there.spool)
        assert found.free_bytes is not None and abs(found.free_bytes - disk.f_bavail * disk.f_frsize) < 2**30
        assert found.clients == 2 and found.spool == str(there.spool) and not found.more
        finished(recorder)
        assert status(there).recordings == ()


def test_a_worker_that_is_halted_delays_the_answer_only_a_moment(tmp_path: Path) -> None:
    with tuned(tmp_path, workers=1) as there:
        source = sound()
        recorder = recorder_of(there, source)
        recorder.start()
        [worker] = children("encode", there.process.pid)
        os.kill(worker, signal.SIGSTOP)
        try:
            [one] = status(there).recordings
            assert one.state == "recording" and one.statistics is None
        finally:
            os.kill(worker, signal.SIGCONT)
        finished(recorder)


def test_more_recordings_than_have_room_in_an_answer_are_asked_for_in_turn(tmp_path: Path) -> None:
    with tuned(tmp_path) as there:
        options = messages.RecordingOptions(mime_type="", audio_bits_per_second=32_000, video_bits_per_second=1)
        track = messages.RecordedTrack(
            track="t", kind="audio", captured=False, settings={"sample_rate": 8_000, "channel_count": 1}
        )
        names = [f"r{number:03}-{'x' * 90}" for number in range(70)]
        for name in names:
            there.client.request(
                messages.Start(
                    client=there.client.name,
                    recorder="r",
                    recording=name,
                    tracks=(track,),
                    options=options,
                    at_ns=time.monotonic_ns(),
                    name="ä" * 200,
                )
            )
        found, after, answers = [], "", 0
        while True:
            answer = status(there, after)
            assert len(messages.encode(answer)) < STATUS_BYTES_MAX + 8_192
            assert answer.recordings_by_state == {"recording": len(names)}
            assert all(one.statistics is not None for one in answer.recordings)
            found += [one.recording for one in answer.recordings]
            answers += 1
            if not answer.more:
                break
            after = found[-1]
        assert found == names and answers > 1
        there.client.request(messages.Bye(client=there.client.name))
