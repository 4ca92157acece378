/* Receiving: bytes to frames, frames to messages, messages to the client's role. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "crowd.h"
#include "frame.h"
#include "input.h"

/* Servers may leave short messages as they are; from here on they have to compress. */
enum { LEAST_COMPRESSED = 64 };

/* Envelopes and what else servers send may be larger than the message. */
enum { MOST_PAYLOAD = LOAD_MAX_SIZE + (1 << 20) };

static int lost(crowd *self, const client *peer, ssize_t got) {
    static const char *const moments[] = {
        [CLIENT_SECURING] = " during the TLS handshake",
        [CLIENT_UPGRADING] = " during the handshake",
        [CLIENT_GREETING] = " after the first message",
        [CLIENT_OPEN] = " without a close frame",
    };
    /* So ends a handshake of which a TLS server understood nothing. */
    int is_odd = peer->phase == CLIENT_UPGRADING && peer->kept.size == 0 && !peer->tls;
    const char *how = got == 0 ? "end of stream" : strerror(errno);
    return client_fail(self, peer, "the server ended the connection%s: %s%s",
                       moments[peer->phase], how,
                       is_odd ? "; if it speaks TLS, use wss://" : "");
}

/* --- control frames ---------------------------------------------------------- */

static int client_done(crowd *self, client *peer) {
    const role_handlers *role = &self->roles[peer->role];
    client_end(self, peer);
    return role->on_closed ? role->on_closed(self, peer) : 0;
}

static int client_told_to_close(crowd *self, client *peer, const uint8_t *payload,
                                size_t size) {
    if (peer->phase == CLIENT_CLOSING) {
        return client_done(self, peer);
    }
    unsigned code = size >= 2 ? (unsigned)(payload[0] << 8 | payload[1]) : 1005;
    const char *reason = size > 2 ? (const char *)payload + 2 : "";
    return client_fail(self, peer, "closed by the server with %u%s%.*s", code,
                       *reason ? ": " : "", size > 2 ? (int)size - 2 : 0, reason);
}

static int client_control_frame(crowd *self, client *peer, uint8_t opcode,
                                const uint8_t *payload, size_t size) {
    if (size > 125) {
        return client_fail(self, peer, "a control frame of %zu bytes", size);
    }
    if (opcode == FRAME_PING) {
        return client_send_frame(self, peer, FRAME_PONG, payload, size);
    }
    if (opcode == FRAME_CLOSE) {
        return client_told_to_close(self, peer, payload, size);
    }
    if (opcode == FRAME_PONG) {
        const role_handlers *role = &self->roles[peer->role];
        return role->on_pong ? role->on_pong(self, peer, payload, size) : 0;
    }
    return client_fail(self, peer, "a frame with the unknown opcode 0x%x", opcode);
}

/* --- messages ---------------------------------------------------------------- */

static int client_message(crowd *self, client *peer, const uint8_t *payload,
                          size_t size) {
    if (peer->phase == CLIENT_GREETING) {
        return --peer->replies_left == 0 ? client_opened(self, peer) : 0;
    }
    if (peer->phase == CLIENT_CLOSING) {
        return self->options->is_marked || peer->role == ROLE_VISITOR
                   ? 0
                   : client_fail(self, peer, "a message of %zu bytes beyond the last",
                                 size);
    }
    return self->roles[peer->role].on_message(self, peer, payload, size);
}

static int client_compressed(crowd *self, client *peer, const uint8_t *payload,
                             size_t size) {
    const role_handlers *role = &self->roles[peer->role];
    if (!peer->keeps_context && role->on_compressed != NULL &&
        peer->phase == CLIENT_OPEN) {
        int taken = role->on_compressed(self, peer, payload, size);
        if (taken != 0) {
            return taken < 0 ? -1 : 0;
        }
    }
    if (peer->keeps_context && peer->inflater == NULL &&
        (peer->inflater = inflater_create()) == NULL) {
        return crowd_fail(self, "out of memory");
    }
    const uint8_t *plain;
    size_t plain_size;
    inflater *stream = peer->keeps_context ? peer->inflater : self->inflater;
    if (inflater_message(stream, payload, size, MOST_PAYLOAD, peer->keeps_context,
                         &plain, &plain_size) != 0) {
        return client_fail(self, peer, "a compressed message of %zu bytes is broken",
                           size);
    }
    return client_message(self, peer, plain, plain_size);
}

static int client_complete(crowd *self, client *peer, uint8_t first,
                           const uint8_t *payload, size_t size) {
    if (first & FRAME_COMPRESSED) {
        return client_compressed(self, peer, payload, size);
    }
    return client_message(self, peer, payload, size);
}

