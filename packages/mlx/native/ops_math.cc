#include "convert.h"
#include "cpu/quantize.h"

namespace {

using mx::array;

template <array (*fn)(const array&, mx::StreamOrDevice)>
Row unary(const char* name) {
  return row(name, "a", [](array a) { return fn(a, {}); });
}

// A number adopts the dtype of an array operand; two numbers make float32.
template <array (*fn)(const array&, const array&, mx::StreamOrDevice)>
Row binary(const char* name) {
  return row(name, "a b", [](Operand a, Operand b) {
    return fn(a.as_operand_of(b.dtype()), b.as_operand_of(a.dtype()), {});
  });
}

template <array (*fn)(const array&, const std::vector<int>&, bool, mx::StreamOrDevice)>
Row reduction(const char* name) {
  return row(name, "a axes keepDims",
             [](array a, std::vector<int> axes, bool keep_dims) { return fn(a, axes, keep_dims, {}); });
}

// A cumulative reduction along one axis or over the flattened array.
template <array (*along)(const array&, int, bool, bool, std::optional<mx::Dtype>, mx::StreamOrDevice)>
Row running(const char* name) {
  return row(name, "a axis reverse inclusive",
             [](array a, std::optional<int> axis, bool reverse, bool inclusive) {
               return along(axis ? a : mx::flatten(a), axis.value_or(0), reverse, inclusive, std::nullopt, {});
             });
}

// Processors trap when the lowest integer is divided by -1. Dividing by 1 instead gives the same remainder and the
// negated quotient.
bool may_trap(const array& a, const array& b) {
  return mx::default_device() == mx::Device::cpu && mx::issubdtype(mx::result_type(a, b), mx::signedinteger);
}

array without_minus_one(const array& b) {
  return mx::where(mx::equal(b, array(-1, b.dtype())), array(1, b.dtype()), b);
}

array floor_divide(const array& a, const array& b, mx::StreamOrDevice) {
  if (!may_trap(a, b)) return mx::floor_divide(a, b);
  const array quotient = mx::floor_divide(a, without_minus_one(b));
  return mx::where(mx::equal(b, array(-1, b.dtype())), mx::negative(quotient), quotient);
}

array remainder(const array& a, const array& b, mx::StreamOrDevice) {
  return mx::remainder(a, may_trap(a, b) ? without_minus_one(b) : b);
}

}  // namespace

