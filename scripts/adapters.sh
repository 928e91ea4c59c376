#!/usr/bin/env bash
# Software Vulkan adapters: machines without a GPU run the same shaders on them.
#
# Nothing here is specific to one project: `scripts/adapters.sh run swiftshader
# PROGRAM` serves any program that uses Vulkan.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    cat <<'TEXT'
Usage: scripts/adapters.sh COMMAND

  install NAME...     install adapters (all of them: `all`); quick when there already
  env NAME            print shell code that selects an adapter: eval "$(... env NAME)"
  run NAME PROGRAM... run a program under an adapter
  check [NAME...]     say which adapters are installed and whether they answer
  source SUITE PACKAGE FOLDER  fetch the source of one of Debian's packages
  package SUITE PACKAGE FOLDER unpack one of Debian's packages

Names:
  swiftshader         SwiftShader, from Debian's Chromium
  lavapipe            a current Mesa lavapipe, from Debian testing (also lavapipe-modern)
  lavapipe-old        the distribution's own Mesa (Debian 12: 22.3)
  modern+swiftshader  lavapipe and swiftshader in one process

Environment:
  WGINFER_CACHE       where files are kept (default: ${XDG_CACHE_HOME:-~/.cache}/wginfer)
  WGINFER_MESA_DIR    the tree of the current Mesa (default: mesa-testing in the cache)
  WGINFER_DEBIAN_MIRROR  the Debian mirror (default: http://deb.debian.org/debian)

`lavapipe` comes with its own C library. `env` therefore sets cargo's target
runner, and `run` starts ELF programs through the tree's dynamic loader (but not
cargo, make and shells, which pass the runner on). The tree needs no root, no
chroot and no change to the system; only lavapipe-old installs system packages.
TEXT
}

ALL=(swiftshader lavapipe lavapipe-old modern+swiftshader)
TRIPLET="$(uname -m)-linux-gnu"
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
TMP=
trap '[[ -z $TMP ]] || rm -rf "$TMP"' EXIT

canonical() {
    case $1 in
    swiftshader | lavapipe | lavapipe-old | modern+swiftshader) printf '%s\n' "$1" ;;
    lavapipe-modern) printf 'lavapipe\n' ;;
    *) die "no adapter is named '$1'; the names are: ${ALL[*]}" ;;
    esac
}

# ---- where things are ----

mesa_dir() { printf '%s\n' "${WGINFER_MESA_DIR:-$(cache_dir)/mesa-testing}"; }
mesa_lib() { printf '%s/usr/lib/%s\n' "$(mesa_dir)" "$TRIPLET"; }
private_vulkan() { printf '%s/swiftshader\n' "$(cache_dir)"; }

# The first existing file among the arguments.
first_file() {
    local f
    for f in "$@"; do
        if [[ -e $f ]]; then
            printf '%s\n' "$f"
            return 0
        fi
    done
    return 1
}

mesa_loader() { first_file "$(mesa_lib)"/ld-linux*.so.*; }
mesa_complete() {
    [[ -e $(mesa_lib)/libvulkan_lvp.so && -e $(mesa_lib)/libvulkan.so.1 ]] &&
        mesa_loader >/dev/null
}
system_icd() { first_file /usr/share/vulkan/icd.d/lvp_icd*.json /etc/vulkan/icd.d/lvp_icd*.json; }
swiftshader_icd() {
    first_file /usr/lib/chromium/vk_swiftshader_icd.json \
        "$(private_vulkan)/vk_swiftshader_icd.json"
}
system_libvulkan() {
    first_file "/usr/lib/$TRIPLET/libvulkan.so.1" /usr/lib64/libvulkan.so.1 /usr/lib/libvulkan.so.1
}

