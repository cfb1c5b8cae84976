#pragma once

#include <vector>

#include "../environment.h"

namespace cpu {

// MLX's affine quantization of [..., columns]: integers, scales and biases. On a Linux CPU by all threads, the same to
// the bit as MLX's own, which one thread computes.
std::vector<mx::array> quantize(const mx::array& w, int group, int bits);

}  // namespace cpu
