/* The public header compiles alone, before any other, and twice. */
/* clang-format off */
#include "recsvc.h"
#include "recsvc.h"
/* clang-format on */

#include "check.h"

int main(void)
{
    CHECK(strlen(recsvc_version()) >= 5);
    CHECK(strstr(recsvc_opus_version(), "opus") != NULL);
    CHECK(strlen(recsvc_vpx_version()) > 0);
    CHECK(strstr(recsvc_soxr_version(), "soxr") != NULL);
    CHECK(strlen(recsvc_yuv_version()) > 0);
    return 0;
}
