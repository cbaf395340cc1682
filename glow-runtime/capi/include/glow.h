/* glow.h: run a frozen Glow from C and C++.
 *
 * Made from glow-runtime/capi/src by cbindgen: do not edit it.
 *
 *     GlowModel *model = NULL;
 *     GlowError *error = NULL;
 *     if (glow_load("photos.glow", NULL, &model, &error) != GLOW_OK) {
 *         fprintf(stderr, "%s\n", glow_error_message(error));
 *         glow_error_free(error);
 *         return 1;
 *     }
 *     ... glow_sample, glow_encode, ...
 *     glow_free(model);
 *
 * Errors. Functions that can fail return a GlowStatus, and take a `GlowError **error` last. It may be NULL.
 * Otherwise *error is overwritten: by an error that the caller frees with glow_error_free, or by NULL where
 * there was none. What a failed call was to write is left as it was, but for handles, which become NULL.
 * A panic inside of the library comes back as GLOW_INTERNAL and never crosses into the caller.
 *
 * Ownership. What a function returns through `GlowModel **`, `GlowAttributes **`, `GlowReference **` or
 * `GlowError **` belongs to the caller, who frees it with the function of its name, once. All other pointers
 * stay the caller's: the library reads or writes them during the call and keeps none. Texts are UTF-8 and end
 * with NUL; those that a function returns belong to the handle that they were asked of, and live as long.
 *
 * Arrays lie in one piece, in row-major order; lengths are in elements, not in bytes. Images are uint8
 * [N, H, W, C] in the model's size; latents are float [N, H*W*C], eps_0 ... eps_{L-1} one after the other,
 * each in row-major c, h, w order. An input and an output may be the same memory.
 *
 * Threads. Any number of threads may use one handle at the same time; calls for one model wait for each
 * other in the order in which they come. Nobody may use a handle while or after it is freed. A handle does
 * not survive fork(): in the child, every call that runs or loads a model fails with GLOW_FAILED, and models must
 * not be freed. Load them after the fork, in a process whose parent has loaded none.
 */


#ifndef GLOW_H
#define GLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Along the straight line, (1 - t)*a + t*b.
 */
#define GLOW_LINEAR 0

/**
 * Along the great circle through both, which keeps the norm.
 */
#define GLOW_SPHERICAL 1

/**
 * Both graphs of the bundle.
 */
#define GLOW_BOTH 0

/**
 * The encoder alone: glow_encode, glow_score, glow_bits_per_dim.
 */
#define GLOW_ENCODER 1

/**
 * The decoder alone: glow_sample, glow_decode, glow_interpolate.
 */
#define GLOW_DECODER 2

/**
 * How a call ended: the kind of its error.
 */
typedef enum GlowStatus {
    /**
     * Done.
     */
    GLOW_OK = 0,
    /**
     * An argument: NULL, a wrong length, a value out of range, a name that there is not.
     */
    GLOW_ARGUMENT = 1,
    /**
     * The ONNX Runtime library: there is none, it is too old, or it does not start.
     */
    GLOW_LIBRARY = 2,
    /**
     * The bundle: a file is missing, damaged, of another format, or rejected by ONNX Runtime.
     */
    GLOW_BUNDLE = 3,
    /**
     * The execution provider that was asked for cannot be used, or is not accurate enough.
     */
    GLOW_PROVIDER = 4,
    /**
     * A file that cannot be read or written, or holds something else.
     */
    GLOW_FILE = 5,
    /**
     * A number that is NaN or infinite, given or computed.
     */
    GLOW_NON_FINITE = 6,
    /**
     * Memory ran out, of the host or of the device.
     */
    GLOW_MEMORY = 7,
    /**
     * The device is lost to this process.
     */
    GLOW_DEVICE = 8,
    /**
     * ONNX Runtime or the operating system failed in another way, or the process was forked from one that runs it.
     */
    GLOW_FAILED = 9,
    /**
     * An error in this library: it panicked. Please report it.
     */
    GLOW_INTERNAL = 10,
    /**
     * A queue is full: try again later.
     */
    GLOW_OVERLOADED = 11,
    /**
     * A job was not done before its deadline.
     */
    GLOW_DEADLINE = 12,
    /**
     * A job was cancelled.
     */
    GLOW_CANCELLED = 13,
    /**
     * A queue is being stopped, and takes or does no more jobs.
     */
    GLOW_STOPPED = 14,
} GlowStatus;

