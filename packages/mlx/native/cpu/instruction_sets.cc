#include "kernels.h"

#ifdef __linux__

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#ifdef __x86_64__
#include <cpuid.h>
#endif

// Selects the kernels for this processor.

namespace cpu {
namespace {

struct InstructionSet {
  const char* name;
  // Whether the processor has the set, and whether no later set is faster on it.
  bool present, fastest;
  const Kernels* kernels;
  const AttentionKernel* bfloat16;
  // Kernels for narrow weights come first.
  std::vector<const IntegerKernels*> integers;
};

// A set also runs wherever an earlier one does.
std::vector<InstructionSet> all_sets() {
#ifdef __x86_64__
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("bmi2");
  const auto* bfloat16 = __builtin_cpu_supports("avx512bf16") ? &bfloat16_attention_kernel : nullptr;
  return {
      // Intel's servers have as many units for byte products as for additions, so pairs gain nothing on them.
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

// MFLUX_DEPTH_ISA names a set. If the processor lacks it, the next one is used.
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
        "MFLUX_DEPTH_ISA is \"" + std::string(wish) + "\"; unset it, or set it to one of " + names);
  }();
  return choice;
}

}  // namespace

const char* instruction_set() {
  return chosen().name;
}

std::string processor() {
#ifdef __x86_64__
  unsigned most, signature, unused, words[3];
  __cpuid(0, most, words[0], words[2], words[1]);
  char vendor[13] = {};
  std::memcpy(vendor, words, 12);
  __cpuid(1, signature, unused, unused, unused);
  // The extended fields count only for the base values that announce them.
  unsigned family = signature >> 8 & 0xf, model = signature >> 4 & 0xf;
  if (family == 0xf || family == 6) model += signature >> 12 & 0xf0;
  if (family == 0xf) family += signature >> 20 & 0xff;
  char name[32];
  std::snprintf(name, sizeof name, "%s-%X-%X", vendor, family, model);
  return name;
#else
  return "none";
#endif
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
