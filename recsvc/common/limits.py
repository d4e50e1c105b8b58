"""Every bound and deadline of recsvc, each with its reason and with what happens when it is reached.

Five kinds of numbers stand elsewhere: those of a service with many clients, in ``service_limits``; those of media that
comes encoded, in ``packet_limits``; those of sources, in ``recsvc.capture.limits``; the shape of the files, in
``recsvc.mux``; the sizes, rates and bit rates that media may have, in ``recsvc.common.media``.
"""

MS = 1_000_000
S = 1_000_000_000

# --- the frame path -------------------------------------------------------------------------------
VIDEO_CREDIT_FRAMES = 30
"""Pictures of one route that may be under way: one second at the usual rate, so that a short stall of the encoder costs
nothing. When it is full, the sender waits, or drops the picture and counts it (``when_full``)."""

AUDIO_CREDIT_FRAMES, PACKET_CREDIT_FRAMES = 400, 1000
"""The same of sound: 16 s or more. It needs little memory, and a block that is dropped is audible. And of packets
that come encoded: those with which a recording begins come at once (``packet_limits.PREROLL_PACKETS_MAX``)."""

QUEUE_BYTES_MAX = 128 * 1024 * 1024
"""Payload bytes of one route that may be under way; one frame always is. A third of a second of 3840x2160: longer than
its encoder needs to open. So a worker's memory stays below (routes x 128 MiB). Full: as ``VIDEO_CREDIT_FRAMES``."""

CREDIT_STEP_BYTES = 2 * 1024 * 1024
"""A worker returns credit in steps: after a quarter of the frames or of the bytes, or, where no more of the route
waits, after this many bytes. A message for each block of sound would cost as much as encoding the block."""

RING_BYTES_MAX = QUEUE_BYTES_MAX
"""Shared memory of one track's pictures; only pages that were written take memory. When no slot is free, a picture goes
inside its message."""

LATE_CREDIT_FRAMES = 20_000
LATE_QUEUE_BYTES_MAX = 1024 * 1024 * 1024
"""What may be under way of one route with ``overload="finish-late"``, in place of the three bounds above: nothing is
dropped until this much waits in the worker's memory."""

FRAME_BYTES_MAX = 256 * 1024 * 1024
"""A payload above this is refused: a picture of 8192x8192 in RGBA just fits, and more means a broken header."""

HEADER_BYTES_MAX = 64 * 1024
"""A header above this is refused: ours stay below 1 KiB."""

CONTROL_BYTES_MAX = 1024 * 1024
"""ZeroMQ closes a connection that brings a larger message to a control socket. A message between ``HEADER_BYTES_MAX``
and this is answered with an error."""

DATA_HIGH_WATER_MARK = 2 * LATE_CREDIT_FRAMES
"""ZeroMQ's own bound, in messages, of a data socket. It is a safety net: credits act first."""

LINE_WAITING_MAX = 10_000
LINE_STUCK_NS = 5 * S
"""Messages between a controller and one of its processes that the other side has not read (it was halted). A recording
needs a few. Where there are more, and none of them was read for so long, a controller takes the process for hung and
kills it; a worker whose controller is halted cuts no more pieces for a timeslice until it reads, then a longer one."""

LINE_FLUSH_NS = 5 * MS
"""Messages that wait for such a process to read are tried again this often."""

CONTROL_HIGH_WATER_MARK = 1_000_000
"""Messages that may wait on a control socket: commands to a service that stands still, each of which counts when it
goes on. They take 200 bytes each. Who makes more calls meanwhile loses those."""

IDLE_SOCKETS_MAX = 8
"""Sockets for requests that a caller keeps open between two of them: so many threads ask at once without connecting
anew. Each is a descriptor of the service, too."""

EVENT_HIGH_WATER_MARK = 1_000_000
"""Events that may wait for a caller that stands still (a debugger, Ctrl-Z) while its recordings go on: the data of a
lost event would be missing. This is enough for four days of pieces of one recording, or a working day of ten; an event
takes 1 KiB at most. Of further ones a caller sees the gap in their numbers, and asks for those that are kept."""

