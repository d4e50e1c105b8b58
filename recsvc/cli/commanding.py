"""What ``recsvc start``, ``pause``, ``resume``, ``stop`` and ``rm`` do."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .. import errors, recording
from ..caller import at_service
from ..common.descriptions import RecordingAction
from . import fetching, rows
from .at_service import AtService
from .target import Failed, Problems, UsageError, check_wanted

_PAST = {"pause": "paused", "resume": "recording", "stop": "stopping"}


def start(
    service: str | None, wishes: dict[str, dict[str, Any] | None], as_json: bool, *, mime_type: str, **options: Any
) -> None:
    """Prints the id of what began."""
    if not any(wishes.values()):
        raise UsageError("--audio or --video is needed: say what to record, such as --video rtsp://camera.example/1")
    check_wanted(wishes, mime_type)
    begun = at_service.begin(AtService(service).client, wishes, mime_type=mime_type, **options)
    if as_json:
        print(json.dumps({"recording": begun.recording, "topic": begun.topic, "path": begun.path}))
    else:
        print(rows.printable(begun.recording))


def control(service: str | None, words: Iterable[str], action: RecordingAction, as_json: bool) -> None:
    """Pauses or resumes."""
    there = AtService(service)
    done = []

    def do(word: str) -> None:
        name = there.running(word)
        at_service.command(there.client, name, action)
        done.append({"recording": name, "state": _PAST[action]})
        if not as_json:
            print(f"{rows.printable(name)} {_PAST[action]}")

    _for_each(words, do, lambda: print(json.dumps(done)) if as_json else None)


def stop(service: str | None, words: list[str], output: Path | None, *, wait: bool, as_json: bool) -> None:
    """Stops, and waits for the end."""
    if output is not None and (len(words) != 1 or not wait):
        raise UsageError("-o takes exactly one recording, and waits for its end")
    there = AtService(service)
    names: list[str] = []
    done: list[dict[str, Any]] = []

    def ask(word: str) -> None:
        name = there.running(word)
        if name not in names:
            try:
                at_service.command(there.client, name, "stop")
            except errors.InvalidStateError:
                if not there.keeps:
                    raise
            names.append(name)

    def finish(name: str) -> None:
        row: dict[str, Any] = {"recording": name, "state": "stopping"}
        if wait:
            row = _ended(there, name, output, quiet=as_json)
        done.append(row)
        if not as_json:
            saved = f", saved to {row['file']}" if row.get("file") else ""
            print(rows.printable(f"{name} {row['state']}{': ' + row['error'] if row.get('error') else ''}") + saved)

    # All of them stop before the first is waited for.
    problems = _each(words, ask) + _each(names, finish)
    if as_json:
        print(json.dumps(done))
    _raise(problems)


def _ended(there: AtService, name: str, output: Path | None, *, quiet: bool) -> dict[str, Any]:
    if there.keeps:
        found = recording.get(name, service=there.service)
        with contextlib.suppress(errors.InvalidStateError):  # it has ended by now
            found.stop()
        found.update()
        saved = None if output is None else fetching.save(found, output, quiet=quiet)
        return fetching.described(found, saved)
    if output is not None:
        raise Failed(f"this service keeps no recordings: {name} belongs to the program that made it, which has it now")
    finished = at_service.stopped(there.client, name)
    error = f"{finished.error}: {finished.text}" if finished.error else ""
    return {
        "recording": name,
        "state": "failed" if error else "finished",
        "error": error,
        "mime_type": finished.whole.mime_type,
        "duration": finished.whole.duration,
        "size_bytes": finished.whole.end,
        "file": None,
    }


def remove(service: str | None, words: Iterable[str], as_json: bool) -> None:
    """Deletes."""
    there = AtService(service)
    done = []

    def do(word: str) -> None:
        found = there.kept(word)
        found.delete()
        done.append({"recording": found.id, "name": found.name, "size_bytes": found.size})
        if not as_json:
            print(f"{rows.printable(found.id)} deleted")

    _for_each(words, do, lambda: print(json.dumps(done)) if as_json else None)


def _for_each(words: Iterable[str], do: Callable[[str], None], at_end: Callable[[], None]) -> None:
    problems = _each(words, do)
    at_end()
    _raise(problems)


def _each(words: Iterable[str], do: Callable[[str], None]) -> list[Exception]:
    """What went wrong with some of them, which does not keep it from the others."""
    problems: list[Exception] = []
    for word in list(words):
        try:
            do(word)
        except (Failed, UsageError, errors.RecorderError, OSError) as error:
            problems.append(error)
    return problems


def _raise(problems: list[Exception]) -> None:
    if problems:
        raise problems[0] if len(problems) == 1 else Problems(problems)
