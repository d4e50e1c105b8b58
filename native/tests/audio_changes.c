/* While sound runs its input may change and it may be stretched: lengths stay exact, nothing is lost. */
#include <math.h>

#include "audio_support.h"

/* Pushes `count` samples of a tone in the present input format, as `settings` say it. */
static void push_tone(recsvc_audio_encoder *encoder, const recsvc_audio_settings *settings,
                      size_t count, double frequency)
{
    void *samples = audio_sine(settings, count, frequency, 0.5);
    CHECK_OK(recsvc_audio_push(encoder, samples, count * audio_sample_bytes(settings), count));
    free(samples);
}

static void change(recsvc_audio_encoder *encoder, recsvc_audio_settings *settings, int32_t rate,
                   int32_t channels, int32_t format)
{
    settings->sample_rate = rate;
    settings->channel_count = channels;
    settings->sample_format = format;
    CHECK_OK(recsvc_audio_set_input(encoder, rate, channels, format));
}

/* After any changes the length is the sum of all durations, rounded once. */
static void random_changes(check_random *random)
{
    static const int32_t RATES[] = {8000, 11025, 16000, 44100, 48000, 96000, 12347, 192000};
    for (int round = 0; round < 20; round++) {
        recsvc_audio_settings settings =
            audio_settings(RATES[check_random_below(random, 8)], 1 + round % 3, round % 2);
        recsvc_audio_encoder *encoder = audio_open(&settings);
        int32_t channels_out = recsvc_audio_output_channel_count(encoder);
        listener *ear = listener_open(encoder);
        double length = 0;
        for (uint32_t part = 1 + check_random_below(random, 12); part > 0; part--) {
            size_t count = check_random_below(random, part % 3 ? 4000 : 5);
            push_tone(encoder, &settings, count, 440);
            length += (double)count * 48000 / settings.sample_rate;
            listener_take(ear);
            CHECK(fabs((double)recsvc_audio_output_samples(encoder) - length) <= 0.5001);
            change(encoder, &settings, RATES[check_random_below(random, 8)],
                   1 + (int32_t)check_random_below(random, 8),
                   (int32_t)check_random_below(random, 2));
            listener_take(ear);
            CHECK(fabs((double)recsvc_audio_output_samples(encoder) - length) <= 0.5001);
        }
        CHECK_INT(recsvc_audio_output_channel_count(encoder), channels_out);
        heard sound = listener_finish(ear);
        CHECK(fabs((double)sound.count - length) <= 0.5001);
        heard_free(&sound);
    }
}

/* Every part of a recording with four formats has its tone, at its level, in its place. */
static void each_part_is_heard(int32_t channels_first)
{
    static const struct {
        int32_t rate, channels, format;
        double frequency;
    } PARTS[] = {{44100, 0, 0, 500}, {48000, 2, 1, 1000}, {16000, 1, 0, 1500}, {96000, 6, 1, 2000}};
    recsvc_audio_settings settings =
        audio_settings(PARTS[0].rate, channels_first, PARTS[0].format);
    settings.complexity = 9;
    recsvc_audio_encoder *encoder = audio_open(&settings);
    listener *ear = listener_open(encoder);
    for (size_t i = 0; i < 4; i++) {
        if (i > 0)
            change(encoder, &settings, PARTS[i].rate, PARTS[i].channels, PARTS[i].format);
        push_tone(encoder, &settings, (size_t)settings.sample_rate, PARTS[i].frequency);
        listener_take(ear);
    }
    heard sound = listener_finish(ear);
    CHECK_INT(sound.channels, channels_first);
    CHECK_INT(sound.count, 4 * 48000);
    for (size_t i = 0; i < 4; i++)
        for (int channel = 0; channel < channels_first; channel++)
            for (size_t other = 0; other < 4; other++) {
                double amplitude = heard_amplitude(&sound, channel, PARTS[other].frequency,
                                                   i * 48000 + 4800, i * 48000 + 43200);
                CHECK(other == i ? fabs(amplitude - 0.5) < 0.03 : amplitude < 0.01);
            }
    heard_free(&sound);
}

/* One side alone of a stereo input is heard at half its level in a mono stream. */
static void sides_are_mixed_to_one(void)
{
    recsvc_audio_settings settings = audio_settings(48000, 1, RECSVC_SAMPLE_F32);
    recsvc_audio_encoder *encoder = audio_open(&settings);
    listener *ear = listener_open(encoder);
    change(encoder, &settings, 48000, 2, RECSVC_SAMPLE_F32);
    float *samples = audio_sine(&settings, 24000, 1000, 0.8);
    for (size_t i = 0; i < 24000; i++)
        samples[2 * i] = 0;
    CHECK_OK(recsvc_audio_push(encoder, samples, 24000 * 8, 24000));
    free(samples);
    listener_take(ear);
    heard sound = listener_finish(ear);
    CHECK_INT(sound.channels, 1);
    CHECK(fabs(heard_amplitude(&sound, 0, 1000, 4800, 19200) - 0.4) < 0.03);
    heard_free(&sound);
}

/* Stretched at every rate, with changes of ratio and input: exactly as long as promised (the listener
 * compares with recsvc_audio_output_samples), and as it must be but for what is inside the resampler
 * when the ratio changes. */
static void stretched_lengths(check_random *random)
{
    static const int32_t RATES[] = {8000, 44100, 48000, 96000};
    for (int round = 0; round < 8; round++) {
        recsvc_audio_settings settings = audio_settings(RATES[round % 4], 1 + round % 2, round % 2);
        recsvc_audio_encoder *encoder = audio_open(&settings);
        listener *ear = listener_open(encoder);
        double length = 0;
        double ppm = 0;
        for (int part = 0; part < 30; part++) {
            size_t count = check_random_below(random, 9000);
            push_tone(encoder, &settings, count, 440);
            length += (double)count * 48000 / settings.sample_rate * (1 + ppm * 1e-6);
            listener_take(ear);
            ppm = (double)check_random_below(random, 2001) - 1000;
            CHECK_OK(recsvc_audio_set_stretch(encoder, ppm));
            if (part % 10 == 9)
                change(encoder, &settings, RATES[check_random_below(random, 4)], 2, 0);
            listener_take(ear);
        }
        heard sound = listener_finish(ear);
        CHECK(fabs((double)sound.count - length) < 20);
        heard_free(&sound);
    }
}

/* A stretch of 0 that was never anything else leaves packets and their time untouched. */
static void no_stretch_is_no_delay(void)
{
    recsvc_audio_settings settings = audio_settings(48000, 2, RECSVC_SAMPLE_S16);
    recsvc_audio_encoder *encoder = audio_open(&settings);
    recsvc_packet packet;
    size_t count = 0;
    CHECK_OK(recsvc_audio_set_stretch(encoder, 0));
    CHECK_OK(recsvc_audio_set_input(encoder, 48000, 2, RECSVC_SAMPLE_S16));
    CHECK_OK(recsvc_audio_push(encoder, NULL, 0, 960));
    CHECK_OK(recsvc_audio_take(encoder, &packet, 1, &count));
    CHECK_INT(recsvc_audio_output_samples(encoder), 960);
    recsvc_audio_close(&encoder);
}

int main(void)
{
    check_random random = check_random_start();
    random_changes(&random);
    each_part_is_heard(1);
    each_part_is_heard(2);
    sides_are_mixed_to_one();
    stretched_lengths(&random);
    no_stretch_is_no_delay();
    return 0;
}
