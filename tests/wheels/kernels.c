/* kernels LIBRARY CASES: run the kernels of a native engine on stored cases, and compare with the stored results.

   CASES is a sequence of ten int32 (kind of numbers, item size, mode, factors, channels, size of the result) and the bytes of source and result. */

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int mode, fx, fy, fz, channels;
    long x, y, z, source_line, source_plane, target_line, target_plane;
} Reduction;

int main(int count, char **arguments)
{
    void *library = count == 3 ? dlopen(arguments[1], RTLD_NOW) : NULL;
    if (!library) {
        fprintf(stderr, "cannot load: %s\n", dlerror());
        return 2;
    }
    int (*reduce)(int, int, const Reduction *, const void *, void *) =
        (int (*)(int, int, const Reduction *, const void *, void *))dlsym(library, "wkpipe_reduce");
    const char *(*source)(void) = (const char *(*)(void))dlsym(library, "wkpipe_source");
    FILE *file = fopen(arguments[2], "rb");
    int32_t head[10];
    long done = 0;
    while (file && fread(head, sizeof head, 1, file) == 1) {
        const int32_t *f = head + 3, *n = head + 7;
        size_t item = (size_t)head[1] * head[6], made = (size_t)n[0] * n[1] * n[2] * item, read = made * f[0] * f[1] * f[2];
        char *from = malloc(read), *to = malloc(made), *expected = malloc(made);
        long line = (long)n[0] * head[6];
        Reduction r = {head[2], f[0], f[1], f[2], head[6], n[0], n[1], n[2], line * f[0], line * f[0] * n[1] * f[1], line, line * n[1]};
        if (fread(from, read, 1, file) != 1 || fread(expected, made, 1, file) != 1)
            return 2;
        if (reduce(head[0], head[1], &r, from, to) || memcmp(to, expected, made)) {
            fprintf(stderr, "case %ld differs: numbers %d, item size %d, mode %d, factors %d %d %d\n", done, head[0], head[1], head[2], f[0], f[1], f[2]);
            return 1;
        }
        free(from), free(to), free(expected);
        done++;
    }
    printf("%ld cases, sources %s\n", done, source());
    return 0;
}
