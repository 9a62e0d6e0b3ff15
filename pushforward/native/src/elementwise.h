/* A kernel over (rows, sites). The sites of consecutive rows are laid side by side in tiles of T lanes, plane by plane. */

/* A run of sites of one row, and the lanes that it takes. */
typedef struct {
  Int row, site, lane, length;
} FN(Run);

/* `row` and `site` say where the next tile begins. */
typedef struct {
  Int runs, lanes, row, site;
  FN(Run) run[T];
} FN(Tile);

/* Lanes of a tile: all, or as many as make whole rows where all rows share their parameters, so that these stay where they are. */
INLINE Int FN(lanes_of)(const Job *job) { return job->theta.stride == 0 && job->sites <= T ? T / job->sites * job->sites : T; }

/* The next tile of at most `width` lanes, before the row `stop`. */
INLINE void FN(lay)(FN(Tile) *restrict t, Int stop, Int sites, Int width) {
  Int lane = 0;
  t->runs = 0;
  while (lane < width && t->row < stop) {
    const Int left = width - lane, rest = sites - t->site, length = rest < left ? rest : left;
    const FN(Run) run = {t->row, t->site, lane, length};
    t->run[t->runs++] = run;
    lane += length;
    t->site += length;
    if (t->site == sites) {
      t->site = 0;
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

/* `planes` planes of the tile's sites, `step` apart in a row, to [plane][T] and back. */
static void FN(gather)(const FN(Tile) *restrict t, const REAL *restrict source, Int row_stride, Int step, Int planes, REAL *restrict lanes) {
  for (Int r = 0; r < t->runs; r++) {
    const FN(Run) run = t->run[r];
    FN(copy)(lanes + run.lane, T, source + run.row * row_stride + run.site, step, run.length, planes);
  }
}

static void FN(scatter)(const FN(Tile) *restrict t, const REAL *restrict lanes, REAL *restrict target, Int row_stride, Int step, Int planes) {
  for (Int r = 0; r < t->runs; r++) {
    const FN(Run) run = t->run[r];
    FN(copy)(target + run.row * row_stride + run.site, step, lanes + run.lane, T, run.length, planes);
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

/* Rows [start, stop) of: value and ladj, the latter summed over the sites of a row. */
static void FN(forward_rows)(const void *argument, Int start, Int stop, void *space) {
  const Job *job = argument;
  const Int count = parameters_of(&job->kind), sites = job->sites, shared = job->theta.stride == 0, width = FN(lanes_of)(job);
  REAL *planes = space, *work = planes + count * T;
  REAL gathered[T] = {0}, made[T], ladj[T];
  FN(Tile) tile = {0, 0, start, 0, {{0}}};
  double total = 0;
  for (Int fresh = 1; tile.row < stop; fresh = !(shared && sites <= T)) {
    FN(lay)(&tile, stop, sites, width);
    const FN(Run) first = tile.run[0];
    if (tile.runs == 1 && tile.lanes == T) { /* a whole tile in one row is computed where it is */
      const REAL *x = (const REAL *)job->x.at + first.row * job->x.stride + first.site;
      const REAL *theta = (const REAL *)job->theta.at + first.row * job->theta.stride + first.site;
      FN(value)(&job->kind, theta, sites, x, (REAL *)job->out.at + first.row * sites + first.site, ladj, work, fresh);
    } else {
      if (fresh) FN(gather)(&tile, job->theta.at, job->theta.stride, sites, count, planes);
      FN(gather)(&tile, job->x.at, job->x.stride, 0, 1, gathered);
      FN(value)(&job->kind, planes, T, gathered, made, ladj, work, fresh);
      FN(scatter)(&tile, made, job->out.at, sites, 0, 1);
    }
    for (Int r = 0; r < tile.runs; r++) {
      const FN(Run) run = tile.run[r];
      if (sites % T == 0) { /* the same sum wherever the row is, so it may be taken eight at a time */
        double part[8] = {0};
        for (int s = 0; s < T; s += 8)
          for (int i = 0; i < 8; i++) part[i] += (double)ladj[s + i];
        total += ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
      } else {
        for (Int s = 0; s < run.length; s++) total += (double)ladj[run.lane + s];
      }
      if (run.site + run.length == sites) {
        ((REAL *)job->ladj.at)[run.row] = (REAL)total;
        total = 0;
      }
    }
  }
}

/* Rows [start, stop) of the gradients. Parameters that all rows share (stride 0) have one sum for each `group` rows. */
static void FN(backward_rows)(const void *argument, Int start, Int stop, void *space) {
  const Job *job = argument;
  const Int count = parameters_of(&job->kind), sites = job->sites, shared = job->theta.stride == 0, width = FN(lanes_of)(job);
  REAL *planes = space, *gplanes = planes + count * T, *work = gplanes + count * T;
  REAL x[T] = {0}, g[T] = {0}, gl[T] = {0}, gin[T];
  REAL *sums = shared ? (REAL *)job->gtheta.at + start / job->group * count * sites : NULL;
  FN(Tile) tile = {0, 0, start, 0, {{0}}};
  /* Where each lane keeps its site from tile to tile, it has sums of its own, and lanes are added up at the end. */
  const int kept = shared && sites <= T, collected = kept && is_spline(&job->kind);
  REAL *lane_sums = work + space_of(&job->kind) * T * (Int)(sizeof(double) / sizeof(REAL));
  if (shared) memset(sums, 0, (size_t)(count * sites) * sizeof(REAL));
  if (kept) memset(lane_sums, 0, (size_t)sums_of_shared(&job->kind) * T * sizeof(REAL));
  for (Int fresh = 1; tile.row < stop; fresh = !(shared && sites <= T)) {
    FN(lay)(&tile, stop, sites, width);
    const FN(Run) first = tile.run[0];
    for (Int r = 0; r < tile.runs; r++) {
      const REAL of_row = ((const REAL *)job->gl.at)[tile.run[r].row * job->gl.stride];
      for (Int s = 0; s < tile.run[r].length; s++) gl[tile.run[r].lane + s] = of_row;
    }
    if (tile.runs == 1 && tile.lanes == T && !shared) {
      const Int place = first.row * sites + first.site;
      const REAL *at = (const REAL *)job->x.at + first.row * job->x.stride + first.site;
      const REAL *of = (const REAL *)job->g.at + first.row * job->g.stride + first.site;
      const REAL *theta = (const REAL *)job->theta.at + first.row * job->theta.stride + first.site;
      REAL *gtheta = (REAL *)job->gtheta.at + first.row * count * sites + first.site;
      FN(grad)(&job->kind, theta, sites, at, of, gl, (REAL *)job->out.at + place, gtheta, sites, work, fresh);
      continue;
    }
    if (fresh) FN(gather)(&tile, job->theta.at, job->theta.stride, sites, count, planes);
    FN(gather)(&tile, job->x.at, job->x.stride, 0, 1, x);
    FN(gather)(&tile, job->g.at, job->g.stride, 0, 1, g);
    if (collected) FN(spline_collect)(&job->kind, planes, x, g, gl, gin, tile.lanes, lane_sums, work, fresh);
    else FN(grad)(&job->kind, planes, T, x, g, gl, gin, gplanes, T, work, fresh);
    FN(scatter)(&tile, gin, job->out.at, sites, 0, 1);
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
            sums[j * sites + tile.run[r].site + s] += gplanes[j * T + tile.run[r].lane + s];
    } else {
      FN(scatter)(&tile, gplanes, job->gtheta.at, count * sites, sites, count);
    }
  }
  if (collected) FN(spline_settle)(&job->kind, planes, lane_sums, gplanes, work);
  if (kept)
    for (Int j = 0; j < count; j++)
      for (Int i = 0; i < width; i += sites)
        for (Int site = 0; site < sites; site++) sums[j * sites + site] += (collected ? gplanes : lane_sums)[j * T + i + site];
}
