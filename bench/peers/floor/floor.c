/* The least that a recording can cost: libvpx and libopus with the settings of recsvc's core, and nothing else.
 *
 * Pictures and sound come from mapped raw files when they are due (or at once), are encoded in one thread, and the
 * bytes are counted. The figures go to standard output as one line of JSON; peers/floor_peer.py starts it. */
#include <errno.h>
#include <fcntl.h>
#include <opus.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <vpx/vp8cx.h>
#include <vpx/vpx_encoder.h>

enum {
    FRAME_RATE = 30,
    KEY_FRAME_DISTANCE = 100,
    SAMPLE_RATE = 48000,
    CHANNELS = 2,
    BLOCK_SAMPLES = 480,
    BLOCK_RATE = SAMPLE_RATE / BLOCK_SAMPLES,
    PACKET_SAMPLES = 960,
    PACKET_BYTES_MAX = 1276,
    AUDIO_BITS_PER_SECOND = 128000
};

static vpx_codec_ctx_t video;
static vpx_image_t image;
static OpusEncoder *audio;
static int look_ahead;
static int16_t packet[PACKET_SAMPLES * CHANNELS];
static int fill;
static long samples_pushed, audio_packets, video_packets, bytes_made;

static void fail(const char *what)
{
    fprintf(stderr, "floor: %s failed: %s\n", what, strerror(errno));
    exit(1);
}

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void sleep_until(double at_s)
{
    struct timespec at = {.tv_sec = (time_t)at_s};
    at.tv_nsec = (long)((at_s - (double)at.tv_sec) * 1e9);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

static const uint8_t *map(const char *path, size_t *size)
{
    struct stat status;
    int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &status) != 0)
        fail(path);
    *size = (size_t)status.st_size;
    void *bytes = mmap(NULL, *size, PROT_READ, MAP_SHARED | MAP_POPULATE, file, 0);
    if (bytes == MAP_FAILED)
        fail(path);
    close(file);
    return bytes;
}

/* As native/src/video_codec.c does it for one thread. */
static void open_video(unsigned width, unsigned height, unsigned bits_per_second)
{
    vpx_codec_enc_cfg_t config;
    if (vpx_codec_enc_config_default(vpx_codec_vp8_cx(), &config, 0) != VPX_CODEC_OK)
        fail("libvpx, defaults");
    config.g_w = width;
    config.g_h = height;
    config.g_timebase.num = 1;
    config.g_timebase.den = 1000000;
    config.g_threads = 1;
    config.g_pass = VPX_RC_ONE_PASS;
    config.g_error_resilient = 0;
    config.g_lag_in_frames = 0;
    config.rc_dropframe_thresh = 0;
    config.rc_resize_allowed = 0;
    config.rc_end_usage = VPX_VBR;
    config.rc_target_bitrate = bits_per_second / 1000;
    config.rc_min_quantizer = 2;
    config.rc_max_quantizer = 58;
    config.rc_undershoot_pct = 100;
    config.rc_overshoot_pct = 15;
    config.rc_buf_initial_sz = 500;
    config.rc_buf_optimal_sz = 600;
    config.rc_buf_sz = 1000;
    config.kf_mode = VPX_KF_DISABLED;
    config.kf_min_dist = 0;
    config.kf_max_dist = 30000;
    if (vpx_codec_enc_init(&video, vpx_codec_vp8_cx(), &config, 0) != VPX_CODEC_OK ||
        vpx_codec_control(&video, VP8E_SET_CPUUSED, -6) != VPX_CODEC_OK ||
        vpx_codec_control(&video, VP8E_SET_STATIC_THRESHOLD, 1u) != VPX_CODEC_OK ||
        vpx_codec_control(&video, VP8E_SET_ENABLEAUTOALTREF, 0u) != VPX_CODEC_OK ||
        vpx_codec_control(&video, VP8E_SET_TOKEN_PARTITIONS, VP8_ONE_TOKENPARTITION) != VPX_CODEC_OK)
        fail("libvpx, open");
}

static void encode_picture(const uint8_t *picture, unsigned width, unsigned height, long number)
{
    if (!vpx_img_wrap(&image, VPX_IMG_FMT_I420, width, height, 1, (uint8_t *)(uintptr_t)picture))
        fail("libvpx, picture");
    int64_t begin_us = number * 1000000 / FRAME_RATE;
    int64_t end_us = (number + 1) * 1000000 / FRAME_RATE;
    vpx_enc_frame_flags_t flags = number % KEY_FRAME_DISTANCE == 0 ? VPX_EFLAG_FORCE_KF : 0;
    if (vpx_codec_encode(&video, &image, begin_us, (unsigned long)(end_us - begin_us), flags,
                         VPX_DL_REALTIME) != VPX_CODEC_OK)
        fail("libvpx, encode");
    vpx_codec_iter_t iterator = NULL;
    for (const vpx_codec_cx_pkt_t *made; (made = vpx_codec_get_cx_data(&video, &iterator));)
        if (made->kind == VPX_CODEC_CX_FRAME_PKT && made->data.frame.sz > 0) {
            bytes_made += (long)made->data.frame.sz;
            video_packets++;
        }
}

