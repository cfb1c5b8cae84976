"""Writes resample.json: Pillow's Lanczos, bilinear and bicubic resampling of float values.

python resample.py OUT
"""

import json
import sys
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

FILTERS = {"lanczos": Image.LANCZOS, "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}

# [width, height] before and after: smaller, larger, one axis unchanged, nearly equal, a single pixel.
SIZES = [
    ([7, 5], [16, 16]),
    ([31, 17], [8, 8]),
    ([16, 16], [16, 5]),
    ([9, 20], [23, 20]),
    ([64, 3], [5, 7]),
    ([16, 16], [17, 15]),
    ([1, 1], [3, 2]),
    ([40, 40], [3, 3]),
]


def pattern(width, height):
    """The source image, [height, width]; resample.test.ts has the same formula."""
    i = np.arange(width * height)
    return ((i * 7919 + i * i * 31) % 1021 / 4).astype(np.float32).reshape(height, width)


def case(name, size, target):
    resized = Image.fromarray(pattern(*size), mode="F").resize(target, FILTERS[name])
    # Nine digits tell every float32 apart.
    values = [float(f"{value:.9g}") for value in np.asarray(resized).ravel()]
    return {"filter": name, "from": size, "to": target, "values": values}


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    cases = [case(name, size, target) for size, target in SIZES for name in FILTERS]
    golden = {"made_with": f"Pillow {PIL.__version__}", "cases": cases}
    (out / "resample.json").write_text(json.dumps(golden, separators=(",", ":")))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
