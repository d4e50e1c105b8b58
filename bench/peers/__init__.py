"""The same content recorded by recsvc and by others, side by side; ``bench_peers.py`` is the benchmark.

Every recorder is a class with the interface of ``recorder.Recorder`` and lives in a program of its own
(``child.py``), so that none disturbs another and CPU time can be told apart. All get the same bytes (``content.py``)
at the same times of the wall clock (``pace.py``); what they wrote is examined in one place (``inspection.py``).

What is equal: VP8 with deadline realtime, cpu-used -6, one thread, no lag, no resilience, no dropped frames,
quantizers 2 to 58, variable rate around 1 or 2.5 Mbit/s, a key frame at least every 100 frames; Opus at 128 kbit/s,
constrained variable rate, complexity 9, 20 ms packets, application audio. Where a recorder does not allow that:

========== =========================================================================================================
floor      libvpx and libopus alone, in one thread of a C program; it counts the bytes and writes none.
recsvc     The system's libvpx and libopus. Pushed frames, private controller, one encoder worker in use.
pyav       The libvpx and libopus inside PyAV's wheel (newer than the system's). Rate control buffer: FFmpeg sets the
           optimum to 5/6 of the buffer, not to 600 ms. Encodes in the thread that delivers. Pictures are copied once.
aiortc     As pyav; its MediaRecorder has no encoder settings, so they are set through its private container.
           Encodes on the event loop. Delivered by ``recv()`` of two tracks.
ffmpeg     The system's libraries. Rate control buffer as pyav. Its own process, fed through two pipes; the stop is
           the end of both. One process per recording, so starting it is part of its CPU time.
gstreamer  The system's libraries. ``appsrc`` in a Python program, as its users would; the stop is the end of stream.
chromium-  Its own libvpx and libopus; speed, threads and quantizers are its choice, bit rates are given. Its fake
camera     camera and microphone play the same content from files by themselves, as I420; they are opened for each
           recording, and what of the content comes before the stop is not known.
chromium-  The same, but pictures are drawn on a canvas (converted to RGB and back) and requested one by one; sound
canvas     comes by an AudioContext, whose clock runs by itself.
firefox    As chromium-canvas.
========== =========================================================================================================
"""
