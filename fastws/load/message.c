#define _GNU_SOURCE
#include "message.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

/* Behind so many bytes no window (32 KiB) remembers a record. */
enum { RECORDS_SIZE = 1 << 18, LEAST_RECORDS = 4 };

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525U + 1013904223U;
    return *state >> 8;
}

/* Few words and many numbers, as in JSON; the same in every run. */
static void fill(uint8_t *out, size_t size) {
    static const char *const words[] = {"price:", "volume:", "symbol:", "bid:",
                                        "ask:",   "time:",   "user:",   "text:"};
    uint32_t random = 12345;
    for (size_t i = 0; i < size;) {
        uint32_t drawn = next_random(&random);
        const char *word = words[drawn >> 21];
        while (*word && i < size) {
            out[i++] = (uint8_t)*word++;
        }
        for (uint32_t rest = drawn & 0xFFFFF; rest && i < size; rest /= 10) {
            out[i++] = (uint8_t)('0' + rest % 10);
        }
        if (i < size) {
            out[i++] = ' ';
        }
    }
}

/* --- records ----------------------------------------------------------------- */

/* A feed of trades: names come again and again, prices and times go on in steps. */
typedef struct {
    uint32_t random;
    uint32_t price[8]; /* by symbol, in hundredths */
    uint32_t time;
} feed;

static size_t feed_record(feed *self, char *out, size_t room) {
    static const char *const symbols[] = {"AAPL", "MSFT", "GOOG", "AMZN",
                                          "NVDA", "META", "TSLA", "NFLX"};
    static const char *const venues[] = {"XNAS", "ARCX", "BATS", "IEXG"};
    uint32_t symbol = next_random(&self->random) % 8;
    uint32_t venue = next_random(&self->random) % 4;
    uint32_t price = self->price[symbol] += next_random(&self->random) % 41 - 20;
    self->time += next_random(&self->random) % 250;
    int size = snprintf(out, room,
                        "{\"event\":\"trade\",\"symbol\":\"%s\",\"price\":%u.%02u,"
                        "\"volume\":%u,\"side\":\"%s\",\"venue\":\"%s\","
                        "\"tape\":\"C\",\"time\":17%011u}",
                        symbols[symbol], price / 100, price % 100,
                        next_random(&self->random) % 5000 + 1,
                        next_random(&self->random) % 2 ? "buy" : "sell", venues[venue],
                        self->time);
    return (size_t)size;
}

static void fill_records(uint8_t *out, size_t size, feed *source) {
    char record[160];
    for (size_t i = 0; i < size;) {
        size_t length = feed_record(source, record, sizeof record);
        length = length < size - i ? length : size - i;
        memcpy(out + i, record, length);
        i += length;
    }
}

/* The same in every run and in every process of it. */
static int make_records(message *self) {
    size_t size = message_filler_size(self);
    feed source = {.random = 12345, .time = 4102444};
    for (size_t i = 0; i < sizeof source.price / sizeof *source.price; i++) {
        source.price[i] = 10000 + next_random(&source.random) % 40000;
    }
    self->filler_count = (uint32_t)(RECORDS_SIZE / self->size);
    if (self->filler_count < LEAST_RECORDS) {
        self->filler_count = LEAST_RECORDS;
    }
    self->fillers = malloc(self->filler_count * size + 1);
    if (self->fillers == NULL) {
        return -1;
    }
    for (uint32_t i = 0; i < self->filler_count; i++) {
        fill_records(self->fillers + i * size, size, &source);
    }
    return 0;
}

/* --- messages ---------------------------------------------------------------- */

int message_create(message *self, const channel_texts *texts, size_t size,
                   uint8_t opcode, int has_records) {
    size_t offset = texts->prefix.size;
    size_t plain_size = offset + size + texts->suffix.size;
    *self = (message){.size = size, .offset = offset, .plain_size = plain_size};
    self->frame = malloc(plain_size + FRAME_MAX_HEADER);
    self->plain = malloc(plain_size);
    if (self->frame == NULL || self->plain == NULL ||
        getrandom(self->key, sizeof self->key, 0) != sizeof self->key ||
        (has_records && make_records(self) != 0)) {
        message_destroy(self);
        return -1;
    }
    if (offset > 0) {
        memcpy(self->plain, texts->prefix.data, offset);
    }
    memset(self->plain + offset, '0', MESSAGE_DIGITS);
    fill(self->plain + offset + MESSAGE_DIGITS, size - MESSAGE_DIGITS);
    if (texts->suffix.size > 0) {
        memcpy(self->plain + offset + size, texts->suffix.data, texts->suffix.size);
    }
    size_t head = frame_header_encode(self->frame, 0x80 | opcode, plain_size, 0x80);
    memcpy(self->frame + head, self->key, 4);
    self->head_size = head + 4;
    self->frame_size = self->head_size + plain_size;
    for (size_t i = 0; i < plain_size; i++) {
        self->frame[self->head_size + i] = self->plain[i] ^ self->key[i % 4];
    }
    uint8_t turned[8];
    for (size_t i = 0; i < sizeof turned; i++) {
        turned[i] = self->key[(offset + i) % 4];
    }
    memcpy(&self->mask, turned, sizeof turned);
    return 0;
}

void message_destroy(message *self) {
    free(self->frame);
    free(self->plain);
    free(self->fillers);
    *self = (message){0};
}

const uint8_t *message_find(const message *self, const uint8_t *data, size_t size) {
    if (size < self->size || self->fillers != NULL) {
        return NULL;
    }
    const uint8_t *found =
        memmem(data + MESSAGE_DIGITS, size - MESSAGE_DIGITS, message_filler(self, 0),
               self->size - MESSAGE_DIGITS);
    return found == NULL ? NULL : found - MESSAGE_DIGITS;
}
