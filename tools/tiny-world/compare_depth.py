"""Compares the bundled depth estimators on renders that no training sees: RMSE on 0 to 255, and Pearson's correlation.

    python compare_depth.py SCENES [FOLDER ...]

FOLDER is an estimator; by default both bundled ones. Scale and shift of each prediction are fitted to the exact depth
(least squares), as `mflux-depth score` does. The input is the render at half its size.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from render import sample
from transformers import AutoModelForDepthEstimation

MODELS = Path(__file__).resolve().parents[2] / "packages/mflux-depth/models"
BUNDLED = [MODELS / "tiny-world/depth_pro", MODELS / "tiny-depth-anything"]
SIDE = 256


def scores(prediction, depth):
    """RMSE and correlation of a prediction, fitted to a depth map in 0..1. Its scale is never negative."""
    centred, wanted = prediction - prediction.mean(), depth - depth.mean()
    scale = max(0, (centred * wanted).sum() / max((centred**2).sum(), 1e-12))
    rmse = 255 * np.sqrt(((scale * centred - wanted) ** 2).mean())
    return rmse, (centred * wanted).sum() / max(np.sqrt((centred**2).sum() * (wanted**2).sum()), 1e-12)


@torch.no_grad()
def predicted(model, image):
    """The prediction for an image of bytes, at its size."""
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    inputs = F.interpolate(pixels, scale_factor=0.5, mode="bilinear") * 2 - 1
    depth = model(inputs).predicted_depth[:, None]
    return F.interpolate(depth, size=(SIDE, SIDE), mode="bilinear")[0, 0].double().numpy()


def main(count, folders):
    models = [AutoModelForDepthEstimation.from_pretrained(folder, dtype=torch.float32).eval() for folder in folders]
    found = []
    for seed in range(count):
        depth, [(image, _)] = sample(seed, 1, SIDE)
        found.append([scores(predicted(model, image), depth / 255.0) for model in models])
    found = np.array(found)
    for i, folder in enumerate(folders):
        rmse, correlation = found[:, i].mean(axis=0)
        better = (found[:, i, 0] <= found[:, :, 0].min(axis=1)).sum()
        print(f"{folder}: RMSE {rmse:.1f}, correlation {correlation:.3f}, the best on {better} of {count} scenes")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:] or BUNDLED)
