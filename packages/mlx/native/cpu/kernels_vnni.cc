#include "integer.h"

#ifdef __x86_64__

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,bmi2")

namespace cpu {
namespace {

// ---------------------------------------------------------------- weights

// Transposes sixteen rows of 32-bit words: to(word, column) receives the first `words` columns.
template <typename Load, typename To>
inline void transpose(size_t words, const Load& row, const To& to) {
  __m512i a[16], b[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) a[i] = row(i);
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
    a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
    a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
    a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
  }
  // a[4 r + c] holds words c, c + 4, c + 8 and c + 12 of rows 4 r to 4 r + 3, 128 bits each.
#pragma GCC unroll 4
  for (size_t c = 0; c < 4; c++) {
    const __m512i low = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x44), high = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xee);
    const __m512i low2 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x44);
    const __m512i high2 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xee);
    if (c < words) to(c, _mm512_shuffle_i32x4(low, low2, 0x88));
    if (c + 4 < words) to(c + 4, _mm512_shuffle_i32x4(low, low2, 0xdd));
    if (c + 8 < words) to(c + 8, _mm512_shuffle_i32x4(high, high2, 0x88));
    if (c + 12 < words) to(c + 12, _mm512_shuffle_i32x4(high, high2, 0xdd));
  }
}

constexpr size_t step_bytes = panel_width * 4;

// Loads the first `words` (at most 16) of each of 16 rows; only the first `rows` exist.
template <typename To>
inline void columns_of(
    const void* from, size_t row_bytes, size_t rows, size_t words, const To& to) {
  const __mmask16 there = static_cast<__mmask16>((1u << words) - 1);
  const auto* bytes = static_cast<const uint8_t*>(from);
  transpose(
      words, [&](size_t row) { return _mm512_maskz_loadu_epi32(row < rows ? there : 0, bytes + row * row_bytes); }, to);
}

// Calls f(first, rows) for the two halves of a panel, with the number of rows in each.
template <typename F>
inline void each_half(size_t features, const F& f) {
  for (size_t first = 0; first < panel_width; first += 16) {
    f(first, features > first ? std::min<size_t>(features - first, 16) : 0);
  }
}

void columns(const uint32_t* from, size_t features, size_t words, uint32_t* to) {
  each_half(features, [&](size_t first, size_t rows) {
    for (size_t i = 0; i < words; i += 16) {
      columns_of(
          from + first * words + i, words * sizeof *from, rows, std::min<size_t>(words - i, 16),
          [&](size_t word, __m512i column) { _mm512_storeu_si512(to + (i + word) * panel_width + first, column); });
    }
  });
}

// The constants added to weights at even and odd places of eight.
struct Offsets {
  int8_t even = 0, odd = 0;
};

// Four bits: a word of eight weights makes two steps of the product.
void unpack_nibbles(
    const uint8_t* packed, size_t row_bytes, size_t features, size_t inputs, Offsets offsets, uint8_t* weights) {
  const __m512i low = _mm512_set1_epi8(15), even = _mm512_set1_epi8(offsets.even), odd = _mm512_set1_epi8(offsets.odd);
  each_half(features, [&](size_t first, size_t rows) {
    for (size_t i = 0; i < inputs; i += 128) {
      uint8_t* to = weights + i / 4 * step_bytes + first * 4;
      columns_of(
          packed + first * row_bytes + i / 2, row_bytes, rows, std::min<size_t>((inputs - i) / 8, 16),
          [&](size_t word, __m512i column) {
            uint8_t* step = to + word * 2 * step_bytes;
            const __m512i evens = _mm512_and_si512(column, low);
            const __m512i odds = _mm512_and_si512(_mm512_srli_epi16(column, 4), low);
            _mm512_storeu_si512(step, _mm512_add_epi8(evens, even));
            _mm512_storeu_si512(step + step_bytes, _mm512_add_epi8(odds, odd));
          });
    }
  });
}

