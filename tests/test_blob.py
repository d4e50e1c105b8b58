"""Blobs of spool files: who holds a descriptor, who removes a file, what readers and savers get."""

import contextlib
import copy
import errno
import gc
import io
import os
import pickle
import random
import resource
import stat
import tempfile
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recsvc import Blob, errors
from recsvc.caller import saving
from recsvc.caller.blob import blob_of_file, content_of
from recsvc.caller.session import Session
from recsvc.caller.storage import SpoolFile
from recsvc.common.descriptions import Welcome
from recsvc.wire.messages import BlobDescription

PRIVATE: Any = SimpleNamespace(welcome=Welcome(service="s", version="", events=()))
"""The connection to a service that keeps no recordings: they belong to their callers."""
DATA = random.Random(1).randbytes(300_000)


def spooled(path, data=DATA, *, owned=True):
    path.write_bytes(data)
    return blob_of_file(
        SpoolFile(str(path), owned=owned, finished=True), b"", 0, len(data), "video/webm;codecs=vp8", 1.0
    )


@pytest.fixture
def lying(tmp_path):
    """The directory of the spool files."""
    directory = tmp_path / "lying"
    directory.mkdir()
    return directory


def open_files():
    return len(os.listdir("/proc/self/fd"))


@contextlib.contextmanager
def limited_to(spare):
    """At most so many descriptors more; what is open stays open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + spare, hard))
    try:
        yield lowest_free + spare
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- descriptors ----------------------------------------------------------------------------------


def test_thousands_of_kept_blobs_cost_no_descriptor(lying):
    before = open_files()
    with limited_to(8):
        kept = [spooled(lying / f"{number}.webm", b"%d" % number) for number in range(3000)]
        assert open_files() == before
        assert [blob.bytes() for blob in kept] == [b"%d" % number for number in range(3000)]
        assert Blob(kept).bytes() == b"".join(b"%d" % number for number in range(3000))
        assert Blob(kept).open().read() == Blob(kept).bytes()
    assert open_files() == before
    assert len(list(lying.iterdir())) == 3000
    kept.clear()
    assert list(lying.iterdir()) == []


def test_without_a_descriptor_left_the_error_names_the_limit(lying):
    blob = spooled(lying / "a.webm")
    with (
        limited_to(0) as limit,
        pytest.raises(errors.NotReadableError, match=f"Too many open files.* {limit} .*NOFILE"),
    ):
        blob.bytes()
    assert blob.bytes() == DATA


def test_a_reader_holds_one_descriptor_until_it_is_closed(lying):
    before = open_files()
    blob = Blob([spooled(lying / "a.webm"), spooled(lying / "b.webm")])
    reader = blob.open()
    assert reader.read() == DATA + DATA
    assert open_files() == before + 1
    reader.seek(0)
    assert reader.read(10) == DATA[:10] and open_files() == before + 1
    reader.close()
    assert open_files() == before
    chunks = blob.stream(1000)
    next(chunks)
    assert open_files() == before + 1
    chunks.close()
    assert open_files() == before


# --- who removes the file -------------------------------------------------------------------------


def test_a_file_is_removed_with_its_last_blob_reader_or_chunk(lying):
    path = lying / "a.webm"
    holders = [spooled(path)]
    holders += [holders[0].slice(5, 10), Blob([holders[0]]), holders[0].open(), holders[0].stream(100), [holders[0]]]
    next(holders[4])
    random.Random(2).shuffle(holders)
    while holders:
        assert path.exists()
        holders.pop()
        gc.collect()
    assert not path.exists()


def test_only_what_was_handed_out_is_removed(lying):
    replaced, linked, kept, foreign = (lying / name for name in ("a.webm", "b.webm", "c.webm", "d.webm"))
    blobs = [spooled(replaced), spooled(linked), spooled(kept), spooled(foreign, owned=False)]
    (lying / "new").write_bytes(b"of somebody else")
    os.replace(lying / "new", replaced)
    linked.unlink()
    linked.symlink_to(foreign)
    assert content_of(blobs[2]).keep() == [str(kept)]
    with pytest.raises(errors.NotReadableError, match="replaced"):
        blobs[0].bytes()
    blobs.clear()
    assert sorted(path.name for path in lying.iterdir()) == ["a.webm", "b.webm", "c.webm", "d.webm"]
    assert replaced.read_bytes() == b"of somebody else"


def test_a_link_or_a_pipe_is_no_recording(lying):
    (lying / "film").write_bytes(DATA)
    (lying / "a.webm").symlink_to(lying / "film")
    os.mkfifo(lying / "b.webm")
    for name in ("a.webm", "b.webm"):
        with pytest.raises(errors.NotReadableError, match="no regular file"):
            SpoolFile(str(lying / name), owned=True)
    with pytest.raises(errors.NotReadableError, match="No such file"):
        SpoolFile(str(lying / "c.webm"), owned=True)


def test_a_service_that_names_another_file_gets_nothing_read_completed_or_removed(lying):
    film = lying / "wedding.webm"
    film.write_bytes(DATA)
    session = Session("20261121-101112-0123abcd", PRIVATE, [])
    session.path = str(film)
    with pytest.raises(errors.NotReadableError, match="wedding"):
        session.blob(BlobDescription(path=str(film), start=0, end=len(DATA)))
    with pytest.raises(errors.NotReadableError, match="wedding"):
        session.left_behind(SimpleNamespace())
    ours = lying / "20261121-101112-0123abcd.webm"
    ours.write_bytes(DATA)
    assert session.blob(BlobDescription(path=str(ours), start=0, end=len(DATA))).bytes() == DATA
    del session
    assert film.read_bytes() == DATA and not ours.exists()


def test_a_fork_removes_and_moves_nothing(lying, tmp_path):
    blob = spooled(lying / "a.webm")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            saved = blob.save(tmp_path / "copy.webm", move=True)
            del blob
            gc.collect()
            code = 0 if saved.read_bytes() == DATA and (lying / "a.webm").exists() else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert blob.bytes() == DATA and (lying / "a.webm").exists()


# --- file objects ---------------------------------------------------------------------------------


@pytest.fixture
def reader(lying):
    text = b"one\ntwo\n\nfour"
    return Blob([spooled(lying / "a.webm", text[:5]), text[5:9], spooled(lying / "b.webm", text[9:])]).open()


def test_other_libraries_read_it(lying):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inside", DATA)
    data = packed.getvalue()
    blob = Blob([data[:100], spooled(lying / "a.zip", data[100:])])
    with zipfile.ZipFile(blob.open()) as archive:
        assert archive.testzip() is None and archive.read("inside") == DATA


def test_lines_positions_and_text(reader):
    assert reader.readline() == b"one\n" and reader.tell() == 4
    assert list(reader) == [b"two\n", b"\n", b"four"]
    assert reader.tell() == 13 and reader.read() == b"" and reader.read(5) == b""
    assert reader.seek(4) == 4 and reader.peek(1)[:1] == b"t" and reader.tell() == 4
    assert reader.seek(2, os.SEEK_CUR) == 6 and reader.read(4) == b"o\n\nf"
    assert reader.seek(-4, os.SEEK_END) == 9 and reader.readlines() == [b"four"]
    assert reader.seek(100) == 100 and reader.read() == b"" and reader.tell() == 100
    reader.seek(0)
    buffer = bytearray(20)
    assert reader.readinto(buffer) == 13 and bytes(buffer[:13]) == b"one\ntwo\n\nfour"
    reader.seek(0)
    assert io.TextIOWrapper(reader, encoding="ascii").read() == "one\ntwo\n\nfour"


def test_the_raw_file_below_the_buffer(reader):
    raw = reader.raw
    assert raw.tell() == 0 and raw.readable() and raw.seekable() and not raw.writable()
    assert raw.read(3) == b"one" and raw.tell() == 3
    assert raw.read(10) == b"\nt" and raw.readall() == b"wo\n\nfour" and raw.readall() == b""
    assert raw.readinto(bytearray()) == 0
    with pytest.raises(ValueError, match="whence"):
        raw.seek(0, 7)
    with pytest.raises(TypeError):
        raw.seek(1.5)
    with pytest.raises(ValueError, match="before the beginning"):
        raw.seek(-1)
    assert raw.tell() == 13
    with pytest.raises(io.UnsupportedOperation):
        raw.fileno()


def test_a_closed_file_object_refuses(reader):
    raw = reader.raw
    reader.close()
    reader.close()
    for call in (reader.read, reader.tell, raw.tell, raw.readall, lambda: raw.seek(0), lambda: raw.read(1)):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_a_file_cut_short_is_an_error_for_readers_too(lying):
    blob = spooled(lying / "a.webm")
    os.truncate(lying / "a.webm", 100_000)
    for read in (
        blob.bytes,
        lambda: list(blob.stream()),
        lambda: blob.open().read(),
        lambda: blob.open().read(200_000),
    ):
        with pytest.raises(errors.NotReadableError, match="cut short"):
            read()
    with pytest.raises(errors.NotReadableError, match="cut short"):
        blob.save(lying / "saved.webm")
    assert [path.name for path in lying.iterdir()] == ["a.webm"]


def test_all_bytes_are_one_reading(lying, monkeypatch):
    blob = spooled(lying / "a.webm", DATA * 3)
    real, calls = os.pread, []
    monkeypatch.setattr(os, "pread", lambda *arguments: calls.append(arguments) or real(*arguments))
    assert blob.bytes() == DATA * 3
    assert len(calls) == 1
    assert blob.slice(7, 800_000).bytes() == (DATA * 3)[7:800_000] and len(calls) == 2


# --- display, copies ------------------------------------------------------------------------------


def test_a_notebook_gets_a_player_only_for_media_that_are_not_too_large(lying):
    blob = spooled(lying / "a.webm", b"abc")
    assert blob._repr_html_() == '<video controls src="data:video/webm;base64,YWJj"></video>'
    with open(lying / "a.webm", "r+b") as file:
        file.truncate(50_000_001)
    large = blob_of_file(content_of(blob).parts[0].source, b"", 0, 50_000_001, "video/webm", 1.0)
    assert large._repr_html_() is None
    assert len(large.slice(0, 50_000, "audio/webm")._repr_html_()) > 50_000
    for type in ("text/plain", "", "video", "image/png"):
        shown = Blob([b"abc"], type)._repr_html_()
        assert (shown is not None) == (type == "video"), type


def test_a_blob_is_not_pickled_and_a_copy_of_it_is_itself(lying):
    blob = spooled(lying / "a.webm")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match=r"pickled.*save\(\)"):
            pickle.dumps(blob, protocol)
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps({"inside": [Blob([b"x"])]})
    assert copy.copy(blob) is blob and copy.deepcopy([blob])[0] is blob


# --- saving ---------------------------------------------------------------------------------------


@pytest.fixture(params=["same", "other"])
def target(request, tmp_path):
    """A directory on the file system of the spool, and one on another."""
    if request.param == "same":
        yield tmp_path
    else:
        with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="rst-") as directory:
            assert os.stat(directory).st_dev != os.stat(tmp_path).st_dev
            yield Path(directory)


def test_the_saved_file_is_independent_of_the_blob(lying, target):
    blob = spooled(lying / "a.webm")
    saved = blob.save(target / "saved.webm")
    assert saved.read_bytes() == DATA and os.stat(saved).st_nlink == 1
    with open(saved, "r+b") as file:  # as editors of tags do
        file.write(b"changed")
    assert blob.bytes() == DATA
    assert blob.save(target / "saved.webm").read_bytes() == DATA
    blob.slice(10, 20).save(target / "part")
    assert (target / "part").read_bytes() == DATA[10:20]


def test_moving_gives_the_spool_file_up_and_all_blobs_read_on(lying, target):
    blob = spooled(lying / "a.webm")
    inode = os.stat(lying / "a.webm").st_ino
    piece, reader, joined = blob.slice(100, 200), blob.open(), Blob([b"<", blob])
    assert reader.read(5) == DATA[:5]
    saved = blob.save(target / "saved.webm", move=True)
    assert list(lying.iterdir()) == [] and saved == target / "saved.webm"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(os.stat(saved).st_mode) == 0o666 & ~mask
    if os.stat(target).st_dev == os.stat(lying).st_dev:
        assert os.stat(saved).st_ino == inode, "renamed, not copied"
    assert (piece.bytes(), joined.bytes(), reader.read()) == (DATA[100:200], b"<" + DATA, DATA[5:])
    second = blob.save(target / "second.webm", move=True)
    assert saved.exists() and second.read_bytes() == DATA, "what was saved is the user's: it moves no more"
    del blob, piece, reader, joined
    gc.collect()
    assert saved.read_bytes() == DATA


def test_a_moved_file_that_was_changed_is_an_error_not_other_data(lying, tmp_path):
    blob = spooled(lying / "a.webm")
    saved = blob.save(tmp_path / "saved.webm", move=True)
    saved.write_bytes(DATA[::-1])
    with pytest.raises(errors.NotReadableError, match="changed or replaced"):
        blob.bytes()
    saved.unlink()
    with pytest.raises(errors.NotReadableError, match="No such file"):
        blob.save(tmp_path / "again.webm")


def test_moving_a_part_leaves_the_rest(lying, tmp_path):
    blob = spooled(lying / "a.webm")
    for part in (blob.slice(0, 500), blob.slice(1), Blob([b"!", blob])):
        data = part.bytes()
        assert part.save(tmp_path / "part", move=True).read_bytes() == data
    assert blob.bytes() == DATA and (lying / "a.webm").exists()


def test_a_piece_of_a_file_that_still_grows_is_copied(lying, tmp_path):
    """An Ogg file's first piece is all that is there yet."""
    path = lying / "20261121-101112-0123abcd.ogg"
    path.write_bytes(DATA)
    session = Session(path.stem, PRIVATE, [])
    piece = session.blob(BlobDescription(path=str(path), start=0, end=len(DATA)))
    saved = piece.save(tmp_path / "piece.ogg", move=True)
    with open(path, "ab") as file:
        file.write(b"more")
    assert saved.read_bytes() == DATA == piece.bytes()
    whole = session.blob(BlobDescription(path=str(path), start=0, end=len(DATA) + 4, whole=True))
    assert whole.save(tmp_path / "whole.ogg", move=True).read_bytes() == DATA + b"more"
    assert not path.exists() and piece.bytes() == DATA


