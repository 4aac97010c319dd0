// A program that brings its own inference: it attaches a pack, finds the weights, and goes back to the base.
//
// The size build (`just capi-size`) links it with the library that has no engine, and weighs what comes out.
#include <stdio.h>
#include <stdlib.h>

#include "taskvec.h"

static void must(taskvec_status status) {
  if (status == TASKVEC_STATUS_OK) return;
  const char *message, *help;
  taskvec_last_error(&message, &help);
  fprintf(stderr, "error: %s\n", message);
  if (help != NULL) fprintf(stderr, "help: %s\n", help);
  exit(1);
}

static double sum_of(const taskvec_session *session, const char *name) {
  taskvec_weights *weights;
  taskvec_tensor tensor;
  must(taskvec_weights_open(session, &weights));
  must(taskvec_weights_tensor(weights, name, &tensor));
  const float *numbers = tensor.data;
  double sum = 0;
  for (size_t i = 0; i < tensor.size_bytes / sizeof *numbers; i++) sum += numbers[i];
  must(taskvec_weights_close(weights));
  return sum;
}

int main(int count, char **arguments) {
  if (count != 4) {
    fprintf(stderr, "usage: no_engine BASE PACK TENSOR\n");
    return 2;
  }
  taskvec_base *base;
  taskvec_skill *skill;
  taskvec_session *session;
  taskvec_session_options options;
  taskvec_digest digest;
  float alpha;
  must(taskvec_base_open(arguments[1], NULL, &base));
  must(taskvec_skill_open(arguments[2], NULL, &skill));
  must(taskvec_session_options_default(&options));
  options.allows_unsigned = true;
  options.engine = TASKVEC_ENGINE_NONE;
  must(taskvec_session_open(base, &options, &session));
  must(taskvec_skill_recommended_alpha(skill, &alpha));
  must(taskvec_skill_digest(skill, &digest));

  double before = sum_of(session, arguments[3]);
  taskvec_change change;
  must(taskvec_session_attach(session, skill, alpha, &change));
  printf("attached: %zu pages touched, the sum of the tensor changes by %g\n", change.touched_pages,
         sum_of(session, arguments[3]) - before);
  must(taskvec_session_detach(session, &digest, NULL));
  printf("detached: by %g\n", sum_of(session, arguments[3]) - before);

  taskvec_session_close(session);
  taskvec_skill_close(skill);
  taskvec_base_close(base);
  return 0;
}
