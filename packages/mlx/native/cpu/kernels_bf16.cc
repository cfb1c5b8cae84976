#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "kernels.h"

#ifdef __x86_64__

#include <immintrin.h>

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,prefer-vector-width=512")
#define VECTOR_BYTES 64
#define TILE_ROWS 8
#define TILE_VECTORS 3
#include "attention.inc"

namespace cpu {
namespace {

using attention::Vector;

// Products of values rounded to bfloat16, summed in float32. A float holds two values, neighbours along the sum with
// the first in the lower half, which are multiplied with two others.
struct Bfloat16 {
  static constexpr size_t units(size_t count) {
    return (count + 1) / 2;
  }

  static Vector multiply_add(Vector sum, float left, Vector right) {
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_ps(left), (__m512bh)right);
  }

  static void pack_queries(const float* q, size_t queries, size_t dims, float sign, float* out) {
    const size_t pairs = units(dims);
    std::fill_n(out, pairs * attention::panel, 0.0f);
    for (size_t lane = 0; lane < queries; lane++) {
      for (size_t at = 0; at < dims; at += 32) {
        float neighbours[16];
        _mm512_storeu_ps(neighbours, round_pairs(q + lane * dims + at, dims - at, sign));
        for (size_t i = 0; i < std::min<size_t>(16, pairs - at / 2); i++) {
          out[(at / 2 + i) * attention::panel + lane] = neighbours[i];
        }
      }
    }
  }

  static constexpr size_t buffer_floats(size_t dims) {
    return attention::block * units(dims) + units(attention::block) * dims;
  }

  static const float* pack_keys(const float* k, size_t keys, size_t dims, float* buffer) {
    const size_t pairs = units(dims);
    for (size_t key = 0; key < keys; key++) {
      for (size_t at = 0; at < dims; at += 32) {
        _mm512_mask_storeu_ps(
            buffer + key * pairs + at / 2, first_lanes(pairs - at / 2), round_pairs(k + key * dims + at, dims - at, 1));
      }
    }
    return buffer;
  }

  static const float* pack_values(const float* v, size_t keys, size_t dims, float* buffer) {
    for (size_t key = 0; key < keys; key += 2) {
      for (size_t dim = 0; dim < dims; dim += 16) {
        const __mmask16 within = first_lanes(dims - dim);
        const __m512 first = _mm512_maskz_loadu_ps(within, v + key * dims + dim);
        const __m512 second = _mm512_maskz_loadu_ps(key + 1 < keys ? within : 0, v + (key + 1) * dims + dim);
        _mm512_mask_storeu_ps(buffer + key / 2 * dims + dim, within, interleave(first, second));
      }
    }
    return buffer;
  }

  static void pack_weights(float* weights, size_t keys) {
    for (size_t key = 0; key < keys; key += 2) {
      for (size_t at = 0; at < attention::panel; at += 16) {
        const __m512 first = _mm512_loadu_ps(weights + key * attention::panel + at);
        const __m512 second = key + 1 < keys ? _mm512_loadu_ps(weights + (key + 1) * attention::panel + at) : Vector{};
        _mm512_storeu_ps(weights + key / 2 * attention::panel + at, interleave(first, second));
      }
    }
  }

 private:
  static __mmask16 first_lanes(size_t count) {
    return count < 16 ? (1u << count) - 1 : 0xffff;
  }

  // Packs up to 32 of `count` values, times `sign`, into pairs of neighbours.
  static __m512 round_pairs(const float* x, size_t count, float sign) {
    const __m512 low = _mm512_maskz_loadu_ps(first_lanes(count), x);
    const __m512 high = count > 16 ? _mm512_maskz_loadu_ps(first_lanes(count - 16), x + 16) : Vector{};
    return (__m512)_mm512_cvtne2ps_pbh(high * sign, low * sign);
  }

  // Pairs each lane of `first` with the same lane of `second`.
  static __m512 interleave(__m512 first, __m512 second) {
    const __m512i order = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return (__m512)_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(second, first));
  }
};

}  // namespace

extern const AttentionKernel bfloat16_attention_kernel = attention::kernel<Bfloat16>;

}  // namespace cpu

#endif
