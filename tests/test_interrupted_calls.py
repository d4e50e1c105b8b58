"""Calls that a signal handler interrupts, by an exception or by calls of its own: each has happened or has not, and
what it began is undone."""

import contextlib
import gc
import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fixtures_media import wait_until
from interruptions import Interrupter, Interruption, everywhere, interrupt
from listening import ALL_IN_ORDER, record_types
from media import DEADLINE_S, SMALL_TEST
from services import roles
from traces import role_processes, spool_files

import recsvc
from recsvc.caller import calls, client, connections
from recsvc.caller.stream import track_of
from recsvc.errors import InvalidStateError, QuotaExceededError, RecorderError, ServiceError
from recsvc.wire.lending import lend

RATE = 8_000
BLOCK = bytes(320)  # 20 ms
FILES = (
    "caller/calls.py",
    "caller/media_recorder.py",
    "caller/recorder.py",
    "caller/recordings.py",
    "caller/origin.py",
    "caller/stream.py",
    "caller/user_media.py",
    "caller/event_log.py",
    "caller/listeners.py",
    "wire/sender.py",
    "wire/lending.py",
    "wire/sound.py",
)


@pytest.fixture
def source() -> Iterator[recsvc.AudioSource]:
    made = recsvc.AudioSource(RATE, 1)
    yield made
    made.end()


@pytest.fixture
def recorder(source: recsvc.AudioSource) -> Iterator[recsvc.MediaRecorder]:
    with recsvc.MediaRecorder(recsvc.MediaStream([source.track])) as made:
        made.start()  # the controller and all that is made once are there
        finished(made)
        yield made
    forget(made)


def finished(recorder: recsvc.MediaRecorder) -> recsvc.Blob:
    if recorder.state != "inactive":
        recorder.stop()
    recorder.wait("stop", DEADLINE_S)
    assert recorder.recording is not None
    return recorder.recording


def forget(recorder: recsvc.MediaRecorder) -> None:
    """Nothing that it has fired keeps a file any more."""
    wait_until(lambda: recorder._dispatcher is None, "the end of the recordings", DEADLINE_S)
    recorder._listeners.forget()
    recorder._recording = None


def assert_clean(recorder: recsvc.MediaRecorder, source: recsvc.AudioSource) -> None:
    """It records again, exactly; nothing of before is left."""
    assert recorder.state == "inactive"
    recorder.start()
    assert all(source.write(BLOCK, number * 20_000_000) for number in range(10))
    blob = finished(recorder)
    [track] = recorder.statistics().tracks
    assert track.frames_accepted == track.frames_encoded == 10 * 160 and not track.frames_dropped
    assert blob.size
    assert not source._sender._routes and not track_of(source.track).routes


def no_file_is_left(recorder: recsvc.MediaRecorder) -> None:
    def none() -> bool:
        gc.collect()
        return not spool_files()

    forget(recorder)
    wait_until(none, "the end of what was given up", DEADLINE_S)


# --- by an exception ------------------------------------------------------------------------------


def test_an_interrupted_start_leaves_nothing(recorder: recsvc.MediaRecorder, source: recsvc.AudioSource) -> None:
    events = record_types(recorder)

    def act(interrupter: Interrupter) -> None:
        try:
            with interrupter:
                recorder.start()
        except Interruption:
            assert recorder.state == "inactive"
            assert not source._sender._routes and not track_of(source.track).routes
            assert not source.write(BLOCK)
        else:  # the one before may have been interrupted so late that it has events, which are still to come
            recorder.stop()

    assert everywhere(FILES, interrupt, act) > 8
    no_file_is_left(recorder)
    assert events.count("start") == events.count("dataavailable") == events.count("stop") and "error" not in events
    assert_clean(recorder, source)
    wait_until(lambda: not calls._under_way, "the end of all calls", DEADLINE_S)


