/* Increasing polynomials on the box [-B, B] with their tails, as kernels/polynomial.py has them.
 * Sum of squares; bounded: loc, and the coefficients of each square in turn. Bernstein; bounded: loc, and M steps. */

#define COEFFICIENT_BOUND 2.0
#define LOGIT_BOUND 3.0
#define REACH 3.0

/* Sum of squares */

static void DN(squares_ready)(const Kind *kind, const double *restrict raw, double *restrict q) {
  const Int each = kind->bins + 1;
  const double constant = sqrt(1 - kind->floor);
  LANES { q[i] = DN(loc_of)(raw[i]); }
  for (Int j = 0; j < kind->parts * each; j++) {
    const double more = j % each ? 0 : constant;
    LANES { q[(1 + j) * T + i] = DN(bounded)(raw[(1 + j) * T + i], COEFFICIENT_BOUND) + more; }
  }
}

static void DN(squares_settle)(const Kind *kind, const double *restrict raw, const double *restrict gq, double *restrict graw) {
  LANES { graw[i] = DN(loc_slope)(raw[i]) * gq[i]; }
  for (Int j = 1; j <= kind->parts * (kind->bins + 1); j++)
    LANES { graw[j * T + i] = gq[j * T + i] * DN(bounded_slope)(raw[j * T + i], COEFFICIENT_BOUND); }
}

/* The slope at u, a place in the box in units of its half width, and what it grows by with u. */
INLINE void DN(squares_slope)(const Kind *kind, const int keep, const double *restrict q, const double *restrict u,
                              double *restrict slope, double *restrict bend) {
  const Int L = kind->bins;
  const double each = 1 / (double)kind->parts, floor = kind->floor;
  LANES { slope[i] = floor; }
  if (keep) LANES { bend[i] = 0; }
  for (Int k = 0; k < kind->parts; k++) {
    const double *restrict a = q + (1 + k * (L + 1)) * T;
    double p[T], turn[T];
    LANES { p[i] = a[L * T + i]; turn[i] = 0; }
    for (Int j = L - 1; j >= 0; j--)
      LANES {
        if (keep) turn[i] = FMA(turn[i], u[i], p[i]);
        p[i] = FMA(p[i], u[i], a[j * T + i]);
      }
    LANES {
      slope[i] = FMA(each * p[i], p[i], slope[i]);
      if (keep) bend[i] += 2 * each * p[i] * turn[i];
    }
  }
}

INLINE void DN(squares_inside)(const Kind *kind, const int keep, const double *restrict q, const double *restrict x,
                               double *restrict y, double *restrict slope, double *restrict bend) {
  const Int count = kind->bins + 1;
  double sum[T], u[T];
  LANES { sum[i] = 0; }
  for (Int n = 0; n < count; n++) {
    const double node = gauss_node(count, n) / kind->bound, weight = gauss_weight(count, n);
    LANES { u[i] = x[i] * node; }
    DN(squares_slope)(kind, 0, q, u, slope, NULL);
    LANES { sum[i] = FMA(weight, slope[i], sum[i]); }
  }
  const double per = 1 / kind->bound;
  LANES { u[i] = x[i] * per; }
  DN(squares_slope)(kind, keep, q, u, slope, bend);
  LANES { y[i] = q[i] + x[i] * sum[i]; }
  if (keep) LANES { bend[i] *= per; }
}

static void DN(squares_level)(const Kind *kind, const double *restrict q, double *restrict level) {
  const Int count = kind->bins + 1;
  double u[T], slope[T];
  LANES { level[i] = 0; }
  for (Int n = 0; n < count; n++) {
    const double node = 2 * gauss_node(count, n) - 1, weight = gauss_weight(count, n);
    LANES { u[i] = node; }
    DN(squares_slope)(kind, 0, q, u, slope, NULL);
    LANES { level[i] = FMA(weight, slope[i], level[i]); }
  }
}

