"""What becomes of recordings when the program that makes them ends, in each way that programs end."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from fixtures_media import wait_until
from media import DEADLINE_S, decode
from traces import SPOOL, role_processes

import recsvc
from recsvc.caller import connections

BLOCK = 320  # samples: 20 ms at 16 kHz
SECOND = 50  # blocks

# One second of sound is pushed at once: its stamps lie in the future, and what was taken is in the recording.
BEFORE = """
import atexit, gc, os, signal, sys, threading, time

OUT = sys.argv[1]

def note(text):
    with open(OUT + "/notes", "a") as notes:
        notes.write(text + "\\n")

def in_spool():
    return len(os.listdir(os.environ["RECSVC_SPOOL"]))

def read_late():
    note(f"before import: {len(recorder.recording.bytes())} of {recorder.recording.size}")

if BEFORE_IMPORT:
    atexit.register(read_late)

import recsvc

source = recsvc.AudioSource(16_000, 1)
recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
begin_ns = time.monotonic_ns()

def push(blocks=50):
    global begin_ns
    for _ in range(blocks):
        begin_ns += 20_000_000
        assert source.write(bytes(640), begin_ns)

def save(event):
    event.data.save(OUT + "/saved.webm")
    note(f"saved {in_spool()}")

def encoded(samples):
    # What is still in this process is lost with it.
    while recorder.statistics().tracks[0].frames_encoded < samples:
        time.sleep(0.01)

