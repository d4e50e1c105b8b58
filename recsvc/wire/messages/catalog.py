"""Requests of clients to the catalog of recordings, finished ones and those that go on."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ...common.descriptions import Count, Name
from ...common.service_limits import FETCH_BYTES_MAX, LIST_MAX
from .base import Codec, Request


class ListRecordings(Request, tag="list", kw_only=True):
    """The reply's result is a list of ``RecordingInfo``, the newest first, at most ``limit`` of those that began before
    ``before`` (seconds since 1970; 0: now). No two of a service have the same ``began``: who asks for those before the
    last one of an answer misses none."""

    limit: Annotated[int, Meta(ge=1, le=LIST_MAX)] = LIST_MAX
    before: float = 0.0


class GetRecording(Request, tag="get", kw_only=True):
    """The reply's result is a ``RecordingInfo``."""

    recording: Name


class RenameRecording(Request, tag="rename", kw_only=True):
    """Gives it another name for people; its id and its file stay. The reply's result is its ``RecordingInfo``."""

    recording: Name
    name: Name


class DeleteRecording(Request, tag="delete", kw_only=True):
    """Deletes its file and forgets it. ``InvalidStateError``: it still goes on."""

    recording: Name


class Fetch(Request, tag="fetch", kw_only=True):
    """Bytes of a recording's file from ``start`` on, as a second part after the reply; fewer than ``size`` only where
    the file ends. How many of these a client may have unanswered is one of the bounds."""

    recording: Name
    start: Count
    size: Annotated[int, Meta(ge=1, le=FETCH_BYTES_MAX)]


CATALOG_REQUESTS = Codec(ListRecordings | GetRecording | RenameRecording | DeleteRecording | Fetch)
