#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "kernels.h"

#define VECTOR_BYTES 16
#define TILE_VECTORS 4
#ifdef __aarch64__
#define TILE_ROWS 6
#else
#define TILE_ROWS 2
#endif
#define KERNELS generic_kernels
#include "attention.inc"
#include "kernels.inc"
