/* Streams of frames: key frames, sizes, bit rates, times. */
#include "video_support.h"

static int is_key(const recsvc_packet *packet)
{
    return (packet->flags & RECSVC_PACKET_KEY) != 0;
}

/* Pushes scene `step` at that frame time; returns its packet. */
static recsvc_packet push_scene(recsvc_video_encoder *encoder, int32_t width, int32_t height,
                                int step, uint32_t flags)
{
    recsvc_picture picture = video_scene(RECSVC_PIXEL_I420, width, height, step);
    picture.pts_us = step * 33333;
    picture.flags = flags;
    recsvc_packet packet = video_push(encoder, &picture);
    video_picture_free(&picture);
    return packet;
}

/* Key frames are where they were asked for and at the greatest distance, and nowhere else, not at
 * a cut either. */
static void key_frames_are_as_asked(int32_t codec)
{
    recsvc_video_settings settings = video_settings(codec, 96, 64);
    settings.key_frame_interval_max = 10;
    recsvc_video_encoder *encoder = video_open(&settings);
    for (int step = 0; step < 40; step++) {
        int is_forced = step == 3 || step == 4 || step == 20;
        /* first, forced, forced, 10 after 4, forced, 10 after 20 */
        int is_wanted = step == 0 || is_forced || step == 14 || step == 30;
        recsvc_picture picture = video_plain(RECSVC_PIXEL_I420, 96, 64, (colour){200, 200, 0});
        if (step % 7 < 4) {
            video_picture_free(&picture);
            picture = video_scene(RECSVC_PIXEL_I420, 96, 64, step * 50);
        }
        picture.pts_us = step * 33333;
        picture.flags = is_forced ? RECSVC_PICTURE_FORCE_KEY : 0;
        recsvc_packet packet = video_push(encoder, &picture);
        CHECK_INT(is_key(&packet), is_wanted);
        video_picture_free(&picture);
    }
    recsvc_video_close(&encoder);
}

static void every_frame_can_be_a_key_frame(int32_t codec)
{
    recsvc_video_settings settings = video_settings(codec, 96, 64);
    settings.key_frame_interval_max = 1;
    recsvc_video_encoder *encoder = video_open(&settings);
    for (int step = 0; step < 5; step++) {
        recsvc_packet packet = push_scene(encoder, 96, 64, step, 0);
        CHECK_INT(is_key(&packet), 1);
    }
    recsvc_video_close(&encoder);
}

/* Smaller, larger, odd, back again: each frame decodes at its own size, and each change is a key
 * frame. */
static void sizes_change(int32_t codec)
{
    static const int32_t SIZES[][2] = {{96, 64}, {48, 32}, {201, 143}, {200, 143}, {96, 64}};
    recsvc_video_settings settings = video_settings(codec, 96, 64);
    recsvc_video_encoder *encoder = video_open(&settings);
    video_decoder decoder;
    video_decoder_open(&decoder, codec);
    for (int step = 0; step < 15; step++) {
        const int32_t *size = SIZES[step / 3];
        recsvc_picture wanted = video_scene(RECSVC_PIXEL_I420, size[0], size[1], step);
        recsvc_packet packet = push_scene(encoder, size[0], size[1], step, 0);
        CHECK_INT(is_key(&packet), step % 3 == 0);
        CHECK(video_psnr(video_decode(&decoder, &packet), &wanted) > 33);
        video_picture_free(&wanted);
    }
    video_decoder_close(&decoder);
    recsvc_video_close(&encoder);
}

/* A scene with noise in it, which uses whatever bits there are. */
static size_t bytes_of_noisy_seconds(recsvc_video_encoder *encoder, check_random *random, int from,
                                     int to)
{
    size_t byte_count = 0;
    for (int step = from; step < to; step++) {
        recsvc_picture picture = video_scene(RECSVC_PIXEL_I420, 160, 120, step);
        uint8_t *data = (uint8_t *)(uintptr_t)picture.data;
        for (size_t i = 0; i < 160 * 120; i++)
            data[i] = (uint8_t)(data[i] / 2 + check_random_below(random, 100));
        picture.pts_us = step * 33333;
        recsvc_packet packet = video_push(encoder, &picture);
        byte_count += packet.size;
        video_picture_free(&picture);
    }
    return byte_count;
}

