#include "video_codec.h"

#include <string.h>
#include <vpx/vp8cx.h>

#include "error.h"

/* libvpx counts its bit rate in thousands. */
enum { BITS_PER_KILOBIT = 1000, MICROSECONDS_PER_SECOND = 1000000 };

/* A usual frame's length, and the middle of what a sample can be. */
enum { FRAME_US = 33333, GREY = 128 };

/* Measured on moving, noisy pictures, one thread, 640x480 at 1 Mbit/s and 1280x720 at 2.5 Mbit/s:
 * VP8 at -6 takes half the time of -4 for 0.1 dB, at -10 some tenth less for 0.3 dB more, at -16
 * blocks show (-5 dB). Positive VP8 speeds adapt to the clock: the same frames would give other
 * packets on a busy machine. VP9 at 8 is the fastest that keeps the quality of 5 (0.1 dB), with
 * half the worst case of 7; at 9 it loses 0.2 dB more. */
enum { VP8_SPEED_DEFAULT = -6, VP9_SPEED_DEFAULT = 8, VP8_SPEED_MAX = 16, VP9_SPEED_MAX = 9 };

int32_t video_codec_default_speed(int32_t codec)
{
    return codec == RECSVC_VIDEO_VP9 ? VP9_SPEED_DEFAULT : VP8_SPEED_DEFAULT;
}

int32_t video_codec_speed_max(int32_t codec)
{
    return codec == RECSVC_VIDEO_VP9 ? VP9_SPEED_MAX : VP8_SPEED_MAX;
}

/* RFC 6386 section 9.2 knows no other for VP8, and FFmpeg and Firefox take it for that whatever the
 * container says. */
int32_t video_codec_color_space(const recsvc_video_settings *settings)
{
    return settings->codec == RECSVC_VIDEO_VP9 ? settings->color_space : RECSVC_COLOR_BT601;
}

static int vpx_failure(video_codec *codec, const char *what, vpx_codec_err_t error)
{
    int status = error == VPX_CODEC_MEM_ERROR ? RECSVC_ERROR_MEMORY : RECSVC_ERROR_CODEC;
    const char *detail = codec->context.iface ? vpx_codec_error_detail(&codec->context) : NULL;
    return recsvc_fail(status, "libvpx, %s, %u x %u: %s%s%s", what, codec->config.g_w,
                       codec->config.g_h, vpx_codec_err_to_string(error), detail ? ": " : "",
                       detail ? detail : "");
}

/* How large a first key frame may be, in percent of the average frame, as libvpx counts it; about
 * 45 of them in fact. Still pictures live on it: with 10 of them they stay some dB duller. */
enum { VP8_FIRST_FRAME_PERCENT = 2500, VP9_FIRST_FRAME_PERCENT = 1500 };

/* libvpx is to make no key frames of its own, and to match none to those that it expects. */
enum { KEY_FRAME_NEVER = 1000000 };

static unsigned to_kilobits(double bits_per_second)
{
    double kilobits = bits_per_second / BITS_PER_KILOBIT + 0.5;
    return kilobits < 1 ? 1 : (unsigned)kilobits;
}

static void configure(vpx_codec_enc_cfg_t *config, const recsvc_video_settings *settings)
{
    config->g_timebase.num = 1;
    config->g_timebase.den = MICROSECONDS_PER_SECOND;
    config->g_threads = (unsigned)settings->threads;
    config->g_pass = VPX_RC_ONE_PASS;
    config->g_error_resilient = 0; /* a file loses no packets */
    /* One packet for each frame, at once, and none withheld: a stop waits for one frame only, and
     * dropping is decided and counted by the caller. */
    config->g_lag_in_frames = 0;
    config->rc_dropframe_thresh = 0;
    config->rc_resize_allowed = 0;
    /* The target of each frame is ours, see video_rate.c: libvpx is not to correct it. */
    config->rc_end_usage = VPX_VBR;
    config->rc_target_bitrate = to_kilobits(settings->bits_per_second);
    config->rc_min_quantizer = VIDEO_QUANTIZER_MIN;
    config->rc_max_quantizer = VIDEO_QUANTIZER_MAX;
    config->rc_undershoot_pct = 0;
    config->rc_overshoot_pct = 0;
    config->rc_buf_initial_sz = 500;
    config->rc_buf_optimal_sz = 600;
    config->rc_buf_sz = 1000;
    /* No detection of scene cuts: the pattern of key frames is what was asked for. VP9 in its variable
     * mode makes one all the same where everything changes. */
    config->kf_mode = VPX_KF_DISABLED;
    config->kf_min_dist = 0;
    config->kf_max_dist = KEY_FRAME_NEVER;
}

