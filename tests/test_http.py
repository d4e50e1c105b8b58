"""Recordings over HTTP: what is answered, exactly; who is refused; and what slow and silent clients cost."""

import asyncio
import collections
import contextlib
import os
import random
import re
import socket
import subprocess
import time
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace

import pytest
from fixtures_media import wait_until
from http_side import HttpSide, info, served, service
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from media import DEADLINE_S

from recsvc.common.service import ServiceAddress
from recsvc.common.service_limits import CATALOG_REQUESTS_MAX, FETCH_CREDIT, HTTP_CONNECTIONS_MAX, HTTP_PIECE_BYTES
from recsvc.http.link import Link
from recsvc.wire import messages

CONTENT = random.Random(1).randbytes(3 * HTTP_PIECE_BYTES + 77)
SMALL = CONTENT[:1000]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    directory = tmp_path_factory.mktemp("h")
    with served(directory) as found:
        found[0].add("one", CONTENT)
        found[0].add("small", SMALL, name='Ümläut "x"/../\r\nSet-Cookie: a=b')
        found[0].add("empty", b"")
        yield found


@pytest.fixture
def fake(both):
    return both[0]


@pytest.fixture
def side(both):
    return both[1]


def test_a_file_is_sent_whole(side):
    whole = side.ask("/recordings/one/file")
    assert (whole.status, whole.body == CONTENT) == (200, True)
    assert whole.headers["content-length"] == str(len(CONTENT))
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-type"] == "video/webm;codecs=vp8,opus"
    head = side.ask("/recordings/one/file", "HEAD")
    assert (head.status, head.body) == (200, b"")
    date = {"date"}
    assert {n: v for n, v in head.headers.items() if n not in date} == {
        n: v for n, v in whole.headers.items() if n not in date
    }
    empty = side.ask("/recordings/empty/file")
    assert (empty.status, empty.body, empty.headers["content-length"]) == (200, b"", "0")


