/* All of libvpx: one codec of one frame size. */
#ifndef RECSVC_VIDEO_CODEC_H
#define RECSVC_VIDEO_CODEC_H

#include <stdbool.h>
#include <vpx/vpx_encoder.h>

#include "packet_queue.h"
#include "picture.h"
#include "recsvc.h"
#include "video_rate.h"

typedef struct video_codec {
    vpx_codec_ctx_t context;
    vpx_codec_enc_cfg_t config;
    video_rate rate;
    int64_t clock_from_us; /* what is added to the caller's clock: see make_room */
    bool is_open;
} video_codec;

/* The speed used when nothing is asked for, and the range. */
int32_t video_codec_default_speed(int32_t codec);
int32_t video_codec_speed_max(int32_t codec);

/* The recsvc_color_space of what the codec is given. */
int32_t video_codec_color_space(const recsvc_video_settings *settings);

/* Opens libvpx for checked settings. On failure `codec` is closed; a recsvc_status. */
int video_codec_open(video_codec *codec, const recsvc_video_settings *settings);

int video_codec_set_speed(video_codec *codec, int32_t speed);

/* Encodes one frame and adds exactly one packet to `queue`, or fails. `clock_us` and `interval_us`
 * are what rate control sees; pts and duration of the packet are taken from `packet`. */
int video_codec_encode(video_codec *codec, const planes *frame, int64_t clock_us,
                       int64_t interval_us, bool force_key, const recsvc_packet *packet,
                       packet_queue *queue, bool *is_key);

void video_codec_close(video_codec *codec);

#endif
