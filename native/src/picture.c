#include "picture.h"

#include <libyuv.h>
#include <stdbool.h>
#include <string.h>

#include "error.h"
#include "matrix.h"
#include "rgb.h"

static int side_is_legal(int32_t side)
{
    return side >= 1 && side <= RECSVC_FRAME_SIDE_MAX;
}

size_t recsvc_frame_bytes(int32_t pixel_format, int32_t width, int32_t height)
{
    if (!side_is_legal(width) || !side_is_legal(height))
        return 0;
    size_t pixels = (size_t)width * (size_t)height;
    size_t chroma = ((size_t)width + 1) / 2 * (((size_t)height + 1) / 2);
    switch (pixel_format) {
    case RECSVC_PIXEL_I420:
    case RECSVC_PIXEL_NV12:
        return pixels + 2 * chroma;
    case RECSVC_PIXEL_RGB24:
    case RECSVC_PIXEL_BGR24:
        return 3 * pixels;
    case RECSVC_PIXEL_RGBA:
    case RECSVC_PIXEL_BGRA:
        return 4 * pixels;
    default:
        return 0;
    }
}

int picture_check(const recsvc_picture *picture)
{
    if (!side_is_legal(picture->width) || !side_is_legal(picture->height))
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "the frame is %d x %d, each side must be 1 to %d",
                           (int)picture->width, (int)picture->height, RECSVC_FRAME_SIDE_MAX);
    size_t needed = recsvc_frame_bytes(picture->pixel_format, picture->width, picture->height);
    if (needed == 0)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "pixel_format %d is not known",
                           (int)picture->pixel_format);
    if (!picture->data)
        needed = 0;
    if (picture->byte_count != needed)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT,
                           "the frame has %zu bytes, %d x %d in this format is %zu",
                           picture->byte_count, (int)picture->width, (int)picture->height, needed);
    return RECSVC_OK;
}

planes picture_planes(uint8_t *data, int32_t width, int32_t height)
{
    int chroma_width = (width + 1) / 2;
    size_t luma_bytes = (size_t)width * (size_t)height;
    size_t chroma_bytes = (size_t)chroma_width * (((size_t)height + 1) / 2);
    return (planes){
        .data = {data, data + luma_bytes, data + luma_bytes + chroma_bytes},
        .stride = {width, chroma_width, chroma_width},
    };
}

static void fill_black(const planes *target, int32_t height)
{
    size_t rows = (size_t)height;
    size_t chroma_rows = (rows + 1) / 2;
    memset(target->data[0], 16, rows * (size_t)target->stride[0]);
    memset(target->data[1], 128, chroma_rows * (size_t)target->stride[1]);
    memset(target->data[2], 128, chroma_rows * (size_t)target->stride[2]);
}

/* libyuv names RGB formats by the letters of a little-endian word, last byte first: its RGB24 is
 * B, G, R in memory, its RAW is R, G, B, its ARGB is B, G, R, A and its ABGR is R, G, B, A. From RGB
 * it knows the matrix of BT.601 alone. */
static int convert_bt601(const recsvc_picture *picture, const planes *target)
{
    const uint8_t *from = picture->data;
    int width = picture->width;
    int height = picture->height;
    uint8_t *y = target->data[0];
    uint8_t *u = target->data[1];
    uint8_t *v = target->data[2];
    int y_stride = target->stride[0];
    int uv_stride = target->stride[1];
    switch (picture->pixel_format) {
    case RECSVC_PIXEL_RGB24:
        return RAWToI420(from, 3 * width, y, y_stride, u, uv_stride, v, uv_stride, width, height);
    case RECSVC_PIXEL_BGR24:
        return RGB24ToI420(from, 3 * width, y, y_stride, u, uv_stride, v, uv_stride, width, height);
    case RECSVC_PIXEL_RGBA:
        return ABGRToI420(from, 4 * width, y, y_stride, u, uv_stride, v, uv_stride, width, height);
    case RECSVC_PIXEL_BGRA:
        return ARGBToI420(from, 4 * width, y, y_stride, u, uv_stride, v, uv_stride, width, height);
    default:
        return -1;
    }
}

int picture_convert(const recsvc_picture *picture, int32_t given, int32_t wanted,
                    const planes *target)
{
    const uint8_t *from = picture->data;
    int width = picture->width;
    int height = picture->height;
    if (!from) {
        fill_black(target, height);
        return RECSVC_OK;
    }
    int error = 0;
    bool is_i420 = picture->pixel_format == RECSVC_PIXEL_I420;
    bool is_nv12 = picture->pixel_format == RECSVC_PIXEL_NV12;
    if ((is_i420 || is_nv12) && given != wanted)
        matrix_to_bt601(picture, given, target);
    else if (is_nv12)
        error = NV12ToI420(from, width, from + (size_t)width * (size_t)height,
                           2 * target->stride[1], target->data[0], target->stride[0],
                           target->data[1], target->stride[1], target->data[2], target->stride[2],
                           width, height);
    else if (wanted == RECSVC_COLOR_BT601)
        error = convert_bt601(picture, target);
    else
        rgb_convert(picture, wanted, target);
    if (error)
        return recsvc_fail(RECSVC_ERROR_CODEC, "libyuv could not convert the frame");
    return RECSVC_OK;
}
