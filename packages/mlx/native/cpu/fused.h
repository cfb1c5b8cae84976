#pragma once

// What the fused operations of the CPU backend are made with.

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

// A node of the graph that only the CPU backend evaluates.
class CpuPrimitive : public mx::Primitive {
 public:
  CpuPrimitive(mx::Stream stream, const char* name) : mx::Primitive(stream), name_(name) {}

  void eval_gpu(const Inputs&, Inputs&) override {
    throw std::runtime_error(std::string(name_) + " of the CPU backend does not run on a GPU");
  }
  const char* name() const override {
    return name_;
  }

 private:
  const char* name_;
};

// What a fused operation does: a function of its inputs' buffers that fills the output's.
using Work = std::function<void(const Inputs&, float*)>;

// An array that `work` makes, float32 of such a shape, of contiguous float32 inputs and `stored` ones, of dtypes that
// the caller has looked at. `in_place`: the output may take the buffer of the first input.
mx::array fuse(
    const char* name, mx::Shape shape, Inputs inputs, bool in_place, Work work, const Inputs& stored = {});

// The same with an output of so many bytes, and no inputs but float32 ones.
mx::array fuse_bytes(
    const char* name, size_t bytes, Inputs inputs, std::function<void(const Inputs&, uint8_t*)> work);

// The same of float32 inputs as they lie: `work` goes by their strides.
mx::array fuse_strided(const char* name, mx::Shape shape, Inputs inputs, Work work);

inline const float* floats(const mx::array& a) {
  return a.data<float>();
}

inline void expect(bool fits, const char* what) {
  if (!fits) throw std::invalid_argument(what);
}

// Elements that are worth a task of their own.
constexpr size_t grain_elements = 32768;

// Cuts `count` units into tasks of about `grain` at least, a few for each thread, and runs f(start, stop) on each.
template <typename F>
void in_ranges(size_t count, size_t grain, F f) {
  const size_t most = static_cast<size_t>(runtime::thread_count()) * 4;
  const size_t tasks = std::clamp<size_t>(count / std::max<size_t>(grain, 1), 1, most);
  runtime::parallel(static_cast<int>(tasks), [&](int task) {
    f(count * task / tasks, count * (task + 1) / tasks);
  });
}

// Scratch memory at a multiple of 64 bytes: the calling thread's, until it asks again.
float* scratch_memory(size_t floats);

mx::Strides contiguous_strides(const mx::Shape& shape);

// A float32 array as it lies to places in `out` that are `strides` apart, the last ones side by side; on all threads.
void copy(const mx::array& from, const mx::Strides& strides, float* out);

// softmax(scale · q kᵀ + mask) v without the matrix of scores. q, k, v [batch, heads, tokens, dims] → [batch, queries,
// heads · dims]; mask [batch or 1, heads or 1, queries or 1, keys]. `causal` hides the keys after a query, the last of
// which sees all.
mx::array attend(mx::array q, mx::array k, mx::array v, float scale, std::optional<mx::array> mask, bool causal);

// The same without a mask, with q, k, v and the softmax's weights rounded to bfloat16: where bfloat16_attention exists.
mx::array attend_bfloat16(mx::array q, mx::array k, mx::array v, float scale);

// activation(x [..., inputs] @ wᵀ + bias), with w [features, inputs] as it is stored, in 16 bits.
mx::array dense_linear(
    mx::array x, mx::array w, std::optional<mx::array> bias, std::optional<Activation> activation);

// The same with a matrix that is quantized, a panel of it at a time.
mx::array quantized_linear(
    mx::array x, mx::array w, mx::array scales, mx::array biases, std::optional<mx::array> bias, int group, int bits,
    std::optional<Activation> activation);

// x [..., inputs], in parts that stand side by side on the last axis, rounded to 8 bits for any number of matrices of
// so many bits: bytes in an order of their own. Each group of inputs of each row has a scale of its own.
mx::array round_inputs(Inputs parts, int group, int bits);

// The same as quantized_linear with inputs that are rounded so, of an x of the shape `of`: the integers of the weights
// are multiplied as they are, scales applied to whole groups, and the weights' biases multiplied with sums of inputs.
mx::array integer_linear(
    mx::array rounded, mx::Shape of, mx::array w, mx::array scales, mx::array biases, std::optional<mx::array> bias,
    int group, int bits, std::optional<Activation> activation);

// Whether this machine has that for weights of so many bits.
bool multiplies_integers(int bits);

}  // namespace cpu
