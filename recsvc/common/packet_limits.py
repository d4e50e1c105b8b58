"""Bounds of media that comes encoded and is recorded as it is, each with its reason and with what happens when it is
reached."""

from .limits import S

PACKET_BYTES_MAX = 8 * 1024 * 1024
"""A larger packet is refused: a key frame of 7680x4320 has a fifth of it. A cluster with one is still shorter than what
a crash may tear (``mux.recover_matroska.TORN_MAX``)."""

REORDERED_MAX = 16
REORDERED_NS_MAX = 3 * S
"""By how much pictures may come out of order: decoders of H.264 and H.265 keep 16. One that is further back is taken to
be on another clock."""

DESCRIPTION_BYTES_MAX = 16 * 1024
"""A longer description of a codec is refused: parameter sets have some hundred bytes, but x265 adds its settings as
text, of 2 KiB."""

PARAMETER_SETS_BYTES_MAX = 2048
"""Room in a file's header for what only the first key frame shows. Where that is longer, the recording fails with
``EncodingError``."""
