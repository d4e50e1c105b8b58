#!/bin/sh
# A small Debian in a directory: the wheel is built in one and tried in others.
#
#   tools/debian.sh make DIRECTORY SUITE PACKAGE...            bootstraps it, unless it is there with these packages
#   tools/debian.sh run DIRECTORY [--offline] COMMAND...       runs a command in it, as root; --offline: without a network
#   tools/debian.sh remove DIRECTORY
#
# Everything `run` mounts and starts is gone when it returns: it has namespaces of its own. Needs root, or sudo.
set -eu

mirror=http://deb.debian.org

say() { echo "recsvc: $*"; }
die() {
    echo "recsvc: error: $*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

make() { # make DIRECTORY SUITE PACKAGE...
    directory=$1
    suite=$2
    shift 2
    contents="$suite $*"
    [ "$(cat "$directory/contents" 2>/dev/null || true)" != "$contents" ] || return 0
    say "bootstrapping Debian $suite in $directory"
    remove "$directory"
    mkdir -p "$(dirname "$directory")"
    packages=$(echo "$*" | tr ' ' ,)
    as_root mmdebstrap --quiet --variant=minbase --include="$packages" "$suite" "$directory" \
        "deb $mirror/debian $suite main" "deb $mirror/debian-security $suite-security main" \
        "deb-src $mirror/debian $suite main" "deb-src $mirror/debian-security $suite-security main" ||
        die "mmdebstrap could not bootstrap $suite (lines above; is the network up?)"
    # Last, so that a bootstrap that was interrupted is done again.
    echo "$contents" | as_root tee "$directory/contents" >/dev/null
}

run() { # run DIRECTORY [--offline] COMMAND...
    directory=$1
    shift
    network=
    if [ "$1" = --offline ]; then
        network=--net
        shift
    fi
    # The machine's certificates and proxies count inside too: without them pip may not reach its index.
    as_root env http_proxy="${http_proxy-}" https_proxy="${https_proxy-}" PIP_INDEX_URL="${PIP_INDEX_URL-}" \
        unshare --mount --pid --fork --kill-child $network sh -euc '
        directory=$1
        shift
        mount -t proc proc "$directory/proc"
        mount --rbind /dev "$directory/dev"
        mount -t tmpfs tmpfs "$directory/dev/shm"
        mount -t tmpfs tmpfs "$directory/tmp"
        cat /etc/resolv.conf >"$directory/etc/resolv.conf"
        certificates=
        if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
            certificates=/tmp/certificates.crt
            cat /etc/ssl/certs/ca-certificates.crt >"$directory/$certificates"
        fi
        exec chroot "$directory" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
            ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
            ${PIP_INDEX_URL:+PIP_INDEX_URL="$PIP_INDEX_URL"} ${certificates:+PIP_CERT="$certificates"} \
            PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore "$@"' sh "$directory" "$@"
}

remove() { # remove DIRECTORY
    [ ! -e "$1" ] || as_root rm -rf --one-file-system "$1"
}

what=${1-}
case $what in
make | run | remove) ;;
*) die "usage: tools/debian.sh make DIRECTORY SUITE PACKAGE... | run DIRECTORY [--offline] COMMAND... | remove DIRECTORY" ;;
esac
shift
"$what" "$@"
