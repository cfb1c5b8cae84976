#pragma once

#include <string>

namespace cpu {

// Operations a second that all threads reach together in a loop over registers alone: the most that kernels of the
// chosen instruction set can have. "float32": multiply-adds; "bfloat16": products added up in float32; "int8": products
// of 8 bits added up in 32. 0 where the machine lacks the instruction.
double peak_rate(const std::string& kind);

}  // namespace cpu
