/*
 * recsvc.h: raw frames in, Opus, VP8 and VP9 packets out.
 *
 * An encoder lives through five steps, the same for sound and for pictures:
 *
 *   default_settings   fill a settings struct, then change what you want other than usual
 *   open               check the settings and make the encoder
 *   push, take         give raw media, fetch the finished packets; as often as you like
 *   drain, take        finish what is inside; nothing can be pushed afterwards
 *   close              free everything
 *
 * A whole recording (this is native/tests/example.c, which the tests compile and run):
 *
 *   recsvc_audio_settings settings;
 *   recsvc_audio_default_settings(&settings);
 *   settings.sample_rate = 44100;
 *
 *   recsvc_audio_encoder *encoder = NULL;
 *   int status = recsvc_audio_open(&encoder, &settings);
 *   while (status == RECSVC_OK && read_block(samples, &sample_count)) {
 *       status = recsvc_audio_push(encoder, samples, sample_count * frame_bytes, sample_count);
 *       while (status == RECSVC_OK && recsvc_audio_take(encoder, &packet, 1, &count) == RECSVC_OK)
 *           write_packet(&packet);
 *   }
 *   if (status == RECSVC_OK)
 *       status = recsvc_audio_drain(encoder);
 *   while (status == RECSVC_OK && recsvc_audio_take(encoder, &packet, 1, &count) == RECSVC_OK)
 *       write_packet(&packet);
 *   if (status < 0)
 *       fprintf(stderr, "%s\n", recsvc_last_error());
 *   recsvc_audio_close(&encoder);
 *
 * Errors. Every function that can fail returns RECSVC_OK or one of the negative codes below; the
 * text of the last failure in the calling thread is in recsvc_last_error(), also when an open
 * failed and there is no handle. RECSVC_ERROR_ARGUMENT and RECSVC_ERROR_STATE change nothing in
 * the encoder: the call may be repeated with better arguments.
 *
 * Threads. Different encoders may be used by different threads at once. One encoder is used by
 * one thread at a time; the caller sees to it. No function keeps a lock or a callback.
 *
 * Memory. Input belongs to the caller and is not looked at after the call has returned. Packets
 * belong to the encoder, see recsvc_packet. Buffers grow to the largest size needed and are then
 * used again, so that steady input allocates nothing here.
 *
 * The part between the two cffi marks is also read by native/cffi_build.py: only plain
 * declarations, comments and integer #defines may stand there.
 */
#ifndef RECSVC_H
#define RECSVC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* cffi: begin */

/* ---- What all functions share ------------------------------------------------------------- */

typedef enum recsvc_status {
    RECSVC_OK = 0,
    RECSVC_EMPTY = 1,             /* take: there is no packet now */
    RECSVC_ERROR_ARGUMENT = -1,   /* an argument is wrong; nothing was changed */
    RECSVC_ERROR_STATE = -2,      /* the encoder is drained or has failed before */
    RECSVC_ERROR_MEMORY = -3,     /* no memory */
    RECSVC_ERROR_CODEC = -4       /* a codec library refused or failed */
} recsvc_status;

/* The text of the last failed call in this thread, "" if none failed. Valid until the next
 * failure in this thread; never NULL. */
const char *recsvc_last_error(void);

/* Versions as static text: of this library and of the libraries it uses. */
const char *recsvc_version(void);
const char *recsvc_opus_version(void);
const char *recsvc_vpx_version(void);
const char *recsvc_soxr_version(void);
const char *recsvc_yuv_version(void);

/* Bit in recsvc_packet.flags: the packet can be decoded without those before it.
 * Every audio packet has it. */
#define RECSVC_PACKET_KEY 1

/* One encoded packet. `data` belongs to the encoder and is valid until the next push, drain or
 * close of that encoder; copy what has to live longer. Times are in samples at 48 kHz for sound
 * and in microseconds for pictures. */
typedef struct recsvc_packet {
    const uint8_t *data;
    size_t size;                  /* bytes, at least 1 */
    int64_t pts;                  /* sound: counted from the first sample decoded, pre-skip included */
    int64_t duration;             /* sound: 960, padding included; pictures: what was pushed */
    uint32_t flags;
    uint32_t padding_samples;     /* decoded samples to discard at the end of this packet; 0 to 959,
                                     not 0 only in the last audio packet */
} recsvc_packet;

