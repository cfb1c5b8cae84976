#include "integer.h"

#ifdef __linux__

#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels.h"
#include "linear.h"

namespace cpu {
namespace {

constexpr size_t cache_line = 64;

// Number of tiles whose results for one panel (96 KB) fit the cache of a core.
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
  // Pairs of groups; an unpaired last group is paired with zeros.
  size_t pairs() const {
    return (groups() + 1) / 2;
  }
  const IntegerKernels& integer() const {
    return *integer_kernels(bits);
  }
  // The largest magnitude for which the products of all groups sum up within 32 bits.
  float most() const {
    return std::min(32767.0f, std::floor(std::sqrt(static_cast<float>(INT32_MAX) / groups()) - 1));
  }
};

// A part of the inputs; parts lie side by side on the last axis.
struct Part {
  const float* x;
  size_t inputs;
};

// Inputs rounded to 8 bits, in reading order: one chunk of all tiles after another.
class RoundedInputs {
 public:
  RoundedInputs(const Shape& shape, uint8_t* memory) : shape_(shape) {
    q_ = reinterpret_cast<int8_t*>(memory);
    groups_ = reinterpret_cast<TileGroup*>(memory += q_bytes(shape));
    sums_ = reinterpret_cast<int16_t*>(memory += group_bytes(shape));
    sum_units_ = reinterpret_cast<float*>(memory + sum_bytes(shape));
  }

  // The memory that they take, in bytes.
  static size_t bytes(const Shape& shape) {
    return q_bytes(shape) + group_bytes(shape) + sum_bytes(shape) + shape.rows * sizeof(float);
  }

  void round(const std::vector<Part>& parts) const {
    in_ranges(shape_.rows, std::max<size_t>(1, grain_elements / shape_.inputs), [&](size_t start, size_t stop) {
      float* memory = scratch_memory(2 * shape_.groups());
      for (size_t row = start; row < stop; row++) round(parts, row, memory, memory + shape_.groups());
    });
  }

  // [tiles, inputs of the chunk / run_inputs, tile_rows, run_inputs], starting at `tile`, of the chunk that starts at
  // `input`.
  int8_t* q(size_t tile, size_t input) const {
    return q_ + (shape_.tiles() * input + tile * chunk(input)) * tile_rows;
  }
  // [tiles, groups of the chunk]
  TileGroup* groups(size_t tile, size_t input) const {
    return groups_ + (shape_.tiles() * input + tile * chunk(input)) / shape_.group;
  }
  // [rows, pairs, 2]
  int16_t* sums(size_t row) const {
    return sums_ + row * shape_.pairs() * 2;
  }
  // [rows]
  float* sum_units(size_t row) const {
    return sum_units_ + row;
  }

  // Number of inputs in the chunk that starts at `input`.
  size_t chunk(size_t input) const {
    return std::min(chunk_inputs, shape_.inputs - input);
  }

 private:
  static size_t q_bytes(const Shape& shape) {
    return up_to(shape.tiles() * tile_rows * shape.inputs, cache_line);
  }
  static size_t group_bytes(const Shape& shape) {
    return shape.tiles() * shape.groups() * sizeof(TileGroup);
  }
  static size_t sum_bytes(const Shape& shape) {
    return shape.rows * shape.pairs() * 2 * sizeof(int16_t);
  }

  void round(const std::vector<Part>& parts, size_t row, float* steps, float* sums) const {
    float most = 0;
    size_t input = 0;
    for (auto& part : parts) {
      const float of_part = kernels().group_maxima(
          part.x + row * part.inputs, shape_.group, part.inputs / shape_.group, steps + input / shape_.group);
      most = most >= of_part ? most : of_part;
      if (of_part != of_part) break;
      input += part.inputs;
    }
    set_steps(most, row, steps);
    input = 0;
    for (auto& part : parts) {
      const float* x = part.x + row * part.inputs;
      for (const size_t end = input + part.inputs; input < end;) {
        // Up to the end of the chunk or the part.
        const size_t count = std::min(chunk_inputs - input % chunk_inputs, end - input), first = input / shape_.group;
        kernels().round_row(x, shape_.group, count / shape_.group, steps + first, row_of(row, input), sums + first);
        x += count;
        input += count;
      }
    }
    if (const auto set_excess = shape_.integer().set_excess) {
      each_chunk(row, [&](size_t input, size_t count, TileGroup* of) {
        set_excess(row_of(row, input), shape_.group, count, shape_.bits, row % tile_rows, of);
      });
    }
    *sum_units(row) = kernels().round_pairs(sums, shape_.groups(), shape_.most(), this->sums(row));
  }

  // The place of the integers of a row from `input` on.
  int8_t* row_of(size_t row, size_t input) const {
    const size_t before = input % chunk_inputs;
    return q(row / tile_rows, input - before) + before * tile_rows + row % tile_rows * run_inputs;
  }

