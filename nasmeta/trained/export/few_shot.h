/* Learns classes on a device, from the embeddings that an exported network gives.
 *
 * A class is the mean of its examples' embeddings; an image belongs to the class whose mean is nearest
 * (Snell, Swersky & Zemel 2017). Embeddings are float, or int8 as a quantized network gives them.
 */
#ifndef FEW_SHOT_H
#define FEW_SHOT_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int features;      /* numbers of an embedding */
    int capacity;      /* classes that there is room for */
    int classes;       /* classes that are known */
    float *prototypes; /* [capacity][features] */
    int *examples;     /* [capacity]: how many examples each prototype is the mean of */
    float scale;       /* an int8 number q of an embedding means (q - zero) * scale */
    int zero;
    float sharpness; /* what distances, or cosines, are multiplied by before the softmax */
    float scatter;   /* the mean of 1 + 1/examples that this is for, which other examples change; 0: none does */
    int cosine;      /* 1: compare directions; 0: compare by the squared distance */
    float threshold; /* of the squared distance from any class, beyond which an image is unknown; 0: none */
} few_shot;

static inline float few_shot_number(const few_shot *known, const float *real, const int8_t *quantized, int i)
{
    return real ? real[i] : (quantized[i] - known->zero) * known->scale;
}

static inline int few_shot_add_any(few_shot *known, const float *real, const int8_t *quantized, int examples)
{
    if (known->classes == known->capacity || examples < 1)
        return -1;
    float *mean = known->prototypes + (size_t)known->classes * known->features;
    for (int i = 0; i < known->features; i++) {
        mean[i] = 0;
        for (int e = 0; e < examples; e++)
            mean[i] += few_shot_number(known, real, quantized, e * known->features + i) / examples;
    }
    known->examples[known->classes] = examples;
    return known->classes++;
}

/* Adds a class from its examples' embeddings [examples][features]. Returns its number; -1 if there is no room. */
static inline int few_shot_add(few_shot *known, const float *embeddings, int examples)
{
    return few_shot_add_any(known, embeddings, NULL, examples);
}

static inline int few_shot_add_int8(few_shot *known, const int8_t *embeddings, int examples)
{
    return few_shot_add_any(known, NULL, embeddings, examples);
}

/* The squared distance of an embedding from the mean of class c. */
static inline float few_shot_distance(const few_shot *known, const float *real, const int8_t *quantized, int c)
{
    const float *mean = known->prototypes + (size_t)c * known->features;
    float distance = 0;
    for (int i = 0; i < known->features; i++) {
        float difference = few_shot_number(known, real, quantized, i) - mean[i];
        distance += difference * difference;
    }
    return distance;
}

static inline float few_shot_cosine(const few_shot *known, const float *real, const int8_t *quantized, int c)
{
    const float *mean = known->prototypes + (size_t)c * known->features;
    float dot = 0, own = 0, other = 0;
    for (int i = 0; i < known->features; i++) {
        float x = few_shot_number(known, real, quantized, i);
        dot += x * mean[i];
        own += x * x;
        other += mean[i] * mean[i];
    }
    return dot / sqrtf(own * other + 1e-24f);
}

static inline int few_shot_classify_any(const few_shot *known, const float *real, const int8_t *quantized,
                                        float *probabilities)
{
    int best = -1;
    float sum = 0, highest = 0, sharpness = known->sharpness, scatter = 0;
    /* Distances from the mean of n examples grow with 1 + 1/n. */
    for (int c = 0; c < known->classes; c++)
        scatter += (1 + 1.0f / known->examples[c]) / known->classes;
    if (known->scatter > 0 && known->classes > 0)
        sharpness *= known->scatter / scatter;
    for (int c = 0; c < known->classes; c++) {
        float closeness = known->cosine ? few_shot_cosine(known, real, quantized, c)
                                        : -few_shot_distance(known, real, quantized, c);
        float logit = sharpness * closeness;
        probabilities[c] = logit;
        if (best < 0 || logit > highest) {
            best = c;
            highest = logit;
        }
    }
    for (int c = 0; c < known->classes; c++)
        sum += probabilities[c] = expf(probabilities[c] - highest);
    for (int c = 0; c < known->classes; c++)
        probabilities[c] /= sum;
    return best;
}

/* Writes a probability for each known class. Returns the most probable one; -1 if none is known. */
static inline int few_shot_classify(const few_shot *known, const float *embedding, float *probabilities)
{
    return few_shot_classify_any(known, embedding, NULL, probabilities);
}

static inline int few_shot_classify_int8(const few_shot *known, const int8_t *embedding, float *probabilities)
{
    return few_shot_classify_any(known, NULL, embedding, probabilities);
}

static inline int few_shot_unknown_any(const few_shot *known, const float *real, const int8_t *quantized)
{
    for (int c = 0; c < known->classes; c++) {
        /* The mean of n examples scatters by 1/n of what an image does. */
        float limit = known->threshold * (1 + 1.0f / known->examples[c]);
        if (few_shot_distance(known, real, quantized, c) <= limit)
            return 0;
    }
    return known->threshold > 0;
}

/* Returns 1 if an image is too far from every known class to belong to one, or else 0. */
static inline int few_shot_unknown(const few_shot *known, const float *embedding)
{
    return few_shot_unknown_any(known, embedding, NULL);
}

static inline int few_shot_unknown_int8(const few_shot *known, const int8_t *embedding)
{
    return few_shot_unknown_any(known, NULL, embedding);
}

#endif
