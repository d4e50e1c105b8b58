"""docs/conformance.md and docs/reliability.md against the tests, docs/architecture.md against the modules: what they
name exists, what is said is shown."""

import ast
import functools
import inspect
import re
from pathlib import Path
from typing import NamedTuple

import pytest

import recsvc
import recsvc.aio

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "conformance.md"
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


class Clause(NamedTuple):
    number: str
    text: str
    status: str
    reason: str
    tests: list[tuple[str, str]]


def clauses() -> list[Clause]:
    found = []
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0] not in ("clause", "---"):
            number, text, standing, shown = cells
            status, _, reason = standing.partition(":")
            found.append(Clause(number, text, status, reason.strip(), TEST.findall(shown)))
    return found


@functools.cache
def names_of_tests(path: Path) -> set[str]:
    """The test functions of a file, also those in its classes."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


def test_each_clause_has_a_number_and_a_status() -> None:
    numbers = [clause.number for clause in clauses()]
    assert len(numbers) > 60 and len(set(numbers)) == len(numbers)
    by_section: dict[str, list[int]] = {}
    for number in numbers:
        section, _, last = number.rpartition(".")
        by_section.setdefault(section, []).append(int(last))
    assert list(by_section) == [*(f"1.{n}" for n in range(1, 13)), "2"]
    assert all(found == list(range(1, len(found) + 1)) for found in by_section.values()), by_section
    for clause in clauses():
        assert clause.text and clause.status in ("done", "different", "left out"), clause


def test_what_is_done_is_shown_and_what_is_not_has_a_reason() -> None:
    for clause in clauses():
        if clause.status == "left out":
            assert clause.reason, clause
        else:
            assert clause.tests, clause
            assert clause.reason or clause.status == "done", clause


def test_each_test_that_is_named_exists() -> None:
    for path, name in {test for clause in clauses() for test in clause.tests}:
        assert (ROOT / path).exists(), path
        assert name in names_of_tests(ROOT / path), f"{path} has no {name}"
    named = sum(len(re.findall(r"::\w+", line)) for line in PAGE.read_text().splitlines())
    assert named == sum(len(clause.tests) for clause in clauses()), "a name that cannot be read"


def test_each_row_on_reliability_names_its_tests_and_they_exist() -> None:
    rows = [line.strip("|").split("|") for line in (ROOT / "docs" / "reliability.md").read_text().splitlines()]
    rows = [cells for cells in rows if len(cells) == 4 and cells[0].strip("- ")]
    # The others are headings, and what `make mutants` has counted.
    shown = [cells for cells in rows if cells[3].strip() != "test" and "`" in cells[3]]
    counted = [cells for cells in rows if cells not in shown]
    assert {cells[3].strip() for cells in counted} <= {"test", "left that matter", "0"}, counted
    assert len(shown) > 100
    for cells in shown:
        named = re.findall(r"`((?:native/)?tests/[\w/]+\.(?:py|c))(?:::(\w+))?`", cells[3])
        assert named and all(cell.strip() for cell in cells), cells
        for path, name in named:
            assert (ROOT / path).exists(), path
            assert not name or name in names_of_tests(ROOT / path), f"{path} has no {name}"


@pytest.mark.parametrize("face", ["sync", "aio"])
def test_the_common_behaviour_is_run_against_each_face(face: str) -> None:
    tree = ast.parse((ROOT / "tests" / f"test_behaviour_{face}.py").read_text())
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert [node.name for node in classes if "Behaviour" in map(ast.unparse, node.bases)]


# --- small clauses --------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [recsvc.MediaRecorder, recsvc.aio.MediaRecorder])
def test_the_surface_is_that_of_the_specification(made: type) -> None:
    stream = recsvc.MediaStream()
    recorder = made(stream)
    assert recorder.stream is stream
    assert (recorder.mime_type, recorder.state, recorder.audio_bitrate_mode) == ("", "inactive", "variable")
    for name in ("start", "stop", "pause", "resume", "request_data", "is_type_supported"):
        assert callable(getattr(recorder, name))
    for name in ("start", "stop", "dataavailable", "pause", "resume", "error"):
        assert getattr(recorder, f"on{name}") is None
    for name in ("stream", "mime_type", "state", "audio_bits_per_second", "video_bits_per_second", "recording"):
        with pytest.raises(AttributeError):
            setattr(recorder, name, None)


def test_the_options_and_their_defaults() -> None:
    options = inspect.signature(recsvc.MediaRecorder.__init__).parameters
    given = {name: option.default for name, option in options.items() if option.kind is option.KEYWORD_ONLY}
    assert given == {
        "mime_type": "",
        "audio_bits_per_second": None,
        "video_bits_per_second": None,
        "bits_per_second": None,
        "audio_bitrate_mode": "variable",
        "video_key_frame_interval_duration": None,
        "video_key_frame_interval_count": None,
        "strict_stop": True,
        "overload": "drop",
        "service": None,
    }


def test_a_blob_event_needs_its_data() -> None:
    blob = recsvc.Blob([b"x"])
    event = recsvc.BlobEvent("dataavailable", data=blob)
    assert event.data is blob and event.timecode == 0.0 and event.type == "dataavailable"
    with pytest.raises(TypeError, match="data"):
        recsvc.BlobEvent("dataavailable")  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        event.data = blob  # type: ignore[misc]


def test_the_architecture_names_modules_that_are_there_and_what_they_have() -> None:
    rooms = (ROOT / room for room in ("recsvc", "native", "tools", "tests"))
    files = [path for room in rooms for path in room.rglob("*.*") if path.suffix in (".py", ".c")]
    for line in (ROOT / "docs" / "architecture.md").read_text().splitlines():
        module = ""
        for name in re.findall(r"`([\w/]+\.(?:py|c)|_[a-z]\w*)`", line):
            if name.startswith("_"):
                assert re.search(rf"\b{name}\b", module), f"{name} is not in the module before it: {line[:80]}"
                continue
            found = [path for path in files if str(path).endswith(f"/{name}")]
            assert found, f"there is no {name}: {line[:80]}"
            module = "".join(path.read_text() for path in found)
