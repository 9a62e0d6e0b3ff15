/* Everything for one instruction set, in both precisions; what has its sums in double takes them from that one. */
#define PRECISION double
#define REAL double
#define LARGEST_EXPONENT 1400
#define ROUNDING 6755399441055744.0 /* 1.5 2^52 */
#define SQRT sqrt
#define ABS __builtin_fabs
#define COPYSIGN __builtin_copysign
#define ERF erf
#ifdef HAS_FMA
#define FMA(a, b, c) __builtin_fma(a, b, c)
#else
#define FMA(a, b, c) ((a) * (b) + (c))
#endif
#include "precision.h"
#undef PRECISION
#undef REAL
#undef LARGEST_EXPONENT
#undef ROUNDING
#undef SQRT
#undef ABS
#undef COPYSIGN
#undef ERF
#undef FMA

#define SINGLE
#define PRECISION float
#define REAL float
#define LARGEST_EXPONENT 150
#define ROUNDING 12582912.0f /* 1.5 2^23: adding and taking it away rounds to whole numbers */
#define SQRT sqrtf
#define ABS __builtin_fabsf
#define COPYSIGN __builtin_copysignf
#define ERF erff
#ifdef HAS_FMA
#define FMA(a, b, c) __builtin_fmaf(a, b, c)
#else
#define FMA(a, b, c) ((a) * (b) + (c))
#endif
#include "precision.h"
#undef SINGLE
#undef PRECISION
#undef REAL
#undef LARGEST_EXPONENT
#undef ROUNDING
#undef SQRT
#undef ABS
#undef COPYSIGN
#undef ERF
#undef FMA
