/* One layer of a deep sigmoidal map, as kernels/neural.py has it; bounded: K slopes, K shifts, K shares.
 *
 * With P and Q the sums of w sigmoid(z) and w sigmoid(-z), y = log P - log Q. Far out one of them is nothing, so all is measured from a
 * shift c: the least z where all are positive, the largest where all are negative, 0 between. With u = e^(z - c) and h = e^-|c|, P and Q
 * are the sums of w p and w q, p = u q, q = 1 / (u + h) or, below zero, 1 / (1 + h u), and h times one of them is scaled. The hyperbolic
 * tangent is a sigmoid of 2 z, and half of y. */

#define SCALE_BOUND 2.0
#define SHARE_BOUND 3.0
#define FAR_EXPONENT 690.0 /* e to it and its square's root are normal numbers */

INLINE double DN(shift_bound)(const Kind *kind) { return kind->code == DEEP_TANH ? 3.0 : 6.0; }
INLINE double DN(sigmoid_factor)(const Kind *kind) { return kind->code == DEEP_TANH ? 2.0 : 1.0; }

static void DN(sigmoids_ready)(const Kind *kind, const double *restrict raw, double *restrict q) {
  const Int K = kind->bins;
  const double factor = DN(sigmoid_factor)(kind), reach = DN(shift_bound)(kind);
  double total[T];
  LANES { total[i] = 0; }
  for (Int k = 0; k < K; k++) {
    LANES { q[k * T + i] = factor * DN(exp_near)(DN(bounded)(raw[k * T + i], SCALE_BOUND)); }
    LANES { q[(K + k) * T + i] = factor * DN(bounded)(raw[(K + k) * T + i], reach); }
    LANES {
      const double share = DN(exp_near)(DN(bounded)(raw[(2 * K + k) * T + i], SHARE_BOUND));
      q[(2 * K + k) * T + i] = share;
      total[i] += share;
    }
  }
  LANES { total[i] = 1 / total[i]; }
  for (Int k = 2 * K; k < 3 * K; k++) LANES { q[k * T + i] *= total[i]; }
}

/* p and q of each unit; then P, Q, the sum of w a p q, what h is of p and of q, and a at the unit whose z is c. */

INLINE void DN(sigmoids_curve_as)(const Kind *kind, const int keep, const double *restrict q, const double *restrict x,
                                  Curve *restrict c, double *restrict tape) {
  const Int K = kind->bins;
  const double *restrict a = q, *restrict b = q + K * T, *restrict w = b + K * T, part = 1 / DN(sigmoid_factor)(kind);
  double *restrict rest = tape + 2 * K * T;
  double least[T], most[T], at_least[T], at_most[T], shift[T], h[T], below[T], P[T], Q[T], N[T], M[T];
  LANES {
    least[i] = most[i] = FMA(a[i], x[i], b[i]);
    at_least[i] = at_most[i] = a[i];
  }
  for (Int k = 1; k < K; k++)
    LANES {
      const double z = FMA(a[k * T + i], x[i], b[k * T + i]);
      at_least[i] = z < least[i] ? a[k * T + i] : at_least[i];
      least[i] = z < least[i] ? z : least[i];
      at_most[i] = z > most[i] ? a[k * T + i] : at_most[i];
      most[i] = z > most[i] ? z : most[i];
    }
  LANES {
    shift[i] = least[i] > 0 ? least[i] : (most[i] < 0 ? most[i] : 0);
    const double size = shift[i] < 0 ? shift[i] : -shift[i];
    h[i] = DN(exp_near)(size < -FAR_EXPONENT ? -FAR_EXPONENT : size);
    below[i] = shift[i] < 0 ? 1 : 0;
    P[i] = Q[i] = N[i] = M[i] = 0;
  }
  for (Int k = 0; k < K; k++) {
    const double *restrict ak = a + k * T, *restrict bk = b + k * T, *restrict wk = w + k * T;
    double *restrict ps = tape + k * T, *restrict qs = ps + K * T;
    LANES {
      double z = FMA(ak[i], x[i], bk[i]) - shift[i];
      z = z > FAR_EXPONENT ? FAR_EXPONENT : (z < -FAR_EXPONENT ? -FAR_EXPONENT : z);
      const double u = DN(exp_near)(z), qk = 1 / (below[i] ? FMA(h[i], u, 1.0) : u + h[i]), pk = u * qk;
      const double n = wk[i] * ak[i] * pk * qk;
      P[i] = FMA(wk[i], pk, P[i]);
      Q[i] = FMA(wk[i], qk, Q[i]);
      N[i] += n;
      if (keep) {
        ps[i] = pk;
        qs[i] = qk;
        M[i] += n * ak[i] * (below[i] ? qk - h[i] * pk : h[i] * qk - pk);
      }
    }
  }
  LANES {
    c->y[i] = part * (shift[i] + DN(log)(P[i] / Q[i]));
    c->slope[i] = part * N[i] / (P[i] * Q[i]);
    if (keep) {
      const double of_p = below[i] ? h[i] : 1, of_q = below[i] ? 1 : h[i];
      c->bend[i] = c->slope[i] * (M[i] / N[i] - N[i] * of_q / P[i] + N[i] * of_p / Q[i]);
      rest[i] = P[i];
      rest[T + i] = Q[i];
      rest[2 * T + i] = N[i];
      rest[3 * T + i] = of_p;
      rest[4 * T + i] = of_q;
      rest[5 * T + i] = (below[i] ? at_most[i] : at_least[i]) * (1 / (1 + h[i]));
    }
  }
}

