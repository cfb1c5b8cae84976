#include "kernels.h"

#ifdef __x86_64__

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,bmi2")

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

// Inputs of a row that are unpacked at a time.
constexpr size_t unpacked_inputs = 256;

template <int bits>
void unpack(const uint8_t* packed, size_t count, uint8_t* out) {
  constexpr uint64_t lowest = 0x0101010101010101 * ((uint64_t{1} << bits) - 1);
  for (size_t i = 0; i < count; i += 8, packed += bits) {
    uint64_t word = 0;
    std::memcpy(&word, packed, bits);
    word = _pdep_u64(word, lowest);
    std::memcpy(out + i, &word, sizeof word);
  }
}

// Sixteen rows of sixteen 32-bit words, the rows `stride` bytes apart, to sixteen columns, `pitch` bytes apart.
inline void transpose(const uint8_t* rows, size_t stride, uint8_t* columns, size_t pitch) {
  __m512i a[16], b[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) a[i] = _mm512_loadu_si512(rows + i * stride);
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
  for (int c = 0; c < 4; c++) {
    const __m512i low = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x44), high = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xee);
    const __m512i low2 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x44);
    const __m512i high2 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xee);
    _mm512_storeu_si512(columns + c * pitch, _mm512_shuffle_i32x4(low, low2, 0x88));
    _mm512_storeu_si512(columns + (c + 4) * pitch, _mm512_shuffle_i32x4(low, low2, 0xdd));
    _mm512_storeu_si512(columns + (c + 8) * pitch, _mm512_shuffle_i32x4(high, high2, 0x88));
    _mm512_storeu_si512(columns + (c + 12) * pitch, _mm512_shuffle_i32x4(high, high2, 0xdd));
  }
}

template <int bits>
void unpack_features(const uint8_t* packed, size_t row_bytes, size_t features, size_t inputs, uint8_t* panel) {
  alignas(64) uint8_t rows[integer_features][unpacked_inputs];
  std::memset(rows, 0, sizeof rows);
  for (size_t start = 0; start < inputs; start += unpacked_inputs) {
    const size_t count = std::min(unpacked_inputs, inputs - start);
    for (size_t feature = 0; feature < features; feature++) {
      unpack<bits>(packed + feature * row_bytes + start * bits / 8, count, rows[feature]);
    }
    uint8_t* columns = panel + start * integer_features;
    size_t i = 0;
    for (; i + 64 <= count; i += 64) {
      for (size_t half = 0; half < integer_features; half += 16) {
        transpose(&rows[half][i], unpacked_inputs, columns + i * integer_features + half * 4, integer_features * 4);
      }
    }
    for (; i < count; i += 4) {
      for (size_t feature = 0; feature < integer_features; feature++) {
        std::memcpy(columns + i * integer_features + feature * 4, &rows[feature][i], 4);
      }
    }
  }
}

void unpack_panel(
    const uint8_t* packed, size_t row_bytes, size_t features, size_t inputs, int bits, uint8_t* panel) {
  switch (bits) {
    case 2:
      return unpack_features<2>(packed, row_bytes, features, inputs, panel);
    case 3:
      return unpack_features<3>(packed, row_bytes, features, inputs, panel);
    case 4:
      return unpack_features<4>(packed, row_bytes, features, inputs, panel);
    case 5:
      return unpack_features<5>(packed, row_bytes, features, inputs, panel);
    case 6:
      return unpack_features<6>(packed, row_bytes, features, inputs, panel);
    default:
      return unpack_features<8>(packed, row_bytes, features, inputs, panel);
  }
}

// `count` rows of q times `groups` groups of the panel, added to out [rows, integer_features].
// The loops over rows must be unrolled, or their sums would live in memory.
template <int count>
inline void product(const IntegerOperands& o, size_t row, size_t first, size_t groups, float* out) {
  const uint8_t* panel = o.panel + first * o.group * integer_features;
  __m512 total[count][2];
#pragma GCC unroll 6
  for (int r = 0; r < count; r++) {
    total[r][0] = _mm512_loadu_ps(out + r * integer_features);
    total[r][1] = _mm512_loadu_ps(out + r * integer_features + 16);
  }
  for (size_t g = first; g < first + groups; g++) {
    __m512i sum[count][2];
#pragma GCC unroll 6
    for (int r = 0; r < count; r++) sum[r][0] = sum[r][1] = _mm512_setzero_si512();
    const int8_t* q = o.q + row * o.inputs + g * o.group;
    for (size_t i = 0; i < o.group; i += 4, panel += 4 * integer_features) {
      const __m512i w0 = _mm512_loadu_si512(panel), w1 = _mm512_loadu_si512(panel + 64);
#pragma GCC unroll 6
      for (int r = 0; r < count; r++) {
        int32_t four;
        std::memcpy(&four, q + r * o.inputs + i, 4);
        const __m512i x = _mm512_set1_epi32(four);
        sum[r][0] = _mm512_dpbusd_epi32(sum[r][0], w0, x);
        sum[r][1] = _mm512_dpbusd_epi32(sum[r][1], w1, x);
      }
    }
    const __m512 s0 = _mm512_loadu_ps(o.weight_scales + g * integer_features);
    const __m512 s1 = _mm512_loadu_ps(o.weight_scales + g * integer_features + 16);
    const __m512 b0 = _mm512_loadu_ps(o.weight_biases + g * integer_features);
    const __m512 b1 = _mm512_loadu_ps(o.weight_biases + g * integer_features + 16);
    const size_t row_groups = o.inputs / o.group;
#pragma GCC unroll 6
    for (int r = 0; r < count; r++) {
      const __m512 scale = _mm512_set1_ps(o.scales[(row + r) * row_groups + g]);
      const __m512 inputs_sum = _mm512_set1_ps(o.sums[(row + r) * row_groups + g]);
      total[r][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][0]), _mm512_mul_ps(s0, scale), total[r][0]);
      total[r][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][1]), _mm512_mul_ps(s1, scale), total[r][1]);
      total[r][0] = _mm512_fmadd_ps(b0, inputs_sum, total[r][0]);
      total[r][1] = _mm512_fmadd_ps(b1, inputs_sum, total[r][1]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < count; r++) {
    _mm512_storeu_ps(out + r * integer_features, total[r][0]);
    _mm512_storeu_ps(out + r * integer_features + 16, total[r][1]);
  }
}

// Inputs whose part of the panel (16 KB) stays in the nearest cache for all rows.
constexpr size_t cached_inputs = 512;

void multiply(const IntegerOperands& o, size_t first, size_t rows, float* out) {
  const size_t groups = o.inputs / o.group, step = std::max<size_t>(1, cached_inputs / o.group);
  for (size_t g = 0; g < groups; g += step) {
    const size_t n = std::min(step, groups - g);
    size_t row = 0;
    // Six rows: with two registers each for integers and floats, and the operands, what the machine has.
    for (; row + 6 <= rows; row += 6) product<6>(o, first + row, g, n, out + row * integer_features);
    for (; row < rows; row++) product<1>(o, first + row, g, n, out + row * integer_features);
  }
}

}  // namespace

extern const IntegerKernels vnni_kernels = {8, quantize_rows, unpack_panel, multiply};

}  // namespace cpu

#endif
