// What the C tests share: checks that name their line, the files they work on, and an engine made of sums.
#ifndef EXPECT_H
#define EXPECT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "taskvec.h"

// The tests run in the root of the repository.
#define BASE "models/handwriting"
#define KOREAN "models/handwriting/skills/korean.tvp"
#define SKETCHES "models/handwriting/skills/sketches.tvp"
// A pack for another base.
#define FOREIGN "tests/vectors/valid/f32_odd.tvp"

#define EXPECT(condition)                                                         \
  do {                                                                            \
    if (!(condition)) {                                                           \
      fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition);    \
      exit(1);                                                                    \
    }                                                                             \
  } while (0)

static const char *last_message(void) {
  const char *message;
  EXPECT(taskvec_last_error(&message, NULL) == TASKVEC_STATUS_OK);
  return message;
}

#define EXPECT_STATUS(expected, call)                                                                       \
  do {                                                                                                      \
    taskvec_status status = (call);                                                                         \
    if (status != (expected)) {                                                                             \
      fprintf(stderr, "%s:%d: %s gave %d, expected %s\n  last: %s\n", __FILE__, __LINE__, #call, (int)status, \
              #expected, last_message());                                                                   \
      exit(1);                                                                                              \
    }                                                                                                       \
  } while (0)

#define OK(call) EXPECT_STATUS(TASKVEC_STATUS_OK, call)

// The last failure of this thread says `part`.
#define EXPECT_SAID(part)                                                                                \
  do {                                                                                                   \
    if (strstr(last_message(), part) == NULL) {                                                          \
      fprintf(stderr, "%s:%d: expected `%s` in: %s\n", __FILE__, __LINE__, part, last_message());         \
      exit(1);                                                                                           \
    }                                                                                                    \
  } while (0)

static inline int same(taskvec_digest a, taskvec_digest b) { return memcmp(a.bytes, b.bytes, sizeof a.bytes) == 0; }

// A file in memory; to be freed.
static inline unsigned char *contents(const char *path, size_t *size_bytes) {
  FILE *file = fopen(path, "rb");
  EXPECT(file != NULL);
  EXPECT(fseek(file, 0, SEEK_END) == 0);
  *size_bytes = (size_t)ftell(file);
  rewind(file);
  unsigned char *bytes = malloc(*size_bytes);
  EXPECT(bytes != NULL);
  EXPECT(fread(bytes, 1, *size_bytes, file) == *size_bytes);
  fclose(file);
  return bytes;
}

// An engine to which the numbers that packs may edit matter: feature j is the mean pixel plus 2, times the sum of those
// elements of all editable tensors whose index leaves j when it is divided by the number of features. Only every fifth
// element is taken: the programs also run under valgrind, thirty times as slow.
static inline int32_t sums(void *user, void *inference, const taskvec_weights *weights, const float *pixels,
                           size_t pixel_count, size_t batch, float *features, size_t feature_count) {
  (void)user;
  (void)inference;
  size_t width = feature_count / batch, one = pixel_count / batch, tensor_count;
  double *sum = calloc(width, sizeof *sum);
  if (sum == NULL || taskvec_weights_tensor_count(weights, &tensor_count) != TASKVEC_STATUS_OK) return 1;
  for (size_t t = 0; t < tensor_count; t++) {
    taskvec_tensor tensor;
    if (taskvec_weights_tensor_at(weights, t, &tensor) != TASKVEC_STATUS_OK) return 2;
    if (!tensor.is_editable || tensor.dtype != TASKVEC_DTYPE_F32) continue;
    const float *numbers = tensor.data;
    for (size_t i = 0; i < tensor.size_bytes / sizeof *numbers; i += 5) sum[i % width] += numbers[i];
  }
  for (size_t b = 0; b < batch; b++) {
    double mean = 0;
    for (size_t i = 0; i < one; i++) mean += pixels[b * one + i] / (double)one;
    for (size_t j = 0; j < width; j++) features[b * width + j] = (float)(sum[j] * (mean + 2));
  }
  free(sum);
  return 0;
}

// The engine of sums, under a number for which packs have no tolerance of their own.
static inline taskvec_engine engine_of_sums(void) {
  taskvec_engine engine = {.user = NULL, .description = "sums", .kind = 999, .features = sums};
  return engine;
}

// A session on the engine of sums.
static inline taskvec_session *session_of_sums(const taskvec_base *base) {
  taskvec_engine engine = engine_of_sums();
  taskvec_session_options options;
  OK(taskvec_session_options_default(&options));
  options.allows_unsigned = true;
  options.engine = TASKVEC_ENGINE_OWN;
  options.own = &engine;
  taskvec_session *session;
  OK(taskvec_session_open(base, &options, &session));
  return session;
}

// A session without an engine.
static inline taskvec_session *session_without_engine(const taskvec_base *base) {
  taskvec_session_options options;
  OK(taskvec_session_options_default(&options));
  options.allows_unsigned = true;
  options.engine = TASKVEC_ENGINE_NONE;
  taskvec_session *session;
  OK(taskvec_session_open(base, &options, &session));
  return session;
}

#endif
