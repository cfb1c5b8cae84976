#include "runtime.h"

#ifdef __linux__

#include <dlfcn.h>

#include <cstring>
#include <functional>
#include <utility>

#include "mlx/scheduler.h"

// The CPU backend computes an operation as a task on its stream's thread. Once an evaluation is cancelled the tasks
// still queued must not run, or a cancel would wait for every operation that is not a matrix product.
//
// A library that loads MLX as its dependency comes first in the symbol order, so MLX calls this definition, which
// passes on to its own.
namespace mlx::core::scheduler {

__attribute__((visibility("default"))) void Scheduler::enqueue(Stream stream, std::function<void()> task) {
  using Enqueue = void (*)(Scheduler*, Stream, std::function<void()>);
  static const auto original = reinterpret_cast<Enqueue>(
      dlsym(RTLD_NEXT, "_ZN3mlx4core9scheduler9Scheduler7enqueueENS0_6StreamESt8functionIFvvEE"));
  // Operations are enqueued by CommandEncoder::dispatch, as the result of std::bind. What else is enqueued keeps
  // MLX's books (tasks done, events signalled) and must run.
  const bool operation = std::strncmp(task.target_type().name(), "St5_Bind", 8) == 0;
  if (operation) {
    original(this, stream, [task = std::move(task)] {
      runtime::check_cancelled();
      task();
    });
  } else {
    original(this, stream, std::move(task));
  }
}

}  // namespace mlx::core::scheduler

#endif
