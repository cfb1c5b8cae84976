#pragma once

// What Linear layers have in common whose matrix is not float32.

#include "fused.h"

namespace cpu {

bool is_floating(mx::Dtype dtype);

// `count` values of a floating array from `at` on: where they lie, or widened into `buffer`.
const float* widened(const mx::array& a, size_t at, size_t count, float* buffer);

// x [..., inputs], a bias of as many values as features, and the shape of the result.
struct LinearOperands {
  LinearOperands(const mx::array& x, int features, const std::optional<mx::array>& bias);

  Inputs operands;
  mx::Shape shape;
};

// Throws unless these make an affinely quantized matrix [features, inputs].
void expect_quantized(
    int inputs, const mx::array& w, const mx::array& scales, const mx::array& biases, int group, int bits);

}  // namespace cpu