/**
 * The attributes of a model, such as Smiling: named directions in latent space.
 */
typedef struct GlowAttributes GlowAttributes;

/**
 * What went wrong.
 */
typedef struct GlowError GlowError;

/**
 * A loaded model. Any number of threads may use it at the same time.
 */
typedef struct GlowModel GlowModel;

/**
 * Scores of images that are of the model's kind. A likelihood alone does not tell whether an image is: these models
 * often find smooth images of other kinds *more* likely. Hence the comparison counts both tails.
 */
typedef struct GlowReference GlowReference;

/**
 * How to sample. Begin with glow_sample_options().
 */
typedef struct GlowSampleOptions {
    /**
     * Scale of the noise, at least 0: 1 draws from the model, less gives more typical images. Default 0.7.
     */
    float temperature;
    /**
     * Values of the normal distribution farther from 0 than this are drawn again; at least 0.01, or 0 for no limit.
     * Default 0.
     */
    float truncation;
    /**
     * Seed of the noise. Default 0.
     */
    uint64_t seed;
    /**
     * Number of the first sample: sample i of a seed is the same image in every call that draws it. Default 0.
     */
    uint64_t first;
    /**
     * The class of each sample, for conditional models. Default NULL.
     */
    const int64_t *labels;
    /**
     * Number of labels: that of the samples, or 0 with NULL. Default 0.
     */
    size_t labels_len;
} GlowSampleOptions;

/**
 * How to encode. Begin with glow_encode_options().
 */
typedef struct GlowEncodeOptions {
    /**
     * The dequantization noise: true draws it uniformly from [0, 1), as likelihoods need it; false is its middle, 0.5,
     * which gives the same latents each time, and the safest ones to decode. Default false.
     */
    bool uniform_noise;
    /**
     * Seed of uniform noise. Default 0.
     */
    uint64_t seed;
    /**
     * Number of the first image in the stream of uniform noise, for data that comes in several calls. Default 0.
     */
    uint64_t first;
    /**
     * The class of each image, for conditional models. Default NULL.
     */
    const int64_t *labels;
    /**
     * Number of labels: that of the images, or 0 with NULL. Default 0.
     */
    size_t labels_len;
} GlowEncodeOptions;

/**
 * How a model is loaded. Begin with glow_load_options(); NULL and 0 stand for the default of a field.
 */
typedef struct GlowLoadOptions {
    /**
     * Execution providers with commas between, in order of preference: "auto", "cpu", "cuda:1",
     * "tensorrt:0/fp16,cuda:0", "openvino:CPU/bf16". One that cannot be used is an error. Default "cpu".
     */
    const char *providers;
    /**
     * Threads that work on one call. Default: the physical cores, over the sessions.
     */
    size_t threads;
    /**
     * Calls that run at the same time, each with threads and memory of its own. Default 1.
     */
    size_t sessions;
    /**
     * The most images that run at once; larger batches go through in chunks, to the same result. Default: what fits
     * the memory budget.
     */
    size_t max_batch;
    /**
     * Bytes that the activations may take. Default 512 MiB.
     */
    size_t memory_budget;
    /**
     * Folder in which what is made of the bundle for this machine is kept, so that it loads faster. Default: none.
     */
    const char *cache;
    /**
     * The ONNX Runtime library, 1.21 or newer, or its folder. Default: ORT_DYLIB_PATH in the environment, the
     * program's folder, the folder `lib` beside that one, the system's libraries.
     */
    const char *onnxruntime;
    /**
     * GLOW_BOTH, GLOW_ENCODER or GLOW_DECODER. Default GLOW_BOTH.
     */
    uint32_t graphs;
    /**
     * Whether sizes and SHA-256 of the bundle's files are compared with its manifest. Default true.
     */
    bool verify;
    /**
     * Whether an image is encoded and decoded once, to see that the provider computes accurately; only with
     * both graphs. Default true.
     */
    bool check;
} GlowLoadOptions;

/**
 * Sizes of a model.
 */
