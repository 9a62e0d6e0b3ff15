/* Increasing maps of all real values whose slopes have bounds: monotone networks and polynomials, on T lanes.
 *
 * All is in double, whatever the precision of a call: a value is rounded once, however many terms it is the sum of. A formula has four
 * parts: `ready` bounds the parameters; `curve` gives value, slope and, where the gradient asks, bend (the second derivative) at x; `back`
 * takes cotangents of the value and of the logarithm of the slope to the bounded parameters; and `settle` takes those to the parameters.
 * What follows from these (the way back, gradients of either way with respect to x, rounding) is here, once. */

#define DN(name) JOIN(name, double, SET)
#define FAR_VALUE 1e290 /* infinity is mapped to itself, with the slope that there is out here: no formula gets it */

#ifndef SINGLE
INLINE double DN(bounded)(double x, double bound) { return DN(soft)(x, 2 / M_PI * bound, M_PI / 2 / bound); }
INLINE double DN(bounded_slope)(double x, double bound) { return DN(soft_slope)(x, M_PI / 2 / bound); }
INLINE double DN(loc_slope)(double loc) { return ABS(loc) <= 1e8 ? 1 : 0; }

#include "network.h"
#include "sigmoids.h"
#include "polynomials.h"

static void DN(ready)(const Kind *kind, const double *raw, double *q) {
  if (kind->code == MONOTONIC_NETWORK) DN(network_ready)(kind, raw, q);
  else if (is_sigmoids(kind)) DN(sigmoids_ready)(kind, raw, q);
  else DN(polynomial_ready)(kind, raw, q);
}

static void DN(curve)(const Kind *kind, const int keep, const double *q, const double *x, Curve *c, double *tape) {
  if (kind->code == MONOTONIC_NETWORK) DN(network_curve)(kind, keep, q, x, c, tape);
  else if (is_sigmoids(kind)) DN(sigmoids_curve)(kind, keep, q, x, c, tape);
  else DN(polynomial_curve)(kind, keep, q, x, c, tape);
}

static void DN(back)(const Kind *kind, const double *q, const double *x, const double *gy, const double *gl, const Curve *c, double *tape, double *gq) {
  if (kind->code == MONOTONIC_NETWORK) DN(network_back)(kind, q, x, gy, gl, c, tape, gq);
  else if (is_sigmoids(kind)) DN(sigmoids_back)(kind, q, x, gy, gl, tape, gq);
  else DN(polynomial_back)(kind, q, x, gy, gl, c, tape, gq);
}

static void DN(settle)(const Kind *kind, const double *raw, const double *q, const double *gq, double *graw) {
  if (kind->code == MONOTONIC_NETWORK) DN(network_settle)(kind, raw, q, gq, graw);
  else if (is_sigmoids(kind)) DN(sigmoids_settle)(kind, raw, q, gq, graw);
  else DN(polynomial_settle)(kind, raw, q, gq, graw);
}

#define MOST_STEPS 400
#define LARGEST 1e305
#define CLOSE 1e-9 /* a Newton step of this size ends within roundings; another follows all the same */

/* Solves y(x) = target: Newton's method between the nearest places that are known to lie below and above. Steps that come from one side
 * for long grow, and where steps shrink slowly every third halves the bracket. A lane whose step is small takes it and one more, and stays
 * there whatever the others do; `c` has the place as its value, and the slope there. */
static void DN(root)(const Kind *kind, const double *restrict q, const double *restrict target, Curve *restrict c, double *restrict tape) {
  Curve now;
  double *restrict x = c->y, low[T], high[T], last[T], grown[T], state[T]; /* 0: it seeks, 1: a step is left, 2: it is there */
  LANES {
    x[i] = target[i];
    low[i] = -LARGEST;
    high[i] = last[i] = LARGEST;
    grown[i] = 1.0 / 16;
    state[i] = 0;
  }
  for (int step = 0; step < MOST_STEPS; step++) {
    DN(curve)(kind, 0, q, x, &now, tape);
    const int turn = step % 3 == 2;
    double seeking = 0;
    LANES {
      const double gap = target[i] - now.y[i], newton = gap / now.slope[i], size = ABS(newton), from = x[i];
      low[i] = gap > 0 ? from : low[i];
      high[i] = gap > 0 ? high[i] : from;
      const int open = low[i] == -LARGEST || high[i] == LARGEST;
      const double to = from + (open && grown[i] > 1 ? grown[i] * newton : newton);
      const int inside = to > low[i] && to < high[i] && (open || !turn || size <= 0.5 * last[i]);
      /* No number is near: it stays none. */
      const int near = state[i] == 1 || !(size > CLOSE * (1 + ABS(from)));
      const double next = near ? from + newton : (inside ? to : 0.5 * low[i] + 0.5 * high[i]);
      x[i] = state[i] == 2 ? from : next;
      c->slope[i] = state[i] == 2 ? c->slope[i] : now.slope[i];
      grown[i] = open ? 2 * grown[i] : 1;
      last[i] = size;
      state[i] = state[i] == 0 ? (near ? 1.0 : 0.0) : 2.0;
      seeking += 2 - state[i];
    }
    if (seeking == 0) break;
  }
}
#endif

