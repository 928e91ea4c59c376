#!/usr/bin/env bash
# `make demo`: builds the command, fetches a small language model and lets it
# answer a question on the best adapter of this machine. Without a hardware
# adapter it installs a software one; without that it says that the CPU is used.
#
# Environment: ADAPTER (as for `--adapter`), MODEL (a GGUF file), PROMPT, TOKENS.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
require_rust

model=${MODEL:-}
prompt=${PROMPT:-In one sentence, what is a graphics processor good at?}
adapter=${ADAPTER:-}

say "building (the first time takes some minutes)"
cargo build --release --bin wginfer >&2
if [[ -z $model ]]; then
    model=$(scripts/fetch_demo_model.sh)
fi

under=()
if [[ -z $adapter ]]; then
    devices=$(wginfer devices --json) || die "wginfer devices failed"
    adapter=$(picked name <<<"$devices")
    if [[ -n $adapter ]]; then
        say "adapter: $(picked why <<<"$devices")"
    elif [[ $(picked backend <<<"$devices") != cpu ]]; then
        die "$(picked why <<<"$devices")"
    elif scripts/adapters.sh install lavapipe; then
        say "no hardware adapter here: using the software adapter lavapipe"
        under=(scripts/adapters.sh run lavapipe)
        adapter=llvmpipe
    elif scripts/adapters.sh install swiftshader; then
        say "no hardware adapter here: using the software adapter SwiftShader"
        under=(scripts/adapters.sh run swiftshader)
        adapter=SwiftShader
    else
        say "no hardware adapter here and no software adapter: using the CPU backend"
        adapter=cpu
    fi
fi

printf '> %s\n' "$prompt"
${under[@]+"${under[@]}"} cargo run --release --quiet --bin wginfer -- \
    generate "$model" --adapter "$adapter" --prompt "$prompt" --max-tokens "${TOKENS:-48}"
