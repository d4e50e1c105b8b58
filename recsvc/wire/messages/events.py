"""What the controller publishes to its subscribers."""

from __future__ import annotations

from typing import Literal

from ...common.descriptions import BlobDescription, Count, Name, Ns, RecordingStatistics
from .base import Codec, Message


class RecorderEvent(Message, tag="event", kw_only=True):
    """``sequence`` counts per recording from 0 without gaps: a subscriber that sees one asks with ``AskEvents``.
    ``at_ns`` is when it was published first. ``number``, of a pause or resume: which of the pauses and resumes of the
    client that feeds the recording was the last before (see ``Control``); so that client knows whether it is to carry
    it out, or has commanded something newer itself."""

    recorder: Name
    recording: Name
    sequence: Count
    type: Literal["start", "pause", "resume", "dataavailable", "error", "stop"]
    at_ns: Ns
    mime_type: str = ""
    blob: BlobDescription | None = None
    number: Count = 0
    timecode_ms: float = 0.0
    error: str = ""
    text: str = ""
    statistics: RecordingStatistics | None = None
    whole: BlobDescription | None = None


class SourceEvent(Message, tag="source_event", kw_only=True):
    """A captured track of the client ended by itself, on the topic ``C/source``; ``error`` is ``""`` when its source
    came to its end."""

    track: Name
    error: str = ""
    text: str = ""


class Subscribed(Message, tag="subscribed", kw_only=True):
    """Answers a new subscription, also one that a connection renews after it broke: from now on its subscriber misses
    nothing. ``next`` has, of the newest recordings whose events have such a topic, the number of the next event: who
    has had fewer asks for them with ``AskEvents``."""

    next: dict[Name, Count] = {}


EVENTS = Codec(RecorderEvent | SourceEvent | Subscribed)