/* Tiles are at least 256 columns wide; more of them let more threads work on a frame. */
static int tile_columns_log2(int32_t width, int32_t threads)
{
    int columns_log2 = 0;
    while (columns_log2 < 6 && (256 << (columns_log2 + 1)) <= width &&
           (1 << columns_log2) < threads)
        columns_log2++;
    return columns_log2;
}

static vpx_codec_err_t control_common(vpx_codec_ctx_t *context,
                                      const recsvc_video_settings *settings)
{
    vpx_codec_err_t error = vpx_codec_control(context, VP8E_SET_CPUUSED, settings->speed);
    if (error == VPX_CODEC_OK)
        error = vpx_codec_control(context, VP8E_SET_STATIC_THRESHOLD, 1u);
    if (error == VPX_CODEC_OK)
        error = vpx_codec_control(context, VP8E_SET_MAX_INTRA_BITRATE_PCT,
                                  settings->codec == RECSVC_VIDEO_VP9
                                      ? (unsigned)VP9_FIRST_FRAME_PERCENT
                                      : (unsigned)VP8_FIRST_FRAME_PERCENT);
    /* An alternative reference frame would be a packet that shows nothing. */
    if (error == VPX_CODEC_OK)
        error = vpx_codec_control(context, VP8E_SET_ENABLEAUTOALTREF, 0u);
    return error;
}

static vpx_codec_err_t control_vp8(vpx_codec_ctx_t *context, const recsvc_video_settings *settings)
{
    int partitions_log2 = VP8_ONE_TOKENPARTITION;
    while (partitions_log2 < VP8_EIGHT_TOKENPARTITION && (1 << partitions_log2) < settings->threads)
        partitions_log2++;
    return vpx_codec_control(context, VP8E_SET_TOKEN_PARTITIONS, partitions_log2);
}

/* SMPTE 170M has the matrix of BT.601, and is what Matroska calls it too. */
static vpx_color_space_t vp9_color_space(int32_t color_space)
{
    switch (color_space) {
    case RECSVC_COLOR_BT709:
        return VPX_CS_BT_709;
    case RECSVC_COLOR_BT2020:
        return VPX_CS_BT_2020;
    default:
        return VPX_CS_SMPTE_170;
    }
}

static vpx_codec_err_t control_vp9(vpx_codec_ctx_t *context, const recsvc_video_settings *settings)
{
    int columns_log2 = tile_columns_log2(settings->width, settings->threads);
    vpx_codec_err_t error = vpx_codec_control(context, VP9E_SET_TILE_COLUMNS, columns_log2);
    if (error == VPX_CODEC_OK)
        error = vpx_codec_control(context, VP9E_SET_ROW_MT, settings->threads > 1 ? 1u : 0u);
    if (error == VPX_CODEC_OK)
        error = vpx_codec_control(context, VP9E_SET_FRAME_PARALLEL_DECODING, 0u);
    if (error == VPX_CODEC_OK)
        error = vpx_codec_control(context, VP9E_SET_COLOR_SPACE,
                                  (int)vp9_color_space(settings->color_space));
    if (error == VPX_CODEC_OK)
        error = vpx_codec_control(context, VP9E_SET_COLOR_RANGE, (int)VPX_CR_STUDIO_RANGE);
    return error;
}

static vpx_codec_err_t control(vpx_codec_ctx_t *context, const recsvc_video_settings *settings)
{
    vpx_codec_err_t error = control_common(context, settings);
    if (error != VPX_CODEC_OK)
        return error;
    return settings->codec == RECSVC_VIDEO_VP9 ? control_vp9(context, settings)
                                               : control_vp8(context, settings);
}

/* libvpx codes whole blocks, and reckons the memory for a packet by the pixels alone: of thin pictures
 * VP9 writes beyond its end, and VP8 notices and fails. So both are opened for whole blocks, and told
 * the true size afterwards: memory does not shrink again. */