/* Planes of a tile in double, and what the formula makes of them; they stand first in the work space. */
INLINE double *FN(monotone_ready)(const Kind *kind, const REAL *restrict p, Int stride, double *restrict raw, Int fresh) {
  const Int count = parameters_of(kind);
  double *q = raw + count * T;
  for (Int j = 0; fresh && j < count; j++) LANES { raw[j * T + i] = (double)p[j * stride + i]; }
  if (fresh) DN(ready)(kind, raw, q);
  return q;
}

INLINE int FN(is_infinite)(REAL x) { return ABS(x) == (REAL)INFINITY; }
INLINE double FN(reachable)(REAL x) { return FN(is_infinite)(x) ? (x < 0 ? -FAR_VALUE : FAR_VALUE) : (double)x; }

static void FN(monotone_value)(const Kind *kind, const REAL *restrict p, Int stride, const REAL *restrict in, REAL *restrict out,
                               REAL *restrict ladj, REAL *work, Int fresh) {
  double *raw = (double *)work, *q = FN(monotone_ready)(kind, p, stride, raw, fresh), *tape = q + bounded_of(kind) * T;
  const double sign = kind->inverse ? -1 : 1;
  double given[T];
  Curve c;
  LANES { given[i] = FN(reachable)(in[i]); }
  if (kind->inverse) DN(root)(kind, q, given, &c, tape);
  else DN(curve)(kind, 0, q, given, &c, tape);
  LANES {
    out[i] = FN(is_infinite)(in[i]) ? in[i] : (REAL)c.y[i];
    ladj[i] = (REAL)(sign * DN(log)(c.slope[i]));
  }
}

/* x is the base side. Of the inverse, x = f^-1(y) and ladj = -log f'(x), the cotangents are turned as in spline.h. */
static void FN(monotone_grad)(const Kind *kind, const REAL *restrict p, Int stride, const REAL *restrict x, const REAL *restrict g,
                              const REAL *restrict gl, REAL *restrict gin, REAL *restrict gp, Int gstride, REAL *work, Int fresh) {
  const Int count = parameters_of(kind), bounded = bounded_of(kind);
  double *raw = (double *)work, *q = FN(monotone_ready)(kind, p, stride, raw, fresh);
  double *gq = q + bounded * T, *graw = gq + bounded * T, *tape = graw + count * T;
  double at[T], of_y[T], of_slope[T];
  Curve c;
  LANES { at[i] = FN(reachable)(x[i]); }
  DN(curve)(kind, 1, q, at, &c, tape);
  LANES {
    const int infinite = FN(is_infinite)(x[i]);
    const double own = infinite ? 0 : (double)g[i], bend = infinite ? 0 : c.bend[i] / c.slope[i];
    of_slope[i] = kind->inverse ? -(double)gl[i] : (double)gl[i];
    of_y[i] = kind->inverse ? -(own + of_slope[i] * bend) / c.slope[i] : own;
    const double through = kind->inverse ? -of_y[i] : of_y[i] * c.slope[i] + of_slope[i] * bend;
    gin[i] = infinite ? g[i] : (REAL)through;
  }
  DN(back)(kind, q, at, of_y, of_slope, &c, tape, gq);
  DN(settle)(kind, raw, q, gq, graw);
  for (Int j = 0; j < count; j++) LANES { gp[j * gstride + i] = (REAL)graw[j * T + i]; }
}
#undef DN
