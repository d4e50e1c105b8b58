"""What an event may be made of, and how the public names look to a program and to its type checker."""

import copy
import inspect
import pickle
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import recsvc
from recsvc import aio, errors
from recsvc.caller.events import EVENT_TYPES, BlobEvent, ErrorEvent, Event
from recsvc.caller.listeners import Handler

ROOT = Path(recsvc.__file__).parent.parent


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [None, b"bytes", "text", 7, [recsvc.Blob()]])
def test_the_data_of_an_event_is_a_blob(wrong: object) -> None:
    with pytest.raises(TypeError, match=re.escape(repr(wrong))):
        BlobEvent("dataavailable", data=wrong)  # type: ignore[arg-type]
    blob = recsvc.Blob([b"x"])
    event = BlobEvent("dataavailable", data=blob, timecode=2.5)
    assert (event.type, event.data, event.timecode) == ("dataavailable", blob, 2.5)
    with pytest.raises(TypeError, match="'soon'"):
        BlobEvent("dataavailable", data=blob, timecode="soon")  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [None, "text", ValueError, SystemExit(3)])
def test_the_error_of_an_event_is_an_exception(wrong: object) -> None:
    with pytest.raises(TypeError, match=re.escape(repr(wrong))):
        ErrorEvent("error", error=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [None, 7, b"stop"])
def test_the_type_of_an_event_is_a_string(wrong: object) -> None:
    for make in (
        lambda: Event(wrong),  # type: ignore[arg-type]
        lambda: BlobEvent(wrong, data=recsvc.Blob()),  # type: ignore[arg-type]
        lambda: ErrorEvent(wrong, error=ValueError()),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match=re.escape(repr(wrong))):
            make()


def test_what_an_event_brings_is_given_by_name_and_stays() -> None:
    blob = recsvc.Blob([b"x"])
    assert BlobEvent("dataavailable", data=blob).timecode == 0
    for make in (
        lambda: BlobEvent("dataavailable", blob),  # type: ignore[call-arg,misc]
        lambda: BlobEvent("dataavailable", 2.0, data=blob),  # type: ignore[misc]
        lambda: ErrorEvent("error", ValueError()),  # type: ignore[call-arg,misc]
        lambda: BlobEvent("dataavailable"),  # type: ignore[call-arg]
    ):
        with pytest.raises(TypeError):
            make()
    for event in (Event("stop"), BlobEvent("dataavailable", data=blob), ErrorEvent("error", error=ValueError())):
        for name in ("type", "else"):
            with pytest.raises((AttributeError, TypeError)):
                setattr(event, name, "start")


# --- names ----------------------------------------------------------------------------------------


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_one_import_gives_both_faces_and_asyncio_only_to_those_who_use_it() -> None:
    assert run("import recsvc, sys; print('asyncio' in sys.modules)") == "False"
    assert run("import recsvc; print(recsvc.aio.MediaRecorder.__module__)") == "recsvc.aio"
    assert run("import recsvc; print('aio' in dir(recsvc))") == "True"
    with pytest.raises(AttributeError, match="'oia'"):
        recsvc.oia  # type: ignore[attr-defined]  # noqa: B018


def test_each_public_name_is_imported_at_its_first_use_and_stays_the_same_object() -> None:
    assert run("import recsvc, sys; print([name for name in sys.modules if name.startswith('recsvc.')])") == "[]"
    named = "import recsvc; print(all(getattr(recsvc, name) is vars(recsvc)[name] for name in recsvc.__all__))"
    assert run(named) == "True"
    assert run("from recsvc import *; print(errors.NotFoundError.__module__, aio.recover.__name__)") == (
        "recsvc.errors recover"
    )


@pytest.mark.parametrize("face", [recsvc, aio])
def test_public_names_are_found_again_where_they_say_that_they_are(face: ModuleType) -> None:
    for name in face.__all__:
        value = getattr(face, name)
        if name not in ("aio", "errors"):
            assert (value.__qualname__, getattr(sys.modules[value.__module__], name)) == (name, value)


def test_values_are_copied_and_sent_to_a_process_that_has_used_no_name_yet() -> None:
    values = (
        Event("stop"),
        ErrorEvent("error", error=recsvc.errors.NotFoundError("no such device")),
        recsvc.MediaDeviceInfo("mic:", "audioinput", "a microphone", {"sample_rate": 48000}),
        recsvc.RecordingStatistics(state="inactive", duration=1.5, size_bytes=3),
    )
    assert repr(copy.deepcopy(values)) == repr(values)
    assert run(f"import pickle; print(pickle.loads({pickle.dumps(values)!r}))") == repr(values)


