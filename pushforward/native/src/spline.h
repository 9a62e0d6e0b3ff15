/* Rational splines on T lanes; planes of parameters: K widths, K heights, K-1 slopes and, for the linear order, K middles.
 * The reference, with the sources of the formulas, is kernels/spline.py; names are the same here.
 * Sums over bins, the search and the arithmetic of the one bin are in double, so both directions round once, at the end. Values and
 * knots are measured from the middle of the box, where they round as they themselves are large, not as the box is: a slope of 1e-4
 * magnifies that. */

#define WIDTH_BOUND 2.5
#define HEIGHT_BOUND 2.5
#define SLOPE_BOUND 2.5
#define MIDDLE_BOUND 0.45

/* What a lane needs of its bin. t: the place in it, in [0, 1]; e: unnormalised sizes; total: over all bins; knot: where the bin begins, on
 * that scale, from the middle of the box. */
typedef struct {
  double t[T], index[T];
  double e_w[T], knot_w[T], total_w[T], e_h[T], knot_h[T], total_h[T];
  REAL raw0[T], raw1[T], d0[T], d1[T], raw_m[T];
  double middle[T];
} FN(Bin);

/* A bounded logit: parameters count a quarter. And what its gradient is multiplied by. */
INLINE REAL FN(logit)(REAL raw, REAL bound) { return FN(soft)((REAL)0.25 * raw, (REAL)(2 / M_PI) * bound, (REAL)(M_PI / 2) / bound); }
INLINE REAL FN(logit_slope)(REAL raw, REAL bound) { return (REAL)0.25 * FN(soft_slope)((REAL)0.25 * raw, (REAL)(M_PI / 2) / bound); }

INLINE void FN(spline_bin)(const Kind *kind, const int linear, const int inverse, const REAL *restrict p,
                                                                 Int stride, const REAL *restrict in, REAL *restrict ew, REAL *restrict eh, Int fresh, FN(Bin) *restrict b) {
  const Int K = kind->bins;
  const double bound = kind->bound;
  /* prefix[j]: the sum of the sizes before bin j; the last is that of all. */
  double *restrict prefix_w = (double *)(eh + K * T), *restrict prefix_h = prefix_w + (K + 1) * T;
  /* Where the parameters are those of the tile before, the table is there already. */
  for (Int j = 0; fresh && j < K; j++) {
    const REAL *restrict w = p + j * stride, *restrict h = p + (K + j) * stride;
    REAL *restrict a = ew + j * T, *restrict c = eh + j * T;
    LANES {
      a[i] = FN(exp_near)(FN(logit)(w[i], (REAL)WIDTH_BOUND));
      c[i] = FN(exp_near)(FN(logit)(h[i], (REAL)HEIGHT_BOUND));
    }
  }
  for (Int first = 0; fresh && first < T; first += 8) {
    double sum_w[8], sum_h[8];
    for (int i = 0; i < 8; i++) { sum_w[i] = 0; sum_h[i] = 0; }
    for (Int j = 0; j < K; j++) {
      for (int i = 0; i < 8; i++) {
        prefix_w[j * T + first + i] = sum_w[i];
        prefix_h[j * T + first + i] = sum_h[i];
        sum_w[i] += (double)ew[j * T + first + i];
        sum_h[i] += (double)eh[j * T + first + i];
      }
    }
    for (int i = 0; i < 8; i++) { prefix_w[K * T + first + i] = sum_w[i]; prefix_h[K * T + first + i] = sum_h[i]; }
  }
  /* The bin is found among unnormalised sums: the value is put on their scale once, not each knot on its. What belongs to the bin is
   * fetched after: a chain of selections would be most of the time. */
  const double *restrict prefix = inverse ? prefix_h : prefix_w;
  double at[T], half[T], index[T];
  LANES {
    double v = (double)in[i];
    v = v < -bound ? -bound : (v > bound ? bound : v);
    b->total_w[i] = prefix_w[K * T + i];
    b->total_h[i] = prefix_h[K * T + i];
    half[i] = 0.5 * (inverse ? b->total_h[i] : b->total_w[i]);
    at[i] = v * half[i] / bound;
  }
  for (Int first = 0; first < T; first += 8) {
    double count[8];
    for (int i = 0; i < 8; i++) count[i] = 0;
    for (Int j = 1; j < K; j++)
      for (int i = 0; i < 8; i++) count[i] += at[first + i] >= prefix[j * T + first + i] - half[first + i] ? 1.0 : 0.0;
    for (int i = 0; i < 8; i++) index[first + i] = count[i];
  }
  LANES {
    const Int k = (Int)index[i], first = k == 0, last = k == K - 1;
    const REAL left = p[(2 * K + k - 1 + first) * stride + i], right = p[(2 * K + k - last) * stride + i];
    b->index[i] = index[i];
    b->knot_w[i] = prefix_w[k * T + i] - 0.5 * b->total_w[i];
    b->knot_h[i] = prefix_h[k * T + i] - 0.5 * b->total_h[i];
    /* As differences, so that a bin ends where the next one begins. */
    b->e_w[i] = prefix_w[(k + 1) * T + i] - prefix_w[k * T + i];
    b->e_h[i] = prefix_h[(k + 1) * T + i] - prefix_h[k * T + i];
    b->raw0[i] = first ? (REAL)0 : left;
    b->raw1[i] = last ? (REAL)0 : right;
    b->raw_m[i] = linear ? p[(3 * K - 1 + k) * stride + i] : (REAL)0;
  }
  LANES {
    const double t = (at[i] - (inverse ? b->knot_h[i] : b->knot_w[i])) / (inverse ? b->e_h[i] : b->e_w[i]);
    b->t[i] = t < 0 ? 0 : (t > 1 ? 1 : t);
    b->d0[i] = FN(exp_near)(FN(logit)(b->raw0[i], (REAL)SLOPE_BOUND));
    b->d1[i] = FN(exp_near)(FN(logit)(b->raw1[i], (REAL)SLOPE_BOUND));
  }
  LANES { b->middle[i] = linear ? 0.5 + (double)FN(logit)(b->raw_m[i], (REAL)MIDDLE_BOUND) : 0; }
}

