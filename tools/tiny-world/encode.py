"""Encodes the depth maps and two looks of every scene with the trained autoencoder, once.

    python encode.py DATA MODEL

Writes zdepth.npy [scenes, 16, 32, 32] and zrgb.npy [scenes, 2, 16, 32, 32], float16, scaled as the transformer sees
them. START=n continues an earlier run; AMP=1 computes in bfloat16, which is faster on CPUs with AMX.
"""

import os
import sys

import numpy as np
import torch
from diffusers import AutoencoderKL

LOOKS = 2
BATCH = 8
START = int(os.environ.get("START", "0"))
AMP = os.environ.get("AMP") == "1"


@torch.no_grad()
def encode(vae, pixels):
    """[n, 256, 256, 3] uint8 to [n, 16, 32, 32]."""
    x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.autocast("cpu", torch.bfloat16, enabled=AMP):
        z = vae.encode(x.contiguous(memory_format=torch.channels_last)).latent_dist.mode()
    return ((z.float() - vae.config.shift_factor) * vae.config.scaling_factor).half().numpy()


def main(data, model):
    vae = AutoencoderKL.from_pretrained(f"{model}/vae").eval().to(memory_format=torch.channels_last)
    depth = np.load(f"{data}/depth.npy", mmap_mode="r")
    rgb = np.load(f"{data}/rgb.npy", mmap_mode="r")
    count = rgb.shape[0]
    mode = "r+" if START else "w+"
    zdepth = np.lib.format.open_memmap(f"{data}/zdepth.npy", mode, np.float16, (count, 16, 32, 32))
    zrgb = np.lib.format.open_memmap(f"{data}/zrgb.npy", mode, np.float16, (count, LOOKS, 16, 32, 32))
    for i in range(START, count, BATCH):
        j = min(i + BATCH, count)
        zdepth[i:j] = encode(vae, np.repeat(depth[i:j, :, :, None], 3, -1))
        zrgb[i:j] = encode(vae, rgb[i:j, :LOOKS].reshape(-1, 256, 256, 3)).reshape(j - i, LOOKS, 16, 32, 32)
        if i % 1000 == 0:
            print(f"{i} of {count}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:3])
