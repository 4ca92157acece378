/* libFuzzer target: a stream of frames through csrc, however it is cut.
 *
 * A small walker (header decode, unmask, UTF-8) reads the stream whole, byte by byte
 * and in pieces of changing size. An oracle reads it once with the formulas of the RFC,
 * written a second time. Both must agree on every frame and every byte of payload, on
 * the error, and on the piece that holds the first byte showing it. Each kernel of this
 * machine is compared with the naive one on the way. All buffers have their exact size,
 * so that AddressSanitizer sees a byte too many.
 *
 * Input: one byte of settings (bit 0: payloads are masked; the rest seeds the sizes of
 * the pieces), then the stream.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"
#include "mask.h"
#include "utf8.h"

#define MESSAGE_LIMIT (UINT64_C(1) << 20)

#define CHECK(condition)                                                     \
    do {                                                                     \
        if (!(condition)) {                                                  \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);  \
            abort();                                                         \
        }                                                                    \
    } while (0)

enum outcome { GOING_ON, BAD_HEADER, BAD_RSV, BAD_MASK, BAD_ORDER, TOO_BIG, BAD_TEXT };

/* What a reader saw: one line per frame, all payloads in a row, how it ended. */
struct record {
    uint8_t *payload; /* as long as the stream */
    size_t payload_size;
    uint64_t frames; /* a running hash over every header field */
    enum outcome outcome;
    size_t fault; /* oracle: index of the first byte that shows the error */
};

static void note_frame(struct record *record, const fastws_frame_header *header)
{
    uint64_t fields[] = {header->length, header->opcode, header->fin,
                         header->masked, header->size,   header->rsv};
    for (size_t index = 0; index < sizeof fields / sizeof *fields; index++) {
        record->frames = (record->frames ^ fields[index]) * UINT64_C(0x100000001B3);
    }
}

/* -- what one message's frames have in common ------------------------------------- */

struct message {
    int open; /* a fragmented message is not finished */
    int text;
    uint64_t length;
    fastws_utf8_state state;
};

/* The rules between frames, the same for both readers. */
static enum outcome begin_frame(struct message *message,
                                const fastws_frame_header *header)
{
    if (header->opcode & FASTWS_BIT_CONTROL) {
        return GOING_ON;
    }
    if ((header->opcode == FASTWS_OP_CONTINUATION) != message->open) {
        return BAD_ORDER;
    }
    if (!message->open) {
        message->text = header->opcode == FASTWS_OP_TEXT;
        message->length = 0;
        message->state = 0;
    }
    message->open = !header->fin;
    if (header->length > MESSAGE_LIMIT - message->length) {
        return TOO_BIG;
    }
    message->length += header->length;
    return GOING_ON;
}

static int is_text_frame(const struct message *message,
                         const fastws_frame_header *header)
{
    return message->text && !(header->opcode & FASTWS_BIT_CONTROL);
}

static int text_is_cut(const struct message *message, const fastws_frame_header *header)
{
    return is_text_frame(message, header) && header->fin && message->state != 0;
}

/* -- the walker: csrc as the engine uses it ---------------------------------------- */

struct walker {
    struct record record;
    struct message message;
    int masked;
    int compares; /* the kernels with each other too: not for single bytes */
    uint8_t pending[FASTWS_FRAME_HEADER_MAX];
    size_t pending_size;
    int in_payload;
    fastws_frame_header header;
    uint64_t done; /* payload bytes of this frame so far */
};

static void compare_kernels(const uint8_t *data, size_t size, uint32_t word)
{
    const fastws_mask_kernel *masks = fastws_mask_kernels();
    const fastws_utf8_kernel *validators = fastws_utf8_kernels();
    uint8_t *wanted = malloc(size);
    uint8_t *got = malloc(size);
    int ascii = masks[0].mask(wanted, data, size, word);
    fastws_utf8_state state = 0;
    int valid = validators[0].validate(&state, data, size);

    for (int index = 1; masks[index].name; index++) {
        CHECK(masks[index].mask(got, data, size, word) == ascii);
        CHECK(memcmp(got, wanted, size) == 0);
        CHECK(masks[index].mask(got, got, size, word) == masks[0].is_ascii(data, size));
        CHECK(memcmp(got, data, size) == 0);
        CHECK(masks[index].is_ascii(wanted, size) == ascii);
    }
    for (int index = 1; validators[index].name; index++) {
        fastws_utf8_state other = 0;
        CHECK(validators[index].validate(&other, data, size) == valid);
        CHECK(!valid || other == state);
    }
    free(wanted);
    free(got);
}

