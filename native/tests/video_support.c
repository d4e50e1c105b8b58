#include "video_support.h"

#include <math.h>
#include <vpx/vp8dx.h>

recsvc_video_settings video_settings(int32_t codec, int32_t width, int32_t height)
{
    recsvc_video_settings settings;
    recsvc_video_default_settings(&settings, codec);
    settings.width = width;
    settings.height = height;
    return settings;
}

recsvc_video_encoder *video_open(const recsvc_video_settings *settings)
{
    recsvc_video_encoder *encoder = NULL;
    CHECK_OK(recsvc_video_open(&encoder, settings));
    CHECK(encoder != NULL);
    return encoder;
}

recsvc_packet video_push(recsvc_video_encoder *encoder, const recsvc_picture *picture)
{
    recsvc_packet packets[2];
    size_t count = 0;
    CHECK_OK(recsvc_video_push(encoder, picture));
    CHECK_OK(recsvc_video_take(encoder, packets, 2, &count));
    CHECK_INT(count, 1);
    CHECK_INT(packets[0].pts, picture->pts_us);
    CHECK_INT(packets[0].duration, picture->duration_us);
    CHECK_INT(packets[0].padding_samples, 0);
    CHECK(packets[0].size > 0);
    return packets[0];
}

static uint8_t to_byte(double value)
{
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : lrint(value));
}

/* Parts of red and blue in luma: written down again here, from the standards and not from the core. */
static const double PART_OF_RED[] = {0.299, 0.2126, 0.2627};
static const double PART_OF_BLUE[] = {0.114, 0.0722, 0.0593};
static int32_t space = RECSVC_COLOR_BT601;

void video_use_color_space(int32_t color_space)
{
    space = color_space;
}

static double brightness(colour c)
{
    double red = PART_OF_RED[space], blue = PART_OF_BLUE[space];
    return red * c.red + (1 - red - blue) * c.green + blue * c.blue;
}

static uint8_t luma(colour c)
{
    return to_byte(16 + 219 * brightness(c) / 255);
}

static uint8_t chroma_blue(colour c)
{
    return to_byte(128 + 112 * (c.blue - brightness(c)) / (1 - PART_OF_BLUE[space]) / 255);
}

static uint8_t chroma_red(colour c)
{
    return to_byte(128 + 112 * (c.red - brightness(c)) / (1 - PART_OF_RED[space]) / 255);
}

typedef colour (*painter)(const void *context, int x, int y);

static recsvc_picture paint(int32_t format, int32_t width, int32_t height, painter colour_at,
                            const void *context)
{
    size_t byte_count = recsvc_frame_bytes(format, width, height);
    CHECK(byte_count > 0);
    uint8_t *data = malloc(byte_count);
    CHECK(data != NULL);
    size_t columns = (size_t)width;
    size_t chroma_columns = (columns + 1) / 2;
    uint8_t *chroma = data + columns * (size_t)height;
    uint8_t *second = chroma + chroma_columns * (((size_t)height + 1) / 2);
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            colour c = colour_at(context, x, y);
            size_t at = (size_t)y * columns + (size_t)x;
            size_t half = (size_t)(y / 2) * chroma_columns + (size_t)(x / 2);
            const uint8_t rgb[3] = {c.red, c.green, c.blue};
            int is_blue_first = format == RECSVC_PIXEL_BGR24 || format == RECSVC_PIXEL_BGRA;
            if (format == RECSVC_PIXEL_I420 || format == RECSVC_PIXEL_NV12) {
                data[at] = luma(c);
                chroma[format == RECSVC_PIXEL_NV12 ? 2 * half : half] = chroma_blue(c);
                if (format == RECSVC_PIXEL_NV12)
                    chroma[2 * half + 1] = chroma_red(c);
                else
                    second[half] = chroma_red(c);
            } else {
                size_t step = format == RECSVC_PIXEL_RGB24 || format == RECSVC_PIXEL_BGR24 ? 3 : 4;
                for (size_t i = 0; i < 3; i++)
                    data[at * step + i] = rgb[is_blue_first ? 2 - i : i];
                if (step == 4)
                    data[at * step + 3] = (uint8_t)(x * 7); /* alpha: must not matter */
            }
        }
    }
    return (recsvc_picture){.data = data,
                            .byte_count = byte_count,
                            .pixel_format = format,
                            .width = width,
                            .height = height,
                            .duration_us = 33333};
}

