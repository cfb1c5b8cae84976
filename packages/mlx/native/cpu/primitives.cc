#include "../convert.h"

#ifdef __linux__

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "../runtime.h"
#include "kernels.h"
#include "mlx/backend/cpu/encoder.h"
#include "mlx/primitives.h"

// Fused operations of the CPU backend: what MLX does there in many passes on one thread, in one pass on all. All take
// and give float32. Layers choose them where `fusible` says so, and have the plain operations for everything else.

namespace cpu {

const Kernels& kernels() {
  static const Kernels& chosen = []() -> const Kernels& {
#ifdef __x86_64__
    const char* wish = std::getenv("MFLUX_DEPTH_ISA");
    const std::string isa = wish ? wish : "";
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (avx512 && (isa.empty() || isa == "avx512")) return avx512_kernels;
    if (avx2 && (isa.empty() || isa == "avx512" || isa == "avx2")) return avx2_kernels;
#endif
    return generic_kernels;
  }();
  return chosen;
}

namespace {

using mx::array;
using Inputs = std::vector<array>;

// A node of the graph with one output, whose work is a function of the inputs' buffers.
class Fused : public mx::Primitive {
 public:
  using Work = std::function<void(const Inputs&, float*)>;

  // `in_place`: the output may take the buffer of the first input.
  Fused(mx::Stream stream, const char* name, bool in_place, Work work)
      : mx::Primitive(stream), name_(name), in_place_(in_place), work_(std::move(work)) {}

  void eval_cpu(const Inputs& inputs, Inputs& outputs) override {
    auto& out = outputs[0];
    if (in_place_ && inputs[0].is_donatable() && inputs[0].nbytes() == out.nbytes()) {
      out.copy_shared_buffer(inputs[0]);
    } else {
      out.set_data(mx::allocator::malloc(out.nbytes()));
    }
    if (out.size() == 0) return;
    Inputs held;
    held.reserve(inputs.size());
    for (auto& input : inputs) held.push_back(array::unsafe_weak_copy(input));
    mx::cpu::get_command_encoder(stream()).dispatch(
        [work = work_, held = std::move(held), out = array::unsafe_weak_copy(out)]() mutable {
          work(held, out.data<float>());
        });
  }

  void eval_gpu(const Inputs&, Inputs&) override {
    throw std::runtime_error("fused operations of the CPU backend do not run on a GPU");
  }

  const char* name() const override {
    return name_;
  }