typedef struct GlowShape {
    /**
     * Rows of an image, H.
     */
    size_t height;
    /**
     * Columns of an image, W.
     */
    size_t width;
    /**
     * Channels of an image, C: 1 or 3.
     */
    size_t channels;
    /**
     * H*W*C: the bytes of an image, and the numbers of its latents.
     */
    size_t dims;
    /**
     * Bits of a value that the model sees, the upper ones.
     */
    uint32_t n_bits;
    /**
     * Levels of the latents, L.
     */
    size_t levels;
    /**
     * Classes of a conditional model, which needs a label for each image; 0 of an unconditional one.
     */
    size_t classes;
    /**
     * The most images that run at once.
     */
    size_t max_batch;
} GlowShape;

/**
 * Shape of the latents of one level, eps_0 being the finest.
 */
typedef struct GlowLatentShape {
    /**
     * Channels, c.
     */
    size_t channels;
    /**
     * Rows, h.
     */
    size_t height;
    /**
     * Columns, w.
     */
    size_t width;
} GlowLatentShape;

/**
 * How to compute likelihoods. Begin with glow_score_options().
 */
typedef struct GlowScoreOptions {
    /**
     * Draws of the dequantization noise that are averaged, at least 1. Default 1.
     */
    size_t draws;
    /**
     * Seed of the noise. Default 0.
     */
    uint64_t seed;
    /**
     * Number of the first image in the stream of noise, for data that comes in several calls. Default 0.
     */
    uint64_t first;
    /**
     * The class of each image, for conditional models. Default NULL.
     */
    const int64_t *labels;
    /**
     * Number of labels: that of the images, or 0 with NULL. Default 0.
     */
    size_t labels_len;
} GlowScoreOptions;

/**
 * What a reference set says of an image.
 */
typedef struct GlowOodScore {
    /**
     * |score - mean| / standard deviation of the reference set.
     */
    double typicality;
    /**
     * How probable a distance from the mean at least as large is in the reference set: small for images of another
     * kind, whether too likely or not likely enough.
     */
    double p_value;
    /**
     * How probable a score at least as high is: small only for images that are not likely enough.
     */
    double p_value_high;
} GlowOodScore;

/**
 * The likelihood of one image, over several draws of the dequantization noise.
 */
typedef struct GlowScore {
    /**
     * ln p(image) in nats, the mean over the draws.
     */
    double log_prob;
    /**
     * Standard error of log_prob; NaN for a single draw, which has none.
     */
    double standard_error;
    /**
     * log_prob in bits/dim: -log_prob / (ln 2 * H*W*C).
     */
    double bits_per_dim;
    /**
     * Whether the bundle's number format can be relied upon for such an image; always true in fp32 and fp16.
     */
    bool reliable;
} GlowScore;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of this library, such as "0.1.0". The text is constant.
 */
const char *glow_version(void);

/**
 * Reads the attributes of the model's bundle, which may be none. *attributes is the caller's, who frees it with
 * glow_attributes_free; it is NULL after an error.
 */
enum GlowStatus glow_attributes(const struct GlowModel *model,
                                struct GlowAttributes **attributes,
                                struct GlowError **error);

/**
 * The number of attributes; 0 for NULL.
 */
size_t glow_attributes_count(const struct GlowAttributes *attributes);

/**
 * The name of an attribute, 0 to count - 1. It belongs to the attributes. NULL where there is no such attribute.
 */
const char *glow_attributes_name(const struct GlowAttributes *attributes,
                                 size_t index);

/**
 * Moves the latents of `n` images, float [n, H*W*C], along `count` attributes at once, into `moved`, of the same
 * length: z + sum of strength * direction. Strength 1 goes as far along an attribute as the mean of the images that
 * have it is from the mean of those that do not.
 */
enum GlowStatus glow_attributes_apply(const struct GlowModel *model,
                                      const struct GlowAttributes *attributes,
                                      size_t n,
                                      const float *latents,
                                      size_t latents_len,
                                      size_t count,
                                      const char *const *names,
                                      const float *strengths,
                                      float *moved,
                                      size_t moved_len,
                                      struct GlowError **error);

/**
 * Changes `count` attributes of `n` images, uint8 [n, H, W, C], at once, into `edited`, of the same length: encodes,
 * moves the latents as glow_attributes_apply does, and decodes. `labels` are the classes of the images for a conditional
 * model, otherwise NULL with length 0.
 */
