#!/usr/bin/env bash
# `make driver-compilers`: what the compilers of real GPUs' drivers make of the shaders,
# on a machine without such a GPU.
#
#   scripts/driver_compilers.sh [GPU...]     (default: navi31 navi21 ampere ada)
#
# Mesa's drivers for AMD's devices (RADV) and NVIDIA's (NVK) come with the current
# lavapipe. What they ask the kernel for is answered by Mesa's "drm-shim", a library that
# is loaded before them and does nothing: it is built from the source of Debian 13's
# Mesa with a few of its files and a C compiler. Shaders are compiled, and none is run.
#
# GPUs: navi31, navi21, navi10, vega10, polaris10, gfx1150 (AMD; names of drm-shim);
# turing, ampere, ada, or a chipset's number in hexadecimal (NVIDIA).
#
# Environment: VARIANT (part of a variant's name), PARTS (words that a shader's
# description contains, or after `!` does not), LOGS (where figures are kept; default:
# target/compilers), FULL (not empty: there too, all that the driver writes, which for
# NVIDIA's is the code of each shader: some ten thousand lines for one).
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$HERE/lib.sh"
cd "$HERE/.."
require_rust

TMP=
trap '[[ -z $TMP ]] || rm -rf "$TMP"' EXIT
cache=$(realpath -m "$(cache_dir)")
source=$cache/mesa-source
shims=$cache/drm-shim
libs=${WGINFER_MESA_DIR:-$cache/mesa-testing}/usr/lib/$(uname -m)-linux-gnu

# Builds the two libraries: drm-shim itself, what it uses of Mesa's utilities, and the
# answers for one kernel driver each.
build_shims() {
    if [[ -e $shims/amdgpu.so && -e $shims/nouveau.so ]]; then return 0; fi
    apt_install gcc libc6-dev libdrm-dev zlib1g-dev pkg-config bison flex python3 python3-venv ||
        die "a C compiler and the headers of libdrm are needed"
    scripts/adapters.sh source trixie mesa "$source"
    TMP=$(temporary_dir "$cache")
    say "building drm-shim"
    python3 -m venv "$TMP/venv"
    "$TMP/venv/bin/pip" --quiet --disable-pip-version-check install meson ninja mako packaging pyyaml setuptools
    PATH=$TMP/venv/bin:$PATH
    local log=$TMP/log off=(-Dvulkan-drivers= -Dgallium-drivers= -Dplatforms= -Dvideo-codecs=
        -Dglx=disabled -Degl=disabled -Dgbm=disabled -Dllvm=disabled -Dopengl=false
        -Dgles1=disabled -Dgles2=disabled -Dzstd=disabled)
    meson setup "$TMP/build" "$source" -Dtools=drm-shim -Dbuildtype=release "${off[@]}" >"$log" 2>&1 &&
        ninja -C "$TMP/build" src/drm-shim/libdrm_shim.a src/util/libmesa_util.a \
            src/util/libmesa_util_sse41.a src/c11/impl/libmesa_util_c11.a \
            src/util/blake3/libblake3.a src/util/libxmlconfig.a src/util/libparson.a >>"$log" 2>&1 || {
        tail -30 "$log" >&2
        die "drm-shim could not be built"
    }
    # The answers are those of an older kernel than the current RADV wants.
    sed 's/version_minor = [0-9]*;/version_minor = 61;/' \
        "$source/src/amd/drm-shim/amdgpu_noop_drm_shim.c" >"$source/src/amd/drm-shim/amdgpu_newer.c"
    mkdir -p "$TMP/out"
    shim amdgpu amd -Iamd/common amd/drm-shim/amdgpu_newer.c amd/drm-shim/amdgpu_devices.c
    shim nouveau nouveau nouveau/drm-shim/nouveau_noop.c
    rm -rf "$shims"
    mv -T "$TMP/out" "$shims"
    rm -rf "$TMP"
    TMP=
}

# Links one of them: NAME FOLDER ARGUMENT...
shim() {
    local name=$1 folder=$2 archives flags
    shift 2
    mapfile -t archives < <(find "$TMP/build/src" -name '*.a')
    read -r -a flags <<<"$(pkg-config --cflags libdrm)"
    (cd "$source/src" && gcc -O1 -fPIC -shared -fvisibility=hidden -D_GNU_SOURCE -DHAVE_PTHREAD \
        -DUSE_GCC_ATOMIC_BUILTINS -DHAVE_ENDIAN_H -DHAVE_STRUCT_TIMESPEC -DUTIL_ARCH_LITTLE_ENDIAN=1 \
        -DUTIL_ARCH_BIG_ENDIAN=0 -DHAVE___BUILTIN_UNREACHABLE -I../include -I. -I"$TMP/build/src" \
        "${flags[@]}" -I"$folder" -o "$TMP/out/$name.so" "$@" \
        -Wl,--start-group "${archives[@]}" -Wl,--end-group -lm -ldl -lz -lpthread) ||
        die "the answers for $name could not be built"
}

