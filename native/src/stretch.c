/* Why not the variable rate of soxr: its filter shifts the sound by a part of a sample even at a
 * ratio of 1, so that to switch it on in the middle of a recording is a click. Here the filter's
 * cut-off is half the sample rate: at a whole position it is exactly the sample itself, and when
 * stretching begins, positions leave the whole numbers as slowly as the clocks drift apart. */
#include "stretch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

enum {
    REACH = STRETCH_REACH,
    TAPS = 2 * REACH,
    /* Positions between two samples that have coefficients of their own; those between them are
     * interpolated, with an error below -100 dB. */
    PHASES = 512,
    CHANNELS_MAX = 2,
    BUFFER_SAMPLES = TAPS + 1024,
    OUT_SAMPLES = 256,
    LANES = 8
};

#define PI 3.14159265358979323846

/* Positions are fixed-point: they add up without an error, over any number of hours. */
#define ONE (UINT64_C(1) << 32)

struct stretcher {
    size_t channel_count;
    uint64_t step; /* from one output sample to the next, in input samples x ONE */
    uint64_t at;   /* position of the next output sample in `buffer`, x ONE */
    size_t fill;   /* samples in `buffer` */
    float rows[PHASES + 1][TAPS];
    float buffer[CHANNELS_MAX][BUFFER_SAMPLES]; /* not interleaved: quicker to sum up */
    float out[OUT_SAMPLES * CHANNELS_MAX];
};

/* Blackman and Harris: -92 dB beside the main lobe; flat up to 21 kHz with these taps. */
static double window(double x)
{
    return 0.35875 + 0.48829 * cos(PI * x) + 0.14128 * cos(2 * PI * x) + 0.01168 * cos(3 * PI * x);
}

/* One row: what each of the TAPS samples around a position contributes, `phase` behind a sample. */
static void fill_row(float *row, double phase)
{
    double values[TAPS];
    double sum = 0;
    for (int tap = 0; tap < TAPS; tap++) {
        double distance = phase + REACH - 1 - tap;
        double sinc = fabs(distance) < 1e-9 ? 1 : sin(PI * distance) / (PI * distance);
        values[tap] = fabs(distance) < REACH ? sinc * window(distance / REACH) : 0;
        sum += values[tap];
    }
    for (int tap = 0; tap < TAPS; tap++)
        row[tap] = (float)(values[tap] / sum);
}

static void fill_buffer(stretcher *self, const float *samples, size_t count)
{
    size_t channels = self->channel_count;
    for (size_t channel = 0; channel < channels; channel++) {
        float *to = self->buffer[channel] + self->fill;
        for (size_t i = 0; i < count; i++)
            to[i] = samples[i * channels + channel];
    }
    self->fill += count;
}

int stretcher_open(stretcher **result, int32_t channel_count, const float *past)
{
    *result = NULL;
    stretcher *made = calloc(1, sizeof *made);
    if (!made)
        return recsvc_fail(RECSVC_ERROR_MEMORY, "no memory for a stretcher");
    made->channel_count = (size_t)channel_count;
    made->step = ONE;
    for (int phase = 0; phase <= PHASES; phase++)
        fill_row(made->rows[phase], (double)phase / PHASES);
    fill_buffer(made, past, REACH);
    made->at = REACH * ONE;
    *result = made;
    return RECSVC_OK;
}

void stretcher_set(stretcher *self, double ppm)
{
    self->step = (uint64_t)llround((double)ONE / (1 + ppm * 1e-6));
}

/* Several sums at once, so that additions do not wait for one another. */
static float sum_products(const float *left, const float *right)
{
    float sums[LANES] = {0};
    for (size_t tap = 0; tap < TAPS; tap += LANES)
        for (size_t lane = 0; lane < LANES; lane++)
            sums[lane] += left[tap + lane] * right[tap + lane];
    float sum = 0;
    for (size_t lane = 0; lane < LANES; lane++)
        sum += sums[lane];
    return sum;
}

/* The output sample at position `at`. */
static void interpolate(const stretcher *self, float *out)
{
    uint64_t fine = (self->at & (ONE - 1)) * PHASES;
    const float *row = self->rows[fine / ONE];
    const float *next = self->rows[fine / ONE + 1];
    float weight = (float)(fine & (ONE - 1)) * (1.0f / 4294967296.0f);
    float taps[TAPS];
    for (size_t tap = 0; tap < TAPS; tap++)
        taps[tap] = row[tap] + weight * (next[tap] - row[tap]);
    size_t first = (size_t)(self->at / ONE) - (REACH - 1);
    for (size_t channel = 0; channel < self->channel_count; channel++)
        out[channel] = sum_products(taps, self->buffer[channel] + first);
}

/* Gives `sink` all that `buffer` has enough samples for, then makes room in it. */
static int produce(stretcher *self, resampler_sink sink, void *context)
{
    size_t channels = self->channel_count;
    size_t count = 0;
    while (self->at / ONE + REACH < self->fill) {
        interpolate(self, self->out + count * channels);
        self->at += self->step;
        count++;
        if (count == OUT_SAMPLES) {
            int status = sink(context, self->out, count);
            if (status != RECSVC_OK)
                return status;
            count = 0;
        }
    }
    size_t over = (size_t)(self->at / ONE) - REACH;
    self->fill -= over;
    self->at -= over * ONE;
    for (size_t channel = 0; channel < channels; channel++)
        memmove(self->buffer[channel], self->buffer[channel] + over,
                self->fill * sizeof **self->buffer);
    return count > 0 ? sink(context, self->out, count) : RECSVC_OK;
}

int stretcher_run(stretcher *self, const float *samples, size_t count, resampler_sink sink,
                  void *context)
{
    while (count > 0) {
        size_t room = BUFFER_SAMPLES - self->fill;
        size_t part = count < room ? count : room;
        fill_buffer(self, samples, part);
        samples += part * self->channel_count;
        count -= part;
        int status = produce(self, sink, context);
        if (status != RECSVC_OK)
            return status;
    }
    return RECSVC_OK;
}

int64_t stretcher_pending(const stretcher *self, int64_t more)
{
    uint64_t end = ((uint64_t)more + self->fill) * ONE;
    return (int64_t)((end - self->at + self->step - 1) / self->step);
}

int stretcher_flush(stretcher *self, resampler_sink sink, void *context)
{
    /* Silence behind the end lets every position before the end have its sample. */
    static const float silence[REACH * CHANNELS_MAX];
    return stretcher_run(self, silence, REACH, sink, context);
}

void stretcher_close(stretcher *self)
{
    free(self);
}
