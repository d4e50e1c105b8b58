/* Sound: mix down, resample, cut into packets of 20 ms, encode with libopus. */
#include <opus.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "mix.h"
#include "packet_queue.h"
#include "resample.h"

enum {
    PACKET_SAMPLES = RECSVC_OPUS_PACKET_SAMPLES,
    CHANNELS_MAX = 2,
    /* Input is mixed in pieces of this many samples, so that a push of any length needs no more
     * room than this. */
    PIECE_SAMPLES = 1024,
    /* The longest packet that one frame of Opus can fill: 1275 bytes and its table of contents. */
    PACKET_BYTES_MAX = 1276
};

struct recsvc_audio_encoder {
    OpusEncoder *opus;
    resampler *resampler; /* NULL when the input is at 48 kHz */
    mixer mixer;
    packet_queue queue;
    int32_t look_ahead;
    bool drained;
    int failure;           /* the status that ended this encoder, or RECSVC_OK */
    int64_t samples_total; /* at 48 kHz, that came in */
    int64_t packet_count;
    size_t packet_fill; /* samples in `packet` */
    float packet[PACKET_SAMPLES * CHANNELS_MAX];
    float piece[PIECE_SAMPLES * CHANNELS_MAX];
};

void recsvc_audio_default_settings(recsvc_audio_settings *settings)
{
    if (!settings)
        return;
    memset(settings, 0, sizeof *settings);
    settings->sample_rate = RECSVC_OPUS_SAMPLE_RATE;
    settings->channel_count = 2;
    settings->sample_format = RECSVC_SAMPLE_S16;
    settings->bits_per_second = 128000;
    settings->bitrate_mode = RECSVC_BITRATE_VARIABLE;
    settings->complexity = 9;
}

static int check_bits_per_second(int32_t bits_per_second)
{
    return recsvc_check_range("bits_per_second", bits_per_second, RECSVC_AUDIO_BITS_PER_SECOND_MIN,
                              RECSVC_AUDIO_BITS_PER_SECOND_MAX);
}

static int check_settings(const recsvc_audio_settings *settings)
{
    int status = recsvc_check_range("sample_rate", settings->sample_rate, RECSVC_SAMPLE_RATE_MIN,
                                    RECSVC_SAMPLE_RATE_MAX);
    if (status == RECSVC_OK)
        status = recsvc_check_range("channel_count", settings->channel_count, 1,
                                    RECSVC_CHANNEL_COUNT_MAX);
    if (status == RECSVC_OK)
        status = recsvc_check_range("sample_format", settings->sample_format, RECSVC_SAMPLE_S16,
                                    RECSVC_SAMPLE_F32);
    if (status == RECSVC_OK)
        status = check_bits_per_second(settings->bits_per_second);
    if (status == RECSVC_OK)
        status = recsvc_check_range("bitrate_mode", settings->bitrate_mode, RECSVC_BITRATE_VARIABLE,
                                    RECSVC_BITRATE_CONSTANT);
    if (status == RECSVC_OK)
        status = recsvc_check_range("complexity", settings->complexity, 0, 10);
    return status;
}

static int opus_failure(const char *what, int error)
{
    int status = error == OPUS_ALLOC_FAIL ? RECSVC_ERROR_MEMORY : RECSVC_ERROR_CODEC;
    return recsvc_fail(status, "libopus, %s: %s", what, opus_strerror(error));
}

static int open_opus(recsvc_audio_encoder *self, const recsvc_audio_settings *settings)
{
    int error = OPUS_OK;
    self->opus = opus_encoder_create(RECSVC_OPUS_SAMPLE_RATE, self->mixer.channels_out,
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
    return error == OPUS_OK ? RECSVC_OK : opus_failure("settings", error);
}

int recsvc_audio_open(recsvc_audio_encoder **encoder, const recsvc_audio_settings *settings)
{
    if (!encoder)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "encoder is NULL");
    *encoder = NULL;
    if (!settings)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "settings is NULL");
    int status = check_settings(settings);
    if (status != RECSVC_OK)
        return status;
    recsvc_audio_encoder *self = calloc(1, sizeof *self);
    if (!self)
        return recsvc_fail(RECSVC_ERROR_MEMORY, "no memory for an audio encoder");
    mixer_init(&self->mixer, settings->channel_count, settings->sample_format);
    status = open_opus(self, settings);
    if (status == RECSVC_OK && settings->sample_rate != RECSVC_OPUS_SAMPLE_RATE)
        status = resampler_open(&self->resampler, settings->sample_rate, self->mixer.channels_out);
    if (status != RECSVC_OK)
        recsvc_audio_close(&self);
    *encoder = self;
    return status;
}

/* Encodes the full `packet`, of which the last `padding` samples are not to be heard. */
static int encode_packet(recsvc_audio_encoder *self, uint32_t padding)
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
    self->packet_fill = 0;
    return RECSVC_OK;
}

/* The sink at the end of the chain: samples at 48 kHz, of any count. */
static int append(void *context, const float *samples, size_t count)
{
    recsvc_audio_encoder *self = context;
    size_t channels = (size_t)self->mixer.channels_out;
    self->samples_total += (int64_t)count;
    while (count > 0) {
        size_t room = PACKET_SAMPLES - self->packet_fill;
        size_t part = count < room ? count : room;
        memcpy(self->packet + self->packet_fill * channels, samples,
               part * channels * sizeof *samples);
        self->packet_fill += part;
        samples += part * channels;
        count -= part;
        if (self->packet_fill == PACKET_SAMPLES) {
            int status = encode_packet(self, 0);
            if (status != RECSVC_OK)
                return status;
        }
    }
    return RECSVC_OK;
}

