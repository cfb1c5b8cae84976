#include <cstring>
#include <sstream>

#include "convert.h"

namespace {

const std::pair<const char*, mx::Dtype> dtypes[] = {
    {"bool", mx::bool_},       {"uint8", mx::uint8},     {"uint16", mx::uint16},     {"uint32", mx::uint32},
    {"uint64", mx::uint64},    {"int8", mx::int8},       {"int16", mx::int16},       {"int32", mx::int32},
    {"int64", mx::int64},      {"float16", mx::float16}, {"bfloat16", mx::bfloat16}, {"float32", mx::float32},
    {"float64", mx::float64},  {"complex64", mx::complex64},
};

const napi_type_tag array_tag = {0x6d666c75782d6d78, 0x61727261792d3031};

// The typed array of a dtype, and how many of its elements make up one element of ours.
struct Container {
  napi_typedarray_type type;
  size_t per_element;
};

Container container_of(mx::Dtype dtype) {
  switch (dtype.val()) {
    case mx::Dtype::Val::bool_:
    case mx::Dtype::Val::uint8:
      return {napi_uint8_array, 1};
    case mx::Dtype::Val::uint16:
    case mx::Dtype::Val::float16:
    case mx::Dtype::Val::bfloat16:
      return {napi_uint16_array, 1};
    case mx::Dtype::Val::uint32:
      return {napi_uint32_array, 1};
    case mx::Dtype::Val::uint64:
      return {napi_biguint64_array, 1};
    case mx::Dtype::Val::int8:
      return {napi_int8_array, 1};
    case mx::Dtype::Val::int16:
      return {napi_int16_array, 1};
    case mx::Dtype::Val::int32:
      return {napi_int32_array, 1};
    case mx::Dtype::Val::int64:
      return {napi_bigint64_array, 1};
    case mx::Dtype::Val::float32:
      return {napi_float32_array, 1};
    case mx::Dtype::Val::float64:
      return {napi_float64_array, 1};
    case mx::Dtype::Val::complex64:
      return {napi_float32_array, 2};
  }
  throw std::logic_error("the dtype has no typed array");
}

mx::array from_typed_array(const Napi::Value& value, const mx::Shape& shape, mx::Dtype dtype) {
  if (!value.IsTypedArray()) throw expected("a typed array", value);
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  napi_value buffer;
  size_t offset = 0;
  if (napi_get_typedarray_info(value.Env(), value, &type, &length, &data, &buffer, &offset) != napi_ok) {
    throw std::invalid_argument("the typed array cannot be read");
  }
  auto container = container_of(dtype);
  if (type == napi_uint8_clamped_array) type = napi_uint8_array;
  if (type != container.type) {
    throw std::invalid_argument(std::string("this typed array does not hold ") + dtype_name(dtype));
  }
  size_t elements = 1;
  for (auto size : shape) {
    if (size < 0) throw std::invalid_argument("the shape has a negative size");
    elements *= size;
  }
  if (elements * container.per_element != length) {
    throw std::invalid_argument(
        std::to_string(length) + " elements given, the shape takes " +
        std::to_string(elements * container.per_element));
  }
  size_t bytes = elements * mx::size_of(dtype);
  auto owned = mx::allocator::malloc(bytes);
  if (bytes > 0) std::memcpy(owned.buffer().raw_ptr(), data, bytes);
  return mx::array(std::move(owned), shape, dtype);
}

}  // namespace

const char* dtype_name(mx::Dtype dtype) {
  for (auto& [name, value] : dtypes) {
    if (value == dtype) return name;
  }
  return "unknown";
}

std::optional<mx::Dtype> dtype_of(const std::string& name) {
  for (auto& [known, value] : dtypes) {
    if (name == known) return value;
  }
  return std::nullopt;
}

std::string describe(const mx::array& a) {
  std::string text = std::string(dtype_name(a.dtype())) + " [";
  for (size_t i = 0; i < a.ndim(); i++) text += (i ? "," : "") + std::to_string(a.shape(static_cast<int>(i)));
  return text + "]";
}

// ---------------------------------------------------------------- the JavaScript class

