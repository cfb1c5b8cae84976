#include "integer.h"

#ifdef __x86_64__

#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <utility>

#pragma GCC target("avx2,fma")

// Integer products in 256-bit registers, with and without dot-product instructions.

namespace cpu {
namespace {

constexpr size_t step_bytes = panel_width * 4;

// Unpacks the values at even places out of eight values of `bits` each, one per byte. Shift `word` by one value to get
// those at odd places.
inline uint32_t every_second(uint64_t word, int bits) {
  if (bits == 4) return static_cast<uint32_t>(word) & 0x0f0f0f0f;
  const uint32_t mask = (1u << bits) - 1;
  uint32_t values = 0;
  for (int i = 0; i < 4; i++) values |= static_cast<uint32_t>(word >> (2 * i * bits) & mask) << (8 * i);
  return values;
}

void unpack(const uint8_t* packed, size_t row_bytes, size_t features, size_t inputs, int bits, uint8_t* weights) {
  if (features < panel_width) std::memset(weights, 0, inputs * panel_width);
  for (size_t feature = 0; feature < features; feature++) {
    const uint8_t* from = packed + feature * row_bytes;
    uint8_t* to = weights + feature * 4;
    for (size_t i = 0; i < inputs; i += 8, from += bits, to += 2 * step_bytes) {
      uint64_t word = 0;
      std::memcpy(&word, from, bits);
      const uint32_t even = every_second(word, bits), odd = every_second(word >> bits, bits);
      std::memcpy(to, &even, 4);
      std::memcpy(to + step_bytes, &odd, 4);
    }
  }
}

void columns(const uint32_t* from, size_t features, size_t words, uint32_t* to) {
  if (features < panel_width) std::memset(to, 0, words * panel_width * sizeof *to);
  for (size_t feature = 0; feature < features; feature++, from += words) {
    for (size_t word = 0; word < words; word++) to[word * panel_width + feature] = from[word];
  }
}

// Features in one part of the panel.
constexpr size_t part_width = 16;

inline __m256i load(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}

inline __m256i four_bytes(const void* p) {
  int32_t four;
  std::memcpy(&four, p, 4);
  return _mm256_set1_epi32(four);
}

// The operands of the kernels point to the first row of a tile and the first feature of a panel.

// Scales the sums of a group.
template <int rows>
inline void put_scaled(
    const __m256i (&sum)[rows][2], const float* steps, const float* weight_scales, bool more, float* out) {
#pragma GCC unroll 6
  for (int r = 0; r < rows; r++) {
    const __m256 step = _mm256_set1_ps(steps[r]);
#pragma GCC unroll 2
    for (size_t i = 0; i < 2; i++) {
      float* to = out + r * panel_width + i * 8;
      const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[r][i]), step);
      const __m256 before = more ? _mm256_loadu_ps(to) : _mm256_setzero_ps();
      _mm256_storeu_ps(to, _mm256_fmadd_ps(scaled, _mm256_loadu_ps(weight_scales + i * 8), before));
    }
  }
}

// Without dot products: sums `depth` pairs of 8-bit products in 16 bits, as many as fit, and those sums in 32 bits.
// This is exact for weights of up to 6 bits; for wider ones it is no faster than floats. (2^bits - 1) · 127 · 2 · depth
// must fit 16 bits.
template <int rows, int depth>
void products_of(
    const int8_t* q, const TileGroup* of, size_t top, const uint8_t* weights, const float* weight_scales,
    size_t group, size_t groups, bool more, float* out) {
  const __m256i ones = _mm256_set1_epi16(1);
  for (size_t g = 0; g < groups; g++, more = true, of++, weight_scales += panel_width) {
    __m256i sum[rows][2];
#pragma GCC unroll 3
    for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (size_t i = 0; i < group; i += 4 * depth) {
      const int8_t* from = q + i / run_inputs * tile_rows * run_inputs + i % run_inputs;
      __m256i part[rows][2];
#pragma GCC unroll 3
      for (int r = 0; r < rows; r++) part[r][0] = part[r][1] = _mm256_setzero_si256();
#pragma GCC unroll 8
      for (int d = 0; d < depth; d++, weights += step_bytes, from += 4) {
        const __m256i w0 = load(weights), w1 = load(weights + 32);
#pragma GCC unroll 3
        for (int r = 0; r < rows; r++) {
          const __m256i x = four_bytes(from + r * run_inputs);
          part[r][0] = _mm256_add_epi16(part[r][0], _mm256_maddubs_epi16(w0, x));
          part[r][1] = _mm256_add_epi16(part[r][1], _mm256_maddubs_epi16(w1, x));
        }
      }
#pragma GCC unroll 3
      for (int r = 0; r < rows; r++) {
        sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(part[r][0], ones));
        sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(part[r][1], ones));
      }
    }
    q += group * tile_rows;
    put_scaled(sum, of->steps + top, weight_scales, more, out);
  }
}

// sum += four products of bytes in each lane. Written as an instruction because gcc 12 copies sums around the
// intrinsic, and no registers are left for the copies.
inline void add_dot(__m256i& sum, __m256i weights, __m256i x) {
  asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(weights), "x"(x));
}