# The driver manifest inside the tree names its library without a folder, which
# the loader would look up on the system. This writes one with the full path.
mesa_icd() {
    local lib dir file
    lib=$(mesa_lib)
    dir=$(cache_dir)/icd
    file=$dir/lavapipe-$(printf '%s' "$lib" | cksum | cut -d' ' -f1).json
    if [[ ! -e $file ]]; then
        mkdir -p "$dir"
        printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "%s", "api_version": "1.3.0"}}\n' \
            "$lib/libvulkan_lvp.so" >"$file.$$"
        mv -f "$file.$$" "$file"
    fi
    printf '%s\n' "$file"
}

installed() {
    case $1 in
    swiftshader) swiftshader_icd && { system_libvulkan || first_file "$(private_vulkan)/libvulkan.so.1"; } ;;
    lavapipe) mesa_complete ;;
    lavapipe-old) system_icd && system_libvulkan ;;
    modern+swiftshader) swiftshader_icd && mesa_complete ;;
    esac >/dev/null
}

# ---- getting them ----

by_hand() {
    cat >&2 <<TEXT
adapters.sh: $1
This script installs from Debian's archive with apt-get and dpkg-deb (Debian 12 or
later, Ubuntu 24.04 or later). Elsewhere install by hand:
  lavapipe     your distribution's Mesa Vulkan drivers (Fedora: mesa-vulkan-drivers,
               Arch: vulkan-swrast) and its Vulkan loader; then
               export VK_DRIVER_FILES=/usr/share/vulkan/icd.d/lvp_icd.*.json
  swiftshader  any Chromium or Chrome has libvk_swiftshader.so and
               vk_swiftshader_icd.json; export VK_DRIVER_FILES=<that .json>
TEXT
    exit 1
}

require_debian() {
    local tool
    [[ $(uname -s) == Linux ]] || by_hand "this is not Linux"
    for tool in apt-get apt-config dpkg-deb dpkg-query; do
        command -v "$tool" >/dev/null || by_hand "there is no $tool here"
    done
    # Ubuntu does not bring Debian's keys by itself.
    [[ -e $KEYRING ]] || apt_install debian-archive-keyring
    [[ -e $KEYRING ]] || by_hand "Debian's archive keys are not at $KEYRING"
}

