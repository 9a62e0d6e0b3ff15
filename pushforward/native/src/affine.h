/* Affine: y = loc + exp(s(a)) x on T lanes; planes of parameters: loc, a. The reference is kernels/affine.py. */

INLINE REAL FN(loc_of)(REAL loc) {
  const REAL bound = (REAL)1e8;
  return loc > bound ? bound : (loc < -bound ? -bound : loc);
}

static void FN(affine_value)(const Kind *kind, const REAL *restrict p, Int stride, const REAL *restrict in, REAL *restrict out, REAL *restrict ladj) {
  const REAL scale = (REAL)(2 * kind->bound / M_PI), inverse = (REAL)(M_PI / (2 * kind->bound));
  const REAL *loc = p, *raw = p + stride;
  if (kind->inverse) {
    LANES {
      REAL s = FN(soft)(raw[i], scale, inverse);
      out[i] = (in[i] - FN(loc_of)(loc[i])) * FN(exp_any)(-s);
      ladj[i] = -s;
    }
  } else {
    LANES {
      REAL s = FN(soft)(raw[i], scale, inverse);
      out[i] = FN(loc_of)(loc[i]) + FN(exp_any)(s) * in[i];
      ladj[i] = s;
    }
  }
}

/* Gradients of a value with cotangents g (of the output) and gl (of ladj); x is the base side, whichever way the layer ran. */
static void FN(affine_grad)(const Kind *kind, const REAL *restrict p, Int stride, const REAL *restrict x, const REAL *restrict g, const REAL *restrict gl, REAL *restrict gin,
                            REAL *restrict gp, Int gstride) {
  const REAL scale = (REAL)(2 * kind->bound / M_PI), inverse = (REAL)(M_PI / (2 * kind->bound));
  const REAL *loc = p, *raw = p + stride;
  REAL *gloc = gp, *graw = gp + gstride;
  const REAL bound = (REAL)1e8, sign = kind->inverse ? (REAL)-1 : (REAL)1;
  LANES {
    REAL s = FN(soft)(raw[i], scale, inverse);
    REAL e = FN(exp_any)(sign * s);
    REAL through = g[i] * e;
    gin[i] = through;
    REAL size = loc[i] < 0 ? -loc[i] : loc[i];
    REAL moved = kind->inverse ? -through : g[i];
    gloc[i] = size > bound ? (REAL)0 : moved;
    REAL scaled = kind->inverse ? g[i] * x[i] : through * x[i];
    graw[i] = sign * (scaled + gl[i]) * FN(soft_slope)(raw[i], inverse);
  }
}