// With dot products (AVX-VNNI).
template <int rows>
void dots_of(
    const int8_t* q, const TileGroup* of, const uint8_t* weights, const float* weight_scales, size_t group,
    size_t groups, bool more, float* out) {
  for (size_t g = 0; g < groups; g++, more = true, of++, weight_scales += panel_width) {
    __m256i sum[rows][2];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (size_t run = 0; run < group; run += run_inputs, q += tile_rows * run_inputs) {
      for (size_t i = 0; i < run_inputs; i += 4, weights += step_bytes) {
        const __m256i w0 = load(weights), w1 = load(weights + 32);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
          const __m256i x = four_bytes(q + r * run_inputs + i);
          add_dot(sum[r][0], w0, x);
          add_dot(sum[r][1], w1, x);
        }
      }
    }
    put_scaled(sum, of->steps, weight_scales, more, out);
  }
}

template <int rows>
void finish_with(
    const float* start, const int16_t* sums, const float* sum_units, const int16_t* biases, const float* bias_units,
    size_t pairs, float* out) {
  __m256i sum[rows][2];
#pragma GCC unroll 3
  for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
  for (size_t pair = 0; pair < pairs; pair++, sums += 2, biases += panel_width * 2) {
    const __m256i b0 = load(biases), b1 = load(biases + 16);
#pragma GCC unroll 3
    for (int r = 0; r < rows; r++) {
      const __m256i two = four_bytes(sums + r * pairs * 2);
      sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(b0, two));
      sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(b1, two));
    }
  }
#pragma GCC unroll 3
  for (int r = 0; r < rows; r++, out += panel_width) {
    const __m256 sum_unit = _mm256_set1_ps(sum_units[r]);
#pragma GCC unroll 2
    for (size_t i = 0; i < 2; i++) {
      const __m256 bias_unit = _mm256_mul_ps(_mm256_loadu_ps(bias_units + i * 8), sum_unit);
      const __m256 v = _mm256_add_ps(_mm256_loadu_ps(out + i * 8), _mm256_loadu_ps(start + i * 8));
      _mm256_storeu_ps(out + i * 8, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[r][i]), bias_unit, v));
    }
  }
}

// Runs f<count>(tile, row, top, left) on all parts of the tiles and of a panel: `count` rows (at most `height`)
// starting at `row`, which is row `top` of the tile, and features starting at `left`.
template <size_t height, typename F>
inline void each_part(size_t rows, const F& f) {
  for (size_t tile = 0; tile * tile_rows < rows; tile++) {
    for (size_t left = 0; left < panel_width; left += part_width) {
      for (size_t top = 0; top < tile_rows && tile * tile_rows + top < rows; top += height) {
        const size_t row = tile * tile_rows + top, count = std::min(rows - row, height);
        [&]<size_t... less>(std::index_sequence<less...>) {
          ((count == less + 1 ? f.template operator()<less + 1>(tile, row, top, left) : void()), ...);
        }(std::make_index_sequence<height>());
      }
    }
  }
}

template <int depth>
void add_deep(
    const int8_t* q, const TileGroup* of, const uint8_t* weights, const float* weight_scales, size_t group,
    size_t groups, size_t rows, bool more, const Ahead& ahead, float* out) {
  const size_t tiles = (rows + tile_rows - 1) / tile_rows;
  each_part<3>(rows, [&]<int count>(size_t tile, size_t row, size_t top, size_t left) {
    if (top + left == 0) ahead.fetch(tile, tiles);
    products_of<count, depth>(
        q + tile * tile_rows * groups * group + top * run_inputs, of + tile * groups, top, weights + left * 4,
        weight_scales + left, group, groups, more, out + row * panel_width + left);
  });
}

void add_products(
    const int8_t* q, const TileGroup* of, const uint8_t* weights, const float* weight_scales, int bits, size_t group,
    size_t groups, size_t rows, bool more, const Ahead& ahead, float* out) {
  const auto add = bits <= 4 ? add_deep<8> : bits == 5 ? add_deep<4> : add_deep<2>;
  add(q, of, weights, weight_scales, group, groups, rows, more, ahead, out);
}

void add_dots(
    const int8_t* q, const TileGroup* of, const uint8_t* weights, const float* weight_scales, int, size_t group,
    size_t groups, size_t rows, bool more, const Ahead& ahead, float* out) {
  const size_t tiles = (rows + tile_rows - 1) / tile_rows;
  each_part<tile_rows>(rows, [&]<int count>(size_t tile, size_t row, size_t, size_t left) {
    if (left == 0) ahead.fetch(tile, tiles);
    dots_of<count>(
        q + row * groups * group, of + tile * groups, weights + left * 4, weight_scales + left, group, groups, more,
        out + row * panel_width + left);
  });
}

void finish(
    const float* start, const int16_t* sums, const float* sum_units, const int16_t* biases, const float* bias_units,
    size_t pairs, size_t rows, float* out) {
  each_part<3>(rows, [&]<int count>(size_t, size_t row, size_t, size_t left) {
    finish_with<count>(
        start + left, sums + row * pairs * 2, sum_units + row, biases + left * 2, bias_units + left, pairs,
        out + row * panel_width + left);
  });
}

}  // namespace

extern const IntegerKernels avx2_integer_kernels = {6, most_of_bytes, nullptr, unpack, columns, add_products, finish};
extern const IntegerKernels avx2_vnni_kernels = {8, most_of_bytes, nullptr, unpack, columns, add_dots, finish};

}  // namespace cpu

#endif
