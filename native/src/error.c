#include "error.h"

#include <stdarg.h>
#include <stdio.h>

/* Per thread and not per handle, because a failed open has no handle to ask. */
static _Thread_local char last_error[256];

int recsvc_fail(int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(last_error, sizeof last_error, format, arguments);
    va_end(arguments);
    return status;
}

const char *recsvc_last_error(void)
{
    return last_error;
}

int recsvc_check_range(const char *name, int32_t value, int32_t low, int32_t high)
{
    if (value >= low && value <= high)
        return RECSVC_OK;
    return recsvc_fail(RECSVC_ERROR_ARGUMENT, "%s is %d, it must be from %d to %d", name,
                       (int)value, (int)low, (int)high);
}
