// A session: skills come, go and are weighed; what fails leaves what was in force.
#include "expect.h"

#include <math.h>

struct all {
  taskvec_base *base;
  taskvec_skill *korean, *sketches;
  taskvec_digest korean_digest, sketches_digest;
};

static struct all opened(void) {
  struct all all;
  OK(taskvec_base_open(BASE, NULL, &all.base));
  OK(taskvec_skill_open(KOREAN, NULL, &all.korean));
  OK(taskvec_skill_open(SKETCHES, NULL, &all.sketches));
  OK(taskvec_skill_digest(all.korean, &all.korean_digest));
  OK(taskvec_skill_digest(all.sketches, &all.sketches_digest));
  return all;
}

static void closed(struct all all) {
  OK(taskvec_base_close(all.base));
  OK(taskvec_skill_close(all.korean));
  OK(taskvec_skill_close(all.sketches));
}

static taskvec_digest digest_of(const taskvec_session *session) {
  taskvec_digest digest;
  OK(taskvec_session_digest(session, &digest));
  return digest;
}

static void skills_come_and_go(void) {
  struct all all = opened();
  taskvec_session *session = session_of_sums(all.base);
  taskvec_digest bare = digest_of(session);

  taskvec_change change;
  OK(taskvec_session_attach(session, all.korean, 0.5f, &change));
  EXPECT(change.skill_count == 1 && change.proof == TASKVEC_PROOF_FELT && change.inputs == 1);
  EXPECT(change.touched_pages > 0 && change.touched_bytes == 4096 * (uint64_t)change.touched_pages);
  EXPECT(change.entries > 0 && same(change.composition, digest_of(session)));
  OK(taskvec_session_attach(session, all.sketches, 0.25f, NULL));
  taskvec_digest both = digest_of(session);

  taskvec_skill_in_force skills[3];
  size_t count;
  OK(taskvec_session_skills(session, NULL, 0, &count));
  EXPECT(count == 2);
  EXPECT_STATUS(TASKVEC_STATUS_TOO_SMALL, taskvec_session_skills(session, skills, 1, &count));
  OK(taskvec_session_skills(session, skills, 3, &count));
  EXPECT(count == 2);
  int korean_first = same(skills[0].digest, all.korean_digest);
  EXPECT(skills[!korean_first].alpha == 0.5f && skills[korean_first].alpha == 0.25f);
  EXPECT(same(skills[korean_first].digest, all.sketches_digest));

  OK(taskvec_session_set_alpha(session, &all.korean_digest, 0.75f, NULL));
  EXPECT(!same(both, digest_of(session)));
  OK(taskvec_session_set_alpha(session, &all.korean_digest, 0.5f, NULL));
  EXPECT(same(both, digest_of(session)));

  // The order does not matter, nor the way.
  const taskvec_skill *other_order[] = {all.sketches, all.korean};
  const float alphas[] = {0.25f, 0.5f};
  OK(taskvec_session_swap(session, NULL, NULL, 0, &change));
  EXPECT(change.skill_count == 0 && change.proof == TASKVEC_PROOF_BASE && same(change.composition, bare));
  OK(taskvec_session_swap(session, other_order, alphas, 2, &change));
  EXPECT(same(change.composition, both));

  OK(taskvec_session_detach(session, &all.sketches_digest, NULL));
  OK(taskvec_session_detach(session, &all.korean_digest, &change));
  EXPECT(same(change.composition, bare) && same(digest_of(session), bare));
  OK(taskvec_session_close(session));
  closed(all);
}

static void a_failure_leaves_what_was_in_force(void) {
  struct all all = opened();
  taskvec_session *session = session_of_sums(all.base);
  OK(taskvec_session_attach(session, all.korean, 0.5f, NULL));
  taskvec_digest before = digest_of(session);
  taskvec_skill *foreign;
  OK(taskvec_skill_open(FOREIGN, NULL, &foreign));

  taskvec_change change;
  memset(&change, 0x5a, sizeof change);
  EXPECT_STATUS(TASKVEC_STATUS_USAGE, taskvec_session_attach(session, all.korean, 0.5f, &change));
  EXPECT_SAID("in force already");
  EXPECT_STATUS(TASKVEC_STATUS_MISMATCH, taskvec_session_attach(session, foreign, 1, &change));
  EXPECT_SAID("made for base");
  EXPECT_STATUS(TASKVEC_STATUS_USAGE, taskvec_session_attach(session, all.sketches, NAN, &change));
  EXPECT_STATUS(TASKVEC_STATUS_USAGE, taskvec_session_detach(session, &all.sketches_digest, &change));
  EXPECT_STATUS(TASKVEC_STATUS_USAGE, taskvec_session_set_alpha(session, &all.sketches_digest, 1, &change));
  const taskvec_skill *twice[] = {all.sketches, all.sketches}, *hole[] = {all.sketches, NULL};
  const float alphas[] = {1, 1};
  EXPECT_STATUS(TASKVEC_STATUS_USAGE, taskvec_session_swap(session, twice, alphas, 2, &change));
  EXPECT_STATUS(TASKVEC_STATUS_NULL, taskvec_session_swap(session, hole, alphas, 2, &change));
  EXPECT_STATUS(TASKVEC_STATUS_NULL, taskvec_session_swap(session, twice, NULL, 2, &change));
  for (size_t i = 0; i < sizeof change; i++) EXPECT(((unsigned char *)&change)[i] == 0x5a);
  EXPECT(same(before, digest_of(session)));

  OK(taskvec_skill_close(foreign));
  OK(taskvec_session_close(session));
  closed(all);
}

