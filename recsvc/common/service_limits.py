"""The bounds of a service with many clients, each with its reason and with what happens when it is reached."""

from .limits import HEADER_BYTES_MAX, MS, S

FETCH_BYTES_MAX = 1024 * 1024
FETCH_CREDIT = 8
"""A client fetches a recording's file in ranges of at most this many bytes, and may have so many of them unanswered: on
a network with 50 ms of delay that is 160 MB/s, and the catalog holds no more than 8 MiB for one client. Further ones
are refused."""

ANSWER_BYTES_MAX = FETCH_BYTES_MAX + HEADER_BYTES_MAX
"""A client ends a connection that brings a larger message, so that what it takes for a service cannot fill its memory
with one: a range, and what encryption adds."""

INSIST_NS = S
"""A second SIGTERM that comes this long after the first one means that nobody wants to wait; one that comes sooner is
the same wish, passed on twice."""

ROUTES_FEW = 3
AUDIO_MESSAGE_MANY_NS = 100 * MS
"""A worker with more tracks than the first of these asks for messages of sound of this length, in place of
``limits.AUDIO_MESSAGE_NS``: what each of them costs is most of what can be saved then. At a stop there is up to 0.2 ms
more to encode, less than a neighbour's turn takes."""

AUDIO_LINE_NS = 25 * MS
AUDIO_LINE_ROUTES = 8
"""They end on lines of the clock that are so far apart, as many of a worker's tracks on one before the next is taken:
one wake-up serves several. Were it all of many, a worker would be at work for so long that a busy machine lets others
go first, and stops would wait for that. Other workers have their lines between these."""

LOG_LINES_WAITING_MAX = 10_000
"""Lines of a service's log that wait for whoever reads it; some MiB. Further ones are left out and counted."""

DESCRIPTORS_RESERVED_MIN, DESCRIPTORS_RESERVED_SHARE = 16, 8
"""Descriptors that a controller and its workers keep for connections, which come unasked, and for completing files: the
larger one of this many and of one in so many of what they may have. A recording or a source that would need one of
these is answered ``QuotaExceededError``."""

SNAPSHOT_RECORDINGS_MAX = 100
"""Recordings of which the answer to a subscription has the number of the next event: the newest ones. A program that
watches everything finds older ones, where there are more, in the catalog."""

REQUESTS_PER_TURN = 256
"""Requests, and subscriptions, that a controller takes before it looks at its workers and deadlines again: some 10 ms.
Whoever sends more than it can do keeps others waiting for so long at most, each of whom has a turn between two of
them. A client that reads what a service sends, answers, events and credits, does so too."""

QUESTIONS_MAX = 256
"""Questions about recordings that a worker has not answered; further ones are not passed on, so that they take no time
from its frames: it answers one in some 100 µs. ``statistics`` is refused then, ``status`` leaves the worker's figures
out."""

EVENTS_WAITING_MAX = 1_000
"""Events of one recording that wait for an older one, or for data that were asked for; requests for data, pauses and
resumes beyond these are refused. Each request takes a turn of the worker, and an event to everybody who watches."""

STOPS_WAITING_MAX = 100
"""Stops of one recording that wait for its file. Of more the oldest are not answered: who still waits asks again."""

REMOTE_HIGH_WATER_MARK = 256
"""Requests of one connection over the network that wait until they are read, and answers to them: further requests wait
at their sender, further answers are lost. A client has a few under way; one that asks and reads nothing takes no more
of the service's memory than these."""

SUBSCRIPTION_BYTES_MAX = 512
"""A longer message to the socket of events ends its connection; the longest of CURVE's own has some 300."""

TOPIC_CHARACTERS_MAX = 201
SUBSCRIPTIONS_MAX = 1_024
"""A topic is made of two ids and a slash. A connection that subscribes to a longer one, or to more topics than this, is
ended, and counted: ZeroMQ keeps some 50 bytes for each character of a topic, granted or not, so 10 MB for one
connection. A client has one for each of its recorders, with one topic."""

SOURCES_MAX = 256
"""Sources that a service has open, each a process of some 40 MB. One key has at most half of these, so that nobody
alone takes the machine's memory. A further one is refused with ``QuotaExceededError``."""

CLIENTS_PER_KEY_MAX = 4096
"""Clients of one key that a service knows at a time, some 2 KB each. A further one is refused with
``QuotaExceededError``."""

# --- clients that may vanish ------------------------------------------------------------------------
LEASE_NS = 5 * S
"""A client that cannot be watched otherwise is taken for gone when nothing came from it for so long, neither a message
nor a frame: longer than a network is usually cut for, and than TCP takes to go on after a cut of 2 s. Its recordings
are finished with what has come, its sources closed. One that comes back is taken anew, but finds these ended."""

PING_NS = S
"""A client gives a sign of life this often: several of a lease may be lost or late."""

SERVICE_SILENCE_NS = 2 * LEASE_NS
"""A client takes a service on another machine for gone when nothing came from there for so long: its recordings have
been finished there by then. They end with ``error``, what there is, ``stop``."""