/* Adds what a cotangent of the slope at u gives to the coefficients. */
INLINE void DN(squares_give)(const Kind *kind, const double *restrict q, const double *restrict u, const double *restrict g, double *restrict gq) {
  const Int L = kind->bins;
  const double each = 2 / (double)kind->parts;
  for (Int k = 0; k < kind->parts; k++) {
    const double *restrict a = q + (1 + k * (L + 1)) * T;
    double *restrict ga = gq + (1 + k * (L + 1)) * T;
    double p[T];
    LANES { p[i] = a[L * T + i]; }
    for (Int j = L - 1; j >= 0; j--) LANES { p[i] = FMA(p[i], u[i], a[j * T + i]); }
    LANES { p[i] *= each * g[i]; }
    for (Int j = 0; j <= L; j++)
      LANES {
        ga[j * T + i] += p[i];
        p[i] *= u[i];
      }
  }
}

static void DN(squares_back)(const Kind *kind, const double *restrict q, const double *restrict x, const double *restrict gy,
                             const double *restrict gs, const double *restrict glevel, double *restrict gq) {
  const Int count = kind->bins + 1;
  double u[T], g[T];
  LANES { gq[i] = gy[i]; }
  for (Int j = 1; j <= kind->parts * count; j++) LANES { gq[j * T + i] = 0; }
  for (Int n = 0; n < count; n++) {
    const double node = gauss_node(count, n), weight = gauss_weight(count, n);
    LANES { u[i] = x[i] * (node / kind->bound); g[i] = gy[i] * x[i] * weight; }
    DN(squares_give)(kind, q, u, g, gq);
    if (!is_gentle(kind)) continue;
    LANES { u[i] = 2 * node - 1; g[i] = glevel[i] * weight; }
    DN(squares_give)(kind, q, u, g, gq);
  }
  LANES { u[i] = x[i] * (1 / kind->bound); }
  DN(squares_give)(kind, q, u, gs, gq);
}

/* Bernstein */

static void DN(bernstein_ready)(const Kind *kind, const double *restrict raw, double *restrict q) {
  const Int M = kind->bins, own = kind->code == IDENTITY_BERNSTEIN, first = own ? 2 : 1, count = M - 2 * first;
  const double unit = 2 * kind->bound / (double)M;
  const double *restrict logits = own ? raw : raw + T;
  double *restrict steps = q + T, total[T], scale[T];
  LANES { total[i] = 0; }
  for (Int j = 0; j < count; j++)
    LANES {
      const double size = DN(exp_near)(DN(bounded)(logits[j * T + i], LOGIT_BOUND));
      total[i] += size;
      steps[(first + j) * T + i] = size;
    }
  LANES { scale[i] = own ? unit * (double)count / total[i] : unit; }
  for (Int j = first; j < M - first; j++) LANES { steps[j * T + i] *= scale[i]; }
  LANES {
    q[i] = own ? 0 : DN(loc_of)(raw[i]);
    steps[i] = own ? unit : steps[T + i];
    steps[(M - 1) * T + i] = own ? unit : steps[(M - 2) * T + i];
  }
  if (own) LANES { steps[T + i] = steps[(M - 2) * T + i] = unit; }
}

static void DN(bernstein_settle)(const Kind *kind, const double *restrict raw, const double *restrict q, const double *restrict gq,
                                 double *restrict graw) {
  const Int M = kind->bins, own = kind->code == IDENTITY_BERNSTEIN, first = own ? 2 : 1, count = M - 2 * first;
  const double *restrict logits = own ? raw : raw + T, *restrict steps = q + T, *restrict gsteps = gq + T;
  double *restrict glogits = own ? graw : graw + T, dot[T];
  LANES { dot[i] = 0; }
  if (own)
    for (Int j = first; j < M - first; j++) LANES { dot[i] += gsteps[j * T + i] * steps[j * T + i]; }
  else
    LANES { graw[i] = DN(loc_slope)(raw[i]) * gq[i]; }
  const double per = own ? (double)M / (2 * kind->bound * (double)count) : 0;
  for (Int j = 0; j < count; j++) {
    const double *restrict step = steps + (first + j) * T, *restrict g = gsteps + (first + j) * T;
    /* The outermost steps are those beside them. */
    const double *restrict left = gsteps, *restrict right = gsteps + (M - 1) * T;
    const double as_left = !own && j == 0, as_right = !own && j == count - 1;
    LANES {
      const double all = g[i] + (as_left ? left[i] : 0) + (as_right ? right[i] : 0);
      glogits[j * T + i] = step[i] * (all - per * dot[i]) * DN(bounded_slope)(logits[j * T + i], LOGIT_BOUND);
    }
  }
}


