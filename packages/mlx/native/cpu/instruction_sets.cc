#include "kernels.h"

#ifdef __linux__

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

// Which kernels this processor runs.

namespace cpu {
namespace {

struct InstructionSet {
  const char* name;
  // Whether the processor has it, and whether the next one would not be faster there.
  bool present, fastest;
  const Kernels* kernels;
  const AttentionKernel* bfloat16;
  // Those for narrow weights come first.
  std::vector<const IntegerKernels*> integers;
};

// The later ones run wherever an earlier one does.
std::vector<InstructionSet> all_sets() {
#ifdef __x86_64__
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("bmi2");
  const auto* bfloat16 = __builtin_cpu_supports("avx512bf16") ? &bfloat16_attention_kernel : nullptr;
  return {
      // Intel's servers have as many units for products of bytes as for additions, and gain nothing by pairs.
      {"avx512-pairs", vnni, static_cast<bool>(__builtin_cpu_is("amd")), &avx512_kernels, bfloat16,
       {&vnni_pair_kernels, &vnni_kernels}},
      {"avx512", avx512, true, &avx512_kernels, bfloat16, {vnni ? &vnni_kernels : &avx2_integer_kernels}},
      {"avx2-vnni", avx2 && __builtin_cpu_supports("avxvnni"), true, &avx2_kernels, nullptr, {&avx2_vnni_kernels}},
      {"avx2", avx2, true, &avx2_kernels, nullptr, {&avx2_integer_kernels}},
      {"generic", true, true, &generic_kernels, nullptr, {}},
  };
#else
  return {{"generic", true, true, &generic_kernels, nullptr, {}}};
#endif
}

// MFLUX_DEPTH_ISA names one; what the processor lacks of it, the next one stands for.
const InstructionSet& chosen() {
  static const InstructionSet choice = [] {
    const char* wish = std::getenv("MFLUX_DEPTH_ISA");
    bool wished = !wish || !*wish;
    std::string names;
    for (auto& set : all_sets()) {
      const bool named = wish && set.name == std::string(wish);
      wished = wished || named;
      if (wished && set.present && (set.fastest || named)) return set;
      names += (names.empty() ? "" : ", ") + std::string(set.name);
    }
    throw std::invalid_argument(
        "MFLUX_DEPTH_ISA is \"" + std::string(wish) + "\"; leave it out, or name one of " + names);
  }();
  return choice;
}

}  // namespace

const char* instruction_set() {
  return chosen().name;
}

const Kernels& kernels() {
  return *chosen().kernels;
}

const AttentionKernel* bfloat16_attention() {
  return chosen().bfloat16;
}

const IntegerKernels* integer_kernels(int bits) {
  for (auto* kernels : chosen().integers) {
    if (bits <= kernels->most_bits) return kernels;
  }
  return nullptr;
}

}  // namespace cpu

#endif
