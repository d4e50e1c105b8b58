"""Keys in files: what is let in, while a service runs, and how they are made."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket as network
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures_media import wait_until
from keyed import Talk, daemon
from media import DEADLINE_S
from test_permissions import SILENCE, Person, sound

from recsvc.common.permissions import ADMIN, READ, RECORD, Peer
from recsvc.common.service import ServiceAddress
from recsvc.common.service_limits import KEY_FILE_BYTES_MAX, KEYS_LOOK_NS
from recsvc.errors import NotAllowedError, NotFoundError, SecurityError
from recsvc.process import services
from recsvc.wire import curve, messages, sockets
from recsvc.wire.gate import Gate


def keygen(configuration: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "recsvc", "keygen", *arguments],
        env=dict(os.environ, XDG_CONFIG_HOME=str(configuration)),
        cwd=configuration,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


def put(folder: Path, name: str, *permissions: str) -> str:
    pair = curve.make_keys()
    (folder / f"{name}.toml").write_text(curve.authorized_text(pair.public, permissions))
    return pair.public


# --- files ----------------------------------------------------------------------------------------


def test_the_keys_of_a_service_are_made_once_and_for_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "service.key"
    with pytest.raises(NotFoundError, match="recsvc keygen"):
        curve.service_keys(path)
    made = curve.make_service_keys(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert curve.make_service_keys(path) == curve.service_keys(path) == made
    assert made.secret not in repr(made)


@pytest.mark.parametrize("content", ["", "public = 3", 'public = "short"\nsecret = "short"', "\0", "x" * 10_000])
def test_a_file_that_is_no_key_is_named_as_such(tmp_path: Path, content: str) -> None:
    path = tmp_path / "service.key"
    curve.write_secret(path, content)
    with pytest.raises(SecurityError, match="cannot be read"):
        curve.service_keys(path)


def test_keys_that_do_not_fit_or_that_others_may_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "service.key"
    curve.write_secret(path, f'public = "{curve.make_keys().public}"\nsecret = "{curve.make_keys().secret}"\n')
    with pytest.raises(SecurityError, match="do not belong together"):
        curve.service_keys(path)
    path.unlink()
    curve.make_service_keys(path)
    path.chmod(0o640)
    with pytest.raises(SecurityError, match="chmod 600"):
        curve.service_keys(path)


def test_a_folder_to_which_others_may_write_lets_nobody_in(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    with pytest.raises(SecurityError, match="chmod 700"):
        curve.Authorized(tmp_path)


def test_the_folder_is_read_again_and_what_is_no_key_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(0o700)
    now = [0]
    monkeypatch.setattr(curve.time, "monotonic_ns", lambda: now[0])
    alice = put(tmp_path, "alice", RECORD)
    (tmp_path / "broken.toml").write_text("public = [")
    (tmp_path / "deep.toml").write_text("public = " + "[" * 4_000)
    (tmp_path / "odd.toml").write_text(f'public = "{alice[:-1]}"\npermissions = ["read"]')
    (tmp_path / "greedy.toml").write_text(curve.authorized_text(curve.make_keys().public, ("everything",)))
    (tmp_path / "long.toml").write_text("#" * (KEY_FILE_BYTES_MAX + 1))
    os.mkfifo(tmp_path / "pipe.toml")
    put(tmp_path, "-dash", READ)
    (tmp_path / "README").write_text("not a key")
    keys = curve.Authorized(tmp_path)
    assert keys.names() == ["alice"]
    assert len([line for line in caplog.messages if "is not let in" in line]) == 7
    bob = put(tmp_path, "bob", READ, ADMIN)
    os.utime(tmp_path, ns=(1, 1))  # two changes within a clock's tick cannot be told apart
    assert keys.peer(bob) is not None, "it would not try again"
    (tmp_path / "bob.toml").write_text("")
    assert keys.peer(bob) is not None, "not looked at again so soon"
    (tmp_path / "bob.toml").write_text(curve.authorized_text(bob, (READ, ADMIN)))
    now[0] += KEYS_LOOK_NS
    assert keys.peer(bob) == Peer("bob", frozenset((READ, ADMIN)))
    assert keys.peer(alice) == Peer("alice", frozenset((RECORD,)))
    assert len([line for line in caplog.messages if "is not let in" in line]) == 7, "each is named once"
    (tmp_path / "alice.toml").unlink()
    (tmp_path / "bob.toml").write_text(curve.authorized_text(bob, (READ,)))
    now[0] += KEYS_LOOK_NS
    assert keys.peer(alice) is None
    assert keys.peer(bob) == Peer("bob", frozenset((READ,)))
    monkeypatch.setattr(curve.os, "scandir", lambda folder: pytest.fail("who is known costs a look at one file"))
    now[0] += KEYS_LOOK_NS
    assert keys.peer(bob) is not None


def test_programs_of_this_machine_leave_the_service_its_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """ZeroMQ ends a process that is to accept a connection by a Unix socket, and has no descriptor for it."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (8, 8))
    gate = Gate()
    server, (there,) = sockets.control_server(f"ipc://{tmp_path}/s")
    gate.guard(server)
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(network.socket(network.AF_UNIX)) for _ in range(10)]
        for one in made:
            one.connect(there.removeprefix("ipc://"))
            one.setblocking(False)

        def ended() -> int:
            gate.take()
            return sum(is_over(one) for one in made)

        wait_until(lambda: ended() == 4, "those beyond three quarters of eight", DEADLINE_S)
        assert gate.refused["connections"] == 4 and "program of this machine" in caplog.text
        made[0].close()
        again = stack.enter_context(network.socket(network.AF_UNIX))
        wait_until(lambda: gate.take() is None and len(gate._here) == 5, "its place", DEADLINE_S)
        again.connect(there.removeprefix("ipc://"))
        again.setblocking(False)
        wait_until(lambda: gate.take() is None and len(gate._here) == 6, "another one", DEADLINE_S)
        assert not is_over(again)
    for socket in (server, gate):
        socket.close()


