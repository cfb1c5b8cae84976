#pragma once

// The inner loops of the CPU backend's fused operations, compiled once per instruction set. They process contiguous
// float32 data, a range of rows or elements per thread.

#include <cstddef>
#include <cstdint>
#include <string>

#include "integer.h"

namespace cpu {

enum class Activation { silu, gelu, gelu_tanh, quick_gelu, relu };

// Queries of one head with their keys and values: out = softmax(scale · q kᵀ + mask) v.
struct Attention {
  size_t queries, keys, dims;
  // [queries or keys, dims]
  const float* q;
  const float* k;
  const float* v;
  float scale;
  // Number of keys that the first query sees; each further query sees one more, up to all.
  size_t seen;
  // [queries, keys] with rows `mask_stride` apart, or null.
  const float* mask;
  size_t mask_stride;
  // [queries, dims] with rows `stride` apart.
  float* out;
  size_t stride;
};

struct AttentionKernel {
  // Number of queries processed together; fewer take as long.
  size_t panel;
  // Number of scratch floats for the given queries.
  size_t (*scratch)(size_t queries, size_t dims);
  // The scratch memory is aligned to 64 bytes.
  void (*attend)(const Attention& a, float* scratch);
};

struct Kernels {
  // out[i] = activation(in[i]); in may be out
  void (*activate)(Activation activation, const float* in, float* out, size_t count);

  // Applies the activation (or copies, if there is none) to `count` values of each row, writing to rows that are far
  // apart and not in the cache.
  void (*put_rows)(
      const Activation* activation, const float* in, size_t in_stride, size_t rows, size_t count, float* out,
      size_t out_stride);

  // (x - mean) * rsqrt(var + eps) * (base + scale) + shift for each row of `dims`
  void (*layer_norm)(
      const float* x, float base, const float* scale, const float* shift, float* out, size_t rows, size_t dims,
      float eps);

  // out = x + gate * y for each row of `dims`; x may be out
  void (*gated_add)(const float* x, const float* gate, const float* y, float* out, size_t rows, size_t dims);

  // One head of one token: x * rsqrt(mean(x²) + eps) * weight, with adjacent pairs rotated by cos and sin [dims / 2].
  void (*norm_rotate)(
      const float* x, const float* weight, const float* cos, const float* sin, float* out, size_t dims, float eps);

  AttentionKernel attention;

  // Sums channels [0, size) of x [positions, stride], and their squared differences from `centre`, in double precision.
  double (*group_sum)(const float* x, size_t positions, size_t stride, size_t size);
  double (*group_squares)(const float* x, size_t positions, size_t stride, size_t size, float centre);

  // out = x * factor + offset by channel for each row of `channels`, followed by SiLU if named
  void (*affine)(
      const float* x, const float* factor, const float* offset, float* out, size_t rows, size_t channels, bool silu);

  // Winograd's transforms of a convolution of 3×3 (convolution.cc), by channel. A tile of 2×2 results has 16 values in
  // the transformed space, `plane` floats apart.
  // Transforms the kernel [9, channels] of one output.
  void (*winograd_weights)(const float* w, size_t channels, float* out, size_t plane);
  // Transforms a row of `tiles` [4, 4, channels], which overlap by two columns; rows of x are `pitch` floats apart.
  void (*winograd_input)(const float* x, size_t pitch, size_t tiles, size_t channels, float* out, size_t plane);
  // The way back, to `rows` (1 or 2) rows of `columns` results, `pitch` floats apart, at `out` and in `residual`. Adds
  // the bias and the residual, which may be null; residual may be out.
  void (*winograd_output)(
      const float* y, size_t plane, size_t channels, const float* bias, const float* residual, size_t rows,
      size_t columns, float* out, size_t pitch);

  // Unpacks `count` affinely quantized values (a multiple of 8) of `bits` each, lowest bit first, in groups of `group`
  // that share a scale and a bias.
  void (*dequantize)(
      const uint8_t* packed, const float* scales, const float* biases, float* out, size_t count, size_t group, int bits);

  // Widens float16, or bfloat16 if `brain`, to float32.
  void (*widen)(const uint16_t* in, bool brain, float* out, size_t count);

  // The inverse of dequantize, for groups of `size` values (a multiple of 32).
  void (*quantize)(
      const float* in, uint8_t* packed, float* scales, float* biases, size_t groups, size_t size, int bits);

  // Finds the largest magnitude of each of `groups` groups of a row, and of the row: NaN if a value is not finite.
  float (*group_maxima)(const float* x, size_t group, size_t groups, float* maxima);

  // Rounds the groups of a row to multiples of their steps [groups], which must fit bytes; a step of 0 gives zeros. q
  // [inputs / run_inputs, tile_rows, run_inputs] points to the place of the row in a tile; sums [groups] are the sums
  // of the rounded values.
  void (*round_row)(const float* x, size_t group, size_t groups, const float* steps, int8_t* q, float* sums);

  // Rounds values to integers of magnitude up to `most`, and appends a zero to an odd number of them. Returns the unit:
  // NaN if a value is not finite.
  float (*round_pairs)(const float* values, size_t count, float most, int16_t* out);
};

// Attention with q, k, v and the softmax weights rounded to bfloat16; null if the processor lacks such products.
const AttentionKernel* bfloat16_attention();

// The best set of this machine, or the one that MFLUX_DEPTH_ISA names (instruction_sets.cc).
const Kernels& kernels();

const char* instruction_set();

// The model of this processor as vendor, family and model in hexadecimal, as Linux's perf names it: "GenuineIntel-6-8F".
// "none" on processors other than x86.
std::string processor();

extern const Kernels generic_kernels;
#ifdef __x86_64__
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
extern const AttentionKernel bfloat16_attention_kernel;
#endif

}  // namespace cpu