enum { VP8_BLOCK_SIDE = 16, VP9_BLOCK_SIDE = 8 };

static unsigned room_for(int32_t side, bool is_vp9)
{
    int32_t least = is_vp9 ? VP9_BLOCK_SIDE : VP8_BLOCK_SIDE;
    return (unsigned)(side < least ? least : side);
}

/* VP9 makes room only when a picture comes, so one does, and nobody gets it. The next must be a key
 * frame, which the first one always is, and be later. */
static vpx_codec_err_t push_nothing(video_codec *codec)
{
    vpx_image_t *image = vpx_img_alloc(NULL, VPX_IMG_FMT_I420, codec->config.g_w,
                                       codec->config.g_h, 1);
    if (!image)
        return VPX_CODEC_MEM_ERROR;
    memset(image->img_data, GREY, (size_t)image->stride[0] * image->h * 3 / 2);
    vpx_codec_err_t error =
        vpx_codec_encode(&codec->context, image, 0, FRAME_US, 0, VPX_DL_REALTIME);
    vpx_img_free(image);
    codec->clock_from_us = FRAME_US;
    return error;
}

static vpx_codec_err_t make_room(video_codec *codec, const recsvc_video_settings *settings)
{
    if (codec->config.g_w == (unsigned)settings->width &&
        codec->config.g_h == (unsigned)settings->height)
        return VPX_CODEC_OK;
    vpx_codec_err_t error = VPX_CODEC_OK;
    if (settings->codec == RECSVC_VIDEO_VP9)
        error = push_nothing(codec);
    if (error != VPX_CODEC_OK)
        return error;
    codec->config.g_w = (unsigned)settings->width;
    codec->config.g_h = (unsigned)settings->height;
    return vpx_codec_enc_config_set(&codec->context, &codec->config);
}

/* With several threads VP9 reckons the memory for the packet of each tile by the pixels too, and what
 * is no whole block of the picture is a large part of a flat one: it writes beyond its end. From this
 * side on there are two bytes for each sample, which no tile fills; threads share rows of as many. */
enum { THREADED_SIDE_MIN = 64 };

static recsvc_video_settings with_useful_threads(const recsvc_video_settings *settings)
{
    recsvc_video_settings useful = *settings;
    if (useful.width < THREADED_SIDE_MIN || useful.height < THREADED_SIDE_MIN)
        useful.threads = 1;
    return useful;
}

int video_codec_open(video_codec *codec, const recsvc_video_settings *given)
{
    recsvc_video_settings useful = with_useful_threads(given);
    const recsvc_video_settings *settings = &useful;
    memset(codec, 0, sizeof *codec);
    bool is_vp9 = settings->codec == RECSVC_VIDEO_VP9;
    vpx_codec_iface_t *interface = is_vp9 ? vpx_codec_vp9_cx() : vpx_codec_vp8_cx();
    vpx_codec_err_t error = vpx_codec_enc_config_default(interface, &codec->config, 0);
    if (error != VPX_CODEC_OK)
        return vpx_failure(codec, "defaults", error);
    configure(&codec->config, settings);
    video_rate_begin(&codec->rate, settings->bits_per_second);
    codec->config.g_w = room_for(settings->width, is_vp9);
    codec->config.g_h = room_for(settings->height, is_vp9);
    error = vpx_codec_enc_init(&codec->context, interface, &codec->config, 0);
    if (error != VPX_CODEC_OK)
        return vpx_failure(codec, "open", error);
    codec->is_open = true;
    error = control(&codec->context, settings);
    if (error == VPX_CODEC_OK)
        error = make_room(codec, settings);
    if (error == VPX_CODEC_OK)
        return RECSVC_OK;
    int status = vpx_failure(codec, "settings", error);
    video_codec_close(codec);
    return status;
}

int video_codec_set_speed(video_codec *codec, int32_t speed)
{
    vpx_codec_err_t error = vpx_codec_control(&codec->context, VP8E_SET_CPUUSED, speed);
    return error == VPX_CODEC_OK ? RECSVC_OK : vpx_failure(codec, "speed", error);
}

