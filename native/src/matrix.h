/* Y, U and V of another matrix to those of BT.601. */
#ifndef RECSVC_MATRIX_H
#define RECSVC_MATRIX_H

#include "picture.h"

/* Converts a checked I420 or NV12 picture into `target`. `color_space` is what the picture has: any
 * recsvc_color_space but BT.601. */
void matrix_to_bt601(const recsvc_picture *picture, int32_t color_space, const planes *target);

#endif