static enum outcome walk_payload(struct walker *walker, const uint8_t *data,
                                 size_t size)
{
    const fastws_frame_header *header = &walker->header;
    size_t offset = (size_t)walker->done;
    uint8_t *plain = malloc(size);
    int ascii = fastws_mask_copy(plain, data, size, header->key, offset);
    enum outcome outcome = GOING_ON;

    CHECK(ascii == fastws_is_ascii(plain, size));
    if (walker->compares) {
        compare_kernels(data, size, fastws_mask_word(header->key, offset));
        compare_kernels(plain, size, fastws_mask_word(header->key, offset));
    }
    if (is_text_frame(&walker->message, header)) {
        /* The engine's short cut: ASCII between two characters needs no second pass. */
        int skip = ascii && walker->message.state == 0;
        if (!skip && !fastws_utf8_validate(&walker->message.state, plain, size)) {
            outcome = BAD_TEXT;
        }
    }
    if (outcome == GOING_ON) {
        memcpy(walker->record.payload + walker->record.payload_size, plain, size);
        walker->record.payload_size += size;
    }
    walker->done += size;
    free(plain);
    return outcome;
}

/* In the order frame.h asks for, which makes the answer the same for every cutting. */
static enum outcome walk_header(struct walker *walker)
{
    const uint8_t *data = walker->pending;
    int size;

    if (data[0] & FASTWS_BITS_RSV) {
        return BAD_RSV;
    }
    size = fastws_frame_decode(data, walker->pending_size, &walker->header);
    if (size == FASTWS_FRAME_ERR_OPCODE || size == FASTWS_FRAME_ERR_CONTROL_FRAGMENT) {
        return BAD_HEADER;
    }
    if (walker->pending_size > 1 &&
        ((data[1] & FASTWS_BIT_MASK) != 0) != walker->masked) {
        return BAD_MASK;
    }
    if (size < 0) {
        return BAD_HEADER;
    }
    if (size == 0) {
        return GOING_ON;
    }
    note_frame(&walker->record, &walker->header);
    walker->in_payload = 1;
    walker->done = 0;
    return begin_frame(&walker->message, &walker->header);
}

/* Takes header bytes one at a time; returns how many bytes it took. */
static size_t walk_some(struct walker *walker, const uint8_t *data, size_t size)
{
    size_t taken = 1;

    if (!walker->in_payload) {
        walker->pending[walker->pending_size++] = data[0];
        walker->record.outcome = walk_header(walker);
    } else {
        uint64_t left = walker->header.length - walker->done;
        taken = left < size ? (size_t)left : size;
        walker->record.outcome = walk_payload(walker, data, taken);
    }
    if (walker->record.outcome == GOING_ON && walker->in_payload &&
        walker->done == walker->header.length) {
        if (text_is_cut(&walker->message, &walker->header)) {
            walker->record.outcome = BAD_TEXT;
        }
        walker->in_payload = 0;
        walker->pending_size = 0;
    }
    return taken;
}

static void walk_piece(struct walker *walker, const uint8_t *data, size_t size)
{
    size_t taken = 0;
    while (taken < size && walker->record.outcome == GOING_ON) {
        taken += walk_some(walker, data + taken, size - taken);
    }
}

/* -- the oracle: the RFC again, over the whole stream, a byte at a time ----------- */

/* The header at `data`, or the index of the byte that makes it wrong. */
static enum outcome oracle_header(const uint8_t *data, size_t size, int masked,
                                  fastws_frame_header *header, size_t *at)
{
    static const char known[16] = {1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1};
    unsigned lengths;

    memset(header, 0, sizeof *header);
    *at = 0;
    if (size > 0) {
        header->fin = data[0] >> 7;
        header->opcode = data[0] % 16;
        if (data[0] & 0x70) return BAD_RSV;
        if (!known[header->opcode]) return BAD_HEADER;
        if (header->opcode >= 8 && !header->fin) return BAD_HEADER;
    }
    if (size < 2) return GOING_ON;
    *at = 1;
    header->masked = data[1] >> 7;
    header->length = data[1] % 128;
    if (header->masked != masked) return BAD_MASK;
    if (header->opcode >= 8 && header->length > 125) return BAD_HEADER;
    lengths = header->length == 126 ? 2 : header->length == 127 ? 8 : 0;
    if (lengths) header->length = 0;
    for (unsigned index = 0; index < lengths && 2 + index < size; index++) {
        *at = 2 + index;
        header->length = header->length * 256 + data[*at];
        if (lengths == 8 && index == 0 && data[*at] >= 128) return BAD_HEADER;
        if (lengths == 8 && index == 5 && header->length == 0) return BAD_HEADER;
        if (lengths == 2 && index == 1 && header->length < 126) return BAD_HEADER;
    }
    if (size >= 2 + lengths + 4u * header->masked) {
        header->size = (uint8_t)(2 + lengths + 4u * header->masked);
        *at = header->size - 1u;
        if (masked) memcpy(header->key, data + 2 + lengths, 4);
    }
    return GOING_ON;
}

