#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "kernels.h"

#ifdef __x86_64__
#include <immintrin.h>

#pragma GCC target("avx2,fma,prfchw")
#define VECTOR_BYTES 32
#define TILE_ROWS 4
#define TILE_VECTORS 3
#define KERNELS avx2_kernels
#include "attention.inc"
#include "kernels.inc"
#endif
