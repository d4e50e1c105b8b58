/* RGB to I420 by the matrices that libyuv does not have. */
#ifndef RECSVC_RGB_H
#define RECSVC_RGB_H

#include "picture.h"

/* Converts a checked picture of an RGB format into `target`, limited range. `color_space` is any
 * recsvc_color_space but BT.601. */
void rgb_convert(const recsvc_picture *picture, int32_t color_space, const planes *target);

#endif