/* binom(count - 1, i) t^i r^(count - 1 - i) for each i, to basis[i]; powers: as many rows to work in. */
INLINE void DN(bernstein_basis)(Int count, const double *restrict t, const double *restrict r, double *restrict powers, double *restrict basis) {
  double up[T], binomial = 1;
  LANES { up[i] = powers[i] = 1; }
  for (Int j = 1; j < count; j++) LANES { powers[j * T + i] = powers[(j - 1) * T + i] * r[i]; }
  for (Int j = 0; j < count; j++) {
    const double *restrict down = powers + (count - 1 - j) * T;
    LANES {
      basis[j * T + i] = binomial * up[i] * down[i];
      up[i] *= t[i];
    }
    binomial = binomial * (double)(count - 1 - j) / (double)(j + 1);
  }
}

INLINE void DN(bernstein_inside)(const Kind *kind, const int keep, const double *restrict q, const double *restrict x,
                                 double *restrict y, double *restrict slope, double *restrict bend, double *restrict tape) {
  const Int M = kind->bins;
  const double *restrict steps = q + T, width = 2 * kind->bound, bound = kind->bound;
  double *restrict basis = tape, *restrict powers = tape + M * T;
  double t[T], r[T], left[T], sum[T];
  LANES {
    t[i] = (x[i] + bound) / width;
    r[i] = (bound - x[i]) / width;
    sum[i] = 0;
  }
  if (keep) {
    DN(bernstein_basis)(M - 1, t, r, powers, basis);
    LANES { bend[i] = 0; }
    for (Int j = 0; j < M - 1; j++) LANES { bend[i] += basis[j * T + i] * (steps[(j + 1) * T + i] - steps[j * T + i]); }
    LANES { bend[i] *= (double)(M * (M - 1)) / (width * width); }
  }
  DN(bernstein_basis)(M, t, r, powers, basis);
  for (Int j = 0; j < M; j++) LANES { sum[i] += steps[j * T + i]; }
  LANES {
    left[i] = q[i] - 0.5 * sum[i];
    y[i] = slope[i] = 0;
  }
  for (Int j = 0; j < M; j++)
    LANES {
      const double step = steps[j * T + i], b = basis[j * T + i];
      y[i] += b * FMA(t[i], step, left[i]);
      slope[i] = FMA(b, step, slope[i]);
      left[i] += step;
    }
  LANES { slope[i] *= (double)M / width; }
}

static void DN(bernstein_back)(const Kind *kind, const double *restrict x, const double *restrict gy, const double *restrict gs,
                               const double *restrict glevel, const double *restrict tape, double *restrict gq) {
  const Int M = kind->bins;
  const double width = 2 * kind->bound, bound = kind->bound;
  double *restrict gsteps = gq + T, later[T];
  LANES {
    later[i] = glevel[i] / width - 0.5 * gy[i];
    gq[i] = gy[i];
  }
  for (Int j = M - 1; j >= 0; j--)
    LANES {
      const double b = tape[j * T + i], t = (x[i] + bound) / width;
      gsteps[j * T + i] = b * (gy[i] * t + gs[i] * ((double)M / width)) + later[i];
      later[i] += gy[i] * b;
    }
}

/* Both, with their tails */


static void DN(polynomial_ready)(const Kind *kind, const double *raw, double *q) {
  if (is_squares(kind)) DN(squares_ready)(kind, raw, q);
  else DN(bernstein_ready)(kind, raw, q);
}

static void DN(polynomial_settle)(const Kind *kind, const double *raw, const double *q, const double *gq, double *graw) {
  if (is_squares(kind)) DN(squares_settle)(kind, raw, gq, graw);
  else DN(bernstein_settle)(kind, raw, q, gq, graw);
}

