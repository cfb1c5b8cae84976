#include "convert.h"

namespace {

std::vector<std::shared_ptr<Handle>> handles_of(const Napi::Value& value) {
  std::vector<std::shared_ptr<Handle>> handles;
  auto list = value.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) {
    if (auto* object = ArrayObject::from(list.Get(i))) handles.push_back(object->handle);
  }
  return handles;
}

}  // namespace

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
