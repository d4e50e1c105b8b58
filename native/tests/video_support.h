/* Makes test pictures, encodes them, decodes the packets again. */
#ifndef RECSVC_VIDEO_SUPPORT_H
#define RECSVC_VIDEO_SUPPORT_H

#include <vpx/vpx_decoder.h>

#include "check.h"

typedef struct colour {
    uint8_t red, green, blue;
} colour;

/* A decoder for one codec, fed packet by packet. */
typedef struct video_decoder {
    vpx_codec_ctx_t context;
} video_decoder;

recsvc_video_settings video_settings(int32_t codec, int32_t width, int32_t height);

/* Opens or ends the test. */
recsvc_video_encoder *video_open(const recsvc_video_settings *settings);

/* Pushes one picture and returns the one packet that must come of it, with all that is known of it
 * checked. */
recsvc_packet video_push(recsvc_video_encoder *encoder, const recsvc_picture *picture);

/* A picture of smooth colours that move with `step`, in any pixel format; `data` is freed by the
 * caller. The same scene in every format. */
recsvc_picture video_scene(int32_t format, int32_t width, int32_t height, int step);

/* The standard by which video_scene, video_plain and video_middle turn colours into Y, U and V from now
 * on; a recsvc_color_space, BT.601 at first. */
void video_use_color_space(int32_t color_space);

/* A picture of one colour. */
recsvc_picture video_plain(int32_t format, int32_t width, int32_t height, colour paint);

void video_picture_free(recsvc_picture *picture);

void video_decoder_open(video_decoder *decoder, int32_t codec);

/* The one frame of a packet; valid until the next call. */
const vpx_image_t *video_decode(video_decoder *decoder, const recsvc_packet *packet);

void video_decoder_close(video_decoder *decoder);

/* Signal-to-noise ratio in dB of a decoded frame against an I420 picture of the same scene, over
 * all three planes. */
double video_psnr(const vpx_image_t *image, const recsvc_picture *i420);

/* The colour in the middle of a decoded frame. */
colour video_middle(const vpx_image_t *image);

#endif