def test_movers_and_readers_at_once(lying, tmp_path):
    """Whoever comes second copies; nobody reads anything else."""
    for turn in range(30):
        blob = spooled(lying / f"{turn}.webm")
        wrong = []

        def use(number, blob=blob, turn=turn, wrong=wrong):
            try:
                if number % 2:
                    blob.save(tmp_path / f"{turn}-{number}.webm", move=True)
                elif blob.bytes() != DATA:
                    wrong.append("other data")
            except Exception as error:
                wrong.append(error)

        threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert all((tmp_path / f"{turn}-{number}.webm").read_bytes() == DATA for number in (1, 3, 5))
    assert list(lying.iterdir()) == []


@pytest.mark.parametrize("move", [False, True])
def test_a_save_that_fails_leaves_everything_as_it_was(lying, tmp_path, monkeypatch, move):
    blob = spooled(lying / "a.webm")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", full)
    monkeypatch.setattr(os, "rename", lambda *_: (_ for _ in ()).throw(OSError(errno.EXDEV, "other disk")))
    (tmp_path / "saved.webm").write_bytes(b"what was there")
    with pytest.raises(OSError) as raised:
        blob.save(tmp_path / "saved.webm", move=move)
    assert raised.value.errno == errno.ENOSPC
    assert (tmp_path / "saved.webm").read_bytes() == b"what was there"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lying", "saved.webm"]
    assert blob.bytes() == DATA and (lying / "a.webm").exists()


