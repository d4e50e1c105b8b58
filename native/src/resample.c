#include "resample.h"

#include <math.h>
#include <soxr.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

/* Samples per channel that one call of soxr may give; less only costs more calls. */
enum { BLOCK_SAMPLES = 2048, CHANNELS_MAX = 2 };

struct resampler {
    soxr_t soxr;
    int64_t sample_rate;
    size_t channel_count;
    int64_t samples_in;
    int64_t samples_out;
    float block[BLOCK_SAMPLES * CHANNELS_MAX];
};

int resampler_open(resampler **result, int32_t sample_rate, int32_t channel_count)
{
    *result = NULL;
    resampler *made = calloc(1, sizeof *made);
    if (!made)
        return recsvc_fail(RECSVC_ERROR_MEMORY, "no memory for a resampler");
    made->sample_rate = sample_rate;
    made->channel_count = (size_t)channel_count;
    soxr_error_t error = NULL;
    soxr_io_spec_t format = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
    /* 20 bits: its error lies below what Opus can keep. */
    soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
    soxr_runtime_spec_t runtime = soxr_runtime_spec(1);
    made->soxr = soxr_create((double)sample_rate, (double)RECSVC_OPUS_SAMPLE_RATE,
                             (unsigned)channel_count, &error, &format, &quality, &runtime);
    if (!made->soxr) {
        free(made);
        return recsvc_fail(RECSVC_ERROR_CODEC, "soxr, %d Hz: %s", (int)sample_rate,
                           error ? error : "refused");
    }
    *result = made;
    return RECSVC_OK;
}

static int give(resampler *self, const float *samples, size_t count, resampler_sink sink,
                void *context)
{
    if (count == 0)
        return RECSVC_OK;
    self->samples_out += (int64_t)count;
    return sink(context, samples, count);
}

int resampler_run(resampler *self, const float *samples, size_t count, resampler_sink sink,
                  void *context)
{
    while (count > 0) {
        size_t used = 0;
        size_t made = 0;
        soxr_error_t error =
            soxr_process(self->soxr, samples, count, &used, self->block, BLOCK_SAMPLES, &made);
        if (error || (used == 0 && made == 0))
            return recsvc_fail(RECSVC_ERROR_CODEC, "soxr: %s", error ? error : "does not go on");
        self->samples_in += (int64_t)used;
        samples += used * self->channel_count;
        count -= used;
        int status = give(self, self->block, made, sink, context);
        if (status != RECSVC_OK)
            return status;
    }
    return RECSVC_OK;
}

/* Samples that come out in all, and what is over, less than half a sample. Whole samples are
 * counted in integers, so that no length is too long for a floating-point number. */
static int64_t count_output(const resampler *self, double carry, double *over)
{
    int64_t scaled = self->samples_in * RECSVC_OPUS_SAMPLE_RATE;
    double rest = (double)(scaled % self->sample_rate) / (double)self->sample_rate + carry;
    double rounded = floor(rest + 0.5);
    *over = rest - rounded;
    return scaled / self->sample_rate + (int64_t)rounded;
}

int64_t resampler_pending(const resampler *self, double carry)
{
    double over;
    return count_output(self, carry, &over) - self->samples_out;
}

int resampler_flush(resampler *self, double *carry, resampler_sink sink, void *context)
{
    int64_t wanted = count_output(self, *carry, carry);
    while (self->samples_out < wanted) {
        size_t made = 0;
        soxr_error_t error =
            soxr_process(self->soxr, NULL, 0, NULL, self->block, BLOCK_SAMPLES, &made);
        if (error)
            return recsvc_fail(RECSVC_ERROR_CODEC, "soxr: %s", error);
        size_t left = (size_t)(wanted - self->samples_out);
        if (made == 0) {
            /* soxr rounds by a ratio in floating point and may stop one sample earlier. */
            memset(self->block, 0, sizeof self->block);
            made = BLOCK_SAMPLES;
        }
        int status = give(self, self->block, made < left ? made : left, sink, context);
        if (status != RECSVC_OK)
            return status;
    }
    return RECSVC_OK;
}

void resampler_close(resampler *self)
{
    if (!self)
        return;
    soxr_delete(self->soxr);
    free(self);
}
