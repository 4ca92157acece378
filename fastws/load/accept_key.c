#include "accept_key.h"

#include <string.h>

static const char GUID[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

enum { GUID_SIZE = 36, BLOCK_SIZE = 64, DIGEST_SIZE = 20, MAX_KEY = 64 };

static uint32_t rotate_left(uint32_t value, int count) {
    return (value << count) | (value >> (32 - count));
}

static uint32_t load_big_endian(const uint8_t *bytes) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 |
           (uint32_t)bytes[2] << 8 | (uint32_t)bytes[3];
}

/* FIPS 180-4 section 6.1.2, one block. */
static void sha1_block(uint32_t state[5], const uint8_t *block) {
    uint32_t w[80];
    for (int i = 0; i < 16; i++) {
        w[i] = load_big_endian(block + 4 * i);
    }
    for (int i = 16; i < 80; i++) {
        w[i] = rotate_left(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int i = 0; i < 80; i++) {
        uint32_t mixed, constant;
        if (i < 20) {
            mixed = (b & c) | (~b & d);
            constant = 0x5A827999;
        } else if (i < 40) {
            mixed = b ^ c ^ d;
            constant = 0x6ED9EBA1;
        } else if (i < 60) {
            mixed = (b & c) | (b & d) | (c & d);
            constant = 0x8F1BBCDC;
        } else {
            mixed = b ^ c ^ d;
            constant = 0xCA62C1D6;
        }
        uint32_t next = rotate_left(a, 5) + mixed + e + constant + w[i];
        e = d;
        d = c;
        c = rotate_left(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

/* SHA-1 of at most two blocks: all that a key and the GUID ever need. */
static void sha1_short(const uint8_t *data, size_t length, uint8_t *digest) {
    uint32_t state[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    uint8_t padded[2 * BLOCK_SIZE] = {0};
    size_t total = length + 9 <= BLOCK_SIZE ? BLOCK_SIZE : 2 * BLOCK_SIZE;
    memcpy(padded, data, length);
    padded[length] = 0x80;
    size_t bits = length * 8;
    padded[total - 2] = (uint8_t)(bits >> 8);
    padded[total - 1] = (uint8_t)bits;
    for (size_t offset = 0; offset < total; offset += BLOCK_SIZE) {
        sha1_block(state, padded + offset);
    }
    for (int i = 0; i < DIGEST_SIZE; i++) {
        digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
    }
}

void base64_encode(const uint8_t *data, size_t length, char *out) {
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < length; i += 3, out += 4) {
        size_t have = length - i;
        uint32_t bits = (uint32_t)data[i] << 16;
        bits |= have > 1 ? (uint32_t)data[i + 1] << 8 : 0;
        bits |= have > 2 ? (uint32_t)data[i + 2] : 0;
        out[0] = alphabet[bits >> 18];
        out[1] = alphabet[bits >> 12 & 63];
        out[2] = have > 1 ? alphabet[bits >> 6 & 63] : '=';
        out[3] = have > 2 ? alphabet[bits & 63] : '=';
    }
}

void accept_key(const char *key, size_t key_length, char out[ACCEPT_KEY_SIZE]) {
    uint8_t text[MAX_KEY + GUID_SIZE];
    uint8_t digest[DIGEST_SIZE];
    if (key_length > MAX_KEY) {
        key_length = MAX_KEY;
    }
    memcpy(text, key, key_length);
    memcpy(text + key_length, GUID, GUID_SIZE);
    sha1_short(text, key_length + GUID_SIZE, digest);
    base64_encode(digest, DIGEST_SIZE, out);
}
