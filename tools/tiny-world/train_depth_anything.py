"""Trains the small Depth Anything V2 on renders.

    python train_depth_anything.py DATA DEPTH_ANYTHING MINUTES

Continues from DEPTH_ANYTHING/train.pt if it exists; see depth_training.py.
"""

import sys

import torch
from depth_training import INPUT_SIDE, train
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

# Published models have patches of 14 pixels; at 128 pixels they would see too little of a scene's edges.
PATCH = 8

BACKBONE = {
    "model_type": "dinov2",
    "hidden_size": 64,
    "num_hidden_layers": 6,
    "num_attention_heads": 2,
    "mlp_ratio": 4,
    "image_size": INPUT_SIDE,
    "patch_size": PATCH,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "layerscale_value": 1.0,
    "qkv_bias": True,
    "use_swiglu_ffn": False,
    "num_channels": 3,
    "apply_layernorm": True,
    "reshape_hidden_states": False,
    "out_indices": [2, 3, 5, 6],
}

# Photos of other proportions are squeezed to the square that training showed.
PREPROCESSOR = {
    "keep_aspect_ratio": False,
    "ensure_multiple_of": PATCH,
    "do_pad": False,
    "resample": 3,
    "image_processor_type": "DPTImageProcessor",
}


def build():
    config = DepthAnythingConfig(
        backbone_config=BACKBONE,
        patch_size=PATCH,
        reassemble_hidden_size=BACKBONE["hidden_size"],
        reassemble_factors=[4, 2, 1, 0.5],
        neck_hidden_sizes=[16, 32, 48, 64],
        fusion_hidden_size=24,
        head_in_index=-1,
        head_hidden_size=16,
        depth_estimation_type="relative",
        max_depth=1,
    )
    model = DepthAnythingForDepthEstimation(config)
    even(model)
    return model


@torch.no_grad()
def even(model):
    """Keeps the size of the signal through the decoder: the default start loses it in a dozen layers of convolutions."""
    for part in (model.neck, model.head):
        for module in part.modules():
            if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
                torch.nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
                if module.bias is not None:
                    module.bias.zero_()
    for name, parameter in model.named_parameters():
        if name.endswith("convolution2.weight"):
            parameter.mul_(0.3)
    model.head.conv3.weight.mul_(0.02)
    model.head.conv3.bias.fill_(0.35)


if __name__ == "__main__":
    torch.manual_seed(0)
    train(build(), PREPROCESSOR, sys.argv[1], sys.argv[2], float(sys.argv[3]))
