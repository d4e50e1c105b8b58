#!/bin/sh
# Installs the recorders that `make bench-peers` compares recsvc with, on Debian or Ubuntu, after `tools/setup.sh test`.
#
# Only what is missing. What cannot be installed (browsers are snaps on Ubuntu) is left out with a line that says so;
# the benchmark skips it by name.
set -eu

cd "$(dirname "$0")/.."
packages='chromium firefox-esr ffmpeg pulseaudio gcc pkg-config libvpx-dev libopus-dev python3-gi
    gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0 gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base
    gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-tools
    pulseaudio-utils libasound2-plugins libportaudio2 xvfb x11-xserver-utils'

say() { echo "recsvc: $*"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        env "$@"
    else
        sudo env "$@"
    fi
}

apt() {
    as_root DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=300 "$@" >build/setup_peers.log 2>&1 </dev/null
}

mkdir -p build
missing=
for package in $packages; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
    say "installing system packages:$missing"
    apt update || true # the lists at hand may do
    for package in $missing; do
        apt install --no-install-recommends "$package" || say "could not install $package (build/setup_peers.log)"
    done
fi
.venv/bin/python -c 'import aiortc' 2>/dev/null || {
    say "installing aiortc into .venv"
    .venv/bin/python -m pip install -qq --disable-pip-version-check --no-input aiortc </dev/null || say "could not install aiortc"
}
