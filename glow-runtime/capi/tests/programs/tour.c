/* Every function of glow.h: tour BUNDLE SAMPLES SCRATCH
 *
 * BUNDLE is the project's random model of 8x8 RGB images, with an attribute "Bright". The pixels of six samples go into
 * the file SAMPLES. Files are written into the folder SCRATCH. Exit code 0 if all is as it should be. */
#include <glow.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                          \
    do {                                                                          \
        if (!(condition)) {                                                       \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                              \
        }                                                                         \
    } while (0)

/* A call that succeeds. It takes &error last. */
#define OK(call)                                                                               \
    do {                                                                                       \
        GlowError *error = NULL;                                                               \
        if ((call) != GLOW_OK || error != NULL) {                                              \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, glow_error_message(error)); \
            exit(1);                                                                           \
        }                                                                                      \
    } while (0)

/* A call that fails with this status and says this. */
#define FAILS(expected, says, call)                                                                 \
    do {                                                                                            \
        GlowError *error = NULL;                                                                    \
        GlowStatus status = (call);                                                                 \
        if (status != (expected) || glow_error_status(error) != (expected) ||                       \
            strstr(glow_error_message(error), says) == NULL) {                                      \
            fprintf(stderr, "%s:%d: %s: status %d, %s\n", __FILE__, __LINE__, #call, (int)status, \
                    glow_error_message(error));                                                     \
            exit(1);                                                                                \
        }                                                                                           \
        glow_error_free(error);                                                                     \
    } while (0)

enum { N = 6, DIMS = 8 * 8 * 3 };

static GlowModel *model = NULL;
static char path[4096];

