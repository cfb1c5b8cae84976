"""Writes fidelity.json: scores that compare depth maps, computed with numpy.

    python fidelity.py OUT

An implementation of its own of what docs/depth.md says about scores: least squares by numpy's solver, correlation by
numpy, edges by convolution with Sobel's kernels, tolerance by shifting. Resizing is Pillow's on floats. Each case compares
the map of an example with a changed map of the same or another example.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

IMAGES = Path(__file__).resolve().parents[2] / "examples/images"

# What is compared: the map, the estimate's map, the estimate's size, its power, and its factor and offset.
CASES = [
    {"map": "cube", "estimate": "cube", "size": [256, 256], "power": 1, "factor": 3, "offset": -5},
    {"map": "cube", "estimate": "cube", "size": [256, 256], "power": 0.5, "factor": 1, "offset": 0},
    {"map": "sculpture", "estimate": "sculpture", "size": [64, 48], "power": 1.5, "factor": 40, "offset": 2},
    {"map": "room", "estimate": "mountains", "size": [256, 256], "power": 1, "factor": 1, "offset": 0},
    {"map": "shapes", "estimate": "portrait", "size": [97, 61], "power": 2, "factor": 0.01, "offset": 1},
    {"map": "portrait", "estimate": "portrait", "size": [256, 256], "power": 1, "factor": -1, "offset": 1},
]
SIDE, FARTHEST, SLOPE, TOLERANCE = 256, 0.1, 0.03, 3


def read(name):
    return np.asarray(Image.open(IMAGES / f"{name}_depth.png").convert("L")).astype(np.float32) / np.float32(255)


def resized(values, width, height):
    return np.asarray(Image.fromarray(values.astype(np.float32), mode="F").resize((width, height), Image.BILINEAR))


def edges(values):
    """Where Sobel's gradient exceeds the slope."""
    padded = np.pad(values, 1, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    kernel = np.outer([1, 2, 1], [-1, 0, 1]) / 8
    across, down = (np.einsum("yxij,ij->yx", windows, k) for k in (kernel, kernel.T))
    return np.sqrt(across**2 + down**2) > SLOPE


def near(marks):
    """Where there is a mark within the tolerance."""
    padded = np.pad(marks, TOLERANCE)
    return np.lib.stride_tricks.sliding_window_view(padded, (2 * TOLERANCE + 1,) * 2).any(axis=(2, 3))


def scores(map, estimate, width, height):
    scale = SIDE / max(width, height)
    size = (round(width * scale), round(height * scale))
    expected = resized(map, *size).astype(np.float64)
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    found = resized(estimate, *size).astype(np.float64)
    correlation = np.corrcoef(found.ravel(), expected.ravel())[0, 1]
    columns = np.stack([found.ravel(), np.ones(found.size)], axis=1)
    (factor, offset), *_ = np.linalg.lstsq(columns, expected.ravel(), rcond=None)
    # Near and far must not change places.
    fitted = found * factor + offset if factor > 0 else np.full_like(found, expected.mean())
    distances, estimated = (1 / np.maximum(values, FARTHEST) for values in (expected, fitted))
    own, theirs = edges(expected), edges(fitted)
    if own.any() and theirs.any():
        precision, recall = near(own)[theirs].mean(), near(theirs)[own].mean()
        f1 = 0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)
    else:
        f1 = float(own.any() == theirs.any())
    return {
        "rmse": 255 * float(np.sqrt(np.mean((expected - fitted) ** 2))),
        "correlation": float(correlation),
        "absRel": float(np.mean(np.abs(estimated - distances) / distances)),
        "edgeF1": float(f1),
    }


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    cases = []
    for case in CASES:
        map = read(case["map"])
        estimate = resized(read(case["estimate"]), *case["size"]) ** np.float32(case["power"])
        estimate = (estimate * np.float32(case["factor"]) + np.float32(case["offset"])).astype(np.float32)
        cases.append(case | {"scores": scores(map, estimate, map.shape[1], map.shape[0])})
    golden = {"made_with": f"numpy {np.__version__}", "cases": cases}
    (out / "fidelity.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