def expected(header, size):
    """What RFC 9110 has for a single range: ``(status, start, end)``."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    if found is None or found.groups() == ("", ""):
        return 416, 0, 0
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    return (206, start, end) if start < end else (416, 0, 0)


positions = st.integers(0, 1010) | st.sampled_from([0, 1, 998, 999, 1000, 1001, 2**63, 10**18])


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.builds(lambda a, b: f"bytes={a}-{b}", positions | st.just(""), positions | st.just("")))
@example("bytes=-0")
@example("bytes=0-0")
@example("bytes=999-")
@example("bytes=1000-")
@example("bytes=5-2")
@example("bytes=-")
def test_ranges_are_exact(both, header):
    answer = both[1].ask("/recordings/small/file", Range=header)
    status, start, end = expected(header, len(SMALL))
    assert answer.status == status
    if status == 206:
        assert answer.body == SMALL[start:end]
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/1000"
        assert answer.headers["content-length"] == str(end - start)
    else:
        assert answer.headers["content-range"] == "bytes */1000" and answer.body == b""


@pytest.mark.parametrize("header", ["lines=0-5", "bytes", "bytes=0-1,5-6", ""])
def test_a_range_that_need_not_be_understood_is_the_whole_file(side, header):
    answer = side.ask("/recordings/small/file", Range=header)
    assert (answer.status, answer.body) == (200, SMALL)
    assert "content-range" not in answer.headers


@pytest.mark.parametrize("header", ["bytes=a-b", "bytes=1-2-3", "bytes=--5", "bytes=١-٢".encode().decode("latin-1")])
def test_a_range_that_is_none_is_refused(side, header):
    assert side.ask("/recordings/small/file", Range=header).status == 416


def test_ranges_across_pieces_join_to_the_file(side):
    borders = [0, 1, HTTP_PIECE_BYTES - 1, HTTP_PIECE_BYTES + 1, 2 * HTTP_PIECE_BYTES + 5, len(CONTENT)]
    parts = [
        side.ask("/recordings/one/file", Range=f"bytes={start}-{end - 1}").body
        for start, end in zip(borders, borders[1:], strict=False)
    ]
    assert b"".join(parts) == CONTENT


def test_a_range_counts_only_for_the_version_that_it_is_of(side):
    whole = side.ask("/recordings/small/file", "HEAD").headers
    assert re.fullmatch(r'"[!-~]+"', whole["etag"]), "a strong one"
    for right in (whole["etag"], whole["last-modified"]):
        answer = side.ask("/recordings/small/file", Range="bytes=10-19", If_Range=right)
        assert (answer.status, answer.body) == (206, SMALL[10:20])
    for wrong in ('"other"', f"W/{whole['etag']}", formatdate(5, usegmt=True), "yesterday"):
        answer = side.ask("/recordings/small/file", Range="bytes=10-19", If_Range=wrong)
        assert (answer.status, answer.body) == (200, SMALL)
        answer = side.ask("/recordings/small/file", Range="bytes=5000-", If_Range=wrong)
        assert answer.status == 200, "no range, so none that is wrong"


def test_who_has_the_file_already_does_not_get_it_again(side):
    whole = side.ask("/recordings/small/file", "HEAD").headers
    etag, modified = whole["etag"], whole["last-modified"]
    for headers in ({"If_None_Match": etag}, {"If_None_Match": f'"a", W/{etag}'}, {"If_Modified_Since": modified}):
        answer = side.ask("/recordings/small/file", **headers)
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag)
    assert side.ask("/recordings/small/file", If_None_Match='"a"', If_Modified_Since=modified).status == 200
    assert side.ask("/recordings/small/file", If_Match='"a"').status == 412
    assert side.ask("/recordings/small/file", If_Match=etag).status == 200
    assert side.ask("/recordings/small/file", If_Unmodified_Since=formatdate(5, usegmt=True)).status == 412


def test_what_still_goes_on_is_sent_as_far_as_it_is(both):
    fake, side = both
    fake.add("growing", SMALL, state="recording", ended=0.0)
    answer = side.ask("/recordings/growing/file")
    assert (answer.status, answer.body) == (200, SMALL)
    assert "etag" not in answer.headers and "last-modified" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"
    fake.add("growing", CONTENT[:3000], state="recording", ended=0.0)
    answer = side.ask("/recordings/growing/file", Range="bytes=1000-")
    assert (answer.status, answer.body) == (206, CONTENT[1000:3000])
    assert answer.headers["content-range"] == "bytes 1000-2999/*", "nobody knows how long it will be"
    assert side.ask("/recordings/growing/file", Range="bytes=0-", If_Range='""').status == 200


def test_curl_goes_on_where_it_was(side, tmp_path):
    path = tmp_path / "x.webm"
    path.write_bytes(CONTENT[:123_457])
    command = ["curl", "-sS", "-f", "-C", "-", "-o", path, f"{side.url}/recordings/one/file"]
    subprocess.run(command, check=True, timeout=DEADLINE_S)
    assert path.read_bytes() == CONTENT


def test_the_name_of_a_file_is_safe(side):
    shown = side.ask("/recordings/small/file", "HEAD").headers["content-disposition"]
    assert shown.startswith("attachment; ")
    assert '"' not in re.sub(r'filename="[^"\\/]*"', "", shown) and "\r" not in shown
    assert "%C3%9Cml%C3%A4ut" in shown, "as people call it, in UTF-8"
    assert "/" not in shown and shown.endswith(".webm")


def test_a_file_that_vanishes_is_a_cut_connection_and_no_short_file(both):
    fake, side = both
    fake.add("gone", CONTENT)
    fake.contents["gone"] = CONTENT[:-1]
    with pytest.raises(Exception, match="IncompleteRead"):
        side.ask("/recordings/gone/file")
    del fake.contents["gone"]
    assert side.ask("/recordings/gone/file").status == 404


# --- the list ------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [100, 2])
def test_recordings_are_listed_page_by_page(tmp_path, room):
    """Whatever the catalog has room for in an answer of its own."""
    with served(tmp_path) as (fake, side):
        fake.room = room
        for number in range(7):
            fake.add(f"r{number}", b"x", began=1_000.1 + number / 3)
        seen, path = [], "/recordings?limit=3"
        while path:
            page = side.ask(path).json
            assert len(page["recordings"]) == 3 or page["next"] is None
            seen += [one["recording"] for one in page["recordings"]]
            path = page["next"]
        assert seen == [f"r{number}" for number in reversed(range(7))]
        one = side.ask("/recordings/r3").json
        assert (one["recording"], one["size_bytes"], one["file"]) == ("r3", 1, "/recordings/r3/file")
        assert "path" not in one, "where it is on the machine"


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "before=y", "before=nan"])
def test_a_list_that_cannot_be_is_refused(side, query):
    answer = side.ask(f"/recordings?{query}")
    assert answer.status == 400 and answer.json["error"] in ("ValueError", "TypeError")


def test_deleting(both):
    fake, side = both
    fake.add("old", b"x")
    fake.add("running", b"x", state="recording")
    assert side.ask("/recordings/old", "DELETE").status == 204
    assert side.ask("/recordings/old", "DELETE").status == 404
    refused = side.ask("/recordings/running", "DELETE")
    assert (refused.status, refused.json["error"]) == (409, "InvalidStateError")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404), ("GET", "/recordings/none", 404), ("GET", "/recordings/none/file", 404),
        ("GET", "/recordings/", 404), ("GET", "/recordings/..%2f..%2fetc%2fpasswd/file", 404),
        ("POST", "/recordings", 405), ("PUT", "/recordings/small/file", 405), ("DELETE", "/recordings/small/file", 405),
        ("DELETE", "/recordings", 405), ("POST", "/metrics", 405), ("GET", "/recordings/small?delete=1", 200),
        ("OPTIONS", "/recordings/small", 405),
    ],
)  # fmt: skip
def test_everything_else_is_an_error_and_changes_nothing(both, method, path, status):
    fake, side = both
    before = dict(fake.infos)
    answer = side.ask(path, method)
    assert answer.status == status
    if status != 200:
        assert set(answer.json) == {"error", "text"}
    assert fake.infos == before
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not any(name.startswith("access-control") for name in answer.headers), "no other site's pages"


# --- health --------------------------------------------------------------------------------------


def test_a_service_that_falls_silent_is_not_ready_and_this_process_lives(tmp_path):
    with served(tmp_path) as (fake, side):
        assert side.ask("/readyz").status == side.ask("/healthz").status == 200
        fake.silent = True
        answer = wait_until(lambda: (a := side.ask("/readyz")).status == 503 and a, "a 503")
        assert "does not answer" in answer.json["text"]
        assert side.ask("/healthz").status == 200
        assert side.ask("/metrics").status == side.ask("/recordings").status == 503
        fake.silent = False
        wait_until(lambda: side.ask("/readyz").status == 200, "that it is ready again")


def test_a_spool_that_cannot_be_written_is_not_ready(tmp_path):
    import msgspec

    with served(tmp_path) as (fake, side):
        fake.status = msgspec.structs.replace(fake.status, spool=str(tmp_path / "missing"))
        answer = wait_until(lambda: (a := side.ask("/readyz")).status == 503 and a, "a 503")
        assert "spool" in answer.json["text"] and str(tmp_path) not in answer.json["text"]


# --- who may -------------------------------------------------------------------------------------

TOKEN = "s3cret-token"


def test_with_a_token_nothing_but_health_is_answered_without_it(tmp_path):
    with served(tmp_path, token=TOKEN) as (fake, side):
        fake.add("one", SMALL)
        for path in ("/", "/recordings", "/recordings/one", "/recordings/one/file", "/metrics"):
            for header in (
                None,
                "",
                "Bearer",
                "Bearer wrong",
                f"Basic {TOKEN}",
                f"Bearer {TOKEN}x",
                f"Bearer {TOKEN[:-1]}",
            ):
                answer = side.ask(path, **({} if header is None else {"Authorization": header}))
                assert answer.status == 401, (path, header)
                assert answer.headers["www-authenticate"].startswith("Bearer")
                assert b"one" not in answer.body.replace(b"token", b"") or path == "/"
        assert side.ask("/recordings/one", "DELETE").status == 401 and "one" in fake.infos
        assert side.ask("/recordings/one/file", Authorization=f"Bearer {TOKEN}").body == SMALL
        assert side.ask("/recordings", Authorization=f"bearer {TOKEN}").status == 200
        assert side.ask("/healthz").status == side.ask("/readyz").status == 200
        own = Path("/proc", str(side.process.pid))
        shown = (own / "cmdline").read_bytes() + (own / "environ").read_bytes()
        assert TOKEN.encode() not in shown, "nobody sees it in the list of processes"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_it_refuses_to_serve_other_machines_without_a_token(tmp_path, host):
    with service(tmp_path) as fake:
        side = HttpSide(fake, tmp_path, host=host)
        with contextlib.closing(side):
            assert "token" in side.error


def test_an_address_in_use_is_an_error_that_names_it(tmp_path):
    with served(tmp_path) as (fake, first), socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        first.line.send(messages.ServeHttp(id=2, endpoint=fake.endpoint, host="127.0.0.1", port=0))
        assert first.ask("/healthz").status == 200, "it serves once"


def test_pages_of_other_sites_reach_nothing(both):
    fake, side = both
    fake.add("kept", SMALL)
    for host in ("evil.example", "evil.example:80", f"evil.example:{side.port}", "127.0.0.1.evil.example", ""):
        assert side.ask("/recordings", Host=host).status == 421, "a name that was made to lead here"
    for host in ("localhost", f"localhost:{side.port}", "[::1]:1", "127.0.0.1", f"127.0.0.1:{side.port}"):
        assert side.ask("/recordings", Host=host).status == 200
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": f"http://localhost:{side.port + 1}"},
    ):
        assert side.ask("/recordings/kept", "DELETE", **headers).status == 403
    assert "kept" in fake.infos
    same = {"Origin": f"http://127.0.0.1:{side.port}", "Sec_Fetch_Site": "same-origin"}
    assert side.ask("/recordings/kept", "DELETE", **same).status == 204


# --- many, slow, silent --------------------------------------------------------------------------


def raw(side, text=b"", receive_bytes=None):
    made = socket.socket()
    if receive_bytes:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    made.settimeout(DEADLINE_S)
    made.connect((side.host, side.port))
    made.sendall(text)
    return made


def request(path):
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_a_thousand_silent_connections_do_not_stop_it(both):
    fake, side = both
    with contextlib.ExitStack() as stack:
        for number in range(1000):
            stack.enter_context(raw(side, b"" if number % 2 else b"GET / HTTP/1.1\r\nHos"))
        assert side.ask("/recordings/one/file").body == CONTENT


def test_slow_downloads_hold_a_piece_each_and_nobody_else_up(both):
    fake, side = both
    fake.add("large", CONTENT * 40)
    side.ask("/recordings/one/file")
    with contextlib.ExitStack() as stack:
        before = resident_bytes(side.process.pid)
        slow = [stack.enter_context(raw(side, request("/recordings/large/file"), 4096)) for _ in range(60)]
        for one in slow:
            assert one.recv(100).startswith(b"HTTP/1.1 200")
        asked = wait_until_quiet(fake)
        assert side.ask("/recordings/one/file").body == CONTENT
        grown = resident_bytes(side.process.pid) - before
        assert grown < 60 * 4 * HTTP_PIECE_BYTES, f"{grown / 60 / 1024:.0f} KiB for each"
        assert fake.count(messages.Fetch) < asked + 20, "what nobody takes is not fetched"
        threads = len(os.listdir(f"/proc/{side.process.pid}/task"))
        assert threads < 10
    wait_until(lambda: len(os.listdir(f"/proc/{side.process.pid}/fd")) < 40, "their descriptors are free again")


def wait_until_quiet(fake):
    """Waits until nothing more is fetched; returns how often it was."""
    while True:
        count = fake.count(messages.Fetch)
        time.sleep(0.3)
        if fake.count(messages.Fetch) == count:
            return count


def test_many_downloads_at_once_stay_within_their_credit(both):
    fake, side = both
    most = []
    with contextlib.ExitStack() as stack:
        fake.silent = True
        before = fake.count(messages.Fetch)
        fake.silent = False
        readers = [stack.enter_context(raw(side, request("/recordings/one/file"))) for _ in range(30)]
        for reader in readers:
            head, _, body = receive_all(reader, len(CONTENT))
            most.append(body == CONTENT)
    assert all(most) and fake.count(messages.Fetch) >= before + 30 * 4
    assert FETCH_CREDIT < 30 < HTTP_CONNECTIONS_MAX


def test_requests_of_many_clients_stay_within_what_the_catalog_answers_one():
    """It refuses more, and clients would be answered 503."""
    under_way, most = collections.Counter(), collections.Counter()

    async def ask(request):
        kind = type(request) is messages.Fetch
        under_way[kind] += 1
        most[kind] = max(most[kind], under_way[kind])
        for _ in range(5):
            await asyncio.sleep(0)
        under_way[kind] -= 1
        return [messages.encode(messages.Reply(id=1, result=info("one"))), b"x"]

    async def run():
        sent = SimpleNamespace(ask=ask)
        address = ServiceAddress("ipc:///nowhere")
        link = Link(sent, SimpleNamespace(catalog=(), events=("ipc:///nowhere",)), address)
        link._catalog = sent
        asks = [link.recording("one") for _ in range(50)] + [link.fetch("one", 0, 1) for _ in range(50)]
        await asyncio.gather(*asks)
        link._catalog = None
        sent.close = lambda: None
        link.close()

    asyncio.run(run())
    assert most[True] == FETCH_CREDIT and most[False] == CATALOG_REQUESTS_MAX - FETCH_CREDIT


def receive_all(reader, size):
    data = b""
    while len(data) < size or len(data.partition(b"\r\n\r\n")[2]) < size:
        piece = reader.recv(1 << 20)
        if not piece:
            break
        data += piece
    return data.partition(b"\r\n\r\n")


def test_a_status_is_asked_for_a_few_times_a_second_however_many_ask(tmp_path):
    with served(tmp_path) as (fake, side):
        begun = time.monotonic()
        for _ in range(50):
            assert side.ask("/metrics").status == 200
        most = (time.monotonic() - begun) / 0.25 + 1
        assert fake.count(messages.AskStatus) <= most


# --- the process ---------------------------------------------------------------------------------


def test_it_ends_with_its_controller_whatever_is_under_way(tmp_path):
    with service(tmp_path) as fake:
        fake.add("large", CONTENT * 40)
        side = HttpSide(fake, tmp_path)
        with raw(side, request("/recordings/large/file"), 4096) as slow:
            assert slow.recv(10) == b"HTTP/1.1 2"
            os.close(side.line.descriptor)  # as when the controller dies
            try:
                assert side.process.wait(DEADLINE_S) == 0
            finally:
                side.process.kill()
                side.process.wait()
                side.process.started()
