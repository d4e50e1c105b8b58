"""A recorder's own line of events: its subscription at a controller, and what it does about a gap in their numbers.

The thread that calls the listeners reads the socket itself, so an event wakes no thread more than it must.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque

import msgspec

from .. import errors
from ..common.limits import LAST_EVENTS_MS, MS, STOP_ASK_NS
from ..common.service_limits import REQUESTS_PER_TURN
from ..wire import messages, sockets
from ..wire.published import published
from ..wire.replies import understood
from .client import Client

log = logging.getLogger("recsvc")


class Subscription:
    """The events of one recorder at one controller. Used by one thread at a time."""

    def __init__(self, client: Client, recorder: str) -> None:
        self.client = client
        self._recorder = recorder
        self.socket = client.subscribe(recorder)
        self._expected: dict[str, int] = {}  # recording -> the number of its next event
        self._read: deque[messages.RecorderEvent] = deque()

    def follow(self, recording: str) -> None:
        """Events of this recording are wanted from now on, until its ``stop``."""
        self._expected[recording] = 0

    def leave(self, recording: str) -> None:
        """Nothing more is wanted of it."""
        self._expected.pop(recording, None)

    def next(self) -> messages.RecorderEvent | None:
        """The next event that is there, in the order of its recording's numbers; ``None``: nothing more for now."""
        for _ in range(REQUESTS_PER_TURN):
            if not self._read:
                self._receive()
            if not self._read:
                return None
            event = self._read.popleft()
            expected = self._expected.get(event.recording)
            if expected is None or event.sequence < expected:
                continue
            if event.sequence > expected:
                self._read.appendleft(event)
                if not self._mend(event.recording, event.sequence):
                    return None
                continue
            if event.type == "stop":
                self.leave(event.recording)
            else:
                self._expected[event.recording] += 1
            return event
        return None

    def _receive(self) -> None:
        for event in published(self.socket):
            if isinstance(event, messages.RecorderEvent):
                self._read.append(event)
            elif isinstance(event, messages.Subscribed):
                self._catch_up(event)
            if self._read:
                return

    def _catch_up(self, there: messages.Subscribed) -> None:
        """The subscription stands, for the first time or again after the connection broke."""
        for recording in self._expected.keys() & there.next.keys():
            if there.next[recording] > self._expected[recording]:
                try:
                    self.ask(recording)
                except errors.RecorderError as error:  # it is asked for again when it was silent for too long
                    log.debug("asking for the first events of %s: %s", recording, error)

    def ask(self, recording: str) -> None:
        """Looks whether an event was missed that no later one shows. ``InvalidStateError``: the controller does not
        know the recording."""
        self._read.extendleft(reversed(self._missed(recording)))

    def _mend(self, recording: str, came: int) -> bool:
        """Event ``came`` is not the next one: those before it are asked for. What is not kept any more is lost, and an
        ``error`` event is put in its place. ``False``: the controller does not answer now, and is to be asked again."""
        expected = self._expected[recording]
        known = max(expected, 1)  # the very first is its start, of which its recorder knows by the reply
        try:
            missed = [event for event in self._missed(recording) if event.sequence < came]
        except errors.RecorderError as error:
            if self.client.usable and not isinstance(error, errors.InvalidStateError):
                return False
            if came > known:
                log.warning("%s: events from number %d on cannot be asked for: %s", recording, known, str(error))
            missed = []
        first = missed[0].sequence if missed else came
        self._expected[recording] = first
        if first > known:
            self._expected[recording] = first - 1
            text = f"{first - known} events of this recording were lost; what was recorded is in its file"
            lost = msgspec.structs.replace(self._read[0], sequence=first - 1, type="error", statistics=None, whole=None)
            missed.insert(0, msgspec.structs.replace(lost, blob=None, error="UnknownError", text=text))
        self._read.extendleft(reversed(missed))
        return True

    def _missed(self, recording: str) -> list[messages.RecorderEvent]:
        request = messages.AskEvents(
            recorder=self._recorder, recording=recording, sequence=self._expected.get(recording, 0)
        )
        found = understood(self.client.request(request, STOP_ASK_NS), list[messages.RecorderEvent])
        return [event for event in found if event.recording == recording and event.sequence >= request.sequence]

    def is_silent(self) -> bool:
        """Whether nothing more comes from a controller that has ended. Waits for it a moment."""
        return not self._read and not self.socket.poll(LAST_EVENTS_MS)

    def close(self) -> None:
        self.socket.close()


class Inbox:
    """What wakes the thread that fires a recorder's events: its subscriptions, and whoever calls ``wake``."""

    def __init__(self, recorder: str) -> None:
        self._recorder = recorder
        self._subscriptions: dict[Client, Subscription] = {}
        self._joining: deque[Subscription] = deque()  # those that the thread does not look at yet
        try:
            self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError as error:
            raise errors.QuotaExceededError(f"nothing can be opened for events: {error}") from error
        self._poller = sockets.Poller()
        self._poller.register(self._wake, sockets.POLLIN)

    def follow(self, client: Client, recording: str) -> None:
        """Events of this recording are wanted from now on, until its ``stop``. From any thread."""
        subscription = self._subscriptions.get(client)
        if subscription is None:
            subscription = self._subscriptions[client] = Subscription(client, self._recorder)
            self._joining.append(subscription)
        subscription.follow(recording)

    def leave(self, client: Client, recording: str) -> None:
        """Nothing more is wanted of it. From any thread."""
        subscription = self._subscriptions.get(client)
        if subscription is not None:  # else ``follow`` has failed
            subscription.leave(recording)

    def wake(self) -> None:
        """``next`` returns. From any thread."""
        os.eventfd_write(self._wake, 1)

    def next(self, until_ns: int) -> messages.RecorderEvent | None:
        """Waits for the next event; ``None``: it is time, or somebody called ``wake``."""
        while self._joining:
            self._poller.register(self._joining.popleft().socket, sockets.POLLIN)
        while True:
            for subscription in list(self._subscriptions.values()):
                event = subscription.next()
                if event is not None:
                    return event
            readable = self._poller.poll(max(0, until_ns - time.monotonic_ns() + MS - 1) // MS)
            if not readable:
                return None
            if any(source == self._wake for source, _ in readable):
                os.eventfd_read(self._wake)
                return None
            if time.monotonic_ns() >= until_ns:  # what comes may be for nobody, and have no end
                return None

    def at(self, client: Client) -> Subscription:
        """The subscription at this controller."""
        return self._subscriptions[client]

    def close(self) -> None:
        for subscription in self._subscriptions.values():
            subscription.close()
        os.close(self._wake)
