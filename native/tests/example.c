/* The example of recsvc.h as a program: one second of silence-to-tone at 44.1 kHz to Opus. */
#include <stdio.h>

#include "recsvc.h"

enum { SAMPLE_RATE = 44100, CHANNELS = 2, BLOCK = 441, BLOCKS = 100 };

static int blocks_read;
static size_t packets_written;
static unsigned padding_written;

/* Stands for a sound card: fills one block, returns 0 at the end. */
static int read_block(int16_t *samples, size_t *sample_count)
{
    if (blocks_read == BLOCKS)
        return 0;
    for (int i = 0; i < BLOCK * CHANNELS; i++)
        samples[i] = (int16_t)((i / CHANNELS % 100 - 50) * blocks_read);
    *sample_count = BLOCK;
    blocks_read++;
    return 1;
}

/* Stands for a muxer: would copy packet->data here. */
static void write_packet(const recsvc_packet *packet)
{
    packets_written++;
    padding_written += packet->padding_samples;
}

int main(void)
{
    int16_t samples[BLOCK * CHANNELS];
    size_t sample_count = 0;
    size_t frame_bytes = sizeof(int16_t) * CHANNELS;
    recsvc_packet packet;
    size_t count = 0;

    recsvc_audio_settings settings;
    recsvc_audio_default_settings(&settings);
    settings.sample_rate = SAMPLE_RATE;

    recsvc_audio_encoder *encoder = NULL;
    int status = recsvc_audio_open(&encoder, &settings);
    while (status == RECSVC_OK && read_block(samples, &sample_count)) {
        status = recsvc_audio_push(encoder, samples, sample_count * frame_bytes, sample_count);
        while (status == RECSVC_OK && recsvc_audio_take(encoder, &packet, 1, &count) == RECSVC_OK)
            write_packet(&packet);
    }
    if (status == RECSVC_OK)
        status = recsvc_audio_drain(encoder);
    while (status == RECSVC_OK && recsvc_audio_take(encoder, &packet, 1, &count) == RECSVC_OK)
        write_packet(&packet);
    if (status < 0)
        fprintf(stderr, "%s\n", recsvc_last_error());
    recsvc_audio_close(&encoder);

    /* One second and the pre-skip of 7 ms fill 51 packets but for the padding. */
    printf("%zu packets, %u samples of padding\n", packets_written, padding_written);
    return status == RECSVC_OK && packets_written == 51 && padding_written == 51 * 960 - 48336 ? 0 : 1;
}
