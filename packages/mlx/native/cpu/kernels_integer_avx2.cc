#include "kernels.h"

#ifdef __x86_64__

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#pragma GCC target("avx2,fma")

// Integer products without dot-product instructions: pairs of 8-bit products are added up in 16 bits, as many as fit,
// and those in 32. That is exact for weights of up to 6 bits; with wider ones it would be no faster than floats.

namespace cpu {
namespace {

inline float sum_of(__m256 v) {
  alignas(32) float parts[8];
  _mm256_store_ps(parts, v);
  return ((parts[0] + parts[4]) + (parts[2] + parts[6])) + ((parts[1] + parts[5]) + (parts[3] + parts[7]));
}

inline float most_of(__m256 v) {
  alignas(32) float parts[8];
  _mm256_store_ps(parts, v);
  return *std::max_element(parts, parts + 8);
}

// As the kernels for VNNI do: scales each group of each row to [-127, 127].
void quantize_rows(
    const float* x, size_t rows, size_t inputs, size_t group, int8_t* q, float* scales, float* sums) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  for (size_t at = 0; at < rows * inputs; at += group, scales++, sums++) {
    __m256 most = _mm256_setzero_ps(), sum = _mm256_setzero_ps();
    for (size_t i = 0; i < group; i += 8) {
      __m256 v = _mm256_loadu_ps(x + at + i);
      most = _mm256_max_ps(most, _mm256_andnot_ps(sign, v));
      sum = _mm256_add_ps(sum, v);
    }
    const float plain_sum = sum_of(sum);
    const float scale = plain_sum == plain_sum ? most_of(most) / 127.0f : plain_sum;
    const __m256 factor = _mm256_set1_ps(scale > 0 ? 1 / scale : 0);
    int32_t total = 0;
    for (size_t i = 0; i < group; i += 8) {
      const __m256i rounded = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + at + i), factor));
      const __m128i words =
          _mm_packs_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
      const __m128i bytes = _mm_packs_epi16(words, words);
      _mm_storel_epi64(reinterpret_cast<__m128i*>(q + at + i), bytes);
      for (size_t j = 0; j < 8; j++) total += q[at + i + j];
    }
    *scales = scale;
    *sums = scale * static_cast<float>(total);
  }
}

void unpack_panel(
    const uint8_t* packed, size_t row_bytes, size_t features, size_t inputs, int bits, uint8_t* panel) {
  if (features < integer_features) std::memset(panel, 0, inputs * integer_features);
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  for (size_t feature = 0; feature < features; feature++) {
    const uint8_t* from = packed + feature * row_bytes;
    for (size_t i = 0; i < inputs; i += 8, from += bits) {
      uint64_t word = 0;
      std::memcpy(&word, from, bits);
      for (size_t j = 0; j < 8; j++, word >>= bits) {
        panel[((i + j) / 4 * integer_features + feature) * 4 + j % 4] = static_cast<uint8_t>(word & mask);
      }
    }
  }
}

// Features of a half of the panel: what the registers hold of three rows.
constexpr size_t half_features = 16;

// `depth` pairs of products are added up in 16 bits: (2^bits - 1) · 127 · 2 · depth must fit.
template <int count, int depth>
inline void product(
    const IntegerOperands& o, size_t row, size_t first, size_t groups, size_t half, float* out) {
  const __m256i ones = _mm256_set1_epi16(1);
  const size_t row_groups = o.inputs / o.group;
  for (size_t g = first; g < first + groups; g++) {
    const uint8_t* panel = o.panel + g * o.group * integer_features + half * 4;
    const int8_t* q = o.q + row * o.inputs + g * o.group;
    __m256i sum[count][2];
#pragma GCC unroll 3
    for (int r = 0; r < count; r++) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (size_t i = 0; i < o.group; i += 4 * depth) {
      __m256i part[count][2];
#pragma GCC unroll 3
      for (int r = 0; r < count; r++) part[r][0] = part[r][1] = _mm256_setzero_si256();
#pragma GCC unroll 8
      for (int d = 0; d < depth; d++, panel += 4 * integer_features) {
        const __m256i w0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel));
        const __m256i w1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel + 32));
#pragma GCC unroll 3
        for (int r = 0; r < count; r++) {
          int32_t four;
          std::memcpy(&four, q + r * o.inputs + i + d * 4, 4);
          const __m256i x = _mm256_set1_epi32(four);
          part[r][0] = _mm256_add_epi16(part[r][0], _mm256_maddubs_epi16(w0, x));
          part[r][1] = _mm256_add_epi16(part[r][1], _mm256_maddubs_epi16(w1, x));
        }
      }
#pragma GCC unroll 3
      for (int r = 0; r < count; r++) {
        sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(part[r][0], ones));
        sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(part[r][1], ones));
      }
    }
    for (int part = 0; part < 2; part++) {
      const size_t at = g * integer_features + half + part * 8;
      const __m256 weight_scale = _mm256_loadu_ps(o.weight_scales + at), bias = _mm256_loadu_ps(o.weight_biases + at);
#pragma GCC unroll 3
      for (int r = 0; r < count; r++) {
        float* result = out + r * integer_features + half + part * 8;
        const __m256 scale = _mm256_mul_ps(weight_scale, _mm256_set1_ps(o.scales[(row + r) * row_groups + g]));
        __m256 total = _mm256_loadu_ps(result);
        total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[r][part]), scale, total);
        total = _mm256_fmadd_ps(bias, _mm256_set1_ps(o.sums[(row + r) * row_groups + g]), total);
        _mm256_storeu_ps(result, total);
      }
    }
  }
}

// Inputs whose part of the panel (16 KB) stays in the nearest cache for all rows.
constexpr size_t cached_inputs = 512;

template <int depth>
void multiply_deep(const IntegerOperands& o, size_t first, size_t rows, float* out) {
  const size_t groups = o.inputs / o.group, step = std::max<size_t>(1, cached_inputs / o.group);
  for (size_t g = 0; g < groups; g += step) {
    const size_t n = std::min(step, groups - g);
    for (size_t half = 0; half < integer_features; half += half_features) {
      size_t row = 0;
      for (; row + 3 <= rows; row += 3) {
        product<3, depth>(o, first + row, g, n, half, out + row * integer_features);
      }
      for (; row < rows; row++) product<1, depth>(o, first + row, g, n, half, out + row * integer_features);
    }
  }
}

void multiply(const IntegerOperands& operands, size_t first, size_t rows, float* out) {
  if (operands.bits <= 4) {
    multiply_deep<8>(operands, first, rows, out);
  } else if (operands.bits == 5) {
    multiply_deep<4>(operands, first, rows, out);
  } else {
    multiply_deep<2>(operands, first, rows, out);
  }
}

}  // namespace

extern const IntegerKernels avx2_integer_kernels = {6, quantize_rows, unpack_panel, multiply};

}  // namespace cpu

#endif
