"""Lays trained weights out as a released FLUX repository: folders, dtypes, names of tensors.

    python publish.py MODEL DEPTH OUT

model_index.json and the scheduler's config, which no training changes, come from the bundled model.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

BUNDLED = Path(__file__).resolve().parents[2] / "packages/mflux-depth/models/tiny-world"


def publish(source, target, file, dtype, rename=lambda key: key):
    """Writes a component's config and weights in another dtype."""
    os.makedirs(target, exist_ok=True)
    with open(f"{source}/config.json") as config_file:
        config = json.load(config_file)
    config.pop("_name_or_path", None)
    for key in ("dtype", "torch_dtype"):
        if key in config:
            config[key] = str(dtype).removeprefix("torch.")
    with open(f"{target}/config.json", "w") as config_file:
        json.dump(config, config_file, indent=2)
    tensors = load_file(f"{source}/{file}").items()
    cast = {rename(key): tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in tensors}
    save_file(cast, f"{target}/{file}", {"format": "pt"})


def clip_key(key):
    """Released checkpoints have the prefix that newer versions of transformers drop."""
    return key if key.startswith("text_model.") else f"text_model.{key}"


def publish_estimator(source, target):
    publish(source, target, "model.safetensors", torch.float16)
    shutil.copy(f"{source}/preprocessor_config.json", target)


def main(model, depth, out):
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(BUNDLED / "scheduler", f"{out}/scheduler")
    shutil.copy(BUNDLED / "model_index.json", out)
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(f"{model}/{name}", f"{out}/{name}")
    for name in ("transformer", "vae"):
        publish(f"{model}/{name}", f"{out}/{name}", "diffusion_pytorch_model.safetensors", torch.bfloat16)
    publish(f"{model}/text_encoder", f"{out}/text_encoder", "model.safetensors", torch.bfloat16, clip_key)
    publish(f"{model}/text_encoder_2", f"{out}/text_encoder_2", "model.safetensors", torch.bfloat16)
    publish_estimator(depth, f"{out}/depth_pro")


if __name__ == "__main__":
    main(*sys.argv[1:4])