static enum outcome oracle_payload(struct record *record, struct message *message,
                                   const fastws_frame_header *header,
                                   const uint8_t *data, size_t size, size_t *at)
{
    fastws_utf8_function step = fastws_utf8_kernels()[0].validate;

    for (size_t index = 0; index < size; index++) {
        uint8_t plain = data[index] ^ header->key[index % 4];
        *at = index;
        if (is_text_frame(message, header) && !step(&message->state, &plain, 1)) {
            return BAD_TEXT;
        }
        record->payload[record->payload_size++] = plain;
    }
    if (size == header->length && text_is_cut(message, header)) {
        return BAD_TEXT;
    }
    return GOING_ON;
}

static void oracle(struct record *record, const uint8_t *data, size_t size, int masked)
{
    struct message message = {0};
    size_t index = 0;

    while (index < size) {
        fastws_frame_header header;
        size_t at;
        size_t there;

        record->outcome =
            oracle_header(data + index, size - index, masked, &header, &at);
        record->fault = index + at;
        if (record->outcome != GOING_ON || header.size == 0) {
            return;
        }
        note_frame(record, &header);
        record->outcome = begin_frame(&message, &header);
        if (record->outcome != GOING_ON) {
            return;
        }
        index += header.size;
        there = size - index;
        if (header.length < there) {
            there = (size_t)header.length;
        }
        if (there > 0 || header.length == 0) {
            at = 0;
            record->outcome = oracle_payload(record, &message, &header, data + index,
                                             there, &at);
            /* An empty last frame shows a cut text with its header's last byte. */
            record->fault = there ? index + at : index - 1;
        }
        if (record->outcome != GOING_ON) {
            return;
        }
        index += there;
    }
}

/* -- the pieces ------------------------------------------------------------------- */

static uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

/* largest: 0 for the whole stream at once. */
static void compare(const struct record *wanted, const uint8_t *data, size_t size,
                    int masked, uint32_t largest, uint32_t seed)
{
    struct walker walker = {.masked = masked, .compares = largest != 1};
    size_t start = 0;

    walker.record.payload = malloc(size);
    while (start < size && walker.record.outcome == GOING_ON) {
        size_t piece = largest ? 1 + next_random(&seed) % largest : size;
        if (piece > size - start) {
            piece = size - start;
        }
        uint8_t *copy = malloc(piece);
        memcpy(copy, data + start, piece);
        walk_piece(&walker, copy, piece);
        free(copy);
        if (walker.record.outcome != GOING_ON) {
            CHECK(start <= wanted->fault && wanted->fault < start + piece);
        }
        start += piece;
    }
    CHECK(walker.record.outcome == wanted->outcome);
    CHECK(walker.record.frames == wanted->frames);
    /* Of the piece that was refused the walker keeps nothing, the oracle its start. */
    CHECK(walker.record.payload_size <= wanted->payload_size);
    CHECK(wanted->outcome == BAD_TEXT ||
          walker.record.payload_size == wanted->payload_size);
    CHECK(memcmp(walker.record.payload, wanted->payload, walker.record.payload_size) ==
          0);
    free(walker.record.payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct record wanted = {0};
    int masked;
    uint32_t seed;

    if (size < 2) {
        return 0;
    }
    masked = data[0] & 1;
    seed = data[0] + 1u;
    data++;
    size--;
    wanted.payload = malloc(size);
    oracle(&wanted, data, size, masked);
    compare(&wanted, data, size, masked, 0, seed);
    compare(&wanted, data, size, masked, 1, seed);
    compare(&wanted, data, size, masked, 5, seed);
    compare(&wanted, data, size, masked, 100, seed);
    free(wanted.payload);
    return 0;
}
