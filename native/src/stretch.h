/* Sound at 48 kHz made a little longer or shorter, against the drift of its clock. */
#ifndef RECSVC_STRETCH_H
#define RECSVC_STRETCH_H

#include "resample.h"

/* Samples that one output sample looks back, and as many ahead. */
enum { STRETCH_REACH = 32 };

typedef struct stretcher stretcher;

/* Makes a stretcher that changes nothing yet. `past` are the last STRETCH_REACH samples before
 * those that will be pushed, interleaved: with them the first output joins on without a seam. */
int stretcher_open(stretcher **result, int32_t channel_count, const float *past);

/* From here on what comes out is longer by `ppm` millionths (shorter when negative). */
void stretcher_set(stretcher *self, double ppm);

/* Pushes `count` samples per channel through; what comes out is STRETCH_REACH samples behind. */
int stretcher_run(stretcher *self, const float *samples, size_t count, resampler_sink sink,
                  void *context);

/* How many samples will come out for what is inside and `more` samples yet to be pushed. */
int64_t stretcher_pending(const stretcher *self, int64_t more);

/* Gives `sink` what is still inside; only stretcher_close may follow. */
int stretcher_flush(stretcher *self, resampler_sink sink, void *context);

void stretcher_close(stretcher *self);

#endif