static void DN(polynomial_level)(const Kind *kind, const double *restrict q, double *restrict level) {
  if (is_squares(kind)) {
    DN(squares_level)(kind, q, level);
    return;
  }
  LANES { level[i] = 0; }
  for (Int j = 1; j <= kind->bins; j++) LANES { level[i] += q[j * T + i]; }
  LANES { level[i] /= 2 * kind->bound; }
}

static void DN(polynomial_curve)(const Kind *kind, const int keep, const double *restrict q, const double *restrict x, Curve *restrict c,
                                 double *restrict tape) {
  const double bound = kind->bound, reach = kind->bound / REACH;
  double *restrict own = tape + 2 * T, *restrict level = tape, *restrict end = tape + T; /* ... and the slope of the box there */
  double in[T], y[T], slope[T], bend[T];
  LANES { in[i] = x[i] < -bound ? -bound : (x[i] > bound ? bound : x[i]); bend[i] = 0; }
  if (is_squares(kind)) {
    if (keep) DN(squares_inside)(kind, 1, q, in, y, slope, bend);
    else DN(squares_inside)(kind, 0, q, in, y, slope, bend);
  } else {
    if (keep) DN(bernstein_inside)(kind, 1, q, in, y, slope, bend, own);
    else DN(bernstein_inside)(kind, 0, q, in, y, slope, bend, own);
  }
  if (is_gentle(kind)) {
    DN(polynomial_level)(kind, q, level);
    LANES {
      const double past = x[i] - in[i], size = past < 0 ? -past : past, away = size / reach, sign = past < 0 ? -1 : 1;
      const double least = level[i] < slope[i] ? level[i] : slope[i], excess = slope[i] - least;
      const double left = DN(exp_near)(away > FAR_EXPONENT ? -FAR_EXPONENT : -away);
      c->y[i] = y[i] + least * past + excess * reach * sign * (1 - left);
      c->slope[i] = least + excess * left;
      c->bend[i] = size > 0 ? -sign * excess * left / reach : bend[i];
      end[i] = slope[i];
    }
  } else {
    LANES {
      const double past = x[i] - in[i];
      c->y[i] = y[i] + slope[i] * past;
      c->slope[i] = slope[i];
      c->bend[i] = past < 0 || past > 0 ? 0 : bend[i];
    }
  }
}

static void DN(polynomial_back)(const Kind *kind, const double *restrict q, const double *restrict x, const double *restrict gy,
                                const double *restrict gl, const Curve *restrict c, double *restrict tape, double *restrict gq) {
  const double bound = kind->bound, reach = kind->bound / REACH;
  const double *restrict level = tape, *restrict end = tape + T;
  double in[T], gs[T], glevel[T];
  LANES {
    in[i] = x[i] < -bound ? -bound : (x[i] > bound ? bound : x[i]);
    gs[i] = gl[i] / c->slope[i] + gy[i] * (x[i] - in[i]);
    glevel[i] = 0;
  }
  if (is_gentle(kind))
    LANES {
      const double past = x[i] - in[i], size = past < 0 ? -past : past, away = size / reach, sign = past < 0 ? -1 : 1;
      const double left = DN(exp_near)(away > FAR_EXPONENT ? -FAR_EXPONENT : -away), bent = gy[i] * reach * sign * (1 - left);
      const double g = gl[i] / c->slope[i], whole = gy[i] * past - bent + g * (1 - left);
      /* The lesser of two, which share the gradient where they are equal but for roundings. */
      const double apart = end[i] - level[i], share = ABS(apart) <= 1e-12 * end[i] ? 0.5 : (apart > 0 ? 1 : 0);
      glevel[i] = share * whole;
      gs[i] = bent + g * left + (1 - share) * whole;
    }
  if (is_squares(kind)) DN(squares_back)(kind, q, in, gy, gs, glevel, gq);
  else DN(bernstein_back)(kind, in, gy, gs, glevel, tape + 2 * T, gq);
}