Table math_table() {
  return {
      unary<mx::abs>("abs"),
      unary<mx::negative>("negative"),
      unary<mx::sign>("sign"),
      unary<mx::reciprocal>("reciprocal"),
      unary<mx::square>("square"),
      unary<mx::sqrt>("sqrt"),
      unary<mx::rsqrt>("rsqrt"),
      unary<mx::exp>("exp"),
      unary<mx::expm1>("expm1"),
      unary<mx::log>("log"),
      unary<mx::log2>("log2"),
      unary<mx::log10>("log10"),
      unary<mx::log1p>("log1p"),
      unary<mx::sin>("sin"),
      unary<mx::cos>("cos"),
      unary<mx::tan>("tan"),
      unary<mx::arcsin>("arcsin"),
      unary<mx::arccos>("arccos"),
      unary<mx::arctan>("arctan"),
      unary<mx::sinh>("sinh"),
      unary<mx::cosh>("cosh"),
      unary<mx::tanh>("tanh"),
      unary<mx::arcsinh>("arcsinh"),
      unary<mx::arccosh>("arccosh"),
      unary<mx::arctanh>("arctanh"),
      unary<mx::sigmoid>("sigmoid"),
      unary<mx::erf>("erf"),
      unary<mx::erfinv>("erfinv"),
      unary<mx::floor>("floor"),
      unary<mx::ceil>("ceil"),
      unary<mx::logical_not>("logicalNot"),
      unary<mx::isnan>("isnan"),
      unary<mx::isinf>("isinf"),
      unary<mx::isfinite>("isfinite"),
      unary<mx::stop_gradient>("stopGradient"),
      row("round", "a decimals", [](array a, int decimals) { return mx::round(a, decimals); }),

      binary<mx::add>("add"),
      binary<mx::subtract>("subtract"),
      binary<mx::multiply>("multiply"),
      binary<mx::divide>("divide"),
      binary<floor_divide>("floorDivide"),
      binary<remainder>("remainder"),
      binary<mx::power>("power"),
      binary<mx::maximum>("maximum"),
      binary<mx::minimum>("minimum"),
      binary<mx::arctan2>("arctan2"),
      binary<mx::logaddexp>("logaddexp"),
      binary<mx::equal>("equal"),
      binary<mx::not_equal>("notEqual"),
      binary<mx::less>("less"),
      binary<mx::less_equal>("lessEqual"),
      binary<mx::greater>("greater"),
      binary<mx::greater_equal>("greaterEqual"),
      binary<mx::logical_and>("logicalAnd"),
      binary<mx::logical_or>("logicalOr"),
      binary<mx::bitwise_and>("bitwiseAnd"),
      binary<mx::bitwise_or>("bitwiseOr"),
      binary<mx::bitwise_xor>("bitwiseXor"),
      binary<mx::left_shift>("leftShift"),
      binary<mx::right_shift>("rightShift"),
      row("where", "condition a b", [](Operand condition, Operand a, Operand b) {
        return mx::where(condition.as_operand_of(mx::bool_), a.as_operand_of(b.dtype()), b.as_operand_of(a.dtype()));
      }),
      row("clip", "a min max", [](array a, std::optional<Operand> min, std::optional<Operand> max) {
        auto limit = [&](std::optional<Operand>& operand) -> std::optional<array> {
          if (!operand) return std::nullopt;
          return operand->as_operand_of(a.dtype());
        };
        return mx::clip(a, limit(min), limit(max));
      }),
      row("nanToNum", "a nan positive negative",
          [](array a, float nan, std::optional<float> positive, std::optional<float> negative) {
            return mx::nan_to_num(a, nan, positive, negative);
          }),
      row("allclose", "a b rtol atol equalNan", [](array a, array b, double rtol, double atol, bool equal_nan) {
        return mx::allclose(a, b, rtol, atol, equal_nan);
      }),
      row("arrayEqual", "a b equalNan",
          [](array a, array b, bool equal_nan) { return mx::array_equal(a, b, equal_nan); }),

      reduction<mx::sum>("sum"),
      reduction<mx::mean>("mean"),
      reduction<mx::prod>("prod"),
      reduction<mx::max>("max"),
      reduction<mx::min>("min"),
      reduction<mx::all>("all"),
      reduction<mx::any>("any"),
      reduction<mx::logsumexp>("logsumexp"),
      row("variance", "a axes keepDims ddof", [](array a, std::vector<int> axes, bool keep_dims, int ddof) {
        return mx::var(a, axes, keep_dims, ddof);
      }),
      row("std", "a axes keepDims ddof", [](array a, std::vector<int> axes, bool keep_dims, int ddof) {
        return mx::std(a, axes, keep_dims, ddof);
      }),
      row("argmax", "a axis keepDims", [](array a, std::optional<int> axis, bool keep_dims) {
        return axis ? mx::argmax(a, *axis, keep_dims) : mx::argmax(a, keep_dims);
      }),
      row("argmin", "a axis keepDims", [](array a, std::optional<int> axis, bool keep_dims) {
        return axis ? mx::argmin(a, *axis, keep_dims) : mx::argmin(a, keep_dims);
      }),
      running<mx::cumsum>("cumsum"),
      running<mx::cumprod>("cumprod"),
      row("softmax", "a axes precise",
          [](array a, std::vector<int> axes, bool precise) { return mx::softmax(a, axes, precise); }),

      row("sort", "a axis", [](array a, int axis) { return mx::sort(a, axis); }),
      row("argsort", "a axis", [](array a, int axis) { return mx::argsort(a, axis); }),
      row("topk", "a k axis", [](array a, int k, int axis) { return mx::topk(a, k, axis); }),
      row("partition", "a kth axis", [](array a, int kth, int axis) { return mx::partition(a, kth, axis); }),
      row("argpartition", "a kth axis", [](array a, int kth, int axis) { return mx::argpartition(a, kth, axis); }),

      row("matmul", "a b", [](array a, array b) { return mx::matmul(a, b); }),
      row("addmm", "c a b alpha beta",
          [](array c, array a, array b, float alpha, float beta) { return mx::addmm(c, a, b, alpha, beta); }),
      row("outer", "a b", [](array a, array b) { return mx::outer(a, b); }),
      row("inner", "a b", [](array a, array b) { return mx::inner(a, b); }),
      row("tensordot", "a b axesA axesB", [](array a, array b, std::vector<int> axes_a, std::vector<int> axes_b) {
        return mx::tensordot(a, b, axes_a, axes_b);
      }),
      row("einsum", "subscripts operands",
          [](std::string subscripts, std::vector<array> operands) { return mx::einsum(subscripts, operands); }),

      row("convGeneral", "input weight stride paddingBefore paddingAfter kernelDilation inputDilation groups flip",
          [](array input, array weight, std::vector<int> stride, std::vector<int> before, std::vector<int> after,
             std::vector<int> kernel_dilation, std::vector<int> input_dilation, int groups, bool flip) {
            return mx::conv_general(input, weight, stride, before, after, kernel_dilation, input_dilation, groups, flip);
          }),
      row("convTranspose1d", "input weight stride padding dilation outputPadding groups",
          [](array input, array weight, int stride, int padding, int dilation, int output_padding, int groups) {
            return mx::conv_transpose1d(input, weight, stride, padding, dilation, output_padding, groups);
          }),
      row("convTranspose2d", "input weight stride padding dilation outputPadding groups",
          [](array input, array weight, std::vector<int> stride, std::vector<int> padding, std::vector<int> dilation,
             std::vector<int> output_padding, int groups) {
            auto pair = [](const std::vector<int>& v) { return std::pair<int, int>{v.at(0), v.at(1)}; };
            return mx::conv_transpose2d(input, weight, pair(stride), pair(padding), pair(dilation),
                                        pair(output_padding), groups);
          }),

      row("scaledDotProductAttention", "q k v scale maskMode mask",
          [](array q, array k, array v, float scale, std::string mask_mode, std::optional<array> mask) {
            return mx::fast::scaled_dot_product_attention(q, k, v, scale, mask_mode, mask);
          }),
      row("rmsNorm", "x weight eps",
          [](array x, std::optional<array> weight, float eps) { return mx::fast::rms_norm(x, weight, eps); }),
      row("layerNorm", "x weight bias eps",
          [](array x, std::optional<array> weight, std::optional<array> bias, float eps) {
            return mx::fast::layer_norm(x, weight, bias, eps);
          }),
      row("rope", "x dims traditional base scale offset freqs",
          [](array x, int dims, bool traditional, std::optional<float> base, float scale, int offset,
             std::optional<array> freqs) {
            return mx::fast::rope(x, dims, traditional, base, scale, offset, freqs);
          }),

      row("quantize", "w groupSize bits",
          [](array w, int group_size, int bits) { return cpu::quantize(w, group_size, bits); }),
      row("dequantize", "w scales biases groupSize bits",
          [](array w, array scales, array biases, int group_size, int bits) {
            return mx::dequantize(w, scales, biases, group_size, bits);
          }),
      row("quantizedMatmul", "x w scales biases transpose groupSize bits",
          [](array x, array w, array scales, array biases, bool transpose, int group_size, int bits) {
            return mx::quantized_matmul(x, w, scales, biases, transpose, group_size, bits);
          }),
      row("fromFp8", "a dtype", [](array a, mx::Dtype dtype) { return mx::from_fp8(a, dtype); }),
      row("toFp8", "a", [](array a) { return mx::to_fp8(a); }),

      row("randomKey", "seed", [](Seed seed) { return mx::random::key(seed.value); }),
      row("randomSplit", "key count", [](array key, int count) { return mx::random::split(key, count); }),
      row("randomNormal", "shape dtype loc scale key",
          [](mx::Shape shape, mx::Dtype dtype, float loc, float scale, array key) {
            return mx::random::normal(shape, dtype, loc, scale, key);
          }),
      row("randomUniform", "low high shape dtype key",
          [](Operand low, Operand high, mx::Shape shape, mx::Dtype dtype, array key) {
            return mx::random::uniform(low.as_operand_of(dtype), high.as_operand_of(dtype), shape, dtype, key);
          }),
      row("randomInt", "low high shape dtype key",
          [](Operand low, Operand high, mx::Shape shape, mx::Dtype dtype, array key) {
            return mx::random::randint(low.as_operand_of(dtype), high.as_operand_of(dtype), shape, dtype, key);
          }),
      row("randomBernoulli", "p shape key",
          [](Operand p, mx::Shape shape, array key) {
            return mx::random::bernoulli(p.as_operand_of(mx::float32), shape, key);
          }),
      row("randomTruncatedNormal", "lower upper shape dtype key",
          [](Operand lower, Operand upper, mx::Shape shape, mx::Dtype dtype, array key) {
            return mx::random::truncated_normal(
                lower.as_operand_of(dtype), upper.as_operand_of(dtype), shape, dtype, key);
          }),
      row("randomGumbel", "shape dtype key",
          [](mx::Shape shape, mx::Dtype dtype, array key) {
            return mx::random::gumbel(shape, dtype, key);
          }),
      row("randomCategorical", "logits axis key",
          [](array logits, int axis, array key) {
            return mx::random::categorical(logits, axis, key);
          }),
      row("randomPermutation", "a axis key",
          [](array a, int axis, array key) { return mx::random::permutation(a, axis, key); }),
  };
}
