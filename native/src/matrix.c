/* As in rgb.c the loops are written for the compiler to turn them into vector code. */
#include "matrix.h"

#include <libyuv.h>
#include <stdbool.h>

/* What is added, in parts of 256, for each step of U and of V away from grey; from the luma and chroma
 * equations of both standards, limited range. Luma's own share does not change, nor does grey. */
typedef struct shift {
    int16_t luma[2];
    int16_t blue[2];
    int16_t red[2];
} shift;

static const shift OF_BT709 = {{25, 49}, {-3, -28}, {-19, -4}};
static const shift OF_BT2020 = {{30, 26}, {-1, -15}, {-22, -6}};

/* Chroma samples at a time: what is in work stays in the first cache. */
enum { CHUNK = 256, GREY = 128, HALF = 128 };

/* All of it in 16 bits, which no value leaves: twice as many at a time as in an int's 32. */
static uint8_t clamped(int16_t value)
{
    value = value < 0 ? 0 : value;
    return (uint8_t)(value > 255 ? 255 : value);
}

static int16_t shifted(uint8_t u, uint8_t v, int16_t of_u, int16_t of_v)
{
    int16_t from_u = (int16_t)(of_u * (int16_t)(u - GREY));
    int16_t from_v = (int16_t)(of_v * (int16_t)(v - GREY));
    return (int16_t)((int16_t)(from_u + from_v + HALF) >> 8);
}

/* What luma gets, for both columns of each chroma sample. */
static void luma_shifts(const uint8_t *u, const uint8_t *v, int count, const int16_t factors[2],
                        int16_t *restrict shifts)
{
    const int16_t of_u = factors[0], of_v = factors[1];
    for (int i = 0; i < count; i++) {
        int16_t both = shifted(u[i], v[i], of_u, of_v);
        shifts[2 * i] = both;
        shifts[2 * i + 1] = both;
    }
}

static void shift_luma(const uint8_t *from, const int16_t *shifts, int count,
                       uint8_t *restrict luma)
{
    for (int i = 0; i < count; i++)
        luma[i] = clamped((int16_t)(from[i] + shifts[i]));
}

static void shift_chroma(const uint8_t *own, const uint8_t *u, const uint8_t *v, int count,
                         const int16_t factors[2], uint8_t *restrict chroma)
{
    const int16_t of_u = factors[0], of_v = factors[1];
    for (int i = 0; i < count; i++)
        chroma[i] = clamped((int16_t)(own[i] + shifted(u[i], v[i], of_u, of_v)));
}

void matrix_to_bt601(const recsvc_picture *picture, int32_t color_space, const planes *target)
{
    const shift *factors = color_space == RECSVC_COLOR_BT2020 ? &OF_BT2020 : &OF_BT709;
    bool is_nv12 = picture->pixel_format == RECSVC_PIXEL_NV12;
    int width = picture->width;
    int height = picture->height;
    size_t columns = ((size_t)width + 1) / 2;
    size_t rows = ((size_t)height + 1) / 2;
    const uint8_t *luma = picture->data;
    const uint8_t *chroma = luma + (size_t)width * (size_t)height;
    uint8_t split[2][CHUNK];
    int16_t shifts[2 * CHUNK];
    for (size_t row = 0; row < rows; row++) {
        for (size_t column = 0; column < columns; column += CHUNK) {
            int count = columns - column < CHUNK ? (int)(columns - column) : CHUNK;
            size_t at = row * columns + column;
            const uint8_t *u = chroma + at;
            const uint8_t *v = u + rows * columns;
            if (is_nv12) {
                SplitUVPlane(chroma + 2 * at, 0, split[0], 0, split[1], 0, count, 1);
                u = split[0];
                v = split[1];
            }
            luma_shifts(u, v, count, factors->luma, shifts);
            int pixels = width - 2 * (int)column < 2 * count ? width - 2 * (int)column : 2 * count;
            for (size_t y = 2 * row; y < 2 * row + 2 && y < (size_t)height; y++)
                shift_luma(luma + y * (size_t)width + 2 * column, shifts, pixels,
                           target->data[0] + y * (size_t)target->stride[0] + 2 * column);
            size_t target_at = row * (size_t)target->stride[1] + column;
            shift_chroma(u, u, v, count, factors->blue, target->data[1] + target_at);
            shift_chroma(v, u, v, count, factors->red, target->data[2] + target_at);
        }
    }
}
