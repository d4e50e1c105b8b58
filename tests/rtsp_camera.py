"""Cameras on the network, by GStreamer's RTSP server: ``/usr/bin/python3 rtsp_camera.py PORT CAMERAS``.

``CAMERAS`` is JSON: by name, a list of tracks, each the name of what it is (``FORMS``) and a file with its packets, one
after the other with its length before it. They are sent in real time, over and over, the same to all who ask. Writes
the port on which it listens (0: any).

It runs in the distribution's own Python, for which there are packages of GStreamer, and imports nothing of ours.
"""

import json
import struct
import sys
import threading
import time
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

S = 1_000_000_000
VIDEO, PHONE = "framerate=25/1", "rate=8000,channels=1"
BYTES = "stream-format=byte-stream,alignment=au"
AAC = "mpegversion=4,stream-format=raw,rate=48000,channels=2,codec_data=(buffer)1190"
FORMS = {  # caps, the payloader, how long a packet lasts
    # Parameter sets before each slice of a key frame, as senders have them that do not know slices of one picture.
    "h264": (f"video/x-h264,{BYTES},{VIDEO}", "rtph264pay config-interval=-1", S // 25),
    "h265": (f"video/x-h265,{BYTES},{VIDEO}", "rtph265pay config-interval=-1", S // 25),
    "vp8": (f"video/x-vp8,{VIDEO}", "rtpvp8pay", S // 25),
    "vp9": (f"video/x-vp9,{VIDEO}", "rtpvp9pay", S // 25),
    "opus": ("audio/x-opus,rate=48000,channels=2,channel-mapping-family=0", "rtpopuspay", S // 50),
    "aac": (f"audio/mpeg,{AAC}", "rtpmp4gpay", S * 1024 // 48_000),
    "alaw": (f"audio/x-alaw,{PHONE}", "rtppcmapay", S // 50),
    "ulaw": (f"audio/x-mulaw,{PHONE}", "rtppcmupay", S // 50),
}


def packets_of(path):
    data, at, found = Path(path).read_bytes(), 0, []
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found


class Camera:
    def __init__(self, tracks):
        self._tracks = [(*FORMS[form], packets_of(path)) for form, path in tracks]
        self.factory = GstRtspServer.RTSPMediaFactory()
        self.factory.set_shared(True)
        parts = [
            f"appsrc is-live=true format=time name=track{number} caps={caps} ! queue ! {payloader} name=pay{number}"
            f" pt={96 + number}"
            for number, (caps, payloader, _, _) in enumerate(self._tracks)
        ]
        self.factory.set_launch(f"( {' '.join(parts)} )")
        self.factory.connect("media-configure", self._on_media)

    def _on_media(self, factory, media):
        begin_ns = time.monotonic_ns()
        for number, (_, _, lasts_ns, packets) in enumerate(self._tracks):
            source = media.get_element().get_by_name_recurse_up(f"track{number}")
            threading.Thread(target=play, args=(source, packets, lasts_ns, begin_ns), daemon=True).start()


def play(source, packets, lasts_ns, begin_ns):
    number, flow = 0, Gst.FlowReturn.OK
    while flow == Gst.FlowReturn.OK:
        buffer = Gst.Buffer.new_wrapped(packets[number % len(packets)])
        buffer.pts = buffer.dts = number * lasts_ns
        buffer.duration = lasts_ns
        flow = source.emit("push-buffer", buffer)
        number += 1
        time.sleep(max(0, begin_ns + number * lasts_ns - time.monotonic_ns()) / S)


def main():
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_service(sys.argv[1])
    for name, tracks in json.loads(sys.argv[2]).items():
        server.get_mount_points().add_factory(f"/{name}", Camera(tracks).factory)
    if not server.attach(None):
        sys.exit(f"nothing can listen on port {sys.argv[1]}")
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