INLINE void FN(spline_value_as)(const Kind *kind, const int linear, const int inverse, const REAL *restrict p,
                                                                      Int stride, const REAL *restrict in, REAL *restrict out, REAL *restrict ladj, REAL *restrict work, Int fresh) {
  FN(Bin) b;
  FN(spline_bin)(kind, linear, inverse, p, stride, in, work, work + kind->bins * T, fresh, &b);
  const double bound = kind->bound;
  REAL slope[T];
  LANES {
    double s = (b.e_h[i] * b.total_w[i]) / (b.e_w[i] * b.total_h[i]);
    double d0 = (double)b.d0[i], d1 = (double)b.d1[i], t = b.t[i];
    double u, ratio;
    if (linear) {
      double lambda = b.middle[i], r = sqrt(d0 / d1);
      double joint = (lambda * d0 + (1 - lambda) * r * d1) / s;
      double height = lambda * r / ((1 - lambda) + lambda * r);
      double split = inverse ? height : lambda;
      int left = t <= split;
      double length = left ? lambda : 1 - lambda, reach = left ? height : 1 - height, outer = left ? 1 : r;
      double v = left ? t : 1 - t, full = inverse ? reach : length;
      v = v > full ? full : v;
      double near = inverse ? outer : joint, far = inverse ? joint : outer, other = inverse ? length : reach;
      double denominator = far * (full - v) + near * v;
      double w = other * near * v / denominator;
      u = left ? w : 1 - w;
      double product = outer * joint * length * reach;
      ratio = inverse ? denominator * denominator / product * s : product / (denominator * denominator) * s;
    } else {
      double theta = t, rest = 1 - t;
      if (inverse) {
        double difference = d0 * rest - d1 * t, product = 4 * s * s * t * rest;
        double radius = sqrt(difference * difference + product), size = difference < 0 ? -difference : difference;
        double larger = radius + size;
        double far = difference >= 0 ? larger : product / larger, near = 2 * s * t;
        theta = near / (near + far);
        rest = far / (near + far);
      }
      double cross = theta * rest, denominator = s * (theta * theta + rest * rest) + (d0 + d1) * cross;
      double numerator = d1 * theta * theta + 2 * s * cross + d0 * rest * rest;
      double q = s / denominator;
      ratio = q * q * numerator;
      u = inverse ? theta : theta * (s * theta + d0 * rest) / denominator;
    }
    double knot = inverse ? b.knot_w[i] : b.knot_h[i], size = inverse ? b.e_w[i] : b.e_h[i];
    double value = 2 * bound * (knot + size * u) / (inverse ? b.total_w[i] : b.total_h[i]);
    int inside = in[i] > -(REAL)bound && in[i] < (REAL)bound;
    out[i] = inside ? (REAL)value : in[i];
    slope[i] = inside ? (REAL)ratio : (REAL)1;
  }
  const REAL sign = inverse ? (REAL)-1 : (REAL)1;
  LANES { slope[i] = in[i] != in[i] ? in[i] : slope[i]; } /* NaN is in no bin, and has no slope */
  LANES { ladj[i] = sign * FN(log)(slope[i]); }
}