/* ---- Sound: PCM to Opus ------------------------------------------------------------------- */

#define RECSVC_SAMPLE_RATE_MIN 8000
#define RECSVC_SAMPLE_RATE_MAX 192000
#define RECSVC_CHANNEL_COUNT_MAX 8
#define RECSVC_AUDIO_BITS_PER_SECOND_MIN 500
#define RECSVC_AUDIO_BITS_PER_SECOND_MAX 512000
#define RECSVC_PUSH_SAMPLES_MAX 2147483647
#define RECSVC_STRETCH_PPM_MAX 5000
#define RECSVC_OPUS_SAMPLE_RATE 48000
#define RECSVC_OPUS_PACKET_SAMPLES 960

typedef enum recsvc_sample_format {
    RECSVC_SAMPLE_S16 = 0,        /* int16_t in the machine's byte order */
    RECSVC_SAMPLE_F32 = 1         /* float, full scale is -1 to 1; what is not finite counts as 0 */
} recsvc_sample_format;

typedef enum recsvc_bitrate_mode {
    RECSVC_BITRATE_VARIABLE = 0,
    RECSVC_BITRATE_CONSTANT = 1   /* every packet has the same size */
} recsvc_bitrate_mode;

typedef struct recsvc_audio_settings {
    int32_t sample_rate;          /* Hz, 8000 to 192000; resampled when not 48000; default 48000 */
    int32_t channel_count;        /* 1 to 8, interleaved; default 2. More than two are mixed down to
                                     stereo; the orders are those of WAVE files:
                                     3: FL FR FC            4: FL FR BL BR
                                     5: FL FR FC BL BR      6: FL FR FC LFE BL BR
                                     7: FL FR FC LFE BC SL SR
                                     8: FL FR FC LFE BL BR SL SR */
    int32_t sample_format;        /* a recsvc_sample_format; default s16 */
    int32_t bits_per_second;      /* 500 to 512000; default 128000 */
    int32_t bitrate_mode;         /* a recsvc_bitrate_mode; default variable */
    int32_t complexity;           /* 0 (fast) to 10 (good); default 9 */
} recsvc_audio_settings;

typedef struct recsvc_audio_encoder recsvc_audio_encoder;

/* Fills `settings` with the defaults. NULL is ignored. */
void recsvc_audio_default_settings(recsvc_audio_settings *settings);

/* Makes an encoder. `settings` is copied. On success the caller owns *encoder and must close it;
 * on failure *encoder is NULL and there is nothing to free. */
int recsvc_audio_open(recsvc_audio_encoder **encoder, const recsvc_audio_settings *settings);

/* Encodes `sample_count` samples per channel; any count up to
 * RECSVC_PUSH_SAMPLES_MAX is legal, 0 too. `samples` are
 * `byte_count` bytes of interleaved PCM, at any alignment; byte_count must be exactly sample_count
 * x channels x bytes per sample. samples == NULL with byte_count 0 is that much silence.
 * Packets taken before become invalid; packets not taken yet stay.
 * After RECSVC_ERROR_MEMORY or RECSVC_ERROR_CODEC sound is missing: nothing more can be pushed. */
int recsvc_audio_push(recsvc_audio_encoder *encoder, const void *samples, size_t byte_count,
                      size_t sample_count);

/* Hands out up to `capacity` (1 or more) finished packets in order, *count tells how many.
 * RECSVC_EMPTY, and a *count of 0, when there is none. */
int recsvc_audio_take(recsvc_audio_encoder *encoder, recsvc_packet *packets, size_t capacity,
                      size_t *count);

/* Finishes: what is decoded from all packets, less the pre-skip at the beginning and the padding
 * of the last packet, is round(pushed samples x 48000 / sample_rate) samples; no packet at all if
 * that is 0. After changes of the sample rate it is the sum of those quotients that is rounded;
 * after stretching, see recsvc_audio_output_samples. To drain again is harmless and gives nothing
 * new. After a failed push only what was finished before can be taken. */
int recsvc_audio_drain(recsvc_audio_encoder *encoder);

