"""Files of recordings that are at their service: fetched in ranges, with credits, as Blobs like any other."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from fixtures_media import wait_until
from keepers import (
    Daemon,
    daemon,
    enlarged,
    peak_kib,
    record,
    recording_of_sound,
    remote,
    sound,
    wait_listed,
)
from media import DEADLINE_S, decode

import recsvc
from recsvc import errors
from recsvc.caller import connections
from recsvc.caller.asking import catalog_of
from recsvc.caller.remote import RemoteFile
from recsvc.common.service_limits import CATALOG_REQUESTS_MAX, FETCH_BYTES_MAX, FETCH_BYTES_PER_KEY_MAX, FETCH_CREDIT
from recsvc.wire import messages, sockets

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemon(tmp_path_factory.mktemp("fetch"), "--tcp", "tcp://127.0.0.1:*", "--insecure") as running:
        yield running


@pytest.fixture(autouse=True)
def only_its_own(kept: Daemon) -> Iterator[None]:
    yield
    for one in wait_listed(kept, "finished", "failed", "recovered"):
        one.delete()


def ask(socket: Any, request: messages.Request) -> tuple[messages.Reply, bytes]:
    socket.send(messages.encode(request))
    return answer(socket)


def answer(socket: Any) -> tuple[messages.Reply, bytes]:
    assert socket.poll(int(DEADLINE_S * 1000)), "no answer"
    header, *data = socket.recv_multipart()
    return messages.REPLIES.decode(header), data[0] if data else b""


@pytest.fixture
def raw(kept: Daemon) -> Iterator[Any]:
    """A client's socket at the catalog."""
    socket = sockets.control_client(catalog_of(kept.client))
    yield socket
    socket.close(linger=0)


def test_over_the_network_a_blob_is_fetched_and_behaves_as_a_local_one(kept: Daemon, tmp_path: Path) -> None:
    blob = record(kept, 0.5, kept.tcp)
    (part,) = blob._content.parts
    assert isinstance(part.source, RemoteFile), "nothing is read by a path of another machine"
    (path,) = kept.spool.glob("*.webm")
    content = path.read_bytes()
    assert blob.bytes() == content
    assert b"".join(blob.stream(1000)) == content
    assert decode(blob).sound_s == pytest.approx(0.5)
    with blob.open() as file:
        assert file.seek(-10, os.SEEK_END) == len(content) - 10
        assert file.read() == content[-10:]
        file.seek(3)
        assert file.read(5) == content[3:8]
    assert recsvc.Blob([b"<", blob.slice(1, 9), b">"]).bytes() == b"<" + content[1:9] + b">"
    saved = blob.save(tmp_path / "saved.webm", move=True)
    assert saved.read_bytes() == content == path.read_bytes(), "it stays at its service"
    assert recsvc.recording.get(part.source.recording, service=kept.tcp).blob.bytes() == content


def test_pieces_of_a_recording_elsewhere_join_to_a_file_that_plays(kept: Daemon) -> None:
    source = recsvc.AudioSource(48_000, 1, when_full="wait")
    recorder = recsvc.MediaRecorder(recsvc.MediaStream([source.track]), service=kept.tcp)
    recorder.start(timeslice=200)
    for _ in range(40):
        source.write(sound(0.05, 700))
    recorder.stop()
    pieces = [event.data for event in recorder.events() if event.type == "dataavailable"]
    assert len(pieces) > 1 and any(isinstance(part.source, RemoteFile) for part in pieces[-1]._content.parts)
    assert decode(recsvc.Blob(pieces)).sound_s == pytest.approx(2)
    (path,) = kept.spool.glob("*.webm")
    assert recorder.recording is not None and recorder.recording.bytes() == path.read_bytes()


def test_slices_and_readings_of_a_remote_blob_are_those_of_a_local_one(kept: Daemon) -> None:
    found, path = enlarged(kept, 5 * MIB + 13)
    content = path.read_bytes()
    blob = remote(kept, found)
    for seed in range(60):
        chance = random.Random(seed)
        start, end = (chance.choice((chance.randint(-6 * MIB, 6 * MIB), chance.randint(-20, 20))) for _ in range(2))
        assert blob.slice(start, end).bytes() == content[slice(start, end)], seed
    chance = random.Random(1)
    with blob.open() as file, path.open("rb") as local:
        for _ in range(200):
            if chance.random() < 0.4:
                at = chance.randint(0, len(content) + 10)
                assert file.seek(at) == local.seek(at)
            size = chance.choice((1, 100, 70_000, MIB + 1, 3 * MIB))
            assert file.read(size) == local.read(size), (at, size)


