/* Stretching is inaudible: a tone stays a pure tone where it begins, changes and goes on, and comes
 * out exactly as long as promised. */
#include "stretch.h"

#include <math.h>

#include "check.h"

#define TAU 6.283185307179586
enum { BEFORE = 4800, AFTER = 192000, ROOM = BEFORE + AFTER + 4000 };

typedef struct taken {
    float samples[2 * ROOM];
    size_t count; /* per channel */
    size_t channels;
} taken;

static taken result;

static int take(void *context, const float *samples, size_t count)
{
    taken *self = context;
    CHECK(self->count + count <= ROOM);
    memcpy(self->samples + self->count * self->channels, samples,
           count * self->channels * sizeof *samples);
    self->count += count;
    return RECSVC_OK;
}

/* A tone at 48 kHz; the second channel lags by a quarter. */
static void tone(float *samples, size_t count, size_t channels, double frequency)
{
    for (size_t i = 0; i < count; i++)
        for (size_t channel = 0; channel < channels; channel++)
            samples[i * channels + channel] =
                (float)(0.5 * sin(TAU * frequency * (double)i / 48000 - TAU / 4 * (double)channel));
}

/* Signal to noise in dB of `from` to `to` against a tone whose phase is that of position
 * BEFORE + (i - BEFORE) x step from BEFORE on and that of i before. */
static double purity(double frequency, double step, size_t from, size_t to)
{
    double signal = 0;
    double noise = 0;
    for (size_t i = from; i < to; i++) {
        double at = i < BEFORE ? (double)i : BEFORE + (double)(i - BEFORE) * step;
        for (size_t channel = 0; channel < result.channels; channel++) {
            double wanted = 0.5 * sin(TAU * frequency * at / 48000 - TAU / 4 * (double)channel);
            double error = (double)result.samples[i * result.channels + channel] - wanted;
            signal += wanted * wanted;
            noise += error * error;
        }
    }
    return noise > 0 ? 10 * log10(signal / noise) : 999;
}

static double least(double frequency, double step, size_t from, size_t to)
{
    double worst = 999;
    for (size_t at = from; at + 480 <= to; at += 480)
        worst = fmin(worst, purity(frequency, step, at, at + 480));
    return worst;
}

static void a_tone_stays_pure(double frequency, double ppm, size_t channels, check_random *random)
{
    float *samples = malloc((BEFORE + AFTER) * channels * sizeof *samples);
    CHECK(samples != NULL);
    tone(samples, BEFORE + AFTER, channels, frequency);
    result.count = 0;
    result.channels = channels;
    take(&result, samples, BEFORE);
    stretcher *self = NULL;
    CHECK_OK(stretcher_open(&self, (int32_t)channels, samples + (BEFORE - STRETCH_REACH) * channels));
    stretcher_set(self, ppm);
    size_t done = 0;
    while (done < AFTER) {
        size_t part = check_random_below(random, 3000);
        part = part < AFTER - done ? part : AFTER - done;
        int64_t promised = (int64_t)result.count + stretcher_pending(self, (int64_t)part);
        CHECK_OK(stretcher_run(self, samples + (BEFORE + done) * channels, part, take, &result));
        done += part;
        CHECK_INT((int64_t)result.count + stretcher_pending(self, 0), promised);
    }
    int64_t promised = (int64_t)result.count + stretcher_pending(self, 0);
    CHECK_OK(stretcher_flush(self, take, &result));
    CHECK_INT(result.count, promised);
    CHECK(fabs((double)result.count - BEFORE - AFTER * (1 + ppm * 1e-6)) <= 1);
    double step = rint(4294967296 / (1 + ppm * 1e-6)) / 4294967296; /* as finely as it is kept */
    double seam = least(frequency, step, BEFORE - 480, BEFORE + 4800);
    double after = least(frequency, step, BEFORE + 4800, result.count - 480);
    printf("%5.0f Hz, %5.0f ppm: %.1f dB at the seam, %.1f dB after\n", frequency, ppm, seam, after);
    CHECK(seam > 100 && after > 100);
    stretcher_close(self);
    free(samples);
}

/* Without a stretch every sample is the one pushed, bit by bit. */
static void nothing_is_changed_at_zero(void)
{
    enum { COUNT = 10000 };
    float *samples = malloc(COUNT * sizeof *samples);
    CHECK(samples != NULL);
    tone(samples, COUNT, 1, 997);
    result.count = 0;
    result.channels = 1;
    float past[STRETCH_REACH] = {0};
    stretcher *self = NULL;
    CHECK_OK(stretcher_open(&self, 1, past));
    stretcher_set(self, 0);
    CHECK_OK(stretcher_run(self, samples, COUNT, take, &result));
    CHECK_OK(stretcher_flush(self, take, &result));
    CHECK_INT(result.count, COUNT);
    for (size_t i = 0; i < COUNT; i++)
        CHECK(fabs((double)(result.samples[i] - samples[i])) < 1e-7);
    stretcher_close(self);
    free(samples);
}

/* The ratio changes again and again: no step in the tone is larger than its slope allows. */
static void changes_make_no_clicks(check_random *random)
{
    float *samples = malloc(AFTER * sizeof *samples);
    CHECK(samples != NULL);
    tone(samples, AFTER, 1, 1000);
    result.count = 0;
    result.channels = 1;
    float past[STRETCH_REACH] = {0};
    stretcher *self = NULL;
    CHECK_OK(stretcher_open(&self, 1, past));
    double length = 0;
    for (size_t done = 0; done < AFTER; done += 480) {
        double ppm = (double)check_random_below(random, 2001) - 1000;
        stretcher_set(self, ppm);
        length += 480 * (1 + ppm * 1e-6);
        CHECK_OK(stretcher_run(self, samples + done, 480, take, &result));
    }
    CHECK_OK(stretcher_flush(self, take, &result));
    CHECK(fabs((double)result.count - length) < 2);
    /* The second difference of a sine is at most its amplitude x (its step of phase)^2. */
    double bend_max = 0.5 * pow(TAU * 1000 * 1.001 / 48000, 2) * 1.02;
    double bend = 0;
    for (size_t i = 100; i + 101 < result.count; i++)
        bend = fmax(bend, fabs((double)result.samples[i - 1] - 2 * (double)result.samples[i] +
                               (double)result.samples[i + 1]));
    printf("largest bend %.6f of %.6f\n", bend, bend_max);
    CHECK(bend < bend_max);
    stretcher_close(self);
    free(samples);
}

int main(void)
{
    check_random random = check_random_start();
    static const double FREQUENCIES[] = {50, 1000, 7000, 15000, 19000};
    for (size_t i = 0; i < sizeof FREQUENCIES / sizeof FREQUENCIES[0]; i++) {
        a_tone_stays_pure(FREQUENCIES[i], 300, 1, &random);
        a_tone_stays_pure(FREQUENCIES[i], -300, 2, &random);
        a_tone_stays_pure(FREQUENCIES[i], i % 2 ? 5000 : -5000, 2, &random);
    }
    nothing_is_changed_at_zero();
    changes_make_no_clicks(&random);
    return 0;
}