template <int bits>
void unpack_bits(
    const uint8_t* packed, size_t row_bytes, size_t features, size_t inputs, Offsets offsets, uint8_t* weights) {
  constexpr uint64_t lowest = 0x0101010101010101 * ((uint64_t{1} << bits) - 1);
  const __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15));
  const __m512i even = _mm512_set1_epi8(offsets.even), odd = _mm512_set1_epi8(offsets.odd);
  alignas(64) uint8_t rows[panel_width][chunk_inputs];
  std::memset(rows, 0, sizeof rows);
  for (size_t feature = 0; feature < features; feature++) {
    const uint8_t* from = packed + feature * row_bytes;
    for (size_t i = 0; i < inputs; i += 8, from += bits) {
      uint64_t word = 0;
      std::memcpy(&word, from, bits);
      word = _pdep_u64(word, lowest);
      std::memcpy(&rows[feature][i], &word, sizeof word);
    }
  }
  for (size_t i = 0; i < inputs; i += 64) {
    for (size_t half = 0; half < panel_width; half += 16) {
      uint8_t* to = weights + i / 4 * step_bytes + half * 4;
      transpose(
          std::min<size_t>((inputs - i) / 4, 16),
          [&](size_t row) { return _mm512_shuffle_epi8(_mm512_load_si512(&rows[half + row][i]), order); },
          [&](size_t word, __m512i column) {
            _mm512_storeu_si512(to + word * step_bytes, _mm512_add_epi8(column, word % 2 == 0 ? even : odd));
          });
    }
  }
}

void unpack_with(
    const uint8_t* packed, size_t row_bytes, size_t features, size_t inputs, int bits, Offsets offsets,
    uint8_t* weights) {
  if (bits == 4) return unpack_nibbles(packed, row_bytes, features, inputs, offsets, weights);
  with_bits(bits, [&]<int bits>() { unpack_bits<bits>(packed, row_bytes, features, inputs, offsets, weights); });
}

void unpack(const uint8_t* packed, size_t row_bytes, size_t features, size_t inputs, int bits, uint8_t* weights) {
  unpack_with(packed, row_bytes, features, inputs, bits, {}, weights);
}

// ---------------------------------------------------------------- products

// sum += four products of bytes in each lane, with the same four inputs in all lanes. Written as an instruction because
// gcc 12 copies every sum to another register and back around the intrinsic.
inline void add_dot(__m512i& sum, __m512i weights, const int8_t* four) {
  asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(weights), "m"(*reinterpret_cast<const int32_t*>(four)));
}

// The same for two products of 16-bit integers.
inline void add_dot(__m512i& sum, __m512i weights, const int16_t* two) {
  asm("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(weights), "m"(*reinterpret_cast<const int32_t*>(two)));
}

// Runs f<count>(tile, row) on the rows of each tile, all at once in full tiles.
template <typename F>
inline void each_tile(size_t rows, const F& f) {
  size_t tile = 0, row = 0;
  for (; row + tile_rows <= rows; row += tile_rows) f.template operator()<tile_rows>(tile++, row);
  switch (rows - row) {
    case 1:
      return f.template operator()<1>(tile, row);
    case 2:
      return f.template operator()<2>(tile, row);
    case 3:
      return f.template operator()<3>(tile, row);
    case 4:
      return f.template operator()<4>(tile, row);
    case 5:
      return f.template operator()<5>(tile, row);
  }
}

// The loops over rows must be unrolled, or the sums would live in memory.
template <int rows>
void products_of(
    const int8_t* q, const TileGroup* of, const uint8_t* weights, const float* weight_scales, size_t group,
    size_t groups, bool more, float* out) {
  __m512 total[rows][2];
#pragma GCC unroll 6
  for (int r = 0; r < rows; r++) {
    total[r][0] = more ? _mm512_load_ps(out + r * panel_width) : _mm512_setzero_ps();
    total[r][1] = more ? _mm512_load_ps(out + r * panel_width + 16) : _mm512_setzero_ps();
  }
  for (size_t g = 0; g < groups; g++, of++, weight_scales += panel_width) {
    // Process the features in halves: scaling the sums of one half overlaps with the products of the next.
#pragma GCC unroll 2
    for (size_t half = 0; half < 2; half++) {
      __m512i sum[rows];
#pragma GCC unroll 6
      for (int r = 0; r < rows; r++) sum[r] = _mm512_setzero_si512();
      const int8_t* x = q;
      const uint8_t* step = weights + half * 64;
      for (size_t run = 0; run < group; run += run_inputs, x += tile_rows * run_inputs) {
        for (size_t i = 0; i < run_inputs; i += 4, step += step_bytes) {
          const __m512i w = _mm512_load_si512(step);
#pragma GCC unroll 6
          for (int r = 0; r < rows; r++) add_dot(sum[r], w, x + r * run_inputs + i);
        }
      }
      const __m512 weight_scale = _mm512_load_ps(weight_scales + half * 16);
#pragma GCC unroll 6
      for (int r = 0; r < rows; r++) {
        const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sum[r]), _mm512_set1_ps(of->steps[r]));
        total[r][half] = _mm512_fmadd_ps(scaled, weight_scale, total[r][half]);
      }
    }
    q += tile_rows * group;
    weights += panel_width * group;
  }
