"""The tree's rules: who may import what."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

import recsvc
from recsvc.process.launch import ROLE_MODULES

PACKAGE = Path(recsvc.__file__).parent

# Third-party library -> the modules that may import it: one per role.
OWNERS = {
    "zmq": {"wire.curve", "wire.sockets"},
    "cffi": set(),
    "sounddevice": {"capture.microphone"},
    "typer": {"cli.commands.app"},
    "rich": {"cli.terminal"},
    "starlette": {"http.app"},
    "uvicorn": {"http.serving"},
    "prometheus_client": {"http.metrics"},
    "numpy": set(),
    "pydantic": {"serve.settings"},
    "pydantic_settings": {"serve.settings"},
    "structlog": {"serve.logs"},
}
# Pure logic: no sockets, no processes, no files, no clocks of its own.
PURE = (
    "common.clocks",
    "common.codecs",
    "common.constraints",
    "common.descriptions",
    "common.filenames",
    "common.media",
    "common.pieces",
    "common.recorded",
    "common.state",
    "common.mime",
    "capture.limits",
    "common.limits",
    "common.packet_limits",
    "common.permissions",
    "common.redact",
    "common.service",
    "common.sources",
    "common.status",
    "caller.event_log",
    "caller.events",
    "errors",
    "wire.flow",
    "wire.messages",
    "wire.messages.base",
    "wire.messages.catalog",
    "wire.messages.data",
    "wire.messages.events",
    "wire.messages.lines",
    "wire.messages.requests",
    "caller.redirect",
    "capture.pattern",
    "capture.stamps",
    "catalog.asked",
    "catalog.lent",
    "catalog.retention",
    "cli.naming",
    "cli.rows",
    "controller.once",
    "controller.outbox",
    "controller.placement",
    "controller.restarts",
    "encode.account",
    "encode.marks",
    "encode.scheduler",
    "http.guard",
    "http.ranges",
    "http.totals",
    "mux.bitstream",
    "mux.codec_private",
    "mux.ebml",
    "mux.entries",
    "mux.parameter_sets",
    "protocol.examples",
    "protocol.judge",
    "protocol.meanings",
    "protocol.public",
    "protocol.schema",
    "protocol.tables",
    "mux.packets",
    "encode.clock",
    "encode.media_clock",
    "encode.drift",
    "encode.timeline",
)
# Of the standard library, which documents them; and whether this thread has an RLock, which only such a name says.
FOREIGN_UNDERSCORES = {"_asdict", "_exit", "_replace", "_is_owned"}
LINES_MAX = 320
NOT_PURE = {"zmq", "socket", "subprocess", "threading", "time", "os", "asyncio", "av", "sounddevice"}
# Room (a folder, or a module beside them) -> the rooms that it may import. No role imports another one, and none the
# caller's side.
FLOOR = {"common", "errors"}
ROOMS = {
    "errors": set(),
    "common": {"errors"},
    "process": FLOOR,
    "wire": FLOOR,
    "mux": FLOOR,
    "protocol": {"wire", *FLOOR},
    "capture": {"process", "wire", "mux", *FLOOR},
    "controller": {"process", "wire", "mux", *FLOOR},
    "serve": {"controller", "process", "wire", *FLOOR},
    "encode": {"process", "wire", "mux", *FLOOR},
    "http": {"process", "wire", *FLOOR},
    "catalog": {"process", "wire", "mux", *FLOOR},
    "caller": {"process", "wire", "mux", *FLOOR},
    "aio": {"caller", *FLOOR},
    "cli": {"caller", "process", "protocol", "recording", "mux", "serve", "wire", *FLOOR},
    "recording": {"caller", *FLOOR},
    "": {"aio", "caller", "recording", *FLOOR},
    "__main__": {"cli", "process"},
}


TREES = {path: ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}


def module_name(path: Path) -> str:
    """Without the package: ``wire.ring``; of the package itself and of ``aio/__init__.py`` ``""`` and ``aio``."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


