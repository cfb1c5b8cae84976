#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>

#include "runtime.h"

// The threads that share the work of products and kernels on a Linux CPU.
namespace runtime {

// OpenBLAS is built for this many concurrent callers.
constexpr int most_threads = 64;

// The cancel flag of the calling thread; null if it has none.
const std::atomic<bool>* current_cancel_flag();

// Work cut into tasks, which the caller and the threads of the pool take one after another.
class Job {
 public:
  virtual void run(int task) = 0;

  Job(int tasks, const std::atomic<bool>* cancel) : tasks_(tasks), cancel_(cancel) {}

  // Runs tasks until none is left. After one has thrown, the rest is skipped.
  void work() {
    while (!exhausted()) {
      const int task = next_.fetch_add(1);
      if (task >= tasks_) return;
      try {
        run(task);
      } catch (...) {
        if (!failed_.exchange(true)) failure_ = std::current_exception();
      }
    }
  }

  bool cancelled() const {
    return cancel_ != nullptr && cancel_->load(std::memory_order_relaxed);
  }

  bool exhausted() const {
    return next_.load() >= tasks_ || failed_.load() || cancelled();
  }

  // Throws what the first failed task threw. Only once no thread works on the job any more.
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

  int tasks() const {
    return tasks_;
  }

  // Guarded by the lock of the pool.
  int helpers = 0;
  std::condition_variable left;

 protected:
  ~Job() = default;

 private:
  const int tasks_;
  const std::atomic<bool>* const cancel_;
  std::atomic<int> next_{0};
  std::atomic<bool> failed_{false};
  std::exception_ptr failure_;
};

// Runs a job on the caller and, if it has several tasks, the threads of the pool. Returns, or throws what a task threw,
// once no thread works on it any more.
void share(Job& job);

}  // namespace runtime
