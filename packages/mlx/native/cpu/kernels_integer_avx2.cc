#include "integer.h"

#ifdef __x86_64__

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#pragma GCC target("avx2,fma")

// Integer products without dot-product instructions: pairs of 8-bit products are added up in 16 bits, as many as fit,
// and those in 32. That is exact for weights of up to 6 bits; with wider ones it would be no faster than floats.

namespace cpu {
namespace {

constexpr size_t step_bytes = panel_width * 4;

// Of eight values of `bits` each those at even places, a byte each, or with `word` moved on by one value those at odd
// ones.
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

// Features of a part of the panel, and rows: what the registers hold.
constexpr size_t part_width = 16;
constexpr size_t part_rows = 3;

inline __m256i load(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}

inline __m256i four_bytes(const void* p) {
  int32_t four;
  std::memcpy(&four, p, 4);
  return _mm256_set1_epi32(four);
}

// start + sums · (units · unit)
inline __m256 scaled(__m256i sums, const float* units, float unit, const float* start) {
  const __m256 scale = _mm256_mul_ps(_mm256_loadu_ps(units), _mm256_set1_ps(unit));
  return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), scale, _mm256_loadu_ps(start));
}

// Both take the rows of a tile and the features of a panel from where their operands begin.
template <int rows>
void begin_with(
    const float* start, const int16_t* sums, const float* sum_units, const int16_t* biases, const float* bias_units,
    size_t pairs, float* out) {
  __m256i sum[rows][2];
#pragma GCC unroll 3
  for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
  for (size_t pair = 0; pair < pairs; pair++, sums += tile_rows * 2, biases += panel_width * 2) {
    const __m256i b0 = load(biases), b1 = load(biases + 16);
#pragma GCC unroll 3
    for (int r = 0; r < rows; r++) {
      const __m256i two = four_bytes(sums + r * 2);
      sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(b0, two));
      sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(b1, two));
    }
  }
  for (int r = 0; r < rows; r++, out += panel_width) {
    _mm256_storeu_ps(out, scaled(sum[r][0], bias_units, sum_units[r], start));
    _mm256_storeu_ps(out + 8, scaled(sum[r][1], bias_units + 8, sum_units[r], start + 8));
  }
}

// `depth` pairs of products are added up in 16 bits: (2^bits - 1) · 127 · 2 · depth must fit.
template <int rows, int depth>
void products_of(
    const int8_t* q, const float* scales, const uint8_t* weights, const float* weight_scales, size_t group,
    size_t groups, float* out) {
  const __m256i ones = _mm256_set1_epi16(1);
  for (size_t g = 0; g < groups; g++, scales += tile_rows, weight_scales += panel_width) {
    __m256i sum[rows][2];
#pragma GCC unroll 3
    for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (size_t i = 0; i < group; i += 4 * depth) {
      __m256i part[rows][2];
#pragma GCC unroll 3
      for (int r = 0; r < rows; r++) part[r][0] = part[r][1] = _mm256_setzero_si256();
#pragma GCC unroll 8
      for (int d = 0; d < depth; d++, weights += step_bytes, q += tile_rows * 4) {
        const __m256i w0 = load(weights), w1 = load(weights + 32);
#pragma GCC unroll 3
        for (int r = 0; r < rows; r++) {
          const __m256i x = four_bytes(q + r * 4);
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
#pragma GCC unroll 3
    for (int r = 0; r < rows; r++) {
      float* to = out + r * panel_width;
      _mm256_storeu_ps(to, scaled(sum[r][0], weight_scales, scales[r], to));
      _mm256_storeu_ps(to + 8, scaled(sum[r][1], weight_scales + 8, scales[r], to + 8));
    }
  }
}

// Runs f<rows>(top, left) on the parts of a tile of `rows` rows and a panel.
template <typename F>
inline void each_part(size_t rows, const F& f) {
  for (size_t left = 0; left < panel_width; left += part_width) {
    for (size_t top = 0; top < rows; top += part_rows) {
      switch (std::min(rows - top, part_rows)) {
        case 1:
          f.template operator()<1>(top, left);
          break;
        case 2:
          f.template operator()<2>(top, left);
          break;
        default:
          f.template operator()<3>(top, left);
      }
    }
  }
}

void begin(
    const float* start, const int16_t* sums, const float* sum_units, const int16_t* biases, const float* bias_units,
    size_t pairs, size_t rows, float* out) {
  each_part(rows, [&]<int count>(size_t top, size_t left) {
    begin_with<count>(
        start + left, sums + top * 2, sum_units + top, biases + left * 2, bias_units + left, pairs,
        out + top * panel_width + left);
  });
}

template <int depth>
void add_deep(
    const int8_t* q, const float* scales, const uint8_t* weights, const float* weight_scales, size_t group,
    size_t groups, size_t rows, float* out) {
  each_part(rows, [&]<int count>(size_t top, size_t left) {
    products_of<count, depth>(
        q + top * 4, scales + top, weights + left * 4, weight_scales + left, group, groups,
        out + top * panel_width + left);
  });
}

void add_products(
    const int8_t* q, const float* scales, const uint8_t* weights, const float* weight_scales, int bits, size_t group,
    size_t groups, size_t rows, float* out) {
  const auto add = bits <= 4 ? add_deep<8> : bits == 5 ? add_deep<4> : add_deep<2>;
  add(q, scales, weights, weight_scales, group, groups, rows, out);
}

}  // namespace

extern const IntegerKernels avx2_integer_kernels = {6, unpack, begin, add_products};

}  // namespace cpu

#endif