# A second, private apt beside the system's: its own sources, lists and an
# empty list of installed packages. It runs without root and checks Debian's
# signatures. How to reach the network (proxies, certificates) is the system's.
# Arguments: the folder, the suites; KIND is deb or deb-src.
private_apt() {
    local dir=$1 suite url kind=${KIND:-deb} mirror=${WGINFER_DEBIAN_MIRROR:-http://deb.debian.org/debian}
    shift
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" "$dir/log"
    : >"$dir/status"
    for suite in "$@"; do
        url=$mirror
        [[ $suite != *-security ]] || url=$mirror-security
        printf '%s [signed-by=%s] %s %s main\n' "$kind" "$KEYRING" "$url" "$suite"
    done >"$dir/sources.list"
    cat >"$dir/apt.conf" <<TEXT
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "$dir/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "$dir";
Dir::State::status "$dir/status";
Dir::State::lists "$dir/lists";
Dir::Cache "$dir/cache";
Dir::Log "$dir/log";
APT::Architecture "$(dpkg --print-architecture)";
APT::Install-Recommends "false";
APT::Sandbox::User "";
TEXT
    apt-config dump Acquire >>"$dir/apt.conf"
    # Mirrors that lag behind are good enough here; signatures are still required.
    printf '%s\n' 'Acquire::Check-Valid-Until "false";' 'Acquire::Retries "3";' \
        'Acquire::Languages "none";' \
        'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";' >>"$dir/apt.conf"
    APT_CONFIG=$dir/apt.conf apt-get -q -o APT::Update::Error-Mode=any update </dev/null >"$dir/log/update" 2>&1 || {
        cat "$dir/log/update" >&2
        die "the Debian archive at $mirror cannot be used"
    }
}

# The upstream source of a package, unpacked: the archive that Debian has of it.
fetch_source() {
    local suite=$1 package=$2 dest archive
    dest=$(realpath -m "$3")
    [[ ! -e $dest ]] || return 0
    require_debian
    TMP=$(temporary_dir "$(dirname "$dest")")
    KIND=deb-src private_apt "$TMP/apt" "$suite"
    (cd "$TMP" && APT_CONFIG=$TMP/apt/apt.conf apt-get -q source --download-only "$package" </dev/null >"$TMP/log" 2>&1) || {
        cat "$TMP/log" >&2
        die "the source of $package is not to be had from Debian's $suite"
    }
    archive=$(first_file "$TMP/${package}"_*.orig.tar.*[!c]) || die "no archive came with the source of $package"
    mkdir "$TMP/tree"
    tar -xf "$archive" -C "$TMP/tree" --strip-components 1 || die "cannot unpack $archive"
    put_in_place "$TMP/tree" "$dest"
    rm -rf "$TMP"
    TMP=
}

# One of Debian's packages, unpacked, without those it depends on.
fetch_package() {
    local suite=$1 package=$2 dest archive
    dest=$(realpath -m "$3")
    [[ ! -e $dest ]] || return 0
    require_debian
    TMP=$(temporary_dir "$(dirname "$dest")")
    private_apt "$TMP/apt" "$suite"
    (cd "$TMP" && APT_CONFIG=$TMP/apt/apt.conf apt-get -q download "$package" </dev/null >"$TMP/log" 2>&1) || {
        cat "$TMP/log" >&2
        die "$package is not to be had from Debian's $suite"
    }
    archive=$(first_file "$TMP/${package}"_*.deb) || die "no archive came with $package"
    mkdir "$TMP/tree"
    dpkg-deb -x "$archive" "$TMP/tree" || die "cannot unpack $archive"
    put_in_place "$TMP/tree" "$dest"
    rm -rf "$TMP"
    TMP=
}

# Finished folders are renamed into place: no half-finished tree is ever seen.
put_in_place() {
    mkdir -p "$(dirname "$2")"
    mv -T "$1" "$2" || die "cannot create $2"
}

# Installations wait for each other; the lock ends with this process.
one_at_a_time() {
    local dir
    command -v flock >/dev/null || return 0
    dir=$(cache_dir)
    mkdir -p "$dir"
    exec 9>"$dir/.lock"
    flock 9
}

install_lavapipe() {
    if mesa_complete; then return 0; fi
    local dest deb
    dest=$(mesa_dir)
    [[ $dest != *[[:space:]]* ]] ||
        die "cargo's runner cannot name a path with spaces: '$dest'; set WGINFER_MESA_DIR"
    if [[ -e $dest ]]; then
        [[ -z ${WGINFER_MESA_DIR:-} ]] || die "$dest is there but holds no complete Mesa; remove it"
        rm -rf "$dest"
    fi
    require_debian
    say "fetching a current Mesa from Debian testing (65 MB) into $dest"
    TMP=$(temporary_dir "$(dirname "$dest")")
    private_apt "$TMP/apt" testing
    APT_CONFIG=$TMP/apt/apt.conf apt-get -q -y --download-only install \
        mesa-vulkan-drivers libvulkan1 </dev/null >"$TMP/log" 2>&1 || {
        cat "$TMP/log" >&2
        die "downloading Mesa failed"
    }
    mkdir "$TMP/tree"
    for deb in "$TMP"/apt/cache/archives/*.deb; do
        dpkg-deb -x "$deb" "$TMP/tree"
    done
    rm -rf "$TMP/tree/usr/share/doc" "$TMP/tree/usr/share/locale" "$TMP/tree/usr/share/man"
    chmod 755 "$TMP/tree"
    put_in_place "$TMP/tree" "$dest"
    rm -rf "$TMP"
    TMP=
    mesa_complete || die "Debian testing's Mesa is not laid out as expected in $dest"
}

install_swiftshader() {
    if installed swiftshader; then return 0; fi
    local dest pkg
    dest=$(private_vulkan)
    require_debian
    say "fetching SwiftShader from Debian's Chromium (30 MB) into $dest"
    TMP=$(temporary_dir "$(cache_dir)")
    # The security suite has the current Chromium; the main one always has some.
    private_apt "$TMP/apt" bookworm bookworm-security
    for pkg in chromium-common libvulkan1; do
        (cd "$TMP" && APT_CONFIG=$TMP/apt/apt.conf apt-get -q download "$pkg" </dev/null >&2) ||
            die "downloading $pkg failed"
        dpkg-deb -x "$TMP/$pkg"_*.deb "$TMP/x"
    done
    mkdir "$TMP/out"
    cp "$TMP"/x/usr/lib/chromium/{libvk_swiftshader.so,vk_swiftshader_icd.json} "$TMP/out" ||
        die "Debian's chromium-common no longer holds SwiftShader"
    cp "$TMP/x/usr/lib/$TRIPLET/libvulkan.so.1" "$TMP/out"
    chmod 755 "$TMP/out"
    rm -rf "$dest"
    put_in_place "$TMP/out" "$dest"
    rm -rf "$TMP"
    TMP=
}

install_lavapipe_old() {
    if installed lavapipe-old; then return 0; fi
    require_debian
    apt_install mesa-vulkan-drivers libvulkan1 ||
        die "lavapipe-old needs the system packages mesa-vulkan-drivers and libvulkan1"
    installed lavapipe-old || die "mesa-vulkan-drivers brings no lavapipe on this system"
}

install_one() {
    case $1 in
    swiftshader) install_swiftshader ;;
    lavapipe) install_lavapipe ;;
    lavapipe-old) install_lavapipe_old ;;
    modern+swiftshader)
        install_lavapipe
        install_swiftshader
        ;;
    esac
    verify "$1"
}

# ---- using them ----

# The prefix that starts a program with the tree's C library.
loader_prefix() {
    printf '%s --library-path %s:/usr/lib/%s:/lib/%s\n' \
        "$(mesa_loader)" "$(mesa_lib)" "$TRIPLET" "$TRIPLET"
}

runner_variable() {
    local host
    host=$(rustc -vV 2>/dev/null | sed -n 's/^host: //p') || true
    host=${host:-$(uname -m)-unknown-linux-gnu}
    host=${host//-/_}
    printf 'CARGO_TARGET_%s_RUNNER\n' "${host^^}"
}

# Prints shell code. Names used by nothing but one adapter are cleared by the
# others, so that selections can follow one another in one shell.
print_env() {
    local name=$1 files expect runner='' library=''
    installed "$name" || die "$name is not installed: $0 install $name"
    case $name in
    swiftshader)
        files=$(swiftshader_icd)
        expect=SwiftShader
        system_libvulkan >/dev/null || library=$(private_vulkan)
        ;;
    lavapipe-old)
        files=$(system_icd)
        expect=llvmpipe
        ;;
    lavapipe)
        files=$(mesa_icd)
        expect=llvmpipe
        runner=$(loader_prefix)
        ;;
    modern+swiftshader)
        files=$(mesa_icd):$(swiftshader_icd)
        expect=llvmpipe,SwiftShader
        runner=$(loader_prefix)
        ;;
    esac
    # The second name is what older Vulkan loaders read.
    printf 'export VK_DRIVER_FILES=%q\nexport VK_ICD_FILENAMES=%q\n' "$files" "$files"
    # Tests fail where an adapter that holds one of these is missing.
    printf 'export WGINFER_EXPECT_ADAPTERS=%s\n' "$expect"
    if [[ -n $library ]]; then
        # shellcheck disable=SC2016 # expanded by the shell that evaluates it
        printf 'export LD_LIBRARY_PATH=%q${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}\n' "$library"
    fi
    if [[ -n $runner ]]; then
        # The second name is for tests that start the command themselves.
        printf 'export %s=%q\nexport WGINFER_RUNNER=%q\n' "$(runner_variable)" "$runner" "$runner"
    else
        printf 'unset %s WGINFER_RUNNER\n' "$(runner_variable)"
    fi
}

# Programs that start others and must keep the system's C library.
passes_runner_on() {
    case ${1##*/} in
    cargo | cargo-* | rustup | rustc | make | env | time | timeout | sudo | *sh) return 0 ;;
    *) return 1 ;;
    esac
}