Napi::Function ArrayObject::define(Napi::Env env) {
  auto dispose_symbol =
      env.Global().Get("Symbol").As<Napi::Object>().Get("dispose");
  std::vector<Napi::ClassPropertyDescriptor<ArrayObject>> members = {
      InstanceAccessor<&ArrayObject::get_shape>("shape"),
      InstanceAccessor<&ArrayObject::get_dtype>("dtype"),
      InstanceAccessor<&ArrayObject::get_size>("size"),
      InstanceAccessor<&ArrayObject::get_ndim>("ndim"),
      InstanceAccessor<&ArrayObject::get_nbytes>("nbytes"),
      InstanceAccessor<&ArrayObject::get_disposed>("disposed"),
      InstanceMethod<&ArrayObject::dispose>("dispose"),
      InstanceMethod<&ArrayObject::to_typed_array>("toTypedArray"),
      InstanceMethod<&ArrayObject::item>("item"),
      InstanceMethod<&ArrayObject::to_text>("toString"),
  };
  if (dispose_symbol.IsSymbol()) {
    members.push_back(InstanceMethod<&ArrayObject::dispose>(dispose_symbol.As<Napi::Symbol>()));
  }
  return DefineClass(env, "MxArray", members);
}

ArrayObject::ArrayObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<ArrayObject>(info),
      environment_(Environment::of(info.Env()).shared_from_this()) {
  if (info.Length() != 1 || !info[0].IsExternal()) {
    environment_->raise("MxArray", "create arrays with functions such as array() or zeros()");
  }
  handle = *info[0].As<Napi::External<std::shared_ptr<Handle>>>().Data();
  info.This().As<Napi::Object>().TypeTag(&array_tag);
}

ArrayObject::~ArrayObject() {
  // A constructor call from JavaScript throws before a handle exists.
  if (handle) environment_->release(*handle);
}

ArrayObject* ArrayObject::from(const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&array_tag)) return nullptr;
  return Unwrap(value.As<Napi::Object>());
}

const mx::array& ArrayObject::readable() const {
  if (!handle->poison.empty()) {
    throw std::invalid_argument(
        "the array was not finished when an evaluation failed (" + handle->poison + "); create it again");
  }
  if (!handle->value) throw std::invalid_argument("the array is disposed");
  environment_->take(*handle);
  return *handle->value;
}

template <typename F>
Napi::Value ArrayObject::guarded(const char* operation, F&& body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    environment_->raise(operation, error.what());
  }
}

Napi::Value ArrayObject::get_shape(const Napi::CallbackInfo& info) {
  return guarded("shape", [&] {
    const auto& sizes = readable().shape();
    auto list = Napi::Array::New(info.Env(), sizes.size());
    for (size_t i = 0; i < sizes.size(); i++) {
      list.Set(static_cast<uint32_t>(i), Napi::Number::New(info.Env(), sizes[i]));
    }
    return Napi::Value(list);
  });
}

Napi::Value ArrayObject::get_dtype(const Napi::CallbackInfo& info) {
  return guarded("dtype", [&]() -> Napi::Value {
    return Napi::String::New(info.Env(), dtype_name(readable().dtype()));
  });
}

Napi::Value ArrayObject::get_size(const Napi::CallbackInfo& info) {
  return guarded("size", [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(), static_cast<double>(readable().size()));
  });
}

Napi::Value ArrayObject::get_ndim(const Napi::CallbackInfo& info) {
  return guarded("ndim", [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(), static_cast<double>(readable().ndim()));
  });
}

Napi::Value ArrayObject::get_nbytes(const Napi::CallbackInfo& info) {
  return guarded("nbytes", [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(), static_cast<double>(readable().nbytes()));
  });
}

Napi::Value ArrayObject::get_disposed(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), !handle->value.has_value());
}

Napi::Value ArrayObject::dispose(const Napi::CallbackInfo& info) {
  environment_->release(*handle);
  return info.Env().Undefined();
}

mx::array ArrayObject::computed() {
  // MLX reports an array as available as soon as its work is queued.
  if (handle->pending) environment_->finish();
  mx::array a = readable();
  if (a.status() == mx::array::Status::unscheduled || !a.is_available()) environment_->evaluate({a});
  return a;
}

