/* Pictures: convert to I420, keep the times, re-create the codec when the frame size changes. */
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "packet_queue.h"
#include "picture.h"
#include "video_codec.h"

/* What rate control may see between two frames. A source that stalled for a minute would give the
 * next frame a minute's bits; two frames in one microsecond would get none. */
enum { INTERVAL_US_MIN = 1000, INTERVAL_US_MAX = 1000000, INTERVAL_US_UNKNOWN = 33333 };

struct recsvc_video_encoder {
    video_codec codec;
    recsvc_video_settings settings; /* width and height are those of the last frame */
    packet_queue queue;
    uint8_t *scratch; /* one I420 frame, for what has to be converted */
    size_t scratch_capacity;
    int64_t last_pts_us;   /* -1 before the first frame */
    int64_t clock_us;      /* the time that libvpx was told */
    int32_t frames_to_key; /* the next frame is a key frame when 0 */
    bool drained;
};

void recsvc_video_default_settings(recsvc_video_settings *settings, int32_t codec)
{
    if (!settings)
        return;
    memset(settings, 0, sizeof *settings);
    settings->codec = codec;
    settings->width = 640;
    settings->height = 480;
    settings->bits_per_second = 2500000;
    settings->speed = video_codec_default_speed(codec);
    settings->threads = 1;
    settings->key_frame_interval_max = 100;
}

static int check_bits_per_second(int32_t bits_per_second)
{
    return recsvc_check_range("bits_per_second", bits_per_second, RECSVC_VIDEO_BITS_PER_SECOND_MIN,
                              RECSVC_VIDEO_BITS_PER_SECOND_MAX);
}

static int check_speed(int32_t codec, int32_t speed)
{
    int32_t highest = video_codec_speed_max(codec);
    return recsvc_check_range("speed", speed, -highest, highest);
}

static int check_settings(const recsvc_video_settings *settings)
{
    int status = recsvc_check_range("codec", settings->codec, RECSVC_VIDEO_VP8, RECSVC_VIDEO_VP9);
    if (status == RECSVC_OK)
        status = recsvc_check_range("color_space", settings->color_space, RECSVC_COLOR_BT601,
                                    RECSVC_COLOR_BT2020);
    if (status == RECSVC_OK)
        status = recsvc_check_range("width", settings->width, 1, RECSVC_FRAME_SIDE_MAX);
    if (status == RECSVC_OK)
        status = recsvc_check_range("height", settings->height, 1, RECSVC_FRAME_SIDE_MAX);
    if (status == RECSVC_OK)
        status = check_bits_per_second(settings->bits_per_second);
    if (status == RECSVC_OK)
        status = check_speed(settings->codec, settings->speed);
    if (status == RECSVC_OK)
        status = recsvc_check_range("threads", settings->threads, 1, RECSVC_VIDEO_THREADS_MAX);
    if (status == RECSVC_OK)
        status = recsvc_check_range("key_frame_interval_max", settings->key_frame_interval_max, 1,
                                    INT32_MAX);
    return status;
}

int recsvc_video_open(recsvc_video_encoder **encoder, const recsvc_video_settings *settings)
{
    if (!encoder)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "encoder is NULL");
    *encoder = NULL;
    if (!settings)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "settings is NULL");
    int status = check_settings(settings);
    if (status != RECSVC_OK)
        return status;
    recsvc_video_encoder *self = calloc(1, sizeof *self);
    if (!self)
        return recsvc_fail(RECSVC_ERROR_MEMORY, "no memory for a video encoder");
    self->settings = *settings;
    self->last_pts_us = -1;
    status = video_codec_open(&self->codec, settings);
    if (status != RECSVC_OK)
        recsvc_video_close(&self);
    *encoder = self;
    return status;
}

/* Always a new codec: libvpx cannot grow beyond its first size. With no lag there is never a frame
 * inside that would be lost. The old one goes last, so that a refusal leaves all as it was. */
static int change_size(recsvc_video_encoder *self, int32_t width, int32_t height)
{
    recsvc_video_settings settings = self->settings;
    settings.width = width;
    settings.height = height;
    video_codec fresh;
    int status = video_codec_open(&fresh, &settings);
    if (status != RECSVC_OK)
        return status;
    fresh.rate = self->codec.rate;
    video_rate_resize(&fresh.rate);
    video_codec_close(&self->codec);
    self->codec = fresh;
    self->settings = settings;
    self->clock_us = 0;
    self->frames_to_key = 0;
    return RECSVC_OK;
}

/* The planes to encode: the caller's own memory for I420, else converted. */
static int prepare(recsvc_video_encoder *self, const recsvc_picture *picture, planes *frame)
{
    int32_t width = picture->width;
    int32_t height = picture->height;
    int32_t given = self->settings.color_space;
    int32_t coded = video_codec_color_space(&self->settings);
    if (picture->data && picture->pixel_format == RECSVC_PIXEL_I420 && given == coded) {
        /* libvpx only reads, but its image has no const. */
        *frame = picture_planes((uint8_t *)(uintptr_t)picture->data, width, height);
        return RECSVC_OK;
    }
    size_t needed = recsvc_frame_bytes(RECSVC_PIXEL_I420, width, height);
    if (needed > self->scratch_capacity) {
        uint8_t *grown = realloc(self->scratch, needed);
        if (!grown)
            return recsvc_fail(RECSVC_ERROR_MEMORY, "no memory for a frame of %zu bytes", needed);
        self->scratch = grown;
        self->scratch_capacity = needed;
    }
    *frame = picture_planes(self->scratch, width, height);
    return picture_convert(picture, given, coded, frame);
}