RESEND_NS = S
"""What asks for an answer is sent again over a network when none came for so long: a connection that broke may have
taken along the question or the answer. A service does it once."""

INSTANT_AGE_NS = SERVICE_SILENCE_NS
"""A command of a client with another clock may have been under way for so long. One that claims to be older counts as
of now."""

PACE_LOOK_NS = S // 4
PACE_LATE_NS = S // 2
"""A controller that waits for somebody's answer looks this often whether it keeps up. One that is late by the second of
these gives everybody so much more time."""

STOOD_STILL_NS = 2 * S
"""A client that did not run itself for so long (it was halted, or its machine slept) cannot say that the service was
silent, and counts anew."""

PEERS_KEPT = 1024
"""Connections of which a service remembers what they asked for last, so that it is not done twice when it comes twice;
of more the oldest are forgotten."""

IDENTITIES_KEPT = 64
"""Connections of one client by which a message is known to be the client's; of more the oldest are forgotten."""

HEARTBEAT_MS = 1_000
HEARTBEAT_TIMEOUT_MS = 4_000
"""ZeroMQ's own signs of life over a network: a connection on which nothing has come for the second of these is closed
and made anew. TCP itself, which loses nothing, has gone on by then after a cut of 2 s."""

CONNECT_TIMEOUT_MS = 1_000
HANDSHAKE_TIMEOUT_MS = 3_000
"""A connection that is not made by then is tried anew: one that was begun while the network was cut waits long."""

RECONNECT_REMOTE_MS = 50
"""A connection over a network that ended is made again after this, or up to twice as long. So few come of a client
whose keys do not fit, whose connections end at once; and a service that was started anew is found soon."""

ATTEMPTS_NS = LEASE_NS
"""A service that nobody answers for is tried for so long: it may just be started anew."""

HANDSHAKES_NS = 2 * S
HANDSHAKES_MIN = 5
"""A service that ended so many connections within this time, before a key was taken, has other keys than this client
expects. One that is slow ends none of them, one that has just been started a few."""

HOPS_MAX = 4
"""Services that may hand one recording on, before its client gives up: with more they are taken to go round in a
circle."""

# --- HTTP ------------------------------------------------------------------------------------------
HTTP_PIECE_BYTES = 256 * 1024
"""What of a download is in memory at a time, and asked of the catalog at once: a thousand slow ones hold 256 MiB at
most."""

HTTP_CONNECTIONS_MAX = 2_048
"""Connections of HTTP clients, or three quarters of the files that the process may have open, where these are fewer; at
one more, the oldest that has asked for nothing is cut, else the new one."""

HTTP_BACKLOG = 512
"""Connections that the system keeps until they are accepted; further ones wait at their clients."""

HTTP_REQUEST_NS = 10 * S
"""A client that has not sent a whole request by then is cut: it would hold its connection forever."""

HTTP_IDLE_NS = 5 * S
"""A connection between two requests is closed after this time; the client opens another one."""

HTTP_STALL_NS, HTTP_STALL_BYTES = 30 * S, 16 * 1024
"""A client that takes less of its download than so many bytes in this time is cut, and what was held for it is freed.
It can go on from there with a range."""

HTTP_END_NS = 2 * S
"""The HTTP side ends within this time, whatever is under way: below ``SHUTDOWN_DEADLINE_NS``. Downloads are cut."""

HTTP_ANSWER_NS = 5 * S
"""The service answers the HTTP side within this time, or the client is answered 503."""

HTTP_STATUS_AGE_NS = S // 4
"""An answer of the service about itself is this old at most; so it is asked four times a second, however many ask."""

HTTP_WAIT_NS = 2 * S
"""The HTTP process starts when an encoder worker is ready, or after this time: then it says that none is."""

CONNECTIONS_MAX = 8192
"""Connections over the network that one process takes, or half as many as it may have files open, where that is less: a
hundred clients with ten recordings each have about 20 at a socket. Further ones are closed at once, counted and logged.
One address has at most half of these, so that nobody alone keeps the others out. Programs of this machine have what is
left of three quarters of its files: without a descriptor for one more of theirs ZeroMQ would end the process."""

KEYS_LOOK_NS = S
"""The file of a key is looked at again after this long, when somebody shows the key, and the folder when that is not
known: a key that was added or removed counts from then on."""

KEYS_MAX = 2_000
KEY_FILE_BYTES_MAX = 4096
"""Files in the folder of authorized keys, and the length of one; ours have 100 bytes. What is beyond is skipped and
logged: to look at so many takes some 10 ms, in which the process does nothing else."""

CLAIMS_KEPT = 10_000
"""Names of clients, and of recordings that have ended, of which a controller knows whose key they belong to; the oldest
go first. What goes on is known anyway."""

# --- placement and admission ----------------------------------------------------------------------
LOAD_REPORT_NS = S
"""A worker reports this often, at most, what its recordings cost and how large they are; none while it has no
recording. Limits of bytes may be passed by what is recorded meanwhile."""

