// Ends a process that no longer answers signals, or whose owner has exited. Node learns of both on its event loop,
// which a long synchronous call blocks; and `exit` waits for the threads of libuv's pool. This addon depends on
// neither: it notes signals as they arrive, and its own thread ends the process. It is separate from MLX's addon so
// that it loads in a millisecond.
#include <fcntl.h>
#include <poll.h>
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

void sleep_for(unsigned milliseconds) {
  timespec left{static_cast<time_t>(milliseconds / 1000), static_cast<long>(milliseconds % 1000) * 1'000'000};
  while (nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
}

// Gives JavaScript its time to clean up, then ends the process with the exit code that shells expect after a signal.
void wait_and_end() {
  unsigned char number = 0;
  while (read(wake[0], &number, 1) != 1) {
  }
  sleep_for(patience_ms);
  _exit(128 + number);
}

// Starts a thread that handles no signals.
template <typename F>
void start_thread(F work) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread(work).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void start_waiting(Napi::Env env) {
  if (wake[0] >= 0) return;
  if (pipe(wake.data()) != 0) throw Napi::Error::New(env, "no pipe for the exit guard");
  for (const int end : wake) fcntl(end, F_SETFD, FD_CLOEXEC);
  fcntl(wake[1], F_SETFL, O_NONBLOCK);
  start_thread(wait_and_end);
}

// guard(number, urgent, patienceMs): call after `process.on`, whose handler is called first.
void guard(const Napi::CallbackInfo& info) {
  const int number = info[0].As<Napi::Number>().Int32Value();
  if (!is_guardable(number)) throw Napi::RangeError::New(info.Env(), "not the number of a signal");
  patience_ms = info[2].As<Napi::Number>().Uint32Value();
  start_waiting(info.Env());
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

// endAfterHangup(fd, patienceMs): ends the process when the other end of a socket has closed.
void end_after_hangup(const Napi::CallbackInfo& info) {
  // A duplicate, because the original may be closed and its number reused for another file.
  const int end = fcntl(info[0].As<Napi::Number>().Int32Value(), F_DUPFD_CLOEXEC, 0);
  if (end < 0) throw Napi::Error::New(info.Env(), "not an open file descriptor");
  const unsigned patience = info[1].As<Napi::Number>().Uint32Value();
  start_thread([end, patience] {
    // No events are requested: a hangup is always reported.
    pollfd watched{end, 0, 0};
    while (poll(&watched, 1, -1) < 1) {
    }
    sleep_for(patience);
    _exit(0);
  });
}

// endNow(code): ends the process without exit handlers and without waiting for threads.
void end_now(const Napi::CallbackInfo& info) { _exit(info[0].As<Napi::Number>().Int32Value()); }

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  exports.Set("guard", Napi::Function::New(env, guard));
  exports.Set("endAfterHangup", Napi::Function::New(env, end_after_hangup));
  exports.Set("endNow", Napi::Function::New(env, end_now));
  return exports;
}

}  // namespace

NODE_API_MODULE(exit_guard, initialize)