is_elf() { [[ $(head -c 4 "$1" | tr -d '\0') == $'\x7fELF' ]]; }

run_under() {
    local name=$1 program path prefix code
    shift
    program=$1
    path=$(command -v "$program") || die "there is no program '$program'"
    # Taken in two steps: a failure inside `eval "$(...)"` would go unnoticed.
    code=$(print_env "$name")
    eval "$code"
    case $name in
    lavapipe | modern+swiftshader)
        if ! passes_runner_on "$program" && is_elf "$path"; then
            shift
            read -r -a prefix <<<"$(loader_prefix)"
            exec "${prefix[@]}" "$path" "$@"
        fi
        ;;
    esac
    exec "$@"
}

# ---- checking ----

# The probe's path; fails without a C compiler (Rust's linker usually is one).
probe() {
    local source=$HERE/vulkan_probe.c file
    file=$(cache_dir)/bin/vulkan_probe
    if [[ ! $file -nt $source ]]; then
        command -v cc >/dev/null || return 1
        mkdir -p "${file%/*}"
        cc -O1 -o "$file.$$" "$source" -ldl && mv -f "$file.$$" "$file" || return 1
    fi
    printf '%s\n' "$file"
}

# Fails unless the adapter answers with every device it stands for.
verify() {
    local name=$1 program found expect want
    if ! program=$(probe); then
        say "$name is installed (not tried: no C compiler to build the probe with)"
        return 0
    fi
    found=$("$BASH" "${BASH_SOURCE[0]}" run "$name" "$program" 2>&1) ||
        die "$name is installed but no Vulkan device answers: $found"
    expect=$(print_env "$name" | sed -n 's/^export WGINFER_EXPECT_ADAPTERS=//p')
    for want in ${expect//,/ }; do
        [[ $found == *"$want"* ]] || die "$name is installed but '$want' does not answer: $found"
    done
    say "$name: ${found//$'\n'/, }"
}

check() {
    local name bad=0
    for name in "$@"; do
        if installed "$name"; then
            (verify "$name") || bad=1
        else
            say "$name: not installed"
            bad=1
        fi
    done
    return $bad
}

main() {
    local command=${1:-} name names=()
    [[ $# -eq 0 ]] || shift
    case $command in
    install | check)
        for name in "$@"; do
            if [[ $name == all ]]; then names+=("${ALL[@]}"); else names+=("$(canonical "$name")"); fi
        done
        if [[ $command == check ]]; then
            [[ ${#names[@]} -gt 0 ]] || names=("${ALL[@]}")
            check "${names[@]}"
        else
            [[ ${#names[@]} -gt 0 ]] || die "install which of: ${ALL[*]}, all?"
            one_at_a_time
            for name in "${names[@]}"; do install_one "$name"; done
        fi
        ;;
    env)
        [[ $# -eq 1 ]] || die "usage: $0 env NAME"
        name=$(canonical "$1")
        print_env "$name"
        ;;
    run)
        [[ $# -ge 2 ]] || die "usage: $0 run NAME PROGRAM [ARGUMENT...]"
        name=$(canonical "$1")
        shift
        run_under "$name" "$@"
        ;;
    source)
        [[ $# -eq 3 ]] || die "usage: $0 source SUITE PACKAGE FOLDER"
        one_at_a_time
        fetch_source "$@"
        ;;
    package)
        [[ $# -eq 3 ]] || die "usage: $0 package SUITE PACKAGE FOLDER"
        one_at_a_time
        fetch_package "$@"
        ;;
    -h | --help | help) usage ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
}

main "$@"
