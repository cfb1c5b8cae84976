#include "runtime.h"

#ifdef __linux__

#include <dlfcn.h>

#include <cstring>
#include <functional>
#include <utility>

#include "mlx/scheduler.h"

// The CPU backend computes each operation as a task on the thread of its stream. After a cancel, queued tasks must not
// run, or the cancel would wait for all operations except matrix products. A library that loads MLX as a dependency
// precedes it in the symbol order, so MLX calls this definition, which forwards to the original.
namespace mlx::core::scheduler {

__attribute__((visibility("default"))) void Scheduler::enqueue(Stream stream, std::function<void()> task) {
  using Enqueue = void (*)(Scheduler*, Stream, std::function<void()>);
  static const auto original = reinterpret_cast<Enqueue>(
      dlsym(RTLD_NEXT, "_ZN3mlx4core9scheduler9Scheduler7enqueueENS0_6StreamESt8functionIFvvEE"));
  // CommandEncoder::dispatch enqueues operations as results of std::bind. All other tasks are MLX's bookkeeping
  // (finished tasks, signalled events) and must run.
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
