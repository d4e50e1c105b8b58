"""A recorded file that is not there any more: an error says so, no empty Blob takes its place, and ``stop`` comes."""

import os
import signal
from pathlib import Path

import pytest
from fixtures_media import wait_until
from listening import ALL_IN_ORDER, record_events, types_of
from media import DEADLINE_S, tone
from services import roles
from traces import role_processes

import recsvc
from recsvc.caller.session import Session
from recsvc.errors import NotReadableError, ServiceError, UnknownError


class Recording:
    """One whose spool file somebody removes."""

    def __init__(self, spool: Path) -> None:
        self.source = recsvc.AudioSource(48_000, 1, when_full="wait")
        self.recorder = recsvc.MediaRecorder(recsvc.MediaStream([self.source.track]))
        self.events = record_events(self.recorder)
        self._spool = spool
        self._known: set[Path] = set()

    def start(self) -> None:
        self._known = set(self._spool.iterdir())
        self.recorder.start()
        self.recorder.wait("start", DEADLINE_S)
        self.source.write(tone(48_000))

    def remove(self) -> None:
        [path] = set(self._spool.iterdir()) - self._known
        path.unlink()

    def told(self) -> list[str]:
        """What was fired up to ``stop``."""
        self.recorder.wait("stop", DEADLINE_S)
        return types_of(self.events)

    def errors(self) -> list[type[Exception]]:
        return [type(event.error) for event in self.events if isinstance(event, recsvc.ErrorEvent)]


def test_at_the_end_of_a_recording(spool: Path) -> None:
    recording = Recording(spool)
    recording.start()
    recording.remove()
    recording.recorder.stop()
    assert recording.told() == ["start", "error", "stop"]
    assert recording.errors() == [NotReadableError]
    assert str(spool) in str(recording.events[1].error)  # type: ignore[attr-defined]
    assert recording.recorder.recording is None
    assert recording.recorder.statistics().tracks[0].frames_encoded > 0, "the accounting is told all the same"
    # The recorder goes on, and an earlier recording never passes for a later one.
    recording.events.clear()
    recording.start()
    recording.recorder.stop()
    assert recording.told() == ALL_IN_ORDER
    assert recording.recorder.recording is not None
    recording.start()
    recording.remove()
    recording.recorder.stop()
    recording.recorder.wait("stop", DEADLINE_S)
    assert recording.recorder.recording is None


@pytest.mark.parametrize(("raised", "told"), [(KeyError, ["error"]), (OSError, ["error"]), (SystemExit, [])])
def test_an_event_that_cannot_be_made_ends_nothing(
    raised: type[BaseException],
    told: list[str],
    spool: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever goes wrong on the way to a listener is logged; ``stop`` comes, and so do the next recording's events."""

    def fail(*_: object) -> None:
        raise raised("on purpose")

    recording = Recording(spool)
    with monkeypatch.context() as patch, caplog.at_level("ERROR", "recsvc"):
        patch.setattr(Session, "blob", fail)
        recording.start()
        recording.recorder.stop()
        assert recording.told() == ["start", *told, "stop"]
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [raised]
    assert recording.errors() == [UnknownError] * len(told)
    recording.remove()  # nobody has it, so it was left for `recsvc recover`
    caplog.clear()
    recording.events.clear()
    recording.start()
    recording.recorder.stop()
    assert recording.told() == ALL_IN_ORDER


def test_when_the_controller_is_gone_as_well(own_controller: None, spool: Path) -> None:
    recording = Recording(spool)
    recording.start()
    recording.remove()
    [controller] = roles("controller")
    os.kill(controller, signal.SIGKILL)
    assert recording.told() == ["start", "error", "error", "stop"]
    assert recording.errors() == [ServiceError, NotReadableError]
    wait_until(lambda: not role_processes(), "the end of the roles", DEADLINE_S)
