/* The unconstrained monotonic network, as kernels/monotonic.py has it; bounded: loc, level, K heights, K steepnesses, K places. */

#define HEIGHT_BOUND_OF_NETWORK 3.0
#define LEVEL_BOUND 2.0
#define STEEPNESS 1.6

static void DN(network_ready)(const Kind *kind, const double *restrict raw, double *restrict q) {
  const Int K = kind->bins;
  const double limit = STEEPNESS * (double)kind->parts;
  double squares[T];
  LANES {
    q[i] = DN(loc_of)(raw[i]);
    q[T + i] = DN(exp_near)(DN(bounded)(raw[T + i], LEVEL_BOUND));
    squares[i] = 0;
  }
  for (Int k = 2; k < 2 + K; k++) LANES { squares[i] += raw[k * T + i] * raw[k * T + i]; }
  for (Int k = 2; k < 2 + K; k++)
    LANES { q[k * T + i] = raw[k * T + i] / sqrt(1 + squares[i] * ((double)K / (HEIGHT_BOUND_OF_NETWORK * HEIGHT_BOUND_OF_NETWORK))); }
  for (Int k = 2 + K; k < 2 + 2 * K; k++) LANES { q[k * T + i] = DN(bounded)(raw[k * T + i], limit / kind->bound); }
  for (Int k = 2 + 2 * K; k < 2 + 3 * K; k++) LANES { q[k * T + i] = DN(bounded)(raw[k * T + i], limit); }
}

/* Rows of T numbers that a gradient keeps: tanh of each unit at each node, and of each node its term of the integral and g'. */

INLINE double DN(network_node)(const Kind *kind, Int j) {
  return ((double)(j / PANEL_NODES) + gauss_node(PANEL_NODES, j % PANEL_NODES)) / (double)kind->parts;
}

INLINE void DN(network_curve_as)(const Kind *kind, const int keep, const double *restrict q, const double *restrict x,
                                 Curve *restrict c, double *restrict tape) {
  const Int K = kind->bins, nodes = PANEL_NODES * kind->parts;
  const double bound = kind->bound, *restrict v = q + 2 * T, *restrict a = v + K * T, *restrict place = a + K * T;
  double *restrict term = tape + nodes * K * T, *restrict rise = term + nodes * T;
  double in[T], sum[T], slope[T], bend[T];
  LANES {
    in[i] = x[i] < -bound ? -bound : (x[i] > bound ? bound : x[i]);
    sum[i] = slope[i] = bend[i] = 0;
  }
  for (Int j = 0; j < nodes; j++) {
    const double node = DN(network_node)(kind, j), weight = gauss_weight(PANEL_NODES, j % PANEL_NODES) / (double)kind->parts;
    double t[T], g[T], g1[T], g2[T];
    LANES { t[i] = in[i] * node; g[i] = g1[i] = g2[i] = 0; }
    for (Int k = 0; k < K; k++) {
      const double *restrict vk = v + k * T, *restrict ak = a + k * T, *restrict ck = place + k * T;
      double *restrict kept = keep ? tape + (j * K + k) * T : NULL;
      LANES {
        /* |2 (a t + c)| <= 4 limit, far within the range. */
        const double rest = 1 / (1 + DN(exp_near)(2 * FMA(ak[i], t[i], ck[i]))), bent = 1 - 2 * rest;
        const double turn = vk[i] * ak[i] * (4 * rest * (1 - rest));
        g[i] = FMA(vk[i], bent, g[i]);
        g1[i] += turn;
        if (keep) {
          kept[i] = bent;
          g2[i] = FMA(-2 * ak[i] * bent, turn, g2[i]);
        }
      }
    }
    LANES {
      const double value = weight * DN(exp_near)(g[i]), growth = 1 + t[i] * g1[i];
      sum[i] += value;
      slope[i] = FMA(value, growth, slope[i]);
      if (keep) {
        term[j * T + i] = value;
        rise[j * T + i] = g1[i];
        bend[i] += node * value * (g1[i] * (1 + growth) + t[i] * g2[i]);
      }
    }
  }
  LANES {
    const double level = q[T + i];
    c->slope[i] = level * slope[i];
    c->y[i] = q[i] + level * in[i] * sum[i] + c->slope[i] * (x[i] - in[i]);
    if (keep) c->bend[i] = x[i] < -bound || x[i] > bound ? 0 : level * bend[i];
  }
}

static void DN(network_curve)(const Kind *kind, const int keep, const double *q, const double *x, Curve *c, double *tape) {
  if (keep) DN(network_curve_as)(kind, 1, q, x, c, tape);
  else DN(network_curve_as)(kind, 0, q, x, c, tape);
}