EVENT_ASK_NS = 20 * S
STOP_ASK_NS = 2 * S
"""A recorder that sees no event for so long asks whether it has missed one; sooner where it waits for ``stop``."""

LAST_EVENTS_MS = 50
"""A controller that has ended has published everything once nothing came from it for so long."""

RECORDER_EVENTS_KEPT = 100
"""The newest events of a recording that a subscriber can ask for. One that has missed more gets an ``error`` event."""

EVENTS_PER_REPLY = 10
"""Events in one reply: paths may be long, and a reply must stay below ``HEADER_BYTES_MAX``."""

ENDED_RECORDINGS_KEPT = 100
"""The newest recordings that have ended whose events can be asked for."""

PREROLL_NS, SOUND_PREROLL_NS = 200 * MS, 2 * S
"""A capture process keeps the newest frames, others are let go: a recording has those that were captured between the
``start()`` call and the arrival of the command, which may take longer on a busy machine. Sound needs little memory."""

PREROLL_BYTES_MAX = 32 * 1024 * 1024
"""Memory of the frames that ``PREROLL_NS`` keeps, per track; the oldest are let go first."""

AUDIO_HOLD_NS = 20 * MS
"""Captured sound waits this long, so that a pause or stop whose command is still on its way can cut it to the sample. A
stop loses no time by it: what waits goes before the end of stream."""

AUDIO_MESSAGE_NS = 40 * MS
"""Blocks of sound that follow each other are sent in messages of this length: sending and receiving one costs as much
CPU as encoding 20 ms of sound. At a stop, what has not been sent goes before the end of stream and costs 0.1 ms of
encoding. Where there are many recordings, see ``service_limits.AUDIO_MESSAGE_MANY_NS``."""

AUDIO_TURN_NS = 20 * MS
"""A long block of sound, or the silence of a gap, is encoded in turns of this length. A turn takes no longer than a
picture, and a neighbour's stop comes between two of them."""

BLOCK_NS_MAX = 3600 * S
"""A longer block of sound is refused, as a longer gap is (``GAP_MAX_NS``): a muted block costs its sender nothing, but
its worker the time to encode it."""

VIDEO_HOLD_NS = 100 * MS
"""Encoded pictures wait this long, in media time, before they are written, so that those which were captured after a
pause or stop, but before its command arrived, can be left out."""

IDLE_FLUSH_NS = 400 * MS
"""When no frame has come for a recording this long (a still picture, a source that stalls), the packets that wait and
the open cluster are written, so that a crash loses none of them."""

# --- time -----------------------------------------------------------------------------------------
AUDIO_GAP_NS = 20 * MS
"""A block of sound that comes later than expected by more than this leaves a gap, which is filled with silence; less is
jitter of the clock."""

GAP_MAX_NS = 3600 * S
"""A longer gap between time stamps means another clock: it is counted, and the frames go on where those before it
ended, unless that much time really went by."""

STAMP_EARLY_NS = S
"""A frame that claims to be captured longer than this before ``start()`` is moved to ``start()`` and counted."""

STAMP_JITTER_NS = 100 * MS
"""Time stamps of sound may be off by this without being doubted, since the timeline evens it out. More is a jump."""

JUMP_CONFIRM_FRAMES = 2
"""A jump of the time stamps is believed once this many further frames go on from it; until then they wait. One wrong
stamp is common, two that agree are not."""

JUMP_ALONE_NS = 10 * S
"""A jump that no further frame confirms is believed up to this length (or twice the jump before it): it may be the last
picture of a slide show. A wrong stamp makes a recording longer by no more than this."""

AUDIO_DRIFT_NS = 5 * MS
"""Sound is resampled only once its clock has run away by this much. So steady clocks stay exact to the sample, and
nobody notices sound and picture being apart by less than some 20 ms."""

AUDIO_STRETCH_PPM_MAX = 1000.0
"""Sound is made longer or shorter by this much at most: 1.7 cents of pitch, which nobody hears. Crystals differ by less
than 300 ppm; the rest corrects what jitter misplaced at a gap or a pause."""

