#include <cmath>
#include <cstring>
#include <limits>

#include "kernels.h"

#ifdef __x86_64__
#pragma GCC target("avx2,fma")
#define KERNELS avx2_kernels
#define KERNELS_NAME "avx2"
#include "kernels.inc"
#endif
