/* Sound: the public functions, and the way of samples to the packets. */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "mix.h"
#include "opus_packets.h"
#include "resample.h"
#include "stretch.h"

enum {
    CHANNELS_MAX = 2,
    /* Input is mixed in pieces of this many samples, so that a push of any length needs no more
     * room than this. */
    PIECE_SAMPLES = 1024
};

/* From the input to the packets: mixer, resampler, stretcher, packets. */
struct recsvc_audio_encoder {
    mixer mixer;
    resampler *resampler; /* NULL when the input is at 48 kHz */
    stretcher *stretcher; /* NULL until there is something to stretch */
    opus_packets packets;
    int32_t sample_rate;
    double carry; /* what rounding took at changes of the sample rate, in samples at 48 kHz */
    bool drained;
    int failure; /* the status that ended this encoder, or RECSVC_OK */
    float piece[PIECE_SAMPLES * CHANNELS_MAX];
    float past[STRETCH_REACH * CHANNELS_MAX]; /* the last samples before there is a stretcher */
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

static int check_input(int32_t sample_rate, int32_t channel_count, int32_t sample_format)
{
    int status = recsvc_check_range("sample_rate", sample_rate, RECSVC_SAMPLE_RATE_MIN,
                                    RECSVC_SAMPLE_RATE_MAX);
    if (status == RECSVC_OK)
        status =
            recsvc_check_range("channel_count", channel_count, 1, RECSVC_CHANNEL_COUNT_MAX);
    if (status == RECSVC_OK)
        status = recsvc_check_range("sample_format", sample_format, RECSVC_SAMPLE_S16,
                                    RECSVC_SAMPLE_F32);
    return status;
}

static int check_complexity(int32_t complexity)
{
    return recsvc_check_range("complexity", complexity, 0, 10);
}

static int check_settings(const recsvc_audio_settings *settings)
{
    int status =
        check_input(settings->sample_rate, settings->channel_count, settings->sample_format);
    if (status == RECSVC_OK)
        status = check_bits_per_second(settings->bits_per_second);
    if (status == RECSVC_OK)
        status = recsvc_check_range("bitrate_mode", settings->bitrate_mode, RECSVC_BITRATE_VARIABLE,
                                    RECSVC_BITRATE_CONSTANT);
    if (status == RECSVC_OK)
        status = check_complexity(settings->complexity);
    return status;
}

/* The resampler for a sample rate, NULL for 48 kHz. */
static int open_resampler(resampler **result, int32_t sample_rate, int32_t channels)
{
    *result = NULL;
    if (sample_rate == RECSVC_OPUS_SAMPLE_RATE)
        return RECSVC_OK;
    return resampler_open(result, sample_rate, channels);
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
    self->sample_rate = settings->sample_rate;
    mixer_init(&self->mixer, settings->channel_count, settings->sample_format,
               mixer_best_output(settings->channel_count));
    status = opus_packets_open(&self->packets, settings, self->mixer.channels_out);
    if (status == RECSVC_OK)
        status = open_resampler(&self->resampler, settings->sample_rate, self->mixer.channels_out);
    if (status != RECSVC_OK)
        recsvc_audio_close(&self);
    *encoder = self;
    return status;
}

static void remember(recsvc_audio_encoder *self, const float *samples, size_t count)
{
    size_t channels = (size_t)self->mixer.channels_out;
    size_t fresh = count < STRETCH_REACH ? count : STRETCH_REACH;
    size_t old = (STRETCH_REACH - fresh) * channels;
    memmove(self->past, self->past + fresh * channels, old * sizeof *self->past);
    memcpy(self->past + old, samples + (count - fresh) * channels,
           fresh * channels * sizeof *self->past);
}

/* The sink behind the resampler. Without a stretcher samples pass untouched and without delay. */
static int stretch(void *context, const float *samples, size_t count)
{
    recsvc_audio_encoder *self = context;
    if (self->stretcher)
        return stretcher_run(self->stretcher, samples, count, opus_packets_push, &self->packets);
    remember(self, samples, count);
    return opus_packets_push(&self->packets, samples, count);
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
                         ? resampler_run(self->resampler, self->piece, part, stretch, self)
                         : stretch(self, self->piece, part);
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
    packet_queue_discard_taken(&encoder->packets.queue);
    encoder->failure = push_pieces(encoder, samples, sample_count);
    return encoder->failure;
}

int recsvc_audio_take(recsvc_audio_encoder *encoder, recsvc_packet *packets, size_t capacity,
                      size_t *count)
{
    if (!encoder)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "encoder is NULL");
    return packet_queue_take(&encoder->packets.queue, packets, capacity, count);
}

