#include "audio_support.h"

#include <math.h>
#include <opus.h>

#define TAU 6.283185307179586

struct listener {
    recsvc_audio_encoder *encoder;
    OpusDecoder *opus;
    heard sound;
    size_t skip; /* samples of the pre-skip still to discard */
    int64_t next_pts;
    int was_padded;
};

recsvc_audio_settings audio_settings(int32_t rate, int32_t channels, int32_t format)
{
    recsvc_audio_settings settings;
    recsvc_audio_default_settings(&settings);
    settings.sample_rate = rate;
    settings.channel_count = channels;
    settings.sample_format = format;
    settings.complexity = 1; /* the tests are about lengths and channels, not about beauty */
    return settings;
}

recsvc_audio_encoder *audio_open(const recsvc_audio_settings *settings)
{
    recsvc_audio_encoder *encoder = NULL;
    CHECK_OK(recsvc_audio_open(&encoder, settings));
    CHECK(encoder != NULL);
    return encoder;
}

size_t audio_sample_bytes(const recsvc_audio_settings *settings)
{
    size_t one = settings->sample_format == RECSVC_SAMPLE_S16 ? 2 : 4;
    return one * (size_t)settings->channel_count;
}

static void decode(listener *self, const recsvc_packet *packet)
{
    CHECK_INT(packet->pts, self->next_pts);
    CHECK_INT(packet->duration, 960);
    CHECK_INT(packet->flags, RECSVC_PACKET_KEY);
    CHECK(packet->size >= 1 && packet->padding_samples < 960);
    CHECK(!self->was_padded); /* only the last one may be */
    self->next_pts += packet->duration;
    self->was_padded = packet->padding_samples > 0;

    heard *sound = &self->sound;
    size_t channels = (size_t)sound->channels;
    float decoded[960 * 2];
    CHECK_INT(
        opus_decode_float(self->opus, packet->data, (opus_int32)packet->size, decoded, 960, 0),
        960);
    size_t skipped = self->skip < 960 ? self->skip : 960;
    CHECK(skipped + packet->padding_samples <= 960);
    size_t kept = 960 - skipped - packet->padding_samples;
    self->skip -= skipped;
    sound->samples = realloc(sound->samples, (sound->count + 960) * channels * sizeof(float));
    CHECK(sound->samples != NULL);
    memcpy(sound->samples + sound->count * channels, decoded + skipped * channels,
           kept * channels * sizeof(float));
    sound->count += kept;
    sound->packet_count++;
    sound->byte_count += packet->size;
    if (sound->packet_bytes_min == 0 || packet->size < sound->packet_bytes_min)
        sound->packet_bytes_min = packet->size;
    if (packet->size > sound->packet_bytes_max)
        sound->packet_bytes_max = packet->size;
}

listener *listener_open(recsvc_audio_encoder *encoder)
{
    listener *self = calloc(1, sizeof *self);
    CHECK(self != NULL);
    self->encoder = encoder;
    self->sound.channels = recsvc_audio_output_channel_count(encoder);
    self->skip = (size_t)recsvc_audio_pre_skip(encoder);
    CHECK(self->skip == 336);
    int error = 0;
    self->opus = opus_decoder_create(48000, self->sound.channels, &error);
    CHECK(self->opus != NULL);
    return self;
}

void listener_take(listener *self)
{
    recsvc_packet packets[3];
    size_t count = 0;
    int status;
    while ((status = recsvc_audio_take(self->encoder, packets, 3, &count)) == RECSVC_OK) {
        CHECK(count >= 1 && count <= 3);
        for (size_t i = 0; i < count; i++)
            decode(self, &packets[i]);
    }
    CHECK_INT(status, RECSVC_EMPTY);
    CHECK_INT(count, 0);
}

heard listener_finish(listener *self)
{
    int64_t promised = recsvc_audio_output_samples(self->encoder);
    CHECK_OK(recsvc_audio_drain(self->encoder));
    CHECK_OK(recsvc_audio_drain(self->encoder));
    listener_take(self);
    heard sound = self->sound;
    CHECK_INT(sound.count, promised);
    CHECK_INT(recsvc_audio_output_samples(self->encoder), promised);
    opus_decoder_destroy(self->opus);
    recsvc_audio_close(&self->encoder);
    CHECK(self->encoder == NULL);
    free(self);
    return sound;
}

heard audio_round_trip(const recsvc_audio_settings *settings, const void *samples, size_t count,
                       size_t chunk, check_random *random)
{
    listener *self = listener_open(audio_open(settings));
    size_t bytes = audio_sample_bytes(settings);
    size_t done = 0;
    while (done < count) {
        size_t part = chunk ? chunk : check_random_below(random, 3000);
        part = part < count - done ? part : count - done;
        const char *from = samples ? (const char *)samples + done * bytes : NULL;
        CHECK_OK(recsvc_audio_push(self->encoder, from, from ? part * bytes : 0, part));
        done += part;
        listener_take(self);
    }
    return listener_finish(self);
}

void *audio_sine(const recsvc_audio_settings *settings, size_t count, double frequency,
                 double amplitude)
{
    size_t channels = (size_t)settings->channel_count;
    char *samples = malloc(count * audio_sample_bytes(settings) + 1);
    CHECK(samples != NULL);
    for (size_t i = 0; i < count * channels; i++) {
        double phase = TAU * frequency * (double)(i / channels) / settings->sample_rate;
        double value = amplitude * sin(phase);
        if (settings->sample_format == RECSVC_SAMPLE_S16)
            ((int16_t *)(void *)samples)[i] = (int16_t)lrint(32767.0 * value);
        else
            ((float *)(void *)samples)[i] = (float)value;
    }
    return samples;
}

double heard_amplitude(const heard *sound, int channel, double frequency, size_t from, size_t to)
{
    CHECK(from < to && to <= sound->count);
    double real = 0;
    double imaginary = 0;
    for (size_t i = from; i < to; i++) {
        double value = (double)sound->samples[i * (size_t)sound->channels + (size_t)channel];
        real += value * cos(TAU * frequency * (double)i / 48000.0);
        imaginary += value * sin(TAU * frequency * (double)i / 48000.0);
    }
    return 2.0 * sqrt(real * real + imaginary * imaginary) / (double)(to - from);
}

void heard_free(heard *sound)
{
    free(sound->samples);
    memset(sound, 0, sizeof *sound);
}