def modules() -> dict[str, set[str]]:
    """Module name (without the package) -> names of what it imports, absolute."""
    found: dict[str, set[str]] = defaultdict(set)
    for path, tree in TREES.items():
        name = module_name(path)
        parents = path.relative_to(PACKAGE).parts[:-1]
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found[name].update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    kept = parents[: len(parents) - (node.level - 1)]
                    base = ".".join(["recsvc", *kept, *filter(None, [node.module])])
                found[name].add(base)
                found[name].update(f"{base}.{alias.name}" for alias in node.names)
    return found


def graph() -> dict[str, set[str]]:
    """Module name -> the package's modules that it imports, at any time, or for a type checker alone."""
    names = {module_name(path) for path in TREES}
    found = {}
    for name, imported in modules().items():
        inside = {one.removeprefix("recsvc").removeprefix(".") for one in imported if one.split(".")[0] == "recsvc"}
        found[name] = {one for one in inside & names if one and one != name}
    return found


def test_each_third_party_library_has_its_owner() -> None:
    for name, imported in modules().items():
        for library, owners in OWNERS.items():
            if any(one == library or one.startswith(library + ".") for one in imported):
                assert name in owners, (name, library)


def test_pyav_is_used_by_capture_alone() -> None:
    users = {name for name, imported in modules().items() if any(one.split(".")[0] == "av" for one in imported)}
    assert all(name.startswith("capture.") for name in users), users


def test_a_module_that_says_it_is_pure_is_held_to_that() -> None:
    for path, tree in TREES.items():
        says = re.search(r"\b(Pure|No I/O|[Nn]o sockets)\b", ast.get_docstring(tree) or "")
        assert not says or module_name(path) in PURE, (path, says)


def test_pure_modules_stay_pure() -> None:
    found = modules()
    for name in PURE:
        roots = {one.split(".")[0] for one in found[name]}
        assert not roots & NOT_PURE, (name, roots & NOT_PURE)


def test_a_room_imports_only_what_it_may() -> None:
    for name, imported in graph().items():
        room = name.split(".")[0]
        assert not {one for one in imported if one.split(".")[0] not in {room, *ROOMS[room]}}, name


@pytest.mark.parametrize("role", ROLE_MODULES)
def test_a_role_that_is_started_has_nothing_of_the_callers_side(role: str) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "recsvc", role, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    imported = set(re.findall(r"\| +(recsvc\S*)$", done.stderr, re.MULTILINE))
    assert {"recsvc", "recsvc.process.role", "recsvc.wire.sockets"} <= imported, done.stderr
    room = ROLE_MODULES[role].split(".")[1]
    others = {name.split(".")[1] for name in ROLE_MODULES.values()} - {room, *ROOMS[room]}
    foreign = {"caller", "aio", "cli", "protocol", *others}
    assert not {name for name in imported if name.partition(".")[2].split(".")[0] in foreign}


def test_there_is_no_circle_of_imports() -> None:
    left = graph()
    while outermost := [name for name in left if not any(name in imported for imported in left.values())]:
        for name in outermost:
            del left[name]
    while innermost := [name for name, imported in left.items() if not imported & left.keys()]:
        for name in innermost:
            del left[name]
    assert not left, {name: imported & left.keys() for name, imported in left.items()}


def test_an_underscore_name_stays_in_its_folder() -> None:
    """A name belongs to a folder where a module, a class or an object of that folder defines it."""
    defined: dict[Path, set[str]] = defaultdict(set)
    used: list[tuple[Path, int, str]] = []
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                defined[path.parent].add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                defined[path.parent].add(node.id)
            elif isinstance(node, ast.Attribute):
                own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
                if own:
                    defined[path.parent].add(node.attr)
                else:
                    used.append((path, node.lineno, node.attr))
            elif isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("recsvc")):
                used += [(path, node.lineno, alias.name) for alias in node.names]
    foreign = []
    for path, line, name in used:
        file = str(path.relative_to(PACKAGE))
        known = defined[path.parent] | FOREIGN_UNDERSCORES
        if name.startswith("_") and not name.endswith("__") and name not in known:
            foreign.append(f"{file}:{line} {name}")
    assert not foreign, foreign


def test_no_file_grows_beyond_reading() -> None:
    lines = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in TREES}
    grown = {name: count for name, count in lines.items() if count > LINES_MAX}
    assert not grown, "make two files of it, or say in fewer lines what it says"
