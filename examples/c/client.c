#include "client.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

enum { VERSION = 2, REPLY_MS = 30000 };

static msgpack_sbuffer buffer;
static msgpack_packer packer;

int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

void die(const char *format, ...)
{
    va_list given;
    va_start(given, format);
    vfprintf(stderr, format, given);
    va_end(given);
    fputc('\n', stderr);
    exit(1);
}

static void text(const char *value)
{
    msgpack_pack_str(&packer, strlen(value));
    msgpack_pack_str_body(&packer, value, strlen(value));
}

void begin(uint32_t fields, const char *kind)
{
    msgpack_sbuffer_clear(&buffer);
    msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
    msgpack_pack_map(&packer, fields);
    put_int("v", VERSION);
    put_text("kind", kind);
}

void put_text(const char *key, const char *value) { text(key); text(value); }
void put_int(const char *key, int64_t value) { text(key); msgpack_pack_int64(&packer, value); }
void put_bool(const char *key, bool value) { text(key); value ? msgpack_pack_true(&packer) : msgpack_pack_false(&packer); }
void put_map(const char *key, uint32_t fields) { text(key); msgpack_pack_map(&packer, fields); }
void put_list(const char *key, uint32_t length) { text(key); msgpack_pack_array(&packer, length); }
void put_item(uint32_t fields) { msgpack_pack_map(&packer, fields); }

void send_packed(void *socket, const void *payload, size_t size)
{
    if (zmq_send(socket, buffer.data, buffer.size, payload ? ZMQ_SNDMORE : 0) < 0 ||
        (payload && zmq_send(socket, payload, size, 0) < 0))
        die("sending: %s", zmq_strerror(zmq_errno()));
}

const msgpack_object *get(const msgpack_object *map, const char *key)
{
    if (map == NULL || map->type != MSGPACK_OBJECT_MAP)
        return NULL;
    for (uint32_t n = 0; n < map->via.map.size; n++) {
        const msgpack_object_str *name = &map->via.map.ptr[n].key.via.str;
        if (name->size == strlen(key) && memcmp(name->ptr, key, name->size) == 0)
            return &map->via.map.ptr[n].val;
    }
    return NULL;
}

int64_t get_int(const msgpack_object *map, const char *key)
{
    const msgpack_object *found = get(map, key);
    return found ? found->via.i64 : 0;
}

void get_text(const msgpack_object *map, const char *key, char *value, size_t size)
{
    const msgpack_object *found = get(map, key);
    bool is_text = found && found->type == MSGPACK_OBJECT_STR;
    snprintf(value, size, "%.*s", is_text ? (int)found->via.str.size : 0, is_text ? found->via.str.ptr : "");
}

void *connected(void *context, int type, const struct address *service, const char *endpoint)
{
    void *socket = zmq_socket(context, type);
    int linger = 10000, unbounded = 0;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(socket, ZMQ_SNDHWM, &unbounded, sizeof unbounded);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &unbounded, sizeof unbounded);
    if (strncmp(endpoint, "tcp:", 4) == 0 && service->server_key[0]) {
        zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, service->server_key, 41);
        zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, service->public_key, 41);
        zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, service->secret_key, 41);
    }
    if (zmq_connect(socket, endpoint) < 0)
        die("%s: %s", endpoint, zmq_strerror(zmq_errno()));
    return socket;
}

/* Of the endpoints of one socket, the one with the transport of `by`; the host `*` is the host of `by`. */
void reachable(const msgpack_object *endpoints, const char *by, char *endpoint, size_t size)
{
    int host = (int)(strrchr(by, ':') - by); /* "tcp://HOST" of "tcp://HOST:PORT" */
    endpoint[0] = 0;
    for (uint32_t n = 0; endpoints && n < endpoints->via.array.size && !endpoint[0]; n++) {
        const msgpack_object_str *one = &endpoints->via.array.ptr[n].via.str;
        if (one->size > 8 && memcmp(one->ptr, "tcp://*:", 8) == 0 && strncmp(by, "tcp", 3) == 0)
            snprintf(endpoint, size, "%.*s:%.*s", host, by, (int)one->size - 8, one->ptr + 8);
        else if (one->size > 6 && memcmp(one->ptr, by, 6) == 0)
            snprintf(endpoint, size, "%.*s", (int)one->size, one->ptr);
    }
}

bool receive(void *socket, int timeout_ms, struct message *message)
{
    zmq_pollitem_t item = {socket, 0, ZMQ_POLLIN, 0};
    if (zmq_poll(&item, 1, timeout_ms) <= 0)
        return false;
    msgpack_unpacked_init(&message->header);
    message->bytes = message->payload = NULL;
    for (int more = 1; more;) {
        zmq_msg_t part;
        zmq_msg_init(&part);
        if (zmq_msg_recv(&part, socket, 0) < 0)
            die("receiving: %s", zmq_strerror(zmq_errno()));
        size_t size = zmq_msg_size(&part);
        void *copy = malloc(size + 1);
        memcpy(copy, zmq_msg_data(&part), size);
        if (message->header.data.type == MSGPACK_OBJECT_MAP) {
            message->payload = copy;
            message->size = size;
        } else { /* an event's topic, which is no map, goes before its header */
            free(message->bytes);
            message->bytes = copy;
            msgpack_unpack_next(&message->header, copy, size, NULL);
        }
        more = zmq_msg_more(&part);
        zmq_msg_close(&part);
    }
    return true;
}

void release(struct message *message)
{
    free(message->bytes);
    free(message->payload);
    msgpack_unpacked_destroy(&message->header);
}

bool is_redirect(const struct message *reply)
{
    char error[64];
    get_text(&reply->header.data, "error", error, sizeof error);
    return strcmp(error, "redirect") == 0;
}

struct message reply_to(void *socket, int64_t id)
{
    struct message reply;
    while (receive(socket, REPLY_MS, &reply)) {
        if (get_int(&reply.header.data, "id") == id) {
            char error[64], why[512];
            get_text(&reply.header.data, "error", error, sizeof error);
            get_text(&reply.header.data, "text", why, sizeof why);
            if (error[0] && !is_redirect(&reply))
                die("%s: %s", error, why);
            return reply;
        }
        release(&reply); /* that of a ping */
    }
    die("the service does not answer");
}

bool may_send(const struct route *route, size_t size)
{
    bool nothing_under_way = route->frames >= route->sent + route->window;
    return route->sent < route->frames && (nothing_under_way || route->sent_bytes + size <= route->bytes);
}

void take_credits(void *data, struct route *routes, size_t count, int timeout_ms)
{
    struct message message;
    for (; receive(data, timeout_ms, &message); timeout_ms = 0) {
        const msgpack_object *header = &message.header.data;
        char kind[32], name[208];
        get_text(header, "kind", kind, sizeof kind);
        get_text(header, "route", name, sizeof name);
        for (struct route *route = routes; strcmp(kind, "credit") == 0 && route < routes + count; route++) {
            uint64_t frames = get_int(header, "frames"), bytes = get_int(header, "bytes");
            if (strcmp(route->name, name) == 0) { /* totals, which never shrink */
                route->frames = frames > route->frames ? frames : route->frames;
                route->bytes = bytes > route->bytes ? bytes : route->bytes;
            }
        }
        if (strcmp(kind, "refused") == 0) {
            char why[512];
            get_text(header, "reason", why, sizeof why);
            fprintf(stderr, "refused: %s\n", why);
        }
        release(&message);
    }
}