 private:
  const char* name_;
  const bool in_place_;
  const Work work_;
};

array fuse(const char* name, mx::Shape shape, Inputs inputs, bool in_place, Fused::Work work) {
  for (auto& input : inputs) {
    if (input.dtype() != mx::float32 && input.dtype() != mx::uint32) {
      throw std::invalid_argument(std::string("takes float32, got ") + dtype_name(input.dtype()));
    }
    input = mx::contiguous(input);
  }
  auto primitive = std::make_shared<Fused>(mx::default_stream(mx::Device::cpu), name, in_place, std::move(work));
  return array(std::move(shape), mx::float32, std::move(primitive), std::move(inputs));
}

const float* floats(const array& a) {
  return a.data<float>();
}

// Cuts `count` units into tasks of about `grain` at least, a few for each thread, and runs f(start, stop) on each.
template <typename F>
void in_ranges(size_t count, size_t grain, F f) {
  const size_t most = static_cast<size_t>(runtime::thread_count()) * 4;
  const size_t tasks = std::clamp<size_t>(count / std::max<size_t>(grain, 1), 1, most);
  runtime::parallel(static_cast<int>(tasks), [&](int task) {
    f(count * task / tasks, count * (task + 1) / tasks);
  });
}

// Elements that are worth a task of their own.
constexpr size_t grain_elements = 32768;

void expect(bool fits, const char* what) {
  if (!fits) throw std::invalid_argument(what);
}

// ---------------------------------------------------------------- elementwise and norms

array activate(array x, const std::string& kind) {
  static const std::pair<const char*, Activation> kinds[] = {
      {"silu", Activation::silu},
      {"gelu", Activation::gelu},
      {"geluTanh", Activation::gelu_tanh},
      {"quickGelu", Activation::quick_gelu},
  };
  for (auto& [name, activation] : kinds) {
    if (kind != name) continue;
    return fuse(name, x.shape(), {x}, true, [activation = activation](const Inputs& in, float* out) {
      const float* x = floats(in[0]);
      in_ranges(in[0].size(), grain_elements, [&](size_t start, size_t stop) {
        kernels().activate(activation, x + start, out + start, stop - start);
      });
    });
  }
  throw std::invalid_argument("unknown activation \"" + kind + "\"");
}

// [batch, tokens, dims] beside [batch, 1, dims]
void expect_modulation(const array& x, const array& m) {
  expect(x.ndim() == 3 && m.ndim() == 3 && m.shape(0) == x.shape(0) && m.shape(1) == 1 && m.shape(2) == x.shape(2),
         "takes [batch, tokens, dims] and [batch, 1, dims]");
}

// Runs f(batch, first row, rows) over ranges of rows that stay within a batch.
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
      kernels().modulated_norm(
          floats(in[0]) + at, floats(in[1]) + batch * dims, floats(in[2]) + batch * dims, out + at, rows, dims, eps);
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

// x [batch, tokens, heads · dims] → [batch, heads, tokens, dims], each head's vector normalized and turned by the
// angles of its token, which is row `offset` + token of cos and sin.
array norm_rotate(array x, array weight, array cos, array sin, int heads, int offset, float eps) {
  expect(x.ndim() == 3 && heads > 0 && x.shape(2) % heads == 0, "takes [batch, tokens, heads · dims]");
  const int dims = x.shape(2) / heads;
  expect(dims % 2 == 0 && weight.ndim() == 1 && weight.shape(0) == dims, "takes a weight of head size, which is even");
  expect(cos.ndim() == 2 && cos.shape() == sin.shape() && cos.shape(1) == dims / 2 && offset >= 0 &&
             offset + x.shape(1) <= cos.shape(0),
         "takes cos and sin [tokens, dims / 2] that reach to the last token");
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

array group_norm(array x, array weight, array bias, int groups, float eps, bool silu) {
  expect(x.ndim() == 4, "takes [batch, height, width, channels]");
  const int channels = x.shape(3);
  expect(groups > 0 && channels % groups == 0 && weight.size() == static_cast<size_t>(channels) &&
             bias.size() == static_cast<size_t>(channels),
         "takes groups that divide the channels, and a weight and bias of as many channels");
  return fuse("groupNorm", x.shape(), {x, weight, bias}, true, [groups, eps, silu](const Inputs& in, float* out) {
    const size_t channels = in[0].shape(3), size = channels / groups;
    const size_t positions = static_cast<size_t>(in[0].shape(1)) * in[0].shape(2);
    // Statistics of a band of rows at a time, so that all threads have some whatever the number of groups.
    const size_t bands = std::clamp<size_t>(positions * channels / grain_elements, 1, 64);
    const size_t parts = bands * groups;
    std::vector<double> partial(parts);
    std::vector<float> factor(channels), offset(channels);
    for (int batch = 0; batch < in[0].shape(0); batch++) {
      const size_t at = batch * positions * channels;
      const float* x = floats(in[0]) + at;
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
        const double scale = floats(in[1])[channel] / std::sqrt(variances[channel / size] + eps);
        factor[channel] = static_cast<float>(scale);
        offset[channel] = static_cast<float>(floats(in[2])[channel] - means[channel / size] * scale);
      }
      in_ranges(positions, std::max<size_t>(1, grain_elements / channels), [&](size_t start, size_t stop) {
        kernels().affine(
            x + start * channels, factor.data(), offset.data(), out + at + start * channels, stop - start, channels,
            silu);
      });
    }
  });
}

// ---------------------------------------------------------------- attention

// Rows and columns of a block of scores: half a megabyte, which a core's cache holds beside the operands.
constexpr int query_block = 128;
constexpr int key_block = 1024;

// softmax(scale · q kᵀ) v without the matrix of scores (Milakov and Gimelshein 2018; Dao et al. 2022).
// q, k, v [batch, heads, tokens, dims] → [batch, queries, heads · dims].
array attend(array q, array k, array v, float scale) {
  expect(q.ndim() == 4 && k.ndim() == 4 && v.shape() == k.shape() && q.shape(0) == k.shape(0) &&
             q.shape(1) == k.shape(1) && q.shape(3) == k.shape(3) && k.shape(2) > 0,
         "takes q, k and v [batch, heads, tokens, dims], k and v of the same shape");
  return fuse(
      "attend", {q.shape(0), q.shape(2), q.shape(1) * q.shape(3)}, {q, k, v}, false,
      [scale](const Inputs& in, float* out) {
        const int heads = in[0].shape(1), queries = in[0].shape(2), dims = in[0].shape(3), keys = in[1].shape(2);
        const int blocks = (queries + query_block - 1) / query_block;
        const size_t width = static_cast<size_t>(heads) * dims;
        runtime::parallel(in[0].shape(0) * heads * blocks, [&](int task) {
          const int first = task % blocks * query_block, rows = std::min(query_block, queries - first);
          const size_t head = task / blocks;  // of all batches
          const float* q = floats(in[0]) + (head * queries + first) * dims;
          const float* k = floats(in[1]) + head * keys * dims;
          const float* v = floats(in[2]) + head * keys * dims;
          float* result = out + ((head / heads) * queries + first) * width + (head % heads) * dims;

          thread_local std::vector<float> scores(static_cast<size_t>(query_block) * key_block);
          float maximum[query_block], sum[query_block], rescale[query_block];
          std::fill_n(maximum, rows, -std::numeric_limits<float>::infinity());
          std::fill_n(sum, rows, 0.0f);
          for (int start = 0; start < keys; start += key_block) {
            const int n = std::min(key_block, keys - start);
            runtime::sgemm_alone(
                false, true, rows, n, dims, scale, q, dims, k + static_cast<size_t>(start) * dims, dims, 0,
                scores.data(), key_block);
            kernels().softmax_block(scores.data(), rows, n, key_block, maximum, sum, rescale);
            if (start > 0) {
              for (int row = 0; row < rows; row++) kernels().scale(result + row * width, rescale[row], dims);
            }
            runtime::sgemm_alone(
                false, false, rows, dims, n, 1, scores.data(), key_block, v + static_cast<size_t>(start) * dims, dims,
                start > 0 ? 1.0f : 0.0f, result, static_cast<int>(width));
          }
          for (int row = 0; row < rows; row++) kernels().scale(result + row * width, 1 / sum[row], dims);
        });
      });
}

// ---------------------------------------------------------------- quantized Linear

// Output features and inputs of the part of the matrix that is dense at a time.
constexpr int panel_features = 256;
constexpr int panel_inputs = 512;

// x [..., inputs] @ dequantize(w)ᵀ + bias, a panel of the matrix at a time.
array quantized_linear(
    array x, array w, array scales, array biases, std::optional<array> bias, int group, int bits) {
  expect(x.ndim() >= 1 && w.ndim() == 2 && scales.ndim() == 2 && scales.shape() == biases.shape(),
         "takes x and a quantized matrix");
  const int inputs = x.shape(-1), features = w.shape(0);
  expect(bits >= 2 && bits <= 8 && bits != 7 && group > 0 && panel_inputs % group == 0 && group % 8 == 0 &&
             scales.shape(0) == features && scales.shape(1) * group == inputs &&
             static_cast<int64_t>(w.shape(1)) * 32 == static_cast<int64_t>(inputs) * bits &&
             w.dtype() == mx::uint32 && (!bias || bias->size() == static_cast<size_t>(features)),
         "takes a matrix whose scales and bits fit x");
  auto shape = x.shape();
  shape[shape.size() - 1] = features;
  Inputs all{x, w, scales, biases};
  if (bias) all.push_back(*bias);
  return fuse("quantizedLinear", shape, std::move(all), false, [=](const Inputs& in, float* out) {
    const int rows = static_cast<int>(in[0].size() / inputs);
    const size_t row_bytes = static_cast<size_t>(inputs) * bits / 8, groups = inputs / group;
    const auto* packed = reinterpret_cast<const uint8_t*>(in[1].data<uint32_t>());
    const int panels = (features + panel_features - 1) / panel_features;
    runtime::parallel(panels, [&](int task) {
      const int first = task * panel_features, n = std::min(panel_features, features - first);
      thread_local std::vector<float> panel(static_cast<size_t>(panel_features) * panel_inputs);
      for (int start = 0; start < inputs; start += panel_inputs) {
        const int k = std::min(panel_inputs, inputs - start);
        for (int feature = 0; feature < n; feature++) {
          const size_t row = first + feature;
          kernels().dequantize(
              packed + row * row_bytes + static_cast<size_t>(start) * bits / 8,
              floats(in[2]) + row * groups + start / group, floats(in[3]) + row * groups + start / group,
              panel.data() + static_cast<size_t>(feature) * panel_inputs, k, group, bits);
        }
        if (start == 0 && in.size() > 4) {
          for (int row = 0; row < rows; row++) {
            std::memcpy(out + static_cast<size_t>(row) * features + first, floats(in[4]) + first, n * sizeof(float));
          }
        }
        runtime::sgemm_alone(
            false, true, rows, n, k, 1, floats(in[0]) + start, inputs, panel.data(), panel_inputs,
            start > 0 || in.size() > 4 ? 1.0f : 0.0f, out + first, features);
      }
    });
  });
}

std::string instruction_set() {
  return kernels().name;
}

bool fusible(const array& a) {
  return mx::default_device() == mx::Device::cpu && a.dtype() == mx::float32 && !a.is_tracer();
}

}  // namespace
}  // namespace cpu

