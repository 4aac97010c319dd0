// Two threads infer while a third swaps: every answer is the one of the composition that it names.
#include "expect.h"

#include <pthread.h>

#define COMPOSITIONS 4
#define ANSWERS 60
#define SWAPS 40
#define CLASSES_MAX 4096

static taskvec_base *base;
static taskvec_skill *skills[2];
static taskvec_session *session;
static float pixels[784];

// What each composition answers, as a session of its own has it.
static taskvec_digest digests[COMPOSITIONS];
static float answers[COMPOSITIONS][CLASSES_MAX];
static size_t class_count;

static void swap_to(taskvec_session *session, int composition) {
  const taskvec_skill *wanted[2];
  const float alphas[] = {0.5f, 0.5f};
  size_t count = 0;
  for (int skill = 0; skill < 2; skill++) {
    if (composition >> skill & 1) wanted[count++] = skills[skill];
  }
  OK(taskvec_session_swap(session, wanted, alphas, count, NULL));
}

static void infer(taskvec_session *session, float *logits, taskvec_answer *answer) {
  taskvec_head_choice head;
  size_t count;
  OK(taskvec_head_choice_default(&head));
  head.kind = TASKVEC_HEAD_BASE;
  head.name = "handwriting";
  OK(taskvec_session_infer(session, pixels, 784, 1, &head, logits, CLASSES_MAX, &count, answer));
  EXPECT(count == class_count);
}

static void *infers(void *unused) {
  static _Thread_local float logits[CLASSES_MAX];
  for (int i = 0; i < ANSWERS; i++) {
    taskvec_answer answer;
    infer(session, logits, &answer);
    int composition = 0;
    while (!same(digests[composition], answer.composition)) EXPECT(++composition < COMPOSITIONS);
    EXPECT(memcmp(logits, answers[composition], class_count * sizeof *logits) == 0);
  }
  // A failure here is this thread's own.
  EXPECT_STATUS(TASKVEC_STATUS_USAGE, taskvec_session_features(session, pixels, 1, 1, NULL, 0, &(size_t){0}));
  EXPECT_SAID("1 numbers");
  return unused;
}

static void *swaps(void *unused) {
  for (int i = 0; i < SWAPS; i++) swap_to(session, i % COMPOSITIONS);
  EXPECT(strcmp(last_message(), "") == 0);
  return unused;
}

int main(void) {
  OK(taskvec_base_open(BASE, NULL, &base));
  OK(taskvec_skill_open(KOREAN, NULL, &skills[0]));
  OK(taskvec_skill_open(SKETCHES, NULL, &skills[1]));
  OK(taskvec_base_class_count(base, "handwriting", &class_count));
  EXPECT(class_count <= CLASSES_MAX);
  for (int composition = 0; composition < COMPOSITIONS; composition++) {
    taskvec_session *fresh = session_of_sums(base);
    swap_to(fresh, composition);
    taskvec_answer answer;
    infer(fresh, answers[composition], &answer);
    digests[composition] = answer.composition;
    OK(taskvec_session_close(fresh));
  }
  for (int a = 0; a < COMPOSITIONS; a++) {
    for (int b = 0; b < a; b++) EXPECT(memcmp(answers[a], answers[b], class_count * sizeof **answers) != 0);
  }

  session = session_of_sums(base);
  pthread_t threads[3];
  EXPECT(pthread_create(&threads[0], NULL, infers, NULL) == 0);
  EXPECT(pthread_create(&threads[1], NULL, infers, NULL) == 0);
  EXPECT(pthread_create(&threads[2], NULL, swaps, NULL) == 0);
  for (int i = 0; i < 3; i++) EXPECT(pthread_join(threads[i], NULL) == 0);
  OK(taskvec_session_close(session));
  OK(taskvec_skill_close(skills[0]));
  OK(taskvec_skill_close(skills[1]));
  OK(taskvec_base_close(base));
  return 0;
}
