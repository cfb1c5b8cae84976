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

}  // namespace runtime

#ifndef __linux__

namespace runtime {

void set_thread_count(int) {
  throw std::invalid_argument("setting the number of threads is supported on Linux only");
}

}  // namespace runtime

#else

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <thread>

#include "cgroup.h"
#include "threads.h"

namespace runtime {

namespace {

// ---------------------------------------------------------------- how many

int count_threads() {
  const char* wish = std::getenv("MFLUX_DEPTH_THREADS");
  if (wish && *wish) {
    char* end;
    const long count = std::strtol(wish, &end, 10);
    if (*end || count < 1 || count > most_threads) {
      throw std::invalid_argument(
          "MFLUX_DEPTH_THREADS: \"" + std::string(wish) + "\" is not a number from 1 to " +
          std::to_string(most_threads) + "; correct it, or unset it");
    }
    return static_cast<int>(count);
  }
  cpu_set_t allowed;
  const int cores = sched_getaffinity(0, sizeof allowed, &allowed) == 0
      ? CPU_COUNT(&allowed)
      : static_cast<int>(std::thread::hardware_concurrency());
  return std::clamp(static_cast<int>(std::min<double>(cores, std::ceil(cgroup_processors()))), 1, most_threads);
}

std::atomic<int>& chosen_threads() {
  static std::atomic<int> count = count_threads();
  return count;
}

// ---------------------------------------------------------------- the pool

// Threads that sleep between products. OpenBLAS's own threads spin, and hang when the process forks or exits.
class Pool {
 public:
  // Never destroyed: its threads live until the process exits.
  static Pool& instance() {
    static Pool& pool = *new Pool;
    return pool;
  }

  // The caller takes tasks as well, so a product makes progress even while all threads are busy.
  void share(Job& job) {
    {
      std::lock_guard lock(mutex_);
      start(std::min(job.tasks(), thread_count()) - 1);
      jobs_.push_back(&job);
    }
    for (int i = 1; i < std::min(job.tasks(), thread_count()); i++) wake_.notify_one();
    job.work();
    std::unique_lock lock(mutex_);
    std::erase(jobs_, &job);
    job.left.wait(lock, [&] { return job.helpers == 0; });
  }

 private:
  void start(int wanted) {
    if (started_ >= wanted) return;
    // Leave signals to Node's threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; started_ < wanted; started_++) {
      try {
        std::thread(&Pool::serve, this).detach();
      } catch (const std::system_error&) {
        break;  // The system has no more threads; the existing ones do the work.
      }
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void serve() {
    pthread_setname_np(pthread_self(), "mlx-gemm");
    std::unique_lock lock(mutex_);
    for (;;) {
      Job* job = nullptr;
      // More threads may have been started than are wanted now.
      wake_.wait(lock, [&] { return working_ < thread_count() - 1 && (job = take()) != nullptr; });
      job->helpers++;
      working_++;
      lock.unlock();
      job->work();
      lock.lock();
      working_--;
      if (--job->helpers == 0) job->left.notify_one();
    }
  }

  // Takes the job that has waited longest for a thread and moves it to the end of the queue.
  Job* take() {
    for (size_t i = jobs_.size(); i > 0; i--) {
      Job* job = jobs_.front();
      jobs_.pop_front();
      jobs_.push_back(job);
      if (!job->exhausted()) return job;
    }
    return nullptr;
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job*> jobs_;
  int started_ = 0;
  int working_ = 0;
};

}  // namespace

int thread_count() {
  return chosen_threads().load(std::memory_order_relaxed);
}

void set_thread_count(int count) {
  if (count < 1 || count > most_threads) {
    throw std::invalid_argument("takes 1 to " + std::to_string(most_threads) + " threads, got " + std::to_string(count));
  }
  chosen_threads().store(count);
}

const std::atomic<bool>* current_cancel_flag() {
  return cancel_flag;
}

void share(Job& job) {
  if (job.tasks() > 1) {
    Pool::instance().share(job);
  } else {
    job.work();
  }
  job.rethrow();
}

void parallel(int tasks, const std::function<void(int)>& run) {
  class Tasks final : public Job {
   public:
    Tasks(int tasks, const std::function<void(int)>& run) : Job(tasks, cancel_flag), run_(run) {}
    void run(int task) override {
      run_(task);
    }

   private:
    const std::function<void(int)>& run_;
  };
  check_cancelled();
  Tasks job(tasks, run);
  share(job);
  check_cancelled();
}

}  // namespace runtime

#endif
