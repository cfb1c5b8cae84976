#include "../convert.h"
#include "kernels.h"
#include "peak.h"

namespace cpu {
namespace {

std::optional<Activation> activation_of(const std::optional<std::string>& kind) {
  static const std::pair<const char*, Activation> kinds[] = {
      {"silu", Activation::silu},
      {"gelu", Activation::gelu},
      {"geluTanh", Activation::gelu_tanh},
      {"quickGelu", Activation::quick_gelu},
      {"relu", Activation::relu},
  };
  if (!kind) return std::nullopt;
  for (auto& [name, activation] : kinds) {
    if (*kind == name) return activation;
  }
  throw std::invalid_argument("unknown activation \"" + *kind + "\"");
}

}  // namespace
}  // namespace cpu

#ifdef __linux__

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "fused.h"
#include "linear.h"

// Fused operations of the CPU backend: one pass on all threads where MLX takes many passes on one. All of them take and
// return float32. Layers use them where `fusible` allows it, and the plain operations elsewhere.

namespace cpu {

namespace {

using mx::array;

// ---------------------------------------------------------------- elementwise and norms

array activate(array x, Activation activation) {
  return fuse("activation", x.shape(), {x}, true, [activation](const Inputs& in, float* out) {
    const float* x = floats(in[0]);
    in_ranges(in[0].size(), grain_elements, [&](size_t start, size_t stop) {
      kernels().activate(activation, x + start, out + start, stop - start);
    });
  });
}

// Checks for [batch, tokens, dims] and [batch, 1, dims].
void expect_modulation(const array& x, const array& m) {
  expect(x.ndim() == 3 && m.ndim() == 3 && m.shape(0) == x.shape(0) && m.shape(1) == 1 && m.shape(2) == x.shape(2),
         "takes [batch, tokens, dims] and [batch, 1, dims]");
}

// Runs f(batch, first row, rows) over ranges of rows within a batch.
template <typename F>
void in_rows(const array& x, F f) {
  const size_t tokens = x.shape(1), dims = x.shape(2);
  const size_t step = std::max<size_t>(1, grain_elements / std::max<size_t>(dims, 1));
  const size_t parts = (tokens + step - 1) / step;
  in_ranges(x.shape(0) * parts, 1, [&](size_t start, size_t stop) {
    for (size_t part = start; part < stop; part++) {
      const size_t first = part % parts * step;
      f(part / parts, first, std::min(step, tokens - first));
    }
  });
}

array modulated_norm(array x, array scale, array shift, float eps) {
  expect_modulation(x, scale);
  expect_modulation(x, shift);
  return fuse("modulatedNorm", x.shape(), {x, scale, shift}, true, [eps](const Inputs& in, float* out) {
    const size_t tokens = in[0].shape(1), dims = in[0].shape(2);
    in_rows(in[0], [&](size_t batch, size_t first, size_t rows) {
      const size_t at = (batch * tokens + first) * dims;
      kernels().layer_norm(
          floats(in[0]) + at, 1, floats(in[1]) + batch * dims, floats(in[2]) + batch * dims, out + at, rows, dims, eps);
    });
  });
}

// Normalizes x [..., dims], multiplies by the weight and adds the bias.
array layer_norm(array x, array weight, array bias, float eps) {
  expect(x.ndim() >= 1 && weight.shape() == mx::Shape{x.shape(-1)} && bias.shape() == weight.shape(),
         "takes x [..., dims] and a weight and bias [dims]");
  return fuse("layerNorm", x.shape(), {x, weight, bias}, true, [eps](const Inputs& in, float* out) {
    const size_t dims = in[1].size();
    in_ranges(in[0].size() / dims, std::max<size_t>(1, grain_elements / dims), [&](size_t start, size_t stop) {
      kernels().layer_norm(
          floats(in[0]) + start * dims, 0, floats(in[1]), floats(in[2]), out + start * dims, stop - start, dims, eps);
    });
  });
}

array gated_add(array x, array gate, array y) {
  expect_modulation(x, gate);
  expect(x.shape() == y.shape(), "takes two arrays of the same shape");
  return fuse("gatedAdd", x.shape(), {x, gate, y}, true, [](const Inputs& in, float* out) {
    const size_t tokens = in[0].shape(1), dims = in[0].shape(2);
    in_rows(in[0], [&](size_t batch, size_t first, size_t rows) {
      const size_t at = (batch * tokens + first) * dims;
      kernels().gated_add(
          floats(in[0]) + at, floats(in[1]) + batch * dims, floats(in[2]) + at, out + at, rows, dims);
    });
  });
}

// x [batch, tokens, heads · dims] → [batch, heads, tokens, dims]. Normalizes the vector of each head and rotates it by
// the angles of its token, in row `offset` + token of cos and sin.
array norm_rotate(array x, array weight, array cos, array sin, int heads, int offset, float eps) {
  expect(x.ndim() == 3 && heads > 0 && x.shape(2) % heads == 0, "takes [batch, tokens, heads · dims]");
  const int dims = x.shape(2) / heads;
  expect(dims % 2 == 0 && weight.ndim() == 1 && weight.shape(0) == dims,
         "takes a weight of the head size, which must be even");
  expect(cos.ndim() == 2 && cos.shape() == sin.shape() && cos.shape(1) == dims / 2 && offset >= 0 &&
             offset + x.shape(1) <= cos.shape(0),
         "takes cos and sin [tokens, dims / 2] with rows for all tokens");
  return fuse(
      "normRotate", {x.shape(0), heads, x.shape(1), dims}, {x, weight, cos, sin}, false,
      [heads, offset, dims, eps](const Inputs& in, float* out) {
        const size_t tokens = in[0].shape(1), width = in[0].shape(2), half = dims / 2;
        in_rows(in[0], [&](size_t batch, size_t first, size_t rows) {
          for (size_t token = first; token < first + rows; token++) {
            for (size_t head = 0; head < static_cast<size_t>(heads); head++) {
              kernels().norm_rotate(
                  floats(in[0]) + (batch * tokens + token) * width + head * dims, floats(in[1]),
                  floats(in[2]) + (offset + token) * half, floats(in[3]) + (offset + token) * half,
                  out + ((batch * heads + head) * tokens + token) * dims, dims, eps);
            }
          }
        });
      });
}

void expect_groups(const array& x, const array& weight, const array& bias, int groups) {
  expect(x.ndim() == 4, "takes [batch, height, width, channels]");
  const int channels = x.shape(3);
  expect(groups > 0 && channels % groups == 0 && weight.size() == static_cast<size_t>(channels) &&
             bias.size() == static_cast<size_t>(channels),
         "takes groups that divide the channels, and a weight and bias with one value per channel");
}

// Computes the factors and offsets that normalize one image x [positions, channels]: x · factor + offset, by channel.
void group_factors(
    const float* x, const float* weight, const float* bias, size_t positions, size_t channels, int groups, float eps,
    float* factor, float* offset) {
  const size_t size = channels / groups;
  // Compute statistics of bands of rows, so that all threads have work for any number of groups.
  const size_t bands = std::clamp<size_t>(positions * channels / grain_elements, 1, 64);
  const size_t parts = bands * groups;
  std::vector<double> partial(parts);
  auto total = [&](auto of_band) {
    in_ranges(bands, 1, [&](size_t start, size_t stop) {
      for (size_t band = start; band < stop; band++) {
        const size_t first = positions * band / bands, last = positions * (band + 1) / bands;
        for (int group = 0; group < groups; group++) {
          partial[band * groups + group] = of_band(x + first * channels + group * size, last - first, group);
        }
      }
    });
    std::vector<double> sums(groups);
    for (size_t part = 0; part < parts; part++) sums[part % groups] += partial[part];
    for (auto& sum : sums) sum /= static_cast<double>(positions * size);
    return sums;
  };
  auto means = total([&](const float* p, size_t n, int) { return kernels().group_sum(p, n, channels, size); });
  auto variances = total([&](const float* p, size_t n, int group) {
    return kernels().group_squares(p, n, channels, size, static_cast<float>(means[group]));
  });
  for (size_t channel = 0; channel < channels; channel++) {
    const double scale = weight[channel] / std::sqrt(variances[channel / size] + eps);
    factor[channel] = static_cast<float>(scale);
    offset[channel] = static_cast<float>(bias[channel] - means[channel / size] * scale);
  }
}

array group_norm(array x, array weight, array bias, int groups, float eps, bool silu) {
  expect_groups(x, weight, bias, groups);
  return fuse("groupNorm", x.shape(), {x, weight, bias}, true, [groups, eps, silu](const Inputs& in, float* out) {
    const size_t channels = in[0].shape(3);
    const size_t positions = static_cast<size_t>(in[0].shape(1)) * in[0].shape(2);
    std::vector<float> factor(channels), offset(channels);
    for (int batch = 0; batch < in[0].shape(0); batch++) {
      const size_t at = batch * positions * channels;
      const float* x = floats(in[0]) + at;
      group_factors(
          x, floats(in[1]), floats(in[2]), positions, channels, groups, eps, factor.data(), offset.data());
      in_ranges(positions, std::max<size_t>(1, grain_elements / channels), [&](size_t start, size_t stop) {
        kernels().affine(
            x + start * channels, factor.data(), offset.data(), out + at + start * channels, stop - start, channels,
            silu);
      });
    }
  });
}

// [batch, height, width, channels] → the factors and offsets that normalize it, [batch, 2, channels].
array group_statistics(array x, array weight, array bias, int groups, float eps) {
  expect_groups(x, weight, bias, groups);
  return fuse(
      "groupStatistics", {x.shape(0), 2, x.shape(3)}, {x, weight, bias}, false,
      [groups, eps](const Inputs& in, float* out) {
        const size_t channels = in[0].shape(3);
        const size_t positions = static_cast<size_t>(in[0].shape(1)) * in[0].shape(2);
        for (int batch = 0; batch < in[0].shape(0); batch++, out += 2 * channels) {
          group_factors(
              floats(in[0]) + batch * positions * channels, floats(in[1]), floats(in[2]), positions, channels, groups,
              eps, out, out + channels);
        }
      });
}

// ---------------------------------------------------------------- joining

// Concatenates arrays along an axis; their shapes agree except for it. They may be views.
array join(Inputs parts, int axis) {
  expect(!parts.empty() && parts[0].ndim() > 0, "takes arrays with at least one axis");
  mx::Shape shape = parts[0].shape();
  const int axes = static_cast<int>(shape.size());
  if (axis < 0) axis += axes;
  expect(axis >= 0 && axis < axes, "takes an axis of the arrays");
  shape[axis] = 0;
  for (auto& part : parts) {
    expect(static_cast<int>(part.ndim()) == axes, "takes arrays with the same number of axes");
    for (int i = 0; i < axes; i++) {
      expect(i == axis || part.shape(i) == shape[i], "takes arrays whose shapes agree except for the axis");
    }
    shape[axis] += part.shape(axis);
  }
  const mx::Strides strides = contiguous_strides(shape);
  return fuse_strided("join", shape, std::move(parts), [axis, strides](const Inputs& in, float* out) {
    for (auto& part : in) {
      copy(part, strides, out);
      out += part.shape(axis) * strides[axis];
    }
  });
}

bool multiplies_bfloat16() {
  return bfloat16_attention() != nullptr;
}

bool fusible(const array& a) {
  return mx::default_device() == mx::Device::cpu && a.dtype() == mx::float32 && !a.is_tracer();
}

// Whether a matrix, or its scales and biases, can be multiplied as stored.
bool fusible_weight(const array& a) {
  return mx::default_device() == mx::Device::cpu && is_floating(a.dtype()) && !a.is_tracer();
}

}  // namespace
}  // namespace cpu

