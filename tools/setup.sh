#!/bin/sh
# Sets up recsvc on Debian or Ubuntu: system packages, .venv, the core and the Python package.
#
#   tools/setup.sh run     what recording needs
#   tools/setup.sh test    the same, and what the tests need
#   tools/setup.sh clients what recording needs, and what the clients in Node.js and C need
#   tools/setup.sh wheel   the system packages that building the manylinux wheel needs, nothing else
#
# Only what is missing or out of date is done, so a second call takes a fraction of a second.
# PYTHON=/path/to/python3 chooses the interpreter of a new .venv.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
stamp=.venv/.recsvc-setup # "run FINGERPRINT" or "test FINGERPRINT"; "incomplete" in place of a broken one

say() { echo "recsvc: $*"; }
die() {
    echo "recsvc: error: $*" >&2
    exit 1
}

# ---- system packages ------------------------------------------------------------------------------

as_root() {
    if [ "$(id -u)" = 0 ]; then
        env "$@"
    elif [ -t 0 ]; then
        sudo env "$@"
    else
        sudo -n env "$@" # without a terminal nobody can type a password
    fi
}

apt() {
    as_root DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
        apt-get -y -q -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

may_install() {
    command -v apt-get >/dev/null || die "apt-get is not here; install by other means: $*"
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
        die "not root and no sudo; run as root: apt-get install $*"
    if [ "$(id -u)" != 0 ] && [ ! -t 0 ]; then
        sudo -n true 2>/dev/null || die "sudo wants a password and there is no terminal; run as root: apt-get install $*"
    elif [ "$(id -u)" != 0 ]; then
        sudo -v || die "sudo refused; run as root: apt-get install $*"
    fi
}

# install PACKAGE...: returns 1, with the end of apt's output shown, when apt cannot install them.
install() {
    log=$(mktemp)
    if [ -z "${updated-}" ]; then
        # A failed update is not yet an error: the lists at hand may do.
        apt update >"$log" 2>&1 || true
        updated=1
    fi
    if apt install --no-install-recommends "$@" >>"$log" 2>&1; then
        rm -f "$log"
        return 0
    fi
    grep -E '^(E|W|Err|dpkg)' "$log" | tail -n 12 >&2 || true
    rm -f "$log"
    return 1
}

need() { # need PACKAGE...
    say "installing system packages: $*"
    may_install "$@"
    install "$@" || die "apt-get could not install them (lines above; is the network up?): $*"
}

system_packages() {
    command -v dpkg-query >/dev/null || die "this is neither Debian nor Ubuntu; install what tools/packages lists"
    wanted=$(awk -v what="$1" '!/^#/ && NF && ($2 == what || $2 == "run" && what != "wheel") { print $1 }' tools/packages)
    # One call answers for all packages; those it does not know are missing too.
    have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null | sed -n 's/^installed //p') || true
    missing=
    for package in $wanted; do
        printf '%s\n' "$have" | grep -Fqx "$package" || missing="$missing $package"
    done
    [ -z "$missing" ] || need $missing
}

# Browsers are apart: Ubuntu's packages of them only fetch snaps, which containers cannot run. The tests
# that play recordings in a browser are skipped without it. Each is tried once per .venv.
starts() { # starts PROGRAM...: one of them does
    for program in "$@"; do
        [ -n "$program" ] && timeout 20 "$program" --version >/dev/null 2>&1 && return 0
    done
    return 1
}

browser() { # browser NAME "PACKAGE..." PROGRAM...: the first package that can be installed
    browser=$1
    packages=$2
    shift 2
    if [ -e ".venv/.recsvc-$browser" ] || starts "$@"; then
        return 0
    fi
    for package in $packages; do
        say "installing the system package $package"
        may_install "$package"
        install "$package" && break
    done
    starts "$@" || say "no working $browser from apt (on Ubuntu it is a snap): the tests in it are skipped"
    : >".venv/.recsvc-$browser"
}

browsers() {
    browser chromium "chromium chromium-browser" "${RECSVC_CHROMIUM-}" chromium chromium-browser google-chrome
    browser firefox firefox-esr "${RECSVC_FIREFOX-}" firefox-esr firefox # Ubuntu's package firefox would be a snap
}

# So are the tools of other languages, for the tests of the clients in them; those without are skipped as well.
node_works() {
    command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' 2>/dev/null
}

c_libraries() {
    pkg-config --exists libzmq && { pkg-config --exists msgpack-c || pkg-config --exists msgpack; }
}

