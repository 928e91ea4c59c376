#!/usr/bin/env python3
"""Writes tests/data/ocr: what ONNX Runtime and the Python package `rapidocr` make
of the page that scripts/fetch_ocr_models.sh fetches.

    pip install rapidocr==3.10.0 onnxruntime==1.32.0 pillow
    scripts/make_ocr_fixtures.py "$(scripts/fetch_ocr_models.sh)"
"""

import json
import logging
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

DATA = Path(__file__).resolve().parent.parent / "tests/data/ocr"
# Model, and the part of the page it sees: left, top, width, height.
CASES = {
    "PP-OCRv6_det_small": (0, 40, 128, 96),
    "ch_ppocr_mobile_v2.0_cls_mobile": (0, 40, 192, 48),
    "PP-OCRv6_rec_small": (0, 40, 160, 48),
}
# Of the scores of a character so many are kept, the largest.
KEPT = 8


def picture(page, box):
    left, top, width, height = box
    part = page.crop((left, top, left + width, top + height))
    bgr = np.asarray(part)[:, :, ::-1].astype(np.float32) / np.float32(127.5) - np.float32(1)
    return np.ascontiguousarray(bgr.transpose(2, 0, 1)[None])


def run(path, values):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: values})[0]


def expected(output):
    """All values, or of many classes the likeliest and their places."""
    if output.ndim < 3 or output.shape[-1] < 1000:
        return {"extents": output.shape, "values": [float(f"{v:.8g}") for v in output.ravel()]}
    rows = output.reshape(-1, output.shape[-1])
    places = np.argsort(-rows, axis=1, kind="stable")[:, :KEPT]
    values = np.take_along_axis(rows, places, axis=1)
    return {"extents": output.shape, "places": places.ravel().tolist(),
            "values": [float(f"{v:.8g}") for v in values.ravel()]}


def main():
    folder = Path(sys.argv[1])
    page = Image.open(folder / "page.png").convert("RGB")
    DATA.mkdir(parents=True, exist_ok=True)
    cases = []
    for name, box in CASES.items():
        output = run(folder / f"{name}.onnx", picture(page, box))
        cases.append({"model": name, "box": box} | expected(output))
    (DATA / "models.json").write_text(json.dumps(cases) + "\n")

    from rapidocr import RapidOCR

    logging.disable(logging.CRITICAL)
    lines = RapidOCR()(str(folder / "page.png")).txts
    (DATA / "page.rapidocr.txt").write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()
