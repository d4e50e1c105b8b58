"""Every bound and deadline of recsvc, each with its reason and with what happens when it is reached.

Bounds that concern one device only stand at the top of that device's module in ``recsvc.capture``.
"""

MS = 1_000_000
S = 1_000_000_000

# --- the frame path -------------------------------------------------------------------------------
VIDEO_CREDIT_FRAMES = 30
"""Video frames of one route that may be under way: one second at the usual rate, so that a short stall
of the encoder costs nothing. Full: the sender waits or drops and counts, as its source was told."""

AUDIO_CREDIT_FRAMES = 400
"""Messages of sound of one route that may be under way: 16 s of usual ones; sound is cheap and its loss is
heard. Full: as above."""

QUEUE_BYTES_MAX = 64 * 1024 * 1024
"""Payload bytes of one route that may be under way; one frame is always allowed, however large. Keeps
the memory of a worker near (routes x 64 MiB) at worst. Full: as above."""

CREDIT_STEP_BYTES = 1024 * 1024
"""A worker that has caught up tells so once this much was consumed since it last did, or a quarter of the frames, or
nothing has come for a while: telling of each sound block costs as much as the block."""

RING_BYTES_MAX = QUEUE_BYTES_MAX
"""Shared memory of one track's pictures, as far as it is used. Full: pictures go inside the messages."""

LATE_CREDIT_FRAMES = 20_000
LATE_QUEUE_BYTES_MAX = 1024 * 1024 * 1024
"""Instead of the three above with ``overload="finish-late"``: nothing is dropped until so much waits in the
worker's memory, per route."""

FRAME_BYTES_MAX = 256 * 1024 * 1024
"""A single payload above this is refused: an 8192x8192 RGBA picture just fits; beyond is a broken header."""

HEADER_BYTES_MAX = 64 * 1024
"""A header above this is refused: ours stay below 1 KiB."""

CONTROL_BYTES_MAX = 1024 * 1024
"""ZeroMQ closes the connection of who sends a larger message to a control socket. What is smaller than this but larger
than a header may be is answered with an error."""

DATA_HIGH_WATER_MARK = 2 * LATE_CREDIT_FRAMES
"""ZeroMQ's own bound in messages on a data socket; a safety net only, credits act first."""

CONTROL_HIGH_WATER_MARK = 10_000
"""Messages waiting on a control socket."""

EVENT_HIGH_WATER_MARK = 1_000_000
"""Events waiting for a caller that stands still (a debugger, Ctrl-Z) while its recordings go on: each is a promise, and
the data of a lost one would be missing. Four days of pieces of one recording, or a whole working day of ten; 1 KiB each
at most. Above it events are lost for that caller, which may then wait for a ``stop`` in vain."""

PREROLL_NS = 200 * MS
"""Captured frames are kept this long so that a recording has those captured between the ``start()`` call
and the arrival of the command at the capture process. Older ones are let go."""

PREROLL_BYTES_MAX = 32 * 1024 * 1024
"""Memory of that store, per track; the oldest frames are let go first."""

AUDIO_HOLD_NS = 20 * MS
"""Captured sound stays this long at its sender, so that it can be cut to the sample where a command that is
still on its way says. Costs a stop nothing: what is held goes with the end of stream."""

AUDIO_MESSAGE_NS = 40 * MS
"""Blocks that follow each other go in one message of this length: what a message costs at both ends, where in real time
it finds cold caches, is as much as encoding its sound. A stop has half a packet more to encode for it, 0.1 ms; what is
not sent yet goes with the end of stream."""

AUDIO_TURN_NS = 20 * MS
"""Sound longer than usual messages are, and the silence of a gap, is encoded in turns of this length, which take no
longer than a picture: a neighbour's stop comes between two of them."""

BLOCK_NS_MAX = 3600 * S
"""A block of sound longer than this is refused: as much as a gap may have. A muted block costs its sender nothing to
send, and its recording's worker the time to encode it."""

VIDEO_HOLD_NS = 100 * MS
"""Packets of pictures stay this long (in media time) before they are written, so that those captured after a
pause or stop, but before its command arrived, can be left out."""

IDLE_FLUSH_NS = 400 * MS
"""When nothing has come for a recording this long (a still picture, a stalled source), what is held and the open
cluster are written, so that a crash loses nothing of it."""

# --- time -----------------------------------------------------------------------------------------
AUDIO_GAP_NS = 20 * MS
"""A sound block later than expected by more than this leaves a gap, which is filled with silence; less
is clock jitter."""

GAP_MAX_NS = 3600 * S
"""A gap above this is another clock: it is counted, and frames go on where the ones before it ended. Not so where a
picture really came so much later."""

STAMP_EARLY_NS = S
"""A frame that claims to be captured longer than this before ``start()`` is moved to ``start()`` and counted."""

STAMP_JITTER_NS = 100 * MS
"""Stamps of sound may be off by this without being doubted: the timeline deals with that. More is a jump."""

JUMP_CONFIRM_FRAMES = 2
"""A jump of the time stamps is believed once so many further frames go on from it; until then they wait. One wrong
stamp is common, two that agree are not."""

JUMP_ALONE_NS = 10 * S
"""What stays unconfirmed, since nothing follows, is believed up to this jump (or twice the one before it): the last
picture of a slide show, say. A wrong stamp makes a recording longer by no more than this."""

AUDIO_DRIFT_NS = 5 * MS
"""Sound is resampled only once its clock has run away by this much: steady clocks stay exact to the sample, and
an ear or eye notices sound and picture apart only beyond some 20 ms."""

