/* Raw frames: their sizes, and how they become the I420 planes that the codecs take. */
#ifndef RECSVC_PICTURE_H
#define RECSVC_PICTURE_H

#include <stddef.h>
#include <stdint.h>

#include "recsvc.h"

typedef struct planes {
    uint8_t *data[3];
    int stride[3];
} planes;

/* RECSVC_OK when format, size and byte count of `picture` agree; the text is set. */
int picture_check(const recsvc_picture *picture);

/* The planes of a tightly packed I420 frame at `data`. */
planes picture_planes(uint8_t *data, int32_t width, int32_t height);

/* Converts a checked picture into `target`; picture->data NULL gives black. `given` is the
 * recsvc_color_space that I420 and NV12 have; `wanted`, the target's, is the same or BT.601. A
 * recsvc_status. */
int picture_convert(const recsvc_picture *picture, int32_t given, int32_t wanted,
                    const planes *target);

#endif
