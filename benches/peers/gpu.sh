#!/usr/bin/env bash
# `make bench-gpu`: wginfer on this machine's GPU beside the GPU's own limits, the
# vendor's library through PyTorch (where a Python has it) and burn. The table goes to
# the terminal and to a file.
#
# Environment: ADAPTER (part of the adapter's name; default: the one that would be
# picked; `lavapipe` or `swiftshader` is a rehearsal in small sizes on the one that
# `make adapters` installs, and so is any other software adapter), SIZE (large or
# small), PYTHON (the one that has PyTorch; default: python3), PEERS (of "torch burn"),
# ONLY (a part of the names of cases), ROUNDS, REPORT (the file; default:
# target/gpu.md).
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
require_rust

report=${REPORT:-target/gpu.md}
python=${PYTHON:-python3}
peers=${PEERS:-torch burn}
built=benches/peers/target/release

wants() { [[ " $peers " == *" $1 "* ]]; }

# The first adapter with a name: `gpu`, or `cpu` if it runs there, or nothing; devices on
# stdin.
kind_of() {
    python3 -c 'import json, sys
name = sys.argv[1].lower()
found = [a["software"] for a in json.load(sys.stdin)["adapters"] if name in a["name"].lower()]
print({(): "", (False,): "gpu", (True,): "cpu"}[tuple(found[:1])])' "$1"
}

command -v python3 >/dev/null || die "python3 is missing, which makes the tables"
cargo build --release --bin wginfer
cargo build --release --manifest-path benches/peers/Cargo.toml
under=
adapter=${ADAPTER:-}
case $adapter in
lavapipe) under="scripts/adapters.sh run lavapipe" adapter=llvmpipe ;;
swiftshader) under="scripts/adapters.sh run swiftshader" adapter=SwiftShader ;;
esac
# shellcheck disable=SC2086 # words, or nothing
devices=$($under target/release/wginfer devices --json)
adapter=${adapter:-$(picked name <<<"$devices")}
[[ -n $adapter ]] || die "no hardware adapter here: $(picked why <<<"$devices")"
kind=$(kind_of "$adapter" <<<"$devices")
[[ -n $kind ]] || die "no adapter's name contains '$adapter'"
size=${SIZE:-large}
if [[ $kind == cpu ]]; then
    size=${SIZE:-small}
    say "$adapter is no GPU: a rehearsal, $size"
fi

given=()
if wants torch; then
    if "$python" -c 'import torch' 2>/dev/null; then
        given+=(--peer "PyTorch=$python benches/peers/vendor.py")
    else
        say "$python has no PyTorch: no comparison with the vendor's library (PYTHON=)"
    fi
fi
if wants burn; then
    if cargo build --release --manifest-path benches/peers/burn/Cargo.toml; then
        given+=(--peer "burn=$under benches/peers/burn/target/release/wginfer-peer-burn")
    else
        say "burn could not be built: no comparison with it"
    fi
fi

mkdir -p "$(dirname "$report")"
export WGINFER_BENCH_LARGE=$size
[[ $size == small ]] || export WGINFER_BENCH_LARGE=1
benches/peers/gpu.py --size "$size" --only "${ONLY:-}" --rounds "${ROUNDS:-9}" \
    --ours "$under $built/ours $(printf %q "$adapter")" --decode "$under $built/decode $(printf %q "$adapter") $size" \
    "${given[@]}" --markdown "$report.part"
{
    printf 'Measured %s on %s cores, %s, commit %s.\n\n' "$(date -u +%F)" "$(nproc)" "$(rustc -V)" \
        "$(git describe --always --dirty 2>/dev/null || echo unknown)"
    cat "$report.part"
} >"$report"
rm -f "$report.part"
say "the table is in $report"