enum GlowStatus glow_edit(const struct GlowModel *model,
                          const struct GlowAttributes *attributes,
                          size_t n,
                          const uint8_t *images,
                          size_t images_len,
                          size_t count,
                          const char *const *names,
                          const float *strengths,
                          const int64_t *labels,
                          size_t labels_len,
                          uint8_t *edited,
                          size_t edited_len,
                          struct GlowError **error);

/**
 * Frees attributes. Nothing happens for NULL.
 */
void glow_attributes_free(struct GlowAttributes *attributes);

/**
 * Draws `n` images into `images`, uint8 [n, H, W, C], `images_len` = n*H*W*C. `options` may be NULL.
 */
enum GlowStatus glow_sample(const struct GlowModel *model,
                            size_t n,
                            const struct GlowSampleOptions *options,
                            uint8_t *images,
                            size_t images_len,
                            struct GlowError **error);

/**
 * Encodes `n` images, uint8 [n, H, W, C], into `latents`, float [n, H*W*C], and `log_prob`, float [n]: ln p(image) in
 * nats, with the discretisation term, for this one draw of the noise. `options` may be NULL. Either output may be NULL
 * with length 0: it is left out then.
 */
enum GlowStatus glow_encode(const struct GlowModel *model,
                            size_t n,
                            const uint8_t *images,
                            size_t images_len,
                            const struct GlowEncodeOptions *options,
                            float *latents,
                            size_t latents_len,
                            float *log_prob,
                            size_t log_prob_len,
                            struct GlowError **error);

/**
 * Decodes the latents of `n` images, float [n, H*W*C], into `images`, uint8 [n, H, W, C]. `labels` are the classes of
 * the images for a conditional model, otherwise NULL with length 0.
 */
enum GlowStatus glow_decode(const struct GlowModel *model,
                            size_t n,
                            const float *latents,
                            size_t latents_len,
                            const int64_t *labels,
                            size_t labels_len,
                            uint8_t *images,
                            size_t images_len,
                            struct GlowError **error);

/**
 * Encodes and decodes `n` images, uint8 [n, H, W, C], into `reconstructed`, of the same length: what comes back is each
 * value with the model's n_bits upper bits, but for rare rounding errors.
 */
enum GlowStatus glow_reconstruct(const struct GlowModel *model,
                                 size_t n,
                                 const uint8_t *images,
                                 size_t images_len,
                                 const int64_t *labels,
                                 size_t labels_len,
                                 uint8_t *reconstructed,
                                 size_t reconstructed_len,
                                 struct GlowError **error);

/**
 * Decodes `steps` images from a to b for each of `n` pairs of latents, float [n, H*W*C], both ends included: those of
 * the first pair, then those of the second, and so on, into `images`, uint8 [n*steps, H, W, C]. `steps` is at least 2,
 * `way` is GLOW_LINEAR or GLOW_SPHERICAL. There is one label for each pair, or NULL with length 0.
 */
enum GlowStatus glow_interpolate(const struct GlowModel *model,
                                 size_t n,
                                 const float *a,
                                 size_t a_len,
                                 const float *b,
                                 size_t b_len,
                                 size_t steps,
                                 uint32_t way,
                                 const int64_t *labels,
                                 size_t labels_len,
                                 uint8_t *images,
                                 size_t images_len,
                                 struct GlowError **error);

/**
 * Reads an image file (PNG, JPEG, WebP, BMP, PNM, TIFF, GIF), turns it as its EXIF orientation says, and brings it to
 * the model's size as in training, into `image`, uint8 [H, W, C]. It is never enlarged.
 */
enum GlowStatus glow_read_image(const struct GlowModel *model,
                                const char *path,
                                uint8_t *image,
                                size_t image_len,
                                struct GlowError **error);

/**
 * Draws the latents of `n` samples into `latents`, float [n, H*W*C]: those that glow_sample decodes. `options` may be
 * NULL; its labels play no part.
 */
enum GlowStatus glow_sample_latents(const struct GlowModel *model,
                                    size_t n,
                                    const struct GlowSampleOptions *options,
                                    float *latents,
                                    size_t latents_len,
                                    struct GlowError **error);

/**
 * The defaults.
 */
struct GlowLoadOptions glow_load_options(void);

/**
 * Loads the bundle in a folder. `options` may be NULL. *model is the caller's, who frees it with glow_free; it is NULL
 * after an error.
 */
