/* Kernels for values of one type: T, IS_FLOAT and NAME(function) are defined where this file is included.

   A tile holds the values of m blocks as n lists of m elements: list k has voxel k of every block, k = dy + fy dx + fx fy dz (the order
   for ties). Each channel has blocks of its own. Each kernel writes one value a block to `out`; it may overwrite the lists. The values
   are those of wkpipe/sampling. */

static inline void NAME(order)(T *restrict low, T *restrict high, long m)
{
    for (long i = 0; i < m; i++) {
        const T a = low[i], b = high[i];
        low[i] = a < b ? a : b;
        high[i] = a < b ? b : a;
    }
}

static inline void NAME(least)(T *restrict out, const T *restrict other, long m)
{
    for (long i = 0; i < m; i++)
        out[i] = other[i] < out[i] ? other[i] : out[i];
}

static inline void NAME(greatest)(T *restrict out, const T *restrict other, long m)
{
    for (long i = 0; i < m; i++)
        out[i] = other[i] > out[i] ? other[i] : out[i];
}

#undef PICK
#if IS_FLOAT
#define PICK(condition, a, b) ((condition) ? (a) : (b))
#else /* compilers make vectors of it for the narrow types, too */
#define PICK(condition, a, b) (((a) & (T)-(T)(condition)) | ((b) & (T)~(T)-(T)(condition)))
#endif

#if IS_FLOAT

/* Note which blocks have a NaN. */
static inline void NAME(note_missing)(const T *restrict lists, int n, long m, uint8_t *restrict missing)
{
    memset(missing, 0, m);
    for (int k = 0; k < n; k++)
        for (long i = 0; i < m; i++)
            missing[i] |= lists[k * m + i] != lists[k * m + i];
}

/* Which of two zeros or NaNs comes out depends on the order of operands: every zero becomes 0.0, every NaN the positive quiet one. */
static inline void NAME(canonical)(T *restrict out, const uint8_t *restrict missing, long m)
{
    for (long i = 0; i < m; i++) {
        const T value = out[i] + (T)0;
        out[i] = (missing[i] | (value != value)) ? (T)__builtin_nan("") : value;
    }
}

/* Equal values are kept, even if their sum overflows. */
static inline void NAME(mean)(const T *restrict low, const T *restrict high, long m, T *restrict out)
{
    for (long i = 0; i < m; i++) {
        const T half = (low[i] + high[i]) * (T)0.5;
        out[i] = low[i] == high[i] ? low[i] : half;
    }
}

#else

/* The mean of two, rounded down without an overflow; of signed values towards zero. */
static inline T NAME(mean_of_two)(T low, T high)
{
    const T differs = low ^ high;
    const T mean = (T)((low & high) + (differs >> 1));
    return (T)-1 < 0 ? (T)(mean + ((mean < 0) & differs & 1)) : mean;
}

static inline void NAME(mean)(const T *restrict low, const T *restrict high, long m, T *restrict out)
{
    for (long i = 0; i < m; i++)
        out[i] = NAME(mean_of_two)(low[i], high[i]);
}

#define LEAST(a, b) ((a) < (b) ? (a) : (b))
#define GREATEST(a, b) ((a) < (b) ? (b) : (a))

static inline T NAME(median_of_four)(T a, T b, T c, T d)
{
    const T low = GREATEST(LEAST(a, b), LEAST(c, d)), high = LEAST(GREATEST(a, b), GREATEST(c, d));
    return NAME(mean_of_two)(low, high);
}

/* As `median`: sort two halves, and separate the least four from the greatest four. The middle two of each half need no order: if they
   are exchanged, so are the two results (a test has all orders of eight values). */
static inline T NAME(median_of_eight)(T a0, T a1, T a2, T a3, T b0, T b1, T b2, T b3)
{
#define SORT(x, y) do { const T least = LEAST(x, y); y = GREATEST(x, y); x = least; } while (0)
    SORT(a0, a1); SORT(a2, a3); SORT(a0, a2); SORT(a1, a3);
    SORT(b0, b1); SORT(b2, b3); SORT(b0, b2); SORT(b1, b3);
    SORT(a0, b3); SORT(a1, b2); SORT(a2, b1); SORT(a3, b0);
#undef SORT
    const T low = GREATEST(a0, a1), low2 = GREATEST(a2, a3), high = LEAST(b0, b1), high2 = LEAST(b2, b3);
    return NAME(mean_of_two)(GREATEST(low, low2), LEAST(high, high2));
}

#endif

/* Merge sorted lists (K. E. Batcher, Sorting networks and their applications, 1968) until two halves are left, of which one stage
   separates the least from the greatest: the middle two are the greatest of the least and the least of the greatest. */
