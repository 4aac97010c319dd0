// A base model: what it says about itself, and how it is refused.
#include "expect.h"

static void says_what_it_is(void) {
  taskvec_base *base;
  OK(taskvec_base_open(BASE, NULL, &base));

  const char *name;
  OK(taskvec_base_name(base, &name));
  EXPECT(strcmp(name, "handwriting") == 0);

  taskvec_image_shape shape;
  OK(taskvec_base_image_shape(base, &shape));
  EXPECT(shape.channels == 1 && shape.height == 28 && shape.width == 28);

  size_t width;
  OK(taskvec_base_feature_width(base, &width));
  EXPECT(width == 96);

  size_t classes;
  const char *label;
  OK(taskvec_base_class_count(base, "handwriting", &classes));
  OK(taskvec_base_label(base, "handwriting", 0, &label));
  EXPECT(strcmp(label, "omniglot_balinese/character01") == 0);
  OK(taskvec_base_label(base, "handwriting", classes - 1, &label));
  EXPECT_STATUS(TASKVEC_STATUS_USAGE, taskvec_base_label(base, "handwriting", classes, &label));
  EXPECT_STATUS(TASKVEC_STATUS_USAGE, taskvec_base_class_count(base, "digits", &classes));
  EXPECT_SAID("`digits`");
  const char *help;
  OK(taskvec_last_error(&label, &help));
  EXPECT(help != NULL && strstr(help, "handwriting") != NULL);

  taskvec_skill *skill;
  taskvec_digest own, wanted;
  OK(taskvec_skill_open(KOREAN, NULL, &skill));
  OK(taskvec_base_fingerprint(base, &own));
  OK(taskvec_skill_base(skill, &wanted));
  EXPECT(same(own, wanted));
  OK(taskvec_skill_close(skill));
  OK(taskvec_base_close(base));
}

static void normalizes_whole_pictures(void) {
  taskvec_base *base;
  OK(taskvec_base_open(BASE, NULL, &base));
  unsigned char bytes[2 * 784] = {0};
  float pixels[2 * 784];
  bytes[0] = 255;
  bytes[784] = 51;
  OK(taskvec_base_pixels(base, bytes, sizeof bytes, pixels, 2 * 784));
  EXPECT(pixels[0] == 1.0f && pixels[1] == -1.0f);
  EXPECT(pixels[784] == (51.0f / 255.0f - 0.5f) / 0.5f);
  OK(taskvec_base_pixels(base, NULL, 0, NULL, 0));

  pixels[0] = 7;
  EXPECT_STATUS(TASKVEC_STATUS_TOO_SMALL, taskvec_base_pixels(base, bytes, sizeof bytes, pixels, 2 * 784 - 1));
  EXPECT_SAID("1568 are needed");
  EXPECT(pixels[0] == 7);
  EXPECT_STATUS(TASKVEC_STATUS_USAGE, taskvec_base_pixels(base, bytes, 783, pixels, 784));
  OK(taskvec_base_close(base));
}

static void is_refused(const char *damaged) {
  taskvec_base *base = NULL;
  EXPECT_STATUS(TASKVEC_STATUS_IO, taskvec_base_open("models/no-such-base", NULL, &base));
  EXPECT_SAID("models/no-such-base");
  EXPECT_STATUS(TASKVEC_STATUS_DAMAGED, taskvec_base_open(damaged, NULL, &base));
  EXPECT_SAID("model.safetensors");

  taskvec_bundle_limits limits;
  OK(taskvec_bundle_limits_default(&limits));
  limits.base_json_bytes_max = 1000;
  EXPECT_STATUS(TASKVEC_STATUS_LIMIT, taskvec_base_open(BASE, &limits, &base));
  EXPECT(base == NULL);
  limits.base_json_bytes_max = 1 << 20;
  OK(taskvec_base_open(BASE, &limits, &base));
  OK(taskvec_base_close(base));
}

int main(int count, char **arguments) {
  EXPECT(count == 2);
  says_what_it_is();
  normalizes_whole_pictures();
  is_refused(arguments[1]);
  return 0;
}
