#pragma once

// Building blocks of the fused operations of the CPU backend.

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "../environment.h"
#include "../runtime.h"
#include "kernels.h"
#include "mlx/primitives.h"

namespace cpu {

using Inputs = std::vector<mx::array>;

// A graph node that only the CPU backend can evaluate.
class CpuPrimitive : public mx::Primitive {
 public:
  CpuPrimitive(mx::Stream stream, const char* name) : mx::Primitive(stream), name_(name) {}

  void eval_gpu(const Inputs&, Inputs&) override {
    throw std::runtime_error(std::string(name_) + " runs on the CPU backend only");
  }
  const char* name() const override {
    return name_;
  }

 private:
  const char* name_;
};

// The work of a fused operation: reads the input buffers and fills the output buffer.
using Work = std::function<void(const Inputs&, float*)>;

// Makes a float32 array of the given shape, computed by `work` from contiguous float32 inputs and from `stored` inputs,
// whose dtypes the caller has checked. `in_place` lets the output reuse the buffer of the first input.
mx::array fuse(
    const char* name, mx::Shape shape, Inputs inputs, bool in_place, Work work, const Inputs& stored = {});

// The same with an output of the given number of bytes and float32 inputs only.
mx::array fuse_bytes(
    const char* name, size_t bytes, Inputs inputs, std::function<void(const Inputs&, uint8_t*)> work);

// The same with float32 inputs of any layout: `work` follows their strides.
mx::array fuse_strided(const char* name, mx::Shape shape, Inputs inputs, Work work);

inline const float* floats(const mx::array& a) {
  return a.data<float>();
}

inline void expect(bool fits, const char* what) {
  if (!fits) throw std::invalid_argument(what);
}

// Number of elements that make a task worthwhile.
constexpr size_t grain_elements = 32768;

// Cuts `count` units into tasks of at least about `grain`, a few per thread, and runs f(start, stop) on each.
template <typename F>
void in_ranges(size_t count, size_t grain, F f) {
  const size_t most = static_cast<size_t>(runtime::thread_count()) * 4;
  const size_t tasks = std::clamp<size_t>(count / std::max<size_t>(grain, 1), 1, most);
  runtime::parallel(static_cast<int>(tasks), [&](int task) {
    f(count * task / tasks, count * (task + 1) / tasks);
  });
}

// Scratch memory of the calling thread, aligned to 64 bytes, valid until its next call.
float* scratch_memory(size_t floats);

mx::Strides contiguous_strides(const mx::Shape& shape);

// Copies a float32 array of any layout to `out` with the given strides (the last one is 1), on all threads.
void copy(const mx::array& from, const mx::Strides& strides, float* out);

// Computes softmax(scale · q kᵀ + mask) v without storing all scores. q, k, v [batch, heads, tokens, dims] → [batch,
// queries, heads · dims]; mask [batch or 1, heads or 1, queries or 1, keys]. `causal` hides the keys after each query;
// the last query sees all keys.
mx::array attend(mx::array q, mx::array k, mx::array v, float scale, std::optional<mx::array> mask, bool causal);

// The same without a mask, with q, k, v and the softmax weights rounded to bfloat16. Needs bfloat16_attention().
mx::array attend_bfloat16(mx::array q, mx::array k, mx::array v, float scale);

// Convolves x [batch, height, width, inputs] with w [outputs, kernel, kernel, inputs] after `before` zeros above and on
// the left, and `after` below and on the right. `statistics` [batch, 2, inputs], factors and offsets, normalize x first,
// followed by SiLU; `repeat` enlarges x in both directions; `residual`, of the shape of the result, is added.
mx::array convolve(
    mx::array x, mx::array w, std::optional<mx::array> bias, std::optional<mx::array> statistics,
    std::optional<mx::array> residual, int stride, int before, int after, int repeat);

// Computes activation(x [..., inputs] @ wᵀ + bias), with w [features, inputs] as stored, in 16 bits.
mx::array dense_linear(
    mx::array x, mx::array w, std::optional<mx::array> bias, std::optional<Activation> activation);

// The same with a quantized matrix, dequantized one panel at a time.
mx::array quantized_linear(
    mx::array x, mx::array w, mx::array scales, mx::array biases, std::optional<mx::array> bias, int group, int bits,
    std::optional<Activation> activation);

// Rounds x [..., inputs], given in parts side by side on the last axis, to 8 bits for any number of matrices of `bits`.
// Each group of inputs of each row has its own scale. The result is bytes in a private layout.
mx::array round_inputs(Inputs parts, int group, int bits);

// The integer counterpart of quantized_linear, for the rounded inputs of an x with shape `of`: multiplies the integers
// of the weights directly, applies scales to whole groups, and multiplies the biases of the weights by sums of inputs.
mx::array integer_linear(
    mx::array rounded, mx::Shape of, mx::array w, mx::array scales, mx::array biases, std::optional<mx::array> bias,
    int group, int bits, std::optional<Activation> activation);

// Whether this machine has integer products for weights of `bits`.
bool multiplies_integers(int bits);

}  // namespace cpu