static void NAME(median)(T *restrict lists, int n, long m, T *restrict out)
{
    for (int k = 1; 2 * k < n; k *= 2) {
        for (int base = 0; base < n; base += 2 * k) {
            for (int i = 0; i < k; i++)
                NAME(order)(lists + (base + i) * m, lists + (base + 2 * k - 1 - i) * m, m);
            for (int step = k / 2; step; step /= 2)
                for (int i = 0; i < 2 * k; i++)
                    if (!(i & step))
                        NAME(order)(lists + (base + i) * m, lists + (base + i + step) * m, m);
        }
    }
    for (int i = 0; i < n / 2; i++)
        NAME(order)(lists + i * m, lists + (n - 1 - i) * m, m);
    for (int i = 1; i < n / 2; i++) {
        NAME(greatest)(lists, lists + i * m, m);
        NAME(least)(lists + (n - 1) * m, lists + (n - 1 - i) * m, m);
    }
    NAME(mean)(lists, lists + (n - 1) * m, m, out);
}

static void NAME(min)(T *restrict lists, int n, long m, T *restrict out)
{
    for (int k = 1; k < n; k++)
        NAME(least)(lists, lists + k * m, m);
    memcpy(out, lists, m * sizeof(T));
}

static void NAME(max)(T *restrict lists, int n, long m, T *restrict out)
{
    for (int k = 1; k < n; k++)
        NAME(greatest)(lists, lists + k * m, m);
    memcpy(out, lists, m * sizeof(T));
}

/* The most frequent value of one block; of values that are as frequent, the first one. */
static T NAME(vote)(const T *restrict lists, int n, long m, long block)
{
    T values[MOST_VOXELS];
    for (int k = 0; k < n; k++)
        values[k] = lists[k * m + block];
    T winner = values[0];
    for (int first = 0, most = 0; most < n - first; first++) {
        int votes = 1; /* also of a NaN, which does not equal itself */
        for (int k = first + 1; k < n; k++)
            votes += values[k] == values[first];
        if (votes > most) {
            most = votes;
            winner = values[first];
        }
    }
    return winner;
}

/* Four voxels: the first one wins unless it is alone and two others are equal, of which the first is written. */
static inline T NAME(vote_of_four)(T a, T b, T c, T d)
{
    const T others = PICK((b == c) | (b == d), b, PICK(c == d, c, a));
    return PICK((a == b) | (a == c) | (a == d), a, others);
}

static inline void NAME(vote_fours)(const T *restrict lists, long m, T *restrict out)
{
    const T *restrict second = lists + m, *restrict third = lists + 2 * m, *restrict fourth = lists + 3 * m;
    for (long i = 0; i < m; i++)
        out[i] = NAME(vote_of_four)(lists[i], second[i], third[i], fourth[i]);
}

/* All pairs are compared. The first of equal values counts all of them, later ones fewer; so the first with the greatest count wins. */
static inline void NAME(vote_pairs)(const T *restrict lists, int n, long m, T *restrict out, T *restrict votes, T *restrict most)
{
    for (long i = 0; i < m; i++)
        most[i] = 0;
    for (int first = 0; first < n - 1; first++) {
        const T *restrict value = lists + first * m;
        for (long i = 0; i < m; i++)
            votes[i] = 1;
        for (int k = first + 1; k < n; k++)
            for (long i = 0; i < m; i++)
                votes[i] += value[i] == lists[k * m + i];
        for (long i = 0; i < m; i++) {
            const int wins = votes[i] > most[i];
            out[i] = PICK(wins, value[i], out[i]);
            most[i] = PICK(wins, votes[i], most[i]);
        }
    }
}

static void NAME(mode)(T *restrict lists, int n, long m, T *restrict out)
{
    if (n == 4) {
        NAME(vote_fours)(lists, m, out);
        return;
    }
    memcpy(out, lists, m * sizeof(T));
    if (n < 4)
        return; /* two different values are as frequent, and the first one wins */
    T differs[TILE_BYTES / 8 / sizeof(T)], most[TILE_BYTES / 8 / sizeof(T)];
    for (long i = 0; i < m; i++)
        differs[i] = 0;
    for (int k = 1; k < n; k++)
        for (long i = 0; i < m; i++)
            differs[i] = lists[k * m + i] != out[i] ? 1 : differs[i];
    long open = 0;
    for (long i = 0; i < m; i++)
        open += differs[i] != 0;
    if (n == 8 && 8 * open > m) {
        NAME(vote_pairs)(lists, n, m, out, differs, most);
        return;
    }
    for (long i = 0; open && i < m; i++)
        if (differs[i]) {
            out[i] = NAME(vote)(lists, n, m, i);
            open--;
        }
}