static const char *in(const char *folder, const char *name) {
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void loading(const char *bundle, const char *scratch) {
    GlowModel *none = (GlowModel *)&path;
    FAILS(GLOW_BUNDLE, "model.json", glow_load(scratch, NULL, &none, &error));
    CHECK(none == NULL);
    FAILS(GLOW_ARGUMENT, "folder is NULL", glow_load(NULL, NULL, &none, &error));
    FAILS(GLOW_ARGUMENT, "model is NULL", glow_load(bundle, NULL, NULL, &error));
    FAILS(GLOW_ARGUMENT, "folder is not UTF-8", glow_load("\xff", NULL, &none, &error));
    /* Without anyone who wants to know. */
    CHECK(glow_load(scratch, NULL, &none, NULL) == GLOW_BUNDLE);

    GlowLoadOptions options = glow_load_options();
    options.providers = "cpu,gpu";
    FAILS(GLOW_ARGUMENT, "\"gpu\" is no provider", glow_load(bundle, &options, &none, &error));
    options.providers = "cpu";
    options.graphs = 7;
    FAILS(GLOW_ARGUMENT, "graphs = 7", glow_load(bundle, &options, &none, &error));
    options.graphs = GLOW_DECODER;
    options.threads = 1;
    options.sessions = 2;
    options.max_batch = 4;
    options.check = true;
    OK(glow_load(bundle, &options, &none, &error));
    float latents[DIMS];
    unsigned char image[DIMS] = {0};
    FAILS(GLOW_ARGUMENT, "needs the encoder",
          glow_encode(none, 1, image, DIMS, NULL, latents, DIMS, NULL, 0, &error));
    glow_free(none);

    OK(glow_load(bundle, NULL, &model, &error));
    GlowShape shape;
    OK(glow_shape(model, &shape, &error));
    CHECK(shape.height == 8 && shape.width == 8 && shape.channels == 3 && shape.dims == DIMS);
    CHECK(shape.levels == 2 && shape.classes == 0 && shape.n_bits <= 8 && shape.max_batch > 0);
    size_t sum = 0;
    for (size_t level = 0; level < shape.levels; level++) {
        GlowLatentShape eps;
        OK(glow_latent_shape(model, level, &eps, &error));
        sum += eps.channels * eps.height * eps.width;
    }
    CHECK(sum == DIMS);
    GlowLatentShape eps;
    FAILS(GLOW_ARGUMENT, "level = 2", glow_latent_shape(model, 2, &eps, &error));
    FAILS(GLOW_ARGUMENT, "shape is NULL", glow_shape(model, NULL, &error));
    FAILS(GLOW_ARGUMENT, "model is NULL", glow_shape(NULL, &shape, &error));
    CHECK(glow_class_name(model, 0) == NULL && glow_class_name(NULL, 0) == NULL);
    CHECK(strchr(glow_onnxruntime_version(model), '.') != NULL && glow_onnxruntime_version(NULL) == NULL);
    CHECK(strchr(glow_version(), '.') != NULL);
}

static void sampling(const char *samples) {
    GlowSampleOptions options = glow_sample_options();
    options.seed = 1;
    unsigned char images[N * DIMS], one[DIMS];
    float latents[N * DIMS];
    OK(glow_sample(model, N, &options, images, sizeof images, &error));
    OK(glow_sample_latents(model, N, &options, latents, N * DIMS, &error));
    unsigned char decoded[N * DIMS];
    OK(glow_decode(model, N, latents, N * DIMS, NULL, 0, decoded, sizeof decoded, &error));
    CHECK(memcmp(images, decoded, sizeof images) == 0);
    /* The fourth by itself. */
    options.first = 3;
    OK(glow_sample(model, 1, &options, one, sizeof one, &error));
    CHECK(memcmp(one, images + 3 * DIMS, sizeof one) == 0);
    OK(glow_sample(model, 0, NULL, NULL, 0, &error));

    FAILS(GLOW_ARGUMENT, "images_len is 191, expected 192", glow_sample(model, 1, NULL, one, DIMS - 1, &error));
    FAILS(GLOW_ARGUMENT, "images is NULL", glow_sample(model, 1, NULL, NULL, DIMS, &error));
    FAILS(GLOW_ARGUMENT, "what memory can hold", glow_sample(model, SIZE_MAX / 8, NULL, one, DIMS, &error));
    FAILS(GLOW_ARGUMENT, "model is NULL", glow_sample(NULL, 1, NULL, one, DIMS, &error));
    options.temperature = -1;
    FAILS(GLOW_ARGUMENT, "temperature = -1", glow_sample(model, 1, &options, one, DIMS, &error));
    options.temperature = NAN;
    FAILS(GLOW_ARGUMENT, "temperature = NaN", glow_sample(model, 1, &options, one, DIMS, &error));
    options = glow_sample_options();
    options.truncation = 0.001f;
    FAILS(GLOW_ARGUMENT, "truncation", glow_sample(model, 1, &options, one, DIMS, &error));
    options = glow_sample_options();
    const int64_t label = 0;
    options.labels = &label;
    options.labels_len = 1;
    FAILS(GLOW_ARGUMENT, "unconditional", glow_sample(model, 1, &options, one, DIMS, &error));
    options.labels = NULL;
    FAILS(GLOW_ARGUMENT, "labels is NULL", glow_sample(model, 1, &options, one, DIMS, &error));

    FILE *file = fopen(samples, "wb");
    CHECK(file != NULL && fwrite(images, 1, sizeof images, file) == sizeof images && fclose(file) == 0);
}

static void encoding(void) {
    GlowSampleOptions sampled = glow_sample_options();
    unsigned char images[N * DIMS], again[N * DIMS];
    OK(glow_sample(model, N, &sampled, images, sizeof images, &error));
    float latents[N * DIMS], others[N * DIMS], log_prob[N];
    OK(glow_encode(model, N, images, sizeof images, NULL, latents, N * DIMS, log_prob, N, &error));
    OK(glow_decode(model, N, latents, N * DIMS, NULL, 0, again, sizeof again, &error));
    CHECK(memcmp(images, again, sizeof images) == 0);
    /* Over its own input. */
    OK(glow_reconstruct(model, N, again, sizeof again, NULL, 0, again, sizeof again, &error));
    CHECK(memcmp(images, again, sizeof images) == 0);
    /* Either output alone, and other noise. */
    GlowEncodeOptions options = glow_encode_options();
    options.uniform_noise = true;
    OK(glow_encode(model, N, images, sizeof images, &options, others, N * DIMS, NULL, 0, &error));
    CHECK(memcmp(latents, others, sizeof latents) != 0);
    OK(glow_encode(model, N, images, sizeof images, NULL, NULL, 0, log_prob, N, &error));

    GlowScore scores[N];
    GlowScoreOptions draws = glow_score_options();
    draws.draws = 3;
    OK(glow_score(model, N, images, sizeof images, &draws, scores, N, &error));
    double bits[N];
    OK(glow_bits_per_dim(model, N, images, sizeof images, &draws, bits, N, &error));
    for (int i = 0; i < N; i++) {
        CHECK(isfinite(log_prob[i]) && scores[i].bits_per_dim == bits[i] && scores[i].standard_error > 0);
        CHECK(fabs(bits[i] + scores[i].log_prob / (log(2) * DIMS)) < 1e-9 && scores[i].reliable);
    }
    draws.draws = 0;
    FAILS(GLOW_ARGUMENT, "draws = 0", glow_score(model, N, images, sizeof images, &draws, scores, N, &error));
    FAILS(GLOW_ARGUMENT, "scores_len is 5, expected 6",
          glow_score(model, N, images, sizeof images, NULL, scores, N - 1, &error));

    /* A float is not where a float can be. */
    float *askew = (float *)(void *)((char *)latents + 1);
    FAILS(GLOW_ARGUMENT, "not aligned", glow_decode(model, 1, askew, DIMS, NULL, 0, again, DIMS, &error));
    latents[5] = NAN;
    FAILS(GLOW_NON_FINITE, "the given latent of image 0",
          glow_decode(model, 1, latents, DIMS, NULL, 0, again, DIMS, &error));
    FAILS(GLOW_ARGUMENT, "latents_len is 10",
          glow_encode(model, 1, images, DIMS, NULL, latents, 10, NULL, 0, &error));
}

static void interpolating(void) {
    float latents[2 * DIMS];
    unsigned char steps[5 * DIMS], ends[2 * DIMS];
    OK(glow_sample_latents(model, 2, NULL, latents, 2 * DIMS, &error));
    OK(glow_decode(model, 2, latents, 2 * DIMS, NULL, 0, ends, sizeof ends, &error));
    const float *a = latents, *b = latents + DIMS;
    const uint32_t ways[] = {GLOW_LINEAR, GLOW_SPHERICAL};
    for (int i = 0; i < 2; i++) {
        OK(glow_interpolate(model, 1, a, DIMS, b, DIMS, 5, ways[i], NULL, 0, steps, sizeof steps, &error));
        CHECK(memcmp(steps, ends, DIMS) == 0);
    }
    FAILS(GLOW_ARGUMENT, "way = 2",
          glow_interpolate(model, 1, a, DIMS, b, DIMS, 5, 2, NULL, 0, steps, sizeof steps, &error));
    FAILS(GLOW_ARGUMENT, "steps = 1",
          glow_interpolate(model, 1, a, DIMS, b, DIMS, 1, GLOW_LINEAR, NULL, 0, steps, DIMS, &error));
    FAILS(GLOW_ARGUMENT, "b_len is 0",
          glow_interpolate(model, 1, a, DIMS, NULL, 0, 5, GLOW_LINEAR, NULL, 0, steps, sizeof steps, &error));
}

static void attributes(void) {
    GlowAttributes *attributes = NULL;
    OK(glow_attributes(model, &attributes, &error));
    CHECK(glow_attributes_count(attributes) == 1 && strcmp(glow_attributes_name(attributes, 0), "Bright") == 0);
    CHECK(glow_attributes_name(attributes, 1) == NULL && glow_attributes_count(NULL) == 0);
    unsigned char image[DIMS], edited[DIMS], same[DIMS];
    OK(glow_sample(model, 1, NULL, image, DIMS, &error));
    const char *names[] = {"Bright"};
    float strength = 1, none = 0;
    OK(glow_edit(model, attributes, 1, image, DIMS, 1, names, &strength, NULL, 0, edited, DIMS, &error));
    OK(glow_edit(model, attributes, 1, image, DIMS, 1, names, &none, NULL, 0, same, DIMS, &error));
    CHECK(memcmp(image, edited, DIMS) != 0 && memcmp(image, same, DIMS) == 0);
    float latents[DIMS];
    OK(glow_encode(model, 1, image, DIMS, NULL, latents, DIMS, NULL, 0, &error));
    OK(glow_attributes_apply(model, attributes, 1, latents, DIMS, 1, names, &strength, latents, DIMS, &error));
    OK(glow_decode(model, 1, latents, DIMS, NULL, 0, same, DIMS, &error));
    CHECK(memcmp(same, edited, DIMS) == 0);
    const char *other[] = {"Dark"}, *no_name[] = {NULL};
    FAILS(GLOW_ARGUMENT, "no attribute \"Dark\"",
          glow_edit(model, attributes, 1, image, DIMS, 1, other, &strength, NULL, 0, edited, DIMS, &error));
    FAILS(GLOW_ARGUMENT, "a name is NULL",
          glow_edit(model, attributes, 1, image, DIMS, 1, no_name, &strength, NULL, 0, edited, DIMS, &error));
    FAILS(GLOW_ARGUMENT, "names is NULL",
          glow_edit(model, attributes, 1, image, DIMS, 1, NULL, &strength, NULL, 0, edited, DIMS, &error));
    FAILS(GLOW_ARGUMENT, "attributes is NULL",
          glow_edit(model, NULL, 1, image, DIMS, 1, names, &strength, NULL, 0, edited, DIMS, &error));
    glow_attributes_free(attributes);
}

static void reference(const char *scratch) {
    const double known[] = {5, 1, 4, 2, 3};
    GlowReference *reference = NULL, *again = NULL;
    OK(glow_reference_new(model, known, 5, &reference, &error));
    OK(glow_reference_save(reference, in(scratch, "reference.json"), &error));
    OK(glow_reference_load(model, in(scratch, "reference.json"), &again, &error));
    const double bits[] = {3, 9};
    GlowOodScore scores[2];
    OK(glow_reference_compare(again, bits, 2, scores, 2, &error));
    CHECK(scores[0].typicality == 0 && scores[0].p_value == 1 && fabs(scores[1].p_value - 1.0 / 6) < 1e-12);
    CHECK(fabs(scores[1].typicality - 6 / sqrt(2.5)) < 1e-12 && scores[1].p_value_high == scores[1].p_value);
    glow_reference_free(again);
    FAILS(GLOW_ARGUMENT, "two or more", glow_reference_new(model, known, 1, &again, &error));
    FAILS(GLOW_FILE, "cannot read", glow_reference_load(model, in(scratch, "absent"), &again, &error));
    FAILS(GLOW_FILE, "cannot write", glow_reference_save(reference, in(scratch, "absent/a"), &error));
    FAILS(GLOW_ARGUMENT, "scores_len", glow_reference_compare(reference, bits, 2, scores, 1, &error));
    glow_reference_free(reference);
}

static void files(const char *scratch) {
    /* A gray sheet of 16x16 pixels, which becomes one of 8x8. */
    FILE *file = fopen(in(scratch, "gray.ppm"), "wb");
    CHECK(file != NULL && fprintf(file, "P6 16 16 255\n") > 0);
    for (int i = 0; i < 16 * 16 * 3; i++) fputc(100, file);
    CHECK(fclose(file) == 0);
    unsigned char image[DIMS];
    OK(glow_read_image(model, in(scratch, "gray.ppm"), image, DIMS, &error));
    for (int i = 0; i < DIMS; i++) CHECK(image[i] == 100);
    FAILS(GLOW_FILE, "absent.png", glow_read_image(model, in(scratch, "absent.png"), image, DIMS, &error));
    FAILS(GLOW_ARGUMENT, "image_len", glow_read_image(model, in(scratch, "gray.ppm"), image, 1, &error));
}

int main(int count, char **words) {
    CHECK(count == 4);
    loading(words[1], words[3]);
    sampling(words[2]);
    encoding();
    interpolating();
    attributes();
    reference(words[3]);
    files(words[3]);
    glow_free(model);
    glow_free(NULL);
    glow_error_free(NULL);
    CHECK(glow_error_status(NULL) == GLOW_OK && glow_error_message(NULL)[0] == '\0');
    printf("all as it should be\n");
    return 0;
}
