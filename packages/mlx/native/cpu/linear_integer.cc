#include "integer.h"

#ifdef __linux__

#include <cmath>

#include "kernels.h"
#include "linear.h"

namespace cpu {
namespace {

constexpr size_t cache_line = 64;

// Tiles whose results for one panel (96 KB) a core's cache holds.
constexpr size_t block_tiles = 128;

constexpr size_t up_to(size_t count, size_t multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

struct Shape {
  size_t rows, inputs, features, group;
  int bits;

  size_t tiles() const {
    return up_to(rows, tile_rows) / tile_rows;
  }
  size_t groups() const {
    return inputs / group;
  }
  // Of groups; a last one without a second is paired with zeros.
  size_t pairs() const {
    return (groups() + 1) / 2;
  }
  // As many products of two integers up to this as there are groups add up within 32 bits.
  float most() const {
    return std::min(32767.0f, std::floor(std::sqrt(static_cast<float>(INT32_MAX) / groups()) - 1));
  }
};

// Inputs rounded to 8 bits, in the order in which they are read: a chunk of all tiles after the other. The memory is
// MLX's, which keeps it for the next layer.
class RoundedInputs {
 public:
  RoundedInputs(const Shape& shape, const float* x) : shape_(shape) {
    const size_t rows = shape.tiles() * tile_rows;
    const size_t q_bytes = up_to(rows * shape.inputs, cache_line);
    const size_t scale_bytes = up_to(rows * shape.groups() * sizeof(float), cache_line);
    const size_t sum_bytes = up_to(rows * shape.pairs() * 2 * sizeof(int16_t), cache_line);
    memory_.emplace(mx::allocator::malloc(q_bytes + scale_bytes + sum_bytes + rows * sizeof(float)));
    auto* at = static_cast<char*>(memory_->buffer().raw_ptr());
    q_ = reinterpret_cast<int8_t*>(at);
    scales_ = reinterpret_cast<float*>(at += q_bytes);
    sums_ = reinterpret_cast<int16_t*>(at += scale_bytes);
    sum_units_ = reinterpret_cast<float*>(at += sum_bytes);
    in_ranges(shape.rows, std::max<size_t>(1, grain_elements / shape.inputs), [&](size_t start, size_t stop) {
      thread_local std::vector<float> sums;
      sums.resize(shape.groups());
      for (size_t row = start; row < stop; row++) round(x + row * shape.inputs, row, sums.data());
    });
  }

  // [inputs of the chunk / 4, tile_rows, 4], of the chunk that begins with `input`
  int8_t* q(size_t tile, size_t input) const {
    return q_ + (shape_.tiles() * input + tile * chunk(input)) * tile_rows;
  }
  // [groups of the chunk, tile_rows]
  float* scales(size_t tile, size_t input) const {
    return scales_ + (shape_.tiles() * input + tile * chunk(input)) / shape_.group * tile_rows;
  }
  // [pairs, tile_rows, 2]
  int16_t* sums(size_t tile) const {
    return sums_ + tile * shape_.pairs() * tile_rows * 2;
  }
  // [tile_rows]
  float* sum_units(size_t tile) const {
    return sum_units_ + tile * tile_rows;
  }

  // Inputs of the chunk that begins with `input`.
  size_t chunk(size_t input) const {
    return std::min(chunk_inputs, shape_.inputs - input);
  }

 private:
  void round(const float* x, size_t row, float* sums) {
    const size_t tile = row / tile_rows, r = row % tile_rows;
    for (size_t input = 0; input < shape_.inputs; input += chunk_inputs) {
      kernels().round_row(
          x + input, shape_.group, chunk(input) / shape_.group, q(tile, input) + r * 4, scales(tile, input) + r,
          sums + input / shape_.group);
    }
    sum_units(tile)[r] =
        kernels().round_pairs(sums, shape_.groups(), shape_.most(), this->sums(tile) + r * 2, tile_rows);
  }

  const Shape shape_;
  std::optional<mx::allocator::Data> memory_;
  int8_t* q_;
  float *scales_, *sum_units_;
  int16_t* sums_;
};

// A quantized matrix [features, inputs] as it is stored.
struct Stored {
  const uint8_t* packed;
  const mx::array &scales, &biases;
};

// What is multiplied with all rows at a time: panel_width features. Their weights come a chunk at a time.
class Panel {
 public:
  void begin(const Shape& shape, const Stored& stored, size_t first) {
    const size_t groups = shape.groups();
    row_bytes_ = shape.inputs * shape.bits / 8;
    packed_ = stored.packed + first * row_bytes_;
    bits_ = shape.bits;
    features_ = std::min(panel_width, shape.features - first);
    scales_.assign(groups * panel_width, 0);
    biases_.assign(shape.pairs() * panel_width * 2, 0);
    bias_units_.assign(panel_width, 0);
    row_.resize(groups);
    for (size_t feature = 0; feature < features_; feature++) {
      const size_t at = (first + feature) * groups;
      const float* scales = widened(stored.scales, at, groups, row_.data());
      for (size_t g = 0; g < groups; g++) scales_[g * panel_width + feature] = scales[g];
      const float* biases = widened(stored.biases, at, groups, row_.data());
      bias_units_[feature] =
          kernels().round_pairs(biases, groups, shape.most(), biases_.data() + feature * 2, panel_width);
    }
  }

  // The weights from `input` on: they stand in the memory of those before.
  const uint8_t* weights(size_t input, size_t inputs) {
    const uint8_t* packed = packed_ + input * bits_ / 8;
    integer_kernels()->unpack(packed, row_bytes_, features_, inputs, bits_, weights_);
    // The next ones come while these are multiplied. Beyond the last there is no harm in asking.
    for (size_t feature = 0; feature < features_; feature++) {
      const uint8_t* next = packed + feature * row_bytes_ + inputs * bits_ / 8;
      for (size_t at = 0; at < chunk_inputs * bits_ / 8; at += cache_line) __builtin_prefetch(next + at);
    }
    return weights_;
  }
  const float* scales(size_t group) const {
    return scales_.data() + group * panel_width;
  }
  const int16_t* biases() const {
    return biases_.data();
  }
  const float* bias_units() const {
    return bias_units_.data();
  }
  size_t features() const {
    return features_;
  }

 private:
  alignas(cache_line) uint8_t weights_[chunk_inputs * panel_width];
  std::vector<float> scales_, bias_units_, row_;
  std::vector<int16_t> biases_;
  const uint8_t* packed_;
  size_t row_bytes_, features_;
  int bits_;
};

// A panel's features for `tiles` tiles from `first` on → result [tiles, tile_rows, panel_width]; `start` [panel_width]
// is added to all rows.
void multiply(
    const Shape& shape, const RoundedInputs& x, Panel& panel, size_t first, size_t tiles, const float* start,
    float* result) {
  const auto& integer = *integer_kernels();
  auto each_tile = [&](auto f) {
    for (size_t tile = first; tile < first + tiles; tile++) {
      f(tile, std::min(tile_rows, shape.rows - tile * tile_rows), result + (tile - first) * tile_rows * panel_width);
    }
  };
  each_tile([&](size_t tile, size_t rows, float* out) {
    integer.begin(
        start, x.sums(tile), x.sum_units(tile), panel.biases(), panel.bias_units(), shape.pairs(), rows, out);
  });
  for (size_t input = 0; input < shape.inputs; input += chunk_inputs) {
    const size_t groups = x.chunk(input) / shape.group;
    const uint8_t* weights = panel.weights(input, x.chunk(input));
    const float* scales = panel.scales(input / shape.group);
    each_tile([&](size_t tile, size_t rows, float* out) {
      integer.add_products(
          x.q(tile, input), x.scales(tile, input), weights, scales, shape.bits, shape.group, groups, rows, out);
    });
  }
}

}  // namespace

mx::array integer_linear(
    mx::array x, mx::array w, mx::array scales, mx::array biases, std::optional<mx::array> bias, int group, int bits,
    std::optional<Activation> activation) {
  expect_quantized(x, w, scales, biases, group, bits);
  expect(integer_kernels() && bits <= integer_kernels()->most_bits, "takes a processor that multiplies integers");
  LinearOperands linear(x, w.shape(0), bias);
  return fuse(
      "integerLinear", linear.shape, std::move(linear.operands), false,
      [group, bits, biased = bias.has_value(), activation](const Inputs& in, float* out) {
        const size_t at = biased ? 2 : 1, inputs = in[0].shape(-1);
        const Shape shape{
            in[0].size() / inputs, inputs, static_cast<size_t>(in[at].shape(0)), static_cast<size_t>(group), bits};
        const Stored stored{reinterpret_cast<const uint8_t*>(in[at].data<uint32_t>()), in[at + 1], in[at + 2]};
        const RoundedInputs rounded(shape, floats(in[0]));
        const size_t panels = up_to(shape.features, panel_width) / panel_width;
        const size_t blocks = up_to(shape.tiles(), block_tiles) / block_tiles;
        // All panels of a block before the next one, so that its inputs stay in the cache that the cores share.
        runtime::parallel(static_cast<int>(blocks * panels), [&](int task) {
          thread_local Panel panel;
          thread_local std::vector<float> result(block_tiles * tile_rows * panel_width);
          const size_t block = task / panels, first = task % panels * panel_width;
          const size_t tile = shape.tiles() * block / blocks, tiles = shape.tiles() * (block + 1) / blocks - tile;
          panel.begin(shape, stored, first);
          float start[panel_width] = {};
          if (biased) std::copy_n(floats(in[1]) + first, panel.features(), start);
          multiply(shape, rounded, panel, tile, tiles, start, result.data());
          const size_t top = tile * tile_rows, rows = std::min(tiles * tile_rows, shape.rows - top);
          for (size_t row = 0; row < rows; row++) {
            const float* from = &result[row * panel_width];
            float* to = out + (top + row) * shape.features + first;
            if (activation) {
              kernels().activate(*activation, from, to, panel.features());
            } else {
              std::copy_n(from, panel.features(), to);
            }
          }
        });
      },
      {w, scales, biases});
}

bool multiplies_integers(int bits) {
  return integer_kernels() != nullptr && bits <= integer_kernels()->most_bits;
}

}  // namespace cpu

#endif
