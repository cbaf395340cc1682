/* A forked process has not the threads of ONNX Runtime, and is told so: fork BUNDLE SAMPLES SCRATCH */
#define _POSIX_C_SOURCE 200809L
#include <glow.h>

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N = 6, DIMS = 8 * 8 * 3 };

/* Whether a call failed as it should. */
static int refused(GlowStatus status, GlowError *error) {
    int right = status == GLOW_FAILED && strstr(glow_error_message(error), "forked") != NULL;
    if (!right) fprintf(stderr, "status %d: %s\n", (int)status, glow_error_message(error));
    glow_error_free(error);
    return right;
}

int main(int count, char **words) {
    GlowModel *model = NULL, *another = NULL;
    unsigned char images[N * DIMS];
    GlowSampleOptions options = glow_sample_options();
    options.seed = 1;
    if (count != 4 || glow_load(words[1], NULL, &model, NULL) != GLOW_OK) return 2;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        GlowError *error = NULL;
        GlowStatus sampled = glow_sample(model, 1, &options, images, DIMS, &error);
        if (!refused(sampled, error)) _exit(3);
        GlowStatus loaded = glow_load(words[1], NULL, &another, &error);
        if (!refused(loaded, error)) _exit(4);
        _exit(another == NULL ? 0 : 5);
    }
    int status = -1;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) return 6;
    /* The parent goes on. */
    FILE *file = fopen(words[2], "wb");
    if (glow_sample(model, N, &options, images, sizeof images, NULL) != GLOW_OK || file == NULL) return 7;
    fwrite(images, 1, sizeof images, file);
    glow_free(model);
    printf("all as it should be\n");
    return fclose(file);
}
