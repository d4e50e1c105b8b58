/* The smallest test support: a failed check names itself and ends the program. */
#ifndef RECSVC_CHECK_H
#define RECSVC_CHECK_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recsvc.h"

#define CHECK(condition)                                  \
    do {                                                  \
        if (!(condition))                                 \
            check_failed(__FILE__, __LINE__, #condition); \
    } while (0)

/* An integer equation; prints both sides. */
#define CHECK_INT(got, wanted) \
    check_int(__FILE__, __LINE__, #got, (int64_t)(got), (int64_t)(wanted))

/* A call that must succeed; prints the library's text. */
#define CHECK_OK(call) CHECK_INT((call), RECSVC_OK)

/* A call that must fail with `status` and a text that contains `word`. */
#define CHECK_FAILS(call, status, word)                                               \
    do {                                                                              \
        CHECK_INT((call), (status));                                                  \
        if (!strstr(recsvc_last_error(), (word)))                                     \
            check_failed(__FILE__, __LINE__, #call ": the text has no \"" word "\""); \
    } while (0)

static inline void check_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: failed: %s\n  last error: %s\n", file, line, what, recsvc_last_error());
    exit(1);
}

static inline void check_int(const char *file, int line, const char *what, int64_t got,
                             int64_t wanted)
{
    if (got == wanted)
        return;
    fprintf(stderr, "%s:%d: %s is %" PRId64 ", not %" PRId64 "\n  last error: %s\n", file, line,
            what, got, wanted, recsvc_last_error());
    exit(1);
}

/* Random numbers from a printed seed; RECSVC_SEED in the environment repeats a run. */
typedef struct check_random {
    uint64_t state;
} check_random;

static inline check_random check_random_start(void)
{
    const char *text = getenv("RECSVC_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 10) : 20240229;
    printf("seed %" PRIu64 "\n", seed);
    return (check_random){seed * 2 + 1};
}

/* From 0 up to below `limit` (xorshift64*). */
static inline uint32_t check_random_below(check_random *random, uint32_t limit)
{
    random->state ^= random->state >> 12;
    random->state ^= random->state << 25;
    random->state ^= random->state >> 27;
    return (uint32_t)((random->state * UINT64_C(2685821657736338717)) >> 33) % limit;
}

#endif
