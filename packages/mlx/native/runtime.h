#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

// What stands between Node and MLX's CPU backend: matrix products, allocation, the end of the process.
// Each part has its own file; off Linux all but the declarations fall away.
namespace runtime {

// Thrown inside an evaluation whose cancel flag is set; derives from runtime_error because MLX's stream threads
// pass on only std::exception.
struct Cancelled : std::runtime_error {
  Cancelled() : std::runtime_error("the evaluation was cancelled") {}
};

// blas.cc: cblas_{s,d,c}gemm for MLX, over OpenBLAS and a thread pool of ours.
struct BlasInfo {
  std::string name;
  int threads;
  uint64_t calls;
};
BlasInfo blas_info();
// Sets the flag that matrix products started on the calling thread look at (the thread of an MLX stream).
void bind_cancel_flag(const std::atomic<bool>* flag);
// Throws Cancelled when the calling thread's flag is set.
void check_cancelled();
// Runs tasks 0 to tasks-1 on the pool's threads and this one; throws Cancelled when the calling thread's flag is set.
// Tasks must not throw.
void parallel(int tasks, const std::function<void(int)>& run);
// How many threads share the work; from the next product on when it is set, for the whole process.
int thread_count();
void set_thread_count(int count);
// C = alpha op(A) op(B) + beta C, row by row in memory, on the calling thread alone: for use inside tasks.
void sgemm_alone(
    bool transpose_a, bool transpose_b, int m, int n, int k, float alpha, const float* a, int lda, const float* b,
    int ldb, float beta, float* c, int ldc);
// Waits for the products that run and lets no other begin, for the end of the process.
void close_gate();

// allocator.cc: MLX's CPU allocator with a hard limit and with errors where the original crashes.
size_t set_memory_limit(size_t bytes);
// Hands free memory of the C heap back to the system.
void trim_heap();

// lifecycle.cc: which MLX this is, and the last word at process end.
std::string library_path();
// Throws when the addon is bound to another MLX than the one it was built for.
void verify_library();
// Multiplies two small matrices on the CPU and throws when that did not come to our BLAS. What MLX makes once a
// process exists afterwards.
void verify_blas();
// To be called after that: handlers run in the reverse order, and MLX's destructors must not run at all.
void install_process_exit();

}  // namespace runtime