AUDIO_CATCH_UP_NS = 30 * S
"""The distance between sound and its clock is made good within about this time: slow enough to be smooth."""

FIRST_FRAME_WAIT_NS = 300 * MS
"""Time 0 is the first frame of any track, so packets wait until each track has shown its first frame, at most this long
in media time (and, where that is not the time of the wall, as long by the wall's clock). A track that begins later and
claims an earlier time is moved to the present."""

VIDEO_DURATION_DEFAULT_NS = 33_333_333
"""How long rate control takes a first picture to last where the source names no frame rate."""

KEY_FRAME_INTERVAL_COUNT = 100
KEY_FRAME_INTERVAL_NS = 10 * S
"""Without an option of the caller, two key frames are at most this many frames and at most this time apart, so that
seeking stays quick."""

# --- deadlines ------------------------------------------------------------------------------------
READY_DEADLINE_NS = 20 * S
"""A role that is not ready by then is killed, and what needed it fails. A loaded machine takes some seconds to start
Python."""

RPC_DEADLINE_NS = 30 * S
"""A caller waits this long for an answer of the controller, then raises ``ServiceError``."""

OPEN_SOURCE_DEADLINE_NS = 25 * S
"""A caller waits this long for a source to be opened, then raises ``ServiceError``; network streams have shorter
time-outs of their own."""

DRAIN_DEADLINE_NS = 10 * S
"""All that was captured must be encoded this long after ``stop()``; else ``error``, what is playable, ``stop``."""

WORKER_GRACE_NS = 2 * S
"""A worker that has not finished a file this long after the drain's deadline is taken for hung, and killed."""

LATE_DRAIN_DEADLINE_NS = 600 * S
"""The drain's deadline with ``overload="finish-late"``, whose queue may be long."""

WORKER_PAUSE_NS = S // 2
WORKER_PAUSE_MAX_NS = 30 * S
"""A worker that ended is replaced at once. When its successor ends soon as well, the next is started after the first of
these pauses, then after twice as long each time, up to the second."""

WORKER_STEADY_NS = 10 * S
"""A worker that was ready for this long works in general: when it ends, pauses begin anew."""

RECOVERY_DEADLINE_NS = 4 * S
"""Another worker completes a dead one's file, usually in some ms. After this it is handed out as it is."""

UNFED_SILENCE_NS = 200 * MS
"""What a process had sent before it ended arrives within microseconds, so after this long without a message nothing
more is under way, and its routes end."""

SHUTDOWN_DEADLINE_NS = 5 * S
"""A role that was asked to end is killed when it still lives this long after its files are done."""

CLOSE_DEADLINE_NS = DRAIN_DEADLINE_NS + SHUTDOWN_DEADLINE_NS + 2 * S
"""A caller that closes its private controller waits this long, then kills it: longer than the controller itself may
take for its recordings and its roles."""

DATA_LINGER_MS = 10_000
"""A closed data socket tries to deliver its end of stream for this long: the drain waits no longer for it."""

DELIVER_LIMIT_MS = 4_000
"""A process that ends waits this long for its closed sockets: less than ``SHUTDOWN_DEADLINE_NS``."""

CONTROL_LINGER_MS = 1_000
"""A closed control socket tries to deliver its last messages for this long; a peer that has not read by then is
gone."""

WRITER_LOOK_MS = 50
"""A ``write()`` that waits for credit looks again at least this often, in case another thread took its wake-up."""

WRITER_BLIND_LOOK_MS = 2
"""A waiting ``write()`` looks this often while nothing could wake it: its route is not open yet, or a signal handler
halts another write."""

HELPERS_END_NS = S
"""At the end of a program this long is waited for the helper threads of its calls: they end at once, unless a call
hangs."""

LOOK_NS = 10 * MS
"""What gives no notice of itself, such as a lock that somebody else holds, is looked at this often."""

RECONNECT_MS = 5
"""ZeroMQ tries to connect again after this: peers on one machine appear within milliseconds."""

# --- sources --------------------------------------------------------------------------------------
SOURCE_CHARACTERS_MAX = 8192
"""A longer source string is refused: no path (Linux: 4096) and no usual address is longer."""

