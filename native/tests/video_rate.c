/* Ten seconds of any content have the size that was asked for, and key frames do not show. */
#include "video_rate.h"

#include <math.h>

#include "video_support.h"

enum { WIDTH = 128, HEIGHT = 96, FRAME_US = 33333, FRAMES = 300, KEY_FRAMES = 100 };
enum { LITTLE = 50000, MUCH = 200000 }; /* bits per second */

typedef enum scene { STILL, MOVING, NOISY, WAKES } scene;

/* A texture with detail of every size, unlike the smooth scenes of the other tests. */
enum { SIDE = 256 };
static uint8_t texture[SIDE][SIDE];

static void make_texture(check_random *random)
{
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            texture[y][x] = 60;
    for (int size = 64; size >= 2; size /= 2)
        for (int y = 0; y < SIDE; y += size)
            for (int x = 0; x < SIDE; x += size) {
                int more = (int)check_random_below(random, 30);
                for (int at = 0; at < size * size; at++)
                    texture[y + at / size][x + at % size] += (uint8_t)more;
            }
}

static recsvc_picture draw(scene kind, int step, check_random *random)
{
    recsvc_picture picture = video_plain(RECSVC_PIXEL_I420, WIDTH, HEIGHT, (colour){90, 90, 90});
    uint8_t *data = (uint8_t *)(uintptr_t)picture.data;
    int pan = kind == STILL || (kind == WAKES && step < FRAMES / 3) ? 0 : step;
    for (int x = 0; x < WIDTH; x++) {
        /* A wave goes through it, so that no block of one picture is one of the last. */
        int down = pan ? (int)(4 * sin((x + 5 * pan) / 11.0)) + SIDE : 0;
        for (int y = 0; y < HEIGHT; y++) {
            int value = texture[(y + down) % SIDE][(x + 2 * pan) % SIDE];
            if (kind == NOISY)
                value += (int)check_random_below(random, 21) - 10;
            data[y * WIDTH + x] = (uint8_t)value;
        }
    }
    return picture;
}

typedef struct outcome {
    double error_percent; /* of the size after ten seconds */
    double usual_psnr, least_psnr; /* of pictures that stand still */
} outcome;

static outcome ten_seconds(int32_t codec, scene kind, int32_t bits_per_second, int key_frames,
                           check_random *random)
{
    recsvc_video_settings settings = video_settings(codec, WIDTH, HEIGHT);
    settings.bits_per_second = bits_per_second;
    settings.key_frame_interval_max = key_frames;
    recsvc_video_encoder *encoder = video_open(&settings);
    video_decoder decoder;
    video_decoder_open(&decoder, codec);
    double bits = 0;
    outcome found = {.least_psnr = 100};
    for (int step = 0; step < FRAMES; step++) {
        recsvc_picture picture = draw(kind, step, random);
        picture.pts_us = (int64_t)step * FRAME_US;
        recsvc_packet packet = video_push(encoder, &picture);
        CHECK_INT((packet.flags & RECSVC_PACKET_KEY) != 0, step % key_frames == 0);
        bits += 8.0 * (double)packet.size;
        const vpx_image_t *decoded = video_decode(&decoder, &packet);
        double psnr = kind == STILL ? video_psnr(decoded, &picture) : 0;
        found.usual_psnr += psnr / FRAMES;
        if (step >= key_frames && psnr < found.least_psnr)
            found.least_psnr = psnr;
        video_picture_free(&picture);
    }
    video_decoder_close(&decoder);
    recsvc_video_close(&encoder);
    found.error_percent = 100 * (bits / (FRAMES * FRAME_US / 1e6) / bits_per_second - 1);
    printf("codec %d, scene %d, %d bit/s, key frame each %d: %+.1f %%, %.1f dB, least %.1f\n",
           (int)codec, (int)kind, (int)bits_per_second, key_frames, found.error_percent,
           found.usual_psnr, found.least_psnr);
    return found;
}

static void sizes_are_as_asked(int32_t codec, check_random *random)
{
    for (int kind = MOVING; kind <= WAKES; kind++) {
        outcome found = ten_seconds(codec, (scene)kind, LITTLE, KEY_FRAMES, random);
        CHECK(found.error_percent < 5);
        /* What begins still may leave bits over. */
        CHECK(found.error_percent > (kind == WAKES ? -40 : -5));
    }
    outcome still = ten_seconds(codec, STILL, LITTLE, KEY_FRAMES, random);
    CHECK(still.error_percent < 5);
    CHECK(still.least_psnr > still.usual_psnr - 6);
}

/* With three key frames a second there is less for the rest, and it is still what was asked for. */
static void many_key_frames_fit_too(int32_t codec, check_random *random)
{
    CHECK(fabs(ten_seconds(codec, NOISY, MUCH, 10, random).error_percent) < 10);
}

/* --- the account alone ---------------------------------------------------------------------- */

enum { RATE = 1000000 };

