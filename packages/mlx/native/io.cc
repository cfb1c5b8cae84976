#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "convert.h"
#include "mlx/backend/cuda/cuda.h"
#include "mlx/backend/metal/metal.h"
#include "mlx/io/load.h"
#include "mlx/version.h"
#include "runtime.h"

namespace {

mx::Device device_of(const std::string& name) {
  if (name == "cpu") return mx::Device::cpu;
  if (name == "gpu") return mx::Device::gpu;
  throw std::invalid_argument("unknown device \"" + name + "\": expected cpu or gpu");
}

const char* device_name(mx::Device device) {
  return device == mx::Device::cpu ? "cpu" : "gpu";
}

// A file with a safetensors header in front that it does not contain, so that MLX reads tensors of other formats
// lazily.
class HeadedReader : public mx::io::Reader {
 public:
  HeadedReader(const std::string& path, std::string head)
      : path_(path), head_(std::move(head)), file_(::open(path.c_str(), O_RDONLY)) {
    struct stat facts;
    if (file_ >= 0 && ::fstat(file_, &facts) == 0) size_ = facts.st_size;
  }
  ~HeadedReader() override {
    if (file_ >= 0) ::close(file_);
  }

  bool is_open() const override { return file_ >= 0; }
  bool good() const override { return is_open(); }
  size_t tell() override { return position_; }
  void seek(int64_t offset, std::ios_base::seekdir way) override {
    auto from = way == std::ios_base::beg ? 0 : way == std::ios_base::cur ? position_ : head_.size() + size_;
    position_ = from + offset;
  }
  void read(char* data, size_t count) override {
    read(data, count, position_);
    position_ += count;
  }
  // Called by several threads.
  void read(char* data, size_t count, size_t offset) override {
    while (count > 0) {
      size_t done;
      if (offset < head_.size()) {
        done = std::min(count, head_.size() - offset);
        std::memcpy(data, head_.data() + offset, done);
      } else {
        auto got = ::pread(file_, data, count, static_cast<off_t>(offset - head_.size()));
        if (got <= 0) throw std::runtime_error(path_ + " ended or failed while it was being read");
        done = static_cast<size_t>(got);
      }
      data += done;
      count -= done;
      offset += done;
    }
  }
  std::string label() const override { return "file " + path_; }

 private:
  std::string path_;
  std::string head_;
  size_t size_ = 0;
  size_t position_ = 0;
  int file_;
};

// The tensors that `header` (JSON of safetensors) describes in the bytes of a file.
std::unordered_map<std::string, mx::array> load_headed(const std::string& path, const std::string& header) {
  uint64_t length = header.size();
  std::string head(reinterpret_cast<const char*>(&length), sizeof(length));
  auto reader = std::make_shared<HeadedReader>(path, head + header);
  if (!reader->is_open()) throw std::invalid_argument(path + " cannot be opened");
  return mx::load_safetensors(reader).first;
}

Napi::Value stream_object(Environment& e, mx::Stream stream) {
  auto object = Napi::Object::New(e.env);
  object.Set("index", Napi::Number::New(e.env, stream.index));
  object.Set("device", Napi::String::New(e.env, device_name(stream.device)));
  return object;
}

Napi::Value backend_object(Environment& e) {
  auto blas = runtime::blas_info();
  auto multiplier = Napi::Object::New(e.env);
  multiplier.Set("name", Napi::String::New(e.env, blas.name));
  multiplier.Set("threads", Napi::Number::New(e.env, blas.threads));
  multiplier.Set("calls", Napi::Number::New(e.env, static_cast<double>(blas.calls)));
  auto object = Napi::Object::New(e.env);
  const char* name = mx::metal::is_available() ? "metal" : mx::cu::is_available() ? "cuda" : "cpu";
  object.Set("name", Napi::String::New(e.env, name));
  object.Set("version", Napi::String::New(e.env, mx::version()));
  object.Set("library", Napi::String::New(e.env, runtime::library_path()));
  object.Set("blas", multiplier);
  return object;
}

Napi::Value device_info_object(Environment& e, mx::Device device) {
  auto object = Napi::Object::New(e.env);
  for (auto& [key, value] : mx::device_info(device)) {
    if (auto* text = std::get_if<std::string>(&value)) {
      object.Set(key, Napi::String::New(e.env, *text));
    } else {
      object.Set(key, Napi::Number::New(e.env, static_cast<double>(std::get<size_t>(value))));
    }
  }
  return object;
}

}  // namespace

