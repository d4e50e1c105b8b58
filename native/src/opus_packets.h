/* All of libopus: samples at 48 kHz in, packets of 20 ms out. */
#ifndef RECSVC_OPUS_PACKETS_H
#define RECSVC_OPUS_PACKETS_H

#include "packet_queue.h"

struct OpusEncoder;

typedef struct opus_packets {
    struct OpusEncoder *opus;
    packet_queue queue;
    int32_t channel_count; /* 1 or 2 */
    int32_t look_ahead;
    int32_t pre_skip; /* decoded samples in front of the first that came in: silence and look-ahead */
    int64_t samples_total; /* that came in */
    int64_t packet_count;
    size_t fill; /* samples in `packet` */
    float packet[RECSVC_OPUS_PACKET_SAMPLES * 2];
} opus_packets;

/* Opens libopus for checked settings. On failure `self` is to be closed as well. */
int opus_packets_open(opus_packets *self, const recsvc_audio_settings *settings,
                      int32_t channel_count);

int opus_packets_set_bits_per_second(opus_packets *self, int32_t bits_per_second);

int opus_packets_set_complexity(opus_packets *self, int32_t complexity);

/* Changes the pre-skip; possible until the first packet is made. */
int opus_packets_set_pre_skip(opus_packets *self, int32_t samples);

/* A resampler_sink: `self` takes samples of any count. */
int opus_packets_push(void *self, const float *samples, size_t count);

/* Fills up with silence until the last sample pushed has left libopus; once, at the end. */
int opus_packets_finish(opus_packets *self);

void opus_packets_close(opus_packets *self);

#endif
