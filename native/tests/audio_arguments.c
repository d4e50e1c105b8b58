/* Wrong arguments and wrong states are refused with a text, and change nothing. */
#include <math.h>

#include "audio_support.h"

static void refused(const recsvc_audio_settings *settings, const char *word)
{
    recsvc_audio_encoder *encoder = (recsvc_audio_encoder *)(uintptr_t)1;
    CHECK_INT(recsvc_audio_open(&encoder, settings), RECSVC_ERROR_ARGUMENT);
    CHECK(encoder == NULL);
    CHECK(strstr(recsvc_last_error(), word) != NULL);
}

static void settings_are_checked(void)
{
    recsvc_audio_settings good = audio_settings(48000, 2, RECSVC_SAMPLE_S16);
    recsvc_audio_settings bad = good;
    bad.sample_rate = 7999;
    refused(&bad, "sample_rate is 7999");
    bad.sample_rate = 192001;
    refused(&bad, "192001");
    bad = good;
    bad.channel_count = 0;
    refused(&bad, "channel_count");
    bad.channel_count = 9;
    refused(&bad, "channel_count is 9");
    bad = good;
    bad.sample_format = 2;
    refused(&bad, "sample_format");
    bad = good;
    bad.bits_per_second = 499;
    refused(&bad, "bits_per_second");
    bad.bits_per_second = 512001;
    refused(&bad, "bits_per_second");
    bad = good;
    bad.bitrate_mode = -1;
    refused(&bad, "bitrate_mode");
    bad = good;
    bad.complexity = 11;
    refused(&bad, "complexity");
    refused(NULL, "settings is NULL");
    CHECK_FAILS(recsvc_audio_open(NULL, &good), RECSVC_ERROR_ARGUMENT, "encoder is NULL");
}

static void pushes_are_checked(void)
{
    recsvc_audio_settings settings = audio_settings(48000, 2, RECSVC_SAMPLE_S16);
    recsvc_audio_encoder *encoder = audio_open(&settings);
    char samples[960 * 4 + 4] = {0};
    CHECK_FAILS(recsvc_audio_push(encoder, samples, 3839, 960), RECSVC_ERROR_ARGUMENT,
                "3839 bytes");
    CHECK_FAILS(recsvc_audio_push(encoder, samples, 3840, 959), RECSVC_ERROR_ARGUMENT,
                "959 samples");
    CHECK_FAILS(recsvc_audio_push(encoder, NULL, 4, 1), RECSVC_ERROR_ARGUMENT, "4 bytes");
    /* A count whose bytes would overflow. */
    CHECK_FAILS(recsvc_audio_push(encoder, samples, 4, SIZE_MAX / 4 + 2), RECSVC_ERROR_ARGUMENT,
                "4 bytes");
    CHECK_FAILS(recsvc_audio_push(encoder, NULL, 0, SIZE_MAX), RECSVC_ERROR_ARGUMENT, "at most");
    CHECK_OK(recsvc_audio_push(encoder, samples, 0, 0));
    CHECK_OK(recsvc_audio_push(encoder, NULL, 0, 0));
    CHECK_OK(recsvc_audio_push(encoder, samples + 1, 3840, 960)); /* any alignment */
    CHECK_FAILS(recsvc_audio_set_bits_per_second(encoder, 0), RECSVC_ERROR_ARGUMENT, "is 0");
    CHECK_FAILS(recsvc_audio_set_complexity(encoder, -1), RECSVC_ERROR_ARGUMENT, "is -1");
    CHECK_FAILS(recsvc_audio_set_complexity(encoder, 11), RECSVC_ERROR_ARGUMENT, "is 11");

    CHECK_FAILS(recsvc_audio_set_input(encoder, 7999, 2, 0), RECSVC_ERROR_ARGUMENT, "7999");
    CHECK_FAILS(recsvc_audio_set_input(encoder, 8000, 9, 0), RECSVC_ERROR_ARGUMENT, "count is 9");
    CHECK_FAILS(recsvc_audio_set_input(encoder, 8000, 2, 2), RECSVC_ERROR_ARGUMENT, "format is 2");
    CHECK_FAILS(recsvc_audio_set_stretch(encoder, 5000.1), RECSVC_ERROR_ARGUMENT, "5000.1");
    CHECK_FAILS(recsvc_audio_set_stretch(encoder, NAN), RECSVC_ERROR_ARGUMENT, "nan");

    recsvc_packet packet;
    size_t count = 7;
    CHECK_FAILS(recsvc_audio_take(encoder, &packet, 0, &count), RECSVC_ERROR_ARGUMENT, "room");
    CHECK_FAILS(recsvc_audio_take(encoder, NULL, 1, &count), RECSVC_ERROR_ARGUMENT, "room");
    CHECK_FAILS(recsvc_audio_take(encoder, &packet, 1, NULL), RECSVC_ERROR_ARGUMENT, "count");
    /* After all those refusals: the one good push, and nothing else, is inside. */
    CHECK_OK(recsvc_audio_take(encoder, &packet, 1, &count));
    CHECK_INT(packet.pts, 0);
    CHECK_INT(recsvc_audio_take(encoder, &packet, 1, &count), RECSVC_EMPTY);
    recsvc_audio_close(&encoder);
}