#pragma GCC unroll 6
  for (int r = 0; r < rows; r++) {
    _mm512_store_ps(out + r * panel_width, total[r][0]);
    _mm512_store_ps(out + r * panel_width + 16, total[r][1]);
  }
}

template <int rows>
void finish_with(
    const float* start, const int16_t* sums, const float* sum_units, const int16_t* biases, const float* bias_units,
    size_t pairs, float* out) {
  __m512i sum[rows][2];
#pragma GCC unroll 6
  for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = _mm512_setzero_si512();
  for (size_t pair = 0; pair < pairs; pair++, sums += 2, biases += panel_width * 2) {
    const __m512i b0 = _mm512_load_si512(biases), b1 = _mm512_load_si512(biases + 32);
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
      add_dot(sum[r][0], b0, sums + r * pairs * 2);
      add_dot(sum[r][1], b1, sums + r * pairs * 2);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < rows; r++, out += panel_width) {
    const __m512 sum_unit = _mm512_set1_ps(sum_units[r]);
    for (size_t i = 0; i < 2; i++) {
      const __m512 bias_unit = _mm512_mul_ps(_mm512_load_ps(bias_units + i * 16), sum_unit);
      const __m512 v = _mm512_add_ps(_mm512_load_ps(out + i * 16), _mm512_load_ps(start + i * 16));
      _mm512_store_ps(out + i * 16, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][i]), bias_unit, v));
    }
  }
}

void add_products(
    const int8_t* q, const TileGroup* of, const uint8_t* weights, const float* weight_scales, int, size_t group,
    size_t groups, size_t rows, bool more, const Ahead& ahead, float* out) {
  const size_t tiles = (rows + tile_rows - 1) / tile_rows;
  each_tile(rows, [&]<int count>(size_t tile, size_t row) {
    ahead.fetch(tile, tiles);
    products_of<count>(
        q + row * groups * group, of + tile * groups, weights, weight_scales, group, groups, more,
        out + row * panel_width);
  });
}

void finish(
    const float* start, const int16_t* sums, const float* sum_units, const int16_t* biases, const float* bias_units,
    size_t pairs, size_t rows, float* out) {
  each_tile(rows, [&]<int count>(size_t, size_t row) {
    finish_with<count>(
        start, sums + row * pairs * 2, sum_units + row, biases, bias_units, pairs, out + row * panel_width);
  });
}

// ---------------------------------------------------------------- products in pairs

// Replaces half of the products by additions (S. Winograd, "A New Algorithm for Inner Product", 1968). For inputs a and
// b and their weights v and w:
//
//   a v + b w = (a + m + w) (b + v - h) - [a b + m b - h a] - [(w + m) (v - h)]
//
// The first bracket depends on no weights and the second on no inputs, so they are computed only once per row and per
// feature. Processors with more units for additions than for byte products (AMD since Zen 4) gain from this. The
// factors must fit an unsigned and a signed byte: weights of `bits` allow inputs up to m = 128 - h in magnitude, with
// h = 2^(bits - 1).

constexpr int half_range(int bits) {
  return 1 << (bits - 1);
}

int most_of_pairs(int bits) {
  return 128 - half_range(bits);
}

// The weights v, at even places, and w, each with the constant added to the partner's inputs.
void unpack_pairs(const uint8_t* packed, size_t row_bytes, size_t features, size_t inputs, int bits, uint8_t* weights) {
  const Offsets offsets = {static_cast<int8_t>(-half_range(bits)), static_cast<int8_t>(most_of_pairs(bits))};
  unpack_with(packed, row_bytes, features, inputs, bits, offsets, weights);
}

// The first bracket.
void set_excess(const int8_t* q, size_t group, size_t groups, int bits, size_t row, TileGroup* of) {
  const __m256i most = _mm256_set1_epi8(static_cast<int8_t>(most_of_pairs(bits)));
  const __m256i half = _mm256_set1_epi8(static_cast<int8_t>(half_range(bits)));
  for (size_t g = 0; g < groups; g++, of++) {
    __m256i products = _mm256_setzero_si256(), evens = _mm256_setzero_si256();
    for (size_t run = 0; run < group; run += run_inputs, q += tile_rows * run_inputs) {
      const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q)), b = _mm256_srli_epi64(a, 32);
      products = _mm256_dpbusd_epi32(products, _mm256_add_epi8(a, most), b);
      evens = _mm256_dpbusd_epi32(evens, half, a);
    }
    // Keep the first of each two lanes; the others have no partner.
    const __m512i sum = _mm512_zextsi256_si512(_mm256_sub_epi32(products, evens));
    of->excess[row] = _mm512_mask_reduce_add_epi32(0x55, sum);
  }
}

