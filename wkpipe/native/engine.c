/* The hot loops of wkpipe: whole chunks are decoded, sampled and encoded without Python and without copies in between.

   Plain C with a plain ABI, called through ctypes without the GIL. A voxel has the values of all channels of a chunk; after them, x varies
   fastest. Nothing here reads or writes outside of the buffers that it is given, whatever the stored bytes are: they are decoded into a
   chunk of known size, or refused by the library. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MEDIAN, MODE, MIN, MAX };

enum { UNSIGNED, SIGNED, FLOATING };

enum { TILE_BYTES = 32 << 10, MOST_VOXELS = 64, LINE = 16 };

/* x, y, z: the voxels that are made, each with the values of all channels. Lines and planes are distances in values. */
typedef struct {
    int mode, fx, fy, fz, channels;
    long x, y, z, source_line, source_plane, target_line, target_plane;
} Reduction;

typedef void (*Reduce)(const void *, const Reduction *, void *, void *, void *);

/* What is compiled for several processors. */
typedef struct {
    const char *processor;
    Reduce (*kernel)(int dtype, int size); /* NULL: there is none */
    int (*any_set)(const uint8_t *bytes, size_t size, int dtype, int itemsize);
} Kernels;

#define VARIANT plain
#include "kernels.h"
#undef VARIANT
static const Kernels *kernels = &kernels_plain;

/* The same for processors with AVX2, chosen when the library is loaded. Compilers can do this themselves, but not all of them for all
   C libraries. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(WKPIPE_PLAIN)
#include <cpuid.h>
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
#define VARIANT avx2
#include "kernels.h"
#undef VARIANT
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

/* True if the processor has AVX2, and the system saves its registers (Intel, Software Developer's Manual, volume 1, 14.7.1). */
static int has_avx2(void)
{
    enum { OSXSAVE = 1 << 27, AVX = 1 << 28, AVX2 = 1 << 5, SAVED = 6 };
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & (OSXSAVE | AVX)) != (OSXSAVE | AVX))
        return 0;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & SAVED) == SAVED && __get_cpuid_count(7, 0, &a, &b, &c, &d) && b & AVX2;
}

__attribute__((constructor)) static void choose(void)
{
    if (has_avx2())
        kernels = &kernels_avx2;
}
#endif

#include "codecs.h"

/* What one thread works with. */
typedef struct {
    Codec codec;
    size_t source_bytes, target_bytes;
    uint8_t *source, *target, *lists, *out;
} Context;

void wkpipe_close(Context *context)
{
    if (!context)
        return;
    close_codec(&context->codec);
    free(context->source);
    free(context->target);
    free(context->lists);
    free(context->out);
    free(context);
}

/* See `open_codec`; chunks are decoded to `source_bytes` and encoded from `target_bytes`. NULL: there is no memory, or the library refuses
   a parameter. */
Context *wkpipe_open(const Functions *functions, int kind, const int32_t *parameters, int count, int64_t source_bytes, int64_t target_bytes)
{
    Context *context = calloc(1, sizeof *context);
    if (!context)
        return NULL;
    context->source_bytes = source_bytes;
    context->target_bytes = target_bytes;
    context->source = malloc(source_bytes);
    context->target = malloc(target_bytes);
    context->lists = malloc(TILE_BYTES);
    context->out = malloc(TILE_BYTES);
    const int has_codec = open_codec(&context->codec, functions, kind, parameters, count);
    if (!has_codec || !context->source || !context->target || !context->lists || !context->out) {
        wkpipe_close(context);
        return NULL;
    }
    return context;
}

/* True if a line of x blocks of n voxels fits a tile; `size` is the bytes of a voxel. */
static int fits(long n, long x, long size) { return n >= 2 && n <= MOST_VOXELS && size <= TILE_BYTES && n * x * size <= TILE_BYTES; }

/* Reduce a box of voxels. 0: done; 1: it cannot be done here (NumPy does it). */
int wkpipe_reduce(int dtype, int size, const Reduction *reduction, const void *source, void *target)
{
    const Reduce reduce = kernels->kernel(dtype, size);
    const long n = (long)reduction->fx * reduction->fy * reduction->fz;
    if (!reduce || !fits(n, reduction->x, (long)size * reduction->channels))
        return 1;
    uint8_t *buffers = malloc(2 * TILE_BYTES);
    if (!buffers)
        return 1;
    reduce(source, reduction, target, buffers, buffers + TILE_BYTES);
    free(buffers);
    return 0;
}

/* Encode a chunk at `out`. The number of its bytes; 0: it is zero everywhere; -1: the library failed. */
static int64_t stored(const Context *context, const uint8_t *chunk, int dtype, int itemsize, uint8_t *out, size_t room)
{
    if (!kernels->any_set(chunk, context->target_bytes, dtype, itemsize))
        return 0;
    return encoded(&context->codec, chunk, context->target_bytes, out, room);
}