def is_over(connection: network.socket) -> bool:
    """Whether its peer has ended it. What ZeroMQ says at first is not looked at."""
    try:
        while connection.recv(1000):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def test_a_key_that_cannot_be_judged_ends_nothing_and_is_let_in_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who looks at keys is the process that records, too."""
    monkeypatch.setattr(sockets, "HANDSHAKE_TIMEOUT_MS", 100)
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    own, pair = curve.make_service_keys(tmp_path / "service.key"), curve.make_keys()
    (keys / "a.toml").write_text(curve.authorized_text(pair.public, (READ,)))
    gate = Gate(keys, tmp_path / "service.key")
    server, (there,) = sockets.control_server("", "tcp://127.0.0.1:*", gate.secret)
    gate.guard(server)
    judge, seen = gate._authorized.peer, []  # type: ignore[union-attr]

    def fails(public: str) -> Peer | None:
        seen.append(public)
        if len(seen) < 3:
            raise ZeroDivisionError("nobody has thought of this")
        return judge(public)

    monkeypatch.setattr(gate._authorized, "peer", fails)
    client = sockets.control_client(
        ServiceAddress(there.replace("*", "127.0.0.1"), own.public, pair.public, pair.secret)
    )
    client.send(b"x")

    def came() -> bool:
        gate.take()
        return sockets.readable(server)

    wait_until(came, "the client's message", DEADLINE_S)
    assert gate.peer(sockets.receive_frame(server)[1]).name == "a"
    assert gate.refused["key"] == 2 and "nobody has thought of this" in caplog.text
    for socket in (client, server, gate):
        socket.close()


# --- recsvc keygen --------------------------------------------------------------------------------


def test_keygen_makes_what_a_client_and_its_service_need(tmp_path: Path) -> None:
    done = keygen(tmp_path, "alice", "-o", "made", "--service", "tcp://recorder.example:7700")
    assert done.returncode == 0, done.stderr
    private, shown = tmp_path / "made" / "alice.json", tmp_path / "made" / "alice.toml"
    assert private.stat().st_mode & 0o777 == 0o600
    address = services.address_of(str(private))
    own = curve.service_keys(tmp_path / "recsvc" / "service.key")
    assert (address.endpoint, address.server_key) == ("tcp://recorder.example:7700", own.public)
    assert address.secret_key not in done.stdout + shown.read_text()
    keys = tmp_path / "recsvc" / "keys"
    assert str(keys) in done.stdout, "what is to be done with it"
    keys.mkdir(mode=0o700)
    shown.rename(keys / "alice.toml")
    assert curve.Authorized(keys).peer(address.public_key) == Peer("alice", frozenset((RECORD, READ)))


def test_keygen_authorizes_at_once_where_the_service_is(tmp_path: Path) -> None:
    assert keygen(tmp_path).returncode == 0
    done = keygen(tmp_path, "boss", "--permissions", "admin", "--authorize")
    assert done.returncode == 0, done.stderr
    found = curve.Authorized(tmp_path / "recsvc" / "keys")
    address = services.address_of(str(tmp_path / "boss.json"))
    assert found.peer(address.public_key) == Peer("boss", frozenset((ADMIN,)))
    again = keygen(tmp_path, "boss", "--authorize")
    assert again.returncode == 1 and "is there already" in again.stderr
    assert services.address_of(str(tmp_path / "boss.json")) == address


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("../alice",), "a client is called by"),
        (("alice", "--permissions", "write"), "permissions are some of"),
        (("alice", "--permissions", ","), "permissions are some of"),
        (("alice", "--server-key", "abc"), "is no key"),
        (("alice", "--service", "ipc:///tmp/x"), "on other machines"),
    ],
)
def test_keygen_says_what_it_expects(tmp_path: Path, arguments: tuple[str, ...], reason: str) -> None:
    done = keygen(tmp_path, *arguments)
    assert done.returncode == 2 and reason in done.stderr
    assert not list(tmp_path.glob("*.*"))


# --- a service ------------------------------------------------------------------------------------


def serve(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """That is to end by itself."""
    command = [sys.executable, "-m", "recsvc", "serve", "--tcp", "tcp://127.0.0.1:*", "--directory", f"{tmp_path}/run"]
    command += ["--spool", f"{tmp_path}/spool", "--keys", f"{tmp_path}/keys", "--key-file", f"{tmp_path}/service.key"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=DEADLINE_S)


def test_a_service_without_keys_does_not_begin_for_other_machines(tmp_path: Path) -> None:
    done = serve(tmp_path)
    assert done.returncode == 1
    assert "recsvc keygen" in done.stderr and "--insecure" in done.stderr
    assert (tmp_path / "service.key").stat().st_mode & 0o777 == 0o600


def test_a_service_whose_key_others_may_read_does_not_begin(tmp_path: Path) -> None:
    curve.make_service_keys(tmp_path / "service.key")
    (tmp_path / "service.key").chmod(0o644)
    done = serve(tmp_path)
    assert done.returncode == 1 and "chmod 600" in done.stderr


def test_keys_count_while_a_service_runs(tmp_path: Path) -> None:
    with daemon(tmp_path, alice=(RECORD,)) as service:
        service.add("bob", READ)

        def status(name: str) -> messages.Reply | None:
            talk = Talk(service.address(name))
            try:
                return talk.ask(messages.AskEvents(recorder="r", recording="a", sequence=0), 0.5)
            except AssertionError:
                return None
            finally:
                talk.close()

        came = wait_until(lambda: status("bob"), "the key is let in", DEADLINE_S)
        assert came.error == "InvalidStateError", "there is no such recording"
        talk = Talk(service.address("bob"))
        assert talk.ask(messages.AskStatistics(recording="x")).error == "InvalidStateError"
        (service.keys / "bob.toml").unlink()
        wait_until(
            lambda: talk.ask(messages.AskStatistics(recording="x")).error == NotAllowedError.name,
            "the open connection of a key that was removed may do nothing",
            DEADLINE_S,
        )
        talk.close()
        alice = Person(service, "alice")
        started = alice.started()
        (route,) = started.routes
        data = alice.feed(route)
        sent = 0

        def is_refused() -> bool:
            nonlocal sent
            data.send_multipart([sound(route.route, sent), SILENCE])
            sent += 1
            return data.poll(20) and isinstance(messages.SENDER.decode(data.recv()), messages.Refused)

        assert not any(is_refused() for _ in range(5))
        (service.keys / "alice.toml").unlink()
        wait_until(is_refused, "the frames of a key that was removed are refused", DEADLINE_S)
        local = Person(service, "")
        local.finish(started.recording)
        for one in (alice, local, data):
            one.close()
        text = json.dumps(service.log.read_text())
        assert service.server.secret not in text


def test_a_connection_that_ended_at_once_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    """Its number may be that of a file when it is looked at."""
    gate, path = Gate(), tmp_path / "file"
    with path.open("w") as file:
        for _ in range(3):
            gate._accepted(file.fileno())
        links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
        assert sum(link.is_symlink() and os.readlink(link) == str(path) for link in links) == 1
