#pragma once

// Converts between JavaScript values and the types of MLX's signatures. A table row names a function; the templates
// below read its C++ signature, convert arguments with range checks, and print its TypeScript signature.

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "environment.h"

// A number or boolean adopts the dtype of the other operand, like Python scalars in MLX.
struct Operand {
  std::variant<mx::array, double, bool> value;
  // The array for an operation with a partner of this dtype.
  mx::array as_operand_of(const std::optional<mx::Dtype>& partner) const;
  std::optional<mx::Dtype> dtype() const;
};

// A JavaScript function of arrays that MLX calls while it traces or differentiates.
struct Callback {
  std::shared_ptr<Napi::FunctionReference> function;
  Environment* environment;
  std::vector<mx::array> operator()(const std::vector<mx::array>& inputs) const;
};

template <typename T, typename = void>
struct Type;

inline std::invalid_argument expected(const std::string& what, const Napi::Value& got) {
  static const char* const names[] = {"undefined", "null",   "a boolean",  "a number", "a string",
                                      "a symbol",  "an object", "a function", "a value",  "a bigint"};
  return std::invalid_argument("expected " + what + ", got " + names[static_cast<int>(got.Type())]);
}

template <>
struct Type<mx::array> {
  static std::string name() { return "MxArray"; }
  static mx::array from(const Napi::Value& v, Environment&) {
    ArrayObject* object = ArrayObject::from(v);
    if (!object) throw expected("an array", v);
    return object->readable();
  }
  static Napi::Value to(mx::array a, Environment& e) { return e.wrap(std::move(a)); }
};

template <>
struct Type<Operand> {
  static std::string name() { return "Operand"; }
  static Operand from(const Napi::Value& v, Environment&) {
    if (v.IsNumber()) return {v.As<Napi::Number>().DoubleValue()};
    if (v.IsBoolean()) return {v.As<Napi::Boolean>().Value()};
    ArrayObject* object = ArrayObject::from(v);
    if (!object) throw expected("an array or a number", v);
    return {object->readable()};
  }
};

template <>
struct Type<double> {
  static std::string name() { return "number"; }
  static double from(const Napi::Value& v, Environment&) {
    if (!v.IsNumber()) throw expected("a number", v);
    return v.As<Napi::Number>().DoubleValue();
  }
  static Napi::Value to(double d, Environment& e) { return Napi::Number::New(e.env, d); }
};

template <>
struct Type<float> {
  static std::string name() { return "number"; }
  static float from(const Napi::Value& v, Environment& e) { return static_cast<float>(Type<double>::from(v, e)); }
};

template <>
struct Type<int> {
  static std::string name() { return "number"; }
  static int from(const Napi::Value& v, Environment& e) {
    double d = Type<double>::from(v, e);
    if (std::trunc(d) != d || d < std::numeric_limits<int>::min() || d > std::numeric_limits<int>::max()) {
      throw std::invalid_argument("expected a 32-bit integer, got " + std::string(v.ToString()));
    }
    return static_cast<int>(d);
  }
  static Napi::Value to(int i, Environment& e) { return Napi::Number::New(e.env, i); }
};

template <>
struct Type<size_t> {
  static std::string name() { return "number"; }
  static size_t from(const Napi::Value& v, Environment& e) {
    double d = Type<double>::from(v, e);
    if (std::trunc(d) != d || d < 0 || d > 9007199254740991.0) {
      throw std::invalid_argument("expected a whole number from 0 to 2^53-1, got " + std::string(v.ToString()));
    }
    return static_cast<size_t>(d);
  }
  static Napi::Value to(size_t n, Environment& e) { return Napi::Number::New(e.env, static_cast<double>(n)); }
};

// The seed of a random key, a 64-bit unsigned number. It has its own type, because uint64_t and size_t may be the same.
struct Seed {
  uint64_t value;
};

template <>
struct Type<Seed> {
  static std::string name() { return "bigint"; }
  static Seed from(const Napi::Value& v, Environment&) {
    if (!v.IsBigInt()) throw expected("a bigint", v);
    bool lossless = false;
    uint64_t value = v.As<Napi::BigInt>().Uint64Value(&lossless);
    if (!lossless) throw std::invalid_argument("expected a whole number from 0 to 2^64-1");
    return {value};
  }
};