/* From the next push on samples come in this format (ranges as in the settings), for sources that
 * change while they run. Channels in the packets stay as many as they were: one pushed channel is
 * heard on both sides of a stereo stream, and a mono stream gets the mean of left and right. To
 * name the present format again does nothing.
 * Another sample rate finishes what the resampler still holds: packets taken before become invalid,
 * new ones may be there to take. RECSVC_ERROR_MEMORY and RECSVC_ERROR_CODEC: as after a push. */
int recsvc_audio_set_input(recsvc_audio_encoder *encoder, int32_t sample_rate,
                           int32_t channel_count, int32_t sample_format);

/* Makes sound longer by `ppm` millionths from now on (shorter when negative; -5000 to 5000; 0: as it
 * is), to hold a drifting clock to another one; what waits inside is stretched by the new value too.
 * There is no click and no hole where this is first called, changed, or set back to 0; the pitch
 * changes by as little as the length. Up to the first value other than 0 every sample at 48 kHz goes
 * to Opus as it came; from then on samples are interpolated, and 32 of them (at 48 kHz) wait inside.
 * The first such call needs 150 KB of memory; RECSVC_ERROR_MEMORY: nothing was changed. */
int recsvc_audio_set_stretch(recsvc_audio_encoder *encoder, double ppm);

/* How long the sound is, in samples at 48 kHz: what would be decoded, less pre-skip and padding,
 * if the encoder were drained now; after a drain: what is decoded. Exact at any time, with
 * stretching and changes of format too; 0 for NULL. */
int64_t recsvc_audio_output_samples(const recsvc_audio_encoder *encoder);

/* Changes the bit rate from the next packet on; 500 to 512000. */
int recsvc_audio_set_bits_per_second(recsvc_audio_encoder *encoder, int32_t bits_per_second);

/* Changes the complexity from the next packet on; 0 (fast) to 10 (good). The last packets of a
 * recording, for which somebody waits, take a third of the time at 0. */
int recsvc_audio_set_complexity(recsvc_audio_encoder *encoder, int32_t complexity);

/* Samples at 48 kHz that a decoder must discard at the beginning (RFC 7845, "pre-skip"): whole
 * milliseconds; constant but for recsvc_audio_set_pre_skip. */
int32_t recsvc_audio_pre_skip(const recsvc_audio_encoder *encoder);

/* Makes the pre-skip longer or shorter, from the codec's look-ahead (312) to a whole packet (960), by
 * silence in front. RECSVC_ERROR_STATE once a packet was made. For recordings of less than a packet:
 * with 960 no packet has to be cut at both ends, which not every reader can. */
int recsvc_audio_set_pre_skip(recsvc_audio_encoder *encoder, int32_t samples);

/* Channels in the packets: 1 or 2. */
int32_t recsvc_audio_output_channel_count(const recsvc_audio_encoder *encoder);

/* Frees *encoder and all its packets and sets it to NULL; NULL and *encoder == NULL are ignored. */
void recsvc_audio_close(recsvc_audio_encoder **encoder);

/* ---- Pictures: raw frames to VP8 or VP9 --------------------------------------------------- */

#define RECSVC_FRAME_SIDE_MAX 16383
#define RECSVC_VIDEO_BITS_PER_SECOND_MIN 1000
#define RECSVC_VIDEO_BITS_PER_SECOND_MAX 1000000000
#define RECSVC_VIDEO_THREADS_MAX 64

/* Rows are tightly packed, top row first. The letters are the order of the bytes in memory. Alpha
 * is ignored. I420 and NV12 have limited range and keep their values, unless VP8 needs others; RGB is
 * converted to limited range by the matrix of the settings, for VP8 by BT.601. Chroma planes of odd frames have (width + 1) / 2 columns and
 * (height + 1) / 2 rows. */
typedef enum recsvc_pixel_format {
    RECSVC_PIXEL_I420 = 0,        /* planes Y, U, V; not copied */
    RECSVC_PIXEL_NV12 = 1,        /* planes Y, UV interleaved */
    RECSVC_PIXEL_RGB24 = 2,
    RECSVC_PIXEL_BGR24 = 3,
    RECSVC_PIXEL_RGBA = 4,
    RECSVC_PIXEL_BGRA = 5
} recsvc_pixel_format;