/* What each lane gives to the parameters of its bin k: the gradients of the knots at its ends, in x and y, with the part of all bins
 * (dot) and what turns them into those of unnormalised sizes (scale); of the slopes there, and of the middle. */
typedef struct {
  REAL k[T], knot0_w[T], knot1_w[T], dot_w[T], knot0_h[T], knot1_h[T], dot_h[T], scale_w[T], scale_h[T], g0[T], g1[T], gm[T];
} FN(Knots);

/* Gradients: those of the forward map at x (the base side). For the inverse, with f the forward map, x = f^-1(y) and
 * ladj = -log f'(x), the cotangents (g, gl) of (x, ladj) become -(g - gl (log f')') / f' for the value of f and -gl for log f'. */
INLINE void FN(spline_knots)(const Kind *kind, const int linear, const int inverse, const REAL *restrict p, Int stride,
                             const REAL *restrict x, const REAL *restrict g, const REAL *restrict gl, REAL *restrict gin,
                             REAL *restrict work, Int fresh, FN(Bin) *restrict b, FN(Knots) *restrict o) {
  const Int K = kind->bins;
  const double bound = kind->bound;
  REAL *ew = work, *eh = work + K * T;
  FN(spline_bin)(kind, linear, 0, p, stride, x, ew, eh, fresh, b);
  LANES {
    double exact_s = (b->e_h[i] * b->total_w[i]) / (b->e_w[i] * b->total_h[i]);
    REAL s = (REAL)exact_s, t = (REAL)b->t[i], rest = (REAL)(1 - b->t[i]);
    REAL per_w = (REAL)(b->total_w[i] / (2 * bound)), per_h = (REAL)(b->total_h[i] / (2 * bound));
    REAL w = (REAL)b->e_w[i] / per_w, h = (REAL)b->e_h[i] / per_h, d0 = b->d0[i], d1 = b->d1[i];
    int inside = (x[i] > -(REAL)bound && x[i] < (REAL)bound) || x[i] != x[i]; /* where it is NaN, so are all of them */
    REAL gy = inside ? g[i] : (REAL)0, gs = inside ? gl[i] : (REAL)0;
    REAL u, slope, bend, gt, gslope, gd0, gd1, glambda = 0;
    /* u and log f' as functions of (t, s, d0, d1, middle); slope = f', bend = d log f' / dt. */
    if (linear) {
      REAL lambda = (REAL)b->middle[i], r = SQRT(d0 / d1), q = (1 - lambda) + lambda * r;
      REAL joint = (lambda * d0 + (1 - lambda) * r * d1) / s, height = lambda * r / q;
      int left = t <= lambda;
      REAL length = left ? lambda : 1 - lambda, reach = left ? height : (1 - lambda) / q, outer = left ? (REAL)1 : r;
      REAL v = left ? t : rest;
      v = v > length ? length : v;
      REAL denominator = outer * (length - v) + joint * v, part = reach * joint * v / denominator;
      REAL product = outer * joint * length * reach;
      u = left ? part : 1 - part;
      slope = s * product / (denominator * denominator);
      bend = -2 * (joint - outer) / denominator * (left ? (REAL)1 : (REAL)-1);
      REAL ga = inverse ? -(gy - gs * bend / w) / slope : gy, gb = inverse ? -gs : gs;
      gy = ga;
      gs = gb;
      REAL gpart = (left ? h : -h) * ga;
      REAL gden = -(gpart * part + 2 * gb) / denominator;
      REAL gv = gpart * reach * joint / denominator + gden * (joint - outer);
      REAL gjoint = gpart * reach * v / denominator + gb / joint + gden * v;
      REAL gouter = left ? (REAL)0 : gb / outer + gden * (length - v);
      REAL glength = gb / length + gden * outer;
      REAL greach = gpart * joint * v / denominator + gb / reach;
      gt = left ? gv : -gv;
      REAL gheight = left ? greach : -greach;
      REAL gr = gouter + gheight * lambda * (1 - lambda) / (q * q) + gjoint * (1 - lambda) * d1 / s;
      glambda = (left ? glength : -glength) + gheight * r / (q * q) + gjoint * (d0 - r * d1) / s;
      gd0 = gjoint * lambda / s + gr * r / (2 * d0);
      gd1 = gjoint * (1 - lambda) * r / s - gr * r / (2 * d1);
      gslope = gb / s - gjoint * joint / s;
    } else {
      REAL cross = t * rest, denominator = s * (t * t + rest * rest) + (d0 + d1) * cross, turn = rest - t;
      REAL numerator = d1 * t * t + 2 * s * cross + d0 * rest * rest;
      REAL q = s / denominator, one = 1 / denominator;
      REAL top = t * (s * t + d0 * rest), dtop = 2 * s * t + d0 * turn;
      REAL dden = (d0 + d1 - 2 * s) * turn, dnum = 2 * (d1 * t + s * turn - d0 * rest);
      u = top * one;
      slope = q * q * numerator;
      bend = dnum / numerator - 2 * dden * one;
      REAL ga = inverse ? -(gy - gs * bend / w) / slope : gy, gb = inverse ? -gs : gs;
      gy = ga;
      gs = gb;
      REAL gu = ga * h, gtop = gu * one, gden = -(gu * u + 2 * gb) * one, gnum = gb / numerator;
      gt = gtop * dtop + gden * dden + gnum * dnum;
      gslope = gtop * t * t + gden * (t * t + rest * rest) + gnum * 2 * cross + 2 * gb / s;
      gd0 = gtop * cross + gden * cross + gnum * rest * rest;
      gd1 = gden * cross + gnum * t * t;
    }
    /* Where it is NaN itself, as a clamp has it: 0. An inverse is also where its parameters are. */
    REAL pass = x[i] != x[i] ? 0 * (w + h) : inverse ? -gy : gt / w;
    gin[i] = inside ? pass : g[i];
    /* To the knots: t = (x - x0)/w, s = h/w, y = y0 + h u. */
    REAL gh = gy * u + gslope / w, gw = -(gslope * s + gt * t) / w;
    o->knot0_w[i] = -gt / w - gw;
    o->knot1_w[i] = gw;
    o->knot0_h[i] = gy - gh;
    o->knot1_h[i] = gh;
    double share_w = b->knot_w[i] / b->total_w[i] + 0.5, share_h = b->knot_h[i] / b->total_h[i] + 0.5;
    REAL before_w = (REAL)share_w, after_w = (REAL)(share_w + b->e_w[i] / b->total_w[i]);
    REAL before_h = (REAL)share_h, after_h = (REAL)(share_h + b->e_h[i] / b->total_h[i]);
    o->dot_w[i] = o->knot0_w[i] * before_w + o->knot1_w[i] * after_w;
    o->dot_h[i] = o->knot0_h[i] * before_h + o->knot1_h[i] * after_h;
    o->scale_w[i] = 1 / per_w;
    o->scale_h[i] = 1 / per_h;
    o->k[i] = (REAL)b->index[i];
    o->g0[i] = inside ? gd0 * d0 : (REAL)0;
    o->g1[i] = inside ? gd1 * d1 : (REAL)0;
    o->gm[i] = inside ? glambda : (REAL)0;
    /* Outside nothing depends on the parameters, and what was computed there may be no number. */
    if (!inside) { o->knot0_w[i] = o->knot1_w[i] = o->knot0_h[i] = o->knot1_h[i] = o->dot_w[i] = o->dot_h[i] = 0; }
  }
}

