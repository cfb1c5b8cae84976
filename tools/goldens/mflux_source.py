"""Writes mflux-saved/source: a small random model in the layout of a FLUX repository, bfloat16, for mflux_saved.py.

    python mflux_source.py OUT

Writes the whole model; the repository holds only the files that tests read.
"""

import shutil
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel

MODEL = Path(__file__).resolve().parents[2] / "packages/mflux-depth/models/tiny-world"


def transformer():
    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=128,
        out_channels=64,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=32,
        num_attention_heads=4,
        joint_attention_dim=128,
        pooled_projection_dim=64,
        guidance_embeds=True,
        axes_dims_rope=(8, 12, 12),
    )


def t5(vocabulary):
    config = T5Config(
        vocab_size=vocabulary,
        d_model=128,
        d_kv=2,
        d_ff=192,
        num_layers=2,
        num_heads=64,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        dropout_rate=0.0,
        is_encoder_decoder=False,
        use_cache=False,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    return T5EncoderModel(config)


def clip(vocabulary):
    config = CLIPTextConfig(
        vocab_size=vocabulary,
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
    return CLIPTextModel(config)


def vae():
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[32, 96, 64, 64],
        layers_per_block=2,
        act_fn="silu",
        latent_channels=16,
        norm_num_groups=32,
        sample_size=256,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=True,
    )


def save(model, folder):
    # Norms and biases start at one and zero, where exchanging two of them would not show.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.to(torch.bfloat16).save_pretrained(folder)


def prefix_clip_keys(file):
    """Gives CLIP's keys the prefix that released FLUX checkpoints have and newer versions of transformers drop."""
    prefixed = lambda key: key if key.startswith("text_model.") else f"text_model.{key}"
    save_file({prefixed(key): tensor for key, tensor in load_file(file).items()}, file, {"format": "pt"})


def main(out):
    source = out / "mflux-saved/source"
    for name in ("tokenizer", "tokenizer_2", "scheduler"):
        shutil.copytree(MODEL / name, source / name, dirs_exist_ok=True)
    shutil.copy(MODEL / "model_index.json", source)
    torch.manual_seed(11)  # the order of the components is that of the draws
    save(transformer(), source / "transformer")
    save(t5(len(AutoTokenizer.from_pretrained(source / "tokenizer_2"))), source / "text_encoder_2")
    save(clip(len(CLIPTokenizer.from_pretrained(source / "tokenizer"))), source / "text_encoder")
    save(vae(), source / "vae")
    prefix_clip_keys(source / "text_encoder/model.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
