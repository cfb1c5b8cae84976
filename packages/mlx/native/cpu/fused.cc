#include "fused.h"

#ifdef __linux__

#include <memory>

#include "mlx/backend/cpu/encoder.h"
#include "mlx/primitives.h"

namespace cpu {
namespace {

// A node of the graph with one output, whose work is a function of the inputs' buffers.
class Fused : public mx::Primitive {
 public:
  Fused(mx::Stream stream, const char* name, bool in_place, Work work)
      : mx::Primitive(stream), name_(name), in_place_(in_place), work_(std::move(work)) {}

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

  void eval_gpu(const Inputs&, Inputs&) override {
    throw std::runtime_error("fused operations of the CPU backend do not run on a GPU");
  }

  const char* name() const override {
    return name_;
  }

 private:
  const char* name_;
  const bool in_place_;
  const Work work_;
};

}  // namespace

mx::array fuse(
    const char* name, mx::Shape shape, Inputs inputs, bool in_place, Work work, const Inputs& stored) {
  for (auto& input : inputs) {
    if (input.dtype() != mx::float32) {
      throw std::invalid_argument(std::string("takes float32, got ") + dtype_name(input.dtype()));
    }
  }
  inputs.insert(inputs.end(), stored.begin(), stored.end());
  for (auto& input : inputs) input = mx::contiguous(input);
  auto primitive = std::make_shared<Fused>(mx::default_stream(mx::Device::cpu), name, in_place, std::move(work));
  return mx::array(std::move(shape), mx::float32, std::move(primitive), std::move(inputs));
}

}  // namespace cpu

#endif
