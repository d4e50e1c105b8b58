"""Cameras on the network, by GStreamer's RTSP server: ``/usr/bin/python3 rtsp_camera.py PORT CAMERAS``.

``CAMERAS`` is JSON: by name, the files with the packets of its tracks, one after the other with its length before it.
They are sent in real time, over and over, the same to all who ask. Writes the port on which it listens (0: any).

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
CAPS = {
    "video": "video/x-h264,stream-format=byte-stream,alignment=au,framerate=25/1",
    "audio": "audio/x-opus,rate=48000,channels=2,channel-mapping-family=0",
}
LASTS_NS = {"video": S // 25, "audio": S // 50}
# Parameter sets before each slice of a key frame, as senders have them that do not know slices of one picture.
PAYLOADERS = {"video": "rtph264pay config-interval=-1", "audio": "rtpopuspay"}


def packets_of(path):
    data, at, found = Path(path).read_bytes(), 0, []
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found


class Camera:
    def __init__(self, tracks):
        self._packets = {kind: packets_of(path) for kind, path in tracks.items()}
        self.factory = GstRtspServer.RTSPMediaFactory()
        self.factory.set_shared(True)
        parts = [
            f"appsrc is-live=true format=time name={kind} caps={CAPS[kind]} ! queue ! {PAYLOADERS[kind]}"
            f" name=pay{number} pt={96 + number}"
            for number, kind in enumerate(self._packets)
        ]
        self.factory.set_launch(f"( {' '.join(parts)} )")
        self.factory.connect("media-configure", self._on_media)

    def _on_media(self, factory, media):
        begin_ns = time.monotonic_ns()
        for kind in self._packets:
            source = media.get_element().get_by_name_recurse_up(kind)
            threading.Thread(target=self._play, args=(source, kind, begin_ns), daemon=True).start()

    def _play(self, source, kind, begin_ns):
        packets, lasts_ns, number, flow = self._packets[kind], LASTS_NS[kind], 0, Gst.FlowReturn.OK
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
