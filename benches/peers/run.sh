#!/usr/bin/env bash
# `make bench-peers`: wginfer beside ONNX Runtime's WebGPU provider, burn and llama.cpp
# on the software adapters. What is installed goes to the user's cache; the tables go to
# the terminal and to a file.
#
# Environment: REPORT (the file; default: target/peers.md), ONLY (a part of the names of
# cases), ROUNDS, ADAPTERS (of "lavapipe swiftshader"), PEERS (of "ort burn llama").
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
require_rust

report=${REPORT:-target/peers.md}
adapters=${ADAPTERS:-lavapipe swiftshader}
peers=${PEERS:-ort burn llama}
cache=$(cache_dir)/peers
built=benches/peers/target/release
under=scripts/adapters.sh

wants() { [[ " $peers " == *" $1 "* ]]; }

install_peers() {
    cargo build --release --manifest-path benches/peers/Cargo.toml
    if wants ort; then
        [[ -x $cache/bin/pip ]] || python3 -m venv "$cache"
        "$cache/bin/pip" install --quiet -r benches/peers/requirements.txt
    fi
    if wants burn; then
        cargo build --release --manifest-path benches/peers/burn/Cargo.toml
    fi
    if wants llama; then
        if [[ ! -d $cache/node_modules/node-llama-cpp ]]; then
            command -v npm >/dev/null || die "npm is missing, which installs llama.cpp (or leave llama out of PEERS)"
            npm install --silent --ignore-scripts --prefix "$cache" node-llama-cpp@3.22.1 >/dev/null
        fi
    fi
}

# What the adapter's name contains.
title() { case $1 in swiftshader) echo SwiftShader ;; *) echo llvmpipe ;; esac; }

kernels() {
    local name=$1 given=()
    if wants ort; then given+=(--peer "ONNX Runtime=$under run $name $cache/bin/python benches/peers/ort.py"); fi
    if wants burn; then given+=(--peer "burn=$under run $name benches/peers/burn/target/release/wginfer-peer-burn"); fi
    benches/peers/compare.py --adapter "$name" --only "${ONLY:-}" --rounds "${ROUNDS:-15}" \
        --ours "$under run $name $built/ours $(title "$name")" "${given[@]}" --markdown "$report.part"
    cat "$report.part" >>"$report"
}

# llama.cpp's prebuilt Vulkan backend wants a newer Vulkan than SwiftShader has.
model() {
    local file node
    file=$(scripts/fetch_demo_model.sh)
    # What node-llama-cpp starts processes of its own with.
    node=$cache/node
    printf '#!/usr/bin/env bash\nexec %q run lavapipe %q "$@"\n' "$PWD/$under" "$(command -v node)" >"$node"
    chmod +x "$node"
    export PEER_NODE=$node
    benches/peers/compare.py --adapter "lavapipe, SmolLM2-135M-Instruct Q4_1" --only smollm2 --rounds "${MODEL_ROUNDS:-5}" \
        --ours "$under run lavapipe $built/smollm2 llvmpipe $file" \
        --peer "llama.cpp=$under run lavapipe $(command -v node) benches/peers/llama.mjs $cache $file" --markdown "$report.part"
    cat "$report.part" >>"$report"
}

install_peers
mkdir -p "$(dirname "$report")"
{
    printf 'Measured %s on %s, %s cores, %s, commit %s.\n\n' "$(date -u +%F)" \
        "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$(rustc -V)" \
        "$(git describe --always --dirty 2>/dev/null || echo unknown)"
} >"$report"
for name in $adapters; do kernels "$name"; done
if wants llama && [[ " $adapters " == *" lavapipe "* && ( -z ${ONLY:-} || smollm2 == *"$ONLY"* ) ]]; then model; fi
rm -f "$report.part"
say "the tables are in $report"
