#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

// The layer between Node and MLX's CPU backend: threads, matrix products, allocation, process exit. Each subject has its own
// file. Outside Linux only the declarations remain.
namespace runtime {

// Thrown inside an evaluation whose cancel flag is set. Derives from runtime_error because MLX's stream threads only
// propagate std::exception.
struct Cancelled : std::runtime_error {
  Cancelled() : std::runtime_error("the evaluation was cancelled") {}
};

// threads.cc: the threads that share the work, and its cancellation.
// Sets the cancel flag for work started by the calling thread (of an MLX stream).
void bind_cancel_flag(const std::atomic<bool>* flag);
// Throws Cancelled if the flag of the calling thread is set.
void check_cancelled();
// Runs tasks 0 to tasks-1 on this thread and those of the pool. Throws Cancelled if the flag of the calling thread is
// set, or what a task threw.
void parallel(int tasks, const std::function<void(int)>& run);
// The number of threads that share the work. Setting it affects the whole process from the next product on.
int thread_count();
void set_thread_count(int count);

// blas.cc: cblas_{s,d,c}gemm for MLX, on OpenBLAS and these threads.
struct BlasInfo {
  std::string name;
  int threads;
  uint64_t calls;
};
BlasInfo blas_info();
// Computes C = alpha op(A) op(B) + beta C, row-major, on the calling thread only. For use inside tasks.
void sgemm_alone(
    bool transpose_a, bool transpose_b, int m, int n, int k, float alpha, const float* a, int lda, const float* b,
    int ldb, float beta, float* c, int ldc);
// Waits for running products and prevents new ones. For process exit.
void close_gate();

// allocator.cc: MLX's CPU allocator with a hard limit, and with errors where the original crashes.
// Formats a size: "1.8 GB (1792000064 bytes)".
std::string readable_size(size_t bytes);
size_t set_memory_limit(size_t bytes);
// Returns free memory of the C heap to the system.
void trim_heap();

// lifecycle.cc: checks of the libraries at load time, and process exit.
std::string library_path();
// Throws if the addon is bound to a different MLX than it was built for.
void verify_library();
// Multiplies two small matrices on the CPU and throws if MLX does not use our BLAS. Afterwards MLX's process-wide state
// exists.
void verify_blas();
// Call after verify_blas: exit handlers run in reverse order, and MLX's destructors must not run at all.
void install_process_exit();

}  // namespace runtime