inline void add_dot(__m512i& sum, __m512i x, __m512i y) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(y));
}

inline __m512i four_bytes(const int8_t* four) {
  int32_t bytes;
  std::memcpy(&bytes, four, sizeof bytes);
  return _mm512_set1_epi32(bytes);
}

// Like products_of; `excess` [groups, panel_width] is the second bracket. Processes all features at once, so that
// inputs are read once; this leaves no registers for totals.
template <int rows>
void pairs_of(
    const int8_t* q, const TileGroup* of, const uint8_t* weights, const float* weight_scales, const int32_t* excess,
    size_t group, size_t groups, bool more, float* out) {
  for (size_t g = 0; g < groups; g++, of++, weight_scales += panel_width, excess += panel_width, more = true) {
    __m512i sum[rows][2];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
      const __m512i of_row = _mm512_set1_epi32(of->excess[r]);
      sum[r][0] = _mm512_sub_epi32(_mm512_load_si512(excess), of_row);
      sum[r][1] = _mm512_sub_epi32(_mm512_load_si512(excess + 16), of_row);
    }
    for (size_t run = 0; run < group; run += run_inputs, q += tile_rows * run_inputs) {
      for (size_t i = 0; i < run_inputs; i += 8, weights += 2 * step_bytes) {
        const __m512i v0 = _mm512_load_si512(weights), v1 = _mm512_load_si512(weights + 64);
        const __m512i w0 = _mm512_load_si512(weights + step_bytes), w1 = _mm512_load_si512(weights + step_bytes + 64);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
          const __m512i a = four_bytes(q + r * run_inputs + i), b = four_bytes(q + r * run_inputs + i + 4);
          add_dot(sum[r][0], _mm512_add_epi8(a, w0), _mm512_add_epi8(b, v0));
          add_dot(sum[r][1], _mm512_add_epi8(a, w1), _mm512_add_epi8(b, v1));
        }
      }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
      const __m512 step = _mm512_set1_ps(of->steps[r]);
#pragma GCC unroll 2
      for (size_t half = 0; half < 2; half++) {
        float* to = out + r * panel_width + half * 16;
        const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sum[r][half]), step);
        const __m512 before = more ? _mm512_load_ps(to) : _mm512_setzero_ps();
        _mm512_store_ps(to, _mm512_fmadd_ps(scaled, _mm512_load_ps(weight_scales + half * 16), before));
      }
    }
  }
}

void add_pairs(
    const int8_t* q, const TileGroup* of, const uint8_t* weights, const float* weight_scales, int, size_t group,
    size_t groups, size_t rows, bool more, const Ahead& ahead, float* out) {
  // The negated second bracket.
  alignas(64) int32_t excess[chunk_inputs / run_inputs * panel_width];
  const uint8_t* step = weights;
  for (size_t g = 0; g < groups; g++) {
    __m512i sums[2] = {};
    for (size_t i = 0; i < group; i += 8, step += 2 * step_bytes) {
      add_dot(sums[0], _mm512_load_si512(step + step_bytes), _mm512_load_si512(step));
      add_dot(sums[1], _mm512_load_si512(step + step_bytes + 64), _mm512_load_si512(step + 64));
    }
    for (size_t half = 0; half < 2; half++) {
      _mm512_store_si512(
          excess + g * panel_width + half * 16, _mm512_sub_epi32(_mm512_setzero_si512(), sums[half]));
    }
  }
  const size_t tiles = (rows + tile_rows - 1) / tile_rows;
  each_tile(rows, [&]<int count>(size_t tile, size_t row) {
    ahead.fetch(tile, tiles);
    pairs_of<count>(
        q + row * groups * group, of + tile * groups, weights, weight_scales, excess, group, groups, more,
        out + row * panel_width);
  });
}

}  // namespace

extern const IntegerKernels vnni_kernels = {8, most_of_bytes, nullptr, unpack, columns, add_products, finish};
extern const IntegerKernels vnni_pair_kernels = {5, most_of_pairs, set_excess, unpack_pairs, columns, add_pairs, finish};

}  // namespace cpu

#endif