int recsvc_audio_drain(recsvc_audio_encoder *encoder)
{
    if (!encoder)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "encoder is NULL");
    if (encoder->drained)
        return RECSVC_OK;
    packet_queue_discard_taken(&encoder->packets.queue);
    encoder->drained = true;
    /* The failure was reported when it happened; what was finished before it can still be taken. */
    if (encoder->failure != RECSVC_OK)
        return RECSVC_OK;
    int status = RECSVC_OK;
    if (encoder->resampler)
        status = resampler_flush(encoder->resampler, &encoder->carry, stretch, encoder);
    if (status == RECSVC_OK && encoder->stretcher)
        status = stretcher_flush(encoder->stretcher, opus_packets_push, &encoder->packets);
    if (status == RECSVC_OK)
        status = opus_packets_finish(&encoder->packets);
    encoder->failure = status;
    return status;
}

int recsvc_audio_set_input(recsvc_audio_encoder *encoder, int32_t sample_rate,
                           int32_t channel_count, int32_t sample_format)
{
    if (!encoder)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "encoder is NULL");
    int status = check_input(sample_rate, channel_count, sample_format);
    if (status == RECSVC_OK)
        status = refuse_if_over(encoder);
    if (status != RECSVC_OK)
        return status;
    packet_queue_discard_taken(&encoder->packets.queue);
    int32_t channels_out = encoder->mixer.channels_out;
    if (sample_rate != encoder->sample_rate) {
        resampler *next;
        status = open_resampler(&next, sample_rate, channels_out);
        if (status == RECSVC_OK && encoder->resampler)
            status = resampler_flush(encoder->resampler, &encoder->carry, stretch, encoder);
        resampler_close(encoder->resampler);
        encoder->resampler = next;
        encoder->sample_rate = sample_rate;
    }
    mixer_init(&encoder->mixer, channel_count, sample_format, channels_out);
    encoder->failure = status;
    return status;
}

int recsvc_audio_set_stretch(recsvc_audio_encoder *encoder, double ppm)
{
    if (!encoder)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "encoder is NULL");
    if (!(fabs(ppm) <= RECSVC_STRETCH_PPM_MAX)) /* so that NaN is refused as well */
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "ppm is %g, it must be -%d to %d", ppm,
                           RECSVC_STRETCH_PPM_MAX, RECSVC_STRETCH_PPM_MAX);
    int status = refuse_if_over(encoder);
    if (status == RECSVC_OK && !encoder->stretcher && ppm != 0)
        status =
            stretcher_open(&encoder->stretcher, encoder->mixer.channels_out, encoder->past);
    if (status == RECSVC_OK && encoder->stretcher)
        stretcher_set(encoder->stretcher, ppm);
    return status;
}

int64_t recsvc_audio_output_samples(const recsvc_audio_encoder *encoder)
{
    if (!encoder)
        return 0;
    bool is_over = encoder->drained || encoder->failure != RECSVC_OK;
    int64_t pending = 0;
    if (!is_over && encoder->resampler)
        pending = resampler_pending(encoder->resampler, encoder->carry);
    if (!is_over && encoder->stretcher)
        pending = stretcher_pending(encoder->stretcher, pending);
    return encoder->packets.samples_total + pending;
}

int recsvc_audio_set_bits_per_second(recsvc_audio_encoder *encoder, int32_t bits_per_second)
{
    if (!encoder)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "encoder is NULL");
    int status = check_bits_per_second(bits_per_second);
    if (status != RECSVC_OK)
        return status;
    return opus_packets_set_bits_per_second(&encoder->packets, bits_per_second);
}

int recsvc_audio_set_complexity(recsvc_audio_encoder *encoder, int32_t complexity)
{
    if (!encoder)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "encoder is NULL");
    int status = check_complexity(complexity);
    if (status != RECSVC_OK)
        return status;
    return opus_packets_set_complexity(&encoder->packets, complexity);
}

int32_t recsvc_audio_pre_skip(const recsvc_audio_encoder *encoder)
{
    return encoder ? encoder->packets.pre_skip : 0;
}

int recsvc_audio_set_pre_skip(recsvc_audio_encoder *encoder, int32_t samples)
{
    if (!encoder)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "encoder is NULL");
    int status = refuse_if_over(encoder);
    if (status == RECSVC_OK)
        status = opus_packets_set_pre_skip(&encoder->packets, samples);
    return status;
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
    resampler_close(self->resampler);
    stretcher_close(self->stretcher);
    opus_packets_close(&self->packets);
    free(self);
}
