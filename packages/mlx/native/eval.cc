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
  // Never deleted: the streams' threads look at the flag for as long as the process lives.
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

// An evaluation on a thread of libuv's pool; the event loop goes on.
class EvaluateWorker : public Napi::AsyncWorker {
 public:
  EvaluateWorker(Environment& environment, std::vector<mx::array> arrays)
      : Napi::AsyncWorker(environment.env),
        deferred_(Napi::Promise::Deferred::New(environment.env)),
        environment_(environment.shared_from_this()),
        arrays_(std::move(arrays)) {}

  Napi::Promise promise() const {
    return deferred_.Promise();
  }

  void Execute() override {
    std::lock_guard lock(environment_->evaluation_);
    try {
      environment_->adopt_thread();
      runtime::bind_cancel_flag(&environment_->streams->cancel);
      environment_->compute(arrays_);
    } catch (const std::exception& error) {
      fail(error.what());
    } catch (...) {
      fail("an error that is not a C++ exception");
    }
    runtime::bind_cancel_flag(nullptr);
    arrays_.clear();
    environment_->ended_ = true;
  }

  void OnOK() override {
    environment_->land();
    deferred_.Resolve(Env().Undefined());
  }

  void OnError(const Napi::Error& error) override {
    environment_->land();
    deferred_.Reject(environment_->error("evaluate", error.Message()).Value());
  }

 private:
  void fail(const std::string& reason) {
    environment_->failure_ = reason;
    SetError(reason);
  }

  Napi::Promise::Deferred deferred_;
  std::shared_ptr<Environment> environment_;
  std::vector<mx::array> arrays_;
};

Environment::Environment(Napi::Env e) : env(e), streams(borrow_streams()) {}

void Environment::adopt_thread() {
  mx::set_default_stream(streams->cpu);
  if (streams->gpu) mx::set_default_stream(*streams->gpu);
}

// Notes which live arrays are sound, so that a failure later tells them from those it left unfinished. Called with
// the lock: while another thread evaluates, the states of arrays are not ours to judge.
void Environment::settle() {
  for (auto* handle : live_) {
    if (!handle->good && handle->poison.empty() && handle->value->status() != mx::array::Status::unscheduled) {
      handle->good = true;
    }
  }
}

void Environment::poison_unfinished(const std::string& reason) {
  for (auto* handle : std::vector<Handle*>(live_.begin(), live_.end())) {
    if (handle->good) continue;
    handle->poison = reason;
    release(*handle);
  }
}

// Brings the handles up to date with what was evaluated. Called with the lock; returns why it failed, or "".
std::string Environment::judge() {
  auto failure = std::exchange(failure_, std::nullopt);
  if (failure) {
    poison_unfinished(*failure);
  } else {
    settle();
  }
  return failure.value_or("");
}

// Called with the lock.
void Environment::compute(std::vector<mx::array>& arrays) {
  if (closing_) throw std::runtime_error("the environment is closing");
  try {
    mx::eval(arrays);
    for (auto& a : arrays) a.wait();
  } catch (...) {
    // What was queued behind the failure still runs and still reports: let it end, or its error would surface in an
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

void Environment::evaluate(std::vector<mx::array> arrays) {
  std::lock_guard lock(evaluation_);
  // When the evaluation in flight has failed just now, these arrays may depend on what it left.
  if (auto reason = judge(); !reason.empty()) throw std::runtime_error(reason);
  // A cancel is meant for the evaluation in flight, which may have ended or not begun.
  const bool cancel = streams->cancel.exchange(false) && !ended_;
  try {
    compute(arrays);
  } catch (const std::exception& error) {
    streams->cancel = cancel;
    poison_unfinished(error.what());
    throw;
  }
  streams->cancel = cancel;
  settle();
}

Napi::Value Environment::evaluate_async(std::vector<mx::array> arrays) {
  if (in_flight_) throw std::logic_error("an evaluation is running already");
  {
    std::lock_guard lock(evaluation_);
    settle();
    ended_ = false;
  }
  in_flight_ = true;
  auto* worker = new EvaluateWorker(*this, std::move(arrays));
  auto promise = worker->promise();
  worker->Queue();
  return promise;
}

// The evaluation in flight has ended, and the event loop hears of it.
void Environment::land() {
  std::lock_guard lock(evaluation_);
  judge();
  in_flight_ = false;
  // A cancel may have come too late for it.
  streams->cancel = false;
  graveyard_.clear();
}

void Environment::cancel_evaluation() {
  if (in_flight_) streams->cancel = true;
}

void Environment::close() {
  closing_ = true;
  streams->cancel = true;
  // An evaluation in flight ends within milliseconds; its streams must be idle before another takes them.
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
  // Tracers that the function leaves behind must not outlive the trace.
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
           try {
             auto inputs = Type<std::vector<mx::array>>::from(inner[0], here);
             // On the CPU MLX would compile C++ in a shared temporary folder and load what it finds there.
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
