#!/usr/bin/env bash
# Fetches what examples/ocr and the tests of real models read: text detection,
# direction and recognition out of the Python package `rapidocr` (ONNX, 32 MB,
# Apache-2.0), and a scanned page out of `scikit-image` (BSD-3-Clause). Nothing of
# the packages is installed or run. Prints the folder; does nothing when they are
# there.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

TMP=
trap '[[ -z $TMP ]] || rm -rf "$TMP"' EXIT

folder=$(cache_dir)/models/ocr
wheel_files "$folder" rapidocr 3.10.0 \
    PP-OCRv6_det_small.onnx=090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f \
    PP-OCRv6_rec_small.onnx=6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884 \
    ch_ppocr_mobile_v2.0_cls_mobile.onnx=e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c
# The picture is the same in the wheels of all platforms; one is named, so that any
# Python will do.
WHEEL=(--platform manylinux_2_28_x86_64 --python-version 3.11)
wheel_files "$folder" scikit-image 0.26.0 page.png=341a6f0a61557662b02734a9b6e56ec33a915b2c41886b97509dedf2a43b47a3
printf '%s\n' "$folder"
