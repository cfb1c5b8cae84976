"""Writes inpaint.safetensors: a generation that changes only the masked part of a photo, by diffusers.

    python inpaint.py OUT

FluxControlInpaintPipeline with tiny-world, in float32 on the CPU, with stored noise. The mask is black and white with
edges at multiples of 8 pixels, where a latent is either inside or outside. noise, first_step and latents are unpacked,
[1, 16, height / 8, width / 8]; mask is [height, width] in 0..1.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import FluxControlInpaintPipeline, FluxControlPipeline
from diffusers.pipelines.flux import pipeline_flux_control_inpaint
from PIL import Image
from safetensors.torch import save_file
from stages import Components, encode_with_mode, load, resize

PROMPT, PHOTO, DEPTH = "a teal sculpture, studio lighting", "sculpture.png", "sculpture_depth.png"
SIDE, STEPS, GUIDANCE, STRENGTH, NOISE_SEED = 256, 10, 10.0, 0.8, 6


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    torch.set_grad_enabled(False)
    components = Components()
    encode_with_mode(components.vae)
    noise = torch.randn(1, 16, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(NOISE_SEED))
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[48:208, 64:184] = 255
    steps = []

    def keep_latents(_pipeline, _index, _timestep, kwargs):
        steps.append(kwargs["latents"].clone())
        return kwargs

    pipeline = FluxControlInpaintPipeline(**components.of_pipeline())
    pipeline_flux_control_inpaint.randn_tensor = lambda *_, **__: noise.clone()
    pipeline.set_progress_bar_config(disable=True)
    result = pipeline(
        prompt=PROMPT,
        image=resize(load(PHOTO), SIDE, SIDE),
        mask_image=Image.fromarray(mask),
        control_image=resize(load(DEPTH), SIDE, SIDE) * 2 - 1,
        strength=STRENGTH,
        height=SIDE,
        width=SIDE,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        max_sequence_length=components.sequence_length,
        output_type="latent",
        callback_on_step_end=keep_latents,
    )
    unpack = lambda packed: FluxControlPipeline._unpack_latents(packed, SIDE, SIDE, 8).contiguous()
    golden = {
        "noise": noise,
        "first_step": unpack(steps[0]),
        "latents": unpack(result.images),
        "mask": torch.from_numpy(mask).float() / 255,
    }
    save_file(golden, out / "inpaint.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
