#include <libyuv/version.h>
#include <opus.h>
#include <soxr.h>
#include <vpx/vpx_codec.h>

#include "recsvc.h"

/* libyuv has no version function: the number is that of its header. */
#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)

const char *recsvc_version(void)
{
    return RECSVC_VERSION_TEXT;
}

const char *recsvc_opus_version(void)
{
    return opus_get_version_string();
}

const char *recsvc_vpx_version(void)
{
    return vpx_codec_version_str();
}

const char *recsvc_soxr_version(void)
{
    return soxr_version();
}

const char *recsvc_yuv_version(void)
{
    return TEXT(LIBYUV_VERSION);
}
