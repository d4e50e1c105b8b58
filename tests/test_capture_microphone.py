"""Microphones, through a sound server of our own. PortAudio reads its configuration once in a process, so each
capture runs in a process of its own, with that server's environment.
"""

import base64
import json
import os
import subprocess
import sys

import fixtures_media
import pytest
from fixtures_media import play_tone, xvfb
from pattern import loudness, tone_frequency

pytestmark = pytest.mark.alone

pulse_microphone = fixtures_media.pulse_microphone

S = 1_000_000_000

# Opens argv[1] with the constraints argv[2], captures for argv[3] s (or to the end of the track), flushes.
CAPTURE = """
import base64, json, os, signal, sys, time
from fixtures_media import KeepingSink
from recsvc.capture.opening import open_source
try:
    source = open_source(sys.argv[1], json.loads(sys.argv[2]), None)
except Exception as error:
    print(json.dumps({"error": type(error).__name__, "text": str(error)}))
    raise SystemExit
sink = KeepingSink()
start_ns = time.monotonic_ns()
source.start({"audio": sink})
deadline = time.monotonic() + 10
while not sink.sounds and not sink.ends and time.monotonic() < deadline:
    time.sleep(0.005)
if len(sys.argv) > 4:
    os.kill(int(sys.argv[4]), signal.SIGKILL)
deadline = time.monotonic() + float(sys.argv[3])
while not sink.ends and time.monotonic() < deadline:
    time.sleep(0.005)
until_ns = time.monotonic_ns()
source.flush(until_ns)
flushed_ns = time.monotonic_ns()
with sink.lock:
    sounds = list(sink.sounds)
before_close = time.monotonic()
source.close()
close_s = time.monotonic() - before_close
print(json.dumps({
    "settings": source.tracks[0].settings, "label": source.tracks[0].label, "start_ns": start_ns,
    "until_ns": until_ns, "flushed_ns": flushed_ns, "close_s": close_s, "counts": sink.counts,
    "stamps": [[sound.captured_ns, len(sound.samples)] for sound in sounds],
    "samples": base64.b64encode(b"".join(sound.samples for sound in sounds)).decode(),
    "ends": [type(error).__name__ + ": " + str(error) for _, error in sink.ends],
}))
"""


def capture(env, source="mic:", constraints=None, seconds=1.0, kill=None):
    here = os.path.dirname(__file__)
    paths = [here, os.path.dirname(here), os.environ.get("PYTHONPATH", "")]
    env = env | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-c", CAPTURE, source, json.dumps(constraints or {}), str(seconds)]
    if kill is not None:
        command.append(str(kill))
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=40)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_default_microphone_hears_a_tone_and_a_flush_gets_its_end(pulse_microphone):
    with play_tone(pulse_microphone, 440):
        got = capture(pulse_microphone, seconds=1.2)
    assert got["settings"] == {"sample_rate": 48_000, "channel_count": 2, "sample_format": "s16"}
    samples = base64.b64decode(got["samples"])
    assert loudness(samples[-48_000:], channels=2) > 0.01
    assert tone_frequency(samples[-96_000:], 48_000, channels=2) == pytest.approx(440, abs=2)
    stamps = got["stamps"]
    last_ns, size = stamps[-1]
    assert last_ns + size // 4 * S // 48_000 > got["until_ns"]
    assert got["flushed_ns"] - got["until_ns"] < 0.3 * S
    steps = [b[0] - a[0] - a[1] // 4 * S // 48_000 for a, b in zip(stamps, stamps[1:], strict=False)]
    assert all(abs(step) < 2_100_000 for step in steps) or got["counts"]
    assert not got["ends"] and got["close_s"] < 2.5


def test_a_microphone_by_name_with_constraints(pulse_microphone):
    wish = {"sample_rate": 16_000, "channel_count": 1, "sample_size": 32}
    with play_tone(pulse_microphone, 1000):
        got = capture(pulse_microphone, "mic:SPEAKER_mon", wish, seconds=0.8)
    assert got["label"] == "speaker_monitor"
    assert got["settings"] == {"sample_rate": 16_000, "channel_count": 1, "sample_format": "f32"}
    samples = base64.b64decode(got["samples"])[-4 * 8000 :]
    assert tone_frequency(samples, 16_000, sample_format="f32") == pytest.approx(1000, abs=5)


def test_what_is_wrong_with_a_microphone_is_said(pulse_microphone):
    got = capture(pulse_microphone, "mic:nowhere")
    assert got["error"] == "NotFoundError" and "speaker_monitor" in got["text"]


def test_a_sound_server_that_goes_ends_the_track(pulse_microphone):
    got = capture(pulse_microphone, seconds=8, kill=int(pulse_microphone["PULSE_PID"]))
    assert len(got["ends"]) == 1 and "NotReadableError" in got["ends"][0]
    assert got["close_s"] < 2.5


def nothing(directory):
    """The environment of a machine without sound: one device, which is not there."""
    (directory / "asound.conf").write_text("pcm.!default { type hw card 29 }\n")
    return {
        "ALSA_CONFIG_PATH": str(directory / "asound.conf"),
        "HOME": str(directory),
        "PULSE_SERVER": f"unix:{directory}/none",
    }


def test_without_any_microphone_it_is_not_found(tmp_path):
    got = capture(dict(os.environ) | nothing(tmp_path))
    assert got["error"] == "NotFoundError"


def test_the_devices_are_listed_by_a_helper(pulse_microphone, tmp_path):
    with xvfb() as display:
        command = [sys.executable, "-m", "recsvc.capture.devices"]
        done = subprocess.run(
            command,
            env=pulse_microphone | {"DISPLAY": display},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    assert done.stderr == ""
    devices = {device["device_id"]: device for device in json.loads(done.stdout)}
    microphone, screen = devices["mic:speaker_monitor"], devices[f"screen:{display}"]
    assert microphone["kind"] == "audioinput" and 48_000 in microphone["sample_rates"]
    assert microphone["channel_count"] >= 2 and microphone["label"] == "speaker_monitor"
    assert screen["kind"] == "videoinput" and screen["sizes"] == [[320, 240]]


def test_a_machine_with_nothing_has_no_devices(tmp_path, monkeypatch):
    from recsvc.caller.devices import enumerate_in_helper

    monkeypatch.delenv("DISPLAY", raising=False)
    for name, value in nothing(tmp_path).items():
        monkeypatch.setenv(name, value)
    assert [device for device in enumerate_in_helper() if device["kind"] == "audioinput"] == []
    # PortAudio aborts when the sound configuration is empty: the other devices are still listed.
    (tmp_path / "asound.conf").write_text("")
    with xvfb() as display:
        assert f"screen:{display}" in [device["device_id"] for device in enumerate_in_helper()]


def test_a_helper_that_hangs_is_given_up(monkeypatch):
    from recsvc.caller.devices import enumerate_in_helper
    from recsvc.errors import NotReadableError

    with pytest.raises(NotReadableError, match="took more than"):
        enumerate_in_helper(limit_ns=1_000_000)