/* Copy every `step`-th voxel of a line to one list after the other: places 0 to step - 1 to the lists k0, k0 + apart, … */
static inline __attribute__((always_inline)) void NAME(deal)(const T *restrict line, int step, long count, T *restrict lists, long m, int apart)
{
    for (int dx = 0; dx < step; dx++) {
        T *restrict list = lists + (long)dx * apart * m;
        for (long x = 0; x < count; x++)
            list[x] = line[x * step + dx];
    }
}

static void NAME(tile)(const T *source, const Reduction *r, long z, long y, long rows, T *restrict lists, long m)
{
    for (int dz = 0; dz < r->fz; dz++)
        for (long row = 0; row < rows; row++)
            for (int dy = 0; dy < r->fy; dy++) {
                const T *line = source + (z * r->fz + dz) * r->source_plane + ((y + row) * r->fy + dy) * r->source_line;
                T *into = lists + (long)(dy + r->fx * r->fy * dz) * m + row * r->x;
                if (r->fx == 2 && r->x == 16) /* the usual chunk of 32 voxels: a loop of known length is several times faster */
                    NAME(deal)(line, 2, 16, into, m, r->fy);
                else if (r->fx == 2)
                    NAME(deal)(line, 2, r->x, into, m, r->fy);
                else if (r->fx == 4)
                    NAME(deal)(line, 4, r->x, into, m, r->fy);
                else
                    memcpy(into, line, r->x * sizeof(T));
            }
}

/* The same for voxels of several channels, which stay together. */
static inline __attribute__((always_inline)) void NAME(tile_of)(
    int channels, const T *source, const Reduction *r, long z, long y, long rows, T *restrict lists, long m)
{
    for (int dz = 0; dz < r->fz; dz++)
        for (long row = 0; row < rows; row++)
            for (int dy = 0; dy < r->fy; dy++)
                for (int dx = 0; dx < r->fx; dx++) {
                    const T *line = source + (z * r->fz + dz) * r->source_plane + ((y + row) * r->fy + dy) * r->source_line;
                    T *list = lists + (long)(dy + r->fy * dx + r->fx * r->fy * dz) * m + row * r->x * channels;
                    for (long x = 0; x < r->x; x++)
                        for (int c = 0; c < channels; c++)
                            list[x * channels + c] = line[(x * r->fx + dx) * channels + c];
                }
}

static void NAME(tile_of_many)(const T *source, const Reduction *r, long z, long y, long rows, T *restrict lists, long m)
{
    if (r->channels == 3) /* a loop of known length is faster */
        NAME(tile_of)(3, source, r, z, y, rows, lists, m);
    else
        NAME(tile_of)(r->channels, source, r, z, y, rows, lists, m);
}

#if !IS_FLOAT
/* As `vote_pairs`, in registers. */
static inline T NAME(vote_of_eight)(T a, T b, T c, T d, T e, T f, T g, T h)
{
    const T as = (T)((a == b) + (a == c) + (a == d) + (a == e) + (a == f) + (a == g) + (a == h));
    const T bs = (T)((b == c) + (b == d) + (b == e) + (b == f) + (b == g) + (b == h));
    const T cs = (T)((c == d) + (c == e) + (c == f) + (c == g) + (c == h));
    const T ds = (T)((d == e) + (d == f) + (d == g) + (d == h));
    const T es = (T)((e == f) + (e == g) + (e == h));
    const T fs = (T)((f == g) + (f == h)), gs = (T)(g == h);
    T winner = a, most = as;
#define VOTE(value, votes) do { winner = PICK(votes > most, value, winner); most = PICK(votes > most, votes, most); } while (0)
    VOTE(b, bs); VOTE(c, cs); VOTE(d, ds); VOTE(e, es); VOTE(f, fs); VOTE(g, gs);
#undef VOTE
    return winner;
}

/* A part of a line of blocks of 2 × 2 × 2 voxels: nearly all voxels of labels equal their neighbours. */
static inline __attribute__((always_inline)) void NAME(mode_of_eights)(
    const T *restrict a, const T *restrict b, const T *restrict c, const T *restrict d, long count, T *restrict out)
{
    T any = 0;
    for (long x = 0, i = 0; x < count; x++, i += 2) {
        const T one = a[i];
        any |= (T)((one ^ a[i + 1]) | (one ^ b[i]) | (one ^ b[i + 1]) | (one ^ c[i]) | (one ^ c[i + 1]) | (one ^ d[i]) | (one ^ d[i + 1]));
        out[x] = one;
    }
    if (any)
        for (long x = 0, i = 0; x < count; x++, i += 2)
            out[x] = NAME(vote_of_eight)(a[i], b[i], a[i + 1], b[i + 1], c[i], d[i], c[i + 1], d[i + 1]);
}