/* Part of a message in several frames. */
static int client_fragment(crowd *self, client *peer, const frame_header *header,
                           const uint8_t *payload) {
    if (buffer_append(&peer->fragments, payload, header->length) != 0) {
        return crowd_fail(self, "out of memory");
    }
    if (peer->fragments.size > MOST_PAYLOAD) {
        return client_fail(self, peer, "a message of more than %d bytes", MOST_PAYLOAD);
    }
    if (!(header->first & FRAME_FINAL)) {
        return 0;
    }
    byte_buffer whole = peer->fragments;
    uint8_t first = peer->fragment_first;
    peer->fragments = (byte_buffer){0};
    peer->fragment_first = 0;
    int failed = client_complete(self, peer, first, whole.data, whole.size);
    buffer_free(&whole);
    return failed;
}

static int client_data_frame(crowd *self, client *peer, const frame_header *header,
                             const uint8_t *payload) {
    uint8_t opcode = header->first & 0xF;
    int is_compressed = (header->first & FRAME_COMPRESSED) != 0;
    self->seen.frames++;
    self->seen.compressed_frames += is_compressed || (opcode == FRAME_CONTINUATION &&
                                                      peer->fragment_first & 0x40);
    if ((opcode == FRAME_CONTINUATION) != (peer->fragment_first != 0) ||
        opcode > FRAME_BINARY || (is_compressed && opcode == FRAME_CONTINUATION)) {
        return client_fail(self, peer, "a frame starting with 0x%02x out of place",
                           header->first);
    }
    if (opcode == FRAME_CONTINUATION) {
        return client_fragment(self, peer, header, payload);
    }
    if (is_compressed && !self->options->has_deflate) {
        return client_fail(self, peer, "a compressed frame that was not agreed on");
    }
    if (self->options->has_deflate && !is_compressed &&
        header->length >= LEAST_COMPRESSED && peer->phase == CLIENT_OPEN) {
        return client_fail(self, peer,
                           "the server accepted permessage-deflate but sent %llu bytes "
                           "uncompressed",
                           (unsigned long long)header->length);
    }
    uint8_t expected = self->options->is_binary ? FRAME_BINARY : FRAME_TEXT;
    if (opcode != expected && peer->phase == CLIENT_OPEN && !self->options->is_marked) {
        return client_fail(self, peer, "a %s message came where %s was sent",
                           opcode == FRAME_TEXT ? "text" : "binary",
                           expected == FRAME_TEXT ? "text" : "binary");
    }
    if (header->first & FRAME_FINAL) {
        return client_complete(self, peer, header->first, payload, header->length);
    }
    peer->fragment_first = header->first;
    return client_fragment(self, peer, header, payload);
}

static int client_frame(crowd *self, client *peer, const frame_header *header,
                        const uint8_t *payload) {
    if (header->first & 0x08) {
        if ((header->first & 0xF0) != FRAME_FINAL) {
            return client_fail(self, peer, "a control frame starting with 0x%02x",
                               header->first);
        }
        return client_control_frame(self, peer, header->first & 0xF, payload,
                                    header->length);
    }
    if (header->first & 0x30) {
        return client_fail(self, peer, "a frame starting with 0x%02x", header->first);
    }
    return client_data_frame(self, peer, header, payload);
}

/* Returns the bytes consumed, or -1. */
static long client_frames(crowd *self, client *peer, const uint8_t *data, size_t size) {
    const role_handlers *role = &self->roles[peer->role];
    size_t done = 0;
    frame_header header;
    while (done < size && peer->phase != CLIENT_CLOSED) {
        if (role->on_bytes != NULL && peer->phase == CLIENT_OPEN &&
            peer->fragment_first == 0) {
            long taken = role->on_bytes(self, peer, data + done, size - done);
            if (taken < 0) {
                return -1;
            }
            done += (size_t)taken;
        }
        if (!frame_header_decode(data + done, size - done, &header)) {
            break;
        }
        if (header.is_masked) {
            return client_fail(self, peer, "the server masks its frames");
        }
        if (header.length > MOST_PAYLOAD) {
            return client_fail(self, peer, "a frame of %llu bytes",
                               (unsigned long long)header.length);
        }
        if (size - done - header.header_size < header.length) {
            break;
        }
        const uint8_t *payload = data + done + header.header_size;
        done += header.header_size + header.length;
        if (client_frame(self, peer, &header, payload) != 0) {
            return -1;
        }
    }
    return (long)done;
}

/* --- the handshake's answer -------------------------------------------------- */

static void client_agreed(const crowd *self, client *peer,
                          const handshake_choice *choice) {
    if (self->options->has_deflate) {
        peer->keeps_context = choice->keeps_context != 0;
        peer->sends_context =
            self->options->is_context_kept && !choice->is_context_forbidden;
        peer->send_bits = (uint8_t)choice->client_window_bits;
    }
}

