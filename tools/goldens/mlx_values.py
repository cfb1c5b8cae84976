"""Writes mlx.safetensors: seeded noise and quantized matrices from MLX for Python on the CPU.

python mlx_values.py OUT
"""

import sys
from pathlib import Path

import mlx.core as mx

# (seed, height, width) of images; the noise is [1, tokens, 64], drawn as mflux draws it.
NOISE = [(42, 256, 256), (7, 384, 256), (4294967295, 256, 512)]
BITS = [3, 4, 5, 6, 8]
GROUP_SIZE = 64


def noise(seed, height, width):
    return mx.random.normal(shape=[1, (height // 16) * (width // 16), 64], key=mx.random.key(seed))


def quantized(weight, x, bits):
    """A weight [96, 256] quantized, dequantized, and multiplied with x [5, 256]."""
    layout = {"group_size": GROUP_SIZE, "bits": bits}
    packed, scales, biases = mx.quantize(weight, **layout)
    return {
        "weight": packed,
        "scales": scales,
        "biases": biases,
        "dequantized": mx.dequantize(packed, scales, biases, **layout),
        "matmul": mx.quantized_matmul(x, packed, scales, biases, transpose=True, **layout),
    }


def main(out):
    mx.set_default_device(mx.cpu)
    golden = {f"noise_{seed}_{height}x{width}": noise(seed, height, width) for seed, height, width in NOISE}
    for name, dtype in (("f32", mx.float32), ("bf16", mx.bfloat16)):
        weight = (mx.random.normal([96, 256], key=mx.random.key(1)) * 0.02).astype(dtype)
        x = mx.random.normal([5, 256], key=mx.random.key(2)).astype(dtype)
        golden |= {f"{name}.weight": weight, f"{name}.x": x}
        for bits in BITS:
            golden |= {f"{name}.q{bits}.{key}": value for key, value in quantized(weight, x, bits).items()}
    mx.eval(golden)
    out.mkdir(parents=True, exist_ok=True)
    mx.save_safetensors(str(out / "mlx.safetensors"), golden, {"mlx": mx.__version__})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