def test_a_start_that_is_given_up_as_it_is_told_has_no_events(
    recorder: recsvc.MediaRecorder, source: recsvc.AudioSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that fires events has the first one in hand already."""
    events = record_types(recorder)
    take = recorder._take

    def give_up_first(event: Any) -> None:
        if event.type == "start":
            recorder._undo_start(recorder._sessions[event.recording])
        take(event)

    monkeypatch.setattr(recorder, "_take", give_up_first)
    recorder.start()
    wait_until(lambda: recorder._dispatcher is None, "the end of the recording", DEADLINE_S)
    monkeypatch.undo()
    assert not events
    no_file_is_left(recorder)
    assert_clean(recorder, source)


@pytest.mark.parametrize("name", ["stop", "pause", "resume", "request_data", "close"])
def test_an_interrupted_call_is_completed_or_was_none(source: recsvc.AudioSource, name: str) -> None:
    def act(interrupter: Interrupter) -> None:
        recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
        recorder.start()
        if name == "resume":
            recorder.pause()
        interrupted = False
        try:
            with interrupter:
                getattr(recorder, name)()
        except Interruption:
            interrupted = True
        after = {"stop": "inactive", "close": "inactive", "pause": "paused", "resume": "recording"}.get(name)
        if not interrupted:
            assert after is None or recorder.state == after
        state = recorder.state
        assert source.write(BLOCK) == (state == "recording")
        if state != "inactive":
            recorder.stop()
        assert not track_of(source.track).routes and not source._sender._routes
        recorder.wait("stop", 5)

    assert everywhere(FILES, interrupt, act) > 5


def test_an_interrupted_change_of_a_track_is_completed_or_was_none(source: recsvc.AudioSource) -> None:
    with recsvc.MediaRecorder(recsvc.MediaStream([source.track])) as recorder:
        recorder.start()
        [route] = source._sender._routes.values()

        def act(interrupter: Interrupter) -> None:
            source.track.enabled = True
            with contextlib.suppress(Interruption), interrupter:
                source.track.enabled = False
            assert route.enabled == source.track.enabled

        assert everywhere(FILES, interrupt, act) > 5

    def stop(interrupter: Interrupter) -> None:
        source = recsvc.AudioSource(RATE, 1)
        recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
        recorder.start()
        with contextlib.suppress(Interruption), interrupter:
            source.track.stop()
        ended = source.track.ready_state == "ended"
        assert source.write(BLOCK) != ended
        if not ended:
            source.end()
        recorder.wait("stop", 5)

    assert everywhere(FILES, interrupt, stop) > 5


def test_calls_interrupted_at_random_moments(recorder: recsvc.MediaRecorder, source: recsvc.AudioSource) -> None:
    """By real signals, hundreds of times."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)

    def handler(*_: object) -> None:
        raise Interruption

    failures: list[recsvc.ErrorEvent] = []
    recorder.onerror = failures.append
    numbers = itertools.count()
    steps: dict[str, tuple[Callable[[], object], float]] = {
        "start": (recorder.start, 0.006),
        "write": (lambda: source.write(BLOCK, next(numbers) * 20_000_000), 0.0002),
        "pause": (recorder.pause, 0.0004),
        "resume": (recorder.resume, 0.0004),
        "request_data": (recorder.request_data, 0.0004),
        "statistics": (recorder.statistics, 0.002),
        "stop": (recorder.stop, 0.0006),
    }
    before = signal.signal(signal.SIGALRM, handler)
    interrupted = 0
    try:
        for _ in range(600):
            active = recorder.state != "inactive"
            name = rng.choice([*steps] if active else ["start", "statistics", "write"])
            call, usual_s = steps[name]
            before_call = recorder.state
            returned = False
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-6, usual_s * 1.3))
                call()
                returned = True
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interruption:
                interrupted += 1
                if name == "start" and before_call == "inactive" and not returned:
                    assert recorder.state == "inactive"
            except InvalidStateError:
                assert name == "start" and before_call != "inactive"
            finally:
                while True:
                    try:
                        signal.setitimer(signal.ITIMER_REAL, 0)
                        break
                    except Interruption:
                        pass
            assert (len(source._sender._routes) > 0) == (recorder.state != "inactive"), name
    finally:
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 50 and not failures
    if recorder.state != "inactive":
        recorder.stop()
    wait_until(lambda: recorder._dispatcher is None, "the end of the recordings", DEADLINE_S)
    no_file_is_left(recorder)
    assert_clean(recorder, source)


def test_an_interrupted_get_user_media_leaves_no_source_open(own_controller: None) -> None:
    recsvc.get_user_media(audio=SMALL_TEST).close()
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)

    def handler(*_: object) -> None:
        raise Interruption

    before = signal.signal(signal.SIGALRM, handler)
    interrupted = 0
    try:
        for _ in range(8):
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0005, 0.3))
            try:
                stream = recsvc.get_user_media(audio="test:")
                signal.setitimer(signal.ITIMER_REAL, 0)
                stream.close()
            except Interruption:
                interrupted += 1
                with contextlib.suppress(NameError):
                    stream.close()
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert interrupted
    wait_until(lambda: not roles("capture"), "the end of every source", DEADLINE_S)


def test_an_interrupted_first_start_leaves_no_controller(own_controller: None) -> None:
    """Where it is the private controller's start that takes the time."""

    def handler(*_: object) -> None:
        raise Interruption

    before = signal.signal(signal.SIGALRM, handler)
    source = recsvc.AudioSource(RATE, 1)
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
    try:
        for delay_s in (0.001, 0.01, 0.05):
            try:
                signal.setitimer(signal.ITIMER_REAL, delay_s)
                recorder.start()
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interruption:
                assert recorder.state == "inactive"
            else:  # on a fast machine
                finished(recorder)
                connections.close_all()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    connections.close_all()  # on a slow machine the last one may have been connected before
    wait_until(lambda: not role_processes(), "the end of all roles", DEADLINE_S)
    recorder.start()
    finished(recorder)


# --- by calls -------------------------------------------------------------------------------------


