/* Computes every layer of network.h from its stored inputs, with integers alone, and compares it with the stored
   output, number by number. Exit status 0: all are equal.

   gcc -O2 -o check check.c && ./check */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum kind { CONV, ADD, MAX_POOL, AVERAGE_POOL, FLATTEN }; /* a linear layer is a convolution of maps of one pixel */

struct layer {
    const char *name;
    enum kind kind;
    int inputs[2];                         /* their numbers in `layers`; -1 is the image */
    int in_channels, in_height, in_width;  /* of the first input */
    int channels, height, width;           /* of the output */
    int kernel[2], stride[2], padding[2], dilation[2], groups;
    int left[2];                           /* of an addition: by how much each input is shifted to the left first */
    int32_t lowest, highest;
    const int32_t *weight, *bias, *multiplier, *shift, *output;
};

#include "network.h"

/* Shift to the right, rounded to the nearest integer and halves to the even one. A negative shift is to the left.
   `>>` of a negative number is an arithmetic shift in all usual compilers. */
static int64_t shifted(int64_t x, int shift) {
    if (shift <= 0) return x * ((int64_t)1 << -shift);
    return (x + ((int64_t)1 << (shift - 1)) - 1 + ((x >> shift) & 1)) >> shift;
}

static int32_t clamped(int64_t x, const struct layer *l) {
    return (int32_t)(x < l->lowest ? l->lowest : x > l->highest ? l->highest : x);
}

/* One output of a convolution or a linear layer: sum, bias, multiplier, shift, clamp. */
static int32_t conv(const struct layer *l, const int32_t *in, int channel, int y, int x) {
    int in_group = l->in_channels / l->groups, first = channel / (l->channels / l->groups) * in_group;
    const int32_t *weight = l->weight + (size_t)channel * in_group * l->kernel[0] * l->kernel[1];
    int32_t sum = l->bias[channel];
    for (int c = 0; c < in_group; c++)
        for (int i = 0; i < l->kernel[0]; i++)
            for (int j = 0; j < l->kernel[1]; j++, weight++) {
                int row = y * l->stride[0] + i * l->dilation[0] - l->padding[0];
                int column = x * l->stride[1] + j * l->dilation[1] - l->padding[1];
                if (row < 0 || column < 0 || row >= l->in_height || column >= l->in_width) continue; /* padding: 0 */
                sum += *weight * in[((first + c) * l->in_height + row) * l->in_width + column];
            }
    return clamped(shifted((int64_t)sum * l->multiplier[channel], l->shift[channel]), l);
}

/* One output of a pooling. A mean is rounded to the nearest integer and halves to the even one. */
static int32_t pool(const struct layer *l, const int32_t *in, int channel, int y, int x) {
    int32_t largest = l->lowest, sum = 0, count = l->kernel[0] * l->kernel[1];
    for (int i = 0; i < l->kernel[0]; i++)
        for (int j = 0; j < l->kernel[1]; j++) {
            int row = y * l->stride[0] + i * l->dilation[0] - l->padding[0];
            int column = x * l->stride[1] + j * l->dilation[1] - l->padding[1];
            if (row < 0 || column < 0 || row >= l->in_height || column >= l->in_width) continue;
            int32_t value = in[(channel * l->in_height + row) * l->in_width + column];
            if (value > largest) largest = value;
            sum += value;
        }
    if (l->kind == MAX_POOL) return largest;
    int32_t mean = sum / count - (sum % count < 0); /* rounded down */
    int32_t twice = 2 * (sum - mean * count);
    return mean + (twice > count || (twice == count && mean % 2 != 0));
}

static int32_t computed(const struct layer *l, const int32_t *first, const int32_t *second, int index) {
    int x = index % l->width, y = index / l->width % l->height, channel = index / l->width / l->height;
    switch (l->kind) {
    case CONV: return conv(l, first, channel, y, x);
    case ADD: {
        int64_t sum = first[index] * ((int64_t)1 << l->left[0]) + second[index] * ((int64_t)1 << l->left[1]);
        return clamped(shifted(sum, l->shift[0]), l);
    }
    case FLATTEN: return first[index];
    default: return pool(l, first, channel, y, x);
    }
}

/* The stored output of a layer for an image; of layer -1 the image. */
static const int32_t *stored(int number, int image) {
    if (number < 0) return images + (size_t)image * IMAGE_SIZE;
    const struct layer *l = &layers[number];
    return l->output + (size_t)image * l->channels * l->height * l->width;
}

int main(void) {
    int wrong = 0;
    for (int n = 0; n < LAYERS; n++) {
        const struct layer *l = &layers[n];
        int size = l->channels * l->height * l->width, differ = 0;
        for (int image = 0; image < IMAGES; image++) {
            const int32_t *first = stored(l->inputs[0], image), *second = stored(l->inputs[1], image);
            const int32_t *expected = stored(n, image);
            for (int index = 0; index < size; index++) differ += computed(l, first, second, index) != expected[index];
        }
        printf("%-40s %8d numbers, %d differ\n", l->name, IMAGES * size, differ);
        wrong += differ != 0;
    }
    if (wrong) printf("%d layers differ\n", wrong);
    else printf("all layers are equal\n");
    return wrong != 0;
}
