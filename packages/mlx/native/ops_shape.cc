#include "convert.h"

using mx::array;

namespace {

// Clamps indices of `count` elements to the ends: MLX's CPU backend would read and write out of bounds.
array within(array indices, int64_t count) {
  const auto dtype = indices.dtype();
  if (mx::default_device() != mx::Device::cpu || count == 0 || !mx::issubdtype(dtype, mx::integer)) return indices;
  const bool with_sign = mx::issubdtype(dtype, mx::signedinteger);
  const int bits = 8 * static_cast<int>(mx::size_of(dtype)) - with_sign;
  // If the dtype cannot represent larger indices, there is nothing to clamp.
  if (bits < 63 && count > int64_t{1} << bits) return indices;
  indices = mx::minimum(indices, array(count - 1, dtype));
  return with_sign ? mx::maximum(indices, array(-count, dtype)) : indices;
}

array within(array indices, const array& a, int axis) {
  const int at = axis < 0 ? axis + static_cast<int>(a.ndim()) : axis;
  return at < 0 || at >= static_cast<int>(a.ndim()) ? indices : within(std::move(indices), a.shape(at));
}

// Clamps the starts of slices of `length` along an axis of `count` elements, so that they lie inside.
array starts_within(array indices, int count, int length) {
  const auto dtype = indices.dtype();
  // MLX rejects other lengths.
  if (mx::default_device() != mx::Device::cpu || length < 1 || length > count) return indices;
  if (length == 1 || !mx::issubdtype(dtype, mx::signedinteger)) return within(indices, count - length + 1);
  indices = mx::astype(within(indices, count), mx::int64);
  indices = mx::where(mx::less(indices, array(0)), mx::add(indices, array(count)), indices);
  return mx::minimum(indices, array(count - length));
}

// Clamps the indices of each axis, where slices of `lengths` begin.
std::vector<array> starts_within(
    std::vector<array> indices, const array& a, const std::vector<int>& axes, const mx::Shape& lengths) {
  // MLX rejects mismatched arguments.
  if (indices.size() != axes.size() || lengths.size() != a.ndim()) return indices;
  for (size_t i = 0; i < axes.size(); i++) {
    if (axes[i] < 0 || axes[i] >= static_cast<int>(a.ndim())) continue;
    indices[i] = starts_within(indices[i], a.shape(axes[i]), lengths[axes[i]]);
  }
  return indices;
}

// The last axes of `updates` correspond to those of `a`.
mx::Shape lengths_of(const array& updates, const array& a) {
  const auto& shape = updates.shape();
  return shape.size() < a.ndim() ? shape : mx::Shape(shape.end() - a.ndim(), shape.end());
}

}  // namespace

