"""Writes the golden tensors and images of every stage of a generation.

    python stages.py OUT

Computes with diffusers and transformers in float32 on the CPU. Reads tiny-world, the images in examples/images and
cases.json, which says what is computed. Writes one safetensors file for each component and each case, PNGs of the
images, and index.json, which repeats the inputs.

Departures from the reference pipelines, which the library shares: the depth map and the photo are encoded with the mode
of the autoencoder's posterior instead of a sample, and resized by Pillow on float values instead of bytes.
"""

import json
import sys
from pathlib import Path

import diffusers
import numpy as np
import torch
import transformers
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxControlImg2ImgPipeline,
    FluxControlPipeline,
    FluxTransformer2DModel,
)
from diffusers.pipelines.flux import pipeline_flux_control_img2img
from diffusers.pipelines.flux.pipeline_flux_control import calculate_shift
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoTokenizer, CLIPTextModel, CLIPTokenizer, DepthProForDepthEstimation, T5EncoderModel

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "packages/mflux-depth/models/tiny-world"
IMAGES = ROOT / "examples/images"
CASES = json.loads((Path(__file__).parent / "cases.json").read_text())
FLOAT32 = {"torch_dtype": torch.float32}


class Components:
    """tiny-world's components, loaded by diffusers and transformers."""

    def __init__(self):
        self.tokenizer = CLIPTokenizer.from_pretrained(MODEL / "tokenizer")
        self.tokenizer_2 = AutoTokenizer.from_pretrained(MODEL / "tokenizer_2")
        self.text_encoder = CLIPTextModel.from_pretrained(MODEL / "text_encoder", **FLOAT32).eval()
        self.text_encoder_2 = T5EncoderModel.from_pretrained(MODEL / "text_encoder_2", **FLOAT32).eval()
        self.vae = AutoencoderKL.from_pretrained(MODEL / "vae", **FLOAT32).eval()
        self.transformer = FluxTransformer2DModel.from_pretrained(MODEL / "transformer", **FLOAT32).eval()
        self.scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(MODEL / "scheduler")
        self.depth_pro = DepthProForDepthEstimation.from_pretrained(MODEL / "depth_pro", **FLOAT32).eval()

    @property
    def sequence_length(self):
        return self.tokenizer_2.model_max_length

    def of_pipeline(self):
        names = ("scheduler", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "transformer")
        return {name: getattr(self, name) for name in names}


# ---------------------------------------------------------------- images


def load(name):
    """An RGB image of examples/images, [height, width, 3] in 0..255."""
    return np.array(Image.open(IMAGES / name).convert("RGB"))


def signed(pixels):
    """[height, width, 3] in 0..255 to [1, 3, height, width] in -1..1."""
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1


def resize(pixels, width, height, how=Image.LANCZOS):
    """Pillow's resampling on float values: [h, w, channels] in 0..255 to [1, channels, height, width] in 0..1."""
    channels = []
    for i in range(pixels.shape[-1]):
        channel = Image.fromarray(np.ascontiguousarray(pixels[..., i]).astype(np.float32), "F")
        channels.append(np.array(channel.resize((width, height), how)))
    return torch.from_numpy(np.stack(channels).clip(0, 255) / 255)[None].float()


def save_png(path, pixels):
    Image.fromarray(pixels).save(path)


# ---------------------------------------------------------------- stages


def tokens(components):
    """The padded ids of each text."""
    pad = {"padding": "max_length", "truncation": True}
    return [
        {
            "text": text,
            "clip": components.tokenizer(text, max_length=77, **pad).input_ids,
            "t5": components.tokenizer_2(text, max_length=components.sequence_length, **pad).input_ids,
        }
        for text in CASES["texts"]
    ]


def text_encoders(components, tokens):
    clip_ids = torch.tensor([text["clip"] for text in tokens])
    t5_ids = torch.tensor([text["t5"] for text in tokens])
    return {
        "clip_ids": clip_ids,
        "t5_ids": t5_ids,
        "pooled": components.text_encoder(clip_ids).pooler_output,
        "prompt_embeds": components.text_encoder_2(t5_ids)[0],
    }


