/* What is heard is what was pushed: pitch, place in time, channels, silence, bit rates. */
#include <math.h>

#include "audio_support.h"

static void tone_keeps_its_pitch(void)
{
    static const int32_t RATES[] = {8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000};
    for (size_t i = 0; i < sizeof RATES / sizeof RATES[0]; i++) {
        recsvc_audio_settings settings = audio_settings(RATES[i], 2, (int32_t)i % 2);
        size_t count = (size_t)RATES[i];
        void *samples = audio_sine(&settings, count, 1000, 0.5);
        heard sound = audio_round_trip(&settings, samples, count, 777, NULL);
        CHECK_INT(sound.count, 48000);
        for (int channel = 0; channel < 2; channel++) {
            CHECK(fabs(heard_amplitude(&sound, channel, 1000, 4800, 19200) - 0.5) < 0.03);
            CHECK(heard_amplitude(&sound, channel, 1250, 4800, 19200) < 0.01);
        }
        heard_free(&sound);
        free(samples);
    }
}

/* A burst in silence must be heard where it was pushed: the look-ahead and the resampler's delay
 * are both taken off. */
static void sound_stays_in_its_place(void)
{
    static const int32_t RATES[] = {8000, 44100, 48000, 96000};
    for (size_t i = 0; i < sizeof RATES / sizeof RATES[0]; i++) {
        recsvc_audio_settings settings = audio_settings(RATES[i], 1, RECSVC_SAMPLE_F32);
        settings.complexity = 9;
        size_t count = (size_t)RATES[i] / 2;
        float *samples = calloc(count, sizeof *samples);
        CHECK(samples != NULL);
        /* A bell around the quarter second: smooth, so that its middle can be found. */
        for (size_t at = 0; at < count; at++) {
            double t = ((double)at / RATES[i] - 0.25) / 0.002;
            samples[at] = (float)(0.8 * exp(-t * t / 2) * cos(6.283185307 * 1000 * 0.002 * t));
        }
        heard sound = audio_round_trip(&settings, samples, count, 500, NULL);
        double weight = 0;
        double moment = 0;
        for (size_t at = 0; at < sound.count; at++) {
            double power = (double)sound.samples[at] * (double)sound.samples[at];
            weight += power;
            moment += power * (double)at;
        }
        CHECK(weight > 1);
        CHECK(fabs(moment / weight - 12000) < 12); /* a quarter of a millisecond */
        heard_free(&sound);
        free(samples);
    }
}

/* A tone in one input channel alone, heard at the weight of the mix-down. */
static void channels_are_mixed_down(void)
{
    static const double M3DB = 0.70710678;
    static const struct {
        int channels, channel;
        double left, right;
    } CASES[] = {
        {1, 0, 1, 0},
        {2, 0, 1, 0},
        {2, 1, 0, 1},
        {3, 2, M3DB / (1 + M3DB), M3DB / (1 + M3DB)},
        {4, 3, 0, M3DB / (1 + M3DB)},
        {5, 4, 0, M3DB / (1 + 2 * M3DB)},
        {6, 0, 1 / (1 + 2 * M3DB), 0},
        {6, 3, 0, 0},
        {6, 4, M3DB / (1 + 2 * M3DB), 0},
        {7, 4, 0.5 / (1.5 + 2 * M3DB), 0.5 / (1.5 + 2 * M3DB)},
        {7, 6, 0, M3DB / (1.5 + 2 * M3DB)},
        {8, 7, 0, M3DB / (1 + 3 * M3DB)},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        recsvc_audio_settings settings = audio_settings(48000, CASES[i].channels, (int32_t)i % 2);
        settings.complexity = 9;
        settings.bits_per_second = 256000;
        size_t channels = (size_t)CASES[i].channels;
        void *samples = audio_sine(&settings, 14400, 1000, 0.9);
        size_t item = settings.sample_format == RECSVC_SAMPLE_S16 ? 2 : 4;
        for (size_t at = 0; at < 14400 * channels; at++)
            if (at % channels != (size_t)CASES[i].channel)
                memset((char *)samples + at * item, 0, item);
        heard sound = audio_round_trip(&settings, samples, 14400, 960, NULL);
        CHECK_INT(sound.channels, channels == 1 ? 1 : 2);
        double left = heard_amplitude(&sound, 0, 1000, 4800, 9600);
        CHECK(fabs(left - 0.9 * CASES[i].left) < 0.03);
        if (channels > 1)
            CHECK(fabs(heard_amplitude(&sound, 1, 1000, 4800, 9600) - 0.9 * CASES[i].right) < 0.03);
        heard_free(&sound);
        free(samples);
    }
}

static double loudest(const heard *sound)
{
    double most = 0;
    for (size_t i = 0; i < sound->count * (size_t)sound->channels; i++)
        most = fmax(most, fabs((double)sound->samples[i]));
    return most;
}

