// A skill: what its pack says, from a path and from memory, and how it is refused.
#include "expect.h"

static void says_what_it_is(void) {
  taskvec_skill *skill;
  OK(taskvec_skill_open(KOREAN, NULL, &skill));
  const char *name, *label;
  OK(taskvec_skill_name(skill, &name));
  EXPECT(strcmp(name, "korean") == 0);
  float alpha, low, high;
  OK(taskvec_skill_recommended_alpha(skill, &alpha));
  OK(taskvec_skill_alpha_range(skill, &low, &high));
  EXPECT(low <= alpha && alpha <= high);
  size_t classes;
  OK(taskvec_skill_class_count(skill, &classes));
  EXPECT(classes > 0);
  OK(taskvec_skill_label(skill, classes - 1, &label));
  EXPECT(strlen(label) > 0);
  EXPECT_STATUS(TASKVEC_STATUS_USAGE, taskvec_skill_label(skill, classes, &label));
  OK(taskvec_skill_close(skill));
}

static void is_the_same_from_memory(void) {
  size_t size_bytes;
  unsigned char *bytes = contents(KOREAN, &size_bytes);
  taskvec_skill *mapped, *copied;
  OK(taskvec_skill_open(KOREAN, NULL, &mapped));
  OK(taskvec_skill_open_bytes(bytes, size_bytes, NULL, &copied));
  // The skill has its own copy.
  memset(bytes, 0, size_bytes);
  taskvec_digest a, b;
  OK(taskvec_skill_digest(mapped, &a));
  OK(taskvec_skill_digest(copied, &b));
  EXPECT(same(a, b));
  const char *name;
  OK(taskvec_skill_name(copied, &name));
  EXPECT(strcmp(name, "korean") == 0);
  OK(taskvec_skill_close(mapped));
  OK(taskvec_skill_close(copied));
  free(bytes);
}

static void is_refused(void) {
  taskvec_skill *skill = NULL;
  EXPECT_STATUS(TASKVEC_STATUS_IO, taskvec_skill_open("no-such-pack.tvp", NULL, &skill));
  EXPECT_SAID("no-such-pack.tvp");
  EXPECT_STATUS(TASKVEC_STATUS_DAMAGED, taskvec_skill_open(BASE "/base.json", NULL, &skill));

  size_t size_bytes;
  unsigned char *bytes = contents(KOREAN, &size_bytes);
  EXPECT_STATUS(TASKVEC_STATUS_DAMAGED, taskvec_skill_open_bytes(bytes, size_bytes - 1, NULL, &skill));
  EXPECT_STATUS(TASKVEC_STATUS_DAMAGED, taskvec_skill_open_bytes(NULL, 0, NULL, &skill));
  for (size_t at = 0; at < size_bytes; at += size_bytes / 50) {
    bytes[at] ^= 0x10;
    taskvec_status status = taskvec_skill_open_bytes(bytes, size_bytes, NULL, &skill);
    EXPECT(status == TASKVEC_STATUS_DAMAGED || status == TASKVEC_STATUS_UNSUPPORTED);
    EXPECT(strlen(last_message()) > 0);
    bytes[at] ^= 0x10;
  }

  taskvec_pack_limits limits;
  OK(taskvec_pack_limits_default(&limits));
  limits.file_bytes_max = size_bytes - 1;
  EXPECT_STATUS(TASKVEC_STATUS_LIMIT, taskvec_skill_open(KOREAN, &limits, &skill));
  EXPECT_STATUS(TASKVEC_STATUS_LIMIT, taskvec_skill_open_bytes(bytes, size_bytes, &limits, &skill));
  limits.file_bytes_max = size_bytes;
  limits.tensors_max = 1;
  EXPECT_STATUS(TASKVEC_STATUS_LIMIT, taskvec_skill_open(KOREAN, &limits, &skill));
  EXPECT(skill == NULL);
  free(bytes);
}

int main(void) {
  says_what_it_is();
  is_the_same_from_memory();
  is_refused();
  return 0;
}