#else

namespace cpu {
namespace {

using mx::array;

// Stubs: nothing is fusible outside Linux.
[[noreturn]] array absent() {
  throw std::runtime_error("fused operations exist on Linux only");
}
array activate(array, Activation) { return absent(); }
array modulated_norm(array, array, array, float) { return absent(); }
array layer_norm(array, array, array, float) { return absent(); }
array gated_add(array, array, array) { return absent(); }
array norm_rotate(array, array, array, array, int, int, float) { return absent(); }
array join(std::vector<array>, int) { return absent(); }
array group_norm(array, array, array, int, float, bool) { return absent(); }
array group_statistics(array, array, array, int, float) { return absent(); }
array convolve(
    array, array, std::optional<array>, std::optional<array>, std::optional<array>, int, int, int, int) {
  return absent();
}
array attend(array, array, array, float, std::optional<array>, bool) { return absent(); }
array dense_linear(array, array, std::optional<array>, std::optional<Activation>) { return absent(); }
array quantized_linear(
    array, array, array, array, std::optional<array>, int, int, std::optional<Activation>) {
  return absent();
}
array round_inputs(std::vector<array>, int, int) { return absent(); }
array integer_linear(
    array, mx::Shape, array, array, array, std::optional<array>, int, int, std::optional<Activation>) {
  return absent();
}
bool multiplies_integers(int) { return false; }
bool multiplies_bfloat16() { return false; }
bool fusible(const array&) { return false; }
bool fusible_weight(const array&) { return false; }
const char* instruction_set() { return "none"; }
std::string processor() { return "none"; }

}  // namespace
}  // namespace cpu

