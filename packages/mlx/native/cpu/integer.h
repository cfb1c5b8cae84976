#pragma once

// Products of inputs rounded to 8 bits and of weights as they are stored: what the instruction sets do of them.
// Both operands lie in the order in which they are multiplied: of each eight neighbouring inputs, those at even places
// come before those at odd ones, for so weights of 4 bits come apart with a mask and a shift.

#include <cstddef>
#include <cstdint>

namespace cpu {

// Rows of inputs, and output features, that are multiplied at a time.
constexpr size_t tile_rows = 6;
constexpr size_t panel_width = 32;

// Inputs that are multiplied before the next ones: a panel's part of the weights (8 KB) stays in the nearest cache for
// all rows.
constexpr size_t chunk_inputs = 256;

// Calls f<bits>() for a number of bits that integers are packed with.
template <typename F>
void with_bits(int bits, const F& f) {
  switch (bits) {
    case 2:
      return f.template operator()<2>();
    case 3:
      return f.template operator()<3>();
    case 4:
      return f.template operator()<4>();
    case 5:
      return f.template operator()<5>();
    case 6:
      return f.template operator()<6>();
    default:
      return f.template operator()<8>();
  }
}

struct IntegerKernels {
  // The widest weights that are faster so than as floats.
  int most_bits;

  // `inputs` weights, of a chunk at most, of each of `features` rows of packed ones, `row_bytes` apart → [inputs / 4,
  // panel_width, 4], zeros where there are fewer features.
  void (*unpack)(
      const uint8_t* packed, size_t row_bytes, size_t features, size_t inputs, int bits, uint8_t* weights);

  // out [rows, panel_width] = start [panel_width] + sums [pairs, tile_rows, 2] · biases [pairs, panel_width, 2], in
  // units of sum_units [tile_rows] and bias_units [panel_width]
  void (*begin)(
      const float* start, const int16_t* sums, const float* sum_units, const int16_t* biases, const float* bias_units,
      size_t pairs, size_t rows, float* out);

  // out [rows, panel_width] += q [inputs / 4, tile_rows, 4] · weights [inputs / 4, panel_width, 4] of `bits` each, every
  // of `groups` groups of `group` inputs in units of scales [groups, tile_rows] and weight_scales [groups, panel_width];
  // `group` is 32, 64 or 128
  void (*add_products)(
      const int8_t* q, const float* scales, const uint8_t* weights, const float* weight_scales, int bits, size_t group,
      size_t groups, size_t rows, float* out);
};

// Null where the processor has none.
const IntegerKernels* integer_kernels();

#ifdef __x86_64__
extern const IntegerKernels vnni_kernels;
extern const IntegerKernels avx2_integer_kernels;
#endif

}  // namespace cpu
