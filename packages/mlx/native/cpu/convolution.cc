#include "fused.h"

#ifdef __linux__

#include <cstring>
#include <optional>

namespace cpu {
namespace {

constexpr int up(int count, int divisor) {
  return (count + divisor - 1) / divisor;
}

// The arrays of one convolution, and its sizes. Images are as they are after `repeat`.
struct Convolution {
  const float *x, *weight, *bias, *statistics, *residual;
  float* out;
  int batches, height, width, inputs, outputs, kernel, stride, before, repeat;
  int rows, columns;

  // The index of the first result at a row and column of an image.
  size_t at(int batch, int row, int column) const {
    return ((static_cast<size_t>(batch) * rows + row) * columns + column) * outputs;
  }
};

// A rectangle of an image, which may reach beyond it.
struct Area {
  int top, left, rows, columns;
};

// Lays out an area of an image as the kernel sees it: normalized, enlarged, and with zeros around the image → [rows,
// columns, inputs].
void lay_out(const Convolution& c, int batch, const Area& area, float* to) {
  const size_t inputs = c.inputs, stored_width = c.width / c.repeat, line_floats = area.columns * inputs;
  const float* image = c.x + batch * (c.height / c.repeat * stored_width * inputs);
  const float* factors = c.statistics ? c.statistics + batch * 2 * inputs : nullptr;
  // The columns inside the image.
  const int first = std::clamp(-area.left, 0, area.columns);
  const int last = std::clamp(c.width - area.left, first, area.columns);
  for (int row = 0; row < area.rows; row++, to += line_floats) {
    const int y = area.top + row;
    if (y < 0 || y >= c.height) {
      std::fill_n(to, line_floats, 0.0f);
      continue;
    }
    if (row > 0 && y % c.repeat > 0) {
      std::memcpy(to, to - line_floats, line_floats * sizeof *to);
      continue;
    }
    const float* line = image + y / c.repeat * stored_width * inputs;
    float* inside = to + first * inputs;
    std::fill(to, inside, 0.0f);
    std::fill(to + last * inputs, to + line_floats, 0.0f);
    const float* source = inside;
    if (c.repeat == 1) {
      source = line + (area.left + first) * inputs;
    } else {
      for (int column = first; column < last; column++) {
        std::memcpy(to + column * inputs, line + (area.left + column) / c.repeat * inputs, inputs * sizeof *to);
      }
    }
    if (factors) {
      kernels().affine(source, factors, factors + inputs, inside, last - first, inputs, true);
    } else if (source != inside) {
      std::memcpy(inside, source, (last - first) * inputs * sizeof *to);
    }
  }
}

// ---------------------------------------------------------------- one product for each place of the kernel

// Output positions that one task computes at once, if a row has fewer.
constexpr int run_positions = 1024;

// Computes bands of rows. With a stride of 1, one product covers several rows and the zeros between them.
void convolve_directly(const Convolution& c, int pitch) {
  const int in_run = c.stride > 1 ? 1 : std::max(1, run_positions / pitch);
  const int for_all = up(c.batches * c.rows, runtime::thread_count());
  const int band = std::clamp(std::min(in_run, for_all), 1, c.rows), bands = up(c.rows, band);
  runtime::parallel(c.batches * bands, [&](int task) {
    const int batch = task / bands, first = task % bands * band, rows = std::min(band, c.rows - first);
    const Area area{first * c.stride - c.before, -c.before, (rows - 1) * c.stride + c.kernel, pitch};
    const int positions = (rows - 1) * pitch + c.columns;
    const size_t inputs = c.inputs, outputs = c.outputs, area_floats = static_cast<size_t>(area.rows) * pitch * inputs;
    float* padded = scratch_memory(area_floats + positions * outputs);
    float* result = padded + area_floats;
    lay_out(c, batch, area, padded);
    for (int place = 0; place < c.kernel * c.kernel; place++) {
      runtime::sgemm_alone(
          false, true, positions, c.outputs, c.inputs, 1,
          padded + (static_cast<size_t>(place / c.kernel) * pitch + place % c.kernel) * inputs, c.stride * c.inputs,
          c.weight + place * inputs, c.kernel * c.kernel * c.inputs, place > 0 ? 1.0f : 0.0f, result, c.outputs);
    }
    for (int row = 0; row < rows; row++) {
      const size_t at = c.at(batch, first + row, 0);
      const float* line = result + static_cast<size_t>(row) * pitch * outputs;
      for (int column = 0; column < c.columns; column++) {
        for (size_t channel = 0; channel < outputs; channel++) {
          const size_t i = column * outputs + channel;
          c.out[at + i] = line[i] + (c.bias ? c.bias[channel] : 0.0f) + (c.residual ? c.residual[at + i] : 0.0f);
        }
      }
    }
  });
}

// ---------------------------------------------------------------- Winograd's minimal filtering

// Values of a tile of 2×2 results in the transformed space.
constexpr int tile_values = 16;

// Each task computes one block of tiles, in up to 8 MB of scratch memory. Larger blocks gain nothing; smaller blocks pack
// the weights more often.
constexpr int block_width = 16, most_block_height = 8;
constexpr int most_block_floats = 1 << 21;

// Rows of tiles in a block: few enough that every thread gets a block.
int block_height(const Convolution& c, int tiles_down, int tiles_across) {
  const int most = most_block_floats / (tile_values * (c.inputs + c.outputs) * block_width);
  const int blocks_down = up(runtime::thread_count(), c.batches * up(tiles_across, block_width));
  return std::clamp(std::min(most, up(tiles_down, blocks_down)), 2, most_block_height);
}

// Convolutions smaller than this are faster directly: transforming takes longer than it saves.
constexpr int fewest_channels = 32, fewest_positions = 1024;

bool suits_winograd(const Convolution& c) {
  return c.kernel == 3 && c.stride == 1 && std::min(c.inputs, c.outputs) >= fewest_channels &&
         c.rows * c.columns >= fewest_positions;
}

// Transforms the kernels → [tile_values, outputs, inputs].
mx::array transformed_weights(const Convolution& c) {
  const size_t inputs = c.inputs, plane = inputs * c.outputs;
  mx::array weights({tile_values, c.outputs, c.inputs}, mx::float32, nullptr, {});
  weights.set_data(mx::allocator::malloc(weights.nbytes()));
  in_ranges(c.outputs, grain_elements / (tile_values * inputs), [&](size_t start, size_t stop) {
    for (size_t output = start; output < stop; output++) {
      kernels().winograd_weights(c.weight + output * 9 * inputs, inputs, weights.data<float>() + output * inputs, plane);
    }
  });
  return weights;
}

// Computes tiles of 2×2 results with 16 multiplications each instead of 36: F(2×2, 3×3) of Lavin and Gray, "Fast
// Algorithms for Convolutional Neural Networks", arXiv:1509.09308. Its transforms only add, subtract and halve: the
// rounding error is about 1.7 times that of the direct sum. An infinite input makes its neighbours NaN.
void convolve_winograd(const Convolution& c) {
  const mx::array weights = transformed_weights(c);
  const int tiles_down = up(c.rows, 2), tiles_across = up(c.columns, 2);
  const int down = up(tiles_down, block_height(c, tiles_down, tiles_across)), across = up(tiles_across, block_width);
  runtime::parallel(c.batches * down * across, [&](int task) {
    const int batch = task / (down * across), block_row = task / across % down, block_column = task % across;
    // Blocks of about the same size.
    const int top = tiles_down * block_row / down, height = tiles_down * (block_row + 1) / down - top;
    const int left = tiles_across * block_column / across;
    const int width = tiles_across * (block_column + 1) / across - left;
    const Area area{2 * top - c.before, 2 * left - c.before, 2 * height + 2, 2 * width + 2};
    const size_t inputs = c.inputs, outputs = c.outputs, tiles = height * width, pitch = area.columns * inputs;
    float* padded = scratch_memory(area.rows * pitch + tile_values * tiles * (inputs + outputs));
    float* values = padded + area.rows * pitch;
    float* products = values + tile_values * tiles * inputs;
    lay_out(c, batch, area, padded);
    for (int row = 0; row < height; row++) {
      kernels().winograd_input(
          padded + 2 * row * pitch, pitch, width, inputs, values + row * width * inputs, tiles * inputs);
    }
    for (int value = 0; value < tile_values; value++) {
      runtime::sgemm_alone(
          false, true, tiles, c.outputs, c.inputs, 1, values + value * tiles * inputs, c.inputs,
          weights.data<float>() + value * inputs * outputs, c.inputs, 0, products + value * tiles * outputs, c.outputs);
    }
    for (int row = 0; row < height; row++) {
      const int first = 2 * (top + row), column = 2 * left;
      const size_t at = c.at(batch, first, column);
      kernels().winograd_output(
          products + row * width * outputs, tiles * outputs, outputs, c.bias, c.residual ? c.residual + at : nullptr,
          std::min(2, c.rows - first), std::min(2 * width, c.columns - column), c.out + at, c.columns * outputs);
    }
  });
}

}  // namespace

mx::array convolve(
    mx::array x, mx::array w, std::optional<mx::array> bias, std::optional<mx::array> statistics,
    std::optional<mx::array> residual, int stride, int before, int after, int repeat) {
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
    const mx::array& x = in[at_x];
    const Convolution c{
        .x = floats(x),
        .weight = floats(in[at_x + 1]),
        .bias = biased ? floats(in[at_bias]) : nullptr,
        .statistics = normalized ? floats(in[at_statistics]) : nullptr,
        .residual = added ? floats(in[0]) : nullptr,
        .out = out,
        .batches = shape[0],
        .height = x.shape(1) * repeat,
        .width = x.shape(2) * repeat,
        .inputs = inputs,
        .outputs = outputs,
        .kernel = kernel,
        .stride = stride,
        .before = before,
        .repeat = repeat,
        .rows = shape[1],
        .columns = shape[2]};
    if (suits_winograd(c)) {
      convolve_winograd(c);
    } else {
      convolve_directly(c, c.width + before + after);
    }
  });
}

}  // namespace cpu

#endif