#endif

Table cpu_table() {
  using mx::array;
  return {
      row("fusible", "a", [](array a) { return cpu::fusible(a); }),
      row("fusibleWeight", "a", [](array a) { return cpu::fusible_weight(a); }),
      row("instructionSet", "", [] { return std::string(cpu::instruction_set()); }),
      row("processor", "", [] { return cpu::processor(); }),
      row("peakRate", "arithmetic", [](std::string arithmetic) { return cpu::peak_rate(arithmetic); }),
      row("fusedActivation", "x kind",
          [](array x, std::string kind) { return cpu::activate(x, *cpu::activation_of(kind)); }),
      row("fusedModulatedNorm", "x scale shift eps",
          [](array x, array scale, array shift, float eps) { return cpu::modulated_norm(x, scale, shift, eps); }),
      row("fusedLayerNorm", "x weight bias eps",
          [](array x, array weight, array bias, float eps) { return cpu::layer_norm(x, weight, bias, eps); }),
      row("fusedGatedAdd", "x gate y", [](array x, array gate, array y) { return cpu::gated_add(x, gate, y); }),
      row("fusedNormRotate", "x weight cos sin heads offset eps",
          [](array x, array weight, array cos, array sin, int heads, int offset, float eps) {
            return cpu::norm_rotate(x, weight, cos, sin, heads, offset, eps);
          }),
      row("fusedJoin", "arrays axis", [](std::vector<array> arrays, int axis) { return cpu::join(arrays, axis); }),
      row("fusedGroupNorm", "x weight bias groups eps silu",
          [](array x, array weight, array bias, int groups, float eps, bool silu) {
            return cpu::group_norm(x, weight, bias, groups, eps, silu);
          }),
      row("groupStatistics", "x weight bias groups eps",
          [](array x, array weight, array bias, int groups, float eps) {
            return cpu::group_statistics(x, weight, bias, groups, eps);
          }),
      row("fusedConvolution", "x w bias statistics residual stride before after repeat",
          [](array x, array w, std::optional<array> bias, std::optional<array> statistics,
             std::optional<array> residual, int stride, int before, int after, int repeat) {
            return cpu::convolve(x, w, bias, statistics, residual, stride, before, after, repeat);
          }),
      row("fusedAttention", "q k v scale mask causal",
          [](array q, array k, array v, float scale, std::optional<array> mask, bool causal) {
            return cpu::attend(q, k, v, scale, mask, causal);
          }),
      row("multipliesBfloat16", "", [] { return cpu::multiplies_bfloat16(); }),
      row("fusedBfloat16Attention", "q k v scale",
          [](array q, array k, array v, float scale) { return cpu::attend_bfloat16(q, k, v, scale); }),
      row("multipliesIntegers", "bits", [](int bits) { return cpu::multiplies_integers(bits); }),
      row("fusedLinear", "x w bias activation",
          [](array x, array w, std::optional<array> bias, std::optional<std::string> activation) {
            return cpu::dense_linear(x, w, bias, cpu::activation_of(activation));
          }),
      row("fusedRoundInputs", "parts groupSize bits",
          [](std::vector<array> parts, int group, int bits) { return cpu::round_inputs(parts, group, bits); }),
      row("fusedIntegerLinear", "rounded shape w scales biases bias groupSize bits activation",
          [](array rounded, mx::Shape shape, array w, array scales, array biases, std::optional<array> bias, int group,
             int bits, std::optional<std::string> activation) {
            return cpu::integer_linear(
                rounded, shape, w, scales, biases, bias, group, bits, cpu::activation_of(activation));
          }),
      row("fusedQuantizedLinear", "x w scales biases bias groupSize bits activation",
          [](array x, array w, array scales, array biases, std::optional<array> bias, int group, int bits,
             std::optional<std::string> activation) {
            return cpu::quantized_linear(x, w, scales, biases, bias, group, bits, cpu::activation_of(activation));
          }),
  };
}
