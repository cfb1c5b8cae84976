#pragma once

#include <string>

namespace cpu {

// Measures the operations per second of all threads in a loop over registers, an upper bound for kernels of the chosen
// instruction set. "float32": multiply-adds; "bfloat16": products summed in float32; "int8": 8-bit products summed in
// 32 bits. Returns 0 if the machine lacks the instruction.
double peak_rate(const std::string& kind);

}  // namespace cpu
