/* UTF-8 validation with three 16-entry tables: J. Keiser and D. Lemire, "Validating
 * UTF-8 In Less Than One Instruction Per Byte" (2021). Written once, for the vector
 * operations of the file included before: LOOKUP (the functions' attributes),
 * VECTOR_SIZE, vector_*.
 *
 * The tables hold one bit per kind of error. A bit that all three lookups (both halves
 * of the previous byte, upper half of this byte) have in common is an error.
 */
#ifndef FASTWS_UTF8_LOOKUP_H
#define FASTWS_UTF8_LOOKUP_H

#include "utf8_step.h"

/* One whole block, and up to six bytes before it that go one by one. */
#define LOOKUP_SHORTEST (VECTOR_SIZE + 8)

enum {
    TOO_SHORT = 1 << 0,      /* lead byte, then no continuation */
    TOO_LONG = 1 << 1,       /* ASCII, then a continuation */
    OVERLONG_3 = 1 << 2,     /* E0 80-9F */
    TOO_LARGE = 1 << 3,      /* F4 90-BF, F5-FF 90-BF */
    SURROGATE = 1 << 4,      /* ED A0-BF */
    OVERLONG_2 = 1 << 5,     /* C0-C1 80-BF */
    OVERLONG_4 = 1 << 6,     /* F0 80-8F */
    TOO_LARGE_1000 = 1 << 6, /* F5-FF 80-8F; shares the bit, the lead bytes differ */
    TWO_CONTINUED = 1 << 7,  /* right only as third or fourth byte */
    ANY_LOW = TOO_SHORT | TOO_LONG | TWO_CONTINUED,
    ABOVE_4 = ANY_LOW | TOO_LARGE | TOO_LARGE_1000,
    CONTINUED = TOO_LONG | OVERLONG_2 | TWO_CONTINUED
};

static const uint8_t previous_high[16] = {
    TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG,
    TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG,
    TWO_CONTINUED, TWO_CONTINUED, TWO_CONTINUED, TWO_CONTINUED,
    TOO_SHORT | OVERLONG_2,
    TOO_SHORT,
    TOO_SHORT | OVERLONG_3 | SURROGATE,
    TOO_SHORT | TOO_LARGE | TOO_LARGE_1000 | OVERLONG_4,
};

static const uint8_t previous_low[16] = {
    ANY_LOW | OVERLONG_2 | OVERLONG_3 | OVERLONG_4,
    ANY_LOW | OVERLONG_2,
    ANY_LOW,
    ANY_LOW,
    ANY_LOW | TOO_LARGE,
    ABOVE_4, ABOVE_4, ABOVE_4, ABOVE_4, ABOVE_4, ABOVE_4, ABOVE_4, ABOVE_4,
    ABOVE_4 | SURROGATE,
    ABOVE_4, ABOVE_4,
};

static const uint8_t current_high[16] = {
    TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT,
    TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT,
    CONTINUED | OVERLONG_3 | OVERLONG_4 | TOO_LARGE_1000,
    CONTINUED | OVERLONG_3 | TOO_LARGE,
    CONTINUED | SURROGATE | TOO_LARGE,
    CONTINUED | SURROGATE | TOO_LARGE,
    TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT,
};

/* Errors among the pairs that end in this block. The three bytes before it are read
 * too: loads from memory are cheaper than carrying and shifting the block before. */
LOOKUP vector block_errors(const uint8_t *data)
{
    vector current = vector_load(data);
    vector previous = vector_load(data - 1);
    vector special =
        vector_and(vector_and(vector_lookup(previous_high, vector_high_half(previous)),
                              vector_lookup(previous_low, vector_low_half(previous))),
                   vector_lookup(current_high, vector_high_half(current)));
    /* Top bit where a third or fourth byte must be: there, and only there, two
     * continuations in a row are right. */
    vector third = vector_saturating_subtract(vector_load(data - 2), 0xE0 - 0x80);
    vector fourth = vector_saturating_subtract(vector_load(data - 3), 0xF0 - 0x80);
    vector expected = vector_and(vector_or(third, fourth), vector_fill(0x80));
    return vector_xor(expected, special);
}

/* Where the last character starts if it is cut off at the end; else `length`. */
static size_t complete_length(const uint8_t *data, size_t length)
{
    for (size_t back = 1; back <= 3; back++) {
        uint8_t byte = data[length - back];
        if (byte >= 0xC0) {
            size_t size = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
            return size > back ? length - back : length;
        }
        if (byte < 0x80) {
            break;
        }
    }
    return length;
}

/* Whole blocks of data[start..end), where `start` is the first byte of a character and
 * at least 3, `end` the end of one, and a block fits before it. */
LOOKUP int blocks_valid(const uint8_t *data, size_t start, size_t end)
{
    vector errors = vector_fill(0);
    size_t index = start;
    int open = 0; /* the block before may end inside a character */

    for (; index + VECTOR_SIZE <= end; index += VECTOR_SIZE) {
        int ascii = vector_is_ascii(vector_load(data + index));
        if (!ascii || open) {
            errors = vector_or(errors, block_errors(data + index));
        }
        open = !ascii;
    }
    if (index < end) {
        errors = vector_or(errors, block_errors(data + end - VECTOR_SIZE));
    }
    return vector_is_zero(errors);
}

/* For at least LOOKUP_SHORTEST bytes. The first ones and what is cut off at the end go
 * one by one: that keeps the state exact, and gives each block three readable bytes
 * before it. */
LOOKUP int utf8_long(fastws_utf8_state *state, const uint8_t *data, size_t length)
{
    size_t start = 0;
    size_t end;

    while (start < 3 || *state) {
        if (!fastws_utf8_step(state, data[start++])) {
            return 0;
        }
    }
    end = complete_length(data, length);
    /* A lead byte right after a character that is cut off itself: no block has both. */
    if (complete_length(data, end) != end || !blocks_valid(data, start, end)) {
        return 0;
    }
    while (end < length) {
        if (!fastws_utf8_step(state, data[end++])) {
            return 0;
        }
    }
    return 1;
}

#endif