WARM_AFTER_NS = 100 * MS
"""A new worker that has no recording by then uses each codec once, which sets up their tables: some 10 ms, of which a
recording that comes just then has to wait for the rest."""

LOADS_PER_REPORT = 64
"""Recordings in one such report, so that a stop that comes meanwhile waits for less than a millisecond."""

ENCODER_THREADS_MAX = 64
"""For the pictures of one recording; the encoders take no more."""

CORES_SHARE = 0.85
"""The share of the cores that recordings may take, by what is reckoned for them, before a further one is answered
``busy``. The rest is for the controller, for callers on this machine, and for what comes irregularly: key frames,
cuts, a second's noise of a shared machine."""

COST_LEARNING = 0.25
"""How much of the difference between reckoned and used CPU time each report corrects: noise of one report moves it
little, and a machine half as fast is known after some ten."""

COST_LEARNED_FROM_NS = 20 * MS
"""Reports of less work, by the default figures, teach nothing: most of what the worker took it takes anyway, or took to
open recordings and to refuse messages. A second of sound has more."""

COST_FACTOR_MIN, COST_FACTOR_MAX = 0.2, 10.0
"""Machines differ from the default figures by less than this. A measurement beyond is a disturbance."""

COST_MEASURED_AFTER = 3
"""After so many reports a recording counts as what it brings, not as what it declared."""

COST_DECAY = 0.99
"""The most that a recording brought is forgotten by this factor with each report: half of it in a minute."""

FRAME_RATE_SUPPOSED = 30.0
"""Of a track that declares none."""

STATUS_WAIT_NS = 300 * MS
"""The answer to ``AskStatus`` waits this long for figures of workers. Those of one that is halted are left out."""

STATUS_BYTES_MAX = 48 * 1024
"""What the recordings in one such answer may take, so that it stays below the bound of a header. Who wants the others
asks for those after the last one."""

# --- the catalog --------------------------------------------------------------------------------
FETCH_QUEUE = 4
"""Ranges that wait for one client's connection: when it reads too slowly for them, its next requests wait unread, and
others are answered meanwhile."""

FETCH_BYTES_PER_KEY_MAX = 64 * 1024 * 1024
"""Of ranges that were sent to the connections of one key and are not read yet; without keys, to all over the network. A
connection that would have more waits until these are read, or end."""

CATALOG_REQUESTS_MAX = 16
"""A client may have so many requests to the catalog unanswered, ranges included; further ones are refused."""

LIST_MAX = 100
"""Recordings in one answer of the catalog; fewer where they take more than the bound of a header. Who wants more asks
for those that began before the last."""

FETCH_LOOK_NS = 2 * MS
"""A client that reads too slowly is looked at again after this."""

FETCH_PAUSE_NS = 60 * S
"""A recording counts as being read for this long after a range of it was fetched, and is not deleted by retention."""

FETCH_SILENCE_NS = 3 * S
"""A reader that has asked for ranges and gets nothing for so long connects anew and asks again: its connection broke,
or the catalog was replaced. It gives up after ``RPC_DEADLINE_NS``."""

CATALOG_LOOK_NS = 5 * S
"""The catalog looks this often whether bounds of retention are reached, and whether its file can be written again."""

CLOCK_JUMP_S = 60.0
"""Where the time of day changes by more than this between two looks of the catalog, somebody has set it."""

CLOCK_DOUBT_S = 24 * 3600.0
"""For so long after that no recording is deleted because of its age: people have a day to look at the clock."""

SURVEY_NS = 60 * S
"""The catalog looks this often for files that somebody has removed from the spool, or put there."""

SURVEY_AGAIN_NS = S
"""The same while there are files of which is not known yet whether somebody writes them."""

SURVEY_YOUNG_S = 1.0
"""A file that was changed within this time may belong to a recording that begins: nothing else looks into it."""

CATALOG_WAIT_NS = 2 * S
"""The catalog starts when an encoder worker is ready, or after this time: a recording may begin before."""

CATALOG_ANSWER_NS = 30 * S
"""A catalog that has not confirmed what the controller entered by then is taken for hung, and killed; another one takes
its place."""

CATALOG_RETRY_NS = 5 * S
"""What the catalog could not write, since the disk is full perhaps, is sent again after this."""

CATALOG_UNWRITTEN_MAX = 5_000
"""Recordings that ended and that a controller remembers until its catalog has written them, some 2 KB each. Of more the
oldest are let go: their files show them again, without their names and their accounting."""

TOTAL_MAX = 2**53
CAUSES_MAX = 32
"""A sender's running totals (frames, samples), and how many it has: beyond these its message is refused. They are
added, and JSON has no larger numbers; at 768 kHz this many samples are 372 years."""

# --- the command line -------------------------------------------------------------------------------
STATUS_LINE_NS = S // 2
"""`recsvc status` draws its table anew after this time."""

COMPLETION_MS = 400
"""The shell's completion of an id waits this long for a service, and shows nothing where it does not answer: people
type on."""
