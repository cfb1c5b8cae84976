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

// ---------------------------------------------------------------- convolution

// Output positions that one task computes at once, if a row has fewer.
constexpr int run_positions = 1024;

// Convolves x [batch, height, width, inputs] with w [outputs, kernel, kernel, inputs]: lays out a band of rows with its
// zeros, then computes one matrix product per position of the kernel. `statistics` (of group_statistics) normalize x
// first, followed by SiLU; `repeat` enlarges x in both directions; `residual`, of the shape of the result, is added.
array convolve(
    array x, array w, std::optional<array> bias, std::optional<array> statistics, std::optional<array> residual,
    int stride, int before, int after, int repeat) {
  expect(x.ndim() == 4 && w.ndim() == 4 && w.shape(1) == w.shape(2) && w.shape(3) == x.shape(3) && w.size() > 0,
         "takes x [batch, height, width, inputs] and a weight [outputs, kernel, kernel, inputs]");
  const int outputs = w.shape(0), kernel = w.shape(1), inputs = w.shape(3);
  expect(stride > 0 && before >= 0 && after >= 0 && repeat > 0,
         "takes a stride and repeat of at least 1 and padding of at least 0");
  expect(!bias || bias->size() == static_cast<size_t>(outputs), "takes a bias with one value per output");
  expect(!statistics || statistics->shape() == mx::Shape{x.shape(0), 2, inputs}, "takes statistics of x");
  auto extent = [&](int axis) {
    const int64_t padded = static_cast<int64_t>(x.shape(axis)) * repeat + before + after;
    expect(padded >= kernel && padded < INT32_MAX, "takes an image of at least the size of the kernel");
    return static_cast<int>((padded - kernel) / stride + 1);
  };
  mx::Shape shape{x.shape(0), extent(1), extent(2), outputs};
  expect(!residual || residual->shape() == shape, "takes a residual of the shape of the result");

  // The residual is the first input, so that the result may reuse its buffer.
  Inputs all;
  if (residual) all.push_back(*residual);
  const size_t at_x = all.size();
  all.push_back(x);
  all.push_back(w);
  const size_t at_bias = all.size();
  if (bias) all.push_back(*bias);
  const size_t at_statistics = all.size();
  if (statistics) all.push_back(*statistics);
  const bool biased = bias.has_value(), normalized = statistics.has_value(), added = residual.has_value();

  return fuse("convolve", shape, std::move(all), added, [=](const Inputs& in, float* out) {
    const array& x = in[at_x];
    const int batches = shape[0], rows_out = shape[1], columns_out = shape[2];
    const int height = x.shape(1) * repeat, width = x.shape(2) * repeat;
    const int pitch = width + before + after;
    const float* w = floats(in[at_x + 1]);
    // Rows can share a run, across the zeros between them, if each step along it is a step in the image.
    const int in_run = stride > 1 ? 1 : std::max(1, run_positions / pitch);
    const int for_all = (batches * rows_out + runtime::thread_count() - 1) / runtime::thread_count();
    const int band = std::clamp(std::min(in_run, for_all), 1, rows_out);
    const int bands = (rows_out + band - 1) / band;
    runtime::parallel(batches * bands, [&](int task) {
      const int batch = task / bands, first = task % bands * band, rows = std::min(band, rows_out - first);
      const int top = first * stride - before, rows_in = (rows - 1) * stride + kernel;
      const float* image = floats(x) + static_cast<size_t>(batch) * x.shape(1) * x.shape(2) * inputs;
      const float* factor = normalized ? floats(in[at_statistics]) + static_cast<size_t>(batch) * 2 * inputs : nullptr;

      thread_local std::vector<float> padded, result;
      padded.resize(static_cast<size_t>(rows_in) * pitch * inputs);
      for (int row = 0; row < rows_in; row++) {
        float* line = padded.data() + static_cast<size_t>(row) * pitch * inputs;
        const int y = top + row;
        if (y < 0 || y >= height) {
          std::fill_n(line, static_cast<size_t>(pitch) * inputs, 0.0f);
          continue;
        }
        if (repeat > 1 && row > 0 && y % repeat > 0) {
          std::memcpy(line, line - static_cast<size_t>(pitch) * inputs, static_cast<size_t>(pitch) * inputs * 4);
          continue;
        }
        const float* source = image + static_cast<size_t>(y / repeat) * x.shape(2) * inputs;
        float* inside = line + static_cast<size_t>(before) * inputs;
        std::fill_n(line, static_cast<size_t>(before) * inputs, 0.0f);
        std::fill_n(inside + static_cast<size_t>(width) * inputs, static_cast<size_t>(after) * inputs, 0.0f);
        if (repeat > 1) {
          for (int column = 0; column < width; column++) {
            std::memcpy(
                inside + static_cast<size_t>(column) * inputs, source + static_cast<size_t>(column / repeat) * inputs,
                inputs * 4);
          }
          source = inside;
        }
        if (factor) {
          kernels().affine(source, factor, factor + inputs, inside, width, inputs, true);
        } else if (repeat == 1) {
          std::memcpy(inside, source, static_cast<size_t>(width) * inputs * 4);
        }
      }

      const int positions = (rows - 1) * pitch + columns_out;
      result.resize(static_cast<size_t>(positions) * outputs);
      for (int place = 0; place < kernel * kernel; place++) {
        runtime::sgemm_alone(
            false, true, positions, outputs, inputs, 1,
            padded.data() + (static_cast<size_t>(place / kernel) * pitch + place % kernel) * inputs, stride * inputs,
            w + static_cast<size_t>(place) * inputs, kernel * kernel * inputs, place > 0 ? 1.0f : 0.0f, result.data(),
            outputs);
      }
      for (int row = 0; row < rows; row++) {
        const size_t at = ((static_cast<size_t>(batch) * rows_out + first + row) * columns_out) * outputs;
        const float* line = result.data() + static_cast<size_t>(row) * pitch * outputs;
        const float* more = added ? floats(in[0]) + at : nullptr;
        const float* bias = biased ? floats(in[at_bias]) : nullptr;
        for (int column = 0; column < columns_out; column++) {
          for (int channel = 0; channel < outputs; channel++) {
            const size_t i = static_cast<size_t>(column) * outputs + channel;
            out[at + i] = line[i] + (bias ? bias[channel] : 0.0f) + (more ? more[i] : 0.0f);
          }
        }
      }
    });
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
