/* Sides that are no multiple of a codec's blocks, down to one pixel, with pictures that fill any buffer:
 * each comes back in its own size and looks as it did. */
#include <math.h>

#include "video_support.h"

enum { FRAME_COUNT = 3, RATE = 100000000 };

static recsvc_picture noise(check_random *random, int32_t width, int32_t height)
{
    size_t byte_count = recsvc_frame_bytes(RECSVC_PIXEL_I420, width, height);
    uint8_t *data = malloc(byte_count);
    CHECK(data != NULL);
    for (size_t i = 0; i < byte_count; i++)
        data[i] = (uint8_t)check_random_below(random, 256);
    return (recsvc_picture){.data = data,
                            .byte_count = byte_count,
                            .pixel_format = RECSVC_PIXEL_I420,
                            .width = width,
                            .height = height,
                            .duration_us = 33333};
}

static void noise_comes_back(check_random *random, int32_t codec, int32_t width, int32_t height,
                             int32_t threads)
{
    recsvc_video_settings settings = video_settings(codec, width, height);
    settings.bits_per_second = RATE;
    settings.threads = threads;
    recsvc_video_encoder *encoder = video_open(&settings);
    video_decoder decoder;
    video_decoder_open(&decoder, codec);
    for (int step = 0; step < FRAME_COUNT; step++) {
        recsvc_picture picture = noise(random, width, height);
        picture.pts_us = step * 33333;
        recsvc_packet packet = video_push(encoder, &picture);
        CHECK_INT((packet.flags & RECSVC_PACKET_KEY) != 0, step == 0);
        const vpx_image_t *image = video_decode(&decoder, &packet);
        double psnr = video_psnr(image, &picture);
        if (psnr < 12)
            fprintf(stderr, "codec %d, %d x %d, frame %d: %.1f dB\n", (int)codec, (int)width,
                    (int)height, step, psnr);
        CHECK(psnr >= 12); /* what is not this picture has 8 */
        video_picture_free(&picture);
    }
    video_decoder_close(&decoder);
    recsvc_video_close(&encoder);
}

/* The size changes to a thin one and back, in one stream. */
static void sizes_change(check_random *random, int32_t codec, int32_t threads)
{
    static const int32_t SIZES[][2] = {{64, 48}, {700, 1}, {64, 48}, {2, 300}, {3, 3}, {640, 65}, {64, 48}};
    recsvc_video_settings settings = video_settings(codec, 64, 48);
    settings.bits_per_second = RATE;
    settings.threads = threads;
    recsvc_video_encoder *encoder = video_open(&settings);
    video_decoder decoder;
    video_decoder_open(&decoder, codec);
    int frame = 0;
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++)
        for (int step = 0; step < 2; step++) {
            recsvc_picture picture = noise(random, SIZES[i][0], SIZES[i][1]);
            picture.pts_us = frame++ * 33333;
            recsvc_packet packet = video_push(encoder, &picture);
            CHECK_INT((packet.flags & RECSVC_PACKET_KEY) != 0, step == 0);
            CHECK(video_psnr(video_decode(&decoder, &packet), &picture) >= 12);
            video_picture_free(&picture);
        }
    video_decoder_close(&decoder);
    recsvc_video_close(&encoder);
}

/* With an argument only what VP9 could write beyond its memory: a checker of memory takes long. */
int main(int argument_count, char **arguments)
{
    (void)arguments;
    static const int32_t SIZES[][2] = {
        {4096, 1}, {1281, 2}, {2, 1281}, {2000, 3}, {4096, 3}, {16383, 1}, {1, 16383},
        {1, 1},    {3, 3},    {4, 4},    {7, 7},    {5, 999},  {999, 7},   {9, 999},
        {999, 15}, {15, 15},  {17, 33},  {161, 91}};
    /* Several threads have memory of their own for each tile. */
    static const int32_t TILED[][2] = {{640, 3}, {576, 11}, {513, 65}, {1281, 2}};
    check_random random = check_random_start();
    for (size_t i = 0; i < sizeof TILED / sizeof TILED[0]; i++)
        noise_comes_back(&random, RECSVC_VIDEO_VP9, TILED[i][0], TILED[i][1], 4);
    if (argument_count > 1) {
        for (size_t i = 0; i < 4; i++)
            noise_comes_back(&random, RECSVC_VIDEO_VP9, SIZES[i][0], SIZES[i][1], 1);
        return 0;
    }
    for (int32_t codec = RECSVC_VIDEO_VP8; codec <= RECSVC_VIDEO_VP9; codec++) {
        for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++)
            noise_comes_back(&random, codec, SIZES[i][0], SIZES[i][1], 1);
        sizes_change(&random, codec, 1);
        sizes_change(&random, codec, 4);
    }
    return 0;
}
