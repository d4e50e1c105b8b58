"""The developer commands: what they list, and what they say on a machine where they cannot go on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert targets is not None
    shown = subprocess.run(["make", "-C", str(ROOT)], check=True, capture_output=True, text=True).stdout
    assert set(re.findall(r"^  ([a-z-]+) +\S", shown, re.MULTILINE)) == set(targets[1].split())


def test_each_package_has_a_time_and_a_reason() -> None:
    lines = (ROOT / "tools/packages").read_text().splitlines()
    rows = [line.split(maxsplit=2) for line in lines if line and not line.startswith("#")]
    assert all(len(row) == 3 and row[1] in ("run", "test", "wheel") for row in rows)
    assert len({row[0] for row in rows}) == len(rows)


class Machine:
    """A copy of the tools in a directory of its own, where programs can be replaced by scripts."""

    def __init__(self, place: Path) -> None:
        self.programs = place / "bin"
        self.programs.mkdir()
        self.tree = place / "tree"
        shutil.copytree(ROOT / "tools", self.tree / "tools")
        self.has("dpkg-query", "exit 0")  # knows of no package

    def has(self, program: str, script: str) -> None:
        path = self.programs / program
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def set_up(self, **environment: str) -> str:
        """Returns the last line of the error output of a set-up that must fail."""
        path = f"{self.programs}:{os.environ['PATH']}"
        done = subprocess.run(
            [self.tree / "tools/setup.sh", "run"],
            env=os.environ | {"PATH": path} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1
        return done.stderr.splitlines()[-1]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_packages_missing_and_apt_unable(machine: Machine) -> None:
    machine.has("id", "echo 0")
    machine.has("apt-get", "echo 'E: Unable to fetch some archives' >&2; exit 100")
    message = machine.set_up()
    assert message.startswith("recsvc: error: apt-get could not install them")
    assert "libopus-dev" in message


def test_packages_missing_and_no_right_to_install(machine: Machine) -> None:
    machine.has("id", "echo 1000")
    machine.has("apt-get", "exit 0")
    machine.has("sudo", "exit 1")
    message = machine.set_up()
    assert message.startswith("recsvc: error: sudo wants a password and there is no terminal; run as root: apt-get")


def test_python_too_old(machine: Machine) -> None:
    # Every package is there.
    machine.has("dpkg-query", f"sed -n '/^[a-z]/s/^/installed /p' '{machine.tree}/tools/packages' | cut -d ' ' -f 1,2")
    for name in ("python3", "python3.14", "python3.13", "python3.12", "python3.11"):
        machine.has(name, '[ "$1" = -V ] && echo Python 3.9.2; exit 1')
    assert machine.set_up(PYTHON="").startswith(
        "recsvc: error: Python 3.11 or newer is needed, python3 is Python 3.9.2"
    )
    assert machine.set_up(PYTHON="python3") == (
        "recsvc: error: PYTHON=python3 is not a Python of version 3.11 or newer"
    )