manifest() {
    local file=$cache/icd/$1.json
    mkdir -p "${file%/*}"
    printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "%s", "api_version": "1.3.0"}}\n' \
        "$libs/libvulkan_$1.so" >"$file"
    printf '%s\n' "$file"
}

# Of each variant the most that any of its shaders takes, from what RADV or NVK wrote.
table() {
    awk '
        /^COMPILES / { name = $2; shaders[name]++; next }
        { value = $NF + 0; what = "" }
        /^VGPRs: |^Num GPRs: / { what = "registers" }
        /^Spilled VGPRs: |^Spills to mem: / { what = "spills" }
        /^Scratch size: |^SLM size: / { what = "scratch" }
        /^LDS size: / { what = "shared" }
        /^Subgroups per SIMD: |^Max warps\/SM: / { what = "resident" }
        /^Instructions: |^Instruction count: / { what = "instructions" }
        what == "" || name == "" { next }
        what == "resident" { if (!((name, what) in of) || value < of[name, what]) of[name, what] = value; next }
        value > of[name, what] { of[name, what] = value }
        END {
            printf "%-34s %7s %9s %6s %7s %8s %12s\n", "variant", "shaders", "registers", "spills", "scratch", "resident", "instructions"
            for (name in shaders)
                printf "%-34s %7d %9d %6d %7d %8d %12d\n", name, shaders[name], of[name, "registers"], \
                    of[name, "spills"], of[name, "scratch"], of[name, "resident"], of[name, "instructions"] | "sort"
        }' "$1"
}

compile() {
    local gpu=$1 log=$logs/$1.log full=/dev/null name driver
    local -a settings parts
    case $gpu in
    turing | ampere | ada | [0-9]*)
        driver=nouveau name=NVK
        local -A chips=([turing]=162 [ampere]=172 [ada]=192)
        settings=("NOUVEAU_CHIPSET=${chips[$gpu]:-$gpu}" NAK_DEBUG=print NVK_I_WANT_A_BROKEN_VULKAN_DRIVER=1)
        ;;
    *)
        driver=radeon name=RADV
        settings=("AMDGPU_GPU_ID=$gpu" RADV_DEBUG=shaderstats,nocache)
        ;;
    esac
    local shim=$shims/amdgpu.so
    [[ $driver == radeon ]] || shim=$shims/nouveau.so
    read -r -a parts <<<"${PARTS:-}"
    [[ -z ${FULL:-} ]] || full=$logs/$gpu.full
    say "$gpu"
    env VK_DRIVER_FILES="$(manifest "$driver")" MESA_SHADER_CACHE_DISABLE=true "${settings[@]}" \
        "$libs"/ld-linux*.so.* --preload "$shim" --library-path "$libs:/usr/lib/$(uname -m)-linux-gnu:/lib/$(uname -m)-linux-gnu" \
        "$program" "$name" "${VARIANT:-}" ${parts[@]+"${parts[@]}"} 2>&1 |
        tee "$full" >(tail -n 20 >"$log.end") |
        grep -aE '^(COMPIL|FAILED|LACKS|[0-9]+ shaders|VGPRs|Num GPRs|Spill|Scratch|SLM|LDS|Subgroups per|Max warps|Instruction)' >"$log" ||
        true
    table "$log"
    grep -a '^FAILED' "$log" || true
    if ! grep -aE '^[0-9]+ shaders' "$log"; then
        cat "$log.end" >&2
        say "$gpu: no device opened, or the driver ended the process"
        return 1
    fi
    # None at all is no success either: nothing has such a name.
    grep -qa '^COMPILED' "$log" && ! grep -qa '^FAILED' "$log"
}

scripts/adapters.sh install lavapipe
build_shims
logs=${LOGS:-target/compilers}
mkdir -p "$logs"
cargo build --example pipelines
program=${CARGO_TARGET_DIR:-target}/debug/examples/pipelines
[[ $# -gt 0 ]] || set -- navi31 navi21 ampere ada
rc=0
for gpu in "$@"; do compile "$gpu" || rc=1; done
exit $rc
