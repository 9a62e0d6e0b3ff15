/* Affine: y = loc + exp(s(a)) x on T lanes; planes of parameters: loc, a. The reference is kernels/affine.py. */

INLINE REAL FN(loc_of)(REAL loc) {
  const REAL bound = (REAL)1e8;
  return loc > bound ? bound : (loc < -bound ? -bound : loc);
}

INLINE void FN(affine_value_as)(const Kind *kind, const int near, const REAL *restrict loc, const REAL *restrict raw,
                                const REAL *restrict in, REAL *restrict out, REAL *restrict ladj) {
  const REAL scale = (REAL)(2 * kind->bound / M_PI), inverse = (REAL)(M_PI / (2 * kind->bound));
  if (kind->inverse) {
    LANES {
      const REAL s = FN(soft)(raw[i], scale, inverse);
      out[i] = (in[i] - FN(loc_of)(loc[i])) * (near ? FN(exp_near)(-s) : FN(exp_any)(-s));
      ladj[i] = -s;
    }
  } else {
    LANES {
      const REAL s = FN(soft)(raw[i], scale, inverse);
      out[i] = FN(loc_of)(loc[i]) + (near ? FN(exp_near)(s) : FN(exp_any)(s)) * in[i];
      ladj[i] = s;
    }
  }
}

/* Gradients of a value with cotangents g (of the output) and gl (of ladj); x is the base side, whichever way the layer ran. */
INLINE void FN(affine_grad_as)(const Kind *kind, const int near, const REAL *restrict loc, const REAL *restrict raw,
                               const REAL *restrict x, const REAL *restrict g, const REAL *restrict gl, REAL *restrict gin,
                               REAL *restrict gloc, REAL *restrict graw) {
  const REAL scale = (REAL)(2 * kind->bound / M_PI), inverse = (REAL)(M_PI / (2 * kind->bound)), bound = (REAL)1e8;
  if (kind->inverse) {
    LANES {
      const REAL s = FN(soft)(raw[i], scale, inverse), through = g[i] * (near ? FN(exp_near)(-s) : FN(exp_any)(-s));
      gin[i] = through;
      gloc[i] = ABS(loc[i]) <= bound ? -through : (REAL)0;
      graw[i] = -(g[i] * x[i] + gl[i]) * FN(soft_slope)(raw[i], inverse);
    }
  } else {
    LANES {
      const REAL s = FN(soft)(raw[i], scale, inverse), through = g[i] * (near ? FN(exp_near)(s) : FN(exp_any)(s));
      gin[i] = through;
      gloc[i] = ABS(loc[i]) <= bound ? g[i] : (REAL)0;
      graw[i] = (through * x[i] + gl[i]) * FN(soft_slope)(raw[i], inverse);
    }
  }
}

static void FN(affine_value)(const Kind *kind, const REAL *p, Int stride, const REAL *in, REAL *out, REAL *ladj) {
  if (kind->bound <= NEAR_BOUND) FN(affine_value_as)(kind, 1, p, p + stride, in, out, ladj);
  else FN(affine_value_as)(kind, 0, p, p + stride, in, out, ladj);
}

static void FN(affine_grad)(const Kind *kind, const REAL *p, Int stride, const REAL *x, const REAL *g, const REAL *gl, REAL *gin,
                            REAL *gp, Int gstride) {
  if (kind->bound <= NEAR_BOUND) FN(affine_grad_as)(kind, 1, p, p + stride, x, g, gl, gin, gp, gp + gstride);
  else FN(affine_grad_as)(kind, 0, p, p + stride, x, g, gl, gin, gp, gp + gstride);
}
