#include "fused.h"

#ifdef __linux__

#include <cstring>

#include "kernels.h"
#include "linear.h"

// Linear layers whose matrix is not float32: it is widened one panel at a time.

namespace cpu {

bool is_floating(mx::Dtype dtype) {
  return dtype == mx::float32 || dtype == mx::bfloat16 || dtype == mx::float16;
}

const float* widened(const mx::array& a, size_t at, size_t count, float* buffer) {
  if (a.dtype() == mx::float32) return floats(a) + at;
  kernels().widen(a.data<uint16_t>() + at, a.dtype() == mx::bfloat16, buffer, count);
  return buffer;
}

LinearOperands::LinearOperands(const mx::array& x, int features, const std::optional<mx::array>& bias)
    : operands{x}, shape(x.shape()) {
  expect(x.ndim() >= 1, "takes x [..., inputs]");
  expect(!bias || bias->size() == static_cast<size_t>(features), "takes a bias with one value per feature");
  if (bias) operands.push_back(*bias);
  shape.back() = features;
}

void expect_quantized(
    int inputs, const mx::array& w, const mx::array& scales, const mx::array& biases, int group, int bits) {
  expect(w.ndim() == 2 && scales.ndim() == 2 && scales.shape() == biases.shape(), "takes a quantized matrix");
  const int features = w.shape(0);
  expect(inputs > 0 && bits >= 2 && bits <= 8 && bits != 7 && (group == 32 || group == 64 || group == 128) &&
             scales.shape(0) == features && scales.shape(1) * group == inputs &&
             static_cast<int64_t>(w.shape(1)) * 32 == static_cast<int64_t>(inputs) * bits && w.dtype() == mx::uint32,
         "takes a matrix whose scales and bits match x");
  expect(is_floating(scales.dtype()) && biases.dtype() == scales.dtype(),
         "takes scales and biases of one dtype, float32, bfloat16 or float16");
}

namespace {

// Output features and inputs of the part of the matrix that is widened at a time.
constexpr int panel_features = 256;
constexpr int panel_inputs = 512;

// From this many rows on, widening a panel again for other rows costs little.
constexpr size_t rows_worth_a_panel = 192;

// Number of rows and features per task: whole panels for all rows, or less if threads would be idle.
struct PanelCut {
  PanelCut(size_t rows, int features) : rows(std::max<size_t>(rows, 1)), features(panel_features) {
    const size_t wanted = 2 * runtime::thread_count();
    const size_t panels = (features + panel_features - 1) / panel_features;
    if (panels >= wanted) return;
    const size_t worth = std::max<size_t>(1, rows / rows_worth_a_panel);
    const size_t down = std::clamp<size_t>((wanted + panels - 1) / panels, 1, worth);
    this->rows = std::max<size_t>(1, (rows + down - 1) / down);
    if (panels * down < wanted) {
      const size_t share = (features * down + wanted - 1) / wanted;
      this->features = static_cast<int>(std::clamp<size_t>((share + 31) / 32 * 32, 32, panel_features));
    }
  }

  size_t rows;
  int features;
};

// Computes out [rows, features] = activation(x [rows, inputs] Wᵀ + bias); fill(feature, start, count, to) writes part
// of a row of W.
template <typename F>
void panel_products(
    const float* x, size_t rows, int inputs, int features, const float* bias, std::optional<Activation> activation,
    float* out, const F& fill) {
  const PanelCut cut(rows, features);
  const int across = (features + cut.features - 1) / cut.features;
  const int down = static_cast<int>((rows + cut.rows - 1) / cut.rows);
  runtime::parallel(down * across, [&](int task) {
    const int first = task % across * cut.features, n = std::min(cut.features, features - first);
    const size_t top = task / across * cut.rows, m = std::min(cut.rows, rows - top);
    thread_local std::vector<float> panel(static_cast<size_t>(panel_features) * panel_inputs);
    float* result = out + top * features + first;
    for (size_t row = 0; bias && row < m; row++) {
      std::memcpy(result + row * features, bias + first, n * sizeof(float));
    }
    for (int start = 0; start < inputs; start += panel_inputs) {
      const int k = std::min(panel_inputs, inputs - start);
      for (int feature = 0; feature < n; feature++) {
        fill(first + feature, start, k, panel.data() + static_cast<size_t>(feature) * panel_inputs);
      }
      runtime::sgemm_alone(
          false, true, static_cast<int>(m), n, k, 1, x + top * inputs + start, inputs, panel.data(), panel_inputs,
          start > 0 || bias ? 1.0f : 0.0f, result, features);
    }
    for (size_t row = 0; activation && row < m; row++) {
      kernels().activate(*activation, result + row * features, result + row * features, n);
    }
  });
}

}  // namespace

mx::array dense_linear(
    mx::array x, mx::array w, std::optional<mx::array> bias, std::optional<Activation> activation) {
  expect(w.ndim() == 2 && (w.dtype() == mx::bfloat16 || w.dtype() == mx::float16) && x.ndim() >= 1 &&
             x.shape(-1) == w.shape(1),
         "takes x [..., inputs] and a matrix [features, inputs] of bfloat16 or float16");
  LinearOperands linear(x, w.shape(0), bias);
  return fuse(
      "denseLinear", linear.shape, std::move(linear.operands), false,
      [biased = bias.has_value(), activation](const Inputs& in, float* out) {
        const mx::array& w = in[biased ? 2 : 1];
        const size_t inputs = w.shape(1);
        panel_products(
            floats(in[0]), in[0].size() / std::max<size_t>(inputs, 1), w.shape(1), w.shape(0),
            biased ? floats(in[1]) : nullptr, activation, out, [&](size_t feature, size_t start, size_t count, float* to) {
              kernels().widen(w.data<uint16_t>() + feature * inputs + start, w.dtype() == mx::bfloat16, to, count);
            });
      },
      {w});
}

mx::array quantized_linear(
    mx::array x, mx::array w, mx::array scales, mx::array biases, std::optional<mx::array> bias, int group, int bits,
    std::optional<Activation> activation) {
  expect(x.ndim() >= 1, "takes x [..., inputs]");
  expect_quantized(x.shape(-1), w, scales, biases, group, bits);
  LinearOperands linear(x, w.shape(0), bias);
  return fuse(
      "quantizedLinear", linear.shape, std::move(linear.operands), false,
      [group, bits, biased = bias.has_value(), activation](const Inputs& in, float* out) {
        const size_t at = biased ? 2 : 1;
        const mx::array &w = in[at], &scales = in[at + 1], &biases = in[at + 2];
        const int inputs = in[0].shape(-1);
        const size_t row_bytes = static_cast<size_t>(inputs) * bits / 8, groups = inputs / group;
        const auto* packed = reinterpret_cast<const uint8_t*>(w.data<uint32_t>());
        panel_products(
            floats(in[0]), in[0].size() / inputs, inputs, w.shape(0), biased ? floats(in[1]) : nullptr, activation, out,
            [&](size_t feature, size_t start, size_t count, float* to) {
              float of_scales[panel_inputs], of_biases[panel_inputs];
              const size_t of_groups = feature * groups + start / group;
              kernels().dequantize(
                  packed + feature * row_bytes + start * bits / 8,
                  widened(scales, of_groups, count / group, of_scales),
                  widened(biases, of_groups, count / group, of_biases), to, count, group, bits);
            });
      },
      {w, scales, biases});
}

}  // namespace cpu

#endif
