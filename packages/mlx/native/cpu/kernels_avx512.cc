#include <cmath>
#include <cstring>
#include <limits>

#include "kernels.h"

#ifdef __x86_64__
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")
#define KERNELS avx512_kernels
#define KERNELS_NAME "avx512"
#include "kernels.inc"
#endif