@pytest.mark.parametrize("nameless", [True, False])
def test_nothing_of_a_copy_has_a_name_before_it_is_whole(tmp_path, monkeypatch, nameless):
    """Who is killed in the middle leaves no half of it; but for file systems whose files all have names."""
    real = os.open
    (tmp_path / "shared").mkdir()

    def no_nameless(path, flags, *more):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return real(path, flags, *more)

    if not nameless:
        monkeypatch.setattr(os, "open", no_nameless)
    target = tmp_path / "shared" / "saved"
    target.write_bytes(b"before")
    with saving.replacing(str(target)) as descriptor:
        os.write(descriptor, DATA)
        assert len(os.listdir(target.parent)) == (1 if nameless else 2)
    assert target.read_bytes() == DATA and os.listdir(target.parent) == ["saved"]
    assert stat.S_IMODE(target.stat().st_mode) == saving.new_file_mode()


def test_what_could_not_be_saved_stays_until_it_is(lying, tmp_path, monkeypatch):
    (lying / "a.webm").write_bytes(DATA)
    whole = SpoolFile(str(lying / "a.webm"), owned=True, finished=True)
    pieces = [blob_of_file(whole, b"", at, at + 100_000, "video/webm", 1.0) for at in (0, 100_000, 200_000)]
    everything = blob_of_file(whole, b"", 0, len(DATA), "video/webm", 3.0)
    nowhere = tmp_path / "nowhere" / "a.webm"
    for failure in (None, KeyboardInterrupt()):  # not there; Ctrl-C in the middle
        if failure is not None:
            monkeypatch.setattr(os, "copy_file_range", lambda *_, failure=failure: (_ for _ in ()).throw(failure))
        with pytest.raises((OSError, KeyboardInterrupt)) as raised:
            pieces[1].save(nowhere if failure is None else tmp_path / "b.webm")
        assert str(lying / "a.webm") in raised.value.__notes__[0]
    monkeypatch.undo()
    pieces[2].save(tmp_path / "c.webm")  # another one
    del whole, everything, pieces, raised
    assert (lying / "a.webm").read_bytes() == DATA
    for later in ("the same", "all"):
        blob = spooled(lying / "a.webm")
        piece = blob if later == "the same" else Blob([blob.slice(5, 9)])
        with pytest.raises(OSError, match="nowhere"):
            piece.save(nowhere)
        (piece if later == "the same" else blob).save(tmp_path / "saved.webm")
        del blob, piece
        assert list(lying.iterdir()) == []