/* Time since the last frame, for rate control: it is known, while the duration of a live frame is
 * a guess of what comes next. */
static int64_t interval_us(const recsvc_video_encoder *self, const recsvc_picture *picture)
{
    int64_t interval = picture->duration_us ? picture->duration_us : INTERVAL_US_UNKNOWN;
    if (self->last_pts_us >= 0)
        interval = picture->pts_us - self->last_pts_us;
    if (interval < INTERVAL_US_MIN)
        return INTERVAL_US_MIN;
    return interval > INTERVAL_US_MAX ? INTERVAL_US_MAX : interval;
}

static int check_picture(const recsvc_video_encoder *self, const recsvc_picture *picture)
{
    if (!picture)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "picture is NULL");
    int status = picture_check(picture);
    if (status != RECSVC_OK)
        return status;
    if (picture->pts_us < 0 || picture->duration_us < 0)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "pts %lld us, duration %lld us: one is negative",
                           (long long)picture->pts_us, (long long)picture->duration_us);
    if (picture->pts_us <= self->last_pts_us)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "pts %lld us is not after %lld us, the last one",
                           (long long)picture->pts_us, (long long)self->last_pts_us);
    if (self->drained)
        return recsvc_fail(RECSVC_ERROR_STATE, "the video encoder is drained");
    return RECSVC_OK;
}

static int encode(recsvc_video_encoder *self, const recsvc_picture *picture)
{
    planes frame;
    int status = prepare(self, picture, &frame);
    if (status != RECSVC_OK)
        return status;
    int64_t interval = interval_us(self, picture);
    bool force_key = self->frames_to_key == 0 || (picture->flags & RECSVC_PICTURE_FORCE_KEY);
    bool is_key = false;
    recsvc_packet packet = {.pts = picture->pts_us, .duration = picture->duration_us};
    status = video_codec_encode(&self->codec, &frame, self->clock_us, interval, force_key, &packet,
                                &self->queue, &is_key);
    /* Whatever libvpx did with the frame, its clock must not see this time again. */
    self->clock_us += interval;
    if (status != RECSVC_OK)
        return status;
    self->last_pts_us = picture->pts_us;
    self->frames_to_key =
        is_key ? self->settings.key_frame_interval_max - 1 : self->frames_to_key - 1;
    return RECSVC_OK;
}

int recsvc_video_push(recsvc_video_encoder *encoder, const recsvc_picture *picture)
{
    if (!encoder)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "encoder is NULL");
    int status = check_picture(encoder, picture);
    if (status != RECSVC_OK)
        return status;
    packet_queue_discard_taken(&encoder->queue);
    if (picture->width != encoder->settings.width || picture->height != encoder->settings.height)
        status = change_size(encoder, picture->width, picture->height);
    if (status == RECSVC_OK)
        status = encode(encoder, picture);
    /* The frames after a missing one must not refer to it. */
    if (status != RECSVC_OK)
        encoder->frames_to_key = 0;
    return status;
}

int recsvc_video_take(recsvc_video_encoder *encoder, recsvc_packet *packets, size_t capacity,
                      size_t *count)
{
    if (!encoder)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "encoder is NULL");
    return packet_queue_take(&encoder->queue, packets, capacity, count);
}

int recsvc_video_drain(recsvc_video_encoder *encoder)
{
    if (!encoder)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "encoder is NULL");
    /* Each push already gave its packet: there is nothing inside. */
    if (!encoder->drained)
        packet_queue_discard_taken(&encoder->queue);
    encoder->drained = true;
    return RECSVC_OK;
}

int recsvc_video_set_bits_per_second(recsvc_video_encoder *encoder, int32_t bits_per_second)
{
    if (!encoder)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "encoder is NULL");
    int status = check_bits_per_second(bits_per_second);
    if (status == RECSVC_OK)
        video_rate_set(&encoder->codec.rate, bits_per_second);
    if (status == RECSVC_OK)
        encoder->settings.bits_per_second = bits_per_second;
    return status;
}

int recsvc_video_set_speed(recsvc_video_encoder *encoder, int32_t speed)
{
    if (!encoder)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "encoder is NULL");
    int status = check_speed(encoder->settings.codec, speed);
    if (status == RECSVC_OK)
        status = video_codec_set_speed(&encoder->codec, speed);
    if (status == RECSVC_OK)
        encoder->settings.speed = speed;
    return status;
}

void recsvc_video_close(recsvc_video_encoder **encoder)
{
    if (!encoder || !*encoder)
        return;
    recsvc_video_encoder *self = *encoder;
    *encoder = NULL;
    video_codec_close(&self->codec);
    packet_queue_free(&self->queue);
    free(self->scratch);
    free(self);
}
