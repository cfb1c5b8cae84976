"""Writes depth_pro_fov/golden.safetensors: depth and field of view that transformers predicts with a random Depth Pro.

    python depth_pro_fov.py OUT

The weights and the inputs are those of the committed folder; they were drawn at random once.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import DepthProForDepthEstimation

FOLDER = Path(__file__).resolve().parents[2] / "packages/mflux-depth/test/golden/depth_pro_fov"


def main(out):
    torch.set_grad_enabled(False)
    model = DepthProForDepthEstimation.from_pretrained(FOLDER, torch_dtype=torch.float32).eval()
    committed = load_file(FOLDER / "golden.safetensors")
    golden = {}
    for n in (0, 1):
        golden[f"pixels_{n}"] = committed[f"pixels_{n}"]
        prediction = model(committed[f"pixels_{n}"])
        golden[f"fov_{n}"] = prediction.field_of_view
        if f"depth_{n}" in committed:
            golden[f"depth_{n}"] = prediction.predicted_depth
    (out / "depth_pro_fov").mkdir(parents=True, exist_ok=True)
    save_file({key: tensor.contiguous() for key, tensor in golden.items()}, out / "depth_pro_fov/golden.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
