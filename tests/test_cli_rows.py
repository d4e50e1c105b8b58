"""Tables of recordings: whole, aligned and within the terminal, whatever people call their recordings."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.cli import rows
from recsvc.cli.commands.app import _say
from recsvc.cli.naming import Named, matching
from recsvc.cli.target import UsageError
from recsvc.common.descriptions import (
    RecordingInfo,
    RecordingStatistics,
    RecordingStatus,
    ServiceStatus,
    TrackStatistics,
    WorkerStatus,
)
from recsvc.common.filenames import attachment, file_name
from recsvc.recording import Recording

STATISTICS = RecordingStatistics(
    state="recording",
    duration=10.0,
    size_bytes=1_250_000,
    tracks=(
        TrackStatistics(kind="audio", frames_accepted=480_000, frames_encoded=480_000, level_dbfs=-30.0),
        TrackStatistics(kind="video", frames_accepted=300, frames_encoded=295, frames_dropped=5),
    ),
)
RECORDING = RecordingStatus(
    recording="20261121-221800-ab12cd34",
    name="front door",
    owner="",
    state="recording",
    mime_type="video/webm",
    began=1.0,
    statistics=STATISTICS,
)


def test_rates_are_of_the_whole_at_first_and_then_since_the_last_look():
    first = rows.status_row(RECORDING, None, 100.0)
    assert first[2:8] == ["recording", "0:10.0", "1.25 MB", "1000", "29.5", "5"]
    assert first[8] == "[#####.....]  -30 dBFS"
    before = rows.moment(RECORDING, 100.0)
    tracks = (STATISTICS.tracks[0], msgspec.structs.replace(STATISTICS.tracks[1], frames_encoded=345))
    later = msgspec.structs.replace(STATISTICS, duration=12.0, size_bytes=1_500_000, tracks=tracks)
    second = rows.status_row(msgspec.structs.replace(RECORDING, statistics=later), before, 102.0)
    assert second[5:7] == ["1000", "25.0"]


def test_a_recording_of_which_nothing_is_known_yet_has_its_row():
    row = rows.status_row(msgspec.structs.replace(RECORDING, statistics=None), None, 1.0)
    assert row == [RECORDING.recording, "front door", "recording", "", "", "", "", "", ""]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00.0"),
        (59.94, "0:59.9"),
        (59.96, "1:00.0"),
        (3599.99, "1:00:00.0"),
        (90061.2, "25:01:01.2"),
        (-1, "0:00.0"),
        (float("nan"), "0:00.0"),
        (float("inf"), "277777777:46:40.0"),
    ],
)
def test_clocks(seconds, text):
    assert rows.clock(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (99_900, "99.9 kB"),
        (123_456, "123 kB"),
        (999_600, "1 MB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_sizes(count, text):
    assert rows.size(count) == text


def test_a_table_is_aligned_and_shows_everything_where_there_is_room():
    lines = rows.table(rows.STATUS, [rows.status_row(RECORDING, None, 1.0)] * 2)
    assert lines[0].split() == [
        "RECORDING", "NAME", "STATE", "ELAPSED", "SIZE", "KBIT/S", "FRAMES/S", "DROPPED", "LEVEL",
    ]  # fmt: skip
    assert lines[1] == lines[2] and "front door" in lines[1]
    assert lines[0].index("STATE") == lines[1].index("recording")


def test_narrow_terminals_lose_columns_by_their_rank_and_never_the_first():
    cells = [rows.status_row(RECORDING, None, 1.0)]
    widths = {width: rows.table(rows.STATUS, cells, width)[0].split() for width in range(20, 160)}
    assert widths[20][0] == "RECORDING"
    assert "STATE" in widths[30] and "LEVEL" not in widths[60]
    assert "LEVEL" in widths[159]
    for narrow, wide in zip(range(20, 159), range(21, 160), strict=True):
        assert len(widths[narrow]) <= len(widths[wide])


@given(
    names=st.lists(st.text(max_size=60), min_size=1, max_size=4),
    width=st.integers(10, 200),
)
def test_no_line_is_wider_than_the_terminal_or_moves_its_cursor(names, width):
    """Whatever a service writes into any of its fields."""
    cells = []
    for name in names:
        written = dict.fromkeys(("recording", "name", "state"), name)
        cells.append(rows.status_row(msgspec.structs.replace(RECORDING, **written), None, 1.0))
    lines = rows.table(rows.STATUS, cells, width)
    assert len(lines) == 1 + len(names)
    for line in lines:
        assert rows.display_width(line) <= width
        assert line.isprintable()


def test_nothing_that_a_service_writes_reaches_the_terminal_as_it_is():
    odd = "\x1b[2Jx\r\n"
    worker = WorkerStatus(number=0, pid=1, state=odd)
    status = ServiceStatus(service=odd, version=odd, began=1.0, spool=odd, free_bytes=1, workers=(worker,))
    info = RecordingInfo(recording=odd, name=odd, owner=odd, state=odd, mime_type=odd, began=1.0, ended=2.0)
    listed = rows.list_row(Recording(None, info))
    for line in (*rows.machine_lines(status), *rows.table(rows.LIST, [listed])):
        assert line.isprintable() and "x" in line or line.startswith("RECORDING")


def test_nor_does_what_it_answers_to_a_wrong_request(capsys):
    _say("no\x1b[2J\nway")
    assert capsys.readouterr().err == "recsvc: no�[2J way\n"


def test_wide_characters_count_twice():
    assert rows.display_width("録画") == 4 and rows.display_width("e\u0301") == 1
    assert rows.clipped("録画録画", 5) == "録画…"


def test_the_machine_is_described():
    status = ServiceStatus(
        service="s", version="1", began=1.0, clients=1, free_bytes=10**9, spool="/s", cost_max=2.0,
        workers=(
            WorkerStatus(number=0, pid=1, state="ready", recordings=1, load=0.5, cost=0.25, queue_frames=7),
            WorkerStatus(number=1, pid=2, state="starting"),
        ),
    )  # fmt: skip
    lines = list(rows.machine_lines(status))
    assert lines == [
        "worker 0: 1 recording, load 50 % of a core, 7 frames waiting",
        "worker 1 (starting): 0 recordings, load 0 % of a core",
        "load 0.25 of 2.00 cores",
        "1 GB free in /s, 1 client, recsvc 1",
    ]


# --- what a word means ----------------------------------------------------------------------------

KNOWN = [
    Named("20261121-221800-ab12cd34", "front door"),
    Named("20261121-221801-ab99cd34", "back door"),
    Named("20261122-000000-ffffffff", "door"),
    Named("20261122-000000-00000000", "door"),
    Named("door", ""),
]


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("20261121-221800-ab12cd34", 0), ("20261121-221800", 0), ("ab12", 0), ("front door", 0), ("back door", 1),
        ("ab9", 1), ("ff", 2), ("door", 4), ("front", None), ("20261123", None), ("b12", None),
    ],
)  # fmt: skip
def test_what_a_word_means(word, found):
    assert matching(word, KNOWN) == (None if found is None else KNOWN[found].id)


@pytest.mark.parametrize("word", ["2026", "ab", "20261122-000000-"])
def test_a_word_that_means_several_is_refused_and_names_them(word):
    with pytest.raises(UsageError, match="means [2-5] recordings: 2026"):
        matching(word, KNOWN)


def test_a_name_that_two_have_is_refused():
    with pytest.raises(UsageError, match="means 2 recordings"):
        matching("door", KNOWN[:4])


# --- names of files -------------------------------------------------------------------------------


@given(st.text(max_size=300))
def test_a_file_name_is_no_path_and_no_trouble(name):
    made = file_name(name, "20261121-221800-ab12cd34", "video/webm;codecs=vp8,opus")
    assert made.endswith(".webm") and not set(made) & set('/\\<>:"|?*\0\r\n') and len(made.encode()) <= 255
    assert not made.startswith((".", "-")) and made.strip() == made
    header = attachment(made)
    header.encode("latin-1")
    assert header.isprintable() and header.count('"') == 2


@pytest.mark.parametrize(
    ("name", "mime_type", "made"),
    [
        ("", "audio/ogg;codecs=opus", "id-1.ogg"), ("../../etc/passwd", "video/webm", "etc_passwd.webm"),
        ("front door", "video/x-matroska", "front door.mkv"), ("a.webm", "video/webm", "a.webm"),
        ("...", "audio/webm", "id-1.webm"), ("x", "", "x"), ("x", "text/html", "x"),
        ("a\u202egnp.exe", "video/webm", "a_gnp.exe.webm"),
    ],
)  # fmt: skip
def test_what_a_recording_is_called_as_a_file(name, mime_type, made):
    assert file_name(name, "id-1", mime_type) == made
