"""What belongs to whom at a controller, and so who may command what."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Any

from .. import errors
from ..common.permissions import ADMIN, READ, RECORD, Peer, check
from ..common.service_limits import CLAIMS_KEPT
from ..common.sources import parse_source
from ..wire import messages
from .recording import SERVICE, Recording
from .recordings import Recordings
from .sources import Sources
from .unattended import Unattended


class Permissions:
    """Not thread-safe: the controller's loop calls it.

    A client's name belongs to the key that uses it first, with all that the client makes. Names of recordings, tracks
    and routes belong to who made these.
    """

    def __init__(self, recordings: Recordings, sources: Sources, unattended: Unattended) -> None:
        self._unattended = unattended
        self._recordings = recordings
        self._sources = sources
        self._clients: OrderedDict[str, str] = OrderedDict()  # client -> the name of its key
        self._ended: OrderedDict[str, str] = OrderedDict()  # recording -> the name of its key

    def check(self, peer: Peer, request: Any) -> None:
        """Raises ``NotAllowedError`` where ``peer`` may not have this done; else what the request names is its own."""
        kind = str(request.__struct_config__.tag)
        client = getattr(request, "client", "")
        if client == SERVICE:
            raise errors.NotAllowedError(f"no client may be called {client!r}")
        if client:
            check(peer, kind, self.owner_of_client(client))
        if isinstance(request, messages.Start):
            for track in request.tracks:
                if track.captured:
                    check(peer, kind, self._sources.owner_of(track.track))
        elif isinstance(request, messages.OpenSource | messages.Record):
            check(peer, kind)
            _check_sources(peer, request)
        elif isinstance(request, messages.CloseTrack):
            check(peer, kind, self._sources.owner_of(request.track))
        elif isinstance(request, messages.ControlRoutes):
            for name in {route.partition("/")[0] for route in request.routes}:
                check(peer, kind, self.owner_of_recording(name))
        elif isinstance(request, messages.Control | messages.AskStatistics | messages.AskEvents):
            check(peer, kind, self.owner_of_recording(request.recording))
        elif not client:
            check(peer, kind)
        if client:
            self._claim(client, peer)

    def check_topic(self, peer: Peer, topic: str) -> None:
        """Raises ``NotAllowedError`` where ``peer`` may not have the events whose topic begins so."""
        if peer.has(READ):
            return
        client, *names = topic.split("/")
        if client == SERVICE:  # those of one recording, whose id is all of what is between the slashes
            owner = self.owner_of_recording(names[0]) if len(names) > 1 else None
            may = owner is not None and peer.owns(owner)
        else:
            owner = self.owner_of_client(client)
            may = client != "" and names != [] and (owner is None or peer.owns(owner))
        if not peer.has(RECORD) or not may:
            raise errors.NotAllowedError(
                f"events of others, or of all, need the permission 'read'; {peer} may have those of its own clients"
            )
        if client != SERVICE:
            self._claim(client, peer)

    def _claim(self, client: str, peer: Peer) -> None:
        self._clients.setdefault(client, peer.name)
        self._clients.move_to_end(client)
        if len(self._clients) > CLAIMS_KEPT:
            self._clients.popitem(last=False)

    def owner_of_client(self, client: str) -> str | None:
        """The name of the key; ``None``: nobody uses this name."""
        owner = self._clients.get(client)
        if owner is None:
            owner = next((one.owner for one in self._recordings.of(client)), None)
        return self._sources.owner_of_client(client) if owner is None else owner

    def owner_of_recording(self, recording: str) -> str | None:
        """The name of the key; ``None``: nobody knows of it."""
        active = self._recordings.active.get(recording)
        if active is not None:
            return active.owner
        owner = self._unattended.owner_of(recording)
        return self._ended.get(recording) if owner is None else owner

    def ended(self, recording: Recording) -> None:
        """Its events can still be asked for, by its key. One that did not begin has none, and its id is free again."""
        self._ended[recording.name] = recording.owner
        self._ended.move_to_end(recording.name)
        if len(self._ended) > CLAIMS_KEPT:
            self._ended.popitem(last=False)


def _check_sources(peer: Peer, request: messages.OpenSource | messages.Record) -> None:
    """Whoever is elsewhere has the service open files of its machine only with ``admin``: what a file has comes back in
    the recording. Devices and addresses of a network need no more than ``record``."""
    if peer.has(ADMIN):
        return
    for wish in (request.audio, request.video):
        if wish is not None:
            parsed = parse_source(wish.get("source", ""))
            is_device = parsed.scheme == "camera" and os.path.normpath(parsed.target).startswith("/dev/")
            if parsed.scheme == "file" or (parsed.scheme == "camera" and not is_device):
                raise errors.NotAllowedError(
                    f"a file of the service's machine as a source needs the permission 'admin'; {peer} has none such"
                )
