/* exp, log and arctan without branches, so that loops over lanes vectorise: within 2 units in the last place.
 * Polynomials: near-minimax (Chebyshev) fits; their errors stand beside them. NaN in gives NaN out. */

/* 2^n for a whole number n: put into the exponent by adding it, so that no conversion to 64-bit integers is needed. */
INLINE REAL FN(two_to)(REAL n) {
#ifdef SINGLE
  union { float f; uint32_t i; } u = {n + (ROUNDING + 127)};
  u.i <<= 23;
#else
  union { double f; uint64_t i; } u = {n + (ROUNDING + 1023)};
  u.i <<= 52;
#endif
  return u.f;
}

/* exp(x) = p 2^n: x = n log 2 + r with |r| <= log(2)/2, p = exp r. */
INLINE REAL FN(exp_parts)(REAL x, REAL *n_out) {
#ifdef SINGLE
  float n = FMA(x, 1.442695041f, ROUNDING) - ROUNDING;
  float r = FMA(n, -0.693145752f, x); /* the first 16 bits of log 2, so that n times it is exact */
  r = FMA(n, -1.42860677e-6f, r);
  float p = 0.0013941108434f; /* 2e-9 */
  p = FMA(p, r, 0.0083751263982f);
  p = FMA(p, r, 0.0416663528968f);
  p = FMA(p, r, 0.1666641551465f);
  p = FMA(p, r, 0.5000000047118f);
#else
  double n = FMA(x, 1.4426950408889634074, ROUNDING) - ROUNDING;
  double r = FMA(n, -6.93147180369123816490e-01, x);
  r = FMA(n, -1.90821492927058770002e-10, r);
  double p = 2.0921579964950300e-9; /* 4e-20 */
  p = FMA(p, r, 2.5114869528657765e-8);
  p = FMA(p, r, 2.7557251904174913e-7);
  p = FMA(p, r, 2.7557224958392623e-6);
  p = FMA(p, r, 2.4801587350110796e-5);
  p = FMA(p, r, 1.9841269909217101e-4);
  p = FMA(p, r, 1.3888888888871888e-3);
  p = FMA(p, r, 8.3333333333095271e-3);
  p = FMA(p, r, 4.1666666666666692e-2);
  p = FMA(p, r, 1.6666666666666702e-1);
  p = FMA(p, r, 0.5);
#endif
  *n_out = n;
  return FMA(p * r, r, r) + 1;
}

/* exp for |x| <= 80. */
INLINE REAL FN(exp_near)(REAL x) {
  REAL n, p = FN(exp_parts)(x, &n);
  return p * FN(two_to)(n);
}

/* exp for any x: the power of two in two halves, so that the product overflows to infinity and underflows to zero by itself. */
INLINE REAL FN(exp_any)(REAL x) {
  const REAL limit = LARGEST_EXPONENT;
  REAL n, p = FN(exp_parts)(x > limit ? limit : (x < -limit ? -limit : x), &n);
  REAL half = ((REAL)0.5 * n + ROUNDING) - ROUNDING;
  return p * FN(two_to)(half) * FN(two_to)(n - half);
}

/* log of a positive normal number: x = 2^k m, m in [sqrt(1/2), sqrt 2), log m = 2 artanh s, s = (m-1)/(m+1). */
INLINE REAL FN(log)(REAL x) {
#ifdef SINGLE
  union { float f; uint32_t i; } u = {x};
  const int32_t k = (int32_t)(u.i - 0x3f3504f3u) >> 23;
  u.i -= (uint32_t)k << 23;
  float s = (u.f - 1.0f) / (u.f + 1.0f), z = s * s;
  float p = 0.1166523360815f; /* 6e-10 */
  p = FMA(p, z, 0.1427541040798f);
  p = FMA(p, z, 0.2000006091990f);
  p = FMA(p, z, 0.3333333327725f);
  float n = (float)k, t = 2.0f * s;
  return FMA(n, 0.693145752f, FMA(n, 1.42860677e-6f, FMA(t * z, p, t))) + (x - x);
#else
  union { double f; uint64_t i; } u = {x};
  /* An arithmetic shift of 64 bits has no vector instruction before AVX-512; one of an offset, unsigned number has. */
  const int64_t k = (int64_t)((u.i - 0x3fe6a09e667f3bcdull + (1023ull << 52)) >> 52) - 1023;
  u.i -= (uint64_t)k << 52;
  double s = (u.f - 1.0) / (u.f + 1.0), z = s * s;
  double p = 0.059409986014807291; /* 7e-21 */
  p = FMA(p, z, 0.058440618214315554);
  p = FMA(p, z, 0.066678193349199111);
  p = FMA(p, z, 0.076922875661650487);
  p = FMA(p, z, 0.090909092968283815);
  p = FMA(p, z, 0.11111111109929368);
  p = FMA(p, z, 0.14285714285717680);
  p = FMA(p, z, 0.19999999999999996);
  p = FMA(p, z, 0.33333333333333333);
  double n = (double)k, t = 2.0 * s;
  return FMA(n, 6.93147180369123816490e-01, FMA(n, 1.90821492927058770002e-10, FMA(t * z, p, t))) + (x - x);
#endif
}