typedef enum recsvc_video_codec {
    RECSVC_VIDEO_VP8 = 0,
    RECSVC_VIDEO_VP9 = 1
} recsvc_video_codec;

/* By which matrix Y, U and V come from red, green and blue. VP9 says so in its packets; VP8 is always
 * BT.601 (RFC 6386): what is given as another is converted. */
typedef enum recsvc_color_space {
    RECSVC_COLOR_BT601 = 0,
    RECSVC_COLOR_BT709 = 1,
    RECSVC_COLOR_BT2020 = 2       /* non-constant luminance */
} recsvc_color_space;

typedef struct recsvc_video_settings {
    int32_t codec;                /* a recsvc_video_codec */
    int32_t color_space;          /* a recsvc_color_space, of I420 and NV12; default BT.601 */
    int32_t width;                /* pixels, 1 to 16383; default 640 x 480 */
    int32_t height;
    int32_t bits_per_second;      /* 1000 to 1000000000; default 2500000 */
    int32_t speed;                /* libvpx "cpu-used"; VP8 -16 to 16, VP9 -9 to 9; the default
                                     depends on the codec, see video_codec.c */
    int32_t threads;              /* 1 to 64; default 1: many recordings share the machine;
                                     pictures with a side below 64 have one */
    int32_t key_frame_interval_max; /* frames from one key frame to the next at most, 1: every frame
                                     is one; default 100. There are no others than these, the
                                     first, the forced ones and the one after a change of size;
                                     but VP9 makes one where everything changes. */
} recsvc_video_settings;

/* Bit in recsvc_picture.flags: encode this frame as a key frame. */
#define RECSVC_PICTURE_FORCE_KEY 1

typedef struct recsvc_picture {
    const uint8_t *data;          /* NULL, with byte_count 0: a black frame */
    size_t byte_count;            /* must be recsvc_frame_bytes(pixel_format, width, height) */
    int32_t pixel_format;         /* a recsvc_pixel_format */
    int32_t width;                /* pixels; may change from frame to frame */
    int32_t height;
    uint32_t flags;
    int64_t pts_us;               /* microseconds, 0 or more; must rise from frame to frame */
    int64_t duration_us;          /* microseconds, 0 or more; 0: not known */
} recsvc_picture;

typedef struct recsvc_video_encoder recsvc_video_encoder;

/* Bytes of one frame, 0 when format or size is out of range. */
size_t recsvc_frame_bytes(int32_t pixel_format, int32_t width, int32_t height);

/* Fills `settings` with the defaults for a codec. NULL is ignored. */
void recsvc_video_default_settings(recsvc_video_settings *settings, int32_t codec);

/* Makes an encoder. `settings` is copied. On success the caller owns *encoder and must close it;
 * on failure *encoder is NULL and there is nothing to free. */
int recsvc_video_open(recsvc_video_encoder **encoder, const recsvc_video_settings *settings);

/* Encodes one frame to exactly one packet; `picture` and its data are the caller's and not kept.
 * A frame of another size than the last one is encoded as a key frame of the new size.
 * Packets taken before become invalid; packets not taken yet stay.
 * After RECSVC_ERROR_MEMORY or RECSVC_ERROR_CODEC this frame is missing; the next one that is
 * pushed will be a key frame. */
int recsvc_video_push(recsvc_video_encoder *encoder, const recsvc_picture *picture);

/* Hands out up to `capacity` (1 or more) finished packets in order, *count tells how many.
 * RECSVC_EMPTY, and a *count of 0, when there is none. */
int recsvc_video_take(recsvc_video_encoder *encoder, recsvc_packet *packets, size_t capacity,
                      size_t *count);

/* Finishes; nothing can be pushed afterwards. To drain again is harmless. */
int recsvc_video_drain(recsvc_video_encoder *encoder);

/* Change the bit rate, the speed, from the next frame on; ranges as in the settings. */
int recsvc_video_set_bits_per_second(recsvc_video_encoder *encoder, int32_t bits_per_second);
int recsvc_video_set_speed(recsvc_video_encoder *encoder, int32_t speed);

/* Frees *encoder and all its packets and sets it to NULL; NULL and *encoder == NULL are ignored. */
void recsvc_video_close(recsvc_video_encoder **encoder);

/* cffi: end */

#ifdef __cplusplus
}
#endif

#endif