#else

namespace cpu {
namespace {

using mx::array;

// Off Linux nothing is fusible, so that nobody gets as far as these.
[[noreturn]] array absent() {
  throw std::runtime_error("the fused operations of the CPU backend exist on Linux only");
}
array activate(array, const std::string&) { return absent(); }
array modulated_norm(array, array, array, float) { return absent(); }
array gated_add(array, array, array) { return absent(); }
array norm_rotate(array, array, array, array, int, int, float) { return absent(); }
array group_norm(array, array, array, int, float, bool) { return absent(); }
array attend(array, array, array, float) { return absent(); }
array quantized_linear(array, array, array, array, std::optional<array>, int, int) { return absent(); }
bool fusible(const array&) { return false; }
std::string instruction_set() { return "none"; }

}  // namespace
}  // namespace cpu

#endif

Table cpu_table() {
  using mx::array;
  return {
      row("fusible", "a", [](array a) { return cpu::fusible(a); }),
      row("instructionSet", "", [] { return cpu::instruction_set(); }),
      row("fusedActivation", "x kind", [](array x, std::string kind) { return cpu::activate(x, kind); }),
      row("fusedModulatedNorm", "x scale shift eps",
          [](array x, array scale, array shift, float eps) { return cpu::modulated_norm(x, scale, shift, eps); }),
      row("fusedGatedAdd", "x gate y", [](array x, array gate, array y) { return cpu::gated_add(x, gate, y); }),
      row("fusedNormRotate", "x weight cos sin heads offset eps",
          [](array x, array weight, array cos, array sin, int heads, int offset, float eps) {
            return cpu::norm_rotate(x, weight, cos, sin, heads, offset, eps);
          }),
      row("fusedGroupNorm", "x weight bias groups eps silu",
          [](array x, array weight, array bias, int groups, float eps, bool silu) {
            return cpu::group_norm(x, weight, bias, groups, eps, silu);
          }),
      row("fusedAttention", "q k v scale",
          [](array q, array k, array v, float scale) { return cpu::attend(q, k, v, scale); }),
      row("fusedQuantizedLinear", "x w scales biases bias groupSize bits",
          [](array x, array w, array scales, array biases, std::optional<array> bias, int group, int bits) {
            return cpu::quantized_linear(x, w, scales, biases, bias, group, bits);
          }),
  };
}
