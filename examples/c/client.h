/* What a client of recsvc needs of docs/protocol.md: messages, requests, and frames under credit. */
#pragma once
#include <msgpack.h>
#include <stdbool.h>
#include <stdint.h>

enum { FETCH_BYTES = 1 << 20, FETCH_CREDIT = 8 };

/* A service: where its control socket is and, for tcp, the keys (Z85); "" without. */
struct address {
    char endpoint[256], server_key[41], public_key[41], secret_key[41];
};

struct route {
    char name[208], endpoint[256];
    uint64_t frames, bytes;   /* granted in all */
    uint64_t sent, sent_bytes;
    uint64_t window;          /* frames of the first credit */
};

/* A message that has come: its header, and the part behind it, if there is one. */
struct message {
    msgpack_unpacked header; /* its texts lie in `bytes` */
    void *bytes, *payload;
    size_t size; /* of the payload */
};

int64_t now_ns(void); /* the monotonic clock */
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Packing: each call appends to the map that `begin` began with so many fields, `kind` and `v` among them. */
void begin(uint32_t fields, const char *kind);
void put_text(const char *key, const char *value);
void put_int(const char *key, int64_t value);
void put_bool(const char *key, bool value);
void put_map(const char *key, uint32_t fields);
void put_list(const char *key, uint32_t length);
void put_item(uint32_t fields); /* a map in a list */
void send_packed(void *socket, const void *payload, size_t size); /* no payload: NULL */

/* Unpacking: the field of a map, or NULL; and what it is. */
const msgpack_object *get(const msgpack_object *map, const char *key);
int64_t get_int(const msgpack_object *map, const char *key);
void get_text(const msgpack_object *map, const char *key, char *text, size_t size);

void *connected(void *context, int type, const struct address *service, const char *endpoint);
void reachable(const msgpack_object *endpoints, const char *by, char *endpoint, size_t size);
bool receive(void *socket, int timeout_ms, struct message *message);
void release(struct message *message);
/* The reply to request `id`, which is on its way; ends the program where it is an error other than `redirect`. */
struct message reply_to(void *socket, int64_t id);
bool is_redirect(const struct message *reply); /* another service takes it; `result` says which */

bool may_send(const struct route *route, size_t size);
void take_credits(void *data, struct route *routes, size_t count, int timeout_ms);
