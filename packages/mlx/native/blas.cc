#include "runtime.h"

#ifndef __linux__

namespace runtime {

BlasInfo blas_info() {
  return {"Accelerate", 0, 0};
}

}  // namespace runtime

#else

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <sstream>

#include "threads.h"

// OpenBLAS, under the names of the wheel scipy-openblas32, which never collide with another BLAS.
extern "C" {
void scipy_cblas_sgemm(
    int, int, int, int, int, int, float, const float*, int, const float*, int, float, float*, int);
void scipy_cblas_dgemm(
    int, int, int, int, int, int, double, const double*, int, const double*, int, double, double*, int);
void scipy_cblas_cgemm(
    int, int, int, int, int, int, const void*, const void*, int, const void*, int, const void*, void*, int);
void scipy_openblas_set_num_threads(int);
char* scipy_openblas_get_config();
char* scipy_openblas_get_corename();
}

namespace runtime {

namespace {

using complex64 = std::complex<float>;

// The enumerations of the C interface.
constexpr int row_major = 101;
constexpr int col_major = 102;
constexpr int no_trans = 111;

// Waking a thread pays off from this many operations on (0.1 ms of a core of 100 GFLOP/s).
constexpr double smallest_task = 8e6;
// From this size on, packing hardly matters.
constexpr double large_task = 4e8;
// Operations between two checks of the cancel flag.
constexpr double largest_step = 1.5e9;
// OpenBLAS sums blocks of at most 384 terms anyway, so cutting there is free.
constexpr int terms = 384;
// Tile edges are multiples of this, like the register blocks of the kernels.
constexpr int alignment = 32;

std::atomic<uint64_t> calls{0};

// ---------------------------------------------------------------- the gate

// No product may run while the process exits, because OpenBLAS frees its buffers then.
std::atomic<int> running{0};
std::atomic<bool> closed{false};

class Passage {
 public:
  Passage() {
    running.fetch_add(1);
    if (!closed.load()) return;
    running.fetch_sub(1);
    for (;;) pause();
  }
  ~Passage() {
    running.fetch_sub(1);
  }
};

// ---------------------------------------------------------------- products

void openblas(int ta, int tb, int m, int n, int k, float alpha, const float* a, int lda, const float* b, int ldb, float beta, float* c, int ldc) {
  scipy_cblas_sgemm(row_major, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void openblas(int ta, int tb, int m, int n, int k, double alpha, const double* a, int lda, const double* b, int ldb, double beta, double* c, int ldc) {
  scipy_cblas_dgemm(row_major, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void openblas(int ta, int tb, int m, int n, int k, complex64 alpha, const complex64* a, int lda, const complex64* b, int ldb, complex64 beta, complex64* c, int ldc) {
  scipy_cblas_cgemm(row_major, ta, tb, m, n, k, &alpha, a, lda, b, ldb, &beta, c, ldc);
}

template <typename T>
constexpr double flops_per_term = std::is_same_v<T, complex64> ? 8 : std::is_same_v<T, double> ? 4 : 2;

// C = alpha op(A) op(B) + beta C, row-major, in tiles of C.
template <typename T>
class Product final : public Job {
 public:
  Product(int rows, int columns, int ta, int tb, int m, int n, int k, T alpha, const T* a, int lda, const T* b, int ldb, T beta, T* c, int ldc)
      : Job(((m + rows - 1) / rows) * ((n + columns - 1) / columns), current_cancel_flag()),
        rows_(rows), columns_(columns), across_((n + columns - 1) / columns),
        ta_(ta), tb_(tb), m_(m), n_(n), k_(k), alpha_(alpha), a_(a), lda_(lda), b_(b), ldb_(ldb), beta_(beta), c_(c), ldc_(ldc) {}

  void run(int task) override {
    const ptrdiff_t i = static_cast<ptrdiff_t>(task / across_) * rows_;
    const ptrdiff_t j = static_cast<ptrdiff_t>(task % across_) * columns_;
    const int m = std::min<ptrdiff_t>(rows_, m_ - i);
    const int n = std::min<ptrdiff_t>(columns_, n_ - j);
    const T* a = a_ + (ta_ == no_trans ? i * lda_ : i);
    const T* b = b_ + (tb_ == no_trans ? j : j * ldb_);
    const double steps = flops_per_term<T> * m * n * k_ / largest_step;
    const int step = static_cast<int>(std::max(1.0, k_ / std::max(1.0, steps) / terms)) * terms;
    ptrdiff_t p = 0;
    do {
      Passage passage;
      openblas(
          ta_, tb_, m, n, static_cast<int>(std::min<ptrdiff_t>(step, k_ - p)), alpha_,
          a + (ta_ == no_trans ? p : p * lda_), lda_,
          b + (tb_ == no_trans ? p * ldb_ : p), ldb_,
          p == 0 ? beta_ : T(1), c_ + i * ldc_ + j, ldc_);
      p += step;
    } while (p < k_ && !cancelled());
  }

 private:
  const int rows_, columns_, across_;
  const int ta_, tb_, m_, n_, k_;
  const T alpha_;
  const T* const a_;
  const int lda_;
  const T* const b_;
  const int ldb_;
  const T beta_;
  T* const c_;
  const int ldc_;
};

int aligned_part(int whole, int parts) {
  const int part = (whole + parts - 1) / parts;
  return std::min(whole, (part + alignment - 1) / alignment * alignment);
}

struct Grid {
  int down, across;
};

// Chooses how to cut C: into one tile per thread, or two if they stay large, so that other threads can take over from
// one that another program holds up; and so that no step takes too long. Each tile packs its rows of A and its columns
// of B again, so the cut with the squarest tiles wins.
Grid cut(int m, int n, int k, double flops) {
  const double share = flops / thread_count();
  const double rounds = std::max(share < 2 * large_task ? 1.0 : 2.0, std::ceil(share / largest_step * std::min(k, terms) / k));
  for (int tiles = static_cast<int>(std::min(rounds * thread_count(), flops / smallest_task)); tiles > 1; tiles--) {
    Grid best{0, 0};
    double packed = INFINITY;
    for (int down = 1; down <= tiles; down++) {
      const int across = tiles / down;
      if (down * across != tiles || m / down < std::min(m, alignment) || n / across < std::min(n, alignment)) continue;
      const double cost = static_cast<double>(down) * n + static_cast<double>(across) * m;
      if (cost < packed) best = {down, across}, packed = cost;
    }
    if (packed < INFINITY) return best;
  }
  return {1, 1};
}

template <typename T>
void gemm(int order, int ta, int tb, int m, int n, int k, T alpha, const T* a, int lda, const T* b, int ldb, T beta, T* c, int ldc) {
  calls.fetch_add(1, std::memory_order_relaxed);
  check_cancelled();
  if (m <= 0 || n <= 0) return;
  // A column-major product is a row-major product of the transposes.
  if (order == col_major) {
    std::swap(ta, tb);
    std::swap(m, n);
    std::swap(a, b);
    std::swap(lda, ldb);
  }
  const Grid grid = cut(m, n, k, flops_per_term<T> * m * n * k);
  Product<T> product(
      aligned_part(m, grid.down), aligned_part(n, grid.across), ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  share(product);
  check_cancelled();
}

// Loaded by a worker thread of Node, OpenBLAS starts with one thread per caller.
[[maybe_unused]] const bool single_threaded = (scipy_openblas_set_num_threads(1), true);

}  // namespace

BlasInfo blas_info() {
  std::istringstream config(scipy_openblas_get_config());
  std::string name, version;
  config >> name >> version;
  return {name + ' ' + version + " (" + scipy_openblas_get_corename() + ')', thread_count(), calls.load()};
}

void sgemm_alone(
    bool transpose_a, bool transpose_b, int m, int n, int k, float alpha, const float* a, int lda, const float* b,
    int ldb, float beta, float* c, int ldc) {
  scipy_cblas_sgemm(
      row_major, no_trans + transpose_a, no_trans + transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void close_gate() {
  closed.store(true);
  while (running.load() > 0) usleep(100);
}

}  // namespace runtime

// MLX calls these definitions: a library that loads MLX as a dependency precedes it in the symbol order.
#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED void cblas_sgemm(
    int order, int ta, int tb, int m, int n, int k, float alpha, const float* a, int lda, const float* b, int ldb,
    float beta, float* c, int ldc) {
  runtime::gemm(order, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

EXPORTED void cblas_dgemm(
    int order, int ta, int tb, int m, int n, int k, double alpha, const double* a, int lda, const double* b, int ldb,
    double beta, double* c, int ldc) {
  runtime::gemm(order, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

EXPORTED void cblas_cgemm(
    int order, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int lda, const void* b, int ldb,
    const void* beta, void* c, int ldc) {
  using Element = std::complex<float>;
  runtime::gemm(
      order, ta, tb, m, n, k, *static_cast<const Element*>(alpha), static_cast<const Element*>(a), lda,
      static_cast<const Element*>(b), ldb, *static_cast<const Element*>(beta), static_cast<Element*>(c), ldc);
}

#endif
