/* The loop of each thread of `limit.py`: decode or encode chunks, memory to memory; reads and writes of the page cache beside it.

   The codecs are functions of the libraries that wkpipe uses, given as pointers. Chunks are handed out one by one, so that all threads end
   at the same time. */

#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { READ, DECODE, ENCODE, WRITE, PARTS };

typedef struct {
    int is_zstd, lz4_level, parameters, encodes, threads, file;
    const int32_t *pairs; /* of each parameter of zstd: its number and its value */
    int64_t count, chunk_bytes, bound;
    const int64_t *offsets, *sizes; /* of the stored chunks in `file` */
    void *(*create_cctx)(void), *(*create_dctx)(void);
    size_t (*free_cctx)(void *), (*free_dctx)(void *);
    size_t (*set_parameter)(void *, int, int);
    size_t (*compress2)(void *, void *, size_t, const void *, size_t);
    size_t (*decompress)(void *, void *, size_t, const void *, size_t);
    int (*lz4_compress)(const char *, char *, int, int, int);
    int (*lz4_decompress)(const char *, char *, int, int);
    double wall[PARTS], cpu[PARTS]; /* results: seconds of all threads */
    int64_t different;              /* chunks that are not encoded as they are stored */
} work;

typedef struct {
    work *all;
    atomic_llong *next;
    double wall[PARTS], cpu[PARTS];
    int64_t different;
} part;

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

#define TIMED(which, statement)                                                                    \
    do {                                                                                           \
        double wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_THREAD_CPUTIME_ID);                    \
        statement;                                                                                 \
        mine->cpu[which] += now(CLOCK_THREAD_CPUTIME_ID) - cpu;                                    \
        mine->wall[which] += now(CLOCK_MONOTONIC) - wall;                                          \
    } while (0)

static void *run(void *argument) {
    part *mine = argument;
    work *all = mine->all;
    char *stored = malloc(all->bound), *voxels = malloc(all->chunk_bytes), *again = malloc(all->bound);
    void *compressor = NULL, *decompressor = NULL;
    if (all->is_zstd) {
        compressor = all->create_cctx();
        decompressor = all->create_dctx();
        for (int i = 0; i < all->parameters; i++)
            all->set_parameter(compressor, all->pairs[2 * i], all->pairs[2 * i + 1]);
    }
    for (int64_t i; (i = atomic_fetch_add(mine->next, 1)) < all->count;) {
        int64_t offset = all->offsets[i], size = all->sizes[i], done = 0, made = 0;
        TIMED(READ, done = pread(all->file, stored, size, offset));
        if (done != size) abort();
        if (all->is_zstd)
            TIMED(DECODE, done = all->decompress(decompressor, voxels, all->chunk_bytes, stored, size));
        else
            TIMED(DECODE, done = all->lz4_decompress(stored, voxels, size, all->chunk_bytes));
        if (done != all->chunk_bytes) abort();
        if (!all->encodes) continue;
        if (all->is_zstd)
            TIMED(ENCODE, made = all->compress2(compressor, again, all->bound, voxels, all->chunk_bytes));
        else
            TIMED(ENCODE, made = all->lz4_compress(voxels, again, all->chunk_bytes, all->bound, all->lz4_level));
        mine->different += made != size || memcmp(again, stored, size) != 0;
        TIMED(WRITE, done = pwrite(all->file, stored, size, offset));
        if (done != size) abort();
    }
    if (all->is_zstd) {
        all->free_cctx(compressor);
        all->free_dctx(decompressor);
    }
    free(stored);
    free(voxels);
    free(again);
    return NULL;
}

void limit(work *all) {
    atomic_llong next = 0;
    pthread_t *threads = calloc(all->threads, sizeof *threads);
    part *parts = calloc(all->threads, sizeof *parts);
    for (int i = 0; i < all->threads; i++) {
        parts[i].all = all;
        parts[i].next = &next;
        if (pthread_create(&threads[i], NULL, run, &parts[i])) abort();
    }
    for (int i = 0; i < all->threads; i++) {
        pthread_join(threads[i], NULL);
        for (int j = 0; j < PARTS; j++) {
            all->wall[j] += parts[i].wall[j];
            all->cpu[j] += parts[i].cpu[j];
        }
        all->different += parts[i].different;
    }
    free(threads);
    free(parts);
}