ENUMERATE_DEADLINE_NS = 10 * S
"""Listing the devices may take this long: PortAudio asks every sound server and card in turn, and one may hang."""

# --- the command line -----------------------------------------------------------------------------
LIVE_LINE_NS = 250 * MS
"""``recsvc record`` looks for keys and draws its line anew this often: soon enough for a hand, rarely enough for a
CPU."""

PLAIN_LINE_NS = S
"""``recsvc record`` prints a line this often where its output is no terminal."""

STATISTICS_WAIT_NS = 200 * MS
"""``recsvc record`` waits this long for the figures of a line. A worker that takes longer is busy, and the last figures
are shown again."""

STOP_WAIT_NS = 2 * DRAIN_DEADLINE_NS
"""``recsvc record`` waits this long for the last data, then leaves the recording in the spool. Copying has no limit."""

OUTPUT_PIECE_MS = 250.0
"""Standard output gets pieces of this much media: whoever reads there plays the recording while it is made."""

SECOND_CTRL_C_NS = 300 * MS
"""A SIGINT that follows another sooner is the same Ctrl-C: of the terminal, and of whoever started the command."""

# --- sizes and counts -----------------------------------------------------------------------------
BACKLOG_FRAMES_SLOW, BACKLOG_FRAMES_FAST = 8, 12
HURRY_STEP_NS = S // 4
"""With the first many pictures waiting, a quarter of a second at the usual rate, an encoder works faster, at some cost
in quality, before any is dropped: of one worker's one in each such time, with the second many waiting any."""

SPEED_RESTORE_NS = 5 * S
"""After this long without a picture waiting, the encoder slows down again by one step."""

RECORDINGS_PER_WORKER_MAX = 256
"""A worker refuses further recordings with ``QuotaExceededError``: each has encoders and an open file."""

CLOSED_TRACKS_KEPT = 1000
"""Closed tracks that a controller remembers: a request to open one may arrive milliseconds after the one to close
it."""

COMPLAINT_INTERVAL_NS = 5 * S
"""One line per subject (a route, a peer) and this time is logged about what others do wrong, perhaps hundreds of times
a second; the next line counts those between."""

COMPLAINTS_MAX = 64
"""Subjects that have log lines of their own; all others share one, since a sender can invent any number of names."""

DISCARDED_KEPT = 1000
"""Recordings that their callers gave up and that a controller remembers, as it does ``CLOSED_TRACKS_KEPT``."""

GONE_CALLERS_KEPT = 100
"""Callers that have gone and that a controller remembers: a request of theirs may arrive milliseconds later."""

EVENTS_KEPT_MAX = 10_000
"""Events of one recorder that are kept for ``wait()`` and ``events()``; of more the oldest are let go. Listeners get
all: events that wait for a listener which does not return are not bounded. They take about 1 KiB each, so 10 MB an hour
with the shortest timeslice."""

INTERVALS_KEPT = 64
"""Intervals between pauses that a sender remembers: frames come in the order of their capture, so only the last few
intervals can still matter."""

MIME_TYPE_CHARACTERS_MAX = 1000
"""A longer MIME type is refused: it names no more than a container and two codecs."""

HTML_BYTES_MAX = 50_000_000
"""A notebook shows a player for a Blob up to this size: browsers and notebook files become slow with more."""


def credit(kind: str, overload: str) -> tuple[int, int]:
    """What a route may have under way: frames and payload bytes. ``kind``: ``audio``, ``video``, ``packet``."""
    if overload == "finish-late":
        return LATE_CREDIT_FRAMES, LATE_QUEUE_BYTES_MAX
    frames = {"video": VIDEO_CREDIT_FRAMES, "audio": AUDIO_CREDIT_FRAMES, "packet": PACKET_CREDIT_FRAMES}
    return frames[kind], QUEUE_BYTES_MAX


def drain_deadline_ns(overload: str) -> int:
    """How long a drain may take."""
    return LATE_DRAIN_DEADLINE_NS if overload == "finish-late" else DRAIN_DEADLINE_NS
