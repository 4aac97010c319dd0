// NULL is refused by every function, by the name of the argument, and closing it does nothing.
#include "expect.h"

#define REFUSES(name, call)                      \
  do {                                           \
    EXPECT_STATUS(TASKVEC_STATUS_NULL, call);    \
    EXPECT_SAID("`" name "` is NULL");           \
  } while (0)

static void refuses_null_inputs(void) {
  taskvec_base *base;
  taskvec_skill *skill;
  taskvec_session *session;
  taskvec_weights *weights;
  taskvec_digest digest = {{0}};
  taskvec_image_shape shape;
  taskvec_tensor tensor;
  const char *text;
  const uint8_t *bytes;
  size_t count;
  float number, more;
  unsigned char byte;

  REFUSES("folder", taskvec_base_open(NULL, NULL, &base));
  REFUSES("base", taskvec_base_fingerprint(NULL, &digest));
  REFUSES("base", taskvec_base_name(NULL, &text));
  REFUSES("base", taskvec_base_image_shape(NULL, &shape));
  REFUSES("base", taskvec_base_feature_width(NULL, &count));
  REFUSES("base", taskvec_base_pixels(NULL, &byte, 1, &number, 1));
  REFUSES("base", taskvec_base_class_count(NULL, "a", &count));
  REFUSES("base", taskvec_base_label(NULL, "a", 0, &text));

  REFUSES("path", taskvec_skill_open(NULL, NULL, &skill));
  REFUSES("bytes", taskvec_skill_open_bytes(NULL, 1, NULL, &skill));
  REFUSES("skill", taskvec_skill_digest(NULL, &digest));
  REFUSES("skill", taskvec_skill_name(NULL, &text));
  REFUSES("skill", taskvec_skill_base(NULL, &digest));
  REFUSES("skill", taskvec_skill_recommended_alpha(NULL, &number));
  REFUSES("skill", taskvec_skill_alpha_range(NULL, &number, &more));
  REFUSES("skill", taskvec_skill_class_count(NULL, &count));
  REFUSES("skill", taskvec_skill_label(NULL, 0, &text));

  REFUSES("base", taskvec_session_open(NULL, NULL, &session));
  REFUSES("session", taskvec_session_open_beside(NULL, &session));
  REFUSES("session", taskvec_session_engine(NULL, &text));
  REFUSES("session", taskvec_session_attach(NULL, NULL, 1, NULL));
  REFUSES("session", taskvec_session_detach(NULL, &digest, NULL));
  REFUSES("session", taskvec_session_set_alpha(NULL, &digest, 1, NULL));
  REFUSES("session", taskvec_session_swap(NULL, NULL, NULL, 0, NULL));
  REFUSES("session", taskvec_session_digest(NULL, &digest));
  REFUSES("session", taskvec_session_skills(NULL, NULL, 0, &count));
  REFUSES("session", taskvec_session_infer(NULL, &number, 1, 1, NULL, &more, 1, &count, NULL));
  REFUSES("session", taskvec_session_features(NULL, &number, 1, 1, &more, 1, &count));

  REFUSES("session", taskvec_weights_open(NULL, &weights));
  REFUSES("weights", taskvec_weights_bytes(NULL, &bytes, &count));
  REFUSES("weights", taskvec_weights_tensor_count(NULL, &count));
  REFUSES("weights", taskvec_weights_tensor_at(NULL, 0, &tensor));
  REFUSES("weights", taskvec_weights_tensor(NULL, "a", &tensor));
}

