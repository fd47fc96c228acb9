/* The kernels of all types, for one kind of processor: VARIANT is defined where this file is included, once for each. */

#ifndef NAME
#define JOIN2(name, variant) name##_##variant
#define JOIN3(name, type, variant) name##_##type##_##variant
#define OF2(name, variant) JOIN2(name, variant)
#define OF3(name, type, variant) JOIN3(name, type, variant)
#define TEXT1(variant) #variant
#define TEXT(variant) TEXT1(variant)
#define OF_VARIANT(name) OF2(name, VARIANT)
#define KERNEL(type) OF3(reduce, type, VARIANT)
#define NAME(name) OF3(name, T, VARIANT)
#endif

#define IS_FLOAT 0
#define T uint8_t
#include "reduce.h"
#undef T
#define T uint16_t
#include "reduce.h"
#undef T
#define T uint32_t
#include "reduce.h"
#undef T
#define T uint64_t
#include "reduce.h"
#undef T
#define T int8_t
#include "reduce.h"
#undef T
#define T int16_t
#include "reduce.h"
#undef T
#define T int32_t
#include "reduce.h"
#undef T
#define T int64_t
#include "reduce.h"
#undef T
#undef IS_FLOAT
#define IS_FLOAT 1
#define T float
#include "reduce.h"
#undef T
#define T double
#include "reduce.h"
#undef T
#undef IS_FLOAT

static Reduce OF_VARIANT(kernel)(int dtype, int size)
{
    switch (16 * dtype + size) {
    case 16 * UNSIGNED + 1: return (Reduce)KERNEL(uint8_t);
    case 16 * UNSIGNED + 2: return (Reduce)KERNEL(uint16_t);
    case 16 * UNSIGNED + 4: return (Reduce)KERNEL(uint32_t);
    case 16 * UNSIGNED + 8: return (Reduce)KERNEL(uint64_t);
    case 16 * SIGNED + 1: return (Reduce)KERNEL(int8_t);
    case 16 * SIGNED + 2: return (Reduce)KERNEL(int16_t);
    case 16 * SIGNED + 4: return (Reduce)KERNEL(int32_t);
    case 16 * SIGNED + 8: return (Reduce)KERNEL(int64_t);
    case 16 * FLOATING + 4: return (Reduce)KERNEL(float);
    case 16 * FLOATING + 8: return (Reduce)KERNEL(double);
    }
    return NULL;
}

/* True if any value is not zero; of floats, -0.0 is zero. */
static int OF_VARIANT(any_set)(const uint8_t *bytes, size_t size, int dtype, int itemsize)
{
    const uint64_t counts = dtype != FLOATING ? ~0ull : itemsize == 4 ? 0x7fffffff7fffffffull : 0x7fffffffffffffffull;
    size_t i = 0;
    for (; i + 512 <= size; i += 512) {
        uint64_t any = 0;
        for (size_t j = 0; j < 512; j += 8) {
            uint64_t word;
            memcpy(&word, bytes + i + j, 8);
            any |= word;
        }
        if (any & counts)
            return 1;
    }
    for (; i < size; i += 8) {
        uint64_t word = 0;
        memcpy(&word, bytes + i, size - i < 8 ? size - i : 8);
        if (word & counts)
            return 1;
    }
    return 0;
}

static const Kernels OF_VARIANT(kernels) = {TEXT(VARIANT), OF_VARIANT(kernel), OF_VARIANT(any_set)};
