/* The table of RFC 3629 section 4 as a state machine. */
#ifndef FASTWS_UTF8_STEP_H
#define FASTWS_UTF8_STEP_H

#include "utf8.h"

static inline fastws_utf8_state fastws_utf8_expect(unsigned missing, unsigned lowest,
                                                   unsigned highest)
{
    return missing | lowest << 8 | highest << 16;
}

/* Takes one byte. Returns 0 when no valid text has it there. */
static inline int fastws_utf8_step(fastws_utf8_state *state, uint8_t byte)
{
    if (*state) {
        unsigned missing = (*state & 0xFF) - 1;
        if (byte < (*state >> 8 & 0xFF) || byte > *state >> 16) {
            return 0;
        }
        *state = missing ? fastws_utf8_expect(missing, 0x80, 0xBF) : 0;
        return 1;
    }
    if (byte < 0x80) {
        return 1;
    }
    if (byte < 0xC2 || byte > 0xF4) {
        return 0;
    }
    if (byte < 0xE0) {
        *state = fastws_utf8_expect(1, 0x80, 0xBF);
    } else if (byte < 0xF0) {
        *state = fastws_utf8_expect(2, byte == 0xE0 ? 0xA0 : 0x80,
                                    byte == 0xED ? 0x9F : 0xBF);
    } else {
        *state = fastws_utf8_expect(3, byte == 0xF0 ? 0x90 : 0x80,
                                    byte == 0xF4 ? 0x8F : 0xBF);
    }
    return 1;
}

#endif
