#include "mix.h"

#include <math.h>
#include <string.h>

/* ITU-R BS.775: centre and surround channels go into the front ones at -3 dB; what is behind the
 * listener in the middle at -3 dB of that, for it goes to both sides. The low-frequency channel is
 * left out, as there. */
#define M3DB 0.70710678f
#define M6DB 0.5f

/* Weights of each channel in the left and in the right output, by channel count. Three channels
 * are taken for FL FR FC and not for 2.1: to lose a centre is worse than to hear a bass. */
static const float LEFT[RECSVC_CHANNEL_COUNT_MAX][RECSVC_CHANNEL_COUNT_MAX] = {
    {1},
    {1, 0},
    {1, 0, M3DB},
    {1, 0, M3DB, 0},
    {1, 0, M3DB, M3DB, 0},
    {1, 0, M3DB, 0, M3DB, 0},
    {1, 0, M3DB, 0, M6DB, M3DB, 0},
    {1, 0, M3DB, 0, M3DB, 0, M3DB, 0},
};
static const float RIGHT[RECSVC_CHANNEL_COUNT_MAX][RECSVC_CHANNEL_COUNT_MAX] = {
    {0},
    {0, 1},
    {0, 1, M3DB},
    {0, 1, 0, M3DB},
    {0, 1, M3DB, 0, M3DB},
    {0, 1, M3DB, 0, 0, M3DB},
    {0, 1, M3DB, 0, M6DB, 0, M3DB},
    {0, 1, M3DB, 0, 0, M3DB, 0, M3DB},
};

int32_t mixer_best_output(int32_t channel_count)
{
    return channel_count < 2 ? 1 : 2;
}

void mixer_init(mixer *self, int32_t channel_count, int32_t sample_format, int32_t channels_out)
{
    memset(self, 0, sizeof *self);
    self->sample_format = sample_format;
    self->channels_in = channel_count;
    self->channels_out = channels_out;
    /* A single channel has no right side of its own. */
    const float *rows[2] = {LEFT[channel_count - 1],
                            channel_count > 1 ? RIGHT[channel_count - 1] : LEFT[0]};
    for (int side = 0; side < 2; side++) {
        float sum = 0;
        for (int channel = 0; channel < channel_count; channel++)
            sum += rows[side][channel];
        /* Divided by the sum, full scale on all channels together is full scale: no clipping. */
        for (int channel = 0; channel < channel_count; channel++)
            self->weights[side][channel] = rows[side][channel] / sum;
    }
    if (channels_out == 1)
        for (int channel = 0; channel < channel_count; channel++)
            self->weights[0][channel] =
                (self->weights[0][channel] + self->weights[1][channel]) / 2;
}

size_t mixer_frame_bytes(const mixer *self)
{
    size_t sample = self->sample_format == RECSVC_SAMPLE_S16 ? sizeof(int16_t) : sizeof(float);
    return sample * (size_t)self->channels_in;
}

/* memcpy, because a caller's buffer may begin at any address. */
static float read_s16(const unsigned char *at)
{
    int16_t value;
    memcpy(&value, at, sizeof value);
    return (float)value * (1.0f / 32768.0f);
}

/* One value that is not finite would spoil a whole block of the resampler. */
static float read_f32(const unsigned char *at)
{
    float value;
    memcpy(&value, at, sizeof value);
    return isfinite(value) ? value : 0.0f;
}

void mixer_run(const mixer *self, const unsigned char *samples, size_t count, float *out)
{
    size_t channels = (size_t)self->channels_in;
    size_t channels_out = (size_t)self->channels_out;
    int is_s16 = self->sample_format == RECSVC_SAMPLE_S16;
    if (channels == channels_out) {
        if (is_s16)
            for (size_t i = 0; i < count * channels; i++)
                out[i] = read_s16(samples + i * sizeof(int16_t));
        else
            for (size_t i = 0; i < count * channels; i++)
                out[i] = read_f32(samples + i * sizeof(float));
        return;
    }
    for (size_t i = 0; i < count; i++) {
        float sides[2] = {0, 0};
        for (size_t channel = 0; channel < channels; channel++) {
            size_t at = i * channels + channel;
            float value = is_s16 ? read_s16(samples + at * sizeof(int16_t))
                                 : read_f32(samples + at * sizeof(float));
            sides[0] += self->weights[0][channel] * value;
            sides[1] += self->weights[1][channel] * value;
        }
        memcpy(out + i * channels_out, sides, channels_out * sizeof *out);
    }
}