INLINE void FN(spline_grad_as)(const Kind *kind, const int linear, const int inverse, const REAL *restrict p, Int stride,
                               const REAL *restrict x, const REAL *restrict g, const REAL *restrict gl, REAL *restrict gin,
                               REAL *restrict gp, Int gstride, REAL *restrict work, Int fresh) {
  const Int K = kind->bins;
  const REAL *ew = work, *eh = work + K * T;
  FN(Bin) b;
  FN(Knots) o;
  FN(spline_knots)(kind, linear, inverse, p, stride, x, g, gl, gin, work, fresh, &b, &o);
  for (Int j = 0; j < K; j++) {
    const REAL *w = p + j * stride, *h = p + (K + j) * stride, *a = ew + j * T, *c = eh + j * T;
    REAL *ow = gp + j * gstride, *oh = gp + (K + j) * gstride;
    const REAL here = (REAL)j;
    LANES {
      REAL kw = (o.k[i] > here ? o.knot0_w[i] : (REAL)0) + (o.k[i] >= here ? o.knot1_w[i] : (REAL)0);
      REAL kh = (o.k[i] > here ? o.knot0_h[i] : (REAL)0) + (o.k[i] >= here ? o.knot1_h[i] : (REAL)0);
      REAL of_w = o.scale_w[i] * a[i] * (kw - o.dot_w[i]), of_h = o.scale_h[i] * c[i] * (kh - o.dot_h[i]);
      ow[i] = of_w * FN(logit_slope)(w[i], (REAL)WIDTH_BOUND);
      oh[i] = of_h * FN(logit_slope)(h[i], (REAL)HEIGHT_BOUND);
    }
  }
  LANES {
    o.g0[i] *= FN(logit_slope)(b.raw0[i], (REAL)SLOPE_BOUND);
    o.g1[i] *= FN(logit_slope)(b.raw1[i], (REAL)SLOPE_BOUND);
  }
  for (Int j = 0; j < K - 1; j++) {
    REAL *os = gp + (2 * K + j) * gstride;
    const REAL left = (REAL)(j + 1), right = (REAL)j;
    LANES { os[i] = (o.k[i] == left ? o.g0[i] : (REAL)0) + (o.k[i] == right ? o.g1[i] : (REAL)0); }
  }
  if (linear) {
    LANES { o.gm[i] *= FN(logit_slope)(b.raw_m[i], (REAL)MIDDLE_BOUND); }
    for (Int j = 0; j < K; j++) {
      REAL *om = gp + (3 * K - 1 + j) * gstride;
      const REAL here = (REAL)j;
      LANES { om[i] = o.k[i] == here ? o.gm[i] : (REAL)0; }
    }
  }
}

