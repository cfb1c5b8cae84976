"""What the training scripts of both depth estimators share: the scenes, the loss and the loop.

The first 32 scenes are held out. AMP=1 computes in bfloat16.
"""

import json
import os

import numpy as np
import torch
import torch.nn.functional as F
from training import Average, autocast, gradients, learning_rate, millions, rounds, update

HELD_OUT = 32
BATCH = 8
INPUT_SIDE = 128

PREPROCESSOR = {
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "do_resize": True,
    "size": {"height": INPUT_SIDE, "width": INPUT_SIDE},
}


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
        """[count, 3, side, side] and [count, side, side] in 0..1, mirrored half of the time."""
        scenes = self.random.integers(first, end, count)
        looks = self.random.integers(0, self.rgb.shape[1], count)
        mirrored = self.random.random(count) < 0.5
        flip = lambda pixels, mirror: pixels[:, ::-1] if mirror else pixels
        images = np.stack([flip(self.rgb[i, look], m) for i, look, m in zip(scenes, looks, mirrored)])
        maps = np.stack([flip(self.depth[i], m) for i, m in zip(scenes, mirrored)])
        return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(maps).float() / 255

    def inputs(self, images):
        """The estimator's input, [count, 3, 128, 128] in -1..1."""
        x = F.interpolate(images, size=(INPUT_SIDE, INPUT_SIDE), mode="bilinear") * 2 - 1
        return x.contiguous(memory_format=torch.channels_last)


def to_size(prediction, maps):
    """[n, h, w] to the size of the depth maps."""
    return F.interpolate(prediction[:, None], size=maps.shape[1:], mode="bilinear")[:, 0]


@torch.no_grad()
def held_out_error(model, scenes):
    """The mean absolute error of predictions that are spread over 0..1."""
    inputs, maps = scenes.held_out(24)
    prediction = model(inputs).predicted_depth
    lowest, highest = prediction.amin((1, 2), keepdim=True), prediction.amax((1, 2), keepdim=True)
    return (to_size((prediction - lowest) / (highest - lowest), maps) - maps).abs().mean().item()


def train(model, preprocessor, data, out, minutes):
    """Minimizes the L1 of the depth map and of its edges. Continues from train.pt in `out` if it exists."""
    os.makedirs(out, exist_ok=True)
    model = model.to(memory_format=torch.channels_last)
    scenes, loss_average = Scenes(data), Average()
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
        prediction = to_size(prediction.float(), maps)
        edges = sum(F.l1_loss(a, b) for a, b in zip(gradients(prediction), gradients(maps)))
        loss = F.l1_loss(prediction, maps) + 0.5 * edges
        update(optimizer, model, loss)
        average = loss_average.add(loss.item())
        if step % 50 == 0:
            print(f"{fraction:6.1%} step {step} loss {average:.4f}", flush=True)
        if step % 300 == 299:
            torch.save(model.state_dict(), checkpoint)
            print(f"held out: mean absolute error {held_out_error(model, scenes):.4f}", flush=True)
    torch.save(model.state_dict(), checkpoint)
    model.eval()
    print(f"held out: mean absolute error {held_out_error(model, scenes):.4f}")
    model.save_pretrained(out)
    with open(f"{out}/preprocessor_config.json", "w") as file:
        json.dump(PREPROCESSOR | preprocessor, file, indent=2)