def test_both_faces_have_the_same_names_and_arguments() -> None:
    names = {name for name in recsvc.__all__ if name not in ("errors", "aio")}
    assert set(aio.__all__) == names
    for name in names:
        ours, theirs = getattr(recsvc, name), getattr(aio, name)
        if ours is theirs:
            continue
        assert str(inspect.signature(ours)).split(" ->")[0] == str(inspect.signature(theirs)).split(" ->")[0], name
        if not inspect.isclass(ours):
            continue
        public, other = (
            {one for one in dir(face) if one[0] != "_" and not one.startswith("service_")} for face in (ours, theirs)
        )
        assert public == other, name
        for one in public:
            if inspect.isfunction(getattr(ours, one)):
                of_both = [inspect.signature(getattr(face, one)).parameters for face in (ours, theirs)]
                assert list(of_both[0].values()) == list(of_both[1].values()), (name, one)


@pytest.mark.parametrize("face", [recsvc, aio])
def test_handlers_stand_in_the_class_and_explain_themselves(face: ModuleType) -> None:
    recorder = face.MediaRecorder
    for type in EVENT_TYPES:
        handler = getattr(recorder, f"on{type}")
        assert isinstance(handler, Handler) and repr(type) in handler.__doc__


# --- a user's type checker ------------------------------------------------------------------------

WRONG = """
import recsvc
from recsvc import aio

stream = recsvc.get_user_media(audio=True)
recorder = recsvc.MediaRecorder(stream, mime_typ="video/webm")  # call-arg
recorder.ondataavailable = lambda event: event.date  # attr-defined
recorder.onstart = lambda event: event.data  # attr-defined
recorder.onstop = 7  # assignment
recorder.add_event_listener("error", lambda event: event.data)  # attr-defined
recorder.add_event_listener("stop", lambda event: event.data)  # attr-defined
recorder.onstopp = print  # attr-defined
recorder.wait("stop").data  # attr-defined
recorder.wait("dataavailable").data.sav("x")  # attr-defined
recorder.wait("error").error.with_traceback(7)  # arg-type


async def main() -> None:
    other = aio.MediaRecorder(stream, video_bits_per_second="many")  # arg-type
    other.onerror = lambda event: event.eror  # attr-defined
    other.state + 1  # operator
    (await other.wait("stop")).data  # attr-defined
    recsvc.aio.get_user_medium()  # attr-defined
    recsvc.get_user_medium()  # attr-defined
"""

RIGHT = """
import recsvc
from recsvc import aio


async def main() -> None:
    stream = await recsvc.aio.get_user_media(audio=True)
    recorder = aio.MediaRecorder(stream)

    async def save(event: aio.BlobEvent) -> None:
        event.data.save("out.webm")

    recorder.ondataavailable = save
    recorder.onerror = lambda event: print(event.error.args)
    recorder.add_event_listener("stop", print)
    recorder.add_event_listener("dataavailable", lambda event: event.data.size)
    recorder.add_event_listener("dataavailable", save)
    recorder.remove_event_listener("dataavailable", save)
    for type in ("start", "stop"):
        recorder.add_event_listener(type, lambda event: print(event.type))
    await recorder.start()
    await recorder.stop()
    (await recorder.wait("dataavailable")).data.save("out.webm")
    async for event in recorder.events():
        print(event.type)
    print(recorder.recording.size if recorder.recording else recorder.state.upper())
"""


def strict(directory: Path, *texts: str) -> list[list[tuple[int, str]]]:
    """Line and code of each error that ``mypy --strict`` finds in a user's programs."""
    names = [f"program_{number}.py" for number in range(len(texts))]
    for name, text in zip(names, texts, strict=True):
        (directory / name).write_text(text)
    cache = f"--cache-dir={ROOT / '.mypy_cache' / 'users'}"
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent", cache]
    done = subprocess.run(
        [*command, "--no-error-summary", *names],
        cwd=directory,
        env={"MYPYPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode in (0, 1) and not done.stderr, done.stdout + done.stderr
    lines = re.findall(r"^(\S+):(\d+): error: .*\[(.+)\]$", done.stdout, re.MULTILINE)
    assert len(lines) == done.stdout.count(": error: "), done.stdout
    return [[(int(line), code) for file, line, code in lines if file == name] for name in names]


def test_programs_of_users_pass_the_strict_type_checker_and_mistakes_do_not(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) >= 2
    wrong, *right = strict(tmp_path, WRONG, RIGHT, *blocks)
    assert right == [[]] * (1 + len(blocks))
    expected = [
        (number, line.partition("  # ")[2]) for number, line in enumerate(WRONG.splitlines(), 1) if "  # " in line
    ]
    assert wrong == expected


@pytest.mark.parametrize("name", ["ValueError", "TypeError", "OverflowError", "", "NoSuchError"])
def test_an_error_event_bears_an_exception_of_ours_whatever_failed(name: str) -> None:
    error = errors.event_error(name, "-3 samples")
    assert type(error) is errors.UnknownError and str(error) == f"{name}: -3 samples"
    assert type(errors.event_error("EncodingError", "x")) is errors.EncodingError
