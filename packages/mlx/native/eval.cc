#include <set>

#include "convert.h"
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

std::vector<std::shared_ptr<Handle>> handles_of(const Napi::Value& value) {
  std::vector<std::shared_ptr<Handle>> handles;
  auto list = value.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) {
    if (auto* object = ArrayObject::from(list.Get(i))) handles.push_back(object->handle);
  }
  return handles;
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

void Environment::adopt_thread() {
  mx::set_default_stream(streams->cpu);
  if (streams->gpu) mx::set_default_stream(*streams->gpu);
}

// Records which live arrays are valid; nothing is at stake any more. Requires the lock: the states of arrays must not
// be read while another thread evaluates.
void Environment::settle() {
  for (auto* handle : live_) {
    handle->at_stake = false;
    if (handle->value->status() != mx::array::Status::unscheduled) handle->good = true;
  }
}

// Marks the handles of all arrays that must be computed, and of arrays that depend on them. Requires the lock. Call it
// before the evaluation, which takes the graph apart; a new array may then reuse the address of a released one.
void Environment::stake(const std::vector<mx::array>& arrays) {
  std::unordered_set<std::uintptr_t> seen, at_stake;
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
      at_stake.insert(a.id());
      for (const auto& sibling : a.siblings()) at_stake.insert(sibling.id());
    });
  }
  for (auto* handle : live_) {
    if (handle->good) continue;
    walk(*handle->value, [&](const mx::array& a) {
      for (const auto& input : a.inputs()) {
        if (at_stake.count(input.id())) at_stake.insert(a.id());
      }
    });
    handle->at_stake = at_stake.count(handle->value->id());
  }
}

void Environment::poison(const std::string& reason) {
  for (auto* handle : std::vector<Handle*>(live_.begin(), live_.end())) {
    if (!handle->at_stake) continue;
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
std::unique_lock<std::mutex> Environment::wait() {
  std::unique_lock lock(evaluation_);
  end_.wait(lock, [this] { return ended_; });
  judge();
  return lock;
}

void Environment::finish() {
  wait();
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
  auto lock = wait();
  // Drop a cancel that was meant for the previous evaluation.
  streams->cancel = false;
  stake(arrays);
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
    stake(arrays);
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

// ---------------------------------------------------------------- callbacks

std::vector<mx::array> Callback::operator()(const std::vector<mx::array>& inputs) const {
  auto& e = *environment;
  Napi::HandleScope handles(e.env);
  // Tracers that the function leaks must not outlive the trace.
  uint32_t depth = e.scope_enter();
  std::vector<mx::array> outputs;
  try {
    auto list = Type<std::vector<mx::array>>::to(inputs, e);
    outputs = Type<std::vector<mx::array>>::from(function->Call({list}), e);
  } catch (...) {
    e.scope_exit(depth, {});
    throw;
  }
  e.scope_exit(depth, {});
  return outputs;
}

Table evaluation_table() {
  return {
      {"initialize", "(errorClass: new (operation: string, reason: string) => Error) => void",
       [](const Napi::CallbackInfo& info, Environment& e) {
         e.error_class = Napi::Persistent(info[0].As<Napi::Function>());
         return e.env.Undefined();
       }},
      {"scopeEnter", "() => number",
       [](const Napi::CallbackInfo&, Environment& e) -> Napi::Value {
         return Napi::Number::New(e.env, e.scope_enter());
       }},
      {"scopeExit", "(depth: number, kept: MxArray[]) => void",
       [](const Napi::CallbackInfo& info, Environment& e) -> Napi::Value {
         e.scope_exit(Type<int>::from(info[0], e), handles_of(info[1]));
         return e.env.Undefined();
       }},
      {"liveHandles", "() => number",
       [](const Napi::CallbackInfo&, Environment& e) -> Napi::Value {
         return Napi::Number::New(e.env, static_cast<double>(e.live_handles()));
       }},
      {"evaluate", "(arrays: MxArray[]) => Promise<void>",
       [](const Napi::CallbackInfo& info, Environment& e) {
         return e.evaluate_async(Type<std::vector<mx::array>>::from(info[0], e));
       }},
      {"evaluateSync", "(arrays: MxArray[]) => void",
       [](const Napi::CallbackInfo& info, Environment& e) -> Napi::Value {
         e.finish();
         e.evaluate(Type<std::vector<mx::array>>::from(info[0], e));
         return e.env.Undefined();
       }},
      {"cancelEvaluation", "() => void",
       [](const Napi::CallbackInfo&, Environment& e) -> Napi::Value {
         e.cancel_evaluation();
         return e.env.Undefined();
       }},
      row("valueAndGrad", "fn argnums inputs",
          [](Callback fn, std::vector<int> argnums, std::vector<mx::array> inputs) -> ArrayLists {
            return mx::value_and_grad(std::function<std::vector<mx::array>(const std::vector<mx::array>&)>(fn), argnums)(inputs);
          }),
      row("vjp", "fn primals cotangents",
          [](Callback fn, std::vector<mx::array> primals, std::vector<mx::array> cotangents) -> ArrayLists {
            return mx::vjp(std::function<std::vector<mx::array>(const std::vector<mx::array>&)>(fn), primals, cotangents);
          }),
      row("jvp", "fn primals tangents",
          [](Callback fn, std::vector<mx::array> primals, std::vector<mx::array> tangents) -> ArrayLists {
            return mx::jvp(std::function<std::vector<mx::array>(const std::vector<mx::array>&)>(fn), primals, tangents);
          }),
      {"compile",
       "(fn: (inputs: MxArray[]) => MxArray[], shapeless: boolean) => (inputs: MxArray[]) => MxArray[]",
       [](const Napi::CallbackInfo& info, Environment& e) -> Napi::Value {
         using Function = std::function<std::vector<mx::array>(const std::vector<mx::array>&)>;
         auto plain = std::make_shared<Callback>(Type<Callback>::from(info[0], e));
         Function call = [plain](const std::vector<mx::array>& inputs) { return (*plain)(inputs); };
         auto compiled = std::make_shared<Function>(mx::compile(call, Type<bool>::from(info[1], e)));
         return Napi::Function::New(e.env, [plain, compiled](const Napi::CallbackInfo& inner) -> Napi::Value {
           auto& here = Environment::of(inner.Env());
           Call call(here);
           try {
             auto inputs = Type<std::vector<mx::array>>::from(inner[0], here);
             // On the CPU, MLX would compile C++ in a shared temporary folder and load any library that it finds there.
             auto outputs = mx::default_device() == mx::Device::cpu ? (*plain)(inputs) : (*compiled)(inputs);
             return Type<std::vector<mx::array>>::to(std::move(outputs), here);
           } catch (const Napi::Error&) {
             throw;
           } catch (const std::exception& error) {
             here.raise("compile", error.what());
           }
         });
       }},
  };
}