@pytest.mark.parametrize("name", ["a" * 255, "映" * 85, "ä" * 127, "-", "with space\nand line"])
@pytest.mark.parametrize("move", [False, True])
def test_every_name_that_a_file_can_have(lying, tmp_path, name, move):
    blob = spooled(lying / "a.webm")
    assert blob.save(tmp_path / name, move=move) == tmp_path / name
    assert (tmp_path / name).read_bytes() == DATA


@pytest.mark.parametrize("move", [False, True])
def test_links_are_followed_and_kept(lying, tmp_path, move):
    (tmp_path / "real").mkdir()
    for name, content in (("old", b"what was there"), ("new", None)):
        link, real = tmp_path / name, tmp_path / "real" / name
        link.symlink_to(f"real/{name}")
        if content:
            real.write_bytes(content)
        assert spooled(lying / "a.webm").save(link, move=move) == link
        assert link.is_symlink() and not real.is_symlink() and real.read_bytes() == DATA


@pytest.mark.parametrize("move", [False, True])
def test_a_device_or_a_pipe_is_written_to_and_stays(lying, tmp_path, move):
    device, pipe = tmp_path / "null", tmp_path / "pipe"
    blob = spooled(lying / "a.webm")
    os.mkfifo(pipe)
    got = []
    other = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    other.start()
    assert blob.save(pipe, move=move) == pipe
    other.join()
    assert got == [DATA] and stat.S_ISFIFO(os.stat(pipe).st_mode)
    assert blob.bytes() == DATA, "a pipe keeps nothing to read from"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root may make a device")
    blob.save(device, move=move)
    assert stat.S_ISCHR(os.stat(device).st_mode)