  // Calls f(input, groups, of) for the groups in each chunk of a row.
  template <typename F>
  void each_chunk(size_t row, const F& f) const {
    for (size_t input = 0; input < shape_.inputs; input += chunk_inputs) {
      f(input, chunk(input) / shape_.group, groups(row / tile_rows, input));
    }
  }

  // Replaces the largest magnitudes of the groups of a row by their steps: NaN if a value of the row is not finite, 0
  // if the values are too small to divide by.
  void set_steps(float most, size_t row, float* steps) const {
    const float largest = static_cast<float>(shape_.integer().most(shape_.bits));
    each_chunk(row, [&](size_t, size_t count, TileGroup* of) {
      for (size_t g = 0; g < count; g++, steps++) {
        const float step = *steps / largest;
        *steps = most != most ? most : step < std::numeric_limits<float>::min() ? 0 : step;
        of[g].steps[row % tile_rows] = *steps;
      }
    });
  }

  const Shape shape_;
  int8_t* q_;
  TileGroup* groups_;
  int16_t* sums_;
  float* sum_units_;
};

// A quantized matrix [features, inputs] as stored.
struct Stored {
  const uint8_t* packed;
  const mx::array &scales, &biases;
};

// The panel_width features that are multiplied with all rows at a time; the last panel may have fewer. Weights are
// unpacked one chunk at a time.
class Panel {
 public:
  Panel(const Shape& shape, float* memory) : shape_(shape) {
    float* parts[part_count];
    for (size_t i = 0; i < part_count; memory += sizes(shape)[i++]) parts[i] = memory;
    weights_ = reinterpret_cast<uint8_t*>(parts[0]);
    scales_ = parts[1];
    biases_ = parts[2];
    bias_units_ = parts[3];
    rows_ = parts[4];
    row_ = parts[5];
  }

  // The memory that it takes, in bytes.
  static size_t floats(const Shape& shape) {
    const auto all = sizes(shape);
    return std::accumulate(all.begin(), all.end(), size_t{0});
  }

  void begin(const Stored& stored, size_t first) {
    const size_t groups = shape_.groups(), pairs = shape_.pairs();
    row_bytes_ = shape_.inputs * shape_.bits / 8;
    packed_ = stored.packed + first * row_bytes_;
    first_ = first;
    features_ = std::min(panel_width, shape_.features - first);
    const float* scales = widened(stored.scales, first * groups, features_ * groups, rows_);
    columns(scales, groups, scales_);
    std::fill_n(bias_units_, panel_width, 0.0f);
    for (size_t feature = 0; feature < features_; feature++) {
      const float* biases = widened(stored.biases, (first + feature) * groups, groups, row_);
      auto* integers = reinterpret_cast<int16_t*>(rows_ + feature * pairs);
      bias_units_[feature] = kernels().round_pairs(biases, groups, shape_.most(), integers);
    }
    columns(rows_, pairs, biases_);
  }

  // Unpacks the weights from `input` on, overwriting the previous ones.
  const uint8_t* weights(size_t input, size_t inputs) {
    shape_.integer().unpack(packed_ + input * shape_.bits / 8, row_bytes_, features_, inputs, shape_.bits, weights_);
    return weights_;
  }
  // The packed weights from `input` on, for prefetching. Past the end, those of the panel that this thread will probably
  // process next.
  Ahead ahead(size_t input) const {
    size_t panels = 0;
    if (input >= shape_.inputs) {
      input = 0;
      panels = runtime::thread_count();
    }
    const size_t first = std::min(first_ + panels * panel_width, shape_.features);
    return {
        packed_ + panels * panel_width * row_bytes_ + input * shape_.bits / 8, row_bytes_,
        std::min(panel_width, shape_.features - first),
        std::min(chunk_inputs, shape_.inputs - input) * shape_.bits / 8};
  }
  const float* scales(size_t group) const {
    return scales_ + group * panel_width;
  }
  const int16_t* biases() const {
    return reinterpret_cast<const int16_t*>(biases_);
  }
  const float* bias_units() const {
    return bias_units_;
  }
  size_t features() const {
    return features_;
  }

 private:
  static constexpr size_t part_count = 6;

  // Each part starts at a cache line.
  static std::array<size_t, part_count> sizes(const Shape& shape) {
    std::array<size_t, part_count> sizes = {
        chunk_inputs * panel_width / sizeof(float),
        shape.groups() * panel_width,
        shape.pairs() * panel_width,
        panel_width,
        shape.pairs() * 2 * panel_width,
        shape.groups(),
    };
    for (size_t& size : sizes) size = up_to(size, cache_line / sizeof(float));
    return sizes;
  }

  void columns(const float* from, size_t words, float* to) {
    shape_.integer().columns(
        reinterpret_cast<const uint32_t*>(from), features_, words, reinterpret_cast<uint32_t*>(to));
  }

