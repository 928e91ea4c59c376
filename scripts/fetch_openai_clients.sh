#!/usr/bin/env bash
# OpenAI's own clients, for tests/openai, which has the same versions: installs the Python
# and the JavaScript package `openai` (Apache-2.0) into a folder of the cache.
# Prints the folder; does nothing when they are there.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PYTHON_VERSION=3.57.0
# Version 7 needs Node.js 22, which few distributions have.
NODE_VERSION=6.30.1

TMP=
trap '[[ -z $TMP ]] || rm -rf "$TMP"' EXIT

main() {
    local target
    target=$(cache_dir)/openai-clients/$PYTHON_VERSION-$NODE_VERSION
    if [[ ! -d $target ]]; then
        TMP=$(temporary_dir "$(cache_dir)")
        find_pip "$TMP"
        say "fetching the Python client $PYTHON_VERSION with pip"
        "${PIP[@]}" install --quiet --disable-pip-version-check --root-user-action ignore --only-binary :all: \
            --target "$TMP/clients/python" "openai==$PYTHON_VERSION" </dev/null >&2 ||
            die "pip could not install openai $PYTHON_VERSION"
        command -v npm >/dev/null || apt_install nodejs npm || die "Node.js with npm is needed; install it"
        say "fetching the JavaScript client $NODE_VERSION with npm"
        mkdir -p "$TMP/clients/node"
        npm install --prefix "$TMP/clients/node" --cache "$TMP/npm" --no-audit --no-fund --silent \
            --ignore-scripts "openai@$NODE_VERSION" </dev/null >&2 ||
            die "npm could not install openai $NODE_VERSION"
        mkdir -p "${target%/*}"
        mv -T "$TMP/clients" "$target"
    fi
    printf '%s\n' "$target"
}

main "$@"
