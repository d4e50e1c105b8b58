"""The bounds and deadlines of sources, each with its reason and with what happens when it is reached."""

from ..common.limits import MS, S

# --- opening, reading, closing --------------------------------------------------------------------
SOURCE_OPEN_NS = 10 * S
PROBE_NS = 3 * S
"""Opening a source takes no longer than the first, and reads no more media than the second to learn its formats; else
it fails. Name look-up and connecting fit well, sound and pictures both show up within, and a camera may need seconds
to adjust its exposure."""

SOURCE_READ_NS = 5 * S
STALL_INTERVALS = 5
"""A live stream, camera or screen that brings nothing for this long, and for as many pictures, is over: cameras pause
for key frames 1–4 s, not longer."""

STALL_REST_NS = 100 * MS
"""What parsers had left of a stream that stalls goes on within this; then its tracks end."""

STALL_LOOKS = 8
"""A device is over when nothing has come between so many looks in that time; it may take an eighth longer."""

MICROPHONE_OPEN_NS = 5 * S
MICROPHONE_STALL_NS = SOURCE_READ_NS
"""A microphone brings its first block within the first of these (sound servers wake a sleeping device, wireless ones
connect), then one every few ms, whether there is sound or not; it is over when none comes for the second. (Beside 50
busy programs on two cores a sound server brought nothing for 2 s, and went on.)"""

MICROPHONE_LATENCY_NS = 20 * MS
MICROPHONE_LATENCY_MAX_NS = 320 * MS
"""Sound that a microphone's driver may keep before it brings it, unless the caller names another ``latency``. A stop
waits for what the driver still has, so that is little: PortAudio brings a quarter of it at a time. (With six busy
programs beside on two cores nothing was lost at 5 ms either, but more wake-ups cost more.) After an overflow it is
doubled, up to the second, as soon as nobody records the microphone."""

MICROPHONE_DELAYS = 15
MICROPHONE_SETTLE_NS = 100 * MS
"""The delay between sound and its block is the middle one of as many reports, for which the opening waits so long at
most after the first: some sound servers report half a second now and then, which is not so."""

MICROPHONE_QUEUE_NS = 5 * S
"""Sound between PortAudio's thread and ours. A process that stood still gets all at once what the sound server kept
meanwhile, in blocks of a millisecond, faster than our thread takes them. What comes when it is full is lost and
counted."""

SOURCE_CLOSE_NS = S
"""A thread that is blocked in a driver, a sound server, a read or a sink is left alone after this; it frees its input
when the call returns."""

DEVICE_PROBE_NS = 2 * S
"""Opening one camera or screen to list it may take this long; then it is left out."""

# --- delivery -------------------------------------------------------------------------------------
LIVE_FLUSH_NS = S // 2
"""A flush waits this long for media that was captured but has not arrived: MPEG-TS collects sound for up to 0.35 s."""

GRAB_FLUSH_MAX_NS = S
"""A flush waits no longer for the next picture, however slow the camera is: it must not hold up a stop."""

MICROPHONE_FLUSH_EXTRA_NS = S // 2
"""A flush waits twice the latency of a microphone for a late block, and this: a sound server that finds no core is late
by some 100 ms, and what it has still belongs to the recording."""

PLAYOUT_AHEAD_NS = 250 * MS
"""The reader of a file keeps this much decoded media ready: it covers the skew between tracks and a slow read, and is
small enough for raw pictures (15 of them at 60 frames per second)."""

PLAYOUT_FLUSH_NS = 200 * MS
"""A flush waits no longer for a reader that is late."""

BLOCK_NS = 10 * MS
"""Sound of a file in real time is handed on in blocks of this length, as a device would."""

WANTED_POLL_NS = 100 * MS
"""A source with ``pace=max`` that no recording wants looks this often whether it was closed."""

TEST_LATE_NS = 2 * S
"""Where a machine cannot draw the pictures of ``test:`` as fast as they are due, those that are later than this are
left out and counted, as a camera's would be. It also bounds what a flush has to draw."""

TEST_DURATION_MAX_NS = 366 * 86_400 * S
"""A longer duration of ``test:`` is refused: a year is as good as endless."""

# --- clocks ---------------------------------------------------------------------------------------
WINDOW_NS = 10 * S
STEP_NS = 2 * MS
"""A clock is corrected by so much in so long: crystals differ by less than 200 ppm, 2 ms in 10 s."""

GAP_WINDOW_NS = S // 2
"""Samples that are missing this long are lost; blocks that were only delayed come in a burst sooner."""

JUMP_NS = S
"""A stream this far ahead of its clock has jumped; below, it is held back (its server sends faster than time)."""

LATE_NS, LATE_WINDOW_NS = S // 2, 10 * S
"""A stream that stays this late for a whole window has a new clock (its sender paused)."""

STAMP_AGE_MAX_NS = 2 * S
"""A picture's stamp that is older than this, or in the future, belongs to another clock."""

STAMP_BACK_NS, STAMP_FORWARD_NS = S // 2, 10 * S
"""Packets whose stamps go back or forth by more are counted anew by their sender (a counter that wraps, programs put
together): they go on where those before ended, and it is counted. Packets come in the order of their times, and what is
lost on a network is shorter than the second, or ends the connection; a file may have a longer gap, unless its format
says that its counter jumps."""

ENCODED_PROBE_NS = 9 * S
ENCODED_PROBE_BYTES = 32 * 1024 * 1024
"""As ``PROBE_NS`` for pictures that are recorded as they come: where only a key frame shows how large they are, it has
to be waited for. A little less than the opening may take; the bytes are 9 s at 28 Mbit/s."""
