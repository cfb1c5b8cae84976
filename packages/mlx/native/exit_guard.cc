// Ends a process that no longer answers signals. Node runs signal handlers on its event loop, which a long synchronous
// call blocks; and `exit` waits for the threads of libuv's pool. This addon needs neither: it notes signals as they
// arrive, and a thread of its own ends the process. It is separate from MLX's addon so that it loads in a millisecond.
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <thread>

#include <napi.h>

namespace {

struct Guarded {
  struct sigaction original = {};
  bool urgent = false;
};

// Signal handlers can reach only static state.
std::array<Guarded, 32> guarded;
std::atomic<int> arrivals{0};
std::array<int, 2> wake{-1, -1};
std::atomic<unsigned> patience_ms{0};

bool is_guardable(int number) { return number > 0 && number < static_cast<int>(guarded.size()); }

// Passes a signal on to libuv and wakes the thread when the process has to end. Async-signal-safe.
void on_signal(int number) {
  const int saved = errno;
  const Guarded& signal = guarded[number];
  if (arrivals.fetch_add(1) > 0 || signal.urgent) {
    const auto byte = static_cast<unsigned char>(number);
    [[maybe_unused]] const auto written = write(wake[1], &byte, 1);
  }
  if (signal.original.sa_handler != SIG_DFL && signal.original.sa_handler != SIG_IGN) signal.original.sa_handler(number);
  errno = saved;
}

// Gives JavaScript its time to clean up, then ends the process as shells expect of a signal.
void wait_and_end() {
  unsigned char number = 0;
  while (read(wake[0], &number, 1) != 1) {
  }
  timespec left{static_cast<time_t>(patience_ms / 1000), static_cast<long>(patience_ms % 1000) * 1'000'000};
  while (nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
  _exit(128 + number);
}

void start_thread(Napi::Env env) {
  if (wake[0] >= 0) return;
  if (pipe(wake.data()) != 0) throw Napi::Error::New(env, "no pipe for the exit guard");
  for (const int end : wake) fcntl(end, F_SETFD, FD_CLOEXEC);
  fcntl(wake[1], F_SETFL, O_NONBLOCK);
  // The thread handles no signals itself.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread(wait_and_end).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

// guard(number, urgent, patienceMs): call after `process.on`, whose handler is called first.
void guard(const Napi::CallbackInfo& info) {
  const int number = info[0].As<Napi::Number>().Int32Value();
  if (!is_guardable(number)) throw Napi::RangeError::New(info.Env(), "not the number of a signal");
  patience_ms = info[2].As<Napi::Number>().Uint32Value();
  start_thread(info.Env());
  Guarded& signal = guarded[number];
  signal.urgent = info[1].As<Napi::Boolean>().Value();
  struct sigaction current;
  sigaction(number, nullptr, &current);
  if (current.sa_handler == on_signal) return;
  signal.original = current;
  current.sa_handler = on_signal;
  current.sa_flags &= ~SA_SIGINFO;
  sigaction(number, &current, nullptr);
}

// endNow(code): ends the process without exit handlers and without waiting for threads.
void end_now(const Napi::CallbackInfo& info) { _exit(info[0].As<Napi::Number>().Int32Value()); }

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  exports.Set("guard", Napi::Function::New(env, guard));
  exports.Set("endNow", Napi::Function::New(env, end_now));
  return exports;
}

}  // namespace

NODE_API_MODULE(exit_guard, initialize)