recorder.onstop = lambda event: note(f"stop {in_spool()}")
recorder.onerror = lambda event: note(f"error {event.error!r}")
"""

PROGRAMS = {
    "pieces": """
        def piece(event):
            data = event.data.bytes()
            with open(OUT + "/saved.webm", "ab") as file:
                file.write(data)
            time.sleep(0.05)
        recorder.ondataavailable = piece
        recorder.start(timeslice=100)
        push(40)
        recorder.wait("dataavailable", 20)
        push(10)
    """,
    "busy listener": """
        def upload(event):
            reader = event.data.open()
            start = reader.read(100)
            numbers = [os.open("/dev/null", os.O_RDONLY) for _ in range(3)]
            note("reading")
            threading.main_thread().join()
            time.sleep(0.5)
            for number in numbers:
                os.close(number)
            rest = reader.read()
            assert start + rest == event.data.bytes()
            save(event)
        recorder.ondataavailable = upload
        recorder.start()
        push()
        recorder.stop()
        while not os.path.exists(OUT + "/notes"):
            time.sleep(0.01)
    """,
    "a save longer than close() waits": """
        import recsvc.caller.recorder
        recsvc.caller.recorder.drain_deadline_ns = lambda overload: 20_000_000
        def slow(event):
            time.sleep(1)
            save(event)
        recorder.ondataavailable = slow
        with recorder:
            recorder.start()
            push()
    """,
    "functions of atexit": """
        def stop_and_save():
            recorder.stop()
            recorder.wait("stop", 20)
            recorder.recording.save(OUT + "/saved.webm")
            note(f"after import: {recorder.state} {in_spool()}")
        atexit.register(stop_and_save)
        recorder.start()
        push()
    """,
    "a thread": """
        def work():
            threading.main_thread().join()
            push(25)
            recorder.stop()
            recorder.wait("stop", 20)
            recorder.recording.save(OUT + "/saved.webm")
        recorder.start()
        push(25)
        threading.Thread(target=work).start()
    """,
    "sys.exit": """
        recorder.ondataavailable = save
        recorder.start()
        push()
        sys.exit(3)
    """,
    "an exception": """
        def main():
            kept = recorder
            recorder.ondataavailable = save
            recorder.start()
            push()
            raise RuntimeError("nobody catches this")
        main()
    """,
    "an exception before stop()": """
        recorder.onstop = None
        recorder.start(timeslice=100)
        push()
        raise RuntimeError("nobody catches this")
        recorder.stop()
        recorder.wait("stop")
        recorder.recording.save(OUT + "/saved.webm")
    """,
    "an event loop that ended": """
        import asyncio
        from recsvc import aio
        async def save_later(event):
            event.data.save(OUT + "/saved.webm")
            note("saved")
        async def main():
            recorder = aio.MediaRecorder(aio.MediaStream([source.track]))
            recorder.ondataavailable = save_later
            await recorder.start()
            push()
            return recorder
        recorder = asyncio.run(main())
    """,
    "an event loop that ended in a listener": """
        import asyncio
        from recsvc import aio
        async def upload(event):
            begun.set()
            await asyncio.sleep(1000)
        async def main():
            global begun
            begun = asyncio.Event()
            recorder = aio.MediaRecorder(aio.MediaStream([source.track]))
            recorder.ondataavailable = upload
            await recorder.start()
            push()
            await recorder.stop()
            await begun.wait()
        asyncio.run(main())
    """,
    "os._exit": """
        recorder.start()
        push()
        encoded(12_000)
        os._exit(4)
    """,
    "SIGTERM": """
        recorder.ondataavailable = save
        recorder.start()
        push()
        encoded(12_000)
        signal.raise_signal(signal.SIGTERM)
    """,
    "a listener that cannot save": """
        recorder.ondataavailable = lambda event: event.data.save(OUT + "/nowhere/saved.webm")
        recorder.start()
        push()
        recorder.stop()
        recorder.wait("stop", 20)
    """,
    "a listener that fails": """
        recorder.ondataavailable = lambda event: upload(event.data)
        recorder.start()
        push()
    """,
    "an exception after stop()": """
        recorder.start()
        push()
        recorder.stop()
        raise RuntimeError("nobody catches this")
    """,
    "Ctrl-C while a listener is waited for": """
        def interrupt():
            [session] = recorder._sessions.values()
            while not session.client.closing:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)
        def slow(event):
            threading.Thread(target=interrupt, daemon=True).start()
            time.sleep(1000)
        recorder.ondataavailable = slow
        recorder.start()
        push()
        recorder.stop()
    """,
    "an exception in the block that records": """
        with recorder:
            recorder.start()
            push()
            raise RuntimeError("nobody catches this")
        recorder.recording.save(OUT + "/saved.webm")
    """,
    "an exception after the block that records": """
        with recorder:
            recorder.start()
            push()
        raise RuntimeError("nobody catches this")
        recorder.recording.save(OUT + "/saved.webm")
    """,
    "sys.exit() in the block of a coroutine": """
        import asyncio, recsvc.aio
        async def main():
            async with recsvc.aio.MediaRecorder(recsvc.MediaStream([source.track])) as recorder:
                await recorder.start()
                push()
                sys.exit(1)
        asyncio.run(main())
    """,
    "an exception after all was saved": """
        with recorder:
            recorder.start()
            push()
        recorder.wait("dataavailable").data.save(OUT + "/saved.webm")
        raise RuntimeError("nobody catches this")
    """,
    "a reader that never ends": """
        recorder.start()
        push()
        recorder.stop()
        recorder.wait("stop", 20)
        def read(blob):
            for chunk in blob.stream(10):
                note("reading")
                time.sleep(1000)
        threading.Thread(target=read, args=(recorder.recording,), daemon=True).start()
        while not os.path.exists(OUT + "/notes"):
            time.sleep(0.01)
    """,
    "a daemon": """
        def idle():
            threading.Event().wait()
        threading.Thread(target=idle, daemon=True).start()
        recorder.ondataavailable = save
        recorder.start()
        push()
        recorder.stop()
        recorder.wait("stop", 20)
    """,
    "a child of multiprocessing": """
        import multiprocessing
        def work():
            source = recsvc.AudioSource(16_000, 1)
            recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
            recorder.ondataavailable = save
            recorder.onstop = lambda event: note(f"stop {in_spool()}")
            recorder.start()
            begin_ns = time.monotonic_ns()
            def push_half(half):
                for block in range(25):
                    assert source.write(bytes(640), begin_ns + (25 * half + block) * 20_000_000)
            def late():
                threading.main_thread().join(0.5)  # its function has ended
                push_half(1)
            push_half(0)
            threading.Thread(target=late).start()
        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
        child.join()
        sys.exit(child.exitcode)
    """,
    "a child that ends first": """
        recorder.start()
        push()
        recorder.stop()
        recorder.wait("stop", 20)
        child = os.fork()
        if child == 0:
            note(f"child {recorder.recording.size == len(recorder.recording.bytes())}")
            sys.exit(0)
        os.waitpid(child, 0)
        recorder.recording.save(OUT + "/saved.webm")
        note(f"parent {in_spool()}")
    """,
    "many kept blobs": """
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))
        kept = []
        for turn in range(100):
            recorder.start()
            push(1)
            recorder.stop()
            kept.append(recorder.wait("dataavailable", 20).data)
            recorder.wait("stop", 20)
        note(f"kept {sum(len(blob.bytes()) == blob.size > 100 for blob in kept)} {in_spool()}")
    """,
    "kept blobs and cycles": """
        class Node: pass
        kept = []
        for turn in range(3):
            recorder.start()
            push(10)
            recorder.stop()
            node = Node()
            node.itself, node.blob = node, recorder.wait("dataavailable", 20).data
            kept.append(node)
            recorder.wait("stop", 20)
        note(f"kept {in_spool()}")
        sys.modules["__main__"].again = kept
    """,
}


def _run(directory: Path, name: str) -> SimpleNamespace:
    spool = directory / "spool"
    program = f"BEFORE_IMPORT = {name == 'functions of atexit'}\n" + BEFORE + textwrap.dedent(PROGRAMS[name])
    done = subprocess.run(
        [sys.executable, "-c", program, str(directory)],
        env=os.environ | {"RECSVC_SPOOL": str(spool), "RST": str(SPOOL)},  # the latter: so that roles are known as ours
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        cwd=directory,
    )
    # Who is left behind finishes the file and goes.
    wait_until(lambda: not any(str(spool) in line for line in role_processes().values()), "the end of the roles")
    assert spool.is_dir(), f"{name} recorded nothing:\n{done.stderr}"
    notes = directory / "notes"
    return SimpleNamespace(
        code=done.returncode,
        err=done.stderr,
        notes=notes.read_text().splitlines() if notes.exists() else [],
        saved=directory / "saved.webm",
        spool=sorted(spool.iterdir()),
    )


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    directories = [tmp_path_factory.mktemp("end") for _ in PROGRAMS]
    with ThreadPoolExecutor(3) as pool:
        return dict(zip(PROGRAMS, pool.map(_run, directories, PROGRAMS), strict=True))


def samples(path):
    return decode(path).samples.shape[0]


def one_second(path):
    """All that was pushed, at Opus' 48 kHz."""
    return samples(path) == SECOND * BLOCK * 3


