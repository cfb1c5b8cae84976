#include <cmath>
#include <cstring>
#include <limits>

#include "kernels.h"

#define KERNELS generic_kernels
#define KERNELS_NAME "generic"
#include "kernels.inc"