template <>
struct Type<bool> {
  static std::string name() { return "boolean"; }
  static bool from(const Napi::Value& v, Environment&) {
    if (!v.IsBoolean()) throw expected("a boolean", v);
    return v.As<Napi::Boolean>().Value();
  }
  static Napi::Value to(bool b, Environment& e) { return Napi::Boolean::New(e.env, b); }
};

template <>
struct Type<std::string> {
  static std::string name() { return "string"; }
  static std::string from(const Napi::Value& v, Environment&) {
    if (!v.IsString()) throw expected("a string", v);
    return v.As<Napi::String>().Utf8Value();
  }
  static Napi::Value to(const std::string& s, Environment& e) { return Napi::String::New(e.env, s); }
};

template <>
struct Type<mx::Dtype> {
  static std::string name() { return "DType"; }
  static mx::Dtype from(const Napi::Value& v, Environment& e) {
    auto text = Type<std::string>::from(v, e);
    auto dtype = dtype_of(text);
    if (!dtype) throw std::invalid_argument("unknown dtype \"" + text + "\"");
    return *dtype;
  }
};

template <typename T>
struct Type<std::vector<T>> {
  static std::string name() { return Type<T>::name() + "[]"; }
  static std::vector<T> from(const Napi::Value& v, Environment& e) {
    if (!v.IsArray()) throw expected("a list", v);
    auto list = v.As<Napi::Array>();
    std::vector<T> result;
    result.reserve(list.Length());
    for (uint32_t i = 0; i < list.Length(); i++) {
      Napi::HandleScope scope(e.env);
      result.push_back(Type<T>::from(list.Get(i), e));
    }
    return result;
  }
  static Napi::Value to(std::vector<T> items, Environment& e) {
    auto list = Napi::Array::New(e.env, items.size());
    for (size_t i = 0; i < items.size(); i++) {
      Napi::HandleScope scope(e.env);
      list.Set(static_cast<uint32_t>(i), Type<T>::to(std::move(items[i]), e));
    }
    return list;
  }
};

template <>
struct Type<mx::Shape> {
  static std::string name() { return "number[]"; }
  static mx::Shape from(const Napi::Value& v, Environment& e) {
    auto sizes = Type<std::vector<int>>::from(v, e);
    // MLX multiplies sizes without an overflow check; a product that wraps would be read out of bounds later.
    double elements = 1;
    for (int size : sizes) elements *= size < 0 ? 1 : size;
    if (elements > 9007199254740991.0) throw std::invalid_argument("the shape has more than 2^53 elements");
    return mx::Shape(sizes.begin(), sizes.end());
  }
};

template <typename T>
struct Type<std::optional<T>> {
  static std::string name() { return Type<T>::name() + " | null"; }
  static std::optional<T> from(const Napi::Value& v, Environment& e) {
    if (v.IsNull() || v.IsUndefined()) return std::nullopt;
    return Type<T>::from(v, e);
  }
};

template <typename T>
struct Type<std::unordered_map<std::string, T>> {
  static std::string name() { return "Record<string, " + Type<T>::name() + ">"; }
  static std::unordered_map<std::string, T> from(const Napi::Value& v, Environment& e) {
    if (!v.IsObject()) throw expected("an object", v);
    auto object = v.As<Napi::Object>();
    std::unordered_map<std::string, T> result;
    auto keys = object.GetPropertyNames();
    for (uint32_t i = 0; i < keys.Length(); i++) {
      Napi::HandleScope scope(e.env);
      auto key = Napi::Value(keys.Get(i)).As<Napi::String>().Utf8Value();
      result.emplace(key, Type<T>::from(object.Get(key), e));
    }
    return result;
  }
  static Napi::Value to(std::unordered_map<std::string, T> items, Environment& e) {
    auto object = Napi::Object::New(e.env);
    for (auto& [key, value] : items) {
      Napi::HandleScope scope(e.env);
      object.DefineProperty(Napi::PropertyDescriptor::Value(
          key, Type<T>::to(std::move(value), e), napi_default_jsproperty));
    }
    return object;
  }
};

