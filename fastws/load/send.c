/* Sending: frames composed and masked, and what the kernel refuses kept. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "crowd.h"
#include "frame.h"

static ssize_t transmit(client *peer, const uint8_t *data, size_t size) {
    if (peer->tls != NULL) {
        return tls_write(peer->tls, data, size);
    }
    return send(peer->descriptor, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int lost(crowd *self, const client *peer) {
    return client_fail(self, peer, "the connection broke while sending: %s",
                       strerror(errno));
}

/* The descriptor is watched edge by edge, for writing too: when the kernel takes no
 * more, the next edge comes by itself. Under TLS nothing counts as taken in part. */
int client_send(crowd *self, client *peer, const uint8_t *data, size_t size) {
    size_t done = 0;
    while (peer->unsent.size == 0 && done < size) {
        ssize_t sent = transmit(peer, data + done, size - done);
        if (sent < 0 && errno == EAGAIN) {
            break;
        }
        if (sent <= 0) {
            return lost(self, peer);
        }
        self->seen.bytes_sent += (uint64_t)sent;
        done += (size_t)sent;
    }
    if (done < size) {
        if (buffer_append(&peer->unsent, data + done, size - done) != 0) {
            return crowd_fail(self, "out of memory");
        }
        self->unsent += size - done;
    }
    return 0;
}

int client_send_rest(crowd *self, client *peer) {
    while (peer->unsent.size > 0) {
        ssize_t sent = transmit(peer, buffer_bytes(&peer->unsent), peer->unsent.size);
        if (sent < 0 && errno == EAGAIN) {
            return 0;
        }
        if (sent <= 0) {
            return lost(self, peer);
        }
        self->seen.bytes_sent += (uint64_t)sent;
        self->unsent -= (uint64_t)sent;
        buffer_drop(&peer->unsent, (size_t)sent);
    }
    return 0;
}

/* Control frames and first messages: rare, and masked with zeros. */
int client_send_frame(crowd *self, client *peer, uint8_t opcode, const void *payload,
                      size_t size) {
    uint8_t head[FRAME_MAX_HEADER] = {0};
    size_t head_size = frame_header_encode(head, 0x80 | opcode, size, 0x80) + 4;
    byte_buffer frame = {0};
    if (buffer_append(&frame, head, head_size) != 0 ||
        buffer_append(&frame, payload, size) != 0) {
        buffer_free(&frame);
        return crowd_fail(self, "out of memory");
    }
    int failed = client_send(self, peer, frame.data, frame.size);
    buffer_free(&frame);
    return failed;
}

int client_send_close(crowd *self, client *peer) {
    static const uint8_t normal[2] = {1000 >> 8, 1000 & 0xFF};
    peer->phase = CLIENT_CLOSING;
    return client_send_frame(self, peer, FRAME_CLOSE, normal, sizeof normal);
}

static void mask(uint8_t *out, const uint8_t *data, size_t size, const uint8_t *key) {
    for (size_t i = 0; i < size; i++) {
        out[i] = data[i] ^ key[i % 4];
    }
}

static int compose_compressed(crowd *self, client *peer, message *text,
                              uint64_t sequence, uint64_t tag) {
    /* A smaller window than usual needs a stream of its own as well. */
    int is_own = peer->sends_context || peer->send_bits < 15;
    if (is_own && peer->deflater == NULL &&
        (peer->deflater = deflater_create(peer->send_bits)) == NULL) {
        return crowd_fail(self, "out of memory");
    }
    const uint8_t *packed;
    size_t size;
    deflater *stream = is_own ? peer->deflater : self->deflater;
    message_number(text, sequence, tag);
    if (deflater_message(stream, text->plain, text->plain_size, peer->sends_context,
                         &packed, &size) != 0 ||
        buffer_reserve(&self->output, size + FRAME_MAX_HEADER) != 0) {
        return crowd_fail(self, "out of memory");
    }
    uint8_t *out = buffer_bytes(&self->output) + self->output.size;
    uint8_t first = text->frame[0] | FRAME_COMPRESSED;
    size_t head = frame_header_encode(out, first, size, 0x80);
    memcpy(out + head, text->key, 4);
    mask(out + head + 4, packed, size, text->key);
    self->output.size += head + 4 + size;
    return 0;
}

int client_compose(crowd *self, client *peer, message *text, uint64_t sequence,
                   uint64_t tag) {
    enum { ENOUGH = 1 << 20 };
    if (self->options->has_deflate) {
        if (compose_compressed(self, peer, text, sequence, tag) != 0) {
            return -1;
        }
    } else {
        if (buffer_reserve(&self->output, text->frame_size) != 0) {
            return crowd_fail(self, "out of memory");
        }
        message_write(text, buffer_bytes(&self->output) + self->output.size, sequence,
                      tag);
        self->output.size += text->frame_size;
    }
    return self->output.size < ENOUGH ? 0 : client_flush(self, peer);
}

int client_flush(crowd *self, client *peer) {
    if (self->output.size == 0) {
        return 0;
    }
    size_t size = self->output.size;
    self->output.size = 0;
    return client_send(self, peer, self->output.data, size);
}
