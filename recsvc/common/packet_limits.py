"""Bounds of media that comes encoded and is recorded as it is, each with its reason and with what happens when it is
reached."""

from .limits import MS, PACKET_CREDIT_FRAMES, S

PACKET_BYTES_MAX = 8 * 1024 * 1024
"""A larger packet is refused: a key frame of 7680x4320 has a fifth of it. A cluster with one is still shorter than what
a crash may tear (``mux.recover_matroska.TORN_MAX``)."""

REORDERED_MAX = 16
REORDERED_NS_MAX = 3 * S
"""By how much pictures may come out of order: decoders of H.264 and H.265 keep 16. One that is further off is taken
to be on another clock."""

DESCRIPTION_BYTES_MAX = 16 * 1024
"""A longer description of a codec is refused: parameter sets have some hundred bytes, but x265 adds its settings as
text, of 2 KiB."""

PARAMETER_SETS_BYTES_MAX = 2048
"""Room in a file's header for what only the first key frame shows. Where that is longer, the recording fails with
``EncodingError``."""

PACKET_MESSAGES_NS = 100 * MS
PACKET_MESSAGES_MAX = 32
"""Packets wait so long at their sender, in the time of their stamps, or until there are so many, and go together, those
of all senders at the same instants: for the first message after a pause a worker does several times as much as for the
next. What waits goes before a stop, a request for data and, where the source can wait, a pause; with a sender that is
killed it is lost."""

PREROLL_S_MAX = 10
"""Seconds before ``start()`` that a recording of packets may begin with, unless less is asked for (``preroll``): the
newest key frame is used when it is no older. Cameras have one every 1 to 4 s."""

PREROLL_PACKETS_MAX = PACKET_CREDIT_FRAMES * 4 // 5
"""Packets of one track that wait for a recording to begin with. Where a group of pictures has more, or more than
``limits.PREROLL_BYTES_MAX``, a recording waits for the next key frame, as if ``preroll`` were 0."""

CATCH_UP_NS = 10 * MS
CATCH_UP_NS_MAX = S
"""While a network stream is opened its packets pile up. Those that are read less than the first of these after the one
before came at once, so none of them shows how late media is: all are timed by the last of them (of media that is
decoded they are left out: they are older than any recording). No longer than the second: a stream without pauses
between its packets would never begin; and for the first packet of a file in real time a recording waits no longer."""

FIRST_PACKETS_MAX = 256
"""So many packets of a file are read to find with which of its tracks its time begins; those of one that begins later
in the file have their place all the same."""
