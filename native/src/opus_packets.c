#include "opus_packets.h"

#include <opus.h>
#include <stdbool.h>
#include <string.h>

#include "error.h"

enum {
    PACKET_SAMPLES = RECSVC_OPUS_PACKET_SAMPLES,
    MILLISECOND = RECSVC_OPUS_SAMPLE_RATE / 1000,
    /* The longest packet that one frame of Opus can fill: 1275 bytes and its table of contents. */
    PACKET_BYTES_MAX = 1276
};

static int opus_failure(const char *what, int error)
{
    int status = error == OPUS_ALLOC_FAIL ? RECSVC_ERROR_MEMORY : RECSVC_ERROR_CODEC;
    return recsvc_fail(status, "libopus, %s: %s", what, opus_strerror(error));
}

int opus_packets_open(opus_packets *self, const recsvc_audio_settings *settings,
                      int32_t channel_count)
{
    int error = OPUS_OK;
    self->channel_count = channel_count;
    self->opus = opus_encoder_create(RECSVC_OPUS_SAMPLE_RATE, self->channel_count,
                                     OPUS_APPLICATION_AUDIO, &error);
    if (!self->opus)
        return opus_failure("create", error);
    int is_variable = settings->bitrate_mode == RECSVC_BITRATE_VARIABLE;
    error = opus_encoder_ctl(self->opus, OPUS_SET_BITRATE(settings->bits_per_second));
    if (error == OPUS_OK)
        error = opus_encoder_ctl(self->opus, OPUS_SET_VBR(is_variable));
    if (error == OPUS_OK)
        error = opus_encoder_ctl(self->opus, OPUS_SET_COMPLEXITY(settings->complexity));
    if (error == OPUS_OK)
        error = opus_encoder_ctl(self->opus, OPUS_GET_LOOKAHEAD(&self->look_ahead));
    if (error != OPUS_OK)
        return opus_failure("settings", error);
    /* Silence in front makes the pre-skip whole milliseconds, to which Chromium rounds it. */
    self->pre_skip = (self->look_ahead + MILLISECOND - 1) / MILLISECOND * MILLISECOND;
    self->fill = (size_t)(self->pre_skip - self->look_ahead);
    return RECSVC_OK;
}

/* Encodes the full `packet`, of which the last `padding` samples are not to be heard. */
static int encode_packet(opus_packets *self, uint32_t padding)
{
    uint8_t *bytes = packet_queue_reserve(&self->queue, PACKET_BYTES_MAX);
    if (!bytes)
        return recsvc_fail(RECSVC_ERROR_MEMORY, "no memory for a packet");
    int size = opus_encode_float(self->opus, self->packet, PACKET_SAMPLES, bytes, PACKET_BYTES_MAX);
    if (size <= 0)
        return opus_failure("encode", size == 0 ? OPUS_INTERNAL_ERROR : size);
    recsvc_packet packet = {
        .size = (size_t)size,
        .pts = self->packet_count * PACKET_SAMPLES,
        .duration = PACKET_SAMPLES,
        .flags = RECSVC_PACKET_KEY,
        .padding_samples = padding,
    };
    packet_queue_commit(&self->queue, &packet);
    self->packet_count++;
    self->fill = 0;
    return RECSVC_OK;
}

int opus_packets_push(void *context, const float *samples, size_t count)
{
    opus_packets *self = context;
    size_t channels = (size_t)self->channel_count;
    self->samples_total += (int64_t)count;
    while (count > 0) {
        size_t room = PACKET_SAMPLES - self->fill;
        size_t part = count < room ? count : room;
        memcpy(self->packet + self->fill * channels, samples,
               part * channels * sizeof *samples);
        self->fill += part;
        samples += part * channels;
        count -= part;
        if (self->fill == PACKET_SAMPLES) {
            int status = encode_packet(self, 0);
            if (status != RECSVC_OK)
                return status;
        }
    }
    return RECSVC_OK;
}

int opus_packets_set_pre_skip(opus_packets *self, int32_t samples)
{
    int status = recsvc_check_range("pre_skip", samples, self->look_ahead, PACKET_SAMPLES);
    if (status != RECSVC_OK)
        return status;
    if (self->packet_count > 0)
        return recsvc_fail(RECSVC_ERROR_STATE, "the pre-skip is fixed: a packet was made already");
    size_t channels = (size_t)self->channel_count;
    size_t silence = (size_t)(self->pre_skip - self->look_ahead);
    size_t count = self->fill - silence;
    float kept[PACKET_SAMPLES * 2];
    memcpy(kept, self->packet + silence * channels, count * channels * sizeof *kept);
    memset(self->packet, 0, sizeof self->packet);
    self->pre_skip = samples;
    self->fill = (size_t)(samples - self->look_ahead);
    self->samples_total -= (int64_t)count;
    return opus_packets_push(self, kept, count);
}

/* Fills up with silence until the last sample pushed has left the encoder. What is decoded begins
 * with the pre-skip, so the packets must hold that many samples more than came in. */
int opus_packets_finish(opus_packets *self)
{
    if (self->samples_total == 0)
        return RECSVC_OK;
    int64_t needed = self->samples_total + self->pre_skip;
    int64_t packets = (needed + PACKET_SAMPLES - 1) / PACKET_SAMPLES;
    size_t channels = (size_t)self->channel_count;
    while (self->packet_count < packets) {
        size_t used = self->fill * channels;
        memset(self->packet + used, 0, (PACKET_SAMPLES * channels - used) * sizeof *self->packet);
        bool is_last = self->packet_count + 1 == packets;
        int64_t padding = is_last ? packets * PACKET_SAMPLES - needed : 0;
        int status = encode_packet(self, (uint32_t)padding);
        if (status != RECSVC_OK)
            return status;
    }
    return RECSVC_OK;
}

int opus_packets_set_bits_per_second(opus_packets *self, int32_t bits_per_second)
{
    int error = opus_encoder_ctl(self->opus, OPUS_SET_BITRATE(bits_per_second));
    return error == OPUS_OK ? RECSVC_OK : opus_failure("bit rate", error);
}

int opus_packets_set_complexity(opus_packets *self, int32_t complexity)
{
    int error = opus_encoder_ctl(self->opus, OPUS_SET_COMPLEXITY(complexity));
    return error == OPUS_OK ? RECSVC_OK : opus_failure("complexity", error);
}

void opus_packets_close(opus_packets *self)
{
    if (self->opus)
        opus_encoder_destroy(self->opus);
    self->opus = NULL;
    packet_queue_free(&self->queue);
}
