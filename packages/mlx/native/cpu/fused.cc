#include "fused.h"

#ifdef __linux__

#include <cstdint>
#include <cstring>
#include <memory>

#include "mlx/backend/cpu/encoder.h"

namespace cpu {
namespace {

// A node of the graph with one output, computed by a function of the input buffers.
class Fused : public CpuPrimitive {
 public:
  Fused(mx::Stream stream, const char* name, bool in_place, Work work)
      : CpuPrimitive(stream, name), in_place_(in_place), work_(std::move(work)) {}

  void eval_cpu(const Inputs& inputs, Inputs& outputs) override {
    auto& out = outputs[0];
    if (in_place_ && inputs[0].is_donatable() && inputs[0].nbytes() == out.nbytes()) {
      out.copy_shared_buffer(inputs[0]);
    } else {
      out.set_data(mx::allocator::malloc(out.nbytes()));
    }
    if (out.size() == 0) return;
    Inputs held;
    held.reserve(inputs.size());
    for (auto& input : inputs) held.push_back(mx::array::unsafe_weak_copy(input));
    mx::cpu::get_command_encoder(stream()).dispatch(
        [work = work_, held = std::move(held), out = mx::array::unsafe_weak_copy(out)]() mutable {
          work(held, out.data<float>());
        });
  }

 private:
  const bool in_place_;
  const Work work_;
};

// MLX's Contiguous, copying on all threads.
class Contiguous : public CpuPrimitive {
 public:
  using CpuPrimitive::CpuPrimitive;

  void eval_cpu(const Inputs& inputs, Inputs& outputs) override {
    auto& out = outputs[0];
    if (inputs[0].flags().row_contiguous) {
      out.copy_shared_buffer(inputs[0]);
      return;
    }
    out.set_data(mx::allocator::malloc(out.nbytes()));
    mx::cpu::get_command_encoder(stream()).dispatch(
        [in = mx::array::unsafe_weak_copy(inputs[0]), out = mx::array::unsafe_weak_copy(out)]() mutable {
          copy(in, contiguous_strides(in.shape()), out.data<float>());
        });
  }
};

mx::array laid_out(mx::array a) {
  if (a.dtype() != mx::float32) return mx::contiguous(a);
  auto primitive = std::make_shared<Contiguous>(mx::default_stream(mx::Device::cpu), "contiguous");
  return mx::array(a.shape(), a.dtype(), std::move(primitive), {a});
}

// Copies rows `first` to `last` of an array, in the order of its shape.
void copy_rows(const mx::array& from, size_t first, size_t last, const mx::Strides& strides, float* out) {
  const int axes = from.ndim() - 1;
  const size_t length = from.shape(axes);
  std::vector<int> at(axes);
  size_t rest = first;
  for (int axis = axes; axis-- > 0; rest /= from.shape(axis)) at[axis] = rest % from.shape(axis);
  for (size_t row = first; row < last; row++) {
    const float* source = floats(from);
    float* to = out;
    for (int axis = 0; axis < axes; axis++) {
      source += at[axis] * from.strides(axis);
      to += at[axis] * strides[axis];
    }
    if (from.strides(axes) == 1) {
      std::memcpy(to, source, length * sizeof(float));
    } else {
      for (size_t i = 0; i < length; i++) to[i] = source[i * from.strides(axes)];
    }
    for (int axis = axes; axis-- > 0 && ++at[axis] == from.shape(axis);) at[axis] = 0;
  }
}

void expect_float32(const Inputs& inputs) {
  for (auto& input : inputs) {
    if (input.dtype() != mx::float32) {
      throw std::invalid_argument(std::string("takes float32, got ") + dtype_name(input.dtype()));
    }
  }
}

mx::array node(
    const char* name, mx::Shape shape, Inputs inputs, bool in_place, Work work, mx::Dtype dtype = mx::float32) {
  auto primitive = std::make_shared<Fused>(mx::default_stream(mx::Device::cpu), name, in_place, std::move(work));
  return mx::array(std::move(shape), dtype, std::move(primitive), std::move(inputs));
}

}  // namespace

mx::array fuse(
    const char* name, mx::Shape shape, Inputs inputs, bool in_place, Work work, const Inputs& stored) {
  expect_float32(inputs);
  inputs.insert(inputs.end(), stored.begin(), stored.end());
  for (auto& input : inputs) input = laid_out(input);
  return node(name, std::move(shape), std::move(inputs), in_place, std::move(work));
}

mx::array fuse_bytes(
    const char* name, size_t bytes, Inputs inputs, std::function<void(const Inputs&, uint8_t*)> work) {
  expect(bytes <= INT32_MAX, "needs more bytes than an axis can have");
  expect_float32(inputs);
  for (auto& input : inputs) input = laid_out(input);
  auto in_bytes = [work = std::move(work)](const Inputs& in, float* out) { work(in, reinterpret_cast<uint8_t*>(out)); };
  return node(name, {static_cast<int>(bytes)}, std::move(inputs), false, std::move(in_bytes), mx::uint8);
}

mx::array fuse_strided(const char* name, mx::Shape shape, Inputs inputs, Work work) {
  expect_float32(inputs);
  return node(name, std::move(shape), std::move(inputs), false, std::move(work));
}

float* scratch_memory(size_t floats) {
  constexpr size_t alignment = 64;
  thread_local std::unique_ptr<float[]> memory;
  thread_local size_t held = 0;
  if (const size_t wanted = floats + alignment / sizeof(float); held < wanted) {
    // Frees the old block first.
    memory.reset();
    held = 0;
    try {
      memory = std::make_unique_for_overwrite<float[]>(wanted);
    } catch (const std::bad_alloc&) {
      throw std::runtime_error(
          "cannot allocate " + runtime::readable_size(wanted * sizeof(float)) + " to compute in: the system has no more");
    }
    held = wanted;
  }
  const auto address = reinterpret_cast<uintptr_t>(memory.get());
  return reinterpret_cast<float*>((address + alignment - 1) / alignment * alignment);
}

mx::Strides contiguous_strides(const mx::Shape& shape) {
  mx::Strides strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

void copy(const mx::array& from, const mx::Strides& strides, float* out) {
  if (from.size() == 0) return;
  const size_t length = from.shape(-1);
  in_ranges(from.size() / length, std::max<size_t>(1, grain_elements / length), [&](size_t first, size_t last) {
    copy_rows(from, first, last, strides, out);
  });
}

}  // namespace cpu

#endif
