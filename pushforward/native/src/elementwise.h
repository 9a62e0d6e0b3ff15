/* A kernel over (rows, elements). The elements of consecutive rows are laid side by side in tiles of T lanes, plane by plane. */

/* A run of elements of one row, and the lanes that it takes. */
typedef struct {
  Int row, element, lane, length;
} FN(Run);

/* `row` and `element` say where the next tile begins. */
typedef struct {
  Int runs, lanes, row, element;
  FN(Run) run[T];
} FN(Tile);

/* Lanes of a tile: all, or as many as make whole rows where all rows share their parameters, so that these stay where they are. */
INLINE Int FN(lanes_of)(const Job *job) { return job->theta.stride == 0 && job->elements <= T ? T / job->elements * job->elements : T; }

/* The next tile of at most `width` lanes, before the row `stop`. */
INLINE void FN(lay)(FN(Tile) *restrict t, Int stop, Int elements, Int width) {
  Int lane = 0;
  t->runs = 0;
  while (lane < width && t->row < stop) {
    const Int left = width - lane, rest = elements - t->element, length = rest < left ? rest : left;
    const FN(Run) run = {t->row, t->element, lane, length};
    t->run[t->runs++] = run;
    lane += length;
    t->element += length;
    if (t->element == elements) {
      t->element = 0;
      t->row++;
    }
  }
  t->lanes = lane;
}

/* Copies `planes` runs of numbers. The usual lengths have loops of their own: the compiler turns a copy of constant size into a move or
 * two, where a call of memcpy, or a loop that finds out the length, would take longer than the copy. */
#define RUNS_OF(size) \
  case size: \
    for (Int j = 0; j < planes; j++) memcpy(to + j * to_step, from + j * from_step, (size) * sizeof(REAL)); \
    break;

INLINE void FN(copy)(REAL *restrict to, Int to_step, const REAL *restrict from, Int from_step, Int length, Int planes) {
  switch (length) {
    RUNS_OF(1)
    RUNS_OF(2)
    RUNS_OF(4)
    RUNS_OF(8)
    RUNS_OF(16)
    RUNS_OF(32)
    default:
      for (Int j = 0; j < planes; j++)
        for (Int i = 0; i < length; i++) to[j * to_step + i] = from[j * from_step + i];
  }
}
#undef RUNS_OF

/* `planes` planes of the tile's elements, `step` apart in a row, to [plane][T] and back. */
static void FN(gather)(const FN(Tile) *restrict t, const REAL *restrict source, Int row_stride, Int step, Int planes, REAL *restrict lanes) {
  for (Int r = 0; r < t->runs; r++) {
    const FN(Run) run = t->run[r];
    FN(copy)(lanes + run.lane, T, source + run.row * row_stride + run.element, step, run.length, planes);
  }
}

static void FN(scatter)(const FN(Tile) *restrict t, const REAL *restrict lanes, REAL *restrict target, Int row_stride, Int step, Int planes) {
  for (Int r = 0; r < t->runs; r++) {
    const FN(Run) run = t->run[r];
    FN(copy)(target + run.row * row_stride + run.element, step, lanes + run.lane, T, run.length, planes);
  }
}

static void FN(value)(const Kind *kind, const REAL *p, Int stride, const REAL *in, REAL *out, REAL *ladj, REAL *work, Int fresh) {
  if (kind->code == AFFINE) FN(affine_value)(kind, p, stride, in, out, ladj);
  else if (is_monotone(kind)) FN(monotone_value)(kind, p, stride, in, out, ladj, work, fresh);
  else FN(spline_value)(kind, p, stride, in, out, ladj, work, fresh);
}

static void FN(grad)(const Kind *kind, const REAL *p, Int stride, const REAL *x, const REAL *g, const REAL *gl, REAL *gin, REAL *gp,
                     Int gstride, REAL *work, Int fresh) {
  if (kind->code == AFFINE) FN(affine_grad)(kind, p, stride, x, g, gl, gin, gp, gstride);
  else if (is_monotone(kind)) FN(monotone_grad)(kind, p, stride, x, g, gl, gin, gp, gstride, work, fresh);
  else FN(spline_grad)(kind, p, stride, x, g, gl, gin, gp, gstride, work, fresh);
}

