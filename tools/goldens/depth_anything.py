"""Writes depth_anything/: depth that transformers predicts with a small random Depth Anything V2; and
tiny_depth_anything.safetensors: depth_0, that of the bundled one for the first photo.

    python depth_anything.py OUT

The random weights are those of the committed folder; they were drawn once, in the layout of
depth-anything/Depth-Anything-V2-Small-hf. Photos are resized by Pillow on float values, clamped and not rounded, where
transformers' own image processor rounds to bytes.

golden.safetensors: pixels_N (normalized, [1, 3, height, width]) and depth_N for two photos, one of which is not square;
pixels_native and depth_native at the size that the position embeddings were trained for; depth_518 of the first photo at
the real model's size; metric_0, metres by the same weights as a metric model. depth_N.png: the depth map at the photo's
size.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import DepthAnythingForDepthEstimation
from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "packages/mflux-depth/test/golden/depth_anything"
BUNDLED = ROOT / "packages/mflux-depth/models/tiny-depth-anything"
PHOTOS = ["astronaut.jpg", "coffee.jpg"]
MAX_DEPTH = 20


def resized(values, width, height, resample):
    """Resizes float values by Pillow, channel by channel: [height, width, channels]."""
    channels = [Image.fromarray(channel, mode="F").resize((width, height), resample) for channel in np.moveaxis(values, 2, 0)]
    return np.stack([np.asarray(channel) for channel in channels], axis=2)


def pixels(photo, width, height, preprocessor):
    values = np.clip(resized(np.asarray(photo).astype(np.float32), width, height, Image.BICUBIC), 0, 255) / 255
    normalized = (values - np.float32(preprocessor["image_mean"])) / np.float32(preprocessor["image_std"])
    return torch.from_numpy(normalized.astype(np.float32)).permute(2, 0, 1)[None].contiguous()


def depth_map(depth, size):
    """Near is white: stretched over its range, then resized."""
    unit = (depth - depth.min()) / (depth.max() - depth.min())
    values = resized(unit[0].numpy()[..., None], *size, Image.BILINEAR)[..., 0]
    return Image.fromarray((values.clip(0, 1) * 255).round().astype(np.uint8))


def load(folder, **options):
    return DepthAnythingForDepthEstimation.from_pretrained(folder, torch_dtype=torch.float32, **options).eval()


def preprocessor_of(folder):
    return json.loads((folder / "preprocessor_config.json").read_text())


def write_bundled(out, photo):
    preprocessor = preprocessor_of(BUNDLED)
    width, height = preprocessor["size"]["width"], preprocessor["size"]["height"]
    depth = load(BUNDLED)(pixels(photo, width, height, preprocessor)).predicted_depth
    save_file({"depth_0": depth.contiguous()}, out / "tiny_depth_anything.safetensors")


def main(out):
    torch.set_grad_enabled(False)
    out.mkdir(parents=True, exist_ok=True)
    write_bundled(out, Image.open(ROOT / "examples/images" / PHOTOS[0]).convert("RGB"))
    out = out / "depth_anything"
    out.mkdir(exist_ok=True)
    model = load(FOLDER)
    preprocessor = preprocessor_of(FOLDER)
    processor = DPTImageProcessorPil(**{key: value for key, value in preprocessor.items() if key != "image_processor_type"})
    golden = {}
    photos = [Image.open(ROOT / "examples/images" / name).convert("RGB") for name in PHOTOS]
    for n, photo in enumerate(photos):
        # The size that transformers chooses; the values are ours.
        height, width = processor(photo, return_tensors="pt").pixel_values.shape[2:]
        golden[f"pixels_{n}"] = pixels(photo, width, height, preprocessor)
        golden[f"depth_{n}"] = model(golden[f"pixels_{n}"]).predicted_depth
        depth_map(golden[f"depth_{n}"], photo.size).save(out / f"depth_{n}.png")
    side = model.config.backbone_config.image_size
    golden["pixels_native"] = pixels(photos[0], side, side, preprocessor)
    golden["depth_native"] = model(golden["pixels_native"]).predicted_depth
    golden["depth_518"] = model(pixels(photos[0], 518, 518, preprocessor)).predicted_depth
    metric = load(FOLDER, depth_estimation_type="metric", max_depth=MAX_DEPTH)
    golden["metric_0"] = metric(golden["pixels_0"]).predicted_depth
    save_file({key: tensor.contiguous() for key, tensor in golden.items()}, out / "golden.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
