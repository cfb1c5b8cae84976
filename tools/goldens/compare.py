"""Compares regenerated golden files with the committed ones and prints the largest deviation of each tensor and image.

    python compare.py OUT

Tensors are compared by the norm of the difference over the norm of the committed tensor, images by the largest
difference of a byte, other files byte by byte. Exits with 1 if a tensor deviates by more than 2e-5, an image by more
than 1, another file at all, or if OUT holds no golden file.
"""

import filecmp
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

PACKAGES = Path(__file__).resolve().parents[2] / "packages"
GOLDEN = [PACKAGES / "mflux-depth/test/golden", PACKAGES / "mlx/test/golden"]


def tensors(new, committed):
    """The name and deviation of each tensor that is not equal."""
    new, committed = load_file(new), load_file(committed)
    if new.keys() != committed.keys():
        yield f"names {sorted(new.keys() ^ committed.keys())}", float("inf")
    for key in new.keys() & committed.keys():
        if new[key].shape != committed[key].shape or new[key].dtype != committed[key].dtype:
            yield key, float("inf")
        elif not torch.equal(new[key], committed[key]):
            difference = (new[key].double() - committed[key].double()).norm()
            yield key, float(difference / committed[key].double().norm())


def deviations(new, committed):
    """What deviates in a file: a name, by how much, and how much is expected."""
    if filecmp.cmp(new, committed, shallow=False):
        return
    if new.suffix == ".safetensors":
        for key, deviation in tensors(new, committed):
            # The image of a pipeline is bytes, a few of which round to a neighbour.
            yield key, deviation, 2e-4 if key == "image" else 2e-5
    elif new.suffix == ".png":
        a, b = (np.asarray(Image.open(path)).astype(int) for path in (new, committed))
        yield "pixels", float(np.abs(a - b).max()) if a.shape == b.shape else float("inf"), 1
    else:
        yield "bytes", float("inf"), 0


def main(out):
    compared, failed = 0, False
    for golden in GOLDEN:
        for committed in sorted(path for path in golden.rglob("*") if path.is_file()):
            name = committed.relative_to(golden)
            if not (out / name).exists():
                print(name, "not made")
                continue
            compared += 1
            differences = list(deviations(out / name, committed))
            print(name, "deviates:" if differences else "equal")
            for key, deviation, limit in differences:
                print(f"  {key}: {deviation:.1e}")
                failed |= deviation > limit
    return failed or compared == 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
