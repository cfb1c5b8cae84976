#include "quantize.h"

#include <limits>

#include "mlx/ops.h"

namespace cpu {
namespace {

// MLX's quantization. Its scale and bias ignore NaN, which would vanish, so groups with NaN get NaN as their scale.
std::vector<mx::array> quantize_with_mlx(const mx::array& w, int group, int bits) {
  auto quantized = mx::quantize(w, group, bits);
  auto groups = quantized[1].shape();
  groups.push_back(group);
  const auto nans = mx::any(mx::isnan(mx::reshape(w, groups)), -1);
  const auto nan = mx::array(std::numeric_limits<float>::quiet_NaN(), w.dtype());
  quantized[1] = mx::where(nans, nan, quantized[1]);
  return quantized;
}

}  // namespace
}  // namespace cpu

#ifdef __linux__

#include <memory>

#include "fused.h"
#include "kernels.h"
#include "mlx/backend/cpu/encoder.h"

namespace cpu {
namespace {

using mx::array;

// Number of 16-bit values that fit the first cache of a core as floats.
constexpr size_t widened_elements = 4096;
constexpr size_t smallest_group = 32;

// Quantizes float32, directly from its buffer to those of the outputs.
void quantize_groups(const array& w, array& packed, array& scales, array& biases, size_t group, int bits) {
  const size_t bytes = group * bits / 8;
  in_ranges(w.size() / group, grain_elements / group, [&](size_t start, size_t stop) {
    kernels().quantize(
        w.data<float>() + start * group, packed.data<uint8_t>() + start * bytes, scales.data<float>() + start,
        biases.data<float>() + start, stop - start, group, bits);
  });
}

// Quantizes T, float16 or bfloat16.
template <typename T>
void quantize_narrow(const array& w, array& packed, array& scales, array& biases, size_t group, int bits) {
  const size_t bytes = group * bits / 8, step = widened_elements / group;
  in_ranges(w.size() / group, grain_elements / group, [&](size_t start, size_t stop) {
    float values[widened_elements], wide_scales[widened_elements / smallest_group];
    float wide_biases[widened_elements / smallest_group];
    for (size_t at = start; at < stop; at += step) {
      const size_t groups = std::min(step, stop - at);
      kernels().widen(w.data<uint16_t>() + at * group, w.dtype() == mx::bfloat16, values, groups * group);
      kernels().quantize(
          values, packed.data<uint8_t>() + at * bytes, wide_scales, wide_biases, groups, group, bits);
      for (size_t i = 0; i < groups; i++) {
        scales.data<T>()[at + i] = static_cast<T>(wide_scales[i]);
        biases.data<T>()[at + i] = static_cast<T>(wide_biases[i]);
      }
    }
  });
}

class Quantize : public CpuPrimitive {
 public:
  Quantize(mx::Stream stream, int group, int bits)
      : CpuPrimitive(stream, "quantize"), group_(group), bits_(bits) {}

  void eval_cpu(const Inputs& inputs, Inputs& outputs) override {
    for (auto& out : outputs) out.set_data(mx::allocator::malloc(out.nbytes()));
    auto weak = mx::array::unsafe_weak_copy;
    mx::cpu::get_command_encoder(stream()).dispatch(
        [w = weak(inputs[0]), packed = weak(outputs[0]), scales = weak(outputs[1]), biases = weak(outputs[2]),
         group = group_, bits = bits_]() mutable {
          const auto work = w.dtype() == mx::float32 ? quantize_groups
              : w.dtype() == mx::bfloat16            ? quantize_narrow<mx::bfloat16_t>
                                                     : quantize_narrow<mx::float16_t>;
          work(w, packed, scales, biases, group, bits);
        });
  }

 private:
  const int group_, bits_;
};

bool quantizable(const array& w, int group, int bits) {
  return mx::default_device() == mx::Device::cpu && !w.is_tracer() &&
      (w.dtype() == mx::float32 || w.dtype() == mx::bfloat16 || w.dtype() == mx::float16) && w.ndim() >= 2 &&
      (group == 32 || group == 64 || group == 128) && w.shape(-1) % group == 0 && bits >= 2 && bits <= 8 && bits != 7;
}

}  // namespace

std::vector<array> quantize(const array& w, int group, int bits) {
  // MLX's operation handles gradients and everything unusual.
  if (!quantizable(w, group, bits)) return quantize_with_mlx(w, group, bits);
  auto packed = w.shape(), groups = w.shape();
  packed.back() = static_cast<int>(static_cast<int64_t>(w.shape(-1)) * bits / 32);
  groups.back() = w.shape(-1) / group;
  return array::make_arrays(
      {std::move(packed), groups, groups}, {mx::uint32, w.dtype(), w.dtype()},
      std::make_shared<Quantize>(mx::default_stream(mx::Device::cpu), group, bits), {mx::contiguous(w)});
}

}  // namespace cpu

#else

namespace cpu {

std::vector<mx::array> quantize(const mx::array& w, int group, int bits) {
  return quantize_with_mlx(w, group, bits);
}

}  // namespace cpu

#endif
