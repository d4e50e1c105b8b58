"""The recordings of a service, as the command line names them."""

from __future__ import annotations

from .. import errors, recording
from ..caller import at_service
from ..caller.client import Client
from ..common.descriptions import ServiceStatus
from ..process import services
from .naming import Named, matching
from .target import Unknown, UsageError


class AtService:
    """One run of a command that speaks with a service."""

    def __init__(self, service: str | None) -> None:
        self.service = service or services.default_service()
        self.client: Client = at_service.connect(self.service)

    @property
    def keeps(self) -> bool:
        """Whether its recordings stay when they have ended."""
        return bool(self.client.welcome.catalog)

    def status(self) -> ServiceStatus:
        return at_service.status(self.client)

    def kept(self, word: str) -> recording.Recording:
        """A recording, also one that has ended. ``Unknown``, ``UsageError``."""
        if not word:
            raise UsageError("an id or a name of a recording is expected, not an empty text")
        try:
            return recording.get(word, service=self.service)
        except errors.NotFoundError:
            everything = recording.list(service=self.service, limit=None)
            name = matching(word, (Named(one.id, one.name) for one in everything))
        if name is None:
            raise Unknown(f"there is no recording {word!r} at this service; see recsvc list")
        return recording.get(name, service=self.service)

    def running(self, word: str) -> str:
        """The id of one that goes on, or of one that has ended where none that goes on is meant."""
        if not word:
            raise UsageError("an id or a name of a recording is expected, not an empty text")
        name = matching(word, (Named(one.recording, one.name) for one in self.status().recordings))
        if name is None and self.keeps:
            return self.kept(word).id
        if name is None:
            raise Unknown(f"no recording {word!r} goes on at this service; see recsvc status")
        return name
