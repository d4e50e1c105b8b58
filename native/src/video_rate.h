/* How many bits a frame may have: an account of what was spent against what was allowed. Knows
 * nothing of libvpx, which is told before each frame and asked after it. */
#ifndef RECSVC_VIDEO_RATE_H
#define RECSVC_VIDEO_RATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Quantizers on libvpx's scale of 0 to 63; at the very ends they cost bits or beauty for nothing.*/
enum { VIDEO_QUANTIZER_MIN = 2, VIDEO_QUANTIZER_MAX = 58 };

typedef struct video_rate {
    double bits_per_second;
    double debt_s;          /* spent too much, in seconds of the target; negative: saved */
    double gain;            /* what libvpx must be asked for to spend the target, learnt */
    double pressure;        /* what a debt that stays adds to it */
    double quantizer_min;   /* higher than the fixed one after a frame that took too much */
    double quantizer_max;   /* lower than the fixed one while bits are left over */
    double quantizer;       /* of late, between key frames */
    int frames_between;     /* since the last key frame */
    double since_key_s;     /* the same in time, with the key frame's own */
    double key_interval_s;  /* of late; 0: not known */
    double key_s;           /* size of the last key frame, in seconds of the target */
    double key_quantizer;   /* and what it was made with; below 0: there was none */
} video_rate;

/* What libvpx is told before a frame. */
typedef struct video_rate_plan {
    double bits_per_second;
    int quantizer_min, quantizer_max;
} video_rate_plan;

void video_rate_begin(video_rate *rate, int32_t bits_per_second);

/* From here on another target; what is owed stays owed. */
void video_rate_set(video_rate *rate, int32_t bits_per_second);

/* Frames of another size follow: what was owed stays, what was learnt of the pictures goes. */
void video_rate_resize(video_rate *rate);

video_rate_plan video_rate_next(const video_rate *rate, bool is_key);

/* A frame was made; `interval_us` is the time that it stands for. */
void video_rate_spent(video_rate *rate, size_t byte_count, int64_t interval_us, bool is_key,
                      int quantizer);

#endif