Table io_table() {
  return {
      row("loadSafetensors", "path", [](std::string path) { return mx::load_safetensors(path).first; }),
      row("loadHeaded", "path header", [](std::string path, std::string header) { return load_headed(path, header); }),
      {"saveSafetensors", "(path: string, arrays: Record<string, MxArray>, metadata: Record<string, string>) => void",
       [](const Napi::CallbackInfo& info, Environment& e) -> Napi::Value {
         auto path = Type<std::string>::from(info[0], e);
         e.finish();
         auto arrays = Type<std::unordered_map<std::string, mx::array>>::from(info[1], e);
         auto metadata = Type<std::unordered_map<std::string, std::string>>::from(info[2], e);
         // Evaluate here instead of in the writer, so that a failure poisons unfinished arrays.
         std::vector<mx::array> values;
         for (auto& [key, value] : arrays) values.push_back(value);
         e.evaluate(values);
         mx::save_safetensors(path, arrays, metadata);
         return e.env.Undefined();
       }},

      row("activeMemory", "", [] { return mx::get_active_memory(); }),
      row("peakMemory", "", [] { return mx::get_peak_memory(); }),
      row("resetPeakMemory", "", [] { mx::reset_peak_memory(); }),
      row("cacheMemory", "", [] { return mx::get_cache_memory(); }),
      {"clearCache", "() => void",
       [](const Napi::CallbackInfo&, Environment& e) -> Napi::Value {
         e.clear_cache();
         return e.env.Undefined();
       }},
      row("setCacheLimit", "bytes", [](size_t bytes) { return mx::set_cache_limit(bytes); }),
      row("setMemoryLimit", "bytes", [](size_t bytes) { return runtime::set_memory_limit(bytes); }),
      row("setWiredLimit", "bytes", [](size_t bytes) { return mx::set_wired_limit(bytes); }),

      row("defaultDevice", "", [] { return std::string(device_name(mx::default_device())); }),
      row("setThreads", "count", [](int count) { runtime::set_thread_count(count); }),
      row("setDefaultDevice", "device", [](std::string device) { mx::set_default_device(device_of(device)); }),
      row("deviceAvailable", "device", [](std::string device) { return mx::is_available(device_of(device)); }),
      {"deviceInfo", "(device: string) => Record<string, string | number>",
       [](const Napi::CallbackInfo& info, Environment& e) {
         return device_info_object(e, device_of(Type<std::string>::from(info[0], e)));
       }},
      {"newStream", "(device: string) => { index: number; device: string }",
       [](const Napi::CallbackInfo& info, Environment& e) {
         return stream_object(e, mx::new_thread_unsafe_stream(device_of(Type<std::string>::from(info[0], e))));
       }},
      {"defaultStream", "(device: string) => { index: number; device: string }",
       [](const Napi::CallbackInfo& info, Environment& e) {
         return stream_object(e, mx::default_stream(device_of(Type<std::string>::from(info[0], e))));
       }},
      row("setDefaultStream", "index device", [](int index, std::string device) {
        auto wanted = mx::Stream(index, device_of(device));
        for (auto& stream : mx::get_streams()) {
          if (stream == wanted) return mx::set_default_stream(wanted);
        }
        throw std::invalid_argument("there is no stream " + std::to_string(index) + " on the " + device);
      }),
      row("synchronize", "", [] { mx::synchronize(); }),
      {"backend",
       "() => { name: string; version: string; library: string; blas: { name: string; threads: number; calls: number } }",
       [](const Napi::CallbackInfo&, Environment& e) { return backend_object(e); }},
      row("metalAvailable", "", [] { return mx::metal::is_available(); }),
      row("metalStartCapture", "path", [](std::string path) { mx::metal::start_capture(path); }),
      row("metalStopCapture", "", [] { mx::metal::stop_capture(); }),
  };
}
