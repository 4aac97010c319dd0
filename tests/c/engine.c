// Engines: callbacks of the program's own, what they may do wrong, and the engines that the library brings.
#include "expect.h"

// What an engine was asked to do.
struct asked {
  int over, done, features;
  // What the callbacks return.
  int over_returns, features_returns;
  int forgets_to_write;
};

static int32_t over(void *user, const taskvec_weights *weights, void **inference) {
  struct asked *asked = user;
  taskvec_tensor tensor;
  OK(taskvec_weights_tensor(weights, "blocks.0.attn.proj.weight", &tensor));
  // Kept until `done`, as a library keeps what it is given.
  const void **kept = malloc(sizeof *kept);
  EXPECT(kept != NULL);
  *kept = tensor.data;
  asked->over++;
  if (asked->over_returns != 0) {
    free(kept);
    return asked->over_returns;
  }
  *inference = kept;
  return 0;
}

static int32_t features(void *user, void *inference, const taskvec_weights *weights, const float *pixels,
                        size_t pixel_count, size_t batch, float *features, size_t feature_count) {
  struct asked *asked = user;
  asked->features++;
  taskvec_tensor tensor;
  OK(taskvec_weights_tensor(weights, "blocks.0.attn.proj.weight", &tensor));
  EXPECT(*(const void **)inference == tensor.data);
  if (asked->features_returns != 0) return asked->features_returns;
  int32_t status = sums(NULL, NULL, weights, pixels, pixel_count, batch, features, feature_count);
  if (asked->forgets_to_write) features[feature_count - 1] = 0.0f / 0.0f;
  return status;
}

static void done(void *user, void *inference) {
  struct asked *asked = user;
  free(inference);
  asked->done++;
}

static taskvec_session *session_on(const taskvec_base *base, struct asked *asked, uint16_t kind) {
  taskvec_engine engine = {.user = asked, .description = "asked", .kind = kind};
  engine.over = over;
  engine.features = features;
  engine.done = done;
  taskvec_session_options options;
  OK(taskvec_session_options_default(&options));
  options.allows_unsigned = true;
  options.engine = TASKVEC_ENGINE_OWN;
  options.own = &engine;
  taskvec_session *session;
  OK(taskvec_session_open(base, &options, &session));
  return session;
}

static void what_is_begun_is_ended(const taskvec_base *base, const taskvec_skill *skill) {
  struct asked asked = {0};
  taskvec_session *session = session_on(base, &asked, 999);
  const char *description;
  OK(taskvec_session_engine(session, &description));
  EXPECT(strcmp(description, "asked") == 0);
  for (int i = 0; i < 3; i++) {
    OK(taskvec_session_attach(session, skill, 0.5f, NULL));
    OK(taskvec_session_swap(session, NULL, NULL, 0, NULL));
  }
  EXPECT(asked.over == 4 && asked.done == 3 && asked.features == 3);
  OK(taskvec_session_close(session));
  EXPECT(asked.over == asked.done);
}

static void a_callback_that_refuses_is_a_failure(const taskvec_base *base, const taskvec_skill *skill) {
  struct asked asked = {0};
  taskvec_session *session = session_on(base, &asked, 999);
  asked.over_returns = 17;
  EXPECT_STATUS(TASKVEC_STATUS_UNSUPPORTED, taskvec_session_attach(session, skill, 0.5f, NULL));
  EXPECT_SAID("`over` of engine `asked` returned 17");
  asked.over_returns = 0;
  asked.features_returns = -3;
  EXPECT_STATUS(TASKVEC_STATUS_UNSUPPORTED, taskvec_session_attach(session, skill, 0.5f, NULL));
  EXPECT_SAID("returned -3");
  asked.features_returns = 0;
  asked.forgets_to_write = 1;
  EXPECT_STATUS(TASKVEC_STATUS_MISMATCH, taskvec_session_attach(session, skill, 0.5f, NULL));
  EXPECT_SAID("the answer holds NaN");
  size_t count;
  OK(taskvec_session_skills(session, NULL, 0, &count));
  EXPECT(count == 0);
  OK(taskvec_session_close(session));
  EXPECT(asked.over == asked.done + 1);
}

