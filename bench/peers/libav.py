"""Our codec settings in the words of FFmpeg's libraries: for PyAV, aiortc and FFmpeg itself."""

from __future__ import annotations

from workloads import AUDIO_BITS_PER_SECOND, KEY_FRAME_DISTANCE, Workload


def video_options(work: Workload) -> dict[str, str]:
    """``g`` and ``keyint_min`` alike: key frames at that distance and nowhere else."""
    bits_per_second = work.video_bits_per_second
    return {
        "b": str(bits_per_second),
        "deadline": "realtime",
        "cpu-used": "-6",
        "threads": "1",
        "lag-in-frames": "0",
        "auto-alt-ref": "0",
        "static-thresh": "1",
        "undershoot-pct": "100",
        "overshoot-pct": "15",
        "qmin": "2",
        "qmax": "58",
        "bufsize": str(bits_per_second),
        "rc_init_occupancy": str(bits_per_second // 2),
        "g": str(KEY_FRAME_DISTANCE),
        "keyint_min": str(KEY_FRAME_DISTANCE),
    }


def audio_options() -> dict[str, str]:
    return {
        "b": str(AUDIO_BITS_PER_SECOND),
        "vbr": "constrained",  # the word for what libopus does unless told otherwise
        "compression_level": "9",
        "application": "audio",
        "frame_duration": "20",
    }