/* A cube: `grid` target chunks of `chunk` voxels, each made of `per_axis` source chunks an axis.

   addresses, sizes: the stored source chunks, the first axis fastest; address 0: all of it is zero.
   order: the target chunks to make, as places in the grid, the first axis fastest.
   low, high: the voxels of the cube that are in the layer's box; the others are zero.
   frames, ends: room for the encoded chunks, and how many bytes each has.
   coarser: where the next mag's voxels are put (NULL: nowhere), with its own factors and distances.
   kind: how the source chunks are stored. dtype, itemsize, channels: of a value, and how many of them a voxel has. */
typedef struct {
    int32_t mode, kind, dtype, itemsize, channels;
    int32_t factors[3], chunk[3], per_axis[3], grid[3], low[3], high[3];
    const uint64_t *addresses;
    const int64_t *sizes;
    const int64_t *order;
    int64_t count;
    uint8_t *frames;
    int64_t capacity;
    int64_t *lengths;
    uint8_t *coarser;
    int32_t coarser_factors[3];
    int64_t coarser_line, coarser_plane;
} Cube;

/* Set the voxels of a target chunk to zero that are outside of the box. `first` is the chunk's first voxel in the cube. */
static void clip(uint8_t *chunk, const Cube *cube, const long first[3])
{
    long low[3], high[3];
    int is_inside = 1;
    for (int axis = 0; axis < 3; axis++) {
        const long n = cube->chunk[axis];
        low[axis] = cube->low[axis] - first[axis];
        high[axis] = cube->high[axis] - first[axis];
        low[axis] = low[axis] < 0 ? 0 : low[axis] > n ? n : low[axis];
        high[axis] = high[axis] < low[axis] ? low[axis] : high[axis] > n ? n : high[axis];
        is_inside &= low[axis] == 0 && high[axis] == n;
    }
    if (is_inside)
        return;
    const size_t voxel = (size_t)cube->channels * cube->itemsize;
    const size_t line = cube->chunk[0] * voxel, before = low[0] * voxel, after = high[0] * voxel;
    for (long z = 0; z < cube->chunk[2]; z++)
        for (long y = 0; y < cube->chunk[1]; y++) {
            uint8_t *at = chunk + (z * cube->chunk[1] + y) * line;
            if (z < low[2] || z >= high[2] || y < low[1] || y >= high[1])
                memset(at, 0, line);
            else {
                memset(at, 0, before);
                memset(at + after, 0, line - after);
            }
        }
}

/* Put the next mag's voxels that come from a target chunk in their place; of a chunk at the border, those that are in the box. */
static void handed_over(Context *context, const Cube *cube, Reduce reduce, const long first[3])
{
    const int32_t *factors = cube->coarser_factors;
    long size[3], from[3], to = 0;
    const long distance[3] = {cube->channels, cube->coarser_line, cube->coarser_plane};
    for (int axis = 0; axis < 3; axis++) {
        long low = cube->low[axis] - first[axis], high = cube->high[axis] - first[axis];
        low = low < 0 ? 0 : low;
        high = high > cube->chunk[axis] ? cube->chunk[axis] : high;
        if (high <= low)
            return;
        from[axis] = low;
        size[axis] = (high - low) / factors[axis];
        to += (first[axis] + low - cube->low[axis]) / factors[axis] * distance[axis];
    }
    const long line = (long)cube->chunk[0] * cube->channels, plane = line * cube->chunk[1];
    const Reduction reduction = {cube->mode, factors[0], factors[1], factors[2], cube->channels, size[0], size[1], size[2], line, plane,
                                 cube->coarser_line, cube->coarser_plane};
    const long start = from[0] * cube->channels + from[1] * line + from[2] * plane;
    reduce(context->target + start * cube->itemsize, &reduction, cube->coarser + to * cube->itemsize, context->lists, context->out);
}

/* Make the chunks of a cube. The bytes of all frames; -1 - place: a source chunk is damaged; INT64_MIN: the library cannot encode;
   INT64_MIN + 1: the shapes do not fit or the codec is absent, NumPy does it. */
