#!/usr/bin/env bash
# Tries the committed state on a bare Debian 12: a chroot with a C compiler and
# this machine's Rust toolchain (read-only), a fresh clone, no terminal. Needs
# root. Usage: scripts/fresh_clone_check.sh [COMMAND]
# (default: bash .ci/run && make demo)
#
# Environment: WGINFER_FRESH_TARGET=DIR starts from a copy of that target folder,
# which saves the building of dependencies.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

TMP=
CHILD=
# The mounts end with their namespace; --one-file-system guards the host anyway.
cleanup() {
    if [[ -n $CHILD ]]; then
        kill "$CHILD" 2>/dev/null || true
        wait "$CHILD" || true
    fi
    [[ -z $TMP ]] || rm -rf --one-file-system "$TMP"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# Builds the bare system once; every check works on a copy of it.
bare_system() {
    local base=$1 work
    [[ ! -d $base ]] || return 0
    apt_install debootstrap
    work=$(temporary_dir "$(cache_dir)")
    TMP=$work
    say "building a bare Debian 12 (the first time only)"
    debootstrap --variant=minbase --include=gcc,libc6-dev,git,ca-certificates \
        bookworm "$work/root" "${WGINFER_DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$work/log" 2>&1 || {
        tail -n 20 "$work/log" >&2
        die "debootstrap failed"
    }
    # How to reach the network is the host's matter.
    apt-config dump Acquire >"$work/root/etc/apt/apt.conf.d/99host"
    chmod 755 "$work/root"
    mkdir -p "$(dirname "$base")"
    mv -T "$work/root" "$base"
    rm -rf "$work"
    TMP=
}

# Runs inside its own mount and process namespace. Arguments: root, toolchain,
# command.
inside() {
    local root=$1 rust=$2 command=$3 keep=(HOME=/root CI=true PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin) v
    mount --make-rprivate /
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mkdir -p "$root/opt/rust"
    mount --bind "$rust" "$root/opt/rust"
    mount -o remount,bind,ro "$root/opt/rust"
    mount --bind /etc/ssl/certs "$root/etc/ssl/certs"
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    for v in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY \
        SSL_CERT_FILE PIP_INDEX_URL PIP_CERT WGINFER_DEBIAN_MIRROR; do
        [[ -z ${!v:-} ]] || keep+=("$v=${!v}")
    done
    exec chroot "$root" /usr/bin/env -i "${keep[@]}" \
        bash -c "cd /src && $command" </dev/null
}

if [[ ${1:-} == --inside ]]; then
    trap - EXIT
    shift
    inside "$@"
fi

[[ $(id -u) -eq 0 ]] || die "a chroot needs root"
require_rust
base=$(cache_dir)/fresh-clone/bookworm
rust=$(rustc --print sysroot)
commit=$(git rev-parse HEAD)
[[ -z $(git status --porcelain) ]] || say "note: only what is committed is checked"
bare_system "$base"
TMP=$(temporary_dir "$(cache_dir)")
cp -a --reflink=auto "$base" "$TMP/root"
git clone --quiet --no-hardlinks . "$TMP/root/src"
git -C "$TMP/root/src" checkout --quiet "$commit"
if [[ -n ${WGINFER_FRESH_TARGET:-} ]]; then
    cp -a --reflink=auto "$WGINFER_FRESH_TARGET" "$TMP/root/src/target"
fi
say "checking $commit"
unshare --mount --pid --fork --kill-child scripts/fresh_clone_check.sh --inside \
    "$TMP/root" "$rust" "${1:-bash .ci/run && make demo}" &
CHILD=$!
rc=0
wait "$CHILD" || rc=$?
CHILD=
[[ $rc -eq 0 ]] || die "FAILED ($rc)"
say "passed"
