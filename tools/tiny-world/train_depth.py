"""Trains the small Depth Pro on renders: L1 of the depth map and of its edges.

    python train_depth.py DATA DEPTH MINUTES

Continues from DEPTH/train.pt if it exists. The first 32 scenes are held out. AMP=1 computes in bfloat16.
"""

import json
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
from training import Average, autocast, gradients, learning_rate, millions, rounds, update
from transformers import DepthProConfig, DepthProForDepthEstimation

HELD_OUT = 32
BATCH = 8

VIT = {
    "model_type": "dinov2",
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "mlp_ratio": 4,
    "image_size": 32,
    "patch_size": 4,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "layerscale_value": 1.0,
    "qkv_bias": True,
    "use_swiglu_ffn": False,
    "num_channels": 3,
}

PREPROCESSOR = {
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "do_resize": True,
    "size": {"height": 128, "width": 128},
    "resample": 2,
    "image_processor_type": "DepthProImageProcessorFast",
}


def build():
    config = DepthProConfig(
        fusion_hidden_size=16,
        patch_size=32,
        intermediate_hook_ids=[3, 1],
        intermediate_feature_dims=[16, 16],
        scaled_images_ratios=[0.25, 0.5, 1],
        scaled_images_overlap_ratios=[0.0, 0.5, 0.25],
        scaled_images_feature_dims=[48, 32, 24],
        merge_padding_value=1,
        use_batch_norm_in_fusion_residual=False,
        use_bias_in_fusion_residual=True,
        use_fov_model=False,
        image_model_config=VIT,
        patch_model_config=VIT,
        fov_model_config=VIT,
    )
    model = DepthProForDepthEstimation(config)
    quiet(model)
    return model.to(memory_format=torch.channels_last)


@torch.no_grad()
def quiet(model):
    """Scales the initial weights down: the default start is far too large for a map in 0..1."""
    for name, parameter in model.named_parameters():
        if name.endswith("convolution2.weight") or name == "head.layers.0.weight":
            parameter.mul_(0.3)
        elif name.startswith(("depth_pro.neck.feature_projection", "fusion_stage.final.projection")):
            parameter.mul_(0.4)
        elif name == "head.layers.4.weight":
            parameter.mul_(0.02)
        elif name == "head.layers.4.bias":
            parameter.fill_(0.35)


class Scenes:
    def __init__(self, data):
        self.depth = np.load(f"{data}/depth.npy", mmap_mode="r")
        self.rgb = np.load(f"{data}/rgb.npy", mmap_mode="r")
        self.random = np.random.default_rng(1)

    def training(self, count):
        """Images with brightness and tint varied, and their depth maps."""
        images, maps = self.draw(count, HELD_OUT, self.depth.shape[0])
        images = images * (0.85 + 0.3 * torch.rand(count, 3, 1, 1)) + 0.1 * (torch.rand(count, 3, 1, 1) - 0.5)
        return self.inputs(images.clamp(0, 1)), maps

    def held_out(self, count):
        images, maps = self.draw(count, 0, HELD_OUT)
        return self.inputs(images), maps

    def draw(self, count, first, end):
        """[count, 3, 256, 256] and [count, 256, 256] in 0..1, mirrored half of the time."""
        scenes = self.random.integers(first, end, count)
        looks = self.random.integers(0, self.rgb.shape[1], count)
        mirrored = self.random.random(count) < 0.5
        flip = lambda pixels, mirror: pixels[:, ::-1] if mirror else pixels
        images = np.stack([flip(self.rgb[i, look], m) for i, look, m in zip(scenes, looks, mirrored)])
        maps = np.stack([flip(self.depth[i], m) for i, m in zip(scenes, mirrored)])
        return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(maps).float() / 255

    def inputs(self, images):
        """Depth Pro's input, [count, 3, 128, 128] in -1..1."""
        x = F.interpolate(images, size=(128, 128), mode="bilinear") * 2 - 1
        return x.contiguous(memory_format=torch.channels_last)


def to_map(prediction):
    """[n, h, w] to the size of the depth maps."""
    return F.interpolate(prediction[:, None], size=(256, 256), mode="bilinear")[:, 0]


@torch.no_grad()
def held_out_error(model, scenes):
    """The mean absolute error of predictions that are spread over 0..1."""
    inputs, maps = scenes.held_out(24)
    prediction = model(inputs).predicted_depth
    lowest, highest = prediction.amin((1, 2), keepdim=True), prediction.amax((1, 2), keepdim=True)
    return (to_map((prediction - lowest) / (highest - lowest)) - maps).abs().mean().item()


def main(data, out, minutes):
    torch.manual_seed(0)
    os.makedirs(out, exist_ok=True)
    model, scenes, loss_average = build(), Scenes(data), Average()
    checkpoint = f"{out}/train.pt"
    if os.path.exists(checkpoint):
        model.load_state_dict(torch.load(checkpoint, weights_only=True))
    print(millions(model), flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-3, betas=(0.9, 0.98))
    for step, fraction in rounds(minutes):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(2e-3, step, fraction, warmup=60)
        inputs, maps = scenes.training(BATCH)
        with autocast():
            prediction = model(inputs).predicted_depth
        prediction = to_map(prediction.float())
        edges = sum(F.l1_loss(a, b) for a, b in zip(gradients(prediction), gradients(maps)))
        loss = F.l1_loss(prediction, maps) + 0.5 * edges
        update(optimizer, model, loss)
        average = loss_average.add(loss.item())
        if step % 50 == 0:
            print(f"{fraction:6.1%} step {step} loss {average:.4f}", flush=True)
        if step % 300 == 299:
            torch.save(model.state_dict(), checkpoint)
    torch.save(model.state_dict(), checkpoint)
    model.eval()
    print(f"held out: mean absolute error {held_out_error(model, scenes):.4f}")
    model.save_pretrained(out)
    with open(f"{out}/preprocessor_config.json", "w") as file:
        json.dump(PREPROCESSOR, file, indent=2)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
