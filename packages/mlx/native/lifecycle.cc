#include "runtime.h"

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <vector>

#include "mlx/ops.h"
#include "mlx/transforms.h"
#include "mlx/version.h"

namespace runtime {

namespace {

std::string file_of(const void* address) {
  Dl_info info;
  if (dladdr(address, &info) == 0 || info.dli_fname == nullptr) return "";
  return info.dli_fname;
}

bool same_file(const std::string& a, const std::string& b) {
  struct stat first, second;
  return stat(a.c_str(), &first) == 0 && stat(b.c_str(), &second) == 0 && first.st_dev == second.st_dev &&
      first.st_ino == second.st_ino;
}

// The MLX that the addon was built for.
std::string expected_library() {
#ifdef __APPLE__
  const std::string name = "libmlx.dylib";
#else
  const std::string name = "libmlx.so";
#endif
  const std::string folder = MLX_LIBRARY_FOLDER;
  if (folder.starts_with('/')) return folder + '/' + name;
  const std::string addon = file_of(reinterpret_cast<const void*>(&file_of));
  return addon.substr(0, addon.rfind('/') + 1) + folder + '/' + name;
}

#ifdef __linux__
// Runs after all handlers registered later, and ends the process before static destructors, which would free MLX's
// state under its running threads.
void end_process(int status, void*) {
  close_gate();
  fflush(nullptr);
  _exit(status);
}
#endif

}  // namespace

std::string library_path() {
  char* real = realpath(file_of(reinterpret_cast<const void*>(&mlx::core::version)).c_str(), nullptr);
  if (real == nullptr) return "";
  std::string path = real;
  free(real);
  return path;
}

void verify_library() {
  const std::string built = std::to_string(MLX_VERSION_MAJOR) + '.' + std::to_string(MLX_VERSION_MINOR) + '.' +
      std::to_string(MLX_VERSION_PATCH);
  const std::string found = mlx::core::version();
  const std::string path = library_path();
  if (!found.starts_with(built))
    throw std::runtime_error("the addon was built for MLX " + built + " but is bound to MLX " + found + " in " + path);
  const std::string expected = expected_library();
  if (!same_file(path, expected))
    throw std::runtime_error(
        "the addon is bound to " + path + ", which another module of this process loaded, instead of " + expected +
        "; load @mflux-depth/mlx first");
}

#ifdef __linux__
namespace {

// Checks that OpenBLAS multiplies part of a larger matrix correctly, plain and transposed.
bool multiplies_parts() {
  constexpr int m = 33, n = 40, k = 50, wide = 64;
  std::vector<float> a(wide * wide), b(wide * wide), c(wide * wide, 1);
  for (int i = 0; i < wide * wide; i++) {
    a[i] = static_cast<float>(i % 7 - 3);
    b[i] = static_cast<float>(i % 5 - 2);
  }
  for (bool transpose : {false, true}) {
    std::fill(c.begin(), c.end(), 1.f);
    sgemm_alone(false, transpose, m, n, k, 1, a.data(), wide, b.data(), wide, 1, c.data(), wide);
    for (int i = 0; i < m; i++) {
      for (int j = 0; j < n; j++) {
        float sum = 1;
        for (int p = 0; p < k; p++) sum += a[i * wide + p] * (transpose ? b[j * wide + p] : b[p * wide + j]);
        if (c[i * wide + j] != sum) return false;
      }
    }
  }
  return true;
}

}  // namespace
#endif

void verify_blas() {
#ifdef __linux__
  const auto before = blas_info().calls;
  const auto ones = mlx::core::ones({4, 4});
  mlx::core::eval(mlx::core::matmul(ones, ones, mlx::core::Device::cpu));
  if (blas_info().calls == before)
    throw std::runtime_error(
        "MLX multiplies matrices with a BLAS that another module of this process brought; load @mflux-depth/mlx first, and leave BLAS out of LD_PRELOAD");
  // OpenBLAS selects kernels by processor, and some of the newest ones are wrong.
  if (!multiplies_parts())
    throw std::runtime_error(
        blas_info().name + " multiplies incorrectly on this processor; select older kernels with OPENBLAS_CORETYPE (" +
#ifdef __aarch64__
        "NEOVERSEN1)"
#else
        "HASWELL)"
#endif
    );
#endif
}

void install_process_exit() {
#ifdef __linux__
  static const bool installed = on_exit(end_process, nullptr) == 0;
  if (!installed) throw std::runtime_error("cannot register an exit handler");
#endif
}

}  // namespace runtime