static void DN(sigmoids_curve)(const Kind *kind, const int keep, const double *q, const double *x, Curve *c, double *tape) {
  if (keep) DN(sigmoids_curve_as)(kind, 1, q, x, c, tape);
  else DN(sigmoids_curve_as)(kind, 0, q, x, c, tape);
}

static void DN(sigmoids_back)(const Kind *kind, const double *restrict q, const double *restrict x, const double *restrict gy,
                              const double *restrict gl, const double *restrict tape, double *restrict gq) {
  const Int K = kind->bins;
  const double *restrict a = q, *restrict w = q + 2 * K * T, *restrict ps = tape, *restrict qs = tape + K * T, *restrict rest = tape + 2 * K * T;
  const double *restrict P = rest, *restrict Q = rest + T, *restrict N = rest + 2 * T, *restrict of_p = rest + 3 * T, *restrict of_q = rest + 4 * T, *restrict pivot = rest + 5 * T;
  const double part = 1 / DN(sigmoid_factor)(kind);
  double by_p[T], by_q[T], level[T], of_first[T], of_second[T], of_slope[T];
  LANES { by_p[i] = by_q[i] = 0; }
  /* Far out one unit is all of the mean of a q over P, or of a p over Q, and its own number must be exactly its mean: measured from it. */
  for (Int k = 0; k < K; k++)
    LANES {
      const double ak = a[k * T + i], wk = w[k * T + i], p = ps[k * T + i], r = qs[k * T + i];
      by_p[i] += wk * p * (ak * r - pivot[i]);
      by_q[i] += wk * r * (ak * p - pivot[i]);
    }
  LANES {
    const double g = part * gy[i], L = gl[i];
    by_p[i] /= P[i];
    by_q[i] /= Q[i];
    level[i] = g * (of_q[i] / P[i] + of_p[i] / Q[i]);
    of_first[i] = (g - L) / P[i];
    of_second[i] = (g + L) / Q[i];
    of_slope[i] = L / N[i];
  }
  for (Int k = 0; k < K; k++) {
    double *restrict ga = gq + k * T, *restrict gb = ga + K * T, *restrict gw = gb + K * T;
    LANES {
      const double ak = a[k * T + i], wk = w[k * T + i], p = ps[k * T + i], r = qs[k * T + i], n = wk * p * r;
      const double from_q = by_q[i] - (ak * p - pivot[i]), from_p = by_p[i] - (ak * r - pivot[i]);
      const double gz = n * (level[i] + of_slope[i] * (of_p[i] * from_q - of_q[i] * from_p));
      ga[i] = of_slope[i] * n + x[i] * gz;
      gb[i] = gz;
      /* Of the logarithm of the share: the shares sum to 1, and their gradients, times them, to -L. */
      gw[i] = wk * (of_first[i] * p - of_second[i] * r + of_slope[i] * ak * p * r + gl[i]);
    }
  }
}

static void DN(sigmoids_settle)(const Kind *kind, const double *restrict raw, const double *restrict q, const double *restrict gq,
                                double *restrict graw) {
  const Int K = kind->bins;
  const double factor = DN(sigmoid_factor)(kind), reach = DN(shift_bound)(kind);
  for (Int k = 0; k < K; k++)
    LANES { graw[k * T + i] = gq[k * T + i] * q[k * T + i] * DN(bounded_slope)(raw[k * T + i], SCALE_BOUND); }
  for (Int k = K; k < 2 * K; k++) LANES { graw[k * T + i] = factor * gq[k * T + i] * DN(bounded_slope)(raw[k * T + i], reach); }
  for (Int k = 2 * K; k < 3 * K; k++) LANES { graw[k * T + i] = gq[k * T + i] * DN(bounded_slope)(raw[k * T + i], SHARE_BOUND); }
}