/* Not vpx_img_wrap: it rounds odd widths up, and our rows are tightly packed. */
static void describe(vpx_image_t *image, const planes *frame, const vpx_codec_enc_cfg_t *config)
{
    memset(image, 0, sizeof *image);
    image->fmt = VPX_IMG_FMT_I420;
    image->cs = VPX_CS_BT_601;
    image->range = VPX_CR_STUDIO_RANGE;
    image->w = image->d_w = config->g_w;
    image->h = image->d_h = config->g_h;
    image->bit_depth = 8;
    image->bps = 12;
    image->x_chroma_shift = 1;
    image->y_chroma_shift = 1;
    for (int plane = 0; plane < 3; plane++) {
        image->planes[plane] = frame->data[plane];
        image->stride[plane] = frame->stride[plane];
    }
}

static int collect(video_codec *codec, const recsvc_packet *template, packet_queue *queue,
                   bool *is_key, size_t *byte_count)
{
    vpx_codec_iter_t iterator = NULL;
    const vpx_codec_cx_pkt_t *made = NULL;
    int packet_count = 0;
    while ((made = vpx_codec_get_cx_data(&codec->context, &iterator)) != NULL) {
        if (made->kind != VPX_CODEC_CX_FRAME_PKT || made->data.frame.sz == 0)
            continue;
        size_t size = made->data.frame.sz;
        uint8_t *bytes = packet_queue_reserve(queue, size);
        if (!bytes)
            return recsvc_fail(RECSVC_ERROR_MEMORY, "no memory for a packet of %zu bytes", size);
        memcpy(bytes, made->data.frame.buf, size);
        recsvc_packet packet = *template;
        packet.size = size;
        *byte_count = size;
        *is_key = (made->data.frame.flags & VPX_FRAME_IS_KEY) != 0;
        packet.flags = *is_key ? RECSVC_PACKET_KEY : 0;
        packet_queue_commit(queue, &packet);
        packet_count++;
    }
    if (packet_count != 1)
        return recsvc_fail(RECSVC_ERROR_CODEC, "libvpx made %d packets of one frame", packet_count);
    return RECSVC_OK;
}

/* Tells libvpx what the next frame may be. */
static vpx_codec_err_t allot(video_codec *codec, bool is_key)
{
    video_rate_plan plan = video_rate_next(&codec->rate, is_key);
    vpx_codec_enc_cfg_t *config = &codec->config;
    unsigned kilobits = to_kilobits(plan.bits_per_second);
    unsigned least = (unsigned)plan.quantizer_min, most = (unsigned)plan.quantizer_max;
    if (config->rc_target_bitrate == kilobits && config->rc_min_quantizer == least &&
        config->rc_max_quantizer == most)
        return VPX_CODEC_OK;
    config->rc_target_bitrate = kilobits;
    config->rc_min_quantizer = least;
    config->rc_max_quantizer = most;
    return vpx_codec_enc_config_set(&codec->context, config);
}

int video_codec_encode(video_codec *codec, const planes *frame, int64_t clock_us,
                       int64_t interval_us, bool force_key, const recsvc_packet *packet,
                       packet_queue *queue, bool *is_key)
{
    vpx_image_t image;
    describe(&image, frame, &codec->config);
    vpx_enc_frame_flags_t flags = force_key ? VPX_EFLAG_FORCE_KF : 0;
    vpx_codec_err_t error = allot(codec, force_key);
    if (error == VPX_CODEC_OK)
        error = vpx_codec_encode(&codec->context, &image, codec->clock_from_us + clock_us,
                                 (unsigned long)interval_us, flags, VPX_DL_REALTIME);
    if (error != VPX_CODEC_OK)
        return vpx_failure(codec, "encode", error);
    size_t byte_count = 0;
    int status = collect(codec, packet, queue, is_key, &byte_count);
    int quantizer = 0;
    if (status == RECSVC_OK &&
        vpx_codec_control(&codec->context, VP8E_GET_LAST_QUANTIZER_64, &quantizer) == VPX_CODEC_OK)
        video_rate_spent(&codec->rate, byte_count, interval_us, *is_key, quantizer);
    return status;
}

void video_codec_close(video_codec *codec)
{
    if (codec->is_open)
        (void)vpx_codec_destroy(&codec->context);
    codec->is_open = false;
}
