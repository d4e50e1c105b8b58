/* Every pixel format, in even, odd and tiny sizes and by every matrix, comes back as the picture that
 * went in. */
#include "video_support.h"

static const int32_t FORMATS[] = {RECSVC_PIXEL_I420,  RECSVC_PIXEL_NV12, RECSVC_PIXEL_RGB24,
                                  RECSVC_PIXEL_BGR24, RECSVC_PIXEL_RGBA, RECSVC_PIXEL_BGRA};
enum { FORMAT_COUNT = sizeof FORMATS / sizeof FORMATS[0] };

/* VP8 is BT.601 whatever it was given. */
static int32_t coded_as(int32_t codec, int32_t space)
{
    return codec == RECSVC_VIDEO_VP9 ? space : RECSVC_COLOR_BT601;
}

static recsvc_video_settings settings_for(int32_t codec, int32_t space, int32_t width,
                                          int32_t height)
{
    recsvc_video_settings settings = video_settings(codec, width, height);
    settings.color_space = space;
    return settings;
}

static void scene_comes_back(int32_t codec, int32_t space, int32_t format, int32_t width,
                             int32_t height)
{
    recsvc_video_settings settings = settings_for(codec, space, width, height);
    recsvc_video_encoder *encoder = video_open(&settings);
    video_decoder decoder;
    video_decoder_open(&decoder, codec);
    for (int step = 0; step < 8; step++) {
        video_use_color_space(space);
        recsvc_picture picture = video_scene(format, width, height, step);
        video_use_color_space(coded_as(codec, space));
        recsvc_picture wanted = video_scene(RECSVC_PIXEL_I420, width, height, step);
        picture.pts_us = step * 33333;
        recsvc_packet packet = video_push(encoder, &picture);
        double psnr = video_psnr(video_decode(&decoder, &packet), &wanted);
        if (psnr < 32)
            fprintf(stderr, "codec %d, matrix %d, format %d, %d x %d, frame %d: %.1f dB\n",
                    (int)codec, (int)space, (int)format, (int)width, (int)height, step, psnr);
        CHECK(psnr >= 32);
        video_picture_free(&picture);
        video_picture_free(&wanted);
    }
    video_decoder_close(&decoder);
    recsvc_video_close(&encoder);
}

static int is_near(colour got, colour wanted)
{
    return abs(got.red - wanted.red) <= 5 && abs(got.green - wanted.green) <= 5 &&
           abs(got.blue - wanted.blue) <= 5;
}

static void plain_comes_back(int32_t codec, int32_t space, int32_t format, colour wanted)
{
    recsvc_video_settings settings = settings_for(codec, space, 64, 48);
    recsvc_video_encoder *encoder = video_open(&settings);
    video_decoder decoder;
    video_decoder_open(&decoder, codec);
    video_use_color_space(space);
    recsvc_picture picture = video_plain(format, 64, 48, wanted);
    video_use_color_space(coded_as(codec, space));
    recsvc_packet packet = video_push(encoder, &picture);
    const vpx_image_t *image = video_decode(&decoder, &packet);
    if (codec == RECSVC_VIDEO_VP9) {
        static const vpx_color_space_t SAID[] = {VPX_CS_SMPTE_170, VPX_CS_BT_709, VPX_CS_BT_2020};
        CHECK_INT(image->cs, SAID[space]);
        CHECK_INT(image->range, VPX_CR_STUDIO_RANGE);
    }
    colour got = video_middle(image);
    if (!is_near(got, wanted))
        fprintf(stderr, "matrix %d, format %d: %d %d %d came back as %d %d %d\n", (int)space, (int)format, wanted.red,
                wanted.green, wanted.blue, got.red, got.green, got.blue);
    CHECK(is_near(got, wanted));
    video_picture_free(&picture);
    video_decoder_close(&decoder);
    recsvc_video_close(&encoder);
}

/* Bytes written by hand: does not rely on the painter that the other tests share. */
static void red_is_red(void)
{
    video_use_color_space(RECSVC_COLOR_BT601);
    static uint8_t bytes[64 * 48 * 3];
    for (size_t i = 0; i < sizeof bytes; i += 3)
        bytes[i] = 255;
    recsvc_video_settings settings = video_settings(RECSVC_VIDEO_VP8, 64, 48);
    recsvc_video_encoder *encoder = video_open(&settings);
    video_decoder decoder;
    video_decoder_open(&decoder, RECSVC_VIDEO_VP8);
    recsvc_picture picture = {.data = bytes, .byte_count = sizeof bytes, .width = 64, .height = 48};
    picture.pixel_format = RECSVC_PIXEL_RGB24;
    recsvc_packet packet = video_push(encoder, &picture);
    CHECK(is_near(video_middle(video_decode(&decoder, &packet)), (colour){255, 0, 0}));
    picture.pixel_format = RECSVC_PIXEL_BGR24;
    picture.pts_us = 33333;
    picture.flags = RECSVC_PICTURE_FORCE_KEY;
    packet = video_push(encoder, &picture);
    CHECK(is_near(video_middle(video_decode(&decoder, &packet)), (colour){0, 0, 255}));
    video_decoder_close(&decoder);
    recsvc_video_close(&encoder);
}

/* Muted tracks: black in the middle of moving pictures, for a codec whose frame is not black. */
static void black_is_black(int32_t codec)
{
    recsvc_video_settings settings = video_settings(codec, 63, 47);
    recsvc_video_encoder *encoder = video_open(&settings);
    video_decoder decoder;
    video_decoder_open(&decoder, codec);
    for (int step = 0; step < 6; step++) {
        recsvc_picture picture = video_scene(RECSVC_PIXEL_BGRA, 63, 47, step);
        picture.pts_us = step * 40000;
        recsvc_picture black = picture;
        black.data = NULL;
        black.byte_count = 0;
        int is_black = step % 2;
        recsvc_packet packet = video_push(encoder, is_black ? &black : &picture);
        colour got = video_middle(video_decode(&decoder, &packet));
        CHECK(!is_black || is_near(got, (colour){0, 0, 0}));
        video_picture_free(&picture);
    }
    video_decoder_close(&decoder);
    recsvc_video_close(&encoder);
}

int main(void)
{
    static const int32_t SIZES[][2] = {{1, 1},   {2, 2},   {1, 17},  {17, 1},   {3, 5},
                                       {15, 16}, {16, 16}, {33, 31}, {160, 90}, {161, 91}, {1027, 6}};
    static const colour COLOURS[] = {
        {255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {255, 255, 255}, {0, 0, 0}};
    for (int32_t codec = RECSVC_VIDEO_VP8; codec <= RECSVC_VIDEO_VP9; codec++) {
        for (int format = 0; format < FORMAT_COUNT; format++)
            for (int32_t space = RECSVC_COLOR_BT601; space <= RECSVC_COLOR_BT2020; space++) {
                for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++)
                    scene_comes_back(codec, space, FORMATS[format], SIZES[i][0], SIZES[i][1]);
                for (size_t i = 0; i < sizeof COLOURS / sizeof COLOURS[0]; i++)
                    plain_comes_back(codec, space, FORMATS[format], COLOURS[i]);
            }
        black_is_black(codec);
    }
    red_is_red();
    return 0;
}
