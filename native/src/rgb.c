/* The loops are written for the compiler to turn them into vector code: 16-bit arithmetic on planes,
 * nothing in them that depends on a value. It is built with -O3 for that (see CMakeLists.txt). */
#include "rgb.h"

#include <libyuv.h>
#include <stdbool.h>

/* Parts of 256, rounded so that the three of luma give 220 (white is 235) and those of chroma 0 (grey
 * is 128): sums stay within 16 bits. Of chroma the two that are taken off stand here; the third,
 * of the plane's own colour, is always CHROMA_OWN. */
typedef struct coefficients {
    uint16_t luma[3];      /* of red, green, blue */
    uint16_t blue_less[2]; /* U: of red, green */
    uint16_t red_less[2];  /* V: of green, blue */
} coefficients;

enum { CHROMA_OWN = 112, HALF = 128, BLACK = 16, GREY = 128 * 256 };

/* ITU-R BT.709: Kr 0.2126, Kb 0.0722. BT.2020: Kr 0.2627, Kb 0.0593. */
static const coefficients BT709 = {{47, 157, 16}, {26, 86}, {102, 10}};
static const coefficients BT2020 = {{58, 149, 13}, {31, 81}, {103, 9}};

/* Pixels at a time: what is in work stays in the first cache. Even, for the chroma. */
enum { CHUNK = 512 };

typedef struct row {
    uint8_t colour[3][CHUNK + 1]; /* red, green, blue; the last pixel once more */
} row;

static void to_luma(const row *from, int count, const uint16_t factors[3], uint8_t *restrict luma)
{
    const uint16_t of_red = factors[0], of_green = factors[1], of_blue = factors[2];
    const uint8_t *red = from->colour[0], *green = from->colour[1], *blue = from->colour[2];
    for (int i = 0; i < count; i++)
        luma[i] = (uint8_t)(((of_red * red[i] + of_green * green[i] + of_blue * blue[i] + HALF) >> 8) +
                            BLACK);
}

/* `own` counts up, the two others down. */
static void to_chroma(const uint8_t *own, const uint8_t *first, const uint8_t *second, int count,
                      const uint16_t less[2], uint8_t *restrict chroma)
{
    const uint16_t of_first = less[0], of_second = less[1];
    for (int i = 0; i < count; i++)
        chroma[i] = (uint8_t)((uint16_t)(GREY + HALF + CHROMA_OWN * own[i] - of_first * first[i] -
                                         of_second * second[i]) >>
                              8);
}

static void halve(const uint8_t *upper, const uint8_t *lower, int count, uint8_t *restrict half)
{
    for (int i = 0; i < count; i++)
        half[i] = (uint8_t)((upper[2 * i] + upper[2 * i + 1] + lower[2 * i] + lower[2 * i + 1] + 2) >>
                            2);
}

/* Names as in picture.c: libyuv's first letter is the last byte. */
static void split(const recsvc_picture *picture, int x, int y, int count, row *into)
{
    int is_bgr = picture->pixel_format == RECSVC_PIXEL_BGR24 ||
                 picture->pixel_format == RECSVC_PIXEL_BGRA;
    uint8_t *first = into->colour[is_bgr ? 2 : 0];
    uint8_t *second = into->colour[1];
    uint8_t *third = into->colour[is_bgr ? 0 : 2];
    int is_packed = picture->pixel_format == RECSVC_PIXEL_RGB24 ||
                    picture->pixel_format == RECSVC_PIXEL_BGR24;
    size_t pixel_bytes = is_packed ? 3 : 4;
    const uint8_t *from =
        picture->data + ((size_t)y * (size_t)picture->width + (size_t)x) * pixel_bytes;
    if (is_packed)
        SplitRGBPlane(from, 0, first, 0, second, 0, third, 0, count, 1);
    else /* its order of the targets is red, green, blue of B, G, R, A in memory */
        SplitARGBPlane(from, 0, third, 0, second, 0, first, 0, NULL, 0, count, 1);
    for (int i = 0; i < 3; i++)
        into->colour[i][count] = into->colour[i][count - 1];
}

void rgb_convert(const recsvc_picture *picture, int32_t color_space, const planes *target)
{
    const coefficients *factors = color_space == RECSVC_COLOR_BT2020 ? &BT2020 : &BT709;
    row upper, lower;
    uint8_t half[3][CHUNK / 2];
    for (int y = 0; y < picture->height; y += 2) {
        for (int x = 0; x < picture->width; x += CHUNK) {
            int count = picture->width - x < CHUNK ? picture->width - x : CHUNK;
            int half_count = (count + 1) / 2;
            bool has_lower = y + 1 < picture->height;
            size_t luma_at = (size_t)y * (size_t)target->stride[0] + (size_t)x;
            size_t chroma_at = (size_t)(y / 2) * (size_t)target->stride[1] + (size_t)(x / 2);
            split(picture, x, y, count, &upper);
            to_luma(&upper, count, factors->luma, target->data[0] + luma_at);
            if (has_lower) {
                split(picture, x, y + 1, count, &lower);
                to_luma(&lower, count, factors->luma,
                        target->data[0] + luma_at + target->stride[0]);
            }
            for (int i = 0; i < 3; i++)
                halve(upper.colour[i], (has_lower ? &lower : &upper)->colour[i], half_count,
                      half[i]);
            to_chroma(half[2], half[0], half[1], half_count, factors->blue_less,
                      target->data[1] + chroma_at);
            to_chroma(half[0], half[1], half[2], half_count, factors->red_less,
                      target->data[2] + chroma_at);
        }
    }
}