@pytest.mark.parametrize(
    ("name", "notes"),
    [
        ("pieces", ["stop 1"]),
        ("busy listener", ["reading", "saved 1", "stop 1"]),
        ("a save longer than close() waits", ["saved 1", "stop 1"]),
        ("a thread", ["stop 1"]),
        ("a daemon", ["saved 1", "stop 1"]),
        ("a child of multiprocessing", ["saved 1", "stop 1"]),
        ("a child that ends first", ["stop 1", "child True", "parent 1"]),
    ],
)
def test_a_program_that_simply_ends_loses_nothing_and_leaves_nothing(ends, name, notes):
    end = ends[name]
    assert (end.code, end.err, end.notes) == (0, "", notes)
    assert one_second(end.saved) and end.spool == []


@pytest.mark.parametrize(("name", "code"), [("sys.exit", 3), ("an exception", 1)])
def test_a_program_that_fails_has_its_recording_saved(ends, name, code):
    end = ends[name]
    assert (end.code, end.notes) == (code, ["saved 1", "stop 1"])
    assert ("nobody catches this" in end.err) == (name == "an exception")
    assert one_second(end.saved) and end.spool == []


def test_functions_of_atexit_have_the_recording_before_and_after_ours(ends):
    end = ends["functions of atexit"]
    assert (end.code, end.err) == (0, "")
    assert end.notes[:2] == ["stop 1", "after import: inactive 1"]
    size = end.saved.stat().st_size
    assert end.notes[2:] == [f"before import: {size} of {size}"]
    assert one_second(end.saved) and end.spool == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("an exception before stop()", 1),
        ("an exception after stop()", 1),
        ("an exception in the block that records", 1),
        ("sys.exit() in the block of a coroutine", 1),
        ("Ctrl-C while a listener is waited for", 0),
        ("an exception after the block that records", 1),
        ("an event loop that ended", 0),
        ("an event loop that ended in a listener", 0),
        ("a listener that cannot save", 0),
        ("a listener that fails", 0),
    ],
)
def test_a_recording_that_nobody_could_have_stays_in_the_spool(ends, name, code):
    end = ends[name]
    assert end.code == code and end.notes in ([], ["stop 1"])
    [left] = end.spool
    assert str(left) in end.err
    assert one_second(recsvc.recover(left).save(end.saved))


def test_a_recording_that_was_saved_before_an_exception_leaves_nothing(ends):
    end = ends["an exception after all was saved"]
    assert end.code == 1 and end.spool == [] and one_second(end.saved)


@pytest.mark.parametrize(("name", "code"), [("os._exit", 4), ("SIGTERM", -signal.SIGTERM)])
def test_a_program_that_has_no_time_leaves_its_recording_in_the_spool(ends, name, code):
    end = ends[name]
    assert (end.code, end.notes) == (code, [])
    [left] = end.spool
    assert samples(recsvc.recover(left).save(end.saved)) >= 12_000 * 3


def test_a_file_that_is_still_read_at_the_very_end_stays(ends):
    end = ends["a reader that never ends"]
    assert (end.code, end.err) == (0, "")
    [left] = end.spool
    assert one_second(left)


def test_what_was_kept_until_the_end_is_removed_then(ends):
    end = ends["kept blobs and cycles"]
    assert (end.code, end.err, end.notes[-1]) == (0, "", "kept 3")
    assert end.spool == []


def test_a_hundred_recordings_are_kept_with_fewer_descriptors(ends):
    end = ends["many kept blobs"]
    assert (end.code, end.err, end.notes[-1]) == (0, "", "kept 100 100")
    assert not any(note.startswith("error") for note in end.notes) and end.spool == []


def test_closing_waits_for_a_listener_and_then_the_file_goes(spool, tmp_path, own_controller):
    """``close_all()`` itself, inside a program that goes on."""
    source = recsvc.AudioSource(16_000, 1)
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]))
    sizes = []

    def slow(event):
        time.sleep(0.3)
        sizes.append(len(event.data.bytes()))

    recorder.ondataavailable = slow
    recorder.start()
    assert source.write(bytes(640))
    connections.close_all()
    assert len(sizes) == 1 and recorder.state == "inactive"
    assert recorder.wait("stop", 0).type == "stop"
    assert recorder.recording.size == sizes[0] and len(list(spool.iterdir())) == 1