static long client_handshake(crowd *self, client *peer, const uint8_t *data,
                             size_t size, int is_over) {
    char reason[HANDSHAKE_REASON];
    handshake_choice choice;
    long head = handshake_check(&self->expected, (const char *)data, size, is_over,
                                &choice, reason);
    if (head < 0) {
        return client_fail(self, peer, "handshake: %s", reason);
    }
    if (head > 0) {
        client_agreed(self, peer, &choice);
        return client_greet(self, peer) == 0 ? head : -1;
    }
    return head;
}

/* --- one connection's bytes -------------------------------------------------- */

/* Returns the bytes consumed, or -1. */
static long client_consume(crowd *self, client *peer, const uint8_t *data,
                           size_t size) {
    size_t done = 0;
    if (peer->phase == CLIENT_UPGRADING) {
        long head = client_handshake(self, peer, data, size, 0);
        if (head <= 0) {
            return head;
        }
        done = (size_t)head;
    }
    long frames = client_frames(self, peer, data + done, size - done);
    if (frames < 0) {
        return -1;
    }
    done += (size_t)frames;
    const role_handlers *role = &self->roles[peer->role];
    if (role->on_batch != NULL && peer->phase == CLIENT_OPEN &&
        role->on_batch(self, peer) != 0) {
        return -1;
    }
    return (long)done;
}

static ssize_t client_read(client *peer, uint8_t *data, size_t room) {
    if (peer->tls != NULL) {
        return tls_read(peer->tls, data, room);
    }
    return recv(peer->descriptor, data, room, MSG_DONTWAIT);
}

static int client_over(crowd *self, client *peer, ssize_t got) {
    const byte_buffer *kept = &peer->kept;
    if (peer->phase == CLIENT_CLOSING) {
        return client_done(self, peer);
    }
    if (peer->phase == CLIENT_UPGRADING && kept->size > 0 &&
        client_handshake(self, peer, buffer_bytes(kept), kept->size, 1) < 0) {
        return -1;
    }
    return lost(self, peer, got);
}

/* What one recv left: -1 is a failure. */
typedef enum { NOTHING_LEFT, NOTHING_LEFT_NOW, MAYBE_MORE } remainder_state;

/* One recv and all that came with it.
 *
 * A short remainder of last time is copied before the new bytes in the common input; a
 * long one (the start of a large frame) stays, and the new bytes go behind it. */
static int client_receive_once(crowd *self, client *peer) {
    size_t kept = peer->kept.size;
    int is_long = kept > INPUT_SHORT;
    uint8_t *data = self->input;
    if (is_long) {
        if (buffer_reserve(&peer->kept, INPUT_SIZE) != 0) {
            return crowd_fail(self, "out of memory");
        }
        data = buffer_bytes(&peer->kept);
    } else if (kept > 0) {
        memcpy(data, buffer_bytes(&peer->kept), kept);
    }
    ssize_t got = client_read(peer, data + kept, INPUT_SIZE);
    self->now = clock_nanoseconds();
    if (got < 0 && errno == EAGAIN) {
        return NOTHING_LEFT;
    }
    if (got <= 0) {
        return client_over(self, peer, got);
    }
    self->seen.bytes_received += (uint64_t)got;
    size_t size = kept + (size_t)got;
    long done = client_consume(self, peer, data, size);
    if (done < 0) {
        return -1;
    }
    if (peer->descriptor < 0) {
        return NOTHING_LEFT; /* ended meanwhile, and its buffers with it */
    }
    if (is_long) {
        peer->kept.size = size;
        buffer_drop(&peer->kept, (size_t)done);
    } else {
        peer->kept.start = peer->kept.size = 0;
        if (buffer_append(&peer->kept, data + done, size - (size_t)done) != 0) {
            return crowd_fail(self, "out of memory");
        }
    }
    if (peer->kept.size == 0 && peer->kept.capacity > INPUT_SHORT) {
        buffer_free(&peer->kept);
    }
    return got == INPUT_SIZE || peer->tls != NULL ? MAYBE_MORE : NOTHING_LEFT_NOW;
}

/* Edge-triggered: a recv that did not fill the room has emptied the socket, unless the
 * end of the stream stands behind it. */
int client_receive(crowd *self, client *peer, uint32_t events) {
    int is_ending = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    int left;
    do {
        left = client_receive_once(self, peer);
    } while (peer->descriptor >= 0 &&
             (left == MAYBE_MORE || (left == NOTHING_LEFT_NOW && is_ending)));
    return left < 0 ? -1 : 0;
}