static void DN(network_back)(const Kind *kind, const double *restrict q, const double *restrict x, const double *restrict gy,
                             const double *restrict gl, const Curve *restrict c, double *restrict tape, double *restrict gq) {
  const Int K = kind->bins, nodes = PANEL_NODES * kind->parts;
  const double bound = kind->bound, *restrict v = q + 2 * T, *restrict a = v + K * T;
  double *restrict of_g = tape + nodes * K * T, *restrict of_g1 = of_g + nodes * T;
  double in[T], of_sum[T], of_slope[T], sum[T];
  LANES {
    const double level = q[T + i];
    in[i] = x[i] < -bound ? -bound : (x[i] > bound ? bound : x[i]);
    const double past = x[i] - in[i], through = gy[i] * past + gl[i] / c->slope[i];
    of_sum[i] = gy[i] * level * in[i];
    of_slope[i] = through * level;
    sum[i] = 0;
    gq[i] = gy[i];
    gq[T + i] = through * c->slope[i] / level;
  }
  /* Terms and g' make room for their own cotangents. */
  for (Int j = 0; j < nodes; j++) {
    const double node = DN(network_node)(kind, j);
    LANES {
      const double t = in[i] * node, term = of_g[j * T + i], growth = 1 + t * of_g1[j * T + i];
      sum[i] += term;
      of_g[j * T + i] = term * (of_sum[i] + of_slope[i] * growth);
      of_g1[j * T + i] = term * of_slope[i] * t;
    }
  }
  LANES { gq[T + i] += gy[i] * in[i] * sum[i]; }
  for (Int k = 0; k < K; k++) {
    double by_bent[T], by_turn[T], by_slope[T], by_bend[T], at_slope[T], at_bend[T];
    LANES { by_bent[i] = by_turn[i] = by_slope[i] = by_bend[i] = at_slope[i] = at_bend[i] = 0; }
    for (Int j = 0; j < nodes; j++) {
      const double node = DN(network_node)(kind, j), *restrict kept = tape + (j * K + k) * T, *restrict g = of_g + j * T, *restrict g1 = of_g1 + j * T;
      LANES {
        const double bent = kept[i], turn = 1 - bent * bent, slope = g[i] * turn, bend = g1[i] * turn;
        by_bent[i] = FMA(g[i], bent, by_bent[i]);
        by_turn[i] += bend;
        by_slope[i] += slope;
        by_bend[i] = FMA(bend, bent, by_bend[i]);
        at_slope[i] = FMA(slope, node, at_slope[i]);
        at_bend[i] = FMA(bend * bent, node, at_bend[i]);
      }
    }
    LANES {
      const double vk = v[k * T + i], ak = a[k * T + i];
      gq[(2 + k) * T + i] = by_bent[i] + ak * by_turn[i];
      gq[(2 + K + k) * T + i] = vk * (in[i] * (at_slope[i] - 2 * ak * at_bend[i]) + by_turn[i]);
      gq[(2 + 2 * K + k) * T + i] = vk * (by_slope[i] - 2 * ak * by_bend[i]);
    }
  }
}

static void DN(network_settle)(const Kind *kind, const double *restrict raw, const double *restrict q, const double *restrict gq,
                               double *restrict graw) {
  const Int K = kind->bins;
  const double limit = STEEPNESS * (double)kind->parts, per = (double)K / (HEIGHT_BOUND_OF_NETWORK * HEIGHT_BOUND_OF_NETWORK);
  double squares[T], dot[T];
  LANES {
    graw[i] = DN(loc_slope)(raw[i]) * gq[i];
    graw[T + i] = gq[T + i] * q[T + i] * DN(bounded_slope)(raw[T + i], LEVEL_BOUND);
    squares[i] = dot[i] = 0;
  }
  for (Int k = 2; k < 2 + K; k++)
    LANES {
      squares[i] += raw[k * T + i] * raw[k * T + i];
      dot[i] += raw[k * T + i] * gq[k * T + i];
    }
  for (Int k = 2; k < 2 + K; k++)
    LANES {
      const double whole = 1 + squares[i] * per;
      graw[k * T + i] = (gq[k * T + i] - per * raw[k * T + i] * dot[i] / whole) / sqrt(whole);
    }
  for (Int k = 2 + K; k < 2 + 2 * K; k++) LANES { graw[k * T + i] = gq[k * T + i] * DN(bounded_slope)(raw[k * T + i], limit / kind->bound); }
  for (Int k = 2 + 2 * K; k < 2 + 3 * K; k++) LANES { graw[k * T + i] = gq[k * T + i] * DN(bounded_slope)(raw[k * T + i], limit); }
}
