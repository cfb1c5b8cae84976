#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include <napi.h>

#include "mlx/mlx.h"

namespace mx = mlx::core;

class Environment;

// The native side of one MxArray, shared by the JavaScript object and the scope in which it was created. Disposing the
// array clears `value`.
struct Handle {
  explicit Handle(mx::array a) : value(std::move(a)) {}
  std::optional<mx::array> value;
  // The array is computed and its data is valid.
  bool good = false;
  // The array belongs to the evaluation in flight or depends on it. If that fails, MLX also marks unfinished arrays as
  // evaluated.
  bool pending = false;
  // The reason why the array can no longer be read; empty if it can.
  std::string poison;
  // Bytes of the array that were reported to V8.
  int64_t reported = 0;
};

// The streams of one environment. They are pooled for the life of the process, because MLX never releases a stream or
// its thread.
struct Streams {
  mx::Stream cpu;
  std::optional<mx::Stream> gpu;
  std::atomic<bool> cancel{false};
};

// The state of one JavaScript environment (the main thread or a worker).
class Environment : public std::enable_shared_from_this<Environment> {
 public:
  static Environment& of(Napi::Env env);
  explicit Environment(Napi::Env env);

  Napi::Env env;
  Napi::FunctionReference array_class;
  Napi::FunctionReference error_class;
  Streams* streams;

  // arrays
  Napi::Value wrap(mx::array a);
  // Records that the current call uses an array.
  void take(const Handle& handle) {
    takes_pending_ |= handle.pending;
  }
  void release(Handle& handle);
  size_t live_handles() const {
    return live_handles_;
  }

  // scopes
  uint32_t scope_enter();
  void scope_exit(uint32_t depth, const std::vector<std::shared_ptr<Handle>>& kept);

  // evaluation
  // Waits for the evaluation in flight and updates the handles: arrays that it failed to compute become unreadable.
  void finish();
  void evaluate(std::vector<mx::array> arrays);
  Napi::Value evaluate_async(std::vector<mx::array> arrays);
  void cancel_evaluation();
  // Releases cached buffers, now or after the evaluation in flight.
  void clear_cache();
  // Makes the calling thread evaluate with this environment's streams.
  void adopt_thread();
  void close();

  // Throws a JavaScript MlxError.
  [[noreturn]] void raise(const std::string& operation, const std::string& reason);
  Napi::Error error(const std::string& operation, const std::string& reason);

 private:
  friend class Evaluation;
  friend class Call;
  void settle();
  void mark_pending(const std::vector<mx::array>& arrays);
  void poison(const std::string& reason);
  void judge();
  std::unique_lock<std::mutex> wait_for_evaluation();
  void compute(std::vector<mx::array>& arrays);
  void land();
  void report(Handle& handle);

  size_t live_handles_ = 0;
  // The live handles that are not good: only these can become pending, or good.
  std::unordered_set<Handle*> unsettled_;
  // Whether the current call from JavaScript uses a pending array.
  bool takes_pending_ = false;
  std::vector<std::vector<std::shared_ptr<Handle>>> scopes_;
  // References released while another thread evaluates: MLX takes a graph apart during its evaluation.
  std::vector<mx::array> graveyard_;
  bool in_flight_ = false;
  bool clear_when_landed_ = false;
  std::thread thread_;
  // Held by the thread that evaluates arrays.
  std::mutex evaluation_;
  // Whether the evaluation in flight has ended (signalled by the condition) and why it failed. Guarded by the lock.
  bool ended_ = true;
  std::condition_variable end_;
  std::optional<std::string> failure_;
  std::atomic<bool> closing_{false};
};

// A call from JavaScript. While an evaluation runs, results computed from pending arrays are also pending.
class Call {
 public:
  explicit Call(Environment& environment)
      : takes_pending_(environment.takes_pending_), outer_(std::exchange(takes_pending_, false)) {}
  // Calls can nest: a traced function makes calls of its own.
  ~Call() {
    takes_pending_ |= outer_;
  }

 private:
  bool& takes_pending_;
  bool outer_;
};

// The JavaScript class.
class ArrayObject : public Napi::ObjectWrap<ArrayObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit ArrayObject(const Napi::CallbackInfo& info);
  ~ArrayObject() override;

  // Returns the array behind a value, or null if it is something else.
  static ArrayObject* from(const Napi::Value& value);
  // Returns the array; throws std::invalid_argument if it is disposed or poisoned.
  const mx::array& readable() const;

  std::shared_ptr<Handle> handle;

 private:
  Napi::Value get_shape(const Napi::CallbackInfo& info);
  Napi::Value get_dtype(const Napi::CallbackInfo& info);
  Napi::Value get_size(const Napi::CallbackInfo& info);
  Napi::Value get_ndim(const Napi::CallbackInfo& info);
  Napi::Value get_nbytes(const Napi::CallbackInfo& info);
  Napi::Value get_disposed(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
  Napi::Value to_typed_array(const Napi::CallbackInfo& info);
  Napi::Value item(const Napi::CallbackInfo& info);
  Napi::Value to_text(const Napi::CallbackInfo& info);
  mx::array computed();
  template <typename F>
  Napi::Value guarded(const char* operation, F&& body);

  std::shared_ptr<Environment> environment_;
};

const char* dtype_name(mx::Dtype dtype);
std::optional<mx::Dtype> dtype_of(const std::string& name);
// Formats dtype and shape: "float32 [2,3]".
std::string describe(const mx::array& a);
