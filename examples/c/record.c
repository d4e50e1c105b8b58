/* Records two seconds of tone and counting pictures, pauses a little in between, and saves the file:
 *
 *     ./record out.webm ipc:///run/user/1000/recsvc/control
 *     ./record out.webm /run/user/1000/recsvc/service.json
 */
#include "client.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

enum { RATE = 48000, BLOCK = RATE / 50, WIDTH = 160, HEIGHT = 120, HALF = 50, PAUSE = 30 }; /* the last two in blocks */

static void *context, *control, *data, *events, *catalog;
static struct route routes[2]; /* of sound and of pictures */
static char client[64], recording[64];
static int64_t begin_ns, paused_ns, pinged_ns, last_id;
static int block, blocks, pictures;
static bool stopped; /* its last event has come */

static int64_t due_ns(int number) { return begin_ns + number * 1000000000LL * BLOCK / RATE; }

/* Events that are there, and a sign of life every second. */
static void look(void)
{
    struct message event;
    while (receive(events, 0, &event)) {
        char kind[32], type[32], why[256];
        get_text(&event.header.data, "kind", kind, sizeof kind);
        get_text(&event.header.data, "type", type, sizeof type);
        get_text(&event.header.data, "text", why, sizeof why);
        stopped = stopped || strcmp(type, "stop") == 0;
        if (strcmp(kind, "event") == 0)
            printf("event %d: %s %s\n", (int)get_int(&event.header.data, "sequence"), type, why);
        release(&event);
    }
    if (now_ns() - pinged_ns > 1000000000LL) {
        begin(5, "ping"); /* without an id there is no reply */
        put_int("id", 0);
        put_text("client", client);
        put_int("at_ns", pinged_ns = now_ns());
        send_packed(control, NULL, 0);
    }
}

static void wait_until(int64_t at_ns)
{
    while (now_ns() < at_ns) {
        look();
        usleep(1000);
    }
}

/* One frame's header, which has `more` fields of its kind after these; waits for credit. */
static void frame(const char *kind, struct route *route, size_t size, uint32_t more)
{
    for (take_credits(data, routes, 2, 0); !may_send(route, size); look())
        take_credits(data, routes, 2, 10);
    begin(6 + more, kind);
    put_text("route", route->name);
    put_int("sequence", route->sent++);
    put_int("captured_ns", due_ns(block));
    put_int("paused_ns", paused_ns);
    route->sent_bytes += size;
}

static void push(int count)
{
    static int16_t samples[BLOCK];
    static uint8_t picture[WIDTH * HEIGHT * 3 / 2];
    for (int last = block + count; block < last; block++) {
        wait_until(due_ns(block));
        for (int n = 0; n < BLOCK; n++) /* little-endian, as on most machines */
            samples[n] = 16000 * sin(2 * M_PI * 440 * (blocks * BLOCK + n) / RATE);
        blocks++;
        frame("audio", &routes[0], sizeof samples, 4);
        put_text("sample_format", "s16");
        put_int("sample_rate", RATE);
        put_int("channel_count", 1);
        put_int("sample_count", BLOCK);
        send_packed(data, samples, sizeof samples);
        if (block % 2)
            continue;
        memset(picture, 128, sizeof picture); /* grey; its number in binary, as eight bars */
        for (int n = 0; n < WIDTH * HEIGHT; n++)
            picture[n] = pictures >> (7 - n % WIDTH * 8 / WIDTH) & 1 ? 235 : 16;
        pictures++;
        frame("video", &routes[1], sizeof picture, 3);
        put_text("pixel_format", "i420");
        put_int("width", WIDTH);
        put_int("height", HEIGHT);
        send_packed(data, picture, sizeof picture);
    }
}

static struct message command(const char *action, int64_t at_ns)
{
    begin(8, "control");
    put_int("id", ++last_id);
    put_text("client", client);
    put_text("recording", recording);
    put_text("action", action);
    put_int("at_ns", at_ns);
    put_bool("wait", true); /* matters to a stop: its reply comes when the file is complete */
    send_packed(control, NULL, 0);
    return reply_to(control, last_id);
}