static size_t bytes_of(double seconds)
{
    return (size_t)(seconds * RATE / 8);
}

static void debts_are_paid_back_and_savings_bounded(void)
{
    video_rate rate;
    video_rate_begin(&rate, RATE);
    CHECK(video_rate_next(&rate, true).bits_per_second == RATE);
    video_rate_spent(&rate, bytes_of(1.5), FRAME_US, true, 30);
    CHECK(video_rate_next(&rate, false).bits_per_second < RATE / 2);
    /* An encoder that does what it is told. */
    double spent_s = 1.5;
    for (int step = 1; step < FRAMES; step++) {
        double part = video_rate_next(&rate, false).bits_per_second / RATE;
        spent_s += part * FRAME_US / 1e6;
        video_rate_spent(&rate, bytes_of(part * FRAME_US / 1e6), FRAME_US, false, 30);
    }
    CHECK(fabs(spent_s - 10) < 0.3);
    /* One that takes half as much again is asked for less until it fits. */
    for (int step = 0; step < 2 * FRAMES; step++) {
        double part = 1.5 * video_rate_next(&rate, false).bits_per_second / RATE;
        video_rate_spent(&rate, bytes_of(part * FRAME_US / 1e6), FRAME_US, false, 30);
    }
    CHECK(fabs(1.5 * video_rate_next(&rate, false).bits_per_second / RATE - 1) < 0.05);
    /* An hour in which nothing was needed pays for no more than a burst. */
    for (int step = 0; step < 3600; step++)
        video_rate_spent(&rate, 0, 1000000, false, 4);
    CHECK(video_rate_next(&rate, false).bits_per_second <= 1.5 * RATE);
    CHECK(rate.debt_s >= -0.5);
    /* And better pictures meanwhile, but not when there is need again. */
    CHECK(video_rate_next(&rate, false).quantizer_max < VIDEO_QUANTIZER_MAX);
    video_rate_spent(&rate, bytes_of(0.6), FRAME_US, false, 4);
    CHECK_INT(video_rate_next(&rate, false).quantizer_max, VIDEO_QUANTIZER_MAX);
    CHECK(video_rate_next(&rate, false).quantizer_min > 10);
}

static void key_frames_are_as_fine_as_what_is_around(void)
{
    video_rate rate;
    video_rate_begin(&rate, RATE);
    video_rate_plan plan = video_rate_next(&rate, true);
    CHECK_INT(plan.quantizer_min, VIDEO_QUANTIZER_MIN);
    CHECK_INT(plan.quantizer_max, VIDEO_QUANTIZER_MAX);
    video_rate_spent(&rate, bytes_of(0.5), FRAME_US, true, 40);
    for (int step = 1; step < KEY_FRAMES; step++)
        video_rate_spent(&rate, bytes_of(FRAME_US / 1e6), FRAME_US, false, 40);
    plan = video_rate_next(&rate, true);
    CHECK_INT(plan.quantizer_min, plan.quantizer_max);
    CHECK(plan.quantizer_max > 20 && plan.quantizer_max < 40);
    /* Where every frame is a key frame, each takes its share. */
    int quantizer = 20;
    double size_s = 0;
    for (int step = 0; step < 60; step++) {
        size_s = 0.2 * exp2(-(quantizer - 20) / 8.0);
        video_rate_spent(&rate, bytes_of(size_s), FRAME_US, true, quantizer);
        quantizer = video_rate_next(&rate, true).quantizer_min;
    }
    CHECK(fabs(size_s / (FRAME_US / 1e6) - 1) < 0.15);
}

static void another_target_keeps_what_is_owed(void)
{
    video_rate rate;
    video_rate_begin(&rate, RATE);
    video_rate_spent(&rate, bytes_of(1.0), FRAME_US, true, 30);
    double owed_bits = rate.debt_s * RATE;
    video_rate_set(&rate, 2 * RATE);
    CHECK(fabs(rate.debt_s * 2 * RATE - owed_bits) < 1);
    video_rate_set(&rate, RATE / 100); /* what was right for the old one is not owed for ever */
    CHECK(rate.debt_s <= 3);
    video_rate_resize(&rate);
    video_rate_plan plan = video_rate_next(&rate, true);
    CHECK_INT(plan.quantizer_min, VIDEO_QUANTIZER_MIN);
    CHECK_INT(plan.quantizer_max, VIDEO_QUANTIZER_MAX);
}

int main(void)
{
    debts_are_paid_back_and_savings_bounded();
    key_frames_are_as_fine_as_what_is_around();
    another_target_keeps_what_is_owed();
    check_random random = check_random_start();
    make_texture(&random);
    for (int32_t codec = RECSVC_VIDEO_VP8; codec <= RECSVC_VIDEO_VP9; codec++) {
        sizes_are_as_asked(codec, &random);
        many_key_frames_fit_too(codec, &random);
    }
    return 0;
}
