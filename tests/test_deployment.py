"""The unit and the container file in ``examples``: they mean what they say, as far as this machine can show it."""

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from media import DEADLINE_S, decode

from recsvc.serve.settings import Settings, load

ROOT = Path(__file__).parents[1]

EXAMPLES = Path(__file__).parents[1] / "examples"
UNIT = EXAMPLES / "systemd" / "recsvc.service"
CONTAINER = EXAMPLES / "container" / "Containerfile"

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")


def unit() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read(UNIT)
    return parser["Service"]


@needs_systemd
def test_the_unit_is_valid(tmp_path: Path) -> None:
    """With a program that is there, and a user who is."""
    text = UNIT.read_text().replace("/opt/recsvc/bin/recsvc", sys.executable).replace("User=recsvc", "User=daemon")
    path = tmp_path / "recsvc.service"
    path.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, timeout=DEADLINE_S)
    ours = [line for line in done.stderr.splitlines() if "recsvc" in line]
    assert not ours, done.stderr


@needs_systemd
def test_the_unit_keeps_the_service_away_from_the_rest_of_the_machine(tmp_path: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", UNIT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    level = re.search(r"exposure level for recsvc.service: ([0-9.]+)", done.stdout)
    if level is None:
        pytest.skip(f"this systemd-analyze does not judge files: {done.stderr}")
    assert float(level[1]) < 3.5, done.stdout


def test_the_unit_gives_recordings_the_time_that_they_may_take() -> None:
    service = unit()
    program, _, arguments = service["ExecStart"].partition(" ")
    assert program.endswith("/recsvc") and arguments.split()[0] == "serve"
    assert float(service["TimeoutStopSec"]) >= load(arguments.split()[1:]).settings.finish_limit + 7 + 2
    assert service["Type"] == "notify" and service["RuntimeDirectoryMode"] == "0700"
    assert "network" in UNIT.read_text() and "AF_INET" in service["RestrictAddressFamilies"]


def test_the_container_runs_the_service_with_settings_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    text = re.sub(r"^#.*\n", "", CONTAINER.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    steps = [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]
    assert {name for name, _ in steps} <= {
        "FROM",
        "COPY",
        "RUN",
        "USER",
        "ENV",
        "VOLUME",
        "EXPOSE",
        "STOPSIGNAL",
        "ENTRYPOINT",
        "CMD",
    }
    words = dict(steps)
    assert (words["ENTRYPOINT"], words["CMD"]) == ('["recsvc"]', '["serve"]') and words["USER"] == "recsvc"
    for name, value in (word.split("=", 1) for word in shlex.split(words["ENV"])):
        monkeypatch.setenv(name, value)
        assert not name.startswith("RECSVC_") or name.removeprefix("RECSVC_").lower() in Settings.model_fields, name
    monkeypatch.delenv("RECSVC_SPOOL")
    found = load([]).settings
    assert (found.spool, found.tcp, found.keys) == ("/var/lib/recsvc/recordings", "tcp://*:7700", "/etc/recsvc/keys")


def test_the_demo_of_the_service(tmp_path: Path, place: Path) -> None:
    """As `make serve-demo` runs it, once what it needs is installed."""
    if not (EXAMPLES / "node/node_modules/zeromq").is_dir() or shutil.which("node") is None:
        pytest.skip("no Node.js with the packages of examples/node")
    if subprocess.run(["pkg-config", "--exists", "libzmq"]).returncode:
        pytest.skip("no libzmq3-dev")
    env = {**os.environ, "TMPDIR": str(place)}
    command = [ROOT / "tools/serve_demo.sh"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("by both ways") == 2 and "recording paused" in done.stdout and "refused" not in done.stdout
    for name, pictures in (("demo-node.webm", 125), ("demo-c.webm", 50)):
        found = decode(tmp_path / name)
        assert len(found.pictures) == pictures and len(found.samples) == pictures * 1920
    assert list(place.iterdir()) == []
