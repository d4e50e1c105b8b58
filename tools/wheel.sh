#!/bin/sh
# The manylinux wheel, with the codec libraries inside; after `tools/setup.sh wheel`.
#
#   tools/wheel.sh build            makes dist/recsvc-*.whl in a Debian 12, whose C library is older than those of what follows
#   tools/wheel.sh try SUITE...     installs it into a bare Debian of each suite and records 1 s with it
set -eu

cd "$(dirname "$0")/.."

say() { echo "recsvc: $*"; }
die() {
    echo "recsvc: error: $*" >&2
    exit 1
}

build() {
    root=build/debian/wheel
    log=build/wheel.log
    tools/debian.sh make $root bookworm \
        ca-certificates cmake dpkg-dev g++ gcc make nasm ninja-build pkg-config python3-dev python3-venv
    say "building the wheel in $root (log: $log)"
    # The files in the wheel are as old as the commit: a second build of it is the same, byte by byte.
    changed=$(git log -1 --format=%ct 2>/dev/null || date +%s)
    # What is built goes in and comes out through pipes: who calls this needs no rights in the root.
    tar -c --exclude=__pycache__ --exclude='*.so' \
        CMakeLists.txt README.md native pyproject.toml recsvc tools/wheel_inside.sh |
        tools/debian.sh run $root sh -euc 'rm -rf /source; mkdir /source; tar -x --no-same-owner -C /source'
    tools/debian.sh run $root env SOURCE_DATE_EPOCH="$changed" sh /source/tools/wheel_inside.sh 2>$log || {
        tail -n 30 $log >&2
        die "the build of the wheel failed (lines above; all of them: $log)"
    }
    mkdir -p dist
    rm -rf dist/recsvc-*.whl dist/sources
    tools/debian.sh run $root tar -c -C /wheel/dist . | tar -x --no-same-owner -C dist
    python3 tools/check_wheel.py --manylinux dist/recsvc-*.whl
    say "made $(ls dist/recsvc-*.whl)"
}

try() { # try SUITE...
    for suite in "$@"; do
        root=build/debian/$suite
        tools/debian.sh make "$root" "$suite" python3-venv
        say "$suite: installing the wheel into an empty virtual environment"
        (cd dist && tar -c recsvc-*.whl) |
            tools/debian.sh run "$root" sh -euc '
                rm -rf /try
                mkdir /try
                tar -x --no-same-owner -C /try
                python3 -m venv /try/venv
                /try/venv/bin/pip install -qq /try/*.whl
                chown nobody /try' || die "the installation in $suite failed (lines above)"
        say "$suite: recording 1 s, without a network, as a user who owns nothing else"
        tools/debian.sh run "$root" --offline setpriv --reuid=nobody --clear-groups env HOME=/try sh -euc '
            cd /try
            venv/bin/recsvc record --audio test: --video test: --duration 1 -o x.webm >&2
            venv/bin/recsvc record --audio test: --video test: --type "video/webm;codecs=vp9,opus" --duration 1 -o y.webm >&2
            if venv/bin/recsvc record --audio mic: --duration 1 -o mic.webm 2>mic.txt; then
                echo "a microphone without PortAudio was recorded" >&2
                exit 1
            fi
            cat mic.txt >&2
            grep -q libportaudio2 mic.txt
            tar -c x.webm y.webm' | tar -x --no-same-owner -C "build/debian" || die "the recording in $suite failed (lines above)"
        for recording in x:vp8 y:vp9; do
            python3 tools/check_wheel.py --recording "build/debian/${recording%:*}.webm" "${recording#*:}"
            rm "build/debian/${recording%:*}.webm"
        done
        say "$suite: the recordings are right"
    done
}

case ${1-} in
build | try) "$@" ;;
*) die "usage: tools/wheel.sh build | try SUITE..." ;;
esac
