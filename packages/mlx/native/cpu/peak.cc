#include "peak.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>

#ifdef __linux__

#include "../runtime.h"
#include "kernels.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace cpu {
namespace {

// Independent sums, enough for two units with a latency of five cycles. Each starts with a different value, because the
// compiler would merge equal ones.
constexpr int chains = 12;

// Runs `rounds` steps of every chain and returns the number of operations.
using Loop = double (*)(size_t rounds);

#ifdef __x86_64__

__attribute__((target("avx512f"))) double multiply_add_avx512(size_t rounds) {
  const __m512 half = _mm512_set1_ps(0.5f);
  __m512 sums[chains];
  for (int i = 0; i < chains; i++) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  for (size_t round = 0; round < rounds; round++) {
#pragma GCC unroll 12
    for (auto& sum : sums) sum = _mm512_fmadd_ps(sum, half, half);
  }
  __m512 total = sums[0];
  for (int i = 1; i < chains; i++) total = _mm512_add_ps(total, sums[i]);
  asm volatile("" : : "v"(total));
  return static_cast<double>(rounds) * chains * 16 * 2;
}

__attribute__((target("avx2,fma"))) double multiply_add_avx2(size_t rounds) {
  const __m256 half = _mm256_set1_ps(0.5f);
  __m256 sums[chains];
  for (int i = 0; i < chains; i++) sums[i] = _mm256_set1_ps(static_cast<float>(i));
  for (size_t round = 0; round < rounds; round++) {
#pragma GCC unroll 12
    for (auto& sum : sums) sum = _mm256_fmadd_ps(sum, half, half);
  }
  __m256 total = sums[0];
  for (int i = 1; i < chains; i++) total = _mm256_add_ps(total, sums[i]);
  asm volatile("" : : "x"(total));
  return static_cast<double>(rounds) * chains * 8 * 2;
}

__attribute__((target("avx512f,avx512vnni"))) double dot_vnni(size_t rounds) {
  __m512i ones = _mm512_set1_epi8(1);
  asm volatile("" : "+v"(ones));
  __m512i sums[chains];
  for (int i = 0; i < chains; i++) sums[i] = _mm512_set1_epi32(i);
  for (size_t round = 0; round < rounds; round++) {
#pragma GCC unroll 12
    for (auto& sum : sums) sum = _mm512_dpbusd_epi32(sum, ones, ones);
  }
  __m512i total = sums[0];
  for (int i = 1; i < chains; i++) total = _mm512_add_epi32(total, sums[i]);
  asm volatile("" : : "v"(total));
  return static_cast<double>(rounds) * chains * 64 * 2;
}

__attribute__((target("avx512f,avx512bf16"))) double dot_bfloat16(size_t rounds) {
  const __m512bh halves = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.5f));
  __m512 sums[chains];
  for (int i = 0; i < chains; i++) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  for (size_t round = 0; round < rounds; round++) {
#pragma GCC unroll 12
    for (auto& sum : sums) sum = _mm512_dpbf16_ps(sum, halves, halves);
  }
  __m512 total = sums[0];
  for (int i = 1; i < chains; i++) total = _mm512_add_ps(total, sums[i]);
  asm volatile("" : : "v"(total));
  return static_cast<double>(rounds) * chains * 32 * 2;
}

#endif

Loop loop_of([[maybe_unused]] const std::string& kind) {
#ifdef __x86_64__
  const bool avx512 = &kernels() == &avx512_kernels;
  if (kind == "float32" && avx512) return multiply_add_avx512;
  if (kind == "float32" && &kernels() == &avx2_kernels) return multiply_add_avx2;
  if (kind == "bfloat16" && avx512 && __builtin_cpu_supports("avx512bf16")) return dot_bfloat16;
  if (kind == "int8" && avx512 && __builtin_cpu_supports("avx512vnni")) return dot_vnni;
#endif
  return nullptr;
}

}  // namespace

double peak_rate(const std::string& kind) {
  if (kind != "float32" && kind != "bfloat16" && kind != "int8") {
    throw std::invalid_argument("unknown arithmetic \"" + kind + "\"");
  }
  const Loop loop = loop_of(kind);
  if (!loop) return 0;
  using Clock = std::chrono::steady_clock;
  double best = 0;
  // Ten trials of about 5 ms; the best one is the least disturbed.
  for (int trial = 0; trial < 10; trial++) {
    const int tasks = runtime::thread_count();
    double operations = 0;
    const auto start = Clock::now();
    runtime::parallel(tasks, [&](int task) {
      const double done = loop(1'000'000);
      if (task == 0) operations = done * tasks;
    });
    const std::chrono::duration<double> taken = Clock::now() - start;
    best = std::max(best, operations / taken.count());
  }
  return best;
}

}  // namespace cpu

#else

namespace cpu {

double peak_rate(const std::string&) {
  return 0;
}

}  // namespace cpu

#endif
