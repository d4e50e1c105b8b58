"""A camera on the network: ``/usr/bin/python3 rtsp_server.py WORKLOAD CONTENT``, by GStreamer's RTSP server.

Shows the content's pictures (H.264) with its melody (Opus), live, the same to all who ask. Its first answer has its
``url``.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gi
from content import Content
from program import serve
from workloads import BLOCK_RATE, CHANNEL_COUNT, FRAME_RATE, SAMPLE_RATE, WORKLOADS, S, Workload

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402


class Camera:
    """Pictures and sound in real time, on threads that begin when a first client comes.

    Both come from the program: what GStreamer could seek in it would begin anew, for all, with each client."""

    def __init__(self, content: Content, work: Workload) -> None:
        self._content = content
        source = "appsrc is-live=true format=time do-timestamp=true"
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_shared(True)
        factory.set_launch(
            f"( {source} name=film caps=video/x-raw,format=I420,width={work.width},height={work.height},"
            f"framerate={FRAME_RATE}/1 ! queue"
            f" ! x264enc tune=zerolatency speed-preset=ultrafast threads=1 key-int-max={FRAME_RATE // 2} bitrate=4000"
            f" ! rtph264pay name=pay0 pt=96 config-interval=-1"
            f" {source} name=sound caps=audio/x-raw,format=S16LE,layout=interleaved,rate={SAMPLE_RATE},"
            f"channels={CHANNEL_COUNT} ! queue ! opusenc ! rtpopuspay name=pay1 pt=97 )"
        )
        factory.connect("media-configure", self._on_media)
        self._server = GstRtspServer.RTSPServer()
        self._server.set_service("0")
        self._server.get_mount_points().add_factory("/camera", factory)
        self._server.attach(None)
        self.url = f"rtsp://127.0.0.1:{self._server.get_bound_port()}/camera"

    def _on_media(self, factory: Any, media: Any) -> None:
        for name, give, rate in (
            ("film", self._content.picture, FRAME_RATE),
            ("sound", self._content.block, BLOCK_RATE),
        ):
            source = media.get_element().get_by_name_recurse_up(name)
            threading.Thread(target=_play, args=(source, give, rate), daemon=True).start()


def _play(source: Any, give: Callable[[int], memoryview], rate: int) -> None:
    while source.get_state(0).state != Gst.State.PLAYING:  # what came before would have no time
        time.sleep(0.005)
    begin_ns = time.monotonic_ns()
    number = 0
    while source.emit("push-buffer", Gst.Buffer.new_wrapped(bytes(give(number)))) == Gst.FlowReturn.OK:
        number += 1
        time.sleep(max(0, begin_ns + number * S // rate - time.monotonic_ns()) / S)


def main() -> None:
    work = WORKLOADS[sys.argv[1]]
    Gst.init(None)
    camera = Camera(Content(work, Path(sys.argv[2])), work)
    threading.Thread(target=GLib.MainLoop().run, daemon=True).start()
    serve({"url": camera.url}, lambda order: {})


if __name__ == "__main__":
    main()
