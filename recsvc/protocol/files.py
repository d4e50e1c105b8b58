"""The catalog of a service that is played: one made-up file."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from ..common.service_limits import FETCH_CREDIT
from ..wire import messages, sockets
from .judge import Judged

FILE = random.Random(1).randbytes(2_500_007)
"""What every recording is."""


def take_requests(
    catalog: Any,
    recordings: dict[str, Judged],
    note: Callable[[Any, Any], None],
    complain: Callable[[str], None],
) -> None:
    """Answers all requests that are there, which is what the client has unanswered."""
    asked = []
    while sockets.readable(catalog):
        asked.append(catalog.recv_multipart()[:2])
    if len(asked) > FETCH_CREDIT:
        complain(f"{len(asked)} requests are unanswered: at most {FETCH_CREDIT} may be")
    for identity, header in asked:
        part: tuple[bytes, ...] = ()
        try:
            request = messages.CATALOG_REQUESTS.decode(header)
            note(request, header)
            reply = messages.Reply(id=request.id, error="NotFoundError", text="no such recording is known")
            one = recordings.get(getattr(request, "recording", ""))
            if isinstance(request, messages.Fetch) and one is not None:
                part = (FILE[request.start : request.start + request.size],)
                one.fetched.append((request.start, request.start + len(part[0])))
                reply = messages.Reply(id=request.id)
            elif isinstance(request, messages.ListRecordings):
                newest = sorted(recordings.values(), key=lambda known: known.began, reverse=True)
                known = [one.info(len(FILE)) for one in newest if one.began < (request.before or math.inf)]
                reply = messages.Reply(id=request.id, result=known[: request.limit])
            elif isinstance(request, messages.GetRecording) and one is not None:
                reply = messages.Reply(id=request.id, result=one.info(len(FILE)))
        except messages.MessageError as error:
            complain(f"a request to the catalog that cannot be read: {error}")
            reply = messages.Reply(id=messages.request_id(header), error="TypeError", text=str(error))
        catalog.send_multipart([identity, messages.encode(reply), *part])
