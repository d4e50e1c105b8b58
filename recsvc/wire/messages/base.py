"""What every message has: a kind, the protocol's version, and how it is read and written. No sockets here."""

from __future__ import annotations

from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta, Struct

from ...common.descriptions import Count
from ...common.limits import HEADER_BYTES_MAX

VERSION = 2
"""A message of another version is refused. New kinds of messages, and new fields that may be left out, do not raise it:
fields that a reader does not know are skipped."""


class MessageError(ValueError):
    """A message does not fit the protocol. The text has what was expected and what came."""


class Message(Struct, kw_only=True, tag_field="kind"):
    v: Annotated[int, Meta(ge=VERSION, le=VERSION)] = VERSION


class Request(Message, kw_only=True):
    """``id`` comes back in the reply; 0 asks for none."""

    id: Count = 0


class Reply(Message, tag="reply", kw_only=True):
    """``error`` is the DOMException name, or ``""``; ``result`` depends on the request."""

    id: Count
    error: str = ""
    text: str = ""
    result: Any = None


encode = msgspec.msgpack.Encoder().encode


class Codec:
    """Decodes the messages of one socket: a closed set of kinds, anything else is refused."""

    def __init__(self, kinds: Any) -> None:
        self.kinds: tuple[type[Message], ...] = get_args(kinds) or (kinds,)
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(kinds)

    def decode(self, header: Any) -> Any:
        """The message in ``header`` (any buffer); ``MessageError`` where it is none of this socket's."""
        if len(header) > HEADER_BYTES_MAX:
            raise MessageError(f"header of {len(header)} bytes: at most {HEADER_BYTES_MAX} are taken")
        try:
            return self._decoder.decode(header)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MessageError(f"unreadable message: {error}") from None


class _Numbered(Struct):
    id: Count = 0


_NUMBERED: msgspec.msgpack.Decoder[_Numbered] = msgspec.msgpack.Decoder(_Numbered)


def request_id(header: Any) -> int:
    """The ``id`` of a request that cannot be read otherwise, so that who waits gets an answer; 0 where it has none."""
    try:
        return _NUMBERED.decode(header).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
