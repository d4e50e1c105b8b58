"""``recsvc record``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

from .app import Json, Option, app, one_line

AudioSource = Annotated[
    str | None, Option("--audio", metavar="SOURCE", help="mic:, mic:NAME, file:PATH, test: or a URL.")
]
VideoSource = Annotated[
    str | None, Option("--video", metavar="SOURCE", help="camera:/dev/video0, screen:, file:PATH, test: or a URL.")
]
Type = Annotated[str, Option(metavar="MIME", help="One of `recsvc types`; by default as FILE ends, else WebM.")]
AudioBitrate = Annotated[int | None, Option(metavar="BITS/S", help="By default 128000.")]
VideoBitrate = Annotated[int | None, Option(metavar="BITS/S", help="By default 2500000.")]
Width = Annotated[int | None, Option(metavar="PIXELS", help="Width of the pictures.")]
Height = Annotated[int | None, Option(metavar="PIXELS", help="Height of the pictures.")]
FrameRate = Annotated[float | None, Option(metavar="1/S", help="Pictures per second.")]
SampleRate = Annotated[int | None, Option(metavar="HZ", help="Sample rate of the sound.")]
Channels = Annotated[int | None, Option(metavar="N", help="Channels of the sound.")]
Copy = Annotated[
    bool, Option("--copy", help="Record what files and network streams bring as it is, without encoding it again.")
]


@app.command()
def record(
    audio: AudioSource = None,
    video: VideoSource = None,
    duration: Annotated[float | None, Option(metavar="S", help="Stop after this many seconds.")] = None,
    type: Type = "",
    audio_bitrate: AudioBitrate = None,
    video_bitrate: VideoBitrate = None,
    width: Width = None,
    height: Height = None,
    frame_rate: FrameRate = None,
    sample_rate: SampleRate = None,
    channels: Channels = None,
    copy: Copy = False,
    output: Annotated[
        Path | None,
        Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Save the recording there; its ending chooses the container. - is standard output. By default "
            "recording-DATE-TIME in the current directory.",
        ),
    ] = None,
    service: Annotated[
        str | None,
        Option(
            metavar="WHERE",
            envvar="RECSVC_SERVICE",
            help="Record there: an endpoint, such as tcp://recorder.example:7700, or a connection file. The sources "
            "are those of its machine. By default here, by a private service.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Record to a file, and print a report.

    The recording ends when --duration is over, when its sources end, or when you press q or Ctrl-C; p pauses and
    resumes it. Without --audio and --video the default microphone and camera are recorded.

    With --copy the packets of files and network streams are recorded as they are. Where neither FILE nor --type says
    the container, it is Matroska, unless WebM holds their codecs.

    A second Ctrl-C leaves at once. What could not be saved to FILE stays in the spool: see `recsvc recover`.
    """
    from .. import console, report, terminal

    terminal.go_on_in_background()
    terminal.make_output_last()
    with one_line():
        made = console.record(
            {
                "audio": wish("--audio", audio, copy=copy, sample_rate=sample_rate, channels=channels),
                "video": wish("--video", video, copy=copy, width=width, height=height, frame_rate=frame_rate),
            },
            duration=duration,
            output=output,
            service=service,
            quiet=as_json,
            mime_type=type,
            audio_bits_per_second=audio_bitrate,
            video_bits_per_second=video_bitrate,
        )
        out = sys.stderr if str(output) == "-" else sys.stdout
        if as_json:
            print(json.dumps(made), file=out)
        else:
            report.show(made, out, copied=copy)


_CONSTRAINTS = {"channels": "channel_count"}  # where an option has another name


def wish(option: str, source: str | None, *, copy: bool, **constraints: Any) -> dict[str, Any] | None:
    given = {name: value for name, value in constraints.items() if value is not None}
    if source is None and given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"{names} without {option}: say what it is for, such as {option} test:")
    if source is None:
        return None
    encoded = {"encoded": True} if copy else {}
    return {"source": source, **encoded, **{_CONSTRAINTS.get(n, n): v for n, v in given.items()}}