static colour scene_colour(const void *context, int x, int y)
{
    int step = *(const int *)context;
    /* Blocks of two by two have one colour, so that halving the chroma loses nothing. */
    double u = (double)(x / 2 * 2 + 4 * step) / 40;
    double v = (double)(y / 2 * 2) / 30;
    return (colour){to_byte(128 + 90 * sin(u)), to_byte(128 + 90 * cos(v)),
                    to_byte(128 + 90 * sin(u + v))};
}

static colour plain_colour(const void *context, int x, int y)
{
    (void)x;
    (void)y;
    return *(const colour *)context;
}

recsvc_picture video_scene(int32_t format, int32_t width, int32_t height, int step)
{
    return paint(format, width, height, scene_colour, &step);
}

recsvc_picture video_plain(int32_t format, int32_t width, int32_t height, colour paint_with)
{
    return paint(format, width, height, plain_colour, &paint_with);
}

void video_picture_free(recsvc_picture *picture)
{
    free((void *)(uintptr_t)picture->data);
    picture->data = NULL;
}

void video_decoder_open(video_decoder *decoder, int32_t codec)
{
    vpx_codec_iface_t *interface =
        codec == RECSVC_VIDEO_VP9 ? vpx_codec_vp9_dx() : vpx_codec_vp8_dx();
    CHECK_INT(vpx_codec_dec_init(&decoder->context, interface, NULL, 0), VPX_CODEC_OK);
}

const vpx_image_t *video_decode(video_decoder *decoder, const recsvc_packet *packet)
{
    CHECK_INT(vpx_codec_decode(&decoder->context, packet->data, (unsigned)packet->size, NULL, 0),
              VPX_CODEC_OK);
    vpx_codec_iter_t iterator = NULL;
    const vpx_image_t *image = vpx_codec_get_frame(&decoder->context, &iterator);
    CHECK(image != NULL); /* a packet that shows nothing would be a second packet of a frame */
    CHECK(vpx_codec_get_frame(&decoder->context, &iterator) == NULL);
    return image;
}

void video_decoder_close(video_decoder *decoder)
{
    (void)vpx_codec_destroy(&decoder->context);
}

static uint8_t sample_at(const vpx_image_t *image, int plane, unsigned x, unsigned y)
{
    return image->planes[plane][(ptrdiff_t)y * image->stride[plane] + (ptrdiff_t)x];
}

double video_psnr(const vpx_image_t *image, const recsvc_picture *i420)
{
    CHECK_INT(image->d_w, i420->width);
    CHECK_INT(image->d_h, i420->height);
    const uint8_t *wanted = i420->data;
    double error = 0;
    for (int plane = 0; plane < 3; plane++) {
        unsigned columns = plane ? (image->d_w + 1) / 2 : image->d_w;
        unsigned rows = plane ? (image->d_h + 1) / 2 : image->d_h;
        for (unsigned y = 0; y < rows; y++)
            for (unsigned x = 0; x < columns; x++) {
                double difference = (double)sample_at(image, plane, x, y) - (double)*wanted++;
                error += difference * difference;
            }
    }
    error /= (double)i420->byte_count;
    return error > 0 ? 10 * log10(255 * 255 / error) : 99;
}

colour video_middle(const vpx_image_t *image)
{
    double part_of_red = PART_OF_RED[space], part_of_blue = PART_OF_BLUE[space];
    double y = 255 * (sample_at(image, 0, image->d_w / 2, image->d_h / 2) - 16) / 219.0;
    double u = 255 * (sample_at(image, 1, image->d_w / 4, image->d_h / 4) - 128) / 112.0;
    double v = 255 * (sample_at(image, 2, image->d_w / 4, image->d_h / 4) - 128) / 112.0;
    double red = y + v * (1 - part_of_red);
    double blue = y + u * (1 - part_of_blue);
    double green = (y - part_of_red * red - part_of_blue * blue) / (1 - part_of_red - part_of_blue);
    return (colour){to_byte(red), to_byte(green), to_byte(blue)};
}