Table shape_table() {
  return {
      row("zeros", "shape dtype", [](mx::Shape shape, mx::Dtype dtype) { return mx::zeros(shape, dtype); }),
      row("ones", "shape dtype", [](mx::Shape shape, mx::Dtype dtype) { return mx::ones(shape, dtype); }),
      row("zerosLike", "a", [](array a) { return mx::zeros_like(a); }),
      row("onesLike", "a", [](array a) { return mx::ones_like(a); }),
      row("full", "shape value dtype", [](mx::Shape shape, Operand value, mx::Dtype dtype) {
        return mx::full(shape, value.as_operand_of(dtype), dtype);
      }),
      row("arange", "start stop step dtype", [](double start, double stop, double step, mx::Dtype dtype) {
        return mx::arange(start, stop, step, dtype);
      }),
      row("linspace", "start stop count dtype", [](double start, double stop, int count, mx::Dtype dtype) {
        return mx::linspace(start, stop, count, dtype);
      }),
      row("eye", "rows columns k dtype",
          [](int rows, int columns, int k, mx::Dtype dtype) { return mx::eye(rows, columns, k, dtype); }),
      row("tril", "a k", [](array a, int k) { return mx::tril(a, k); }),
      row("triu", "a k", [](array a, int k) { return mx::triu(a, k); }),

      row("reshape", "a shape", [](array a, mx::Shape shape) { return mx::reshape(a, shape); }),
      row("flatten", "a startAxis endAxis",
          [](array a, int start_axis, int end_axis) { return mx::flatten(a, start_axis, end_axis); }),
      row("unflatten", "a axis shape", [](array a, int axis, mx::Shape shape) { return mx::unflatten(a, axis, shape); }),
      row("squeeze", "a axes", [](array a, std::vector<int> axes) { return mx::squeeze(a, axes); }),
      row("expandDims", "a axes", [](array a, std::vector<int> axes) { return mx::expand_dims(a, axes); }),
      row("transpose", "a axes", [](array a, std::vector<int> axes) { return mx::transpose(a, axes); }),
      row("swapaxes", "a first second", [](array a, int first, int second) { return mx::swapaxes(a, first, second); }),
      row("moveaxis", "a source destination",
          [](array a, int source, int destination) { return mx::moveaxis(a, source, destination); }),
      row("broadcastTo", "a shape",
          [](Operand a, mx::Shape shape) { return mx::broadcast_to(a.as_operand_of({}), shape); }),
      row("concatenate", "arrays axis",
          [](std::vector<array> arrays, int axis) { return mx::concatenate(arrays, axis); }),
      row("stack", "arrays axis", [](std::vector<array> arrays, int axis) { return mx::stack(arrays, axis); }),
      row("split", "a parts axis", [](array a, int parts, int axis) {
        if (parts < 1) throw std::invalid_argument("parts must be 1 or more, got " + std::to_string(parts));
        return mx::split(a, parts, axis);
      }),
      row("splitAt", "a indices axis",
          [](array a, mx::Shape indices, int axis) { return mx::split(a, indices, axis); }),
      row("repeat", "a times axis", [](array a, int times, int axis) { return mx::repeat(a, times, axis); }),
      row("tile", "a times", [](array a, std::vector<int> times) { return mx::tile(a, times); }),
      row("pad", "a before after value mode",
          [](array a, mx::Shape before, mx::Shape after, Operand value, std::string mode) {
            if (before.size() != a.ndim()) {
              throw std::invalid_argument(
                  "widths for " + std::to_string(before.size()) + " axes, the array has " + std::to_string(a.ndim()));
            }
            std::vector<int> axes(a.ndim());
            for (size_t i = 0; i < axes.size(); i++) axes[i] = static_cast<int>(i);
            return mx::pad(a, axes, before, after, value.as_operand_of(a.dtype()), mode);
          }),
      row("flip", "a axes", [](array a, std::vector<int> axes) { return mx::flip(a, axes); }),
      row("roll", "a shift axis", [](array a, int shift, int axis) { return mx::roll(a, shift, axis); }),
      row("astype", "a dtype", [](array a, mx::Dtype dtype) { return mx::astype(a, dtype); }),
      row("view", "a dtype", [](array a, mx::Dtype dtype) { return mx::view(a, dtype); }),
      row("contiguous", "a", [](array a) { return mx::contiguous(a); }),
      row("copy", "a", [](array a) { return mx::copy(a); }),

      row("slice", "a start stop step", [](array a, mx::Shape start, mx::Shape stop, mx::Shape step) {
        return mx::slice(a, start, stop, step);
      }),
      row("sliceUpdate", "a update start stop step",
          [](array a, Operand update, mx::Shape start, mx::Shape stop, mx::Shape step) {
            return mx::slice_update(a, update.as_operand_of(a.dtype()), start, stop, step);
          }),
      row("take", "a indices axis", [](array a, array indices, std::optional<int> axis) {
        return axis ? mx::take(a, within(indices, a, *axis), *axis) : mx::take(a, within(indices, a.size()));
      }),
      row("takeAlongAxis", "a indices axis",
          [](array a, array indices, int axis) { return mx::take_along_axis(a, within(indices, a, axis), axis); }),
      row("putAlongAxis", "a indices values axis", [](array a, array indices, Operand values, int axis) {
        return mx::put_along_axis(a, within(indices, a, axis), values.as_operand_of(a.dtype()), axis);
      }),
      row("gather", "a indices axes sliceSizes",
          [](array a, std::vector<array> indices, std::vector<int> axes, mx::Shape slice_sizes) {
            return mx::gather(a, starts_within(indices, a, axes, slice_sizes), axes, slice_sizes);
          }),
      row("scatter", "a indices updates axes",
          [](array a, std::vector<array> indices, array updates, std::vector<int> axes) {
            return mx::scatter(a, starts_within(indices, a, axes, lengths_of(updates, a)), updates, axes);
          }),
      row("scatterAdd", "a indices updates axes",
          [](array a, std::vector<array> indices, array updates, std::vector<int> axes) {
            return mx::scatter_add(a, starts_within(indices, a, axes, lengths_of(updates, a)), updates, axes);
          }),
  };
}
