"""Trains the autoencoder on images and depth maps: L1, L2, edges and a little of the Kullback-Leibler divergence.

    python train_vae.py DATA MODEL MINUTES

Writes MODEL/vae in float32, with the scaling and shift of its latents measured.
"""

import sys

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from training import gradients, learning_rate, millions, rounds, update


def build():
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[32, 64, 64, 64],
        layers_per_block=1,
        act_fn="silu",
        latent_channels=16,
        norm_num_groups=8,
        sample_size=256,
        scaling_factor=1.0,
        shift_factor=0.0,
        force_upcast=True,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=True,
    )
    # Start with a quiet posterior: otherwise its noise hides the signal for the first thousand steps.
    with torch.no_grad():
        vae.encoder.conv_out.bias[16:] = -6.0
    return vae.to(memory_format=torch.channels_last)


class Crops:
    """Random crops in -1..1, mirrored half of the time; a quarter of them are depth maps."""

    def __init__(self, data):
        self.depth = np.load(f"{data}/depth.npy", mmap_mode="r")
        self.rgb = np.load(f"{data}/rgb.npy", mmap_mode="r")
        self.random = np.random.default_rng(0)

    def draw(self, count, side=128):
        """[count, 3, side, side]"""
        pixels = torch.from_numpy(np.stack([self.crop(side) for _ in range(count)]))
        x = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        return x.contiguous(memory_format=torch.channels_last)

    def crop(self, side):
        scene = self.random.integers(self.depth.shape[0])
        y, x = self.random.integers(0, 256 - side + 1, 2)
        if self.random.random() < 0.25:
            crop = np.repeat(self.depth[scene, y : y + side, x : x + side, None], 3, -1)
        else:
            look = self.random.integers(self.rgb.shape[1])
            crop = self.rgb[scene, look, y : y + side, x : x + side]
        return np.ascontiguousarray(crop[:, ::-1] if self.random.random() < 0.5 else crop)


def loss_of(vae, x):
    with torch.autocast("cpu", torch.bfloat16):
        posterior = vae.encode(x).latent_dist
        y = vae.decode(posterior.sample()).sample
    y, mean, logvar = y.float(), posterior.mean.float(), posterior.logvar.float()
    divergence = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
    edges = sum(F.l1_loss(a, b) for a, b in zip(gradients(y), gradients(x)))
    squares = F.mse_loss(y, x)
    return F.l1_loss(y, x) + squares + 0.7 * edges + 1e-5 * divergence, squares


@torch.no_grad()
def measure_latents(vae, crops):
    """The scaling and shift that give the latents a standard deviation of 1 and a mean of 0."""
    with torch.autocast("cpu", torch.bfloat16):
        z = torch.cat([vae.encode(crops.draw(16, 256)).latent_dist.mean.float() for _ in range(6)])
    return {"scaling_factor": round(float(1 / z.std()), 4), "shift_factor": round(float(z.mean()), 4)}


def main(data, model, minutes):
    torch.manual_seed(0)
    vae, crops = build(), Crops(data)
    print(millions(vae), flush=True)
    optimizer = torch.optim.AdamW(vae.parameters(), weight_decay=1e-4, betas=(0.9, 0.99))
    for step, fraction in rounds(minutes):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(7e-4, step, fraction, warmup=100, floor=0.02)
        loss, squares = loss_of(vae, crops.draw(12))
        update(optimizer, vae, loss)
        if step % 50 == 0:
            psnr = 10 * torch.log10(4 / squares).item()
            print(f"{fraction:6.1%} step {step} loss {loss.item():.4f} psnr {psnr:.2f}", flush=True)
    vae.eval()
    vae.register_to_config(**measure_latents(vae, crops))
    vae.to(torch.float32).save_pretrained(f"{model}/vae")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
