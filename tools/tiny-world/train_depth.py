"""Trains the small Depth Pro on renders.

    python train_depth.py DATA DEPTH MINUTES

Continues from DEPTH/train.pt if it exists; see depth_training.py.
"""

import sys

import torch
from depth_training import train
from transformers import DepthProConfig, DepthProForDepthEstimation

VIT = {
    "model_type": "dinov2",
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "mlp_ratio": 4,
    "image_size": 32,
    "patch_size": 4,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "layerscale_value": 1.0,
    "qkv_bias": True,
    "use_swiglu_ffn": False,
    "num_channels": 3,
}

PREPROCESSOR = {"resample": 2, "image_processor_type": "DepthProImageProcessorFast"}


def build():
    config = DepthProConfig(
        fusion_hidden_size=16,
        patch_size=32,
        intermediate_hook_ids=[3, 1],
        intermediate_feature_dims=[16, 16],
        scaled_images_ratios=[0.25, 0.5, 1],
        scaled_images_overlap_ratios=[0.0, 0.5, 0.25],
        scaled_images_feature_dims=[48, 32, 24],
        merge_padding_value=1,
        use_batch_norm_in_fusion_residual=False,
        use_bias_in_fusion_residual=True,
        use_fov_model=False,
        image_model_config=VIT,
        patch_model_config=VIT,
        fov_model_config=VIT,
    )
    model = DepthProForDepthEstimation(config)
    quiet(model)
    return model


@torch.no_grad()
def quiet(model):
    """Scales the initial weights down: the default start is far too large for a map in 0..1."""
    for name, parameter in model.named_parameters():
        if name.endswith("convolution2.weight") or name == "head.layers.0.weight":
            parameter.mul_(0.3)
        elif name.startswith(("depth_pro.neck.feature_projection", "fusion_stage.final.projection")):
            parameter.mul_(0.4)
        elif name == "head.layers.4.weight":
            parameter.mul_(0.02)
        elif name == "head.layers.4.bias":
            parameter.fill_(0.35)


if __name__ == "__main__":
    torch.manual_seed(0)
    train(build(), PREPROCESSOR, sys.argv[1], sys.argv[2], float(sys.argv[3]))
