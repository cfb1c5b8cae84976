"""Trains the transformer together with its text encoders.

    python train_dit.py DATA MODEL MINUTES flow|guide

flow    conditional flow matching; one prompt in ten is empty
guide   distils classifier-free guidance into the guidance embedding; run it after flow

Continues from MODEL/train.pt if it exists, otherwise from the weights in MODEL. Environment: LR, SEED; AMP=1 computes
in bfloat16; SMALL is the part of the time that flow spends on crops (0.5); TEACHER is the folder of the model before
distillation, to continue one.
"""

import copy
import json
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import FluxTransformer2DModel
from training import Average, autocast, learning_rate, millions, rounds, update
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel

LR = float(os.environ.get("LR", "1e-3"))
SEED = int(os.environ.get("SEED", "0"))
SMALL = float(os.environ.get("SMALL", "0.5"))
HELD_OUT = 32
TOKENS = 64
CLASSES = {
    "transformer": FluxTransformer2DModel,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": T5EncoderModel,
}


# ---------------------------------------------------------------- model


def build(clip_vocabulary, t5_vocabulary):
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=128,
        out_channels=64,
        num_layers=3,
        num_single_layers=6,
        attention_head_dim=32,
        num_attention_heads=6,
        joint_attention_dim=128,
        pooled_projection_dim=64,
        guidance_embeds=True,
        axes_dims_rope=(8, 12, 12),
    )
    t5 = T5Config(
        vocab_size=t5_vocabulary,
        d_model=128,
        d_kv=32,
        d_ff=256,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        dropout_rate=0.0,
        is_encoder_decoder=False,
        use_cache=False,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    clip = CLIPTextConfig(
        vocab_size=clip_vocabulary,
        hidden_size=64,
        intermediate_size=256,
        projection_dim=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        hidden_act="quick_gelu",
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )
    components = {"transformer": transformer, "text_encoder": CLIPTextModel(clip), "text_encoder_2": T5EncoderModel(t5)}
    return torch.nn.ModuleDict(components)


def load_components(model, folder):
    for name, component in CLASSES.items():
        weights = component.from_pretrained(f"{folder}/{name}", torch_dtype=torch.float32).state_dict()
        model[name].load_state_dict(weights)


def pack(z):
    """[batch, channels, height, width] to [batch, tokens, 4 channels]: patches of 2 × 2."""
    b, c, h, w = z.shape
    return z.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h * w // 4, c * 4)


def image_ids(side):
    ids = torch.zeros(side // 2, side // 2, 3)
    ids[..., 1] += torch.arange(side // 2)[:, None]
    ids[..., 2] += torch.arange(side // 2)[None]
    return ids.reshape(-1, 3)


def velocity(model, noisy, control, time, guidance, prompts, ids):
    """The predicted velocity [batch, tokens, 64]; `prompts` are rows of CLIP's and T5's ids."""
    clip_ids, t5_ids = prompts
    return model["transformer"](
        hidden_states=torch.cat([noisy, control], 2),
        timestep=time,
        guidance=guidance,
        pooled_projections=model["text_encoder"](clip_ids).pooler_output,
        encoder_hidden_states=model["text_encoder_2"](t5_ids)[0],
        txt_ids=torch.zeros(TOKENS, 3),
        img_ids=ids,
        return_dict=False,
    )[0]


# ---------------------------------------------------------------- data


class Scenes:
    """Latents of images and depth maps with the ids of their captions; the first scenes are held out."""

    def __init__(self, data, clip, t5):
        self.depth = torch.from_numpy(np.load(f"{data}/zdepth.npy"))
        self.rgb = torch.from_numpy(np.load(f"{data}/zrgb.npy"))
        self.count, self.looks = self.rgb.shape[:2]
        self.random = np.random.default_rng(SEED)
        with open(f"{data}/captions.json") as file:
            captions = [caption for looks in json.load(file) for caption in looks[: self.looks]]
        texts = [as_typed(caption, i) for i, caption in enumerate(captions)] + [""]
        self.empty = len(captions)
        pad = {"padding": "max_length", "truncation": True}
        self.clip_ids = torch.tensor(clip(texts, max_length=77, **pad).input_ids)
        self.t5_ids = torch.tensor(t5(texts, max_length=TOKENS, **pad).input_ids)

    def prompts(self, captions):
        return self.clip_ids[captions], self.t5_ids[captions]

    def draw(self, count, side):
        """Latents and control latents [count, 16, side, side], cropped at even positions, and indices of captions."""
        scenes = self.random.integers(HELD_OUT, self.count, count)
        looks = self.random.integers(0, self.looks, count)
        tops, lefts = self.random.integers(0, 32 - side + 1, (2, count)) // 2 * 2
        cut = lambda z, top, left: z[:, top : top + side, left : left + side]
        corners = list(zip(scenes, looks, tops, lefts))
        latents = torch.stack([cut(self.rgb[i, look], top, left) for i, look, top, left in corners]).float()
        control = torch.stack([cut(self.depth[i], top, left) for i, _, top, left in corners]).float()
        return latents, control, torch.from_numpy(scenes * self.looks + looks)

    def held_out(self):
        captions = torch.arange(HELD_OUT) * self.looks
        return self.rgb[:HELD_OUT, 0].float(), self.depth[:HELD_OUT].float(), captions


def as_typed(caption, index):
    """A quarter of the captions begin with a capital letter, as people type."""
    return caption[0].upper() + caption[1:] if index % 4 == 0 else caption


# ---------------------------------------------------------------- training


def draw_times(count, side, random):
    """Logit-normal times, shifted for whole images; sometimes uniform."""
    if random.random() < 0.15:
        return torch.rand(count).clamp(0.002, 1)
    u = torch.sigmoid(torch.randn(count) + 0.2)
    shift = 1.35 if side == 32 else 1.0
    return (shift * u / (1 + (shift - 1) * u)).clamp(0.002, 1)


def between(latents, noise, time):
    t = time[:, None, None]
    return (1 - t) * latents + t * noise


@torch.no_grad()
def validate(model, scenes):
    """The loss on held-out scenes with their prompts, and with those of their neighbours."""
    latents, control, captions = scenes.held_out()
    latents, control = pack(latents), pack(control)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(5))
    time = torch.linspace(0.05, 0.95, HELD_OUT)
    noisy, ones = between(latents, noise, time), torch.ones(HELD_OUT)
    losses = []
    for prompts in (scenes.prompts(captions), scenes.prompts(torch.roll(captions, 1))):
        with autocast():
            predicted = velocity(model, noisy, control, time, ones, prompts, image_ids(32))
        losses.append(F.mse_loss(predicted.float(), noise - latents).item())
    return "validation {:.4f}, wrong prompts {:.4f}".format(*losses)


@torch.no_grad()
def guided_velocity(teacher, noisy, control, time, guidance, scenes, captions, ids):
    """Classifier-free guidance by the teacher; guidance 1 to 15 stands for weights of 1 to 4.5."""
    ones = torch.ones(len(captions))
    nothing = torch.full_like(captions, scenes.empty)
    with autocast():
        conditional = velocity(teacher, noisy, control, time, ones, scenes.prompts(captions), ids).float()
        unconditional = velocity(teacher, noisy, control, time, ones, scenes.prompts(nothing), ids).float()
    weight = 1 + (guidance - 1) * 0.25
    return unconditional + weight[:, None, None] * (conditional - unconditional)


def optimizer_of(model, phase):
    """Guidance has seen one value only before distillation, so its embedder learns faster."""
    is_new = lambda name: phase == "guide" and "guidance_embedder" in name
    named = list(model.named_parameters())
    groups = [{"params": [parameter for name, parameter in named if not is_new(name)], "speed": 1}]
    if phase == "guide":
        groups.append({"params": [parameter for name, parameter in named if is_new(name)], "speed": 8})
    return torch.optim.AdamW(groups, weight_decay=0.01, betas=(0.9, 0.98))


def main(data, folder, minutes, phase):
    torch.manual_seed(SEED)
    clip = CLIPTokenizer.from_pretrained(f"{folder}/tokenizer")
    t5 = AutoTokenizer.from_pretrained(f"{folder}/tokenizer_2")
    scenes, loss_average = Scenes(data, clip, t5), Average()
    model = build(len(clip), len(t5))
    mean = copy.deepcopy(model).requires_grad_(False)  # exponential moving average: the result
    checkpoint = f"{folder}/train.pt"
    if os.path.exists(checkpoint):
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        mean.load_state_dict(state["mean"])
    elif os.path.exists(f"{folder}/transformer/config.json"):
        load_components(model, folder)
        load_components(mean, folder)
    if phase == "guide":
        model.load_state_dict(mean.state_dict())
        teacher = copy.deepcopy(mean).eval()
        if "TEACHER" in os.environ:
            load_components(teacher, os.environ["TEACHER"])
    for name, component in model.items():
        print(name, millions(component))

    optimizer = optimizer_of(model, phase)
    for step, fraction in rounds(minutes):
        for group in optimizer.param_groups:
            group["lr"] = group["speed"] * learning_rate(LR, step, fraction, warmup=150 if phase == "flow" else 25)
        crops = phase == "flow" and fraction < SMALL
        side, count = (16, 48) if crops else (32, 16)
        latents, control, captions = scenes.draw(count, side)
        latents, control, ids = pack(latents), pack(control), image_ids(side)
        noise = torch.randn_like(latents)
        time = draw_times(count, side, scenes.random)
        noisy = between(latents, noise, time)
        if phase == "flow":
            captions = torch.where(torch.rand(count) < 0.1, torch.full_like(captions, scenes.empty), captions)
            guidance = torch.ones(count)
            target = noise - latents
        else:
            guidance = torch.rand(count) * 14 + 1
            target = guided_velocity(teacher, noisy, control, time, guidance, scenes, captions, ids)
        with autocast():
            predicted = velocity(model, noisy, control, time, guidance, scenes.prompts(captions), ids)
        loss = F.mse_loss(predicted.float(), target)
        update(optimizer, model, loss)
        with torch.no_grad():
            for average, parameter in zip(mean.parameters(), model.parameters()):
                average.lerp_(parameter, 1 - min(0.999, (step + 1) / (step + 20)))
        average_loss = loss_average.add(loss.item())
        if step % 50 == 0:
            print(f"{fraction:6.1%} step {step} side {side} loss {average_loss:.4f}", flush=True)
        if step % 200 == 0:
            print(validate(mean, scenes), flush=True)
        if step % 400 == 399:
            torch.save({"model": model.state_dict(), "mean": mean.state_dict()}, checkpoint)
    torch.save({"model": model.state_dict(), "mean": mean.state_dict()}, checkpoint)
    print(validate(mean, scenes))
    for name, component in mean.items():
        component.to(torch.bfloat16).save_pretrained(f"{folder}/{name}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4])