enum GlowStatus glow_load(const char *folder,
                          const struct GlowLoadOptions *options,
                          struct GlowModel **model,
                          struct GlowError **error);

/**
 * Frees a model; no call on it may be running. Nothing happens for NULL.
 */
void glow_free(struct GlowModel *model);

/**
 * Writes the sizes of a model.
 */
enum GlowStatus glow_shape(const struct GlowModel *model,
                           struct GlowShape *shape,
                           struct GlowError **error);

/**
 * Writes the shape of the latents of one level, 0 to levels - 1.
 */
enum GlowStatus glow_latent_shape(const struct GlowModel *model,
                                  size_t level,
                                  struct GlowLatentShape *shape,
                                  struct GlowError **error);

/**
 * The name of a class, 0 to classes - 1. It belongs to the model. NULL where there is no such class, where the bundle
 * names none, or for a model that is NULL.
 */
const char *glow_class_name(const struct GlowModel *model,
                            size_t class_);

/**
 * The version of the ONNX Runtime in use, such as "1.31.1". It belongs to the model. NULL for a model that is NULL.
 */
const char *glow_onnxruntime_version(const struct GlowModel *model);

/**
 * The defaults.
 */
struct GlowSampleOptions glow_sample_options(void);

/**
 * The defaults.
 */
struct GlowEncodeOptions glow_encode_options(void);

/**
 * The defaults.
 */
struct GlowScoreOptions glow_score_options(void);

/**
 * Makes a reference of bits/dim of images that are of the kind but were not trained on, two or more that differ.
 * *reference is the caller's, who frees it with glow_reference_free; it is NULL after an error.
 */
enum GlowStatus glow_reference_new(const struct GlowModel *model,
                                   const double *bits,
                                   size_t bits_len,
                                   struct GlowReference **reference,
                                   struct GlowError **error);

/**
 * Reads a reference that glow_reference_save or `glow score --save-reference` wrote for this model. *reference is the
 * caller's, who frees it with glow_reference_free; it is NULL after an error.
 */
enum GlowStatus glow_reference_load(const struct GlowModel *model,
                                    const char *path,
                                    struct GlowReference **reference,
                                    struct GlowError **error);

/**
 * Writes a reference as JSON; the file is there whole or not at all.
 */
enum GlowStatus glow_reference_save(const struct GlowReference *reference,
                                    const char *path,
                                    struct GlowError **error);

/**
 * Compares the bits/dim of images, with as many draws as those of the reference had, into `scores`, one for each.
 */
enum GlowStatus glow_reference_compare(const struct GlowReference *reference,
                                       const double *bits,
                                       size_t bits_len,
                                       struct GlowOodScore *scores,
                                       size_t scores_len,
                                       struct GlowError **error);

/**
 * Frees a reference. Nothing happens for NULL.
 */
void glow_reference_free(struct GlowReference *reference);

/**
 * Computes the likelihoods of `n` images, uint8 [n, H, W, C], into `scores`, one for each. `options` may be NULL.
 */
enum GlowStatus glow_score(const struct GlowModel *model,
                           size_t n,
                           const uint8_t *images,
                           size_t images_len,
                           const struct GlowScoreOptions *options,
                           struct GlowScore *scores,
                           size_t scores_len,
                           struct GlowError **error);

/**
 * Computes bits/dim of `n` images, uint8 [n, H, W, C], into `bits`, one for each: the bits_per_dim of glow_score.
 * `options` may be NULL.
 */
enum GlowStatus glow_bits_per_dim(const struct GlowModel *model,
                                  size_t n,
                                  const uint8_t *images,
                                  size_t images_len,
                                  const struct GlowScoreOptions *options,
                                  double *bits,
                                  size_t bits_len,
                                  struct GlowError **error);

/**
 * The kind of an error. GLOW_OK for NULL.
 */
enum GlowStatus glow_error_status(const struct GlowError *error);

/**
 * The text of an error with those of its causes, "message: cause: cause of the cause". It belongs to the error, and
 * ends with it. An empty text for NULL.
 */
const char *glow_error_message(const struct GlowError *error);

/**
 * Frees an error. Nothing happens for NULL.
 */
void glow_error_free(struct GlowError *error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* GLOW_H */
