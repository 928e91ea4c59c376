#!/usr/bin/env bash
# Has OpenAI's own clients, in Python and JavaScript, talk to `wginfer serve` with
# the demonstration model on the CPU, then stops the server and looks at how it
# ends. Options are passed on to cargo: scripts/check_openai_clients.sh --release
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

TMP=
SERVER=
finish() {
    [[ -z $SERVER ]] || kill "$SERVER" 2>/dev/null || true
    [[ -z $TMP ]] || rm -rf "$TMP"
}
trap finish EXIT

# Waits for the server to say where it is.
address() {
    local i
    for ((i = 0; i < 600; i++)); do
        sed -n 's/^Serving .* at \(http:.*\)$/\1/p' "$TMP/log" | grep . && return 0
        kill -0 "$SERVER" 2>/dev/null || break
        sleep 0.1
    done
    cat "$TMP/log" >&2
    die "the server did not start"
}

main() {
    local clients model url status=0
    require_rust
    clients=$("$HERE/fetch_openai_clients.sh")
    model=$("$HERE/fetch_demo_model.sh")
    TMP=$(temporary_dir "$(cache_dir)")
    cargo build --quiet --bin wginfer "$@"
    # What cargo would start, so that it is the server itself that is stopped.
    local binary
    binary=$(cargo build --quiet --bin wginfer --message-format json "$@" |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
    WGINFER_API_KEY=secret "$binary" serve "$model" --adapter cpu --port 0 --name demo \
        --context 1024 2>"$TMP/log" &
    SERVER=$!
    url=$(address)
    export OPENAI_BASE_URL=$url/v1 OPENAI_API_KEY=secret
    PYTHONPATH=$clients/python python3 "$HERE/openai/client.py"
    cp "$HERE/openai/client.mjs" "$TMP/client.mjs"
    ln -s "$clients/node/node_modules" "$TMP/node_modules"
    node "$TMP/client.mjs"
    kill -TERM "$SERVER"
    wait "$SERVER" || status=$?
    SERVER=
    [[ $status -eq 0 ]] || die "the server ended with $status after SIGTERM"
    grep -q '^stopped$' "$TMP/log" || die "the server did not end as it should"
    say "the Python and the JavaScript client were answered"
}

main "$@"
