/* Interleaved PCM of 1 to 8 channels to float of at most 2. */
#ifndef RECSVC_MIX_H
#define RECSVC_MIX_H

#include <stddef.h>

#include "recsvc.h"

typedef struct mixer {
    int32_t sample_format;
    int32_t channels_in;
    int32_t channels_out;
    float weights[2][RECSVC_CHANNEL_COUNT_MAX];
} mixer;

/* Channels of an output that keeps what `channel_count` channels have: 1 or 2. */
int32_t mixer_best_output(int32_t channel_count);

/* `channel_count` and `sample_format` have been checked; `channels_out` is 1 or 2. One channel goes
 * to both of two, two are heard half and half in one. */
void mixer_init(mixer *self, int32_t channel_count, int32_t sample_format, int32_t channels_out);

/* Bytes of one sample of all channels. */
size_t mixer_frame_bytes(const mixer *self);

/* Reads `count` samples per channel at any alignment, writes count x channels_out floats. */
void mixer_run(const mixer *self, const unsigned char *samples, size_t count, float *out);

#endif
