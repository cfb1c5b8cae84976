"""The work of the benches in PyTorch with diffusers, and in MLX for Python.

peer.ts starts it with the number of threads as the argument. Each request is a line of JSON on standard input; each
answer is a line of JSON on standard output:
  {"make": NAME, "kind": KIND, ...}  builds the work, with random weights  → {}
  {"run": NAME}                      does it once                          → {"seconds": ...}
  {"drop": NAME}                     frees it                              → {}
The first line on standard output gives the versions. A failure is answered with {"error": ...}.
"""

import gc
import json
import sys
import time

import torch
import diffusers
from diffusers.utils import logging

try:
    import mlx.core as mx
except ImportError:
    mx = None


def linear(rows, inputs, outputs, dtype):
    layer = torch.nn.Linear(inputs, outputs, dtype=getattr(torch, dtype))
    x = torch.randn(1, rows, inputs, dtype=layer.weight.dtype)
    return lambda: layer(x)


def attention(heads, tokens, dims, dtype):
    q = torch.randn(1, heads, tokens, dims, dtype=getattr(torch, dtype))
    return lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q)


def blocks(side, text_tokens, dtype):
    dtype = getattr(torch, dtype)
    model = diffusers.FluxTransformer2DModel(
        in_channels=128, out_channels=64, num_layers=1, num_single_layers=1, guidance_embeds=True
    ).to(dtype)
    ids = torch.zeros(side, side, 3)
    ids[..., 1] = torch.arange(side)[:, None]
    ids[..., 2] = torch.arange(side)
    inputs = dict(
        hidden_states=torch.randn(1, side * side, 128, dtype=dtype),
        encoder_hidden_states=torch.randn(1, text_tokens, 4096, dtype=dtype),
        pooled_projections=torch.randn(1, 768, dtype=dtype),
        timestep=torch.tensor([0.7], dtype=dtype),
        guidance=torch.tensor([10.0]),
        img_ids=ids.reshape(-1, 3),
        txt_ids=torch.zeros(text_tokens, 3),
    )
    return lambda: model(**inputs)


def decode(config, size):
    vae = diffusers.AutoencoderKL.from_config(config)
    latents = torch.randn(1, vae.config.latent_channels, size // 8, size // 8)
    return lambda: vae.decode(latents)


def image(model, size, steps):
    from PIL import Image

    pipeline = diffusers.FluxControlPipeline.from_pretrained(model, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    ramp = Image.frombytes("L", (size, size), bytes(256 * i // size for i in range(size)) * size).convert("RGB")
    return lambda: pipeline(
        "a red cone and a blue cube, on grass", control_image=ramp, height=size, width=size, num_inference_steps=steps
    )


def depth_pro(config):
    from transformers import DepthProConfig, DepthProForDepthEstimation

    model = DepthProForDepthEstimation(DepthProConfig(**config)).eval()
    pixels = torch.rand(1, 3, 1536, 1536) * 2 - 1
    return lambda: model(pixels)


def mlx_linear(rows, inputs, outputs, bits):
    x, weight = mx.random.normal((1, rows, inputs)), mx.random.normal((outputs, inputs))
    if bits is None:
        mx.eval(x, weight)
        return lambda: mx.eval(x @ weight.T)
    matrix = mx.quantize(weight, group_size=64, bits=bits)
    mx.eval(x, matrix)
    return lambda: mx.eval(mx.quantized_matmul(x, *matrix, transpose=True, group_size=64, bits=bits))


def mlx_attention(heads, tokens, dims):
    q = mx.random.normal((1, heads, tokens, dims))
    mx.eval(q)
    return lambda: mx.eval(mx.fast.scaled_dot_product_attention(q, q, q, scale=dims**-0.5))


KINDS = {
    work.__name__: work
    for work in (linear, attention, blocks, decode, image, depth_pro, mlx_linear, mlx_attention)
}


def answer(works, request):
    if "make" in request:
        name, kind = request.pop("make"), request.pop("kind")
        works[name] = KINDS[kind](**request)
    elif "run" in request:
        start = time.perf_counter()
        works[request["run"]]()
        return {"seconds": time.perf_counter() - start}
    else:
        del works[request["drop"]]
        gc.collect()
    return {}


def main():
    # Standard output is for answers only; libraries may print, too.
    out, sys.stdout = sys.stdout, sys.stderr
    logging.set_verbosity_error()
    torch.set_num_threads(int(sys.argv[1]))
    torch.set_grad_enabled(False)

    def say(message):
        print(json.dumps(message), file=out, flush=True)

    say({"torch": torch.__version__, "diffusers": diffusers.__version__, "mlx": mx and mx.__version__})
    works = {}
    for line in sys.stdin:
        try:
            say(answer(works, json.loads(line)))
        except Exception as error:
            say({"error": f"{type(error).__name__}: {error}"})


main()
