#pragma once

// Products of inputs rounded to 8 bits and of weights as they are stored: what the instruction sets do of them.
// In both operands, of each eight neighbouring inputs those at even places come before those at odd ones, for so
// weights of 4 bits come apart with a mask and a shift.

#include <cstddef>
#include <cstdint>

namespace cpu {

// Rows of inputs, and output features, that are multiplied at a time.
constexpr size_t tile_rows = 6;
constexpr size_t panel_width = 32;

// Inputs of a row of a tile that lie side by side: those of its other rows come before the next ones. Each group is of
// one or more such runs.
constexpr size_t run_inputs = 32;

// Inputs that are multiplied before the next ones: a panel's part of the weights (16 KB) stays in the nearest cache for
// all rows.
constexpr size_t chunk_inputs = 512;

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

// Of a group of inputs, for each row of a tile: what an integer stands for, and what kernels take off the sum of their
// products.
struct TileGroup {
  float steps[tile_rows];
  int32_t excess[tile_rows];
};

// Packed weights that will be wanted next: `features` rows of `bytes`, `row_bytes` apart.
struct Ahead {
  const uint8_t* packed;
  size_t row_bytes, features, bytes;

  // Asks for one of `parts` equal parts. All at once would be more than the processor keeps track of. Always inlined,
  // as gcc leaves out calls of a function that does nothing but ask.
  [[gnu::always_inline]] void fetch(size_t part, size_t parts) const {
    constexpr size_t cache_line = 64;
    for (size_t feature = features * part / parts; feature < features * (part + 1) / parts; feature++) {
      const uint8_t* row = packed + feature * row_bytes;
      for (size_t at = 0; at < bytes; at += cache_line) __builtin_prefetch(row + at);
      // A row need not begin with a line.
      __builtin_prefetch(row + bytes - 1);
    }
  }
};

// What `most` is where inputs are multiplied as they are.
inline int most_of_bytes(int) {
  return 127;
}

// Rows of inputs come in tiles one after the other; results of any number of rows are [rows, panel_width].
struct IntegerKernels {
  // The widest weights that they take, or that are faster so than as floats.
  int most_bits;

  // The largest magnitude of inputs beside weights of `bits`.
  int (*most)(int bits);

  // Sets excess[row] of a row's groups, of which q [groups · group / run_inputs, tile_rows, run_inputs] begins at the
  // row's place in a tile. Null where none is taken off.
  void (*set_excess)(const int8_t* q, size_t group, size_t groups, int bits, size_t row, TileGroup* of);

  // `inputs` weights, of a chunk at most, of each of `features` rows of packed ones, `row_bytes` apart → [inputs / 4,
  // panel_width, 4] as add_products takes them; where there are fewer features, any.
  void (*unpack)(
      const uint8_t* packed, size_t row_bytes, size_t features, size_t inputs, int bits, uint8_t* weights);

  // Words of 32 bits [features, words] → [words, panel_width], zeros where there are fewer features.
  void (*columns)(const uint32_t* from, size_t features, size_t words, uint32_t* to);

  // out (+)= q [tiles, groups · group / run_inputs, tile_rows, run_inputs] times weights [groups · group / 4,
  // panel_width, 4] of `bits` each, every group times its steps in `of` [tiles, groups] and its weight_scales [groups,
  // panel_width]; `group` is 32, 64 or 128. Without `more` nothing was in `out`.
  void (*add_products)(
      const int8_t* q, const TileGroup* of, const uint8_t* weights, const float* weight_scales, int bits, size_t group,
      size_t groups, size_t rows, bool more, const Ahead& ahead, float* out);

  // out += start [panel_width] + sums [rows, pairs, 2] · biases [pairs, panel_width, 2], in units of sum_units [rows]
  // and bias_units [panel_width]
  void (*finish)(
      const float* start, const int16_t* sums, const float* sum_units, const int16_t* biases, const float* bias_units,
      size_t pairs, size_t rows, float* out);
};

// For weights of `bits`. Null where the processor has none.
const IntegerKernels* integer_kernels(int bits);

#ifdef __x86_64__
extern const IntegerKernels vnni_kernels;
extern const IntegerKernels vnni_pair_kernels;
extern const IntegerKernels avx2_integer_kernels;
extern const IntegerKernels avx2_vnni_kernels;
#endif

}  // namespace cpu