static void bit_rate_changes_while_running(int32_t codec, check_random *random)
{
    recsvc_video_settings settings = video_settings(codec, 160, 120);
    settings.bits_per_second = 800000;
    recsvc_video_encoder *encoder = video_open(&settings);
    size_t before = bytes_of_noisy_seconds(encoder, random, 0, 60);
    CHECK_OK(recsvc_video_set_bits_per_second(encoder, 200000));
    (void)bytes_of_noisy_seconds(encoder, random, 60, 90);
    size_t after = bytes_of_noisy_seconds(encoder, random, 90, 150);
    printf("codec %d: %zu bytes in 2 s at 800 kbit/s, %zu at 200\n", (int)codec, before, after);
    CHECK(before > 140000 && before < 280000);
    CHECK(after < before / 2);
    /* The rate set last holds after a change of size, too; the speed can change as well. */
    CHECK_OK(recsvc_video_set_speed(encoder, codec == RECSVC_VIDEO_VP9 ? 9 : -12));
    recsvc_packet packet = push_scene(encoder, 32, 32, 150, 0);
    CHECK_INT(is_key(&packet), 1);
    (void)bytes_of_noisy_seconds(encoder, random, 151, 181);
    CHECK(bytes_of_noisy_seconds(encoder, random, 181, 241) < before / 2);
    recsvc_video_close(&encoder);
}

/* Jitter, a stall of an hour, a burst within microseconds: a packet for each, with its own time. */
static void times_are_kept(int32_t codec)
{
    static const int64_t TIMES_US[] = {
        5,          6,          40000,      73000,         120000,   3600000000,
        3600000001, 3600033333, 3600040000, INT64_MAX / 2, INT64_MAX};
    recsvc_video_settings settings = video_settings(codec, 64, 48);
    recsvc_video_encoder *encoder = video_open(&settings);
    video_decoder decoder;
    video_decoder_open(&decoder, codec);
    for (size_t i = 0; i < sizeof TIMES_US / sizeof TIMES_US[0]; i++) {
        recsvc_picture picture = video_scene(RECSVC_PIXEL_NV12, 64, 48, (int)i);
        recsvc_picture wanted = video_scene(RECSVC_PIXEL_I420, 64, 48, (int)i);
        picture.pts_us = TIMES_US[i];
        picture.duration_us = i % 3 ? 33333 * (int64_t)i : 0;
        recsvc_packet packet = video_push(encoder, &picture);
        CHECK(video_psnr(video_decode(&decoder, &packet), &wanted) > 28);
        video_picture_free(&picture);
        video_picture_free(&wanted);
    }
    video_decoder_close(&decoder);
    recsvc_video_close(&encoder);
}

static void threads_and_extremes(int32_t codec)
{
    static const int32_t RATES[] = {RECSVC_VIDEO_BITS_PER_SECOND_MIN,
                                    RECSVC_VIDEO_BITS_PER_SECOND_MAX};
    for (int i = 0; i < 2; i++) {
        recsvc_video_settings settings = video_settings(codec, 640, 360);
        settings.threads = 1 + 3 * i;
        settings.bits_per_second = RATES[i];
        settings.speed = codec == RECSVC_VIDEO_VP9 ? 9 : 16;
        recsvc_video_encoder *encoder = video_open(&settings);
        for (int step = 0; step < 4; step++)
            (void)push_scene(encoder, 640, 360, step, 0);
        recsvc_video_close(&encoder);
    }
}

int main(void)
{
    check_random random = check_random_start();
    for (int32_t codec = RECSVC_VIDEO_VP8; codec <= RECSVC_VIDEO_VP9; codec++) {
        key_frames_are_as_asked(codec);
        every_frame_can_be_a_key_frame(codec);
        sizes_change(codec);
        bit_rate_changes_while_running(codec, &random);
        times_are_kept(codec);
        threads_and_extremes(codec);
    }
    return 0;
}
