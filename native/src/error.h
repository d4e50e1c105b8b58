/* Failing with a text: what is behind recsvc_last_error(). */
#ifndef RECSVC_ERROR_H
#define RECSVC_ERROR_H

#include "recsvc.h"

/* Keeps a printf-style text for the calling thread and returns `status`, so that a failure is one
 * statement: return recsvc_fail(RECSVC_ERROR_ARGUMENT, "...", ...); */
int recsvc_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* RECSVC_OK when `low` <= `value` <= `high`, else fails with a text that names all four. */
int recsvc_check_range(const char *name, int32_t value, int32_t low, int32_t high);

#endif
