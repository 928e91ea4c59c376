#!/usr/bin/env bash
# ONNX's own node tests, for tests/onnx_nodes: installs the Python package `onnx`
# into a folder of the cache and has scripts/export_onnx_nodes.py write its cases
# there. Prints the folder of the cases; does nothing when they are there.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

VERSION=1.23.2
# Raised when the exporter writes something else.
EXPORT=3

TMP=
trap '[[ -z $TMP ]] || rm -rf "$TMP"' EXIT

main() {
    local target
    target=$(cache_dir)/onnx-nodes/$VERSION-$EXPORT
    if [[ ! -f $target/cases.json ]]; then
        TMP=$(temporary_dir "$(cache_dir)")
        find_pip "$TMP"
        say "fetching onnx $VERSION with pip"
        "${PIP[@]}" install --quiet --disable-pip-version-check --root-user-action ignore --only-binary :all: \
            --target "$TMP/python" "onnx==$VERSION" </dev/null >&2 ||
            die "pip could not install onnx $VERSION"
        PYTHONPATH=$TMP/python python3 "$HERE/export_onnx_nodes.py" "$TMP/cases" >&2
        mkdir -p "${target%/*}"
        rm -rf "$target"
        mv -T "$TMP/cases" "$target"
    fi
    printf '%s\n' "$target"
}

main "$@"
