#!/usr/bin/env bash
# `make bounds`: whether any kernel reads or writes outside of its buffers, on lavapipe.
#
#   scripts/bounds.sh [PART...]     (a part of the names of trials; default: all of lavapipe)
#
# Shaders for GPUs whose indices follow from the sizes of tiles are compiled without
# WebGPU's checks (`ShaderRequest::in_bounds`). Here the conformance suite runs under
# Vulkan's validation layer, which watches each access (GPU-AV), on a device opened
# without robust buffer access, as the layer is silent where the driver confines shaders
# to their buffers. Where it is said to be, naga leaves out its checks of buffers, so all
# shaders are watched and not those alone. Arrays in workgroup memory are not watched.
#
# Environment: WGINFER_TEST_QUICK (default 1: a few shapes of each family), LOGS (where
# what was found is kept; default: target/bounds).
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$HERE/lib.sh"
cd "$HERE/.."
require_rust
command -v cc >/dev/null || die "a C compiler is needed"

cache=$(realpath -m "$(cache_dir)")
layer=$cache/validation-layer
logs=$(realpath -m "${LOGS:-target/bounds}")
libs=${WGINFER_MESA_DIR:-$cache/mesa-testing}/usr/lib/$(uname -m)-linux-gnu
export WGINFER_TEST_QUICK=${WGINFER_TEST_QUICK:-1}

scripts/adapters.sh install lavapipe
scripts/adapters.sh package testing vulkan-validationlayers "$layer"
mkdir -p "$logs/loader" "$logs/layers"
cc -shared -fPIC -O1 -o "$logs/loader/libvulkan.so.1" scripts/vulkan_unchecked.c -ldl
library=$(find "$layer" -name libVkLayer_khronos_validation.so)
[[ -n $library ]] || die "Debian's vulkan-validationlayers is not laid out as expected in $layer"
sed "s#\"library_path\": *\"[^\"]*\"#\"library_path\": \"$library\"#" \
    "$layer"/usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json \
    >"$logs/layers/VkLayer_khronos_validation.json"

environment=$(scripts/adapters.sh env lavapipe)
eval "$environment"
runner=$(sed -n 's/^export \(CARGO_TARGET_[A-Z0-9_]*_RUNNER\)=.*/\1/p' <<<"$environment")
export "$runner=${!runner/--library-path /--library-path $logs/loader:}"
export REAL_VULKAN=$libs/libvulkan.so.1 VK_LAYER_PATH=$logs/layers
export VK_INSTANCE_LAYERS=VK_LAYER_KHRONOS_validation VK_LAYER_SETTINGS_PATH=$logs/settings.txt

# Runs trials; what the layer says goes to a file. Arguments: that file, parts of names.
watched() {
    local found=$1
    shift
    rm -f "$found"
    cat >"$logs/settings.txt" <<TEXT
khronos_validation.validate_core = false
khronos_validation.gpuav_enable = true
khronos_validation.debug_action = VK_DBG_LAYER_ACTION_LOG_MSG
khronos_validation.report_flags = error,info
khronos_validation.log_filename = $found
khronos_validation.enable_message_limit = true
khronos_validation.duplicate_message_limit = 1000
TEXT
    cargo test --quiet --test conformance -- "$@" >"$logs/trials.txt" 2>&1 || {
        tail -40 "$logs/trials.txt" >&2
        die "trials failed"
    }
    grep -q "^test result: ok. [1-9]" "$logs/trials.txt" || die "no trial is named '$*'"
    grep -q "GPU-AV" "$found" || die "the layer did not watch: see $found"
}

count() { grep -c "access out of bounds" "$1" || true; }

# What cannot fail shows nothing: a shader that writes far behind its buffer is found.
rm -rf "$logs/wrong"
cp -r shaders "$logs/wrong"
sed -i 's#^        @else y\[at\] = y\[at\] / sum;#&\n        if j == 0u { y[at + 100000u] = 1.0; }#' "$logs/wrong/softmax/serial.wgsl"
cmp -s shaders/softmax/serial.wgsl "$logs/wrong/softmax/serial.wgsl" && die "no shader was made wrong"
WGINFER_SHADERS=$logs/wrong watched "$logs/wrong.txt" lavapipe+softmax/serial
[[ $(count "$logs/wrong.txt") -gt 0 ]] || die "a shader that writes out of bounds was not found"

[[ $# -gt 0 ]] || set -- lavapipe
all=0
for part in "$@"; do
    found=$logs/${part//[^a-z0-9_]/-}.txt
    watched "$found" "$part"
    number=$(count "$found")
    say "$part: $(grep '^test result' "$logs/trials.txt" | sed 's/;.*//'), $number accesses out of bounds"
    all=$((all + number))
done
[[ $all -eq 0 ]] || die "accesses out of bounds, in $logs"