AUDIO_STRETCH_PPM_MAX = 1000.0
"""Sound is made longer or shorter by this much at most: 1.7 cents of pitch, which nobody hears. Crystals differ by
less than 300 ppm; the rest is for what jitter put in a wrong place at a gap or a pause."""

AUDIO_CATCH_UP_NS = 30 * S
"""What sound and clock are apart is made good within about this time: slow enough to be smooth."""

FIRST_FRAME_WAIT_NS = 300 * MS
"""Time 0 is the first frame of any track, so packets wait until each track has shown its first, at most
this long in media time, and where that is not ours as long by our clock; a track that begins later and claims an
earlier time is moved to the present."""

VIDEO_DURATION_DEFAULT_NS = 33_333_333
"""Assumed duration of a first frame, for rate control, where the source names no frame rate."""

KEY_FRAME_INTERVAL_COUNT = 100
KEY_FRAME_INTERVAL_NS = 10 * S
"""Without an option of the caller there are at most this many frames, and at most this long, between
two key frames: seeking stays quick."""

# --- deadlines ------------------------------------------------------------------------------------
READY_DEADLINE_NS = 20 * S
"""A role that has not said *ready* by then is killed, and what needed it fails (a loaded machine takes
some seconds to start Python)."""

RPC_DEADLINE_NS = 30 * S
"""A caller waits this long for an answer of the controller, then raises ``ServiceError``."""

SOURCE_CHARACTERS_MAX = 8192
"""No path or address is longer (Linux: PATH_MAX is 4096); a longer source string is a mistake."""

ENUMERATE_DEADLINE_NS = 10 * S
"""Loading PortAudio asks every sound server and card in turn; a hanging one should cost no more than this."""

OPEN_SOURCE_DEADLINE_NS = 25 * S
"""Opening a source may take this long: network streams have their own, shorter time-outs inside."""

DRAIN_DEADLINE_NS = 10 * S
"""From ``stop()`` on, the queue must be encoded by then; after it: ``error``, what is playable, ``stop``."""

LATE_DRAIN_DEADLINE_NS = 600 * S
"""The same with ``overload="finish-late"``, whose queue may be long."""

WORKER_PAUSE_NS = S // 2
WORKER_PAUSE_MAX_NS = 30 * S
"""A worker that ended is replaced at once; when that one ends soon as well, after the first of these, then after twice
as long each time, up to the second."""

WORKER_STEADY_NS = 10 * S
"""A worker that was ready for so long did not end by what made it start: its successor is the first in this count."""

UNFED_SILENCE_NS = 200 * MS
"""What a process had sent before it ended arrives within microseconds; after so long without anything no more is under
way."""

SHUTDOWN_DEADLINE_NS = 5 * S
"""A role that was asked to end and still lives then is killed. Counted from when its files are done."""

CLOSE_DEADLINE_NS = DRAIN_DEADLINE_NS + SHUTDOWN_DEADLINE_NS + 2 * S
"""A caller that closes its private controller waits this long, then kills it."""

DATA_LINGER_MS = 10_000
"""A closed data socket keeps trying to deliver its end of stream this long: as long as the drain."""

DELIVER_LIMIT_MS = 4_000
"""A process that ends waits this long for its closed sockets: less than it is given to end."""

CONTROL_LINGER_MS = 1_000
"""A closed control socket keeps trying this long."""

RECONNECT_MS = 5
"""ZeroMQ tries to connect again after this: peers on one machine appear within milliseconds."""

# --- counts ---------------------------------------------------------------------------------------
BACKLOG_FRAMES_SLOW = 8
"""With so many pictures waiting the encoder works faster from here on, at some cost in quality, before any is
dropped; a quarter of a second at the usual rate."""

SPEED_RESTORE_NS = 5 * S
"""After so long without a picture waiting, the encoder takes its time again, a step at a time."""

RECORDINGS_PER_WORKER_MAX = 256
"""A worker refuses more with ``QuotaExceededError``; each costs encoders and a file."""

CLOSED_TRACKS_KEPT = 1000
"""Names of closed tracks that a controller remembers: a request to open one may be overtaken by the one to close it,
by milliseconds."""

COMPLAINT_INTERVAL_NS = 5 * S
"""Of messages that are refused, one line in this time is logged for each route; the others are counted. They may come
hundreds of times a second."""

COMPLAINTS_MAX = 64
"""So many routes have lines of their own; the others share one. Names are the sender's to invent."""

DISCARDED_KEPT = 1000
"""Names of recordings that their callers gave up, for the same reason."""

GONE_CALLERS_KEPT = 100
"""Callers that a controller remembers to be gone: a request of theirs may come after the news, by milliseconds."""

EVENTS_KEPT_MAX = 10_000
"""Events of one recorder that wait for a listener, or for ``wait()`` and ``events()``; above it the
oldest not yet fetched are let go (``events()`` and ``wait()`` only: listeners see all).
Those that wait for a listener which does not return are not bounded, since each is a promise: about 1 KiB each, so 10
MB an hour with the shortest timeslice."""


def credit(kind: str, overload: str) -> tuple[int, int]:
    """What a route of this kind may have under way: frames and payload bytes."""
    if overload == "finish-late":
        return LATE_CREDIT_FRAMES, LATE_QUEUE_BYTES_MAX
    return (VIDEO_CREDIT_FRAMES if kind == "video" else AUDIO_CREDIT_FRAMES), QUEUE_BYTES_MAX


def drain_deadline_ns(overload: str) -> int:
    """How long a drain may take."""
    return LATE_DRAIN_DEADLINE_NS if overload == "finish-late" else DRAIN_DEADLINE_NS