  const Shape& shape_;
  uint8_t* weights_;
  float *scales_, *biases_, *bias_units_, *rows_, *row_;
  const uint8_t* packed_;
  size_t row_bytes_, first_, features_;
};

// Computes the features of a panel for `rows` rows of the tiles from `tile` on → result [rows, panel_width], and adds
// `start` [panel_width] to each row.
void multiply(
    const Shape& shape, const RoundedInputs& x, Panel& panel, size_t tile, size_t rows, const float* start,
    float* result) {
  const auto& integer = shape.integer();
  for (size_t input = 0; input < shape.inputs; input += chunk_inputs) {
    const size_t inputs = x.chunk(input);
    integer.add_products(
        x.q(tile, input), x.groups(tile, input), panel.weights(input, inputs), panel.scales(input / shape.group),
        shape.bits, shape.group, inputs / shape.group, rows, input > 0, panel.ahead(input + inputs), result);
  }
  const size_t row = tile * tile_rows;
  integer.finish(
      start, x.sums(row), x.sum_units(row), panel.biases(), panel.bias_units(), shape.pairs(), rows,
      result);
}

}  // namespace

mx::array round_inputs(Inputs parts, int group, int bits) {
  expect(!parts.empty(), "takes at least one part");
  expect((group == 32 || group == 64 || group == 128) && bits >= 2 && bits <= 8, "takes groups of 32, 64 or 128");
  size_t inputs = 0;
  for (auto& part : parts) {
    expect(part.ndim() >= 1 && part.shape(-1) > 0 && part.shape(-1) % group == 0 && part.ndim() == parts[0].ndim() &&
               std::equal(part.shape().begin(), part.shape().end() - 1, parts[0].shape().begin()),
           "takes parts whose shapes agree except for the last axis, which must hold whole groups");
    inputs += part.shape(-1);
  }
  const Shape shape{parts[0].size() / parts[0].shape(-1), inputs, 0, static_cast<size_t>(group), bits};
  return fuse_bytes("roundInputs", RoundedInputs::bytes(shape), std::move(parts), [shape](const Inputs& in, uint8_t* out) {
    std::vector<Part> parts;
    for (auto& part : in) parts.push_back({floats(part), static_cast<size_t>(part.shape(-1))});
    RoundedInputs(shape, out).round(parts);
  });
}

mx::array integer_linear(
    mx::array rounded, mx::Shape of, mx::array w, mx::array scales, mx::array biases, std::optional<mx::array> bias,
    int group, int bits, std::optional<Activation> activation) {
  expect(!of.empty(), "takes x [..., inputs]");
  expect_quantized(of.back(), w, scales, biases, group, bits);
  expect(integer_kernels(bits) != nullptr, "needs a processor that multiplies integers");
  const size_t inputs = of.back(), features = w.shape(0);
  of.pop_back();
  size_t rows = 1;
  for (int size : of) rows *= size;
  const Shape shape{rows, inputs, features, static_cast<size_t>(group), bits};
  expect(rounded.dtype() == mx::uint8 && rounded.size() == RoundedInputs::bytes(shape),
         "takes inputs rounded for this matrix");
  expect(!bias || bias->size() == features, "takes a bias with one value per feature");
  of.push_back(features);
  Inputs operands;
  if (bias) operands.push_back(*bias);
  return fuse(
      "integerLinear", std::move(of), std::move(operands), false,
      [shape, biased = bias.has_value(), activation](const Inputs& in, float* out) {
        const size_t at = biased ? 1 : 0;
        RoundedInputs rounded(shape, const_cast<uint8_t*>(in[at].data<uint8_t>()));
        const Stored stored{reinterpret_cast<const uint8_t*>(in[at + 1].data<uint32_t>()), in[at + 2], in[at + 3]};
        const size_t panels = up_to(shape.features, panel_width) / panel_width;
        const size_t blocks = up_to(shape.tiles(), block_tiles) / block_tiles, panel_floats = Panel::floats(shape);
        // Process all panels of a block before the next one, so that its inputs stay in the shared cache.
        runtime::parallel(static_cast<int>(blocks * panels), [&](int task) {
          const size_t block = task / panels, first = task % panels * panel_width;
          const size_t tile = shape.tiles() * block / blocks, end = shape.tiles() * (block + 1) / blocks;
          const size_t top = tile * tile_rows, rows = std::min(end * tile_rows, shape.rows) - top;
          float* memory = scratch_memory(panel_floats + panel_width + block_tiles * tile_rows * panel_width);
          Panel panel(shape, memory);
          panel.begin(stored, first);
          float *start = memory + panel_floats, *result = start + panel_width;
          std::fill_n(start, panel_width, 0.0f);
          if (biased) std::copy_n(floats(in[0]) + first, panel.features(), start);
          multiply(shape, rounded, panel, tile, rows, start, result);
          kernels().put_rows(
              activation ? &*activation : nullptr, result, panel_width, rows, panel.features(),
              out + top * shape.features + first, shape.features);
        });
      },
      {rounded, w, scales, biases});
}

bool multiplies_integers(int bits) {
  return integer_kernels(bits) != nullptr;
}

}  // namespace cpu

#endif
