/* Encodes sound in chunks and decodes the packets again. */
#ifndef RECSVC_AUDIO_SUPPORT_H
#define RECSVC_AUDIO_SUPPORT_H

#include "check.h"

/* What a player hears: decoded, less the pre-skip at the beginning and the padding at the end. */
typedef struct heard {
    float *samples; /* interleaved; freed by heard_free */
    size_t count;   /* per channel */
    int channels;
    size_t packet_count;
    size_t byte_count;
    size_t packet_bytes_min;
    size_t packet_bytes_max;
} heard;

typedef struct listener listener;

recsvc_audio_settings audio_settings(int32_t rate, int32_t channels, int32_t format);

/* Opens or ends the test. */
recsvc_audio_encoder *audio_open(const recsvc_audio_settings *settings);

/* Pushes `count` samples of every channel, in chunks of `chunk` (0: random lengths from `random`;
 * NULL samples: silence), drains, decodes. Checks every rule about packets on the way. */
heard audio_round_trip(const recsvc_audio_settings *settings, const void *samples, size_t count,
                       size_t chunk, check_random *random);

/* For other ways through an encoder: what comes out of it from the beginning on. */
listener *listener_open(recsvc_audio_encoder *encoder);

/* Takes and decodes what is ready; checks every rule about packets. */
void listener_take(listener *self);

/* Drains (twice), takes the rest, closes the encoder and the listener. */
heard listener_finish(listener *self);

/* Bytes of one sample of all channels. */
size_t audio_sample_bytes(const recsvc_audio_settings *settings);

/* `count` samples of a sine on all `channels`, in the settings' format; freed by the caller. */
void *audio_sine(const recsvc_audio_settings *settings, size_t count, double frequency,
                 double amplitude);

/* Amplitude of one frequency in one channel, over samples `from` to `to`. */
double heard_amplitude(const heard *sound, int channel, double frequency, size_t from, size_t to);

void heard_free(heard *sound);

#endif
