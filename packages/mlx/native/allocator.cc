#include "runtime.h"

#include "mlx/memory.h"

#ifndef __linux__

namespace runtime {

size_t set_memory_limit(size_t bytes) {
  return mlx::core::set_memory_limit(bytes);
}

void trim_heap() {}

}  // namespace runtime

#else

#include <dlfcn.h>
#include <malloc.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <cstdio>
#include <string_view>
#include <typeinfo>

#include "cgroup.h"
#include "mlx/allocator.h"

namespace runtime {

namespace {

using mlx::core::allocator::Allocator;
using mlx::core::allocator::Buffer;

// Blocks of this size and more are mapped separately and return to the system when freed.
constexpr size_t mapped = 1 << 20;
[[maybe_unused]] const bool tuned = mallopt(M_MMAP_THRESHOLD, mapped) != 0;

// All memory of the machine: a process that takes more is killed rather than given an error.
size_t machine_memory() {
  struct sysinfo info;
  if (sysinfo(&info) != 0) return SIZE_MAX;
  const double total = (static_cast<double>(info.totalram) + info.totalswap) * info.mem_unit;
  return static_cast<size_t>(std::min(total, cgroup_memory()));
}

std::atomic<size_t>& limit() {
  static std::atomic<size_t> bytes{machine_memory()};
  return bytes;
}

std::string readable(size_t bytes) {
  char text[64];
  if (bytes < 1000000000)
    std::snprintf(text, sizeof text, "%.1f MB", static_cast<double>(bytes) / 1e6);
  else
    std::snprintf(text, sizeof text, "%.1f GB", static_cast<double>(bytes) / 1e9);
  return text;
}

// MLX's allocator with a hard limit. The original has none, and returns null pointers, which crash on the first write.
class Guarded final : public Allocator {
 public:
  explicit Guarded(Allocator& original) : original_(original) {}

  Buffer malloc(size_t size) override {
    const size_t most = limit().load();
    if (!fits(size, most)) refuse(size, "the limit is " + readable(most));
    if (mlx::core::get_cache_memory() > 0 && !fits(size, most - std::min(most, mlx::core::get_cache_memory())))
      mlx::core::clear_cache();
    // The original counts failed allocations as in use, so try the system first.
    if (size >= mapped && !available(size)) {
      mlx::core::clear_cache();
      if (!available(size)) refuse(size, exhausted);
    }
    Buffer buffer = original_.malloc(size);
    if (buffer.ptr() == nullptr && size > 0) refuse(size, exhausted);
    return buffer;
  }

  void free(Buffer buffer) override {
    original_.free(buffer);
  }

  size_t size(Buffer buffer) const override {
    return original_.size(buffer);
  }

  Buffer make_buffer(void* ptr, size_t size) override {
    return original_.make_buffer(ptr, size);
  }

  void release(Buffer buffer) override {
    original_.release(buffer);
  }

 private:
  static constexpr const char* exhausted = "the system has no more";

  static bool available(size_t size) {
    // volatile: compilers remove a matching malloc and free.
    void* volatile trial = std::malloc(size);
    std::free(trial);
    return trial != nullptr;
  }

  static bool fits(size_t size, size_t most) {
    const size_t active = mlx::core::get_active_memory();
    return active <= most && size <= most - active;
  }

  [[noreturn]] static void refuse(size_t size, const std::string& why) {
    throw std::runtime_error(
        "cannot allocate " + readable_size(size) + ": " +
        readable(mlx::core::get_active_memory()) + " are in use and " + why);
  }

  Allocator& original_;
};

Allocator& choose() {
  auto* original = reinterpret_cast<Allocator& (*)()>(dlsym(RTLD_NEXT, "_ZN3mlx4core9allocator9allocatorEv"));
  if (original == nullptr) throw std::runtime_error("MLX's allocator was not found");
  Allocator& allocator = original();
  // The allocators of the GPU backends throw on their own, and MLX relies on their class.
  const bool plain = std::string_view(typeid(allocator).name()).find("CommonAllocator") != std::string_view::npos;
  return plain ? *new Guarded(allocator) : allocator;
}

}  // namespace

size_t set_memory_limit(size_t bytes) {
  mlx::core::set_memory_limit(bytes);
  return limit().exchange(bytes);
}

std::string readable_size(size_t bytes) {
  return readable(bytes) + " (" + std::to_string(bytes) + " bytes)";
}

void trim_heap() {
  malloc_trim(0);
}

}  // namespace runtime

// Replaces MLX's function of the same name: a library that loads MLX as a dependency precedes it in the symbol order.
mlx::core::allocator::Allocator& mlx::core::allocator::allocator() {
  static Allocator& chosen = runtime::choose();
  return chosen;
}

#endif