static int push_pieces(recsvc_audio_encoder *self, const unsigned char *samples, size_t count)
{
    if (!samples)
        memset(self->piece, 0, sizeof self->piece);
    while (count > 0) {
        size_t part = count < PIECE_SAMPLES ? count : PIECE_SAMPLES;
        if (samples) {
            mixer_run(&self->mixer, samples, part, self->piece);
            samples += part * mixer_frame_bytes(&self->mixer);
        }
        int status = self->resampler
                         ? resampler_run(self->resampler, self->piece, part, append, self)
                         : append(self, self->piece, part);
        if (status != RECSVC_OK)
            return status;
        count -= part;
    }
    return RECSVC_OK;
}

/* A failed encoder has a hole in its stream: what would follow would come at a wrong time. */
static int refuse_if_over(const recsvc_audio_encoder *self)
{
    if (self->failure != RECSVC_OK)
        return recsvc_fail(RECSVC_ERROR_STATE, "the audio encoder has failed before");
    if (self->drained)
        return recsvc_fail(RECSVC_ERROR_STATE, "the audio encoder is drained");
    return RECSVC_OK;
}

int recsvc_audio_push(recsvc_audio_encoder *encoder, const void *samples, size_t byte_count,
                      size_t sample_count)
{
    if (!encoder)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "encoder is NULL");
    size_t frame_bytes = mixer_frame_bytes(&encoder->mixer);
    bool fits = samples ? byte_count / frame_bytes == sample_count && byte_count % frame_bytes == 0
                        : byte_count == 0;
    if (!fits)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT,
                           "%zu bytes are not %zu samples of %d channels, %zu bytes each sample",
                           byte_count, sample_count, (int)encoder->mixer.channels_in, frame_bytes);
    if (sample_count > RECSVC_PUSH_SAMPLES_MAX)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT,
                           "%zu samples in one push, at most %d are possible", sample_count,
                           RECSVC_PUSH_SAMPLES_MAX);
    int status = refuse_if_over(encoder);
    if (status != RECSVC_OK)
        return status;
    packet_queue_discard_taken(&encoder->queue);
    encoder->failure = push_pieces(encoder, samples, sample_count);
    return encoder->failure;
}

int recsvc_audio_take(recsvc_audio_encoder *encoder, recsvc_packet *packets, size_t capacity,
                      size_t *count)
{
    if (!encoder)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "encoder is NULL");
    return packet_queue_take(&encoder->queue, packets, capacity, count);
}

/* Fills up with silence until the last sample pushed has left the encoder. What is decoded begins
 * with the look-ahead, so the packets must hold that many samples more than came in. */
static int push_padding(recsvc_audio_encoder *self)
{
    if (self->samples_total == 0)
        return RECSVC_OK;
    int64_t needed = self->samples_total + self->look_ahead;
    int64_t packets = (needed + PACKET_SAMPLES - 1) / PACKET_SAMPLES;
    size_t channels = (size_t)self->mixer.channels_out;
    while (self->packet_count < packets) {
        size_t used = self->packet_fill * channels;
        memset(self->packet + used, 0, (PACKET_SAMPLES * channels - used) * sizeof *self->packet);
        bool is_last = self->packet_count + 1 == packets;
        int64_t padding = is_last ? packets * PACKET_SAMPLES - needed : 0;
        int status = encode_packet(self, (uint32_t)padding);
        if (status != RECSVC_OK)
            return status;
    }
    return RECSVC_OK;
}

int recsvc_audio_drain(recsvc_audio_encoder *encoder)
{
    if (!encoder)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "encoder is NULL");
    if (encoder->drained)
        return RECSVC_OK;
    packet_queue_discard_taken(&encoder->queue);
    encoder->drained = true;
    /* The failure was reported when it happened; what was finished before it can still be taken. */
    if (encoder->failure != RECSVC_OK)
        return RECSVC_OK;
    int status = RECSVC_OK;
    if (encoder->resampler)
        status = resampler_flush(encoder->resampler, append, encoder);
    if (status == RECSVC_OK)
        status = push_padding(encoder);
    encoder->failure = status;
    return status;
}

int recsvc_audio_set_bits_per_second(recsvc_audio_encoder *encoder, int32_t bits_per_second)
{
    if (!encoder)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "encoder is NULL");
    int status = check_bits_per_second(bits_per_second);
    if (status != RECSVC_OK)
        return status;
    int error = opus_encoder_ctl(encoder->opus, OPUS_SET_BITRATE(bits_per_second));
    return error == OPUS_OK ? RECSVC_OK : opus_failure("bit rate", error);
}

int32_t recsvc_audio_look_ahead(const recsvc_audio_encoder *encoder)
{
    return encoder ? encoder->look_ahead : 0;
}

int32_t recsvc_audio_output_channel_count(const recsvc_audio_encoder *encoder)
{
    return encoder ? encoder->mixer.channels_out : 0;
}

void recsvc_audio_close(recsvc_audio_encoder **encoder)
{
    if (!encoder || !*encoder)
        return;
    recsvc_audio_encoder *self = *encoder;
    *encoder = NULL;
    if (self->opus)
        opus_encoder_destroy(self->opus);
    resampler_close(self->resampler);
    packet_queue_free(&self->queue);
    free(self);
}
