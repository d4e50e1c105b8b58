"""The roles' lives, and the connections between them: what is begun, what is undone, what is left behind."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator

import pytest
from fixtures_media import wait_until
from media import DEADLINE_S, SMALL_TEST
from traces import role_processes

import recsvc
from recsvc import client, stream
from recsvc.errors import InvalidStateError, ServiceError
from recsvc.wire import messages


def roles(role: str) -> list[int]:
    return [pid for pid, line in role_processes().items() if f" -m recsvc {role} " in line]


@pytest.fixture(autouse=True)
def own(own_controller: None) -> Iterator[None]:
    yield


# --- what nobody waits for any more ---------------------------------------------------------------


def test_a_source_whose_caller_gave_up_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = client.connect()
    [controller] = roles("controller")
    os.kill(controller, signal.SIGSTOP)  # the request, and that it is given up, arrive together
    try:
        monkeypatch.setattr(stream, "OPEN_SOURCE_DEADLINE_NS", 1)
        with pytest.raises(ServiceError):
            recsvc.get_user_media(audio=SMALL_TEST)
    finally:
        os.kill(controller, signal.SIGCONT)
    connection.request(messages.Hello(client=connection.name))
    wait_until(lambda: not roles("capture"), "the end of what nobody wants", DEADLINE_S)


def test_a_source_may_be_closed_before_the_request_to_open_it_comes() -> None:
    connection = client.connect()
    track = f"audio-{uuid.uuid4().hex[:12]}"
    connection.request(messages.CloseTrack(track=track))
    with pytest.raises(InvalidStateError, match="closed before it was open"):
        connection.request(messages.OpenSource(client="c", audio={"source": SMALL_TEST, "track": track}))
    for name in ("../x", "", ".x", None, "x" * 101, "a\n"):
        with pytest.raises(ValueError, match="needs a name"):
            connection.request(messages.OpenSource(client="c", audio={"source": SMALL_TEST, "track": name}))
    assert roles("capture") == []
