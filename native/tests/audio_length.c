/* What is decoded is as long as what was pushed, to the sample, for awkward lengths and rates. */
#include "audio_support.h"

static const int32_t RATES[] = {8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000};
enum { RATE_COUNT = sizeof RATES / sizeof RATES[0] };

static size_t expected(size_t count, int32_t rate)
{
    return (count * 48000 + (size_t)rate / 2) / (size_t)rate;
}

static void check_length(const recsvc_audio_settings *settings, const void *samples, size_t count,
                         size_t chunk, check_random *random)
{
    heard sound = audio_round_trip(settings, samples, count, chunk, random);
    size_t wanted = expected(count, settings->sample_rate);
    if (sound.count != wanted)
        fprintf(stderr, "%d Hz, %zu samples in chunks of %zu\n", (int)settings->sample_rate, count,
                chunk);
    CHECK_INT(sound.count, wanted);
    /* No packet more than needed: (wanted + pre-skip) rounded up, and none for nothing. */
    CHECK_INT(sound.packet_count, wanted ? (wanted + 336 + 959) / 960 : 0);
    heard_free(&sound);
}

static void awkward_lengths(check_random *random)
{
    static const size_t LENGTHS[] = {0,   1,   2,    647,  648,  649,  959,
                                     960, 961, 1919, 1920, 4801, 48017};
    for (int rate = 0; rate < RATE_COUNT; rate++) {
        recsvc_audio_settings settings = audio_settings(RATES[rate], 1, RECSVC_SAMPLE_S16);
        void *samples = audio_sine(&settings, 48017, 440, 0.5);
        for (size_t i = 0; i < sizeof LENGTHS / sizeof LENGTHS[0]; i++)
            check_length(&settings, samples, LENGTHS[i], i % 2 ? 960 : 0, random);
        free(samples);
    }
}

static void random_lengths(check_random *random)
{
    for (int round = 0; round < 120; round++) {
        int32_t rate = round % 3 ? RATES[check_random_below(random, RATE_COUNT)]
                                 : 8000 + (int32_t)check_random_below(random, 184001);
        int32_t channels = 1 + (int32_t)check_random_below(random, 8);
        recsvc_audio_settings settings = audio_settings(rate, channels, round % 2);
        size_t count = check_random_below(random, 9000);
        void *samples = audio_sine(&settings, count, 440, 0.5);
        check_length(&settings, round % 5 ? samples : NULL, count, 0, random);
        free(samples);
    }
}

static void huge_and_tiny_pushes(void)
{
    recsvc_audio_settings settings = audio_settings(44100, 2, RECSVC_SAMPLE_F32);
    void *samples = audio_sine(&settings, 441000, 440, 0.5);
    check_length(&settings, samples, 441000, 441000, NULL); /* ten seconds at once */
    check_length(&settings, samples, 3001, 1, NULL);
    free(samples);
    check_length(&settings, NULL, 441001, 441001, NULL);
}

/* Half samples at the rounding edge: 96 kHz and 192 kHz with odd counts. */
static void rounding_edges(void)
{
    for (size_t count = 1; count < 40; count++) {
        recsvc_audio_settings settings = audio_settings(96000, 1, RECSVC_SAMPLE_F32);
        check_length(&settings, NULL, count, count, NULL);
        settings.sample_rate = 192000;
        check_length(&settings, NULL, count, count, NULL);
    }
}

int main(void)
{
    check_random random = check_random_start();
    awkward_lengths(&random);
    random_lengths(&random);
    huge_and_tiny_pushes();
    rounding_edges();
    return 0;
}