@pytest.mark.parametrize("move", [False, True])
def test_saved_where_it_lies_it_stays(lying, move):
    path = lying / "a.webm"
    blob = spooled(path)
    (lying / "link").symlink_to(path)
    for name in (path, lying / "link"):
        assert blob.save(name, move=move) == name and blob.bytes() == DATA
    del blob
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("ways", ["copy_file_range", "sendfile", "read"])
def test_each_way_of_copying(lying, tmp_path, monkeypatch, ways):
    monkeypatch.setattr("recsvc.caller.saving.clone", lambda *_: False)
    used = []
    for name, its in (("copy_file_range", "copy_file_range"), ("sendfile", "sendfile"), ("pread", "read")):
        real = getattr(os, name)

        def call(*arguments, real=real, its=its):
            used.append(its)
            if ways in ("sendfile", "read") and its == "copy_file_range":
                raise OSError(errno.EXDEV, "not between these")
            if ways == "read" and its == "sendfile":
                raise OSError(errno.EINVAL, "not to this")
            return real(*arguments)

        monkeypatch.setattr(os, name, call)
    blob = spooled(lying / "a.webm", DATA * 10)
    told = []
    content_of(blob.slice(5)).save(tmp_path / "saved", False, told.append)
    assert (tmp_path / "saved").read_bytes() == (DATA * 10)[5:]
    assert used[-1] == ways and sum(told) == len(DATA) * 10 - 5


@pytest.mark.parametrize("move", [False, True])
def test_what_is_saved_is_on_the_disk_before_it_has_its_name(lying, tmp_path, monkeypatch, move):
    calls = []
    for name in ("fdatasync", "replace", "rename", "fsync"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, real=real, name=name: (calls.append(name), real(*a)))
    spooled(lying / "a.webm").save(tmp_path / "saved", move=move)
    assert calls == ["fdatasync", "rename" if move else "replace", "fsync"]


def test_move_is_true_or_false(lying, tmp_path):
    with pytest.raises(TypeError, match="1"):
        spooled(lying / "a.webm").save(tmp_path / "saved", move=1)
