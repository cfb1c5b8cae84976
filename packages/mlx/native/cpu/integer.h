#pragma once

// Products of inputs rounded to 8 bits and weights as stored: the code that depends on the instruction set. Both
// operands reorder each eight neighbouring inputs, even places before odd ones, so that a mask and a shift unpack 4-bit
// weights.

#include <cstddef>
#include <cstdint>

namespace cpu {

// Rows of inputs and output features that are multiplied at a time.
constexpr size_t tile_rows = 6;
constexpr size_t panel_width = 32;

// Number of inputs of a row that lie side by side in a tile; the other rows follow before the next run. A group
// consists of one or more runs.
constexpr size_t run_inputs = 32;

// Number of inputs that are multiplied at a time: their weights in a panel (16 KB) stay in the nearest cache for all
// rows.
constexpr size_t chunk_inputs = 512;

// Calls f<bits>() for a bit width of packed integers.
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

// For a group of inputs and each row of a tile: the value of one integer step, and the amount that kernels subtract
// from the sum of products.
struct TileGroup {
  float steps[tile_rows];
  int32_t excess[tile_rows];
};

// Packed weights that will be needed next: `features` rows of `bytes`, `row_bytes` apart.
struct Ahead {
  const uint8_t* packed;
  size_t row_bytes, features, bytes;

  // Issues prefetches in `count` equal shares, of which this is share `index`; the processor cannot track all of them
  // at once. Always inlined, because gcc removes calls of a function that only prefetches.
  [[gnu::always_inline]] void fetch(size_t index, size_t count) const {
    constexpr size_t cache_line = 64;
    for (size_t feature = features * index / count; feature < features * (index + 1) / count; feature++) {
      const uint8_t* row = packed + feature * row_bytes;
      for (size_t at = 0; at < bytes; at += cache_line) __builtin_prefetch(row + at);
      // A row need not start at a cache line.
      __builtin_prefetch(row + bytes - 1);
    }
  }
};

// The value of `most` for kernels that multiply inputs unchanged.
inline int most_of_bytes(int) {
  return 127;
}

// Integer kernels. Rows of inputs are stored in consecutive tiles; results are [rows, panel_width] for any number of
// rows.
struct IntegerKernels {
  // The widest weights that the kernels take, or for which they are faster than floats.
  int most_bits;

  // The largest magnitude of inputs that go with weights of `bits`.
  int (*most)(int bits);

  // Sets excess[row] for the groups of a row; q [groups · group / run_inputs, tile_rows, run_inputs] points to the
  // place of the row in a tile. Null if nothing is subtracted.
  void (*set_excess)(const int8_t* q, size_t group, size_t groups, int bits, size_t row, TileGroup* of);

  // Unpacks `inputs` weights (at most a chunk) of each of `features` packed rows, `row_bytes` apart, to the layout of
  // add_products, [inputs / 4, panel_width, 4]. The values of missing features are arbitrary.
  void (*unpack)(
      const uint8_t* packed, size_t row_bytes, size_t features, size_t inputs, int bits, uint8_t* weights);

  // Transposes 32-bit words [features, words] → [words, panel_width], with zeros for missing features.
  void (*columns)(const uint32_t* from, size_t features, size_t words, uint32_t* to);

  // Multiplies q [tiles, groups · group / run_inputs, tile_rows, run_inputs] by weights [groups · group / 4,
  // panel_width, 4] of `bits` each, and each group by its steps in `of` [tiles, groups] and its weight_scales [groups,
  // panel_width]; `group` is 32, 64 or 128. Adds the products to `out` if `more`, else overwrites it.
  void (*add_products)(
      const int8_t* q, const TileGroup* of, const uint8_t* weights, const float* weight_scales, int bits, size_t group,
      size_t groups, size_t rows, bool more, const Ahead& ahead, float* out);

  // out += start [panel_width] + sums [rows, pairs, 2] · biases [pairs, panel_width, 2], in units of sum_units [rows]
  // and bias_units [panel_width]
  void (*finish)(
      const float* start, const int16_t* sums, const float* sum_units, const int16_t* biases, const float* bias_units,
      size_t pairs, size_t rows, float* out);
};

// The kernels for weights of `bits`; null if the processor has none.
const IntegerKernels* integer_kernels(int bits);

#ifdef __x86_64__
extern const IntegerKernels vnni_kernels;
extern const IntegerKernels vnni_pair_kernels;
extern const IntegerKernels avx2_integer_kernels;
extern const IntegerKernels avx2_vnni_kernels;
#endif

}  // namespace cpu