other_languages() {
    if ! c_libraries && [ ! -e .venv/.recsvc-c ]; then
        for package in libzmq3-dev libmsgpack-dev libmsgpack-c-dev; do
            c_libraries && break
            say "installing the system package $package"
            may_install "$package"
            install "$package" || true
        done
        c_libraries || say "no libzmq and msgpack-c from apt: the test of the client in C is skipped"
        : >.venv/.recsvc-c
    fi
    if ! node_works && [ ! -e .venv/.recsvc-node ]; then
        say "installing the system packages nodejs npm"
        may_install nodejs npm
        install nodejs npm || true
        node_works || say "no Node.js of version 18 from apt: the tests of the clients in it are skipped"
        : >.venv/.recsvc-node
    fi
    lock=examples/node/package-lock.json
    if node_works && ! cmp -s "$lock" examples/node/node_modules/.recsvc-lock; then
        say "installing the packages of examples/node"
        if (cd examples/node && npm ci --no-audit --no-fund --silent </dev/null); then
            cp "$lock" examples/node/node_modules/.recsvc-lock
        else
            say "npm could not install them (lines above): the tests of the clients in Node.js are skipped"
        fi
    fi
}

# ---- Python ---------------------------------------------------------------------------------------

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

choose_python() {
    if [ -n "${PYTHON-}" ]; then
        new_enough "$PYTHON" || die "PYTHON=$PYTHON is not a Python of version 3.11 or newer"
        python=$PYTHON
        return
    fi
    for python in python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$python" >/dev/null && new_enough "$python"; then
            return
        fi
    done
    die "Python 3.11 or newer is needed, python3 is $(python3 -V 2>&1 || true); set PYTHON=/path/to/python3"
}

# The distribution's own Python leaves the headers and venv to packages; any other brings them along.
python_packages() {
    facts=$("$1" -c '
import importlib.util, os, sys, sysconfig
print("python%d.%d" % sys.version_info[:2])
print("system" if sys.base_prefix == "/usr" else "other")
print(int(os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))))
print(int(importlib.util.find_spec("ensurepip") is not None))')
    set -- $facts
    missing=
    [ "$3" = 1 ] || missing="$missing $1-dev"
    [ "$4" = 1 ] || missing="$missing $1-venv"
    [ -n "$missing" ] || return 0
    [ "$2" = system ] || die "$python lacks its headers or ensurepip; choose another with PYTHON=/path/to/python3"
    need $missing
}

# Everything an installation depends on: this place, the interpreter, the sources of the core, the names of the modules.
# (Python files are run from the tree, and `make ctest` builds the C tests.)
fingerprint() {
    {
        pwd
        .venv/bin/python -VV
        find native CMakeLists.txt pyproject.toml -type f ! -path 'native/tests/*' ! -name '*.pyc' \
            -exec sha256sum {} + | LC_ALL=C sort -k 2
        find recsvc -name '*.py' | LC_ALL=C sort
    } | sha256sum | cut -d ' ' -f 1
}

virtual_environment() {
    # The scripts of a .venv copied from elsewhere would run the other tree.
    if [ -e .venv/.recsvc-root ] && [ "$(cat .venv/.recsvc-root)" = "$root" ] && .venv/bin/python -c 'import pip' 2>/dev/null; then
        return 0
    fi
    choose_python
    python_packages "$python"
    say "creating .venv with $("$python" -V)"
    "$python" -m venv --clear .venv || die "$python -m venv failed (lines above)"
    echo "$root" >.venv/.recsvc-root
}

package() {
    now=$(fingerprint)
    before=$(cat "$stamp" 2>/dev/null || true)
    what=$1
    case $before in
    "test $now" | "$what $now") return 0 ;;
    test\ *) what=test ;; # keep the tools of the tests up to date as well
    esac
    extra=
    [ "$what" = run ] || extra='[dev]'
    say "building the core and installing recsvc$extra into .venv"
    echo "$what incomplete" >"$stamp"
    .venv/bin/python -m pip install -qq --disable-pip-version-check --no-input -e ".$extra" </dev/null ||
        die "pip could not build or install recsvc (lines above)"
    echo "$what $now" >"$stamp"
}

# ---- the steps ------------------------------------------------------------------------------------

case ${1-} in
run | test | clients | wheel) ;;
*) die "usage: tools/setup.sh run|test|clients|wheel" ;;
esac
system_packages "$1"
[ "$1" != wheel ] || exit 0
virtual_environment
case $1 in
clients) package run ;;
*) package "$1" ;;
esac
case $1 in
test)
    browsers
    other_languages
    ;;
clients)
    rm -f .venv/.recsvc-c .venv/.recsvc-node # what could not be had before is tried again
    other_languages
    c_libraries || die "the client in C needs libzmq and msgpack-c (lines above)"
    node_works || die "the client in Node.js needs Node.js 18 or newer, and npm (lines above)"
    [ -e examples/node/node_modules/.recsvc-lock ] || die "npm could not install what the client in Node.js needs"
    ;;
esac
