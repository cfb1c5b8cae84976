#include "environment.h"
#include "mlx/scheduler.h"
#include "runtime.h"

namespace {

std::mutex pool_mutex;
std::vector<Streams*> pool;

Streams* borrow_streams() {
  std::lock_guard lock(pool_mutex);
  if (!pool.empty()) {
    auto* streams = pool.back();
    pool.pop_back();
    streams->cancel = false;
    return streams;
  }
  // Never deleted: the threads of the streams read the flag until the process exits.
  auto* streams = new Streams{mx::new_thread_unsafe_stream(mx::Device::cpu), std::nullopt};
  if (mx::is_available(mx::Device::gpu)) streams->gpu = mx::new_thread_unsafe_stream(mx::Device::gpu);
  mx::scheduler::enqueue(streams->cpu, [streams] { runtime::bind_cancel_flag(&streams->cancel); });
  return streams;
}

void return_streams(Streams* streams) {
  std::lock_guard lock(pool_mutex);
  pool.push_back(streams);
}

}  // namespace

// An evaluation on its own thread, while the event loop continues. It does not use libuv's pool: Node waits for that
// pool before it runs cleanup hooks and at process.exit, so neither could cancel the evaluation.
class Evaluation {
 public:
  static Napi::Promise start(Environment& environment, std::vector<mx::array> arrays) {
    auto evaluation = std::make_unique<Evaluation>(environment, std::move(arrays));
    auto promise = evaluation->deferred_.Promise();
    environment.thread_ = std::thread(&Evaluation::run, evaluation.get());
    evaluation.release();
    return promise;
  }

  Evaluation(Environment& environment, std::vector<mx::array> arrays)
      : environment_(environment),
        deferred_(Napi::Promise::Deferred::New(environment.env)),
        arrays_(std::move(arrays)) {
    auto name = Napi::String::New(environment.env, "evaluate");
    auto status = napi_create_threadsafe_function(
        environment.env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, nullptr, &Evaluation::land, &landing_);
    if (status != napi_ok) throw std::runtime_error("Node cannot start another thread");
  }

  ~Evaluation() {
    if (landing_ != nullptr) napi_release_threadsafe_function(landing_, napi_tsfn_abort);
  }

 private:
  void run() {
    {
      std::lock_guard lock(environment_.evaluation_);
      try {
        environment_.adopt_thread();
        runtime::bind_cancel_flag(&environment_.streams->cancel);
        environment_.compute(arrays_);
      } catch (const std::exception& error) {
        environment_.failure_ = reason_ = error.what();
      } catch (...) {
        environment_.failure_ = reason_ = "an unknown native error";
      }
      arrays_.clear();
      environment_.ended_ = true;
    }
    environment_.end_.notify_one();
    auto landing = std::exchange(landing_, nullptr);
    if (napi_call_threadsafe_function(landing, this, napi_tsfn_nonblocking) == napi_ok) {
      napi_release_threadsafe_function(landing, napi_tsfn_release);
    } else {
      // The environment is ending; there is no one to notify.
      delete this;
    }
  }

  // Runs on the thread of the environment; `env` is null while that ends.
  static void land(napi_env env, napi_value, void*, void* data) {
    std::unique_ptr<Evaluation> self(static_cast<Evaluation*>(data));
    if (env == nullptr) return;
    self->environment_.land();
    try {
      if (self->reason_) {
        self->deferred_.Reject(self->environment_.error("evaluate", *self->reason_).Value());
      } else {
        self->deferred_.Resolve(Napi::Env(env).Undefined());
      }
    } catch (const Napi::Error&) {
      // A terminating worker cannot settle promises.
    }
  }

  Environment& environment_;
  Napi::Promise::Deferred deferred_;
  std::vector<mx::array> arrays_;
  std::optional<std::string> reason_;
  napi_threadsafe_function landing_ = nullptr;
};

Environment::Environment(Napi::Env e) : env(e), streams(borrow_streams()) {}

Environment& Environment::of(Napi::Env env) {
  return **env.GetInstanceData<std::shared_ptr<Environment>>();
}

