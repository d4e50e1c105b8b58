/* Wrong arguments and wrong states are refused with a text, and change nothing. */
#include "video_support.h"

static void refused(const recsvc_video_settings *settings, const char *word)
{
    recsvc_video_encoder *encoder = (recsvc_video_encoder *)(uintptr_t)1;
    CHECK_INT(recsvc_video_open(&encoder, settings), RECSVC_ERROR_ARGUMENT);
    CHECK(encoder == NULL);
    CHECK(strstr(recsvc_last_error(), word) != NULL);
}

static void settings_are_checked(void)
{
    recsvc_video_settings good = video_settings(RECSVC_VIDEO_VP8, 64, 48);
    recsvc_video_settings bad = good;
    bad.codec = 2;
    refused(&bad, "codec is 2");
    bad = good;
    bad.color_space = 3;
    refused(&bad, "color_space is 3");
    bad = good;
    bad.width = 0;
    refused(&bad, "width is 0");
    bad.width = 16384;
    refused(&bad, "width is 16384");
    bad = good;
    bad.height = -1;
    refused(&bad, "height");
    bad = good;
    bad.bits_per_second = 999;
    refused(&bad, "bits_per_second");
    bad = good;
    bad.speed = 17;
    refused(&bad, "speed is 17");
    bad = video_settings(RECSVC_VIDEO_VP9, 64, 48);
    bad.speed = 10;
    refused(&bad, "speed is 10");
    bad = good;
    bad.threads = 0;
    refused(&bad, "threads");
    bad = good;
    bad.key_frame_interval_max = 0;
    refused(&bad, "key_frame_interval_max");
    refused(NULL, "settings is NULL");
    CHECK_FAILS(recsvc_video_open(NULL, &good), RECSVC_ERROR_ARGUMENT, "encoder is NULL");
}

static void refuse_picture(recsvc_video_encoder *encoder, const recsvc_picture *picture,
                           const char *word)
{
    CHECK_INT(recsvc_video_push(encoder, picture), RECSVC_ERROR_ARGUMENT);
    CHECK(strstr(recsvc_last_error(), word) != NULL);
}

static void pictures_are_checked(int32_t codec)
{
    recsvc_video_settings settings = video_settings(codec, 64, 48);
    recsvc_video_encoder *encoder = video_open(&settings);
    recsvc_picture good = video_scene(RECSVC_PIXEL_RGB24, 64, 48, 0);
    recsvc_picture bad = good;
    bad.byte_count--;
    refuse_picture(encoder, &bad, "9215 bytes");
    bad = good;
    bad.pixel_format = 6;
    refuse_picture(encoder, &bad, "pixel_format 6");
    bad.pixel_format = -1;
    refuse_picture(encoder, &bad, "pixel_format -1");
    bad = good;
    bad.width = 0;
    refuse_picture(encoder, &bad, "0 x 48");
    bad.width = 16384;
    refuse_picture(encoder, &bad, "16384 x 48");
    bad = good;
    bad.data = NULL;
    refuse_picture(encoder, &bad, "bytes");
    bad = good;
    bad.pts_us = -1;
    refuse_picture(encoder, &bad, "negative");
    bad.pts_us = 0;
    bad.duration_us = -1;
    refuse_picture(encoder, &bad, "negative");
    refuse_picture(encoder, NULL, "picture is NULL");

    /* Times must rise; a refused one leaves the stream as it was. */
    good.pts_us = 1000;
    (void)video_push(encoder, &good);
    refuse_picture(encoder, &good, "not after 1000");
    good.pts_us = 999;
    refuse_picture(encoder, &good, "not after 1000");
    good.pts_us = 1001;
    recsvc_packet packet = video_push(encoder, &good);
    CHECK_INT(packet.flags, 0);

    CHECK_FAILS(recsvc_video_set_bits_per_second(encoder, 1), RECSVC_ERROR_ARGUMENT, "is 1");
    CHECK_FAILS(recsvc_video_set_speed(encoder, 99), RECSVC_ERROR_ARGUMENT, "speed is 99");
    CHECK_OK(recsvc_video_drain(encoder));
    CHECK_OK(recsvc_video_drain(encoder));
    good.pts_us = 5000;
    CHECK_FAILS(recsvc_video_push(encoder, &good), RECSVC_ERROR_STATE, "drained");
    video_picture_free(&good);
    recsvc_video_close(&encoder);
    CHECK(encoder == NULL);
    recsvc_video_close(&encoder);
    recsvc_video_close(NULL);
}

static void handles_are_checked(void)
{
    recsvc_packet packet;
    size_t count = 0;
    recsvc_picture picture = {.width = 1, .height = 1};
    recsvc_video_default_settings(NULL, RECSVC_VIDEO_VP8);
    CHECK_FAILS(recsvc_video_push(NULL, &picture), RECSVC_ERROR_ARGUMENT, "encoder is NULL");
    CHECK_FAILS(recsvc_video_take(NULL, &packet, 1, &count), RECSVC_ERROR_ARGUMENT, "NULL");
    CHECK_FAILS(recsvc_video_drain(NULL), RECSVC_ERROR_ARGUMENT, "NULL");
    CHECK_FAILS(recsvc_video_set_bits_per_second(NULL, 5000), RECSVC_ERROR_ARGUMENT, "NULL");
    CHECK_FAILS(recsvc_video_set_speed(NULL, 5), RECSVC_ERROR_ARGUMENT, "NULL");
}

static void frame_bytes_are_right(void)
{
    CHECK_INT(recsvc_frame_bytes(RECSVC_PIXEL_I420, 640, 480), 460800);
    CHECK_INT(recsvc_frame_bytes(RECSVC_PIXEL_I420, 1, 1), 3);
    CHECK_INT(recsvc_frame_bytes(RECSVC_PIXEL_I420, 3, 5), 15 + 2 * 6);
    CHECK_INT(recsvc_frame_bytes(RECSVC_PIXEL_NV12, 3, 5), 15 + 2 * 6);
    CHECK_INT(recsvc_frame_bytes(RECSVC_PIXEL_RGB24, 3, 5), 45);
    CHECK_INT(recsvc_frame_bytes(RECSVC_PIXEL_BGR24, 3, 5), 45);
    CHECK_INT(recsvc_frame_bytes(RECSVC_PIXEL_RGBA, 16383, 16383), INT64_C(1073610756));
    CHECK_INT(recsvc_frame_bytes(RECSVC_PIXEL_BGRA, 3, 5), 60);
    CHECK_INT(recsvc_frame_bytes(RECSVC_PIXEL_BGRA, 16384, 5), 0);
    CHECK_INT(recsvc_frame_bytes(RECSVC_PIXEL_BGRA, 5, 0), 0);
    CHECK_INT(recsvc_frame_bytes(6, 5, 5), 0);
}

int main(void)
{
    settings_are_checked();
    pictures_are_checked(RECSVC_VIDEO_VP8);
    pictures_are_checked(RECSVC_VIDEO_VP9);
    handles_are_checked();
    frame_bytes_are_right();
    return 0;
}
