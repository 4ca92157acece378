/* Latency histogram with logarithmic buckets, in the manner of HdrHistogram.
 *
 * Values are nanoseconds. Below 128 ns a bucket is 1 ns wide; above, each power of two
 * is cut into 64 buckets, so a reported value is at most 1.6 % above the true one.
 * Recording is one increment, whatever the value; memory is fixed (30 KiB). What is
 * read from it, result.py reads. */
#ifndef FASTWS_LOAD_HISTOGRAM_H
#define FASTWS_LOAD_HISTOGRAM_H

#include <stdint.h>
#include <string.h>

enum {
    HISTOGRAM_SUB_BITS = 6,
    HISTOGRAM_SUB = 1 << HISTOGRAM_SUB_BITS,
    HISTOGRAM_BUCKETS = (64 - HISTOGRAM_SUB_BITS + 1) * HISTOGRAM_SUB,
};

typedef struct {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t total;
    uint64_t sum;
    uint64_t highest;
    uint64_t lowest; /* UINT64_MAX when empty */
} histogram;

static inline void histogram_clear(histogram *self) {
    memset(self, 0, sizeof *self);
    self->lowest = UINT64_MAX;
}

static inline uint32_t histogram_bucket(uint64_t value) {
    if (value < 2 * HISTOGRAM_SUB) {
        return (uint32_t)value;
    }
    uint32_t exponent = 63U - (uint32_t)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    return exponent * HISTOGRAM_SUB + (uint32_t)(value >> exponent);
}

static inline void histogram_record(histogram *self, uint64_t value, uint64_t times) {
    self->counts[histogram_bucket(value)] += times;
    self->total += times;
    self->sum += value * times;
    self->highest = value > self->highest ? value : self->highest;
    self->lowest = value < self->lowest ? value : self->lowest;
}

#endif