int64_t wkpipe_cube(Context *context, const Cube *cube)
{
    const Reduce reduce = kernels->kernel(cube->dtype, cube->itemsize);
    const int32_t *chunk = cube->chunk, *per = cube->per_axis, *factors = cube->factors;
    const long n = (long)factors[0] * factors[1] * factors[2];
    const long part[3] = {chunk[0] / per[0], chunk[1] / per[1], chunk[2] / per[2]};
    const long next = cube->coarser ? (long)cube->coarser_factors[0] * cube->coarser_factors[1] * cube->coarser_factors[2] : 2;
    const long channels = cube->channels, voxel = channels * cube->itemsize;
    if (!reduce || !fits(n, part[0], voxel) || !fits(next, chunk[0], voxel))
        return INT64_MIN + 1;
    if (!can_decode(&context->codec, cube->kind, context->source_bytes))
        return INT64_MIN + 1;
    const long line = chunk[0] * channels, plane = line * chunk[1];
    const long source_line = part[0] * factors[0] * channels, source_plane = source_line * part[1] * factors[1];
    const Reduction reduction = {cube->mode, factors[0], factors[1], factors[2], cube->channels, part[0], part[1], part[2],
                                 source_line, source_plane, line, plane};
    const long sources[2] = {(long)cube->grid[0] * per[0], (long)cube->grid[1] * per[1]};
    int64_t used = 0;
    for (int64_t k = 0; k < cube->count; k++) {
        const long cell = cube->order[k];
        const long at[3] = {cell % cube->grid[0], cell / cube->grid[0] % cube->grid[1], cell / cube->grid[0] / cube->grid[1]};
        const long first[3] = {at[0] * chunk[0], at[1] * chunk[1], at[2] * chunk[2]};
        int is_stored = 0;
        for (long i = 0; i < (long)per[0] * per[1] * per[2]; i++) {
            const long in[3] = {i % per[0], i / per[0] % per[1], i / per[0] / per[1]};
            const int64_t place =
                at[0] * per[0] + in[0] + sources[0] * (at[1] * per[1] + in[1] + sources[1] * (at[2] * per[2] + in[2]));
            if (!cube->addresses[place])
                continue;
            const uint8_t *source = decoded(&context->codec, cube->kind, (const uint8_t *)(uintptr_t)cube->addresses[place],
                                            cube->sizes[place], context->source, context->source_bytes, cube->itemsize);
            if (!source)
                return -1 - place;
            if (!is_stored)
                memset(context->target, 0, context->target_bytes);
            is_stored = 1;
            const long to = in[0] * part[0] * channels + in[1] * part[1] * line + in[2] * part[2] * plane;
            reduce(source, &reduction, context->target + to * cube->itemsize, context->lists, context->out);
        }
        cube->lengths[k] = 0;
        if (!is_stored)
            continue; /* the next mag's voxels are zero already */
        clip(context->target, cube, first);
        if (cube->coarser)
            handed_over(context, cube, reduce, first);
        cube->lengths[k] =
            stored(context, context->target, cube->dtype, cube->itemsize, cube->frames + used, cube->capacity - used);
        if (cube->lengths[k] < 0)
            return INT64_MIN;
        used += cube->lengths[k];
    }
    return used;
}

/* Cut `count` chunks (places in `grid`, the first axis fastest) out of a box of whole chunks, and encode them. The bytes of all frames;
   INT64_MIN: the library cannot encode. */
int64_t wkpipe_encode(Context *context, const uint8_t *voxels, int dtype, int itemsize, int channels, const int32_t *chunk,
                      const int32_t *grid, const int64_t *order, int64_t count, uint8_t *frames, int64_t capacity, int64_t *lengths)
{
    const size_t line = (size_t)chunk[0] * channels * itemsize, row = line * grid[0], plane = row * chunk[1] * grid[1];
    int64_t used = 0;
    for (int64_t k = 0; k < count; k++) {
        const size_t x = order[k] % grid[0], y = order[k] / grid[0] % grid[1], z = order[k] / grid[0] / grid[1];
        const uint8_t *start = voxels + x * line + y * chunk[1] * row + z * chunk[2] * plane;
        const int is_in_one_piece = grid[0] == 1 && grid[1] == 1;
        for (int dz = 0; dz < chunk[2] && !is_in_one_piece; dz++)
            for (int dy = 0; dy < chunk[1]; dy++)
                memcpy(context->target + ((size_t)dz * chunk[1] + dy) * line, start + dz * plane + dy * row, line);
        const uint8_t *cut = is_in_one_piece ? start : context->target;
        lengths[k] = stored(context, cut, dtype, itemsize, frames + used, capacity - used);
        if (lengths[k] < 0)
            return INT64_MIN;
        used += lengths[k];
    }
    return used;
}

#ifndef WKPIPE_SOURCE
#define WKPIPE_SOURCE ""
#endif

/* The digest of the source that this library was built from. */
const char *wkpipe_source(void) { return WKPIPE_SOURCE; }

/* The kind of processor that the kernels in use are compiled for. */
const char *wkpipe_processor(void) { return kernels->processor; }