def test_a_handler_may_stop_anywhere_in_a_start(recorder: recsvc.MediaRecorder, source: recsvc.AudioSource) -> None:
    events = record_types(recorder)

    def handler() -> None:
        with contextlib.suppress(InvalidStateError):  # before the start has begun, or behind it
            recorder.stop()

    def act(interrupter: Interrupter) -> None:
        events.clear()
        with interrupter:
            recorder.start()
        if recorder.state != "inactive":
            recorder.stop()
        recorder.wait("stop", 5)
        assert events == ALL_IN_ORDER
        assert not source._sender._routes

    assert everywhere(FILES, handler, act) > 8
    assert_clean(recorder, source)


def test_a_handler_may_stop_and_wait_anywhere_in_a_write(
    recorder: recsvc.MediaRecorder, source: recsvc.AudioSource
) -> None:
    """The recording ends at once, although the write that the handler has halted does not go on meanwhile."""
    held: list[float] = []

    def handler() -> None:
        begin_s = time.monotonic()
        recorder.stop()
        recorder.wait("stop", 5)
        held.append(time.monotonic() - begin_s)

    def act(interrupter: Interrupter) -> None:
        recorder.start()
        assert source.write(BLOCK, 0)
        with interrupter:
            source.write(BLOCK, 20_000_000)
        if recorder.state != "inactive":
            handler()
        assert not source.write(BLOCK)
        [track] = recorder.statistics().tracks
        assert track.frames_accepted == track.frames_encoded and track.frames_encoded in (160, 320)

    files = ("wire/sender.py", "wire/lending.py", "wire/route.py", "wire/sound.py", "caller/push.py")
    assert everywhere(files, handler, act) > 15
    assert max(held) < 5
    assert_clean(recorder, source)


def test_a_write_has_its_lock_again_after_a_handler_that_was_interrupted_itself(
    recorder: recsvc.MediaRecorder, source: recsvc.AudioSource
) -> None:
    """By a second signal, while it waits to take back what was lent."""

    class Lock:
        def __init__(self, lock: Any) -> None:
            self._lock = lock
            self.interrupts = False

        def acquire(self) -> None:
            if self.interrupts:
                self.interrupts = False
                raise Interruption
            self._lock.acquire()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._lock, name)

        def __enter__(self) -> None:
            self._lock.acquire()

        def __exit__(self, *_: object) -> None:
            self._lock.release()

    writes = source._sender._writes
    lock = writes.lock = Lock(writes.lock)  # type: ignore[assignment]

    def interrupted_as_it_waits() -> bool:
        with pytest.raises(Interruption), lend():
            lock.interrupts = True
        return lock._is_owned()

    def interrupted_before() -> bool:
        lend().__enter__()
        gc.collect()  # what was left never comes back to take a lock
        return not lock._is_owned()

    recorder.start()
    try:
        assert writes.step(interrupted_as_it_waits)
        assert writes.step(interrupted_before)
        assert not lock._is_owned()
    finally:
        writes.lock = lock._lock
    assert source.write(BLOCK, 0)
    assert finished(recorder).size
    assert_clean(recorder, source)


def test_calls_of_a_handler_inside_any_other_call(recorder: recsvc.MediaRecorder, source: recsvc.AudioSource) -> None:
    other = recsvc.AudioSource(RATE, 1)
    beside = recsvc.MediaRecorder(recsvc.MediaStream([other.track]))

    def handler() -> None:
        beside.start()
        assert other.write(BLOCK, 0)
        beside.stop()
        beside.wait("stop", 5)

    def act(interrupter: Interrupter) -> None:
        recorder.start()
        with interrupter:
            recorder.pause()
            recorder.stop()
            recorder.wait("stop", 5)

    assert everywhere(("caller/calls.py", "caller/event_log.py", "caller/listeners.py"), handler, act) > 8
    assert_clean(recorder, source)


# --- what fails in the midst ----------------------------------------------------------------------


def test_a_start_without_descriptors_is_told_and_leaves_nothing(
    recorder: recsvc.MediaRecorder, source: recsvc.AudioSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(name) for name in os.listdir("/proc/self/fd"))
    for room in range(6):
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1 + room, limits[1]))
        try:
            recorder.start()
        except RecorderError as error:
            assert isinstance(error, QuotaExceededError | ServiceError), error
            assert recorder.state == "inactive"
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        if recorder.state != "inactive":
            finished(recorder)
    no_file_is_left(recorder)
    assert_clean(recorder, source)


def test_a_start_that_nobody_answers_in_time_leaves_nothing(
    source: recsvc.AudioSource, own_controller: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
    recorder.start()
    finished(recorder)
    [controller] = roles("controller")
    os.kill(controller, signal.SIGSTOP)
    try:
        monkeypatch.setattr(client.Client.request, "__defaults__", (50_000_000,))
        with pytest.raises(ServiceError, match="no answer"):
            recorder.start()
        assert recorder.state == "inactive"
    finally:
        monkeypatch.undo()
        os.kill(controller, signal.SIGCONT)
    no_file_is_left(recorder)
    assert_clean(recorder, source)
    no_file_is_left(recorder)