Napi::Error Environment::error(const std::string& operation, const std::string& reason) {
  if (error_class.IsEmpty()) return Napi::Error::New(env, operation + ": " + reason);
  auto made = error_class.New({Napi::String::New(env, operation), Napi::String::New(env, reason)});
  return Napi::Error(env, made);
}

void Environment::raise(const std::string& operation, const std::string& reason) {
  throw error(operation, reason);
}

Napi::Value Environment::wrap(mx::array a) {
  auto handle = std::make_shared<Handle>(std::move(a));
  handle->pending = takes_pending_;
  handle->good = !handle->pending && handle->value->status() == mx::array::Status::available;
  live_handles_++;
  if (!handle->good) unsettled_.insert(handle.get());
  if (scopes_.empty()) {
    report(*handle);
  } else {
    scopes_.back().push_back(handle);
  }
  auto external = Napi::External<std::shared_ptr<Handle>>::New(env, &handle);
  return array_class.New({external});
}

// V8 schedules collections by the memory that it knows about. It need not know about arrays that a scope will free.
void Environment::report(Handle& handle) {
  handle.reported = static_cast<int64_t>(std::min<size_t>(handle.value->nbytes(), size_t{1} << 40));
  Napi::MemoryManagement::AdjustExternalMemory(env, handle.reported);
}

void Environment::release(Handle& handle) {
  if (!handle.value) return;
  live_handles_--;
  if (!handle.good) unsettled_.erase(&handle);
  if (in_flight_) graveyard_.push_back(*handle.value);
  handle.value.reset();
  if (handle.reported && !closing_) Napi::MemoryManagement::AdjustExternalMemory(env, -handle.reported);
  handle.reported = 0;
}

uint32_t Environment::scope_enter() {
  scopes_.emplace_back();
  return static_cast<uint32_t>(scopes_.size());
}

void Environment::scope_exit(uint32_t depth, const std::vector<std::shared_ptr<Handle>>& kept) {
  if (depth != scopes_.size()) throw std::logic_error("scopes must end in reverse order");
  auto made = std::move(scopes_.back());
  scopes_.pop_back();
  std::unordered_set<Handle*> keep;
  for (auto& handle : kept) keep.insert(handle.get());
  for (auto& handle : made) {
    if (!keep.count(handle.get())) {
      release(*handle);
    } else if (!handle->value) {
      continue;
    } else if (scopes_.empty()) {
      report(*handle);
    } else {
      scopes_.back().push_back(handle);
    }
  }
}

// ---------------------------------------------------------------- evaluation

void Environment::adopt_thread() {
  mx::set_default_stream(streams->cpu);
  if (streams->gpu) mx::set_default_stream(*streams->gpu);
}

// Records which live arrays are valid; nothing is pending any more. Requires the lock: the states of arrays must not
// be read while another thread evaluates.
void Environment::settle() {
  for (auto at = unsettled_.begin(); at != unsettled_.end();) {
    auto* handle = *at;
    handle->pending = false;
    handle->good = handle->value->status() != mx::array::Status::unscheduled;
    at = handle->good ? unsettled_.erase(at) : std::next(at);
  }
}

// Marks the handles of all arrays that must be computed, and of arrays that depend on them. Requires the lock. Call it
// before the evaluation, which takes the graph apart; a new array may then reuse the address of a released one.
void Environment::mark_pending(const std::vector<mx::array>& arrays) {
  std::unordered_set<std::uintptr_t> seen, pending;
  const auto unscheduled = [&](const mx::array& a) {
    return a.status() == mx::array::Status::unscheduled && seen.insert(a.id()).second;
  };
  // Visits arrays that are neither computed nor seen before, each one after its inputs.
  const auto walk = [&](const mx::array& root, auto&& visit) {
    std::vector<std::pair<const mx::array*, size_t>> path;
    if (unscheduled(root)) path.emplace_back(&root, 0);
    while (!path.empty()) {
      auto& [a, next] = path.back();
      if (next < a->inputs().size()) {
        const auto& input = a->inputs()[next++];
        if (unscheduled(input)) path.emplace_back(&input, 0);
      } else {
        visit(*a);
        path.pop_back();
      }
    }
  };
  for (const auto& root : arrays) {
    walk(root, [&](const mx::array& a) {
      pending.insert(a.id());
      for (const auto& sibling : a.siblings()) pending.insert(sibling.id());
    });
  }
  for (auto* handle : unsettled_) {
    walk(*handle->value, [&](const mx::array& a) {
      for (const auto& input : a.inputs()) {
        if (pending.count(input.id())) pending.insert(a.id());
      }
    });
    handle->pending = pending.count(handle->value->id());
  }
}