static void wrong_answers_do_not_pass_the_probes(const taskvec_base *base, const taskvec_skill *skill) {
  struct asked asked = {0};
  float alpha;
  OK(taskvec_skill_recommended_alpha(skill, &alpha));
  // It claims to be ONNX Runtime, for which the pack has probes.
  taskvec_session *session = session_on(base, &asked, 1);
  EXPECT_STATUS(TASKVEC_STATUS_MISMATCH, taskvec_session_attach(session, skill, alpha, NULL));
  EXPECT_SAID("probe 0");
  OK(taskvec_session_close(session));
}

static void choices_that_make_no_sense_are_refused(const taskvec_base *base) {
  taskvec_session_options options;
  taskvec_session *session = NULL;
  OK(taskvec_session_options_default(&options));
  options.allows_unsigned = true;
  options.engine = 5;
  EXPECT_STATUS(TASKVEC_STATUS_USAGE, taskvec_session_open(base, &options, &session));
  options.engine = TASKVEC_ENGINE_OWN;
  EXPECT_STATUS(TASKVEC_STATUS_NULL, taskvec_session_open(base, &options, &session));
  taskvec_engine engine = {.description = "empty"};
  options.own = &engine;
  EXPECT_STATUS(TASKVEC_STATUS_NULL, taskvec_session_open(base, &options, &session));
  EXPECT_SAID("`features`");
  engine = engine_of_sums();
  engine.description = NULL;
  EXPECT_STATUS(TASKVEC_STATUS_NULL, taskvec_session_open(base, &options, &session));
  EXPECT_SAID("`description`");
  options.engine = TASKVEC_ENGINE_ORT;
  options.onnxruntime = "no-such-library.so";
  EXPECT_STATUS(TASKVEC_STATUS_UNSUPPORTED, taskvec_session_open(base, &options, &session));
  options.providers = "cpu,abacus";
  EXPECT_STATUS(TASKVEC_STATUS_USAGE, taskvec_session_open(base, &options, &session));
  EXPECT_SAID("`abacus`");
  EXPECT(session == NULL);
}

static void without_an_engine_nothing_is_inferred(const taskvec_base *base, const taskvec_skill *skill) {
  taskvec_session *session = session_without_engine(base);
  float alpha;
  taskvec_change change;
  OK(taskvec_skill_recommended_alpha(skill, &alpha));
  OK(taskvec_session_attach(session, skill, alpha, &change));
  EXPECT(change.proof == TASKVEC_PROOF_FELT && change.inputs == 0);
  static float pixels[784], features[96];
  size_t count;
  EXPECT_STATUS(TASKVEC_STATUS_USAGE, taskvec_session_features(session, pixels, 784, 1, features, 96, &count));
  EXPECT_SAID("no engine");
  OK(taskvec_session_close(session));
}

static void burn_passes_the_probes(const taskvec_base *base, const taskvec_skill *skill) {
  taskvec_session_options options;
  taskvec_session *session;
  OK(taskvec_session_options_default(&options));
  options.allows_unsigned = true;
  options.engine = TASKVEC_ENGINE_BURN;
  OK(taskvec_session_open(base, &options, &session));
  float alpha;
  taskvec_change change;
  OK(taskvec_skill_recommended_alpha(skill, &alpha));
  OK(taskvec_session_attach(session, skill, alpha, &change));
  EXPECT(change.proof == TASKVEC_PROOF_PROBES && change.inputs > 0);
  EXPECT(change.difference_max <= change.tolerance);
  OK(taskvec_session_close(session));
}

int main(void) {
  taskvec_base *base;
  taskvec_skill *skill;
  OK(taskvec_base_open(BASE, NULL, &base));
  OK(taskvec_skill_open(KOREAN, NULL, &skill));
  what_is_begun_is_ended(base, skill);
  a_callback_that_refuses_is_a_failure(base, skill);
  wrong_answers_do_not_pass_the_probes(base, skill);
  choices_that_make_no_sense_are_refused(base);
  without_an_engine_nothing_is_inferred(base, skill);
  burn_passes_the_probes(base, skill);
  OK(taskvec_skill_close(skill));
  OK(taskvec_base_close(base));
  return 0;
}
