"""Packs what the tests need from the kit that make_adapters.py makes: the adapter files, all inputs in one file, all outputs in another.
usage: pack.py KIT TARGET
"""
import os, shutil, sys
from safetensors.torch import load_file, save_file

kit, target = sys.argv[1:3]
# These differ from others only in their prefix, which the tests change themselves.
derived = {"diffusers-bare.safetensors", "fal.safetensors", "onetrainer-dots.safetensors"}
# The rest has its latents checked by the output alone.
with_latents = {"plain", "style", "two", "control-1"}

os.makedirs(target, exist_ok=True)
for name in sorted(os.listdir(f"{kit}/files")):
    if name not in derived:
        shutil.copy(f"{kit}/files/{name}", f"{target}/{name}")
expected = {}
for file in sorted(os.listdir(f"{kit}/goldens")):
    name, extension = os.path.splitext(file)
    if extension != ".safetensors":
        continue
    tensors = load_file(f"{kit}/goldens/{file}")
    if "output" in tensors:
        expected[name] = tensors["output"]
    if name in with_latents:
        expected[f"{name}.latents"] = tensors["latents"]
    if name == "text":
        expected |= {f"text.{key}": tensor for key, tensor in tensors.items()}
    if name == "text-pipeline":
        expected["text.latents"] = tensors["latents"]
save_file(expected, f"{target}/expected.safetensors")
control = {f"control.{key}": tensor for key, tensor in load_file(f"{kit}/inputs-control.safetensors").items()}
save_file(load_file(f"{kit}/inputs.safetensors") | control, f"{target}/inputs.safetensors")
