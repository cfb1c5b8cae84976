"""Writes mflux-saved/q3 to q8: the model of mflux_source.py, quantized and saved by mflux itself.

    python mflux_saved.py OUT

Expects OUT/mflux-saved/source. mflux has FLUX's sizes written into its code; this runs a copy of it with the sizes of
the small model. The repository holds the 4-bit files that tests read.
"""

import importlib.util
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

BITS = (3, 4, 5, 6, 8)


def substitute(path, *pairs):
    text = path.read_text()
    for pattern, replacement in pairs:
        text = re.sub(pattern, replacement, text)
    path.write_text(text)


def shrink(flux, clip_vocabulary, t5_vocabulary):
    """Replaces FLUX's sizes in a copy of mflux/models/flux: 3072 → 128 (4 heads × 32), T5's 4096 → 128, CLIP's 768 → 64"""
    for path in (flux / "model/flux_transformer").rglob("*.py"):
        substitute(
            path,
            (r"\b18432\b", "768"),
            (r"\b12288\b", "512"),
            (r"\b3072\b", "128"),
            (r"\b4096\b", "128"),
            (r"\b768\b(?!, dim|0)(?=, 128\))", "64"),
            (r"num_heads = 24", "num_heads = 4"),
            (r"head_dimension = 128", "head_dimension = 32"),
            (r"RMSNorm\(128\)", "RMSNorm(32)"),
            (r"\[16, 56, 56\]", "[8, 12, 12]"),
            (r"num_transformer_blocks: int = 19", "num_transformer_blocks: int = 2"),
            (r"num_single_transformer_blocks: int = 38", "num_single_transformer_blocks: int = 2"),
        )
    for path in (flux / "model/flux_text_encoder").rglob("*.py"):
        if "t5_" in str(path.relative_to(flux)):
            substitute(
                path,
                (r"\b10240\b", "192"),
                (r"\b4096\b", "128"),
                (r"32128", str(t5_vocabulary)),
                (r"range\(24\)", "range(2)"),
                (r"\(1, -1, 64, 64\)", "(1, -1, 64, 2)"),
            )
        else:
            substitute(
                path,
                (r"\b3072\b", "256"),
                (r"\b768\b", "64"),
                (r"49408", str(clip_vocabulary)),
                (r"num_encoder_layers=12", "num_encoder_layers=2"),
                (r"num_heads = 12", "num_heads = 2"),
                (r"head_dimension = 64", "head_dimension = 32"),
            )
    widths = {"512": "64", "256": "96", "128": "32"}
    for path in (flux / "model/flux_vae").rglob("*.py"):
        substitute(path, (r"\b(512|256|128)\b", lambda match: widths[match[0]]))
    substitute(
        flux / "weights/flux_weight_definition.py",
        (r"num_blocks=24", "num_blocks=2"),
        (r"T5Tokenizer", "T5TokenizerFast"),
    )


def save_all(source, out):
    import mlx.core as mx
    from mflux.models.flux import flux_initializer
    from mflux.models.flux.variants.depth import flux_depth

    mx.set_default_device(mx.cpu)
    mx.random.seed(3)
    flux_initializer.DepthPro = lambda: None  # mflux does not save it
    for bits in BITS:
        flux_depth.Flux1Depth(quantize=bits, model_path=str(source)).save_model(str(out / f"q{bits}"))


def main(out):
    source = out / "mflux-saved/source"
    clip_vocabulary = len(json.loads((source / "tokenizer/vocab.json").read_text()))
    t5_vocabulary = len(json.loads((source / "tokenizer_2/tokenizer.json").read_text())["model"]["vocab"])
    installed = Path(importlib.util.find_spec("mflux").origin).parent
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(installed, Path(folder) / "mflux")
        shrink(Path(folder) / "mflux/models/flux", clip_vocabulary, t5_vocabulary)
        sys.path.insert(0, folder)
        save_all(source, out / "mflux-saved")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
