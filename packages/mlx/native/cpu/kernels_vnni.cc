#include "kernels.h"

#ifdef __x86_64__

#include <immintrin.h>

#include <cstring>

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")

namespace cpu {
namespace {

// Scales each group of each row to [-127, 127]: q = x / scale, rounded. `sums` are of what the integers stand for, so
// that the biases of the weights see the same inputs as the weights.
void quantize_rows(
    const float* x, size_t rows, size_t inputs, size_t group, int8_t* q, float* scales, float* sums) {
  for (size_t at = 0; at < rows * inputs; at += group, scales++, sums++) {
    __m512 most = _mm512_setzero_ps(), sum = _mm512_setzero_ps();
    for (size_t i = 0; i < group; i += 16) {
      __m512 v = _mm512_loadu_ps(x + at + i);
      most = _mm512_max_ps(most, _mm512_abs_ps(v));
      sum = _mm512_add_ps(sum, v);
    }
    // A maximum loses what is not a number, a sum does not.
    const float plain_sum = _mm512_reduce_add_ps(sum);
    const float scale = plain_sum == plain_sum ? _mm512_reduce_max_ps(most) / 127.0f : plain_sum;
    const __m512 factor = _mm512_set1_ps(scale > 0 ? 1 / scale : 0);
    __m512i total = _mm512_setzero_si512();
    for (size_t i = 0; i < group; i += 16) {
      __m512i rounded = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + at + i), factor));
      total = _mm512_add_epi32(total, rounded);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(q + at + i), _mm512_cvtsepi32_epi8(rounded));
    }
    *scales = scale;
    *sums = scale * static_cast<float>(_mm512_reduce_add_epi32(total));
  }
}

template <int bits>
void unpack_row(const uint8_t* packed, uint8_t* out, size_t count) {
  const __m512i shifts = _mm512_set_epi64(7 * bits, 6 * bits, 5 * bits, 4 * bits, 3 * bits, 2 * bits, bits, 0);
  const __m512i mask = _mm512_set1_epi64((1 << bits) - 1);
  for (size_t i = 0; i < count; i += 8, packed += bits) {
    uint64_t word = 0;
    std::memcpy(&word, packed, bits);
    __m512i values = _mm512_and_si512(_mm512_srlv_epi64(_mm512_set1_epi64(static_cast<int64_t>(word)), shifts), mask);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out + i), _mm512_cvtepi64_epi8(values));
  }
}

// `features` rows of packed weights to [inputs / 4, vnni_features, 4]: four neighbouring inputs of one feature lie
// together. Features beyond are zeros.
void unpack_panel(
    const uint8_t* packed, size_t row_bytes, size_t features, size_t inputs, int bits, uint8_t* row, uint8_t* panel) {
  if (features < vnni_features) std::memset(panel, 0, inputs * vnni_features);
  for (size_t feature = 0; feature < features; feature++, packed += row_bytes) {
    switch (bits) {
      case 2:
        unpack_row<2>(packed, row, inputs);
        break;
      case 3:
        unpack_row<3>(packed, row, inputs);
        break;
      case 4:
        unpack_row<4>(packed, row, inputs);
        break;
      case 5:
        unpack_row<5>(packed, row, inputs);
        break;
      case 6:
        unpack_row<6>(packed, row, inputs);
        break;
      default:
        std::memcpy(row, packed, inputs);
    }
    for (size_t i = 0; i < inputs; i += 4) std::memcpy(panel + (i * vnni_features) + feature * 4, row + i, 4);
  }
}

// rows of q times the panel, added to out [rows, vnni_features] with stride `stride`.
// The loops over rows must be unrolled, or their sums would live in memory.
template <int rows>
void product(
    const uint8_t* panel, const float* weight_scales, const int8_t* q, const float* scales, size_t inputs,
    size_t group, float* out, size_t stride) {
  const size_t groups = inputs / group;
  __m512 total[rows][2];
#pragma GCC unroll 6
  for (int r = 0; r < rows; r++) {
    total[r][0] = _mm512_loadu_ps(out + r * stride);
    total[r][1] = _mm512_loadu_ps(out + r * stride + 16);
  }
  for (size_t g = 0; g < groups; g++) {
    __m512i sum[rows][2];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = _mm512_setzero_si512();
    for (size_t i = g * group; i < (g + 1) * group; i += 4, panel += 4 * vnni_features) {
      const __m512i w0 = _mm512_loadu_si512(panel), w1 = _mm512_loadu_si512(panel + 64);
#pragma GCC unroll 6
      for (int r = 0; r < rows; r++) {
        int32_t four;
        std::memcpy(&four, q + r * inputs + i, 4);
        const __m512i x = _mm512_set1_epi32(four);
        sum[r][0] = _mm512_dpbusd_epi32(sum[r][0], w0, x);
        sum[r][1] = _mm512_dpbusd_epi32(sum[r][1], w1, x);
      }
    }
    const __m512 s0 = _mm512_loadu_ps(weight_scales + g * vnni_features);
    const __m512 s1 = _mm512_loadu_ps(weight_scales + g * vnni_features + 16);
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
      const __m512 scale = _mm512_set1_ps(scales[r * groups + g]);
      total[r][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][0]), _mm512_mul_ps(s0, scale), total[r][0]);
      total[r][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][1]), _mm512_mul_ps(s1, scale), total[r][1]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < rows; r++) {
    _mm512_storeu_ps(out + r * stride, total[r][0]);
    _mm512_storeu_ps(out + r * stride + 16, total[r][1]);
  }
}

void multiply(
    const uint8_t* panel, const float* weight_scales, const int8_t* q, const float* scales, size_t rows, size_t inputs,
    size_t group, float* out, size_t stride) {
  const size_t groups = inputs / group;
  size_t row = 0;
  // Six rows: with two registers each for integers and floats, and the operands, what the machine has.
  for (; row + 6 <= rows; row += 6) {
    product<6>(panel, weight_scales, q + row * inputs, scales + row * groups, inputs, group, out + row * stride, stride);
  }
  for (; row < rows; row++) {
    product<1>(panel, weight_scales, q + row * inputs, scales + row * groups, inputs, group, out + row * stride, stride);
  }
}

}  // namespace

extern const IntegerKernels vnni_kernels = {quantize_rows, unpack_panel, multiply};

}  // namespace cpu

#endif