static void refuses_null_outputs(void) {
  taskvec_base *base;
  taskvec_skill *skill;
  OK(taskvec_base_open(BASE, NULL, &base));
  OK(taskvec_skill_open(KOREAN, NULL, &skill));
  taskvec_session *session = session_without_engine(base);
  taskvec_weights *weights;
  OK(taskvec_weights_open(session, &weights));
  const uint8_t *bytes;
  size_t count;
  float number;
  static float pixels[784];

  REFUSES("message", taskvec_last_error(NULL, NULL));
  REFUSES("limits", taskvec_bundle_limits_default(NULL));
  REFUSES("limits", taskvec_pack_limits_default(NULL));
  REFUSES("choice", taskvec_head_choice_default(NULL));
  REFUSES("options", taskvec_session_options_default(NULL));

  REFUSES("base", taskvec_base_open(BASE, NULL, NULL));
  REFUSES("fingerprint", taskvec_base_fingerprint(base, NULL));
  REFUSES("name", taskvec_base_name(base, NULL));
  REFUSES("shape", taskvec_base_image_shape(base, NULL));
  REFUSES("width", taskvec_base_feature_width(base, NULL));
  REFUSES("bytes", taskvec_base_pixels(base, NULL, 784, pixels, 784));
  REFUSES("pixels", taskvec_base_pixels(base, (const uint8_t *)pixels, 784, NULL, 784));
  REFUSES("head", taskvec_base_class_count(base, NULL, &count));
  REFUSES("count", taskvec_base_class_count(base, "handwriting", NULL));
  REFUSES("label", taskvec_base_label(base, "handwriting", 0, NULL));

  REFUSES("skill", taskvec_skill_open(KOREAN, NULL, NULL));
  REFUSES("skill", taskvec_skill_open_bytes((const uint8_t *)"a", 1, NULL, NULL));
  REFUSES("digest", taskvec_skill_digest(skill, NULL));
  REFUSES("name", taskvec_skill_name(skill, NULL));
  REFUSES("fingerprint", taskvec_skill_base(skill, NULL));
  REFUSES("alpha", taskvec_skill_recommended_alpha(skill, NULL));
  REFUSES("low", taskvec_skill_alpha_range(skill, NULL, &number));
  REFUSES("high", taskvec_skill_alpha_range(skill, &number, NULL));
  REFUSES("count", taskvec_skill_class_count(skill, NULL));
  REFUSES("label", taskvec_skill_label(skill, 0, NULL));

  REFUSES("session", taskvec_session_open(base, NULL, NULL));
  REFUSES("beside", taskvec_session_open_beside(session, NULL));
  REFUSES("description", taskvec_session_engine(session, NULL));
  REFUSES("skill", taskvec_session_attach(session, NULL, 1, NULL));
  REFUSES("skill", taskvec_session_detach(session, NULL, NULL));
  REFUSES("skill", taskvec_session_set_alpha(session, NULL, 1, NULL));
  REFUSES("skills", taskvec_session_swap(session, NULL, &number, 1, NULL));
  REFUSES("digest", taskvec_session_digest(session, NULL));
  REFUSES("skills", taskvec_session_skills(session, NULL, 1, &count));
  REFUSES("count", taskvec_session_skills(session, NULL, 0, NULL));
  REFUSES("pixels", taskvec_session_infer(session, NULL, 784, 1, NULL, &number, 1, &count, NULL));
  REFUSES("logits", taskvec_session_infer(session, pixels, 784, 1, NULL, NULL, 1, &count, NULL));
  REFUSES("count", taskvec_session_infer(session, pixels, 784, 1, NULL, &number, 1, NULL, NULL));
  REFUSES("pixels", taskvec_session_features(session, NULL, 784, 1, &number, 1, &count));
  REFUSES("features", taskvec_session_features(session, pixels, 784, 1, NULL, 1, &count));
  REFUSES("count", taskvec_session_features(session, pixels, 784, 1, &number, 1, NULL));

  REFUSES("weights", taskvec_weights_open(session, NULL));
  REFUSES("bytes", taskvec_weights_bytes(weights, NULL, &count));
  REFUSES("byte_count", taskvec_weights_bytes(weights, &bytes, NULL));
  REFUSES("count", taskvec_weights_tensor_count(weights, NULL));
  REFUSES("tensor", taskvec_weights_tensor_at(weights, 0, NULL));
  REFUSES("name", taskvec_weights_tensor(weights, NULL, NULL));
  REFUSES("tensor", taskvec_weights_tensor(weights, "a", NULL));

  OK(taskvec_weights_close(weights));
  OK(taskvec_session_close(session));
  OK(taskvec_skill_close(skill));
  OK(taskvec_base_close(base));
}

static void closing_nothing_does_nothing(void) {
  OK(taskvec_base_close(NULL));
  OK(taskvec_skill_close(NULL));
  OK(taskvec_session_close(NULL));
  OK(taskvec_weights_close(NULL));
}

int main(void) {
  refuses_null_inputs();
  refuses_null_outputs();
  closing_nothing_does_nothing();
  return 0;
}