/* The same where all tiles have the same parameters: each lane adds to sums of its own, plane by plane; `spline_settle` makes the
 * gradients from them once, at the end. Planes: 4 K of knots, K of middles, K + 1 of slopes, of which the ends count for nothing, 2. */
INLINE void FN(spline_collect_as)(const Kind *kind, const int linear, const int inverse, const REAL *restrict p,
                                  const REAL *restrict x, const REAL *restrict g, const REAL *restrict gl, REAL *restrict gin,
                                  Int lanes, REAL *restrict sums, REAL *restrict work, Int fresh) {
  const Int K = kind->bins;
  FN(Bin) b;
  FN(Knots) o;
  FN(spline_knots)(kind, linear, inverse, p, T, x, g, gl, gin, work, fresh, &b, &o);
  REAL *restrict dots = sums + (6 * K + 1) * T;
  for (Int i = 0; i < lanes; i++) {
    REAL *restrict at = sums + (Int)o.k[i] * T + i;
    at[0] += o.knot0_w[i];
    at[K * T] += o.knot1_w[i];
    at[2 * K * T] += o.knot0_h[i];
    at[3 * K * T] += o.knot1_h[i];
    if (linear) at[4 * K * T] += o.gm[i];
    at[5 * K * T] += o.g0[i];
    at[(5 * K + 1) * T] += o.g1[i];
    dots[i] += o.dot_w[i];
    dots[T + i] += o.dot_h[i];
  }
}

