/* libvpx in its variable mode meets each frame's target at best, and never makes good what key
 * frames took beyond theirs: 10 s came out by 30 to 200 % too large. Its constant mode does, but
 * takes it from the next frames at once, and gives key frames so little that pictures which stand
 * still are dull after each of them (bench/README.md has both in figures). So the variable mode is
 * kept, and asked for a little less while something is owed. */
#include "video_rate.h"

#include <math.h>

/* What is owed is paid back within about so long: half of it would be too much of a 10 s recording,
 * and much faster takes the detail from the frames after a key frame. */
static const double PAY_BACK_S = 1.5;
/* How fast `gain` follows a debt that stays: 4 x PAY_BACK_S squared settles without swinging. */
static const double LEARN_S2 = 9;
static const double GAIN_MIN = 0.2, GAIN_MAX = 1.2;
static const double PART_MIN = 0.1, PART_MAX = 1.3;
/* Of pictures that need little, no more than this is kept for later: a burst of it at most. */
static const double SAVED_MAX_S = 0.5;
/* And of a rate that was much higher, no more than this is paid back at a lower one. */
static const double DEBT_MAX_S = 3;
/* From half of that on, the picture gets better whatever libvpx thinks; steps a second. */
static const double QUANTIZER_FALL_PER_S = 30;
static const double QUANTIZER_MAX_LEAST = 20;
/* A key frame is as fine as the frames around it were, and a little finer, for they are made from
 * it: less shows as a pulse, more is missed by the others. */
static const double KEY_FINER = 12;
/* But it takes no more than this part of the time to the next one; where every frame is one, all.*/
static const double KEY_PART = 0.8;
static const double QUANTIZERS_PER_HALVING = 8;
/* libvpx follows but slowly when still pictures begin to move: a frame that takes so many times its
 * share makes the next one coarser, to half of that. */
static const double BURST = 8;
/* VP9 refines still pictures now and then whatever it may spend, and VP8 goes by the quantizers of
 * all that it has seen; neither while more than this is owed, and the less the longer it is. */
static const double DEBT_USUAL_S = 0.5, QUANTIZER_PER_DEBT_S = 25, PRESSURE_PER_S = 15;
/* The weight of a new frame in what was usual of late. */
static const double NEW = 0.1;

static double within(double value, double least, double most)
{
    return value < least ? least : value > most ? most : value;
}

void video_rate_begin(video_rate *rate, int32_t bits_per_second)
{
    *rate = (video_rate){.bits_per_second = bits_per_second,
                         .gain = 1};
    video_rate_resize(rate);
}

void video_rate_set(video_rate *rate, int32_t bits_per_second)
{
    double part = rate->bits_per_second / bits_per_second;
    rate->debt_s = within(rate->debt_s * part, -SAVED_MAX_S, DEBT_MAX_S);
    rate->key_s *= part;
    rate->bits_per_second = bits_per_second;
}

void video_rate_resize(video_rate *rate)
{
    rate->quantizer_min = VIDEO_QUANTIZER_MIN;
    rate->quantizer_max = VIDEO_QUANTIZER_MAX;
    rate->quantizer = 0;
    rate->frames_between = 0;
    rate->key_quantizer = -1;
}

/* The part of the target that is asked for. */
static double part_of_target(const video_rate *rate)
{
    return within(rate->gain - rate->debt_s / PAY_BACK_S, PART_MIN, PART_MAX);
}

/* The quantizer with which pictures get smaller by a factor. */
static double coarser(double quantizer, double factor)
{
    return quantizer + QUANTIZERS_PER_HALVING * log2(factor);
}

/* How long the frames from this key frame to the next will take, by what was. */
static double key_interval(const video_rate *rate)
{
    return rate->key_interval_s > 0 ? (rate->key_interval_s + rate->since_key_s) / 2
                                    : rate->since_key_s;
}

static int key_quantizer(const video_rate *rate)
{
    double between = rate->frames_between;
    double budget_s = (KEY_PART + (1 - KEY_PART) / (between + 1)) * key_interval(rate);
    double quantizer = coarser(rate->key_quantizer, rate->key_s / budget_s);
    if (between > 0)
        quantizer = fmax(quantizer, rate->quantizer - KEY_FINER);
    return (int)lround(within(quantizer, VIDEO_QUANTIZER_MIN, VIDEO_QUANTIZER_MAX));
}

video_rate_plan video_rate_next(const video_rate *rate, bool is_key)
{
    video_rate_plan plan = {.bits_per_second = rate->bits_per_second * part_of_target(rate),
                            .quantizer_min = (int)lround(rate->quantizer_min),
                            .quantizer_max = (int)lround(fmax(rate->quantizer_max,
                                                              rate->quantizer_min))};
    if (is_key && rate->key_quantizer >= 0)
        plan.quantizer_min = plan.quantizer_max = key_quantizer(rate);
    return plan;
}

static void key_was_made(video_rate *rate, double size_s, double interval_s, int quantizer)
{
    if (rate->key_quantizer >= 0)
        rate->key_interval_s = key_interval(rate);
    rate->key_s = size_s;
    rate->key_quantizer = quantizer;
    rate->frames_between = 0;
    rate->since_key_s = interval_s;
}

void video_rate_spent(video_rate *rate, size_t byte_count, int64_t interval_us, bool is_key,
                      int quantizer)
{
    double interval_s = (double)interval_us / 1e6;
    double size_s = 8.0 * (double)byte_count / rate->bits_per_second;
    if (is_key) {
        key_was_made(rate, size_s, interval_s, quantizer);
    } else {
        /* The frames right after a first key frame say nothing yet of what is usual. */
        double weight = rate->frames_between == 0 && rate->quantizer == 0 ? 1 : NEW;
        rate->quantizer += weight * (quantizer - rate->quantizer);
        rate->frames_between++;
        rate->since_key_s += interval_s;
    }
    rate->debt_s = fmax(rate->debt_s + size_s - interval_s, -SAVED_MAX_S);
    double burst = is_key ? 0 : size_s / (BURST * interval_s);
    double excess_s = rate->debt_s - DEBT_USUAL_S;
    rate->pressure = within(rate->pressure + PRESSURE_PER_S * excess_s * interval_s, 0,
                            VIDEO_QUANTIZER_MAX);
    double least = QUANTIZER_PER_DEBT_S * excess_s + rate->pressure;
    if (burst > 1)
        least = fmax(least, coarser(quantizer, 2 * burst));
    rate->quantizer_min = within(least, VIDEO_QUANTIZER_MIN, VIDEO_QUANTIZER_MAX);
    rate->gain = within(rate->gain - rate->debt_s * interval_s / LEARN_S2, GAIN_MIN, GAIN_MAX);
    if (rate->debt_s < -SAVED_MAX_S / 2)
        rate->quantizer_max -= QUANTIZER_FALL_PER_S * interval_s;
    else if (rate->debt_s > 0)
        rate->quantizer_max = VIDEO_QUANTIZER_MAX;
    rate->quantizer_max = fmax(rate->quantizer_max, QUANTIZER_MAX_LEAST);
}
