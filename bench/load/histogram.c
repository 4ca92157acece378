#include "histogram.h"

#include <string.h>

void histogram_clear(histogram *self) { memset(self, 0, sizeof *self); }

static uint64_t bucket_upper_edge(uint32_t bucket) {
    if (bucket < 2 * HISTOGRAM_SUB) {
        return bucket;
    }
    uint32_t exponent = bucket / HISTOGRAM_SUB - 1;
    uint64_t mantissa = bucket - exponent * HISTOGRAM_SUB;
    return ((mantissa + 1) << exponent) - 1;
}

uint64_t histogram_quantile(const histogram *self, double quantile) {
    uint64_t seen = 0;
    double wanted = quantile * (double)self->total;
    for (uint32_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += self->counts[bucket];
        if (self->counts[bucket] && (double)seen >= wanted) {
            uint64_t edge = bucket_upper_edge(bucket);
            return edge < self->highest ? edge : self->highest;
        }
    }
    return self->highest;
}

double histogram_mean(const histogram *self) {
    return self->total ? (double)self->sum / (double)self->total : 0.0;
}