Napi::Value ArrayObject::to_typed_array(const Napi::CallbackInfo& info) {
  return guarded("toTypedArray", [&]() -> Napi::Value {
    auto env = info.Env();
    mx::array a = computed();
    if (!a.flags().row_contiguous) {
      a = mx::contiguous(a);
      environment_->evaluate({a});
    }
    auto container = container_of(a.dtype());
    auto buffer = Napi::ArrayBuffer::New(env, a.nbytes());
    if (a.nbytes() > 0) std::memcpy(buffer.Data(), a.data<char>(), a.nbytes());
    napi_value result;
    napi_status status = napi_create_typedarray(
        env, container.type, a.size() * container.per_element, buffer, 0, &result);
    if (status != napi_ok) throw std::runtime_error("cannot create the typed array");
    return Napi::Value(env, result);
  });
}

Napi::Value ArrayObject::item(const Napi::CallbackInfo& info) {
  return guarded("item", [&]() -> Napi::Value {
    auto env = info.Env();
    if (readable().size() != 1) {
      throw std::invalid_argument("item() takes an array of one element, got " + ::describe(readable()));
    }
    mx::array a = computed();
    switch (a.dtype().val()) {
      case mx::Dtype::Val::bool_:
        return Napi::Boolean::New(env, *a.data<bool>());
      case mx::Dtype::Val::uint64:
        return Napi::BigInt::New(env, *a.data<uint64_t>());
      case mx::Dtype::Val::int64:
        return Napi::BigInt::New(env, *a.data<int64_t>());
      case mx::Dtype::Val::float64:
        return Napi::Number::New(env, *a.data<double>());
      case mx::Dtype::Val::complex64:
        throw std::invalid_argument("JavaScript has no complex numbers; use toTypedArray()");
      case mx::Dtype::Val::uint32:
        return Napi::Number::New(env, *a.data<uint32_t>());
      default: {
        mx::array number = mx::astype(a, mx::issubdtype(a.dtype(), mx::floating) ? mx::float32 : mx::int32);
        environment_->evaluate({number});
        return number.dtype() == mx::float32 ? Napi::Number::New(env, *number.data<float>())
                                             : Napi::Number::New(env, *number.data<int32_t>());
      }
    }
  });
}

Napi::Value ArrayObject::to_text(const Napi::CallbackInfo& info) {
  return guarded("toString", [&]() -> Napi::Value {
    mx::array a = computed();
    std::ostringstream text;
    text << a;
    return Napi::String::New(info.Env(), text.str());
  });
}

// ---------------------------------------------------------------- operands

std::optional<mx::Dtype> Operand::dtype() const {
  if (auto* a = std::get_if<mx::array>(&value)) return a->dtype();
  return std::nullopt;
}

mx::array Operand::as_operand_of(const std::optional<mx::Dtype>& partner) const {
  if (auto* a = std::get_if<mx::array>(&value)) return *a;
  if (auto* flag = std::get_if<bool>(&value)) return mx::array(*flag);
  double number = std::get<double>(value);
  if (!partner) return mx::array(static_cast<float>(number));
  if (mx::issubdtype(*partner, mx::inexact)) {
    return *partner == mx::float64 ? mx::array(number, mx::float64) : mx::array(number, *partner);
  }
  if (std::trunc(number) != number) return mx::array(static_cast<float>(number));
  bool is_unsigned = mx::issubdtype(*partner, mx::unsignedinteger);
  double bits = 8.0 * mx::size_of(*partner);
  double low = is_unsigned ? 0 : -std::ldexp(1.0, static_cast<int>(bits) - 1);
  double high = std::ldexp(1.0, static_cast<int>(bits) - (is_unsigned ? 0 : 1));
  if (*partner != mx::bool_ && number >= low && number < high) {
    return is_unsigned ? mx::array(static_cast<uint64_t>(number), *partner)
                       : mx::array(static_cast<int64_t>(number), *partner);
  }
  if (std::abs(number) < 2147483648.0) return mx::array(static_cast<int32_t>(number));
  if (std::abs(number) < 9223372036854775808.0) return mx::array(static_cast<int64_t>(number));
  return mx::array(static_cast<float>(number));
}

Table array_table() {
  return {
      row("fromTypedArray", "data shape dtype", [](Raw data, mx::Shape shape, mx::Dtype dtype) {
        return from_typed_array(data.value, shape, dtype);
      }),
      row("isArray", "value", [](Raw value) { return ArrayObject::from(value.value) != nullptr; },
          "value is MxArray"),
  };
}