using ArrayLists = std::pair<std::vector<mx::array>, std::vector<mx::array>>;

template <>
struct Type<ArrayLists> {
  static std::string name() { return "[MxArray[], MxArray[]]"; }
  static Napi::Value to(ArrayLists lists, Environment& e) {
    auto pair = Napi::Array::New(e.env, 2);
    pair.Set(0u, Type<std::vector<mx::array>>::to(std::move(lists.first), e));
    pair.Set(1u, Type<std::vector<mx::array>>::to(std::move(lists.second), e));
    return pair;
  }
};

template <>
struct Type<Callback> {
  static std::string name() { return "(inputs: MxArray[]) => MxArray[]"; }
  static Callback from(const Napi::Value& v, Environment& e) {
    if (!v.IsFunction()) throw expected("a function", v);
    auto reference = std::make_shared<Napi::FunctionReference>(Napi::Persistent(v.As<Napi::Function>()));
    return {std::move(reference), &e};
  }
};

// A JavaScript value that a row creates or reads itself; the row states its TypeScript type.
struct Raw {
  Napi::Value value;
};
template <>
struct Type<Raw> {
  static std::string name() { return "unknown"; }
  static Raw from(const Napi::Value& v, Environment&) { return {v}; }
  static Napi::Value to(Raw raw, Environment&) { return raw.value; }
};

// One function of the addon.
struct Row {
  std::string name;
  std::string signature;
  std::function<Napi::Value(const Napi::CallbackInfo&, Environment&)> call;
};
using Table = std::vector<Row>;

inline std::vector<std::string> split_words(const std::string& text) {
  std::vector<std::string> words;
  std::string word;
  for (char c : text + " ") {
    if (c != ' ') {
      word += c;
    } else if (!word.empty()) {
      words.push_back(std::exchange(word, ""));
    }
  }
  return words;
}

template <typename T>
T argument(const Napi::CallbackInfo& info, size_t index, const std::vector<std::string>& params, Environment& e) {
  try {
    return Type<T>::from(info[index], e);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(params[index] + ": " + error.what());
  }
}

template <typename R, typename... A, size_t... I>
Row make_row(const char* name, const char* params, const char* result, R (*fn)(A...), std::index_sequence<I...>) {
  auto words = split_words(params);
  if (words.size() != sizeof...(A)) throw std::logic_error(std::string(name) + ": wrong number of parameter names");
  std::string signature = "(";
  ((signature += (I ? ", " : "") + words[I] + ": " + Type<std::decay_t<A>>::name()), ...);
  signature += ") => ";
  if constexpr (std::is_void_v<R>) {
    signature += "void";
  } else {
    signature += *result ? std::string(result) : Type<R>::name();
  }
  auto call = [words, fn](const Napi::CallbackInfo& info, Environment& e) -> Napi::Value {
    // Braces guarantee the order of evaluation.
    std::tuple<std::decay_t<A>...> args{argument<std::decay_t<A>>(info, I, words, e)...};
    if constexpr (std::is_void_v<R>) {
      fn(std::move(std::get<I>(args))...);
      return e.env.Undefined();
    } else {
      return Type<R>::to(fn(std::move(std::get<I>(args))...), e);
    }
  };
  return {name, std::move(signature), std::move(call)};
}

// Makes a row from a captureless lambda: name, parameter names, the lambda, and the TypeScript type of a Raw result.
template <typename F>
Row row(const char* name, const char* params, F fn, const char* result = "") {
  auto pointer = +fn;
  return [&]<typename R, typename... A>(R (*p)(A...)) {
    return make_row(name, params, result, p, std::index_sequence_for<A...>{});
  }(pointer);
}

// Rows that need the environment are written out in full: {name, signature, call}.
Table array_table();
Table math_table();
Table shape_table();
Table evaluation_table();
Table io_table();
Table cpu_table();