static void limits_of_a_composition_hold(void) {
  struct all all = opened();
  taskvec_session_options options;
  OK(taskvec_session_options_default(&options));
  options.allows_unsigned = true;
  options.engine = TASKVEC_ENGINE_NONE;
  options.skills_max = 1;
  taskvec_session *session;
  OK(taskvec_session_open(all.base, &options, &session));
  OK(taskvec_session_attach(session, all.korean, 1, NULL));
  EXPECT_STATUS(TASKVEC_STATUS_LIMIT, taskvec_session_attach(session, all.sketches, 1, NULL));
  OK(taskvec_session_close(session));

  options.touched_bytes_max = 4096;
  options.keeps_pages = true;
  OK(taskvec_session_open(all.base, &options, &session));
  EXPECT_STATUS(TASKVEC_STATUS_LIMIT, taskvec_session_attach(session, all.korean, 1, NULL));
  EXPECT_SAID("the limit of 4096");
  OK(taskvec_session_close(session));

  options.touched_bytes_max = UINT64_MAX;
  options.entries_max = 10;
  OK(taskvec_session_open(all.base, &options, &session));
  EXPECT_STATUS(TASKVEC_STATUS_LIMIT, taskvec_session_attach(session, all.korean, 1, NULL));
  OK(taskvec_session_close(session));
  closed(all);
}

static void answers_name_their_head_and_composition(void) {
  struct all all = opened();
  taskvec_session *session = session_of_sums(all.base);
  static float pixels[2 * 784], logits[2 * 4096], features[2 * 96];
  pixels[784] = 1;
  size_t count, classes;
  taskvec_answer answer;
  taskvec_head_choice choice;
  OK(taskvec_head_choice_default(&choice));

  EXPECT_STATUS(TASKVEC_STATUS_USAGE, taskvec_session_infer(session, pixels, 784, 1, NULL, logits, 4096, &count, NULL));
  EXPECT_SAID("no skill with a head");
  choice.kind = TASKVEC_HEAD_BASE;
  EXPECT_STATUS(TASKVEC_STATUS_NULL, taskvec_session_infer(session, pixels, 784, 1, &choice, logits, 4096, &count, NULL));
  choice.name = "handwriting";
  OK(taskvec_base_class_count(all.base, "handwriting", &classes));
  OK(taskvec_session_infer(session, pixels, 2 * 784, 2, &choice, logits, 2 * 4096, &count, &answer));
  EXPECT(count == 2 * classes && answer.class_count == classes && same(answer.composition, digest_of(session)));
  EXPECT(logits[0] != logits[classes]);

  OK(taskvec_session_attach(session, all.korean, 0.5f, NULL));
  size_t of_korean;
  OK(taskvec_skill_class_count(all.korean, &of_korean));
  OK(taskvec_session_infer(session, pixels, 784, 1, NULL, logits, of_korean, &count, &answer));
  EXPECT(count == of_korean && same(answer.composition, digest_of(session)));
  choice.kind = TASKVEC_HEAD_SKILL;
  choice.skill = all.korean_digest;
  OK(taskvec_session_infer(session, pixels, 784, 1, &choice, logits, of_korean, &count, NULL));
  choice.kind = TASKVEC_HEAD_NAMED;
  choice.name = "korean";
  OK(taskvec_session_infer(session, pixels, 784, 1, &choice, logits, of_korean, &count, NULL));
  choice.kind = 4;
  EXPECT_STATUS(TASKVEC_STATUS_USAGE, taskvec_session_infer(session, pixels, 784, 1, &choice, logits, 4096, &count, NULL));

  logits[0] = 7;
  count = 99;
  EXPECT_STATUS(TASKVEC_STATUS_TOO_SMALL,
                taskvec_session_infer(session, pixels, 784, 1, NULL, logits, of_korean - 1, &count, NULL));
  EXPECT(logits[0] == 7 && count == 99);
  EXPECT_STATUS(TASKVEC_STATUS_USAGE, taskvec_session_infer(session, pixels, 783, 1, NULL, logits, 4096, &count, NULL));
  EXPECT_STATUS(TASKVEC_STATUS_USAGE, taskvec_session_infer(session, pixels, 0, 0, NULL, logits, 4096, &count, NULL));

  OK(taskvec_session_features(session, pixels, 2 * 784, 2, features, 2 * 96, &count));
  EXPECT(count == 2 * 96 && features[0] != features[96]);
  EXPECT_STATUS(TASKVEC_STATUS_TOO_SMALL, taskvec_session_features(session, pixels, 784, 1, features, 95, &count));
  EXPECT_STATUS(TASKVEC_STATUS_USAGE, taskvec_session_features(session, pixels, 784, 2, features, 2 * 96, &count));
  OK(taskvec_session_close(session));
  closed(all);
}

static void sessions_stand_beside_each_other(void) {
  struct all all = opened();
  taskvec_session *first = session_of_sums(all.base), *second;
  OK(taskvec_session_attach(first, all.korean, 0.5f, NULL));
  OK(taskvec_session_open_beside(first, &second));
  EXPECT(!same(digest_of(first), digest_of(second)));
  // What a session needs of its base and its skills it keeps.
  closed(all);
  static float pixels[784], a[96], b[96];
  size_t count;
  OK(taskvec_session_features(second, pixels, 784, 1, b, 96, &count));
  OK(taskvec_session_features(first, pixels, 784, 1, a, 96, &count));
  EXPECT(memcmp(a, b, sizeof a) != 0);
  OK(taskvec_session_close(first));
  OK(taskvec_session_swap(second, NULL, NULL, 0, NULL));
  OK(taskvec_session_close(second));
}

int main(void) {
  skills_come_and_go();
  a_failure_leaves_what_was_in_force();
  limits_of_a_composition_hold();
  answers_name_their_head_and_composition();
  sessions_stand_beside_each_other();
  return 0;
}
