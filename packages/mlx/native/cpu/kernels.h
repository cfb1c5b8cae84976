#pragma once

// The inner loops of the CPU backend's fused operations, compiled once for each instruction set. All float32,
// contiguous, over a range of rows or elements that one thread takes.

#include <cstddef>
#include <cstdint>

#include "integer.h"

namespace cpu {

enum class Activation { silu, gelu, gelu_tanh, quick_gelu };

// Queries of one head and what they attend to: out = softmax(scale · q kᵀ + mask) v.
struct Attention {
  size_t queries, keys, dims;
  // [queries or keys, dims]
  const float* q;
  const float* k;
  const float* v;
  float scale;
  // Keys that the first query sees; each further one sees one more, as far as there are.
  size_t seen;
  // [queries, keys], its rows `mask_stride` apart, or null.
  const float* mask;
  size_t mask_stride;
  // [queries, dims], its rows `stride` apart.
  float* out;
  size_t stride;
};

struct AttentionKernel {
  // Queries that go together: fewer take as long.
  size_t panel;
  // Floats of scratch memory for so many queries.
  size_t (*scratch)(size_t queries, size_t dims);
  // The scratch memory begins at a multiple of 64 bytes.
  void (*attend)(const Attention& a, float* scratch);
};

struct Kernels {
  // out[i] = activation(in[i]); in may be out
  void (*activate)(Activation activation, const float* in, float* out, size_t count);

  // The same, or a copy where there is none, of `count` values of each of so many rows: to rows that lie far apart and
  // were not used before.
  void (*put_rows)(
      const Activation* activation, const float* in, size_t in_stride, size_t rows, size_t count, float* out,
      size_t out_stride);

  // (x - mean) * rsqrt(var + eps) * (base + scale) + shift for each row of `dims`
  void (*layer_norm)(
      const float* x, float base, const float* scale, const float* shift, float* out, size_t rows, size_t dims,
      float eps);

  // out = x + gate * y for each row of `dims`; x may be out
  void (*gated_add)(const float* x, const float* gate, const float* y, float* out, size_t rows, size_t dims);

  // One head of one token: x * rsqrt(mean(x²) + eps) * weight, then adjacent pairs turned by cos and sin [dims / 2].
  void (*norm_rotate)(
      const float* x, const float* weight, const float* cos, const float* sin, float* out, size_t dims, float eps);

  AttentionKernel attention;

  // Sum of a row, and of squared differences from `centre`, of interleaved channels: x [positions, stride] at channels
  // [0, size) → added up in double.
  double (*group_sum)(const float* x, size_t positions, size_t stride, size_t size);
  double (*group_squares)(const float* x, size_t positions, size_t stride, size_t size, float centre);

  // out = x * factor + offset by channel for each row of `channels`, then SiLU if asked.
  void (*affine)(
      const float* x, const float* factor, const float* offset, float* out, size_t rows, size_t channels, bool silu);

  // `count` values (a multiple of 8) of affine quantization with `bits` each, packed from the lowest bit on, in groups
  // of `group` that share a scale and a bias.
  void (*dequantize)(
      const uint8_t* packed, const float* scales, const float* biases, float* out, size_t count, size_t group, int bits);

  // float16 or (`brain`) bfloat16 to float32
  void (*widen)(const uint16_t* in, bool brain, float* out, size_t count);

  // The reverse of dequantize, for groups of `size` values (a multiple of 32).
  void (*quantize)(
      const float* in, uint8_t* packed, float* scales, float* biases, size_t groups, size_t size, int bits);

  // The largest magnitude of each of `groups` groups of a row, and of all; that is NaN where a value is not finite.
  float (*group_maxima)(const float* x, size_t group, size_t groups, float* maxima);

  // Groups of a row in whole steps [groups], which bytes must hold; a step of 0 makes zeros. q [inputs / run_inputs,
  // tile_rows, run_inputs] begins at the row's place in a tile; sums [groups] are of what the integers stand for.
  void (*round_row)(const float* x, size_t group, size_t groups, const float* steps, int8_t* q, float* sums);

  // Values as integers up to `most` either way, with a zero after an odd number of them. Gives the unit; NaN where a
  // value is not finite.
  float (*round_pairs)(const float* values, size_t count, float most, int16_t* out);
};

// Attention with q, k, v and the softmax's weights rounded to bfloat16. Null where the processor has no such products.
const AttentionKernel* bfloat16_attention();

// The best set that this machine has; MFLUX_DEPTH_ISA names one (instruction_sets.cc).
const Kernels& kernels();

const char* instruction_set();

extern const Kernels generic_kernels;
#ifdef __x86_64__
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
extern const AttentionKernel bfloat16_attention_kernel;
#endif

}  // namespace cpu
