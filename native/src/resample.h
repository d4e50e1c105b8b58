/* Any sample rate to 48 kHz, with an output as long as the input to the sample. */
#ifndef RECSVC_RESAMPLE_H
#define RECSVC_RESAMPLE_H

#include <stddef.h>
#include <stdint.h>

typedef struct resampler resampler;

/* Takes samples at 48 kHz; returns a recsvc_status, anything but RECSVC_OK ends the run. */
typedef int (*resampler_sink)(void *context, const float *samples, size_t count);

/* Makes a resampler from `sample_rate`; a recsvc_status, the text is set. */
int resampler_open(resampler **result, int32_t sample_rate, int32_t channel_count);

/* Pushes `count` samples per channel through; calls `sink` with what comes out, if anything. */
int resampler_run(resampler *self, const float *samples, size_t count, resampler_sink sink,
                  void *context);

/* How many samples have not come out yet of what was pushed; in the end there are
 * round(samples in x 48000 / rate + carry). `carry`, from -0.5 to 0.5, is what rounding took from
 * the sound before. */
int64_t resampler_pending(const resampler *self, double carry);

/* Gives `sink` what is still inside; then *carry is what rounding took from all the sound. Only
 * resampler_close may follow. */
int resampler_flush(resampler *self, double *carry, resampler_sink sink, void *context);

void resampler_close(resampler *self);

#endif