static void ends_are_checked(void)
{
    recsvc_audio_settings settings = audio_settings(48000, 2, RECSVC_SAMPLE_S16);
    recsvc_audio_encoder *encoder = audio_open(&settings);
    recsvc_packet packet;
    size_t count = 0;
    CHECK_OK(recsvc_audio_drain(encoder)); /* nothing in, nothing out */
    CHECK_INT(recsvc_audio_take(encoder, &packet, 1, &count), RECSVC_EMPTY);
    CHECK_OK(recsvc_audio_drain(encoder));
    CHECK_FAILS(recsvc_audio_push(encoder, NULL, 0, 960), RECSVC_ERROR_STATE, "drained");
    CHECK_FAILS(recsvc_audio_set_input(encoder, 8000, 1, 0), RECSVC_ERROR_STATE, "drained");
    CHECK_FAILS(recsvc_audio_set_stretch(encoder, 100), RECSVC_ERROR_STATE, "drained");
    recsvc_audio_close(&encoder);
    CHECK(encoder == NULL);
    recsvc_audio_close(&encoder);
    recsvc_audio_close(NULL);
    recsvc_audio_default_settings(NULL);
    CHECK_INT(recsvc_audio_pre_skip(NULL), 0);
    CHECK_INT(recsvc_audio_output_channel_count(NULL), 0);
    CHECK_INT(recsvc_audio_output_samples(NULL), 0);
    CHECK_FAILS(recsvc_audio_set_input(NULL, 8000, 1, 0), RECSVC_ERROR_ARGUMENT, "NULL");
    CHECK_FAILS(recsvc_audio_set_stretch(NULL, 0), RECSVC_ERROR_ARGUMENT, "NULL");
    CHECK_FAILS(recsvc_audio_push(NULL, NULL, 0, 1), RECSVC_ERROR_ARGUMENT, "NULL");
    CHECK_FAILS(recsvc_audio_take(NULL, &packet, 1, &count), RECSVC_ERROR_ARGUMENT, "NULL");
    CHECK_FAILS(recsvc_audio_drain(NULL), RECSVC_ERROR_ARGUMENT, "NULL");
    CHECK_FAILS(recsvc_audio_set_bits_per_second(NULL, 1000), RECSVC_ERROR_ARGUMENT, "NULL");
    CHECK_FAILS(recsvc_audio_set_complexity(NULL, 9), RECSVC_ERROR_ARGUMENT, "NULL");
}

/* Packets that nobody took are still there after later pushes, in order. */
static void packets_wait_to_be_taken(void)
{
    recsvc_audio_settings settings = audio_settings(48000, 1, RECSVC_SAMPLE_S16);
    recsvc_audio_encoder *encoder = audio_open(&settings);
    recsvc_packet packet;
    size_t count = 0;
    for (int i = 0; i < 3; i++)
        CHECK_OK(recsvc_audio_push(encoder, NULL, 0, 2000));
    CHECK_OK(recsvc_audio_take(encoder, &packet, 1, &count));
    CHECK_INT(packet.pts, 0);
    CHECK_OK(recsvc_audio_drain(encoder));
    for (int64_t pts = 960; pts < 6336; pts += 960) {
        CHECK_OK(recsvc_audio_take(encoder, &packet, 1, &count));
        CHECK_INT(packet.pts, pts);
    }
    CHECK_INT(packet.padding_samples, 7 * 960 - 6336);
    CHECK_INT(recsvc_audio_take(encoder, &packet, 1, &count), RECSVC_EMPTY);
    recsvc_audio_close(&encoder);
}

/* A longer pre-skip is silence in front: what came in before it stays, and is behind it. */
static void pre_skip_changes_until_a_packet_is_made(void)
{
    CHECK_FAILS(recsvc_audio_set_pre_skip(NULL, 960), RECSVC_ERROR_ARGUMENT, "NULL");
    recsvc_audio_settings settings = audio_settings(48000, 2, RECSVC_SAMPLE_S16);
    for (size_t count = 0; count <= 623; count += 89) {
        recsvc_audio_encoder *encoder = audio_open(&settings);
        CHECK_OK(recsvc_audio_push(encoder, NULL, 0, count));
        CHECK_FAILS(recsvc_audio_set_pre_skip(encoder, 311), RECSVC_ERROR_ARGUMENT, "pre_skip");
        CHECK_FAILS(recsvc_audio_set_pre_skip(encoder, 961), RECSVC_ERROR_ARGUMENT, "pre_skip");
        CHECK_OK(recsvc_audio_set_pre_skip(encoder, 312));
        CHECK_OK(recsvc_audio_set_pre_skip(encoder, 960));
        CHECK_INT(recsvc_audio_pre_skip(encoder), 960);
        CHECK_INT(recsvc_audio_output_samples(encoder), (int64_t)count);
        CHECK_OK(recsvc_audio_drain(encoder));
        recsvc_packet packets[3];
        size_t made = 0;
        if (count > 0) {
            CHECK_OK(recsvc_audio_take(encoder, packets, 3, &made));
            CHECK_INT(made, 2);
            CHECK_INT(packets[0].padding_samples, 0);
            CHECK_INT(packets[1].padding_samples, 960 - (int64_t)count);
        }
        CHECK_INT(recsvc_audio_output_samples(encoder), (int64_t)count);
        CHECK_FAILS(recsvc_audio_set_pre_skip(encoder, 960), RECSVC_ERROR_STATE, "drained");
        recsvc_audio_close(&encoder);
    }
    recsvc_audio_encoder *encoder = audio_open(&settings);
    CHECK_OK(recsvc_audio_push(encoder, NULL, 0, 936));
    CHECK_FAILS(recsvc_audio_set_pre_skip(encoder, 960), RECSVC_ERROR_STATE, "already");
    recsvc_audio_close(&encoder);
}

int main(void)
{
    CHECK(strcmp(recsvc_last_error(), "") == 0);
    settings_are_checked();
    pushes_are_checked();
    ends_are_checked();
    packets_wait_to_be_taken();
    pre_skip_changes_until_a_packet_is_made();
    return 0;
}