static void silence_is_silent(void)
{
    recsvc_audio_settings settings = audio_settings(44100, 2, RECSVC_SAMPLE_S16);
    heard sound = audio_round_trip(&settings, NULL, 44100, 4410, NULL);
    CHECK_INT(sound.count, 48000);
    CHECK(loudest(&sound) < 0.001);
    heard_free(&sound);
}

/* What is not a number costs its own sample and not the packet or block around it. */
static void not_finite_is_silence(void)
{
    for (int32_t rate = 44100; rate <= 48000; rate += 3900) {
        recsvc_audio_settings settings = audio_settings(rate, 1, RECSVC_SAMPLE_F32);
        float *samples = audio_sine(&settings, (size_t)rate, 1000, 0.5);
        samples[3000] = NAN;
        samples[3001] = INFINITY;
        samples[3002] = -INFINITY;
        heard sound = audio_round_trip(&settings, samples, (size_t)rate, 960, NULL);
        CHECK(fabs(heard_amplitude(&sound, 0, 1000, 2880, 3840) - 0.5) < 0.03);
        heard_free(&sound);
        free(samples);
    }
}

static void bit_rates_are_kept(void)
{
    recsvc_audio_settings settings = audio_settings(48000, 2, RECSVC_SAMPLE_S16);
    void *samples = audio_sine(&settings, 96000, 440, 0.5);
    settings.bitrate_mode = RECSVC_BITRATE_CONSTANT;
    settings.bits_per_second = 64000;
    heard sound = audio_round_trip(&settings, samples, 96000, 960, NULL);
    CHECK_INT(sound.packet_bytes_min, 160);
    CHECK_INT(sound.packet_bytes_max, 160);
    heard_free(&sound);
    for (int32_t rate = RECSVC_AUDIO_BITS_PER_SECOND_MIN; rate <= RECSVC_AUDIO_BITS_PER_SECOND_MAX;
         rate += RECSVC_AUDIO_BITS_PER_SECOND_MAX - RECSVC_AUDIO_BITS_PER_SECOND_MIN) {
        settings.bits_per_second = rate;
        sound = audio_round_trip(&settings, samples, 96000, 960, NULL);
        CHECK_INT(sound.count, 96000);
        heard_free(&sound);
    }
    free(samples);
}

static void bit_rate_changes_while_running(void)
{
    recsvc_audio_settings settings = audio_settings(48000, 1, RECSVC_SAMPLE_S16);
    settings.bitrate_mode = RECSVC_BITRATE_CONSTANT;
    recsvc_audio_encoder *encoder = audio_open(&settings);
    recsvc_packet packet;
    size_t count = 0;
    CHECK_OK(recsvc_audio_push(encoder, NULL, 0, 960));
    CHECK_OK(recsvc_audio_take(encoder, &packet, 1, &count));
    CHECK_INT(packet.size, 320);
    CHECK_OK(recsvc_audio_set_bits_per_second(encoder, 32000));
    CHECK_OK(recsvc_audio_push(encoder, NULL, 0, 960));
    CHECK_OK(recsvc_audio_take(encoder, &packet, 1, &count));
    CHECK_INT(packet.size, 80);
    recsvc_audio_close(&encoder);
}

/* Less complex packets are other packets, of the same sound. */
static void complexity_changes_while_running(void)
{
    recsvc_audio_settings settings = audio_settings(48000, 1, RECSVC_SAMPLE_S16);
    settings.bitrate_mode = RECSVC_BITRATE_CONSTANT;
    int16_t tone[960];
    for (int i = 0; i < 960; i++)
        tone[i] = (int16_t)(9000 * sin(i * 0.13) + 4000 * sin(i * 0.71));
    uint8_t bytes[2][400];
    for (int is_fast = 0; is_fast < 2; is_fast++) {
        recsvc_audio_encoder *encoder = audio_open(&settings);
        recsvc_packet packet;
        size_t count = 0;
        if (is_fast)
            CHECK_OK(recsvc_audio_set_complexity(encoder, 0));
        CHECK_OK(recsvc_audio_push(encoder, tone, sizeof tone, 960));
        CHECK_OK(recsvc_audio_take(encoder, &packet, 1, &count));
        CHECK_INT(count, 1);
        CHECK_INT(packet.size, 320);
        memcpy(bytes[is_fast], packet.data, 320);
        recsvc_audio_close(&encoder);
    }
    CHECK(memcmp(bytes[0], bytes[1], 320) != 0);
}

int main(void)
{
    tone_keeps_its_pitch();
    sound_stays_in_its_place();
    channels_are_mixed_down();
    silence_is_silent();
    not_finite_is_silence();
    bit_rates_are_kept();
    bit_rate_changes_while_running();
    complexity_changes_while_running();
    return 0;
}
