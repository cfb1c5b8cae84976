#include "fused.h"

#ifdef __linux__

#include <cstring>
#include <limits>

#include "kernels.h"

namespace cpu {
namespace {

// Rows and columns of a block of scores: half a megabyte, which a core's cache holds beside the operands.
constexpr int query_block = 128;
constexpr int key_block = 1024;

}  // namespace

// By blocks with a running maximum and sum (Milakov and Gimelshein 2018; Dao et al. 2022).
mx::array attend(mx::array q, mx::array k, mx::array v, float scale, std::optional<mx::array> mask, bool causal) {
  expect(q.ndim() == 4 && k.ndim() == 4 && v.shape() == k.shape() && q.shape(0) == k.shape(0) &&
             q.shape(1) == k.shape(1) && q.shape(3) == k.shape(3) && k.shape(2) > 0,
         "takes q, k and v [batch, heads, tokens, dims], k and v of the same shape");
  expect(!causal || q.shape(2) <= k.shape(2), "takes a key for each query where the mask is causal");
  Inputs all{q, k, v};
  if (mask) {
    const mx::Shape scores{q.shape(0), q.shape(1), q.shape(2), k.shape(2)};
    bool fits = mask->ndim() == 4 && mask->shape(3) == scores[3];
    for (int axis = 0; fits && axis < 3; axis++) fits = mask->shape(axis) == 1 || mask->shape(axis) == scores[axis];
    expect(fits, "takes a mask [batch or 1, heads or 1, queries or 1, keys]");
    all.push_back(*mask);
  }
  return fuse(
      "attend", {q.shape(0), q.shape(2), q.shape(1) * q.shape(3)}, std::move(all), false,
      [scale, masked = mask.has_value(), causal](const Inputs& in, float* out) {
        const int heads = in[0].shape(1), queries = in[0].shape(2), dims = in[0].shape(3), keys = in[1].shape(2);
        const int blocks = (queries + query_block - 1) / query_block;
        const size_t width = static_cast<size_t>(heads) * dims;
        runtime::parallel(in[0].shape(0) * heads * blocks, [&](int task) {
          const int first = task % blocks * query_block, rows = std::min(query_block, queries - first);
          const size_t head = task / blocks;  // of all batches
          const float* q = floats(in[0]) + (head * queries + first) * dims;
          const float* k = floats(in[1]) + head * keys * dims;
          const float* v = floats(in[2]) + head * keys * dims;
          float* result = out + ((head / heads) * queries + first) * width + (head % heads) * dims;
          const float* mask_row = nullptr;
          size_t mask_stride = 0;
          if (masked) {
            const mx::array& mask = in[3];
            const size_t of_batch = mask.shape(0) > 1 ? head / heads : 0, of_head = mask.shape(1) > 1 ? head % heads : 0;
            mask_row = floats(mask) + (of_batch * mask.shape(1) + of_head) * mask.shape(2) * keys;
            if (mask.shape(2) > 1) {
              mask_row += static_cast<size_t>(first) * keys;
              mask_stride = keys;
            }
          }
          // The first query of the block sees as many keys.
          const int seen = causal ? keys - queries + first + 1 : keys;
          const int last = std::min(keys, seen + rows - 1);

          thread_local std::vector<float> scores(static_cast<size_t>(query_block) * key_block);
          float maximum[query_block], sum[query_block], rescale[query_block];
          std::fill_n(maximum, rows, -std::numeric_limits<float>::infinity());
          std::fill_n(sum, rows, 0.0f);
          for (int start = 0; start < last; start += key_block) {
            const int n = std::min(key_block, last - start);
            for (int row = 0; masked && row < rows; row++) {
              std::memcpy(scores.data() + row * key_block, mask_row + row * mask_stride + start, n * sizeof(float));
            }
            runtime::sgemm_alone(
                false, true, rows, n, dims, scale, q, dims, k + static_cast<size_t>(start) * dims, dims,
                masked ? 1.0f : 0.0f, scores.data(), key_block);
            for (int row = 0; causal && row < rows; row++) {
              const int visible = std::clamp(seen + row - start, 0, n);
              std::fill_n(scores.data() + row * key_block + visible, n - visible, -std::numeric_limits<float>::infinity());
            }
            kernels().softmax_block(scores.data(), rows, n, key_block, maximum, sum, rescale);
            if (start > 0) {
              for (int row = 0; row < rows; row++) kernels().scale(result + row * width, rescale[row], dims);
            }
            runtime::sgemm_alone(
                false, false, rows, dims, n, 1, scores.data(), key_block, v + static_cast<size_t>(start) * dims, dims,
                start > 0 ? 1.0f : 0.0f, result, static_cast<int>(width));
          }
          for (int row = 0; row < rows; row++) kernels().scale(result + row * width, 1 / sum[row], dims);
        });
      });
}

}  // namespace cpu

#endif