def test_a_hundred_megabytes_take_no_memory(kept: Daemon, tmp_path: Path) -> None:
    found, path = enlarged(kept, 100 * MIB)
    before_kib = peak_kib(kept.catalog)
    program = f"""
        import recsvc
        from pathlib import Path
        def peak():
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
        blob = recsvc.recording.get({found.id!r}, service={kept.tcp!r}).blob
        blob.slice(0, 100).bytes()
        before = peak()
        blob.save({str(tmp_path / "saved")!r})
        count = sum(map(len, blob.stream(65536)))
        print(count, peak() - before)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60)
    count, grown_kib = map(int, done.stdout.split())
    assert count == 100 * MIB
    assert grown_kib < 40 * 1024
    assert peak_kib(kept.catalog) - before_kib < 40 * 1024
    compared = subprocess.run(["cmp", path, tmp_path / "saved"], timeout=60)
    assert compared.returncode == 0


def test_ranges_beyond_the_end_and_of_no_size(kept: Daemon, raw: Any) -> None:
    found, path = enlarged(kept, MIB)
    name = found.id
    assert ask(raw, messages.Fetch(id=1, recording=name, start=MIB - 5, size=100))[1] == path.read_bytes()[-5:]
    for start in (MIB, MIB + 1, 2**62):
        reply, data = ask(raw, messages.Fetch(id=1, recording=name, start=start, size=100))
        assert (reply.error, data) == ("", b""), start
    for start, size in ((0, 0), (0, FETCH_BYTES_MAX + 1), (-1, 1), (2**62 + 1, 1)):
        reply, data = ask(raw, messages.Fetch(id=7, recording=name, start=start, size=size))
        assert (reply.id, reply.error, data) == (7, "TypeError", b""), (start, size)
    for other in ("", "..", f"../kept/{name}", f"{name}.webm", "catalog.sqlite", "/etc/passwd"):
        reply, data = ask(raw, messages.Fetch(id=1, recording=other, start=0, size=1))
        assert (reply.error, data) == ("NotFoundError", b""), other


def test_who_ignores_the_credits_is_refused_and_the_others_do_not_notice(kept: Daemon, raw: Any) -> None:
    found, _ = enlarged(kept, 4 * MIB)
    before_kib = peak_kib(kept.catalog)
    count = 400
    for number in range(1, count + 1):
        raw.send(messages.encode(messages.Fetch(id=number, recording=found.id, start=0, size=FETCH_BYTES_MAX)))
    for _ in range(5):  # somebody else, meanwhile
        assert kept.get(found.id).size == 4 * MIB
    answers = []
    while raw.poll(500):
        header, *data = raw.recv_multipart()
        answers.append((messages.REPLIES.decode(header), sum(map(len, data))))
    assert {reply.error: size for reply, size in answers} == {"": MIB, "QuotaExceededError": 0}
    refused = next(reply for reply, _ in answers if reply.error)
    assert str(FETCH_CREDIT) in refused.text
    taken = sum(not reply.error for reply, _ in answers)
    assert FETCH_CREDIT <= taken < count // 2
    assert peak_kib(kept.catalog) - before_kib < 40 * 1024
    assert ask(raw, messages.Fetch(id=1000, recording=found.id, start=0, size=5))[0].error == "", "later it may again"


def test_many_connections_that_read_nothing_share_a_bound(kept: Daemon, raw: Any) -> None:
    found, _ = enlarged(kept, 4 * MIB)
    fetch = messages.Fetch(id=1, recording=found.id, start=0, size=FETCH_BYTES_MAX)
    before_kib = peak_kib(kept.catalog)
    far = catalog_of(connections.connect(kept.tcp))
    readers = []
    for _ in range(32):  # of 5 MiB each
        readers.append(sockets._make(zmq.DEALER, 1, 0))
        readers[-1].connect(far.endpoint)
        for _ in range(FETCH_CREDIT):
            readers[-1].send(messages.encode(fetch))
    assert all(one.poll(DEADLINE_S * 1000) for one in readers[:4])
    for _ in range(20):
        assert len(ask(raw, fetch)[1]) == MIB, "this machine's programs do not wait for them"
    assert peak_kib(kept.catalog) - before_kib < FETCH_BYTES_PER_KEY_MAX // 1024 + 40 * 1024
    for one in readers[:-1]:
        one.close(0)
    for _ in range(FETCH_CREDIT):
        assert len(answer(readers[-1])[1]) == MIB, "when they are gone it goes on"
    readers[-1].close(0)


def test_so_many_requests_at_a_time_are_answered_and_in_their_order(kept: Daemon, raw: Any) -> None:
    found, _ = enlarged(kept, 4 * MIB)
    others = CATALOG_REQUESTS_MAX - FETCH_CREDIT
    for number in range(1, FETCH_CREDIT + 1):
        raw.send(messages.encode(messages.Fetch(id=number, recording=found.id, start=number, size=MIB)))
    for number in range(FETCH_CREDIT + 1, FETCH_CREDIT + others + 1):
        raw.send(messages.encode(messages.GetRecording(id=number, recording=found.id)))
    replies = [answer(raw)[0] for _ in range(FETCH_CREDIT + others)]
    assert [(reply.id, reply.error) for reply in replies] == [(n, "") for n in range(1, FETCH_CREDIT + others + 1)]


def test_a_recording_that_goes_on_is_fetched_as_far_as_it_is_written(kept: Daemon) -> None:
    with recording_of_sound(kept) as (recorder, source):
        source.write(sound(3, 1000))
        (going_on,) = kept.list()
        path = kept.spool / f"{going_on.id}.webm"
        wait_until(lambda: path.stat().st_size > 500, "a cluster in the file", DEADLINE_S)
        going_on.update()
        fetched = remote(kept, going_on).bytes()
        assert len(fetched) == going_on.size > 500
        assert path.read_bytes()[: len(fetched)] == fetched
        recorder.stop()
        recorder.wait("stop", DEADLINE_S)


def test_progress_counts_up_to_all(kept: Daemon, tmp_path: Path) -> None:
    found, path = enlarged(kept, 5 * MIB)
    for blob in (remote(kept, found), found.blob, recsvc.Blob([b"abc", found.blob]), recsvc.Blob()):
        steps: list[tuple[int, int]] = []
        blob.save(tmp_path / "saved", progress=lambda done, total, steps=steps: steps.append((done, total)))
        assert steps[0] == (0, blob.size) and steps[-1] == (blob.size, blob.size)
        assert [done for done, _ in steps] == sorted(done for done, _ in steps)
        assert {total for _, total in steps} == {blob.size}
    remote(kept, found).save(tmp_path / "saved", progress=lambda done, total: steps.append((done, total)))
    assert len(steps) > 4, "a fetched one is counted in ranges"
    with pytest.raises(TypeError, match="progress"):
        found.blob.save(tmp_path / "saved", progress=3)  # type: ignore[arg-type]


class Stop(Exception):
    pass


def test_what_ends_a_saving_leaves_nothing_half_written(kept: Daemon, tmp_path: Path) -> None:
    found, _ = enlarged(kept, 20 * MIB)
    blob = remote(kept, found)
    target = tmp_path / "saved"

    def give_up(done: int, total: int) -> None:
        if done > total // 3:
            raise Stop

    with pytest.raises(Stop):
        blob.save(target, progress=give_up)
    assert list(tmp_path.iterdir()) == []

    def delete(done: int, total: int) -> None:
        if done > total // 3 and kept.list():
            found.delete()

    target.write_bytes(b"before")
    with pytest.raises(errors.NotReadableError, match=found.id):
        blob.save(target, progress=delete)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


def test_a_catalog_that_is_killed_meanwhile_is_asked_again(tmp_path: Path) -> None:
    with daemon(tmp_path) as running:
        found, path = enlarged(running, 30 * MIB)
        killed = []

        def kill(done: int, total: int) -> None:
            if done > total // 3 and not killed:
                killed.append(running.catalog)
                os.kill(killed[0], 9)

        saved = remote(running, found).save(tmp_path / "saved", progress=kill)
        assert killed and saved.read_bytes() == path.read_bytes()
        assert running.catalog != killed[0]


def test_a_service_that_ends_meanwhile(tmp_path: Path) -> None:
    with daemon(tmp_path, "--tcp", "tcp://127.0.0.1:*", "--insecure") as running:
        found, path = enlarged(running, 20 * MIB)
        blob = remote(running, found)
        content = path.read_bytes()
        killed = []

        def kill(done: int, total: int) -> None:
            if done > total // 3 and not killed:
                killed.append(running.catalog)  # it would answer what has come to it, perhaps all
                running.process.kill()
                os.kill(killed[0], signal.SIGKILL)

        (tmp_path / "to").mkdir()
        with pytest.raises(errors.ServiceError):
            blob.save(tmp_path / "to" / "saved", progress=kill)
        assert list((tmp_path / "to").iterdir()) == []
        running.process.wait()
        running.begin()
        assert blob.bytes() == content, "another service of the same address has it"
        connections.close_all()
