"""The behaviours that a capture process has a part in, with captured tracks."""

from collections.abc import Iterator
from typing import Any

import pytest
from media import SMALL_TEST

import recsvc

from .calls import Calls
from .listeners import Listeners
from .sequence import Sequence
from .studio import CapturedStudio, Suite
from .tracks import Tracks


class Captured(Suite):
    """A subclass names its ``face``."""

    test_the_state_changes_in_the_call_and_each_change_has_one_event = (
        Calls.test_the_state_changes_in_the_call_and_each_change_has_one_event
    )
    test_a_second_stop_before_the_events_raises_and_loses_nothing = (
        Calls.test_a_second_stop_before_the_events_raises_and_loses_nothing
    )
    test_start_right_behind_stop_mixes_nothing = Sequence.test_start_right_behind_stop_mixes_nothing
    test_start_in_the_stop_listener_begins_the_next_recording = (
        Sequence.test_start_in_the_stop_listener_begins_the_next_recording
    )
    test_a_changed_stream_ends_the_recording_with_its_data = (
        Tracks.test_a_changed_stream_ends_the_recording_with_its_data
    )
    test_a_stream_changed_behind_stop_is_no_error = Tracks.test_a_stream_changed_behind_stop_is_no_error
    test_all_tracks_ended_end_the_recording_without_an_error = (
        Tracks.test_all_tracks_ended_end_the_recording_without_an_error
    )
    test_one_of_two_ended_and_the_other_goes_on = Tracks.test_one_of_two_ended_and_the_other_goes_on
    test_a_slow_listener_delays_neither_calls_nor_other_recorders = (
        Listeners.test_a_slow_listener_delays_neither_calls_nor_other_recorders
    )

    @pytest.fixture(scope="class")
    @classmethod
    def stream(cls) -> Iterator[recsvc.MediaStream]:
        """The tests record clones of its tracks."""
        with recsvc.get_user_media(audio=SMALL_TEST, video=SMALL_TEST) as opened:
            yield opened

    @pytest.fixture(autouse=True)
    def opened(self, stream: recsvc.MediaStream) -> Iterator[None]:
        self._opened, self._clones = stream, []
        yield
        for clone in self._clones:
            clone.close()
        self._clones.clear()

    def studio(self, kinds: str = "av", **options: Any) -> CapturedStudio:
        studio = CapturedStudio(self.face, self._opened, kinds, **options)
        self._clones.append(studio.stream)
        return studio