void Environment::poison(const std::string& reason) {
  for (auto* handle : std::vector<Handle*>(unsettled_.begin(), unsettled_.end())) {
    if (!handle->pending) continue;
    handle->poison = reason;
    release(*handle);
  }
}

// Updates the handles after an evaluation. Requires the lock.
void Environment::judge() {
  if (auto failure = std::exchange(failure_, std::nullopt)) poison(*failure);
  settle();
}

// Waits for the evaluation in flight, even if its thread has not started yet.
std::unique_lock<std::mutex> Environment::wait_for_evaluation() {
  std::unique_lock lock(evaluation_);
  end_.wait(lock, [this] { return ended_; });
  judge();
  return lock;
}

void Environment::finish() {
  wait_for_evaluation();
}

// Requires the lock.
void Environment::compute(std::vector<mx::array>& arrays) {
  if (closing_) throw std::runtime_error("the environment is closing");
  try {
    mx::eval(arrays);
    for (auto& a : arrays) a.wait();
  } catch (...) {
    // Work queued behind the failure still runs and reports errors. Let it finish, or its error would surface in an
    // unrelated evaluation.
    for (auto stream : {std::optional<mx::Stream>(streams->cpu), streams->gpu}) {
      if (!stream) continue;
      try {
        mx::synchronize(*stream);
      } catch (const std::exception&) {
      }
    }
    throw;
  }
}

// The arrays must not depend on the evaluation in flight, which may fail: call finish() before taking them.
void Environment::evaluate(std::vector<mx::array> arrays) {
  auto lock = wait_for_evaluation();
  // Drop a cancel that was meant for the previous evaluation.
  streams->cancel = false;
  mark_pending(arrays);
  try {
    compute(arrays);
  } catch (const std::exception& error) {
    poison(error.what());
    settle();
    throw;
  }
  settle();
}

Napi::Value Environment::evaluate_async(std::vector<mx::array> arrays) {
  if (in_flight_) throw std::logic_error("an evaluation is already running");
  {
    std::lock_guard lock(evaluation_);
    settle();
    mark_pending(arrays);
    ended_ = false;
  }
  try {
    auto promise = Evaluation::start(*this, std::move(arrays));
    in_flight_ = true;
    return promise;
  } catch (...) {
    ended_ = true;
    throw;
  }
}

// Tells the event loop that the evaluation in flight has ended.
void Environment::land() {
  thread_.join();
  std::lock_guard lock(evaluation_);
  judge();
  in_flight_ = false;
  // A cancel may have come too late for this evaluation.
  streams->cancel = false;
  graveyard_.clear();
  if (std::exchange(clear_when_landed_, false)) clear_cache();
}

void Environment::clear_cache() {
  // MLX waits for the streams first and would report an error of the evaluation as its own.
  if (in_flight_) {
    clear_when_landed_ = true;
    return;
  }
  mx::clear_cache();
  runtime::trim_heap();
}

void Environment::cancel_evaluation() {
  if (in_flight_) streams->cancel = true;
}

void Environment::close() {
  closing_ = true;
  streams->cancel = true;
  // An evaluation in flight ends within milliseconds. Its streams must be idle before they are reused.
  if (thread_.joinable()) thread_.join();
  std::lock_guard lock(evaluation_);
  try {
    mx::synchronize(streams->cpu);
    if (streams->gpu) mx::synchronize(*streams->gpu);
  } catch (const std::exception&) {
  }
  return_streams(streams);
}