/* Rows [start, stop) of: value and ladj, the latter summed over the elements of a row. */
static void FN(forward_rows)(const void *argument, Int start, Int stop, void *space) {
  const Job *job = argument;
  const Int count = parameters_of(&job->kind), elements = job->elements, shared = job->theta.stride == 0, width = FN(lanes_of)(job);
  REAL *planes = space, *work = planes + count * T;
  REAL gathered[T] = {0}, made[T], ladj[T];
  FN(Tile) tile = {0, 0, start, 0, {{0}}};
  double total = 0;
  for (Int fresh = 1; tile.row < stop; fresh = !(shared && elements <= T)) {
    FN(lay)(&tile, stop, elements, width);
    const FN(Run) first = tile.run[0];
    if (tile.runs == 1 && tile.lanes == T) { /* a whole tile in one row is computed where it is */
      const REAL *x = (const REAL *)job->x.at + first.row * job->x.stride + first.element;
      const REAL *theta = (const REAL *)job->theta.at + first.row * job->theta.stride + first.element;
      FN(value)(&job->kind, theta, elements, x, (REAL *)job->out.at + first.row * elements + first.element, ladj, work, fresh);
    } else {
      if (fresh) FN(gather)(&tile, job->theta.at, job->theta.stride, elements, count, planes);
      FN(gather)(&tile, job->x.at, job->x.stride, 0, 1, gathered);
      FN(value)(&job->kind, planes, T, gathered, made, ladj, work, fresh);
      FN(scatter)(&tile, made, job->out.at, elements, 0, 1);
    }
    for (Int r = 0; r < tile.runs; r++) {
      const FN(Run) run = tile.run[r];
      if (elements % T == 0) { /* the same sum wherever the row is, so it may be taken eight at a time */
        double part[8] = {0};
        for (int s = 0; s < T; s += 8)
          for (int i = 0; i < 8; i++) part[i] += (double)ladj[s + i];
        total += ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
      } else {
        for (Int s = 0; s < run.length; s++) total += (double)ladj[run.lane + s];
      }
      if (run.element + run.length == elements) {
        ((REAL *)job->ladj.at)[run.row] = (REAL)total;
        total = 0;
      }
    }
  }
}

/* Rows [start, stop) of the gradients. Parameters that all rows share (stride 0) have one sum for each `group` rows. */
static void FN(backward_rows)(const void *argument, Int start, Int stop, void *space) {
  const Job *job = argument;
  const Int count = parameters_of(&job->kind), elements = job->elements, shared = job->theta.stride == 0, width = FN(lanes_of)(job);
  REAL *planes = space, *gplanes = planes + count * T, *work = gplanes + count * T;
  REAL x[T] = {0}, g[T] = {0}, gl[T] = {0}, gin[T];
  REAL *sums = shared ? (REAL *)job->gtheta.at + start / job->group * count * elements : NULL;
  FN(Tile) tile = {0, 0, start, 0, {{0}}};
  /* Where each lane keeps its element from tile to tile, it has sums of its own, and lanes are added up at the end. */
  const int kept = shared && elements <= T, collected = kept && is_spline(&job->kind);
  REAL *lane_sums = work + space_of(&job->kind) * T * (Int)(sizeof(double) / sizeof(REAL));
  if (shared) memset(sums, 0, (size_t)(count * elements) * sizeof(REAL));
  if (kept) memset(lane_sums, 0, (size_t)sums_of_shared(&job->kind) * T * sizeof(REAL));
  for (Int fresh = 1; tile.row < stop; fresh = !(shared && elements <= T)) {
    FN(lay)(&tile, stop, elements, width);
    const FN(Run) first = tile.run[0];
    for (Int r = 0; r < tile.runs; r++) {
      const REAL of_row = ((const REAL *)job->gl.at)[tile.run[r].row * job->gl.stride];
      for (Int s = 0; s < tile.run[r].length; s++) gl[tile.run[r].lane + s] = of_row;
    }
    if (tile.runs == 1 && tile.lanes == T && !shared) {
      const Int place = first.row * elements + first.element;
      const REAL *at = (const REAL *)job->x.at + first.row * job->x.stride + first.element;
      const REAL *of = (const REAL *)job->g.at + first.row * job->g.stride + first.element;
      const REAL *theta = (const REAL *)job->theta.at + first.row * job->theta.stride + first.element;
      REAL *gtheta = (REAL *)job->gtheta.at + first.row * count * elements + first.element;
      FN(grad)(&job->kind, theta, elements, at, of, gl, (REAL *)job->out.at + place, gtheta, elements, work, fresh);
      continue;
    }
    if (fresh) FN(gather)(&tile, job->theta.at, job->theta.stride, elements, count, planes);
    FN(gather)(&tile, job->x.at, job->x.stride, 0, 1, x);
    FN(gather)(&tile, job->g.at, job->g.stride, 0, 1, g);
    if (collected) FN(spline_collect)(&job->kind, planes, x, g, gl, gin, tile.lanes, lane_sums, work, fresh);
    else FN(grad)(&job->kind, planes, T, x, g, gl, gin, gplanes, T, work, fresh);
    FN(scatter)(&tile, gin, job->out.at, elements, 0, 1);
    if (collected) continue;
    if (kept && tile.lanes == width) {
      for (Int j = 0; j < count; j++) {
        REAL *restrict to = lane_sums + j * T;
        const REAL *restrict from = gplanes + j * T;
        LANES { to[i] += from[i]; }
      }
    } else if (shared) {
      for (Int r = 0; r < tile.runs; r++)
        for (Int j = 0; j < count; j++)
          for (Int s = 0; s < tile.run[r].length; s++)
            sums[j * elements + tile.run[r].element + s] += gplanes[j * T + tile.run[r].lane + s];
    } else {
      FN(scatter)(&tile, gplanes, job->gtheta.at, count * elements, elements, count);
    }
  }
  if (collected) FN(spline_settle)(&job->kind, planes, lane_sums, gplanes, work);
  if (kept)
    for (Int j = 0; j < count; j++)
      for (Int i = 0; i < width; i += elements)
        for (Int element = 0; element < elements; element++) sums[j * elements + element] += (collected ? gplanes : lane_sums)[j * T + i + element];
}
