/* Opening: connect, TLS, the request, the first message. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crowd.h"
#include "frame.h"

static int refused(crowd *self, const client *peer, int error) {
    const char *place = self->options->place;
    switch (error) {
    case ECONNREFUSED:
        return crowd_fail(self, "nothing listens at %s: connection refused", place);
    case EADDRNOTAVAIL:
        return client_fail(self, peer, "no source port is left: use more --sources, or "
                           "wait until closed connections have expired (a minute)");
    case EMFILE:
    case ENFILE:
        return client_fail(self, peer, "too many open files: raise the limit (ulimit "
                           "-n), or use fewer --connections");
    default:
        return client_fail(self, peer, "cannot connect to %s: %s", place,
                           strerror(error));
    }
}

/* The source port is chosen at connect, when both ends are known: more of them fit. */
static int client_bind(const crowd *self, const client *peer) {
    uint32_t sources = self->options->sources;
    if (sources < 2) {
        return 0;
    }
    int on = 1;
    struct sockaddr_in source = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK + peer->number % sources),
    };
    setsockopt(peer->descriptor, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    return bind(peer->descriptor, (struct sockaddr *)&source, sizeof source);
}

static int client_send_request(crowd *self, client *peer) {
    const channel_texts *texts = &self->options->texts[peer->channel];
    int publishes = peer->role == ROLE_SUBSCRIBER &&
                    (peer->is_publisher || self->options->mode == MODE_MIXED);
    text_view request = publishes ? texts->publisher_request : texts->request;
    peer->phase = CLIENT_UPGRADING;
    return client_send(self, peer, (const uint8_t *)request.data, request.size);
}

static int client_secure(crowd *self, client *peer) {
    char reason[FOREIGN_REASON];
    if (peer->tls == NULL) {
        peer->tls = tls_session_create(self->tls, peer->descriptor,
                                       self->options->tls_host);
        if (peer->tls == NULL) {
            return crowd_fail(self, "out of memory");
        }
    }
    switch (tls_handshake(peer->tls, reason)) {
    case TLS_DONE: return client_send_request(self, peer);
    case TLS_AGAIN: return 0;
    default: return client_fail(self, peer, "TLS: %s", reason);
    }
}

int client_check_connect(crowd *self, const client *peer) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(peer->descriptor, SOL_SOCKET, SO_ERROR, &error, &size);
    return error ? refused(self, peer, error) : 0;
}

/* The next step of a connection that is not upgrading yet. */
int client_continue_opening(crowd *self, client *peer) {
    if (peer->phase == CLIENT_CONNECTING) {
        if (client_check_connect(self, peer) != 0) {
            return -1;
        }
        if (self->tls == NULL) {
            return client_send_request(self, peer);
        }
        peer->phase = CLIENT_SECURING;
    }
    return client_secure(self, peer);
}

int client_start(crowd *self, client *peer) {
    const load_options *options = self->options;
    int on = 1;
    peer->started_at = peer->started_at ? peer->started_at : clock_nanoseconds();
    peer->replies_left = options->first_replies;
    peer->descriptor = socket(options->target.ss_family,
                              SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (peer->descriptor < 0 || client_bind(self, peer) != 0) {
        return refused(self, peer, errno);
    }
    setsockopt(peer->descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = peer};
    if (connect(peer->descriptor, (const struct sockaddr *)&options->target,
                options->target_size) != 0) {
        if (errno != EINPROGRESS) {
            return refused(self, peer, errno);
        }
    }
    peer->phase = CLIENT_CONNECTING;
    if (epoll_ctl(self->epoll, EPOLL_CTL_ADD, peer->descriptor, &event) != 0) {
        return crowd_fail(self, "epoll_ctl: %s", strerror(errno));
    }
    /* On loopback the connection is already there: the request may go at once, and
     * otherwise waits like all that the kernel does not take. */
    return self->tls == NULL ? client_continue_opening(self, peer) : 0;
}

int client_opened(crowd *self, client *peer) {
    const role_handlers *role = &self->roles[peer->role];
    peer->phase = CLIENT_OPEN;
    if (peer->role != ROLE_VISITOR) {
        self->opened++;
        atomic_store_explicit(&self->place->opened, self->opened, memory_order_relaxed);
    }
    return role->on_open ? role->on_open(self, peer) : 0;
}

int client_greet(crowd *self, client *peer) {
    text_view first = self->options->texts[peer->channel].first;
    if (first.data != NULL &&
        client_send_frame(self, peer, FRAME_TEXT, first.data, first.size) != 0) {
        return -1;
    }
    peer->phase = CLIENT_GREETING;
    return peer->replies_left == 0 ? client_opened(self, peer) : 0;
}

int crowd_open(crowd *self, uint32_t count) {
    while (self->opened < count) {
        while (self->started < count &&
               self->started - self->opened < self->options->parallel) {
            if (client_start(self, &self->clients[self->started]) != 0) {
                return -1;
            }
            self->started++;
        }
        if (crowd_turn(self, self->deadline) != 0) {
            return -1;
        }
    }
    return 0;
}