static void FN(spline_settle)(const Kind *kind, const REAL *restrict p, const REAL *restrict sums, REAL *restrict gp, const REAL *restrict work) {
  const Int K = kind->bins;
  const REAL *ew = work, *eh = work + K * T;
  const double *total_w = (const double *)(eh + K * T) + K * T, *total_h = total_w + (K + 1) * T;
  const REAL *dots = sums + (6 * K + 1) * T;
  REAL later_w[T], later_h[T];
  LANES { later_w[i] = later_h[i] = 0; }
  for (Int j = K - 1; j >= 0; j--) {
    const REAL *w = p + j * T, *h = p + (K + j) * T, *from = sums + j * T;
    REAL *ow = gp + j * T, *oh = gp + (K + j) * T;
    LANES {
      REAL kw = later_w[i] + from[K * T + i], kh = later_h[i] + from[3 * K * T + i];
      REAL scale_w = (REAL)(2 * kind->bound / total_w[i]), scale_h = (REAL)(2 * kind->bound / total_h[i]);
      ow[i] = scale_w * ew[j * T + i] * (kw - dots[i]) * FN(logit_slope)(w[i], (REAL)WIDTH_BOUND);
      oh[i] = scale_h * eh[j * T + i] * (kh - dots[T + i]) * FN(logit_slope)(h[i], (REAL)HEIGHT_BOUND);
      later_w[i] = kw + from[i];
      later_h[i] = kh + from[2 * K * T + i];
    }
  }
  for (Int j = 0; j < K - 1; j++) {
    const REAL *raw = p + (2 * K + j) * T, *from = sums + (5 * K + 1 + j) * T;
    REAL *os = gp + (2 * K + j) * T;
    LANES { os[i] = from[i] * FN(logit_slope)(raw[i], (REAL)SLOPE_BOUND); }
  }
  for (Int j = 0; kind->code == LINEAR_SPLINE && j < K; j++) {
    const REAL *raw = p + (3 * K - 1 + j) * T, *from = sums + (4 * K + j) * T;
    REAL *om = gp + (3 * K - 1 + j) * T;
    LANES { om[i] = from[i] * FN(logit_slope)(raw[i], (REAL)MIDDLE_BOUND); }
  }
}

/* One specialised loop for each order and direction. */
static LONG_LOOPS void FN(spline_value)(const Kind *kind, const REAL *restrict p, Int stride, const REAL *restrict in, REAL *restrict out, REAL *restrict ladj, REAL *restrict work, Int fresh) {
  if (kind->code == LINEAR_SPLINE) {
    if (kind->inverse) FN(spline_value_as)(kind, 1, 1, p, stride, in, out, ladj, work, fresh);
    else FN(spline_value_as)(kind, 1, 0, p, stride, in, out, ladj, work, fresh);
  } else {
    if (kind->inverse) FN(spline_value_as)(kind, 0, 1, p, stride, in, out, ladj, work, fresh);
    else FN(spline_value_as)(kind, 0, 0, p, stride, in, out, ladj, work, fresh);
  }
}

static LONG_LOOPS void FN(spline_grad)(const Kind *kind, const REAL *restrict p, Int stride, const REAL *restrict x, const REAL *restrict g, const REAL *restrict gl, REAL *restrict gin,
                            REAL *restrict gp, Int gstride, REAL *restrict work, Int fresh) {
  if (kind->code == LINEAR_SPLINE) {
    if (kind->inverse) FN(spline_grad_as)(kind, 1, 1, p, stride, x, g, gl, gin, gp, gstride, work, fresh);
    else FN(spline_grad_as)(kind, 1, 0, p, stride, x, g, gl, gin, gp, gstride, work, fresh);
  } else {
    if (kind->inverse) FN(spline_grad_as)(kind, 0, 1, p, stride, x, g, gl, gin, gp, gstride, work, fresh);
    else FN(spline_grad_as)(kind, 0, 0, p, stride, x, g, gl, gin, gp, gstride, work, fresh);
  }
}

static LONG_LOOPS void FN(spline_collect)(const Kind *kind, const REAL *restrict p, const REAL *restrict x, const REAL *restrict g, const REAL *restrict gl, REAL *restrict gin,
                               Int lanes, REAL *restrict sums, REAL *restrict work, Int fresh) {
  if (kind->code == LINEAR_SPLINE) {
    if (kind->inverse) FN(spline_collect_as)(kind, 1, 1, p, x, g, gl, gin, lanes, sums, work, fresh);
    else FN(spline_collect_as)(kind, 1, 0, p, x, g, gl, gin, lanes, sums, work, fresh);
  } else {
    if (kind->inverse) FN(spline_collect_as)(kind, 0, 1, p, x, g, gl, gin, lanes, sums, work, fresh);
    else FN(spline_collect_as)(kind, 0, 0, p, x, g, gl, gin, lanes, sums, work, fresh);
  }
}
