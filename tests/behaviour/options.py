"""What the constructor and ``start`` take, and what reaches the encoders."""

import math

import ebml
import pytest
from listening import ALL_IN_ORDER
from media import DEADLINE_S, decode

import recsvc
from recsvc.errors import NotSupportedError

from .studio import FULL, Studio, Suite


def key_frames(blob: recsvc.Blob) -> list[int]:
    """Which pictures are key frames, as the container says."""
    return [n for n, block in enumerate(ebml.read(blob.bytes()).of(1)) if block.is_key_frame]


class Options(Suite):
    @pytest.mark.parametrize(
        ("options", "audio", "video"),
        [
            ({}, 128_000, 2_500_000),
            ({"audio_bits_per_second": 64_000}, 64_000, 2_500_000),
            ({"video_bits_per_second": 0}, 128_000, 0),
            ({"bits_per_second": 1_000_000}, 100_000, 900_000),
            ({"bits_per_second": 1_000_000, "audio_bits_per_second": 9, "video_bits_per_second": 9}, 100_000, 900_000),
            ({"bits_per_second": 0}, 6_000, 75_000),
            ({"bits_per_second": 2**32 - 1}, 510_000, 1_000_000_000),
        ],
    )
    async def test_bitrates_default_and_split(self, options: dict[str, int], audio: int, video: int) -> None:
        recorder = self.face.recorder(recsvc.MediaStream(), **options)
        assert (recorder.audio_bits_per_second, recorder.video_bits_per_second) == (audio, video)

    @pytest.mark.parametrize(
        ("kinds", "while_recording"),
        [("av", (100_000, 900_000)), ("a", (510_000, 0)), ("v", (0, 1_000_000))],
    )
    async def test_bitrates_are_split_for_the_kinds_there_and_restored(
        self, kinds: str, while_recording: tuple[int, int]
    ) -> None:
        studio = self.studio(kinds, bits_per_second=1_000_000)

        def bitrates() -> tuple[int, int]:
            return studio.recorder.audio_bits_per_second, studio.recorder.video_bits_per_second

        for end_by_itself in (False, True):
            assert bitrates() == (100_000, 900_000)
            await studio.start()
            assert bitrates() == while_recording
            await studio.play(0.1)
            assert bitrates() == while_recording
            if end_by_itself:
                for source in studio.sources:
                    source.end()
            else:
                await studio.recorder.stop()
                assert bitrates() == (100_000, 900_000), "restored in the call"
            await studio.stopped()
        assert bitrates() == (100_000, 900_000)

    async def test_bitrates_that_were_named_stay(self) -> None:
        studio = self.studio("v", audio_bits_per_second=96_000, video_bits_per_second=300_000)
        await studio.start()
        assert (studio.recorder.audio_bits_per_second, studio.recorder.video_bits_per_second) == (96_000, 300_000)
        await studio.stop()
        assert (studio.recorder.audio_bits_per_second, studio.recorder.video_bits_per_second) == (96_000, 300_000)

    async def test_the_bitrate_reaches_the_encoders(self) -> None:
        sizes = []
        for audio, mode in ((16_000, "constant"), (128_000, "constant"), (24_000, "variable")):
            studio = self.studio("a", audio_bits_per_second=audio, audio_bitrate_mode=mode)
            assert studio.recorder.audio_bitrate_mode == mode
            await studio.start()
            await studio.play(1)
            blocks = ebml.read((await studio.stop()).bytes()).of(2)
            sizes.append([len(block.data) for block in blocks])
        assert len(set(sizes[0])) == 1 and len(set(sizes[1])) == 1, "constant"
        assert (sizes[0][0], sizes[1][0]) == (16_000 // 8 // 50, 128_000 // 8 // 50)
        assert len(set(sizes[2])) > 1, "variable"

    async def test_wrong_options_are_refused_with_the_value(self) -> None:
        for error, options in (
            (TypeError, {"audio_bits_per_second": "fast"}),
            (TypeError, {"video_bits_per_second": 1.5}),
            (TypeError, {"bits_per_second": True}),
            (ValueError, {"audio_bits_per_second": -1}),
            (ValueError, {"video_bits_per_second": 2**32}),
            (ValueError, {"bits_per_second": -7}),
            (ValueError, {"audio_bitrate_mode": "fixed"}),
            (TypeError, {"audio_bitrate_mode": 3}),
            (TypeError, {"video_key_frame_interval_duration": "2000"}),
            (ValueError, {"video_key_frame_interval_duration": -0.5}),
            (ValueError, {"video_key_frame_interval_duration": math.nan}),
            (ValueError, {"video_key_frame_interval_duration": math.inf}),
            (TypeError, {"video_key_frame_interval_count": 1.5}),
            (ValueError, {"video_key_frame_interval_count": -3}),
            (TypeError, {"strict_stop": "no"}),
            (TypeError, {"overload": 8}),
            (ValueError, {"overload": "panic"}),
            (TypeError, {"mime_type": 9}),
            (NotSupportedError, {"mime_type": "video/mp4"}),
        ):
            [(name, value)] = options.items()
            with pytest.raises(error, match=name) as raised:
                self.face.recorder(recsvc.MediaStream(), **options)
            assert str(value) in str(raised.value)
        studio = self.studio("a")
        for error, timeslice in [
            (TypeError, "1"),
            (TypeError, True),
            *((ValueError, n) for n in (-1, math.inf, math.nan, 2**33)),
        ]:
            with pytest.raises(error, match="timeslice.*" + str(timeslice)):
                await studio.recorder.start(timeslice)
        assert studio.recorder.state == "inactive" and studio.events == []

    async def test_both_key_frame_options_at_once_are_not_supported(self) -> None:
        with pytest.raises(NotSupportedError, match="duration.*count"):
            self.face.recorder(
                recsvc.MediaStream(), video_key_frame_interval_duration=1000, video_key_frame_interval_count=30
            )

    @pytest.mark.parametrize(
        ("options", "rate", "count", "expected"),
        [
            ({"video_key_frame_interval_count": 3}, 25, 14, [0, 4, 8, 12]),
            ({"video_key_frame_interval_count": 0}, 25, 4, [0, 1, 2, 3]),
            ({"video_key_frame_interval_duration": 2000}, 5, 24, [0, 10, 20]),
            ({"video_key_frame_interval_duration": 1900}, 5, 24, [0, 10, 20]),
            ({"video_key_frame_interval_duration": 0}, 25, 4, [0, 1, 2, 3]),
            ({}, 25, 210, [0, 100, 200]),
            ({}, 2, 45, [0, 20, 40]),
        ],
    )
    async def test_key_frames_come_when_asked_for(
        self, options: dict[str, int], rate: int, count: int, expected: list[int]
    ) -> None:
        studio = self.studio("v", **options)
        await studio.start()
        await studio.play(count / rate, rate)
        blob = await studio.stop()
        assert len(decode(blob).pictures) == count
        assert key_frames(blob) == expected

    async def test_the_first_picture_after_resume_is_a_key_frame(self) -> None:
        studio = self.studio("v")
        await studio.start()
        for _ in range(3):
            await studio.play(0.2)
            await studio.pause()
            await studio.resume()
        await studio.play(0.2)
        assert key_frames(await studio.stop()) == [0, 5, 10, 15]

    async def test_the_type_is_as_given_but_the_full_one_while_recording(self) -> None:
        for given, kinds, full in (
            ("", "av", FULL),
            ("", "a", "audio/webm;codecs=opus"),
            ("video/webm", "v", "video/webm;codecs=vp8"),
            ("Video/X-Matroska; codecs=VP9", "v", "video/x-matroska;codecs=vp9"),
        ):
            studio = self.studio(kinds, mime_type=given)
            seen: list[str] = []

            def note(event: recsvc.Event, to: list[str] = seen, of: Studio = studio) -> None:
                to.append(of.recorder.mime_type)

            for type in ALL_IN_ORDER:
                studio.recorder.add_event_listener(type, note)
            assert studio.recorder.mime_type == given
            await studio.start()
            await studio.recorder.wait("start", DEADLINE_S)
            assert studio.recorder.mime_type == full
            await studio.recorder.stop()
            assert studio.recorder.mime_type == given, "in the call"
            blob = await studio.stopped()
            assert (studio.recorder.mime_type, blob.type, seen) == (given, full, [full, given, given])

    @pytest.mark.parametrize(
        "type",
        [
            "",
            "video/webm",
            "VIDEO/WEBM; CODECS=VP8",
            FULL,
            'video/webm; codecs="vp9,opus"',
            "video/webm;codecs=opus",
            "audio/webm;codecs=opus",
            "audio/ogg",
            "video/x-matroska;codecs=vp8",
        ],
    )
    async def test_a_type_that_is_supported_is_taken(self, type: str) -> None:
        recorder = self.face.recorder(recsvc.MediaStream(), mime_type=type)
        assert recorder.is_type_supported(type) is True and recorder.mime_type == type

    async def test_is_type_supported_agrees_with_the_constructor(self) -> None:
        recorder = self.face.recorder(recsvc.MediaStream())
        for type in (
            "video/webm;codecs=avc1",
            "video/webm;codecs=vp8,vp9",
            "video/webm;codecs=vorbis",
            "audio/webm;codecs=vp8",
            "audio/ogg;codecs=vorbis",
            "video/mp4",
            "video/ogg",
            "video",
            "video/webm;codecs",
            "not a type",
            " ",
        ):
            assert recorder.is_type_supported(type) is False
            with pytest.raises(NotSupportedError) as raised:
                self.face.recorder(recsvc.MediaStream(), mime_type=type)
            assert repr(type) in str(raised.value) and raised.value.name == "NotSupportedError"
        for wrong in (None, 7, b"video/webm"):
            with pytest.raises(TypeError, match="mime_type"):
                recorder.is_type_supported(wrong)