def schedule(components, steps, width, height):
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(components.scheduler.config)
    config = scheduler.config
    mu = calculate_shift(
        (width // 16) * (height // 16),
        config.get("base_image_seq_len", 256),
        config.get("max_image_seq_len", 4096),
        config.get("base_shift", 0.5),
        config.get("max_shift", 1.15),
    )
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
    sigmas = [float(sigma) for sigma in scheduler.sigmas]
    return {"steps": steps, "width": width, "height": height, "mu": mu, "sigmas": sigmas}


def autoencoder(components, generator):
    """The bundled image there and back, and random latents that are not square."""
    vae = components.vae
    image = signed(load(CASES["vae_image"]))
    latent = vae.encode(image).latent_dist.mode()
    random_latent = torch.randn(1, vae.config.latent_channels, 10, 14, generator=generator)
    return {
        "image": image,
        "latent": latent,
        "decoded": vae.decode(latent).sample,
        "random_latent": random_latent,
        "random_decoded": vae.decode(random_latent).sample,
    }


def transformer(components, generator, batch, rows, columns, timestep, guidance):
    """One evaluation on random inputs; the latents and the control latents are joined already."""
    model, length = components.transformer, components.sequence_length
    config = model.config
    hidden_states = torch.randn(batch, rows * columns, config.in_channels, generator=generator)
    prompt_embeds = torch.randn(batch, length, config.joint_attention_dim, generator=generator)
    pooled = torch.randn(batch, config.pooled_projection_dim, generator=generator)
    img_ids = FluxControlPipeline._prepare_latent_image_ids(batch, rows, columns, "cpu", torch.float32)
    (output,) = model(
        hidden_states=hidden_states,
        timestep=torch.full((batch,), timestep),
        guidance=torch.full((batch,), float(guidance)),
        pooled_projections=pooled,
        encoder_hidden_states=prompt_embeds,
        txt_ids=torch.zeros(length, 3),
        img_ids=img_ids,
        return_dict=False,
    )
    return {
        "hidden_states": hidden_states,
        "encoder_hidden_states": prompt_embeds,
        "pooled_projections": pooled,
        "img_ids": img_ids,
        "output": output,
    }


def predict_depth(components, photo):
    """Depth Pro's input [1, 3, side, side] in -1..1 and its prediction [1, 2 side, 2 side] for a photo."""
    side = components.depth_pro.config.patch_size * 4
    pixels = torch.nn.functional.interpolate(
        signed(load(photo)), size=(side, side), mode="bilinear", align_corners=False
    )
    return pixels, components.depth_pro(pixels).predicted_depth


def depth_map(prediction, width, height):
    """The prediction spread over 0..1 and resized: [1, 1, height, width]."""
    spread = (prediction - prediction.min()) / (prediction.max() - prediction.min())
    return resize(spread[0].numpy()[..., None] * 255, width, height, Image.BILINEAR)


# ---------------------------------------------------------------- whole pipeline


class Mode:
    """A posterior whose samples are its mode."""

    def __init__(self, posterior):
        self.latent_dist = self
        self.posterior = posterior

    def sample(self, generator=None):
        return self.posterior.mode()

    def mode(self):
        return self.posterior.mode()


def encode_with_mode(vae):
    encode = vae.encode
    vae.encode = lambda pixels, **_: Mode(encode(pixels).latent_dist)


def control_image(components, case):
    """The depth map of a case at the size of its image, [1, 3, height, width] in 0..1."""
    width, height = case["width"], case["height"]
    if "depth" in case:
        return resize(load(case["depth"]), width, height)
    _, prediction = predict_depth(components, case["photo"])
    return depth_map(prediction, width, height).expand(1, 3, height, width)


def generate(components, case):
    """A whole generation from stored noise; latents are unpacked, [1, 16, height / 8, width / 8]."""
    width, height = case["width"], case["height"]
    generator = torch.Generator().manual_seed(case["noise_seed"])
    noise = torch.randn(1, 16, height // 8, width // 8, generator=generator)
    steps = []

    def keep_latents(_pipeline, _index, _timestep, kwargs):
        steps.append(kwargs["latents"].clone())
        return kwargs

    arguments = {
        "prompt": case["prompt"],
        "control_image": control_image(components, case) * 2 - 1,  # a tensor is used as it is
        "height": height,
        "width": width,
        "num_inference_steps": case["steps"],
        "guidance_scale": case["guidance"],
        "max_sequence_length": components.sequence_length,
        "output_type": "latent",
        "callback_on_step_end": keep_latents,
    }
    if "image" in case:
        pipeline = FluxControlImg2ImgPipeline(**components.of_pipeline())
        # This pipeline draws its noise itself; give it ours.
        pipeline_flux_control_img2img.randn_tensor = lambda *_, **__: noise.clone()
        arguments |= {"image": resize(load(case["image"]), width, height), "strength": case["strength"]}
    else:
        pipeline = FluxControlPipeline(**components.of_pipeline())
        arguments["latents"] = FluxControlPipeline._pack_latents(noise, 1, 16, height // 8, width // 8)
    pipeline.set_progress_bar_config(disable=True)

    unpack = lambda packed: FluxControlPipeline._unpack_latents(packed, height, width, 8)
    latents = unpack(pipeline(**arguments).images)
    vae = components.vae
    decoded = vae.decode(latents / vae.config.scaling_factor + vae.config.shift_factor).sample
    image = ((decoded[0].permute(1, 2, 0) / 2 + 0.5).clamp(0, 1) * 255).round().byte()
    return {"noise": noise, "first_step": unpack(steps[0]), "latents": latents, "image": image}


# ---------------------------------------------------------------- files


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    save = lambda name, tensors: save_file(
        {key: tensor.contiguous() for key, tensor in tensors.items()}, out / f"{name}.safetensors"
    )
    components = Components()
    index = {
        "made_with": {module.__name__: module.__version__ for module in (torch, diffusers, transformers)},
        "max_sequence_length": components.sequence_length,
        "tokens": tokens(components),
        "scheduler": [schedule(components, *case) for case in CASES["schedules"]],
    }
    save("text_encoders", text_encoders(components, index["tokens"]))

    generator = torch.Generator().manual_seed(1)  # the draws of the autoencoder and the transformer follow each other
    save("vae", autoencoder(components, generator))
    for n, case in enumerate(CASES["transformer"]):
        save(f"transformer_{n}", transformer(components, generator, *case))
    names = ("batch", "rows", "columns", "timestep", "guidance")
    index["transformer"] = [dict(zip(names, case)) for case in CASES["transformer"]]

    predictions = {}
    for n, photo in enumerate(CASES["photos"]):
        predictions[f"pixels_{n}"], predictions[f"depth_{n}"] = predict_depth(components, photo)
        height, width, _ = load(photo).shape
        values = depth_map(predictions[f"depth_{n}"], width, height)[0, 0].numpy()
        save_png(out / f"depth_{n}.png", (values * 255).round().astype(np.uint8))
    save("depth_pro", predictions)
    index["photos"] = CASES["photos"]

    encode_with_mode(components.vae)
    for n, case in enumerate(CASES["pipeline"]):
        generation = generate(components, case)
        save(f"pipeline_{n}", generation)
        save_png(out / f"pipeline_{n}.png", generation["image"].numpy())
    index["pipeline"] = CASES["pipeline"]

    (out / "index.json").write_text(json.dumps(index, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
