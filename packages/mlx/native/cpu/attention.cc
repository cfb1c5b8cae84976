#include "fused.h"

#ifdef __linux__

#include "kernels.h"

namespace cpu {
namespace {

// Panels of queries per task, which share reads of keys and values.
constexpr size_t most_panels = 8;

void expect_heads(const mx::array& q, const mx::array& k, const mx::array& v) {
  expect(q.ndim() == 4 && k.ndim() == 4 && v.shape() == k.shape() && q.shape(0) == k.shape(0) &&
             q.shape(1) == k.shape(1) && q.shape(3) == k.shape(3) && k.shape(2) > 0,
         "takes q, k and v [batch, heads, tokens, dims], k and v of the same shape");
}

// inputs: q, k, v and optionally a mask
mx::array attended(const AttentionKernel& kernel, Inputs all, float scale, bool causal) {
  const mx::array& q = all[0];
  return fuse(
      "attend", {q.shape(0), q.shape(2), q.shape(1) * q.shape(3)}, all, false,
      [&kernel, scale, causal](const Inputs& in, float* out) {
        const size_t heads = in[0].shape(1), queries = in[0].shape(2), dims = in[0].shape(3), keys = in[1].shape(2);
        const size_t all_heads = in[0].shape(0) * heads, width = heads * dims;
        // Tasks are as large as possible while every thread gets some.
        const size_t panels = (queries + kernel.panel - 1) / kernel.panel;
        const size_t together = std::clamp<size_t>(all_heads * panels / (4 * runtime::thread_count()), 1, most_panels);
        const size_t step = together * kernel.panel, parts = (queries + step - 1) / step;
        runtime::parallel(static_cast<int>(all_heads * parts), [&](int task) {
          const size_t head = task / parts, first = task % parts * step;
          const float* mask = nullptr;
          size_t mask_stride = 0;
          if (in.size() > 3) {
            const mx::array& m = in[3];
            const size_t of_batch = m.shape(0) > 1 ? head / heads : 0, of_head = m.shape(1) > 1 ? head % heads : 0;
            if (m.shape(2) > 1) mask_stride = keys;
            mask = floats(m) + (of_batch * m.shape(1) + of_head) * m.shape(2) * keys + first * mask_stride;
          }
          const Attention attention{
              .queries = std::min(step, queries - first),
              .keys = keys,
              .dims = dims,
              .q = floats(in[0]) + (head * queries + first) * dims,
              .k = floats(in[1]) + head * keys * dims,
              .v = floats(in[2]) + head * keys * dims,
              .scale = scale,
              .seen = causal ? keys - queries + first + 1 : keys,
              .mask = mask,
              .mask_stride = mask_stride,
              .out = out + ((head / heads) * queries + first) * width + (head % heads) * dims,
              .stride = width,
          };
          kernel.attend(attention, scratch_memory(kernel.scratch(attention.queries, dims)));
        });
      });
}

}  // namespace

mx::array attend(mx::array q, mx::array k, mx::array v, float scale, std::optional<mx::array> mask, bool causal) {
  expect_heads(q, k, v);
  expect(!causal || q.shape(2) <= k.shape(2), "takes at least as many keys as queries with a causal mask");
  Inputs all{q, k, v};
  if (mask) {
    const mx::Shape scores{q.shape(0), q.shape(1), q.shape(2), k.shape(2)};
    bool fits = mask->ndim() == 4 && mask->shape(3) == scores[3];
    for (int axis = 0; fits && axis < 3; axis++) fits = mask->shape(axis) == 1 || mask->shape(axis) == scores[axis];
    expect(fits, "takes a mask [batch or 1, heads or 1, queries or 1, keys]");
    all.push_back(*mask);
  }
  return attended(kernels().attention, std::move(all), scale, causal);
}

mx::array attend_bfloat16(mx::array q, mx::array k, mx::array v, float scale) {
  expect_heads(q, k, v);
  expect(bfloat16_attention() != nullptr, "needs a processor that multiplies bfloat16 (AVX512-BF16)");
  return attended(*bfloat16_attention(), {q, k, v}, scale, false);
}

}  // namespace cpu

#endif
