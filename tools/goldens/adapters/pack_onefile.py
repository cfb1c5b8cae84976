"""Packs what the tests need from the kit that make_onefile.py makes: the checkpoints, their inputs, all outputs in one file, all hashes in another.
usage: pack_onefile.py KIT TARGET
"""
import json, os, shutil, sys
from safetensors.torch import load_file, save_file

kit, target = sys.argv[1:3]
# No test reads these files.
derived = {"bfl-prefix.safetensors", "fp8-metadata.safetensors", "fp8-scaled-input.safetensors", "f16.gguf", "bf16.gguf"}
# The rest has its latents checked by the output alone.
with_latents = {"bfl", "fp8-scaled", "q4_0"}

os.makedirs(target, exist_ok=True)
for name in sorted(os.listdir(f"{kit}/files")):
    if name not in derived:
        shutil.copy(f"{kit}/files/{name}", f"{target}/{name}")
for name in ("inputs-mini.safetensors", "inputs-wide.safetensors"):
    shutil.copy(f"{kit}/{name}", f"{target}/{name}")

models, hashes, outputs = {}, {}, {}
for file in json.load(open(f"{kit}/index.json"))["files"]:
    name = file["name"]
    models[name] = file["config"].split("/")[0] if file["config"].startswith(("mini/", "wide/")) else "shared"
    hashes[name] = {key: facts["sha256"] for key, facts in json.load(open(f"{kit}/expected/{name}.json")).items()}
    for key, tensor in load_file(f"{kit}/expected/{name}.safetensors").items():
        if not key.startswith("tensor.") and (key != "latents" or name in with_latents):
            outputs[f"{name}.{key}"] = tensor
save_file(outputs, f"{target}/expected.safetensors")
with open(f"{target}/expected.json", "w") as out:
    json.dump({"models": models, "sha256": hashes}, out, separators=(",", ":"))
