#include <algorithm>

#include "convert.h"
#include "runtime.h"

namespace {

// One table for the whole process: its functions hold no per-environment state.
const Table& table() {
  static const Table rows = [] {
    Table all;
    for (auto part : {array_table, math_table, shape_table, evaluation_table, io_table, cpu_table}) {
      for (auto& row : part()) all.push_back(std::move(row));
    }
    return all;
  }();
  return rows;
}

// Describes the arrays among the arguments of a failed call: "float32 [2,3], float32 [4,5]".
std::string operands(const Napi::CallbackInfo& info) {
  std::string text;
  auto mention = [&](const Napi::Value& value) {
    ArrayObject* object = ArrayObject::from(value);
    if (object && object->handle->value) text += (text.empty() ? "" : ", ") + describe(*object->handle->value);
  };
  for (size_t i = 0; i < info.Length(); i++) {
    if (info[i].IsArray()) {
      auto list = info[i].As<Napi::Array>();
      for (uint32_t j = 0; j < std::min<uint32_t>(list.Length(), 8); j++) mention(list.Get(j));
    } else {
      mention(info[i]);
    }
  }
  return text.empty() ? "" : " (operands: " + text + ")";
}

Napi::Value call_row(const Napi::CallbackInfo& info) {
  auto& row = *static_cast<const Row*>(info.Data());
  auto& environment = Environment::of(info.Env());
  Call call(environment);
  try {
    return row.call(info, environment);
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    environment.raise(row.name, error.what() + operands(info));
  } catch (...) {
    environment.raise(row.name, "an unknown native error" + operands(info));
  }
}

std::string describe_addon() {
  std::string text =
      "// Printed by the addon from its table of functions. A test compares the two.\n"
      "import type { DType, MxArray, Operand } from \"./types.js\";\n\n"
      "export interface Native {\n";
  for (auto& row : table()) text += "  " + row.name + ": " + row.signature + ";\n";
  return text + "}\n";
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  // Check before any MLX code runs: a wrong library must never evaluate anything.
  try {
    runtime::verify_library();
  } catch (const std::exception& error) {
    throw Napi::Error::New(env, error.what());
  }
  auto environment = std::make_shared<Environment>(env);
  // Handles share ownership of the environment, because V8 may collect them after this reference is gone.
  env.SetInstanceData(new std::shared_ptr<Environment>(environment));
  env.AddCleanupHook([](Environment* e) { e->close(); }, environment.get());
  environment->adopt_thread();
  try {
    static std::once_flag once;
    std::call_once(once, [] {
      runtime::verify_blas();
      runtime::install_process_exit();
    });
  } catch (const std::exception& error) {
    throw Napi::Error::New(env, error.what());
  }

  auto array_class = ArrayObject::define(env);
  environment->array_class = Napi::Persistent(array_class);
  exports.Set("MxArray", array_class);
  for (auto& row : table()) {
    exports.Set(row.name, Napi::Function::New(env, call_row, row.name, const_cast<Row*>(&row)));
  }
  exports.Set("describe", Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
    return Napi::String::New(info.Env(), describe_addon());
  }));
  return exports;
}

}  // namespace

NODE_API_MODULE(mlx, initialize)