static void open_audio(void)
{
    int error;
    audio = opus_encoder_create(SAMPLE_RATE, CHANNELS, OPUS_APPLICATION_AUDIO, &error);
    if (!audio || opus_encoder_ctl(audio, OPUS_SET_BITRATE(AUDIO_BITS_PER_SECOND)) != OPUS_OK ||
        opus_encoder_ctl(audio, OPUS_SET_VBR(1)) != OPUS_OK ||
        opus_encoder_ctl(audio, OPUS_SET_COMPLEXITY(9)) != OPUS_OK ||
        opus_encoder_ctl(audio, OPUS_GET_LOOKAHEAD(&look_ahead)) != OPUS_OK)
        fail("libopus, open");
}

static void encode_packet(void)
{
    uint8_t made[PACKET_BYTES_MAX];
    int size = opus_encode(audio, packet, PACKET_SAMPLES, made, sizeof made);
    if (size <= 0)
        fail("libopus, encode");
    bytes_made += size;
    audio_packets++;
    fill = 0;
}

static void encode_block(const uint8_t *block)
{
    memcpy(packet + fill * CHANNELS, block, BLOCK_SAMPLES * CHANNELS * sizeof *packet);
    fill += BLOCK_SAMPLES;
    samples_pushed += BLOCK_SAMPLES;
    if (fill == PACKET_SAMPLES)
        encode_packet();
}

/* The last sample leaves the encoder by its look-ahead later. */
static void finish_audio(void)
{
    while (audio_packets * PACKET_SAMPLES < samples_pushed + look_ahead) {
        memset(packet + fill * CHANNELS, 0,
               (size_t)(PACKET_SAMPLES - fill) * CHANNELS * sizeof *packet);
        encode_packet();
    }
}

int main(int count, char **words)
{
    if (count != 9) {
        fprintf(stderr, "usage: floor WIDTH HEIGHT BITS_PER_SECOND PICTURES SOUND STOP_S REAL_TIME MEASURE_S\n");
        return 2;
    }
    unsigned width = (unsigned)atoi(words[1]);
    unsigned height = (unsigned)atoi(words[2]);
    double stop_s = atof(words[6]);
    bool is_real_time = atoi(words[7]) != 0;
    double measure_s = is_real_time ? atof(words[8]) : 0.0;
    size_t picture_bytes = (size_t)width * height * 3 / 2;
    size_t pictures_size = 0, sound_size = 0;
    const uint8_t *pictures = width ? map(words[4], &pictures_size) : NULL;
    const uint8_t *sound = map(words[5], &sound_size);
    size_t block_bytes = BLOCK_SAMPLES * CHANNELS * sizeof *packet;
    if (width)
        open_video(width, height, (unsigned)atoi(words[3]));
    open_audio();

    double begin_s = seconds(CLOCK_MONOTONIC) + (is_real_time ? 0.02 : 0.0);
    double cpu_begin_s = seconds(CLOCK_PROCESS_CPUTIME_ID);
    double media_begin_s = 0.0;
    bool measures = !is_real_time;
    long picture = 0, block = 0;
    for (;;) {
        double picture_s = width ? (double)picture / FRAME_RATE : 1e9;
        double block_s = (double)(block + 1) / BLOCK_RATE;
        double due_s = picture_s <= block_s ? picture_s : block_s;
        if (due_s > stop_s)
            break;
        if (!measures && due_s >= measure_s) {
            measures = true;
            cpu_begin_s = seconds(CLOCK_PROCESS_CPUTIME_ID);
            media_begin_s = due_s;
        }
        if (is_real_time)
            sleep_until(begin_s + due_s);
        if (picture_s <= block_s) {
            size_t index = (size_t)picture % (pictures_size / picture_bytes);
            encode_picture(pictures + index * picture_bytes, width, height, picture);
            picture++;
        } else {
            encode_block(sound + (size_t)block % (sound_size / block_bytes) * block_bytes);
            block++;
        }
    }
    double due_s = is_real_time ? begin_s + stop_s : seconds(CLOCK_MONOTONIC);
    if (is_real_time)
        sleep_until(due_s);
    double called_s = seconds(CLOCK_MONOTONIC);
    finish_audio();
    double end_s = seconds(CLOCK_MONOTONIC);
    printf("{\"stop_ms\": %.6f, \"late_ms\": %.6f, \"wall_s\": %.6f, \"cpu_s\": %.6f, \"cpu_media_s\": %.6f, "
           "\"pictures\": %ld, \"samples\": %ld, \"encoded\": %ld}\n",
           (end_s - due_s) * 1e3, (called_s - due_s) * 1e3, end_s - begin_s,
           seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_begin_s, stop_s - media_begin_s, picture, samples_pushed,
           video_packets);
    fprintf(stderr, "floor: %ld bytes\n", bytes_made);
    return 0;
}
