#!/usr/bin/env bash
# `make gpu-check`: the one command for a machine with a real GPU. Runs every
# test and every benchmark on it and keeps the output in a file to send or file.
#
# Environment: ADAPTER (part of the adapter's name; default: the one that would
# be picked), REPORT (the file; default: gpu-check-<date>.txt).
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
require_rust

report=${REPORT:-gpu-check-$(date -u +%Y%m%dT%H%M%SZ).txt}

facts() {
    printf 'date    %s\nsystem  %s\nrust    %s\ncommit  %s\n' \
        "$(date -u +%FT%TZ)" "$(uname -srm)" "$(rustc -V)" \
        "$(git describe --always --dirty 2>/dev/null || echo unknown)"
    if command -v nvidia-smi >/dev/null; then
        nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || true
    fi
}

check() {
    local devices adapter rc=0
    facts
    cargo build --release --bin wginfer
    wginfer devices
    devices=$(wginfer devices --json)
    adapter=${ADAPTER:-$(picked name <<<"$devices")}
    [[ -n $adapter ]] || die "no hardware adapter here: $(picked why <<<"$devices")"
    # The tests fail unless this adapter takes part; the benchmarks use it. The
    # expectation is a list with commas, so it gets the name up to the first.
    export WGINFER_EXPECT_ADAPTERS=${adapter%%,*} WGPU_ADAPTER_NAME=$adapter
    say "adapter: $adapter"
    cargo test --release || rc=$?
    cargo bench || rc=$?
    ADAPTER=$adapter benches/peers/gpu.sh || rc=$?
    if [[ $rc -eq 0 ]]; then say "all passed"; else say "FAILED ($rc)"; fi
    return "$rc"
}

# The checks run in a process of their own, so that a failure stops them while
# `tee` still keeps everything they printed.
if [[ ${1:-} == --inner ]]; then
    check
    exit
fi
rc=0
"$BASH" scripts/gpu_check.sh --inner 2>&1 | tee "$report" || rc=$?
say "the report is in $report"
exit "$rc"
