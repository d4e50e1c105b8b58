"""What became of the frames of one track. Pure logic."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..common.limits import S
from ..common.service_limits import TOTAL_MAX
from ..wire.messages import AudioFrame, FrameHeader, PacketFrame, TrackStatistics


def unit_count(header: FrameHeader) -> int:
    """What a frame counts for: raw sound is counted in samples per channel."""
    return header.sample_count if isinstance(header, AudioFrame) else 1


def sent_samples(header: FrameHeader) -> int:
    """Of raw sound, what its sender says it sent before; 0: it says nothing."""
    return header.sent_samples if isinstance(header, AudioFrame) else 0


def length_ns(header: FrameHeader) -> int:
    """How long the sound of a frame lasts, where that is known; of a picture it does not matter."""
    if isinstance(header, AudioFrame):
        return header.sample_count * S // header.sample_rate
    return header.duration_ns if isinstance(header, PacketFrame) else 0


class Account:
    """What came and where it went: frames, or samples per channel for sound."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.received = 0
        self.encoded = 0
        self.sender_dropped: dict[str, int] = {}
        self.sender_counted: dict[str, int] = {}
        self.dropped: Counter[str] = Counter()

    def note_sender_totals(self, dropped: dict[str, int], counted: dict[str, int]) -> None:
        """Each message of the sender may carry its running totals; the newest count."""
        self.sender_dropped, self.sender_counted = dropped, counted

    def drop(self, cause: str, amount: int) -> None:
        """A sender may claim to have sent any number: what is counted stays a number that messages can have."""
        if amount > 0:
            self.dropped[cause] = min(self.dropped[cause] + amount, TOTAL_MAX)

    def settle(self, cause: str) -> None:
        """What came and is neither encoded nor dropped was dropped for this cause."""
        dropped_here = self.dropped.total() - self.dropped["lost"]
        self.drop(cause, self.received - self.encoded - dropped_here)

    def take_back(self, amount: int, cause: str) -> None:
        """What was encoded is not in the file."""
        amount = min(max(amount, 0), self.encoded)
        self.encoded -= amount
        self.drop(cause, amount)

    def statistics(self, corrected: Counter[str], **more: Any) -> TrackStatistics:
        """``corrected``: time stamps, by kind; ``more``: what is known of this kind of track alone."""
        causes = dict(Counter(self.sender_dropped) + self.dropped)
        lost_before = sum(self.sender_dropped.values()) + self.dropped["lost"]
        return TrackStatistics(
            kind=self._kind,
            frames_accepted=self.received + lost_before,
            frames_encoded=self.encoded,
            frames_dropped=sum(causes.values()),
            dropped_by_cause=causes,
            timestamps_corrected=dict(corrected + Counter(self.sender_counted)),
            **more,
        )
