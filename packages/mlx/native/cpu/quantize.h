#pragma once

#include <vector>

#include "../environment.h"

namespace cpu {

// MLX's affine quantization of [..., columns]: integers, scales and biases. On a Linux CPU, all threads compute it,
// with results equal to the last bit to those of MLX, which uses one thread.
std::vector<mx::array> quantize(const mx::array& w, int group, int bits);

}  // namespace cpu