/* c ? a : b by bits: of a condition the compiler makes two polynomials, or two divisions, one for each side, and selects at the end. */
INLINE REAL FN(chosen)(int c, REAL a, REAL b) {
#ifdef SINGLE
  union { float f; uint32_t i; } x = {a}, y = {b}, z;
  const uint32_t mask = 0u - (uint32_t)c;
#else
  union { double f; uint64_t i; } x = {a}, y = {b}, z;
  const uint64_t mask = 0u - (uint64_t)c;
#endif
  z.i = (x.i & mask) | (y.i & ~mask);
  return z.f;
}

/* arctan by reduction to |t| <= 1 (float) or tan(pi/8) (double). */
INLINE REAL FN(atan)(REAL x) {
#ifdef SINGLE
  float a = ABS(x);
  int far = a > 1.0f;
  float t = FN(chosen)(far, 1.0f, a) / FN(chosen)(far, a, 1.0f), z = t * t;
  float p = -0.0023869973167f; /* 2e-8 */
  p = FMA(p, z, 0.013507771427f);
  p = FMA(p, z, -0.035871538982f);
  p = FMA(p, z, 0.062501694447f);
  p = FMA(p, z, -0.086568804302f);
  p = FMA(p, z, 0.11033764115f);
  p = FMA(p, z, -0.14278568748f);
  p = FMA(p, z, 0.1999973933f);
  p = FMA(p, z, -0.33333331733f);
  float r = FMA(t * z, p, t);
  return COPYSIGN(far ? 1.57079632679f - r : r, x);
#else
  const double low = 0.41421356237309504880, high = 2.41421356237309504880;
  double a = ABS(x);
  int far = a > high, beyond = a > low;
  double base = far ? 1.57079632679489661923 : (beyond ? 0.78539816339744830962 : 0);
  double t = FN(chosen)(far, -1, FN(chosen)(beyond, a - 1, a)) / FN(chosen)(far, a, FN(chosen)(beyond, a + 1, 1)), z = t * t;
  double p = 0.016285756855221028; /* 1e-18 */
  p = FMA(p, z, -0.034570561981427747);
  p = FMA(p, z, 0.045515932206265492);
  p = FMA(p, z, -0.052304542706502445);
  p = FMA(p, z, 0.058789289978347751);
  p = FMA(p, z, -0.066664248857382553);
  p = FMA(p, z, 0.076922963750321424);
  p = FMA(p, z, -0.090909087535008768);
  p = FMA(p, z, 0.11111111105155447);
  p = FMA(p, z, -0.14285714285659828);
  p = FMA(p, z, 0.19999999999999805);
  p = FMA(p, z, -0.33333333333333332);
  return COPYSIGN(base + FMA(t * z, p, t), x);
#endif
}

/* The smooth bound of numerics.soft_clamp, 2b/pi arctan(pi x / 2b), and its slope. */
INLINE REAL FN(soft)(REAL x, REAL scale, REAL inverse) { return scale * FN(atan)(x * inverse); }
INLINE REAL FN(soft_slope)(REAL x, REAL inverse) {
  REAL t = x * inverse;
  return 1 / FMA(t, t, (REAL)1);
}
