#pragma once

// Shared by the Linear layers whose matrix is not float32.

#include "fused.h"

namespace cpu {

bool is_floating(mx::Dtype dtype);

// Returns `count` values of a floating array from `at` on: in place, or widened into `buffer`.
const float* widened(const mx::array& a, size_t at, size_t count, float* buffer);

// Checks x [..., inputs] and a bias with one value per feature; returns the shape of the result.
struct LinearOperands {
  LinearOperands(const mx::array& x, int features, const std::optional<mx::array>& bias);

  Inputs operands;
  mx::Shape shape;
};

// Throws unless the arrays form an affinely quantized matrix [features, inputs].
void expect_quantized(
    int inputs, const mx::array& w, const mx::array& scales, const mx::array& biases, int group, int bits);

}  // namespace cpu