/* One line of blocks of 2 × 2 × 1 or 2 × 2 × 2 voxels, in registers. */
static inline __attribute__((always_inline)) void NAME(line)(
    int mode, int fz, const T *restrict source, const Reduction *r, long count, T *restrict out)
{
    const T *a = source, *b = source + r->source_line, *c = source + r->source_plane, *d = c + r->source_line;
    if (mode == MODE && fz == 2) {
        for (long x = 0; x < count; x += LINE)
            NAME(mode_of_eights)(a + 2 * x, b + 2 * x, c + 2 * x, d + 2 * x, count - x < LINE ? count - x : LINE, out + x);
        return;
    }
    for (long x = 0, i = 0; x < count; x++, i += 2)
        if (mode == MODE)
            out[x] = NAME(vote_of_four)(a[i], b[i], a[i + 1], b[i + 1]);
        else if (fz == 1)
            out[x] = NAME(median_of_four)(a[i], a[i + 1], b[i], b[i + 1]);
        else
            out[x] = NAME(median_of_eight)(a[i], a[i + 1], b[i], b[i + 1], c[i], c[i + 1], d[i], d[i + 1]);
}

static inline __attribute__((always_inline)) void NAME(lines)(int mode, int fz, const T *source, const Reduction *r, T *target)
{
    for (long z = 0; z < r->z; z++)
        for (long y = 0; y < r->y; y++) {
            const T *from = source + z * fz * r->source_plane + 2 * y * r->source_line;
            T *to = target + z * r->target_plane + y * r->target_line;
            if (r->x == 16) /* see `tile` */
                NAME(line)(mode, fz, from, r, 16, to);
            else
                NAME(line)(mode, fz, from, r, r->x, to);
        }
}

/* The usual blocks of one channel, two to four times as fast as with lists. 0: they are others. */
static int NAME(reduce_lines)(const T *source, const Reduction *r, T *target)
{
    if (r->channels != 1 || r->fx != 2 || r->fy != 2)
        return 0;
    if (r->mode == MEDIAN && r->fz == 1)
        NAME(lines)(MEDIAN, 1, source, r, target);
    else if (r->mode == MEDIAN && r->fz == 2)
        NAME(lines)(MEDIAN, 2, source, r, target);
    else if (r->mode == MODE && r->fz == 1)
        NAME(lines)(MODE, 1, source, r, target);
    else if (r->mode == MODE && r->fz == 2 && sizeof(T) < 8) /* of 8 bytes, too few fit into a register */
        NAME(lines)(MODE, 2, source, r, target);
    else
        return 0;
    return 1;
}
#endif

static void NAME(reduce)(const T *source, const Reduction *r, T *target, T *restrict lists, T *restrict out)
{
#if !IS_FLOAT
    if (NAME(reduce_lines)(source, r, target))
        return;
#endif
    const int n = r->fx * r->fy * r->fz;
    const long width = r->x * r->channels;
    long most = TILE_BYTES / (long)sizeof(T) / n / width;
    most = most < 1 ? 1 : most;
#if IS_FLOAT
    uint8_t missing[TILE_BYTES / 2 / sizeof(T)];
#endif
    for (long z = 0; z < r->z; z++)
        for (long y = 0, rows; y < r->y; y += rows) {
            rows = r->y - y < most ? r->y - y : most;
            const long m = rows * width;
            if (r->channels == 1)
                NAME(tile)(source, r, z, y, rows, lists, m);
            else
                NAME(tile_of_many)(source, r, z, y, rows, lists, m);
#if IS_FLOAT
            if (r->mode != MODE)
                NAME(note_missing)(lists, n, m, missing);
#endif
            switch (r->mode) {
            case MEDIAN: NAME(median)(lists, n, m, out); break;
            case MODE: NAME(mode)(lists, n, m, out); break;
            case MIN: NAME(min)(lists, n, m, out); break;
            case MAX: NAME(max)(lists, n, m, out); break;
            }
#if IS_FLOAT
            if (r->mode != MODE)
                NAME(canonical)(out, missing, m);
#endif
            for (long row = 0; row < rows; row++)
                memcpy(target + z * r->target_plane + (y + row) * r->target_line, out + row * width, width * sizeof(T));
        }
}
