"""The report of a finished recording: as plain data, and for people."""

from __future__ import annotations

from typing import Any, TextIO

from msgspec import structs

from ..common.descriptions import RecordingStatistics


def made(statistics: RecordingStatistics, file: str, mime_type: str, size: int, stop_ns: int | None) -> dict[str, Any]:
    """``stop_ns``: from the stop to the last data; ``None`` where the recording ended by itself."""
    seconds = statistics.duration
    return {
        "file": file,
        "mime_type": mime_type,
        "duration": seconds,
        "size_bytes": size,
        "bits_per_second": round(statistics.size_bytes * 8 / seconds) if seconds else 0,
        "tracks": [structs.asdict(track) for track in statistics.tracks],
        "stop_to_dataavailable_ms": None if stop_ns is None else stop_ns / 1e6,
        "stop_stages_ms": {name: at_ns / 1e6 for name, at_ns in statistics.stop_stages_ns.items()},
    }


def show(report: dict[str, Any], out: TextIO, *, copied: bool = False) -> None:
    """Prints the report for people. ``copied``: of packets that were recorded as they came."""
    rows = [("duration", f"{report['duration']:.3f} s")]
    for track in report["tracks"]:
        unit = "packets" if copied else "samples" if track["kind"] == "audio" else "frames"
        done = "copied" if copied else "encoded"
        text = f"{track['frames_accepted']} {unit} captured, {track['frames_encoded']} {done}, "
        rows.append((track["kind"], f"{text}{track['frames_dropped']} dropped{_causes(track['dropped_by_cause'])}"))
        if track["frames_prerolled"]:
            rows.append(("", f"{track['frames_prerolled']} of them are older than the start: from the key frame on"))
        if track["timestamps_corrected"]:
            rows.append(("", f"timestamps corrected{_causes(track['timestamps_corrected'])}"))
    rows.append(("size", f"{report['size_bytes']} bytes, {report['bits_per_second'] / 1000:.0f} kbit/s on average"))
    if report["stop_to_dataavailable_ms"] is not None:
        stages = report["stop_stages_ms"]
        text = f"dataavailable after {report['stop_to_dataavailable_ms']:.2f} ms"
        if "capture_ended" in stages:
            text += f", {stages['capture_ended']:.2f} of it for the sources to bring what they had captured"
        rows.append(("stop", text + _causes({name: f"{at_ms:.2f}" for name, at_ms in stages.items()})))
    rows.append(("file", f"{report['file']} ({report['mime_type']})"))
    for name, value in rows:
        print(f"{name:<10} {value}", file=out)


def _causes(values: dict[str, Any]) -> str:
    return f" ({', '.join(f'{name} {value}' for name, value in values.items())})" if values else ""