/* Connects to a service, and learns where its other sockets are. */
static void meet(const struct address *service)
{
    control = connected(context, ZMQ_DEALER, service, service->endpoint);
    begin(4, "hello");
    put_int("id", ++last_id);
    put_text("client", client);
    send_packed(control, NULL, 0);
    struct message hello = reply_to(control, last_id);
    const msgpack_object *welcome = get(&hello.header.data, "result");
    char endpoint[256], topic[80];
    reachable(get(welcome, "events"), service->endpoint, endpoint, sizeof endpoint);
    events = connected(context, ZMQ_SUB, service, endpoint);
    snprintf(topic, sizeof topic, "%s/r", client);
    zmq_setsockopt(events, ZMQ_SUBSCRIBE, topic, strlen(topic));
    struct message subscribed; /* the answer to that: from now on no event is missed */
    if (!receive(events, 30000, &subscribed))
        die("the subscription is not answered");
    release(&subscribed);
    reachable(get(welcome, "catalog"), service->endpoint, endpoint, sizeof endpoint);
    catalog = endpoint[0] ? connected(context, ZMQ_DEALER, service, endpoint) : NULL;
    release(&hello);
}

/* Another service takes the recording: meets that one, unless what was encrypted would be so no more, or another machine
 * names a socket of this one. */
static void follow(const msgpack_object *where, struct address *service)
{
    static int hops;
    bool was_tcp = strncmp(service->endpoint, "tcp:", 4) == 0, has_keys = service->secret_key[0];
    get_text(where, "endpoint", service->endpoint, sizeof service->endpoint);
    get_text(where, "key", service->server_key, sizeof service->server_key);
    bool is_tcp = strncmp(service->endpoint, "tcp:", 4) == 0;
    if (++hops > 4 || (was_tcp && !is_tcp) || (is_tcp && has_keys != (service->server_key[0] != 0)))
        die("the recording is sent to %s, where it is not followed", service->endpoint);
    begin(4, "bye");
    put_int("id", ++last_id);
    put_text("client", client);
    send_packed(control, NULL, 0);
    struct message bye = reply_to(control, last_id);
    release(&bye);
    zmq_close(control);
    zmq_close(events);
    if (catalog)
        zmq_close(catalog);
    meet(service);
}

static void start(struct address *service)
{
    begin(9, "start");
    put_int("id", ++last_id);
    put_text("client", client);
    put_text("recorder", "r");
    put_text("recording", recording);
    put_int("at_ns", begin_ns);
    put_list("tracks", 2);
    put_item(4);
    put_text("track", "sound");
    put_text("kind", "audio");
    put_bool("captured", false);
    put_map("settings", 3);
    put_text("sample_format", "s16");
    put_int("sample_rate", RATE);
    put_int("channel_count", 1);
    put_item(4);
    put_text("track", "pictures");
    put_text("kind", "video");
    put_bool("captured", false);
    put_map("settings", 3);
    put_text("pixel_format", "i420");
    put_int("width", WIDTH);
    put_int("height", HEIGHT);
    put_map("options", 3);
    put_text("mime_type", "video/webm");
    put_int("audio_bits_per_second", 128000);
    put_int("video_bits_per_second", 1000000);
    send_packed(control, NULL, 0);
    struct message started = reply_to(control, last_id);
    if (is_redirect(&started)) {
        follow(get(&started.header.data, "result"), service);
        release(&started);
        start(service); /* the same recording, from the same instant on */
        return;
    }
    const msgpack_object *list = get(get(&started.header.data, "result"), "routes");
    for (int n = 0; n < 2; n++) { /* in the order of the tracks */
        const msgpack_object *one = &list->via.array.ptr[n];
        get_text(one, "route", routes[n].name, sizeof routes[n].name);
        reachable(get(one, "endpoints"), service->endpoint, routes[n].endpoint, sizeof routes[n].endpoint);
        routes[n].window = routes[n].frames = get_int(one, "credit_frames");
        routes[n].bytes = get_int(one, "credit_bytes");
    }
    release(&started);
}

