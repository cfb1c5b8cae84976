#include "runtime.h"

namespace runtime {

namespace {

thread_local const std::atomic<bool>* cancel_flag = nullptr;

}  // namespace

void bind_cancel_flag(const std::atomic<bool>* flag) {
  cancel_flag = flag;
}

void check_cancelled() {
  if (cancel_flag != nullptr && cancel_flag->load(std::memory_order_relaxed)) throw Cancelled();
}

BlasInfo blas_info() {
  return {"reference", 1, 0};
}

}  // namespace runtime