/* Fetches the bytes of the file, some of them under way at any time; replies come in order. */
static void save(void *catalog, int64_t size, const char *path)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL)
        die("%s cannot be written", path);
    int64_t first = last_id + 1, count = (size + FETCH_BYTES - 1) / FETCH_BYTES, asked = 0;
    for (int64_t got = 0; got < count; got++) {
        for (; asked < count && asked < got + FETCH_CREDIT; asked++) {
            begin(6, "fetch");
            put_int("id", ++last_id);
            put_text("recording", recording);
            put_int("start", asked * FETCH_BYTES);
            put_int("size", asked + 1 < count ? FETCH_BYTES : size - asked * FETCH_BYTES);
            send_packed(catalog, NULL, 0);
        }
        struct message bytes = reply_to(catalog, first + got);
        fwrite(bytes.payload, 1, bytes.size, file);
        release(&bytes);
    }
    fclose(file);
}

/* A text of a connection file, which is JSON without nesting. */
static void field(const char *json, const char *name, char *value, size_t size)
{
    char quoted[64], form[16];
    snprintf(quoted, sizeof quoted, "\"%s\"", name);
    snprintf(form, sizeof form, " : \"%%%zu[^\"]", size - 1);
    const char *found = strstr(json, quoted);
    if (found)
        sscanf(found + strlen(quoted), form, value);
}

int main(int count, char **given)
{
    struct address service = {0};
    if (count != 3)
        die("usage: record OUTPUT ENDPOINT|CONNECTION_FILE");
    if (strstr(given[2], "://")) {
        snprintf(service.endpoint, sizeof service.endpoint, "%s", given[2]);
    } else {
        char json[4096] = "";
        FILE *file = fopen(given[2], "r");
        if (file == NULL || fread(json, 1, sizeof json - 1, file) == 0)
            die("%s cannot be read", given[2]);
        fclose(file);
        field(json, "endpoint", service.endpoint, sizeof service.endpoint);
        field(json, "server_key", service.server_key, sizeof service.server_key);
        field(json, "public_key", service.public_key, sizeof service.public_key);
        field(json, "secret_key", service.secret_key, sizeof service.secret_key);
    }
    context = zmq_ctx_new();
    snprintf(client, sizeof client, "c-%d-%lld", getpid(), (long long)now_ns());
    snprintf(recording, sizeof recording, "c-%lld-%d", (long long)time(NULL), getpid());

    meet(&service);
    begin_ns = now_ns();
    start(&service);
    data = connected(context, ZMQ_DEALER, &service, routes[0].endpoint); /* of one worker, as both routes are */
    push(HALF);
    int64_t pause_ns = due_ns(block);
    struct message answer = command("pause", pause_ns);
    release(&answer);
    wait_until(due_ns(block += PAUSE));
    answer = command("resume", due_ns(block));
    release(&answer);
    paused_ns += due_ns(block) - pause_ns; /* what comes now lies so much earlier in the file */
    push(HALF);
    for (int n = 0; n < 2; n++) {
        begin(6, "end");
        put_text("route", routes[n].name);
        put_int("count", routes[n].sent);
        put_int("until_ns", due_ns(block));
        put_int("paused_ns", paused_ns);
        send_packed(data, NULL, 0);
    }
    answer = command("stop", due_ns(block));
    const msgpack_object *whole = get(get(&answer.header.data, "result"), "whole");
    if (catalog)
        save(catalog, get_int(whole, "end"), given[1]);
    for (int64_t until_ns = now_ns() + 10000000000LL; !stopped && now_ns() < until_ns; usleep(1000))
        look();
    printf("{\"samples\": %d, \"pictures\": %d, \"size\": %lld}\n", blocks * BLOCK, pictures, (long long)get_int(whole, "end"));
    release(&answer);

    begin(4, "bye");
    put_int("id", ++last_id);
    put_text("client", client);
    send_packed(control, NULL, 0);
    answer = reply_to(control, last_id);
    release(&answer);
    zmq_close(control), zmq_close(data), zmq_close(events);
    if (catalog)
        zmq_close(catalog);
    zmq_ctx_term(context);
    return 0;
}
