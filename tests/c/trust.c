// Whose packs are attached: nobody's by default, those that pinned keys have signed, or anybody's by name.
#include "expect.h"

// The key of 64 hexadecimal digits.
static taskvec_public_key key_of(const char *digits) {
  taskvec_public_key key;
  EXPECT(strlen(digits) == 64);
  for (size_t i = 0; i < sizeof key.bytes; i++) {
    unsigned byte;
    EXPECT(sscanf(digits + 2 * i, "%2x", &byte) == 1);
    key.bytes[i] = (uint8_t)byte;
  }
  return key;
}

// Opens a session that trusts `keys`, and says how attaching the pack at `path` ends.
static taskvec_status attached(const taskvec_base *base, const taskvec_public_key *keys, size_t key_count,
                               size_t threshold, bool allows_unsigned, const char *path) {
  taskvec_session_options options;
  taskvec_session *session;
  taskvec_skill *skill;
  OK(taskvec_session_options_default(&options));
  options.engine = TASKVEC_ENGINE_NONE;
  options.keys = keys;
  options.key_count = key_count;
  options.threshold = threshold;
  options.allows_unsigned = allows_unsigned;
  taskvec_status status = taskvec_session_open(base, &options, &session);
  if (status != TASKVEC_STATUS_OK) return status;
  OK(taskvec_skill_open(path, NULL, &skill));
  status = taskvec_session_attach(session, skill, 1, NULL);
  OK(taskvec_skill_close(skill));
  OK(taskvec_session_close(session));
  return status;
}

int main(int count, char **arguments) {
  EXPECT(count == 4);
  const char *signed_pack = arguments[1];
  taskvec_public_key keys[2] = {key_of(arguments[2]), key_of(arguments[3])}, weak = {{0}};
  taskvec_base *base;
  OK(taskvec_base_open(BASE, NULL, &base));

  EXPECT_STATUS(TASKVEC_STATUS_UNTRUSTED, attached(base, NULL, 0, 1, false, signed_pack));
  EXPECT_SAID("nobody's pack is trusted");
  OK(attached(base, NULL, 0, 1, true, KOREAN));
  OK(attached(base, keys, 1, 1, false, signed_pack));
  OK(attached(base, keys, 2, 1, false, signed_pack));
  EXPECT_STATUS(TASKVEC_STATUS_UNTRUSTED, attached(base, keys, 1, 1, false, KOREAN));
  EXPECT_SAID("not signed");
  OK(attached(base, keys, 1, 1, true, KOREAN));
  EXPECT_STATUS(TASKVEC_STATUS_UNTRUSTED, attached(base, keys + 1, 1, 1, false, signed_pack));
  EXPECT_STATUS(TASKVEC_STATUS_UNTRUSTED, attached(base, keys, 2, 2, false, signed_pack));
  EXPECT_SAID("expected 2");

  EXPECT_STATUS(TASKVEC_STATUS_USAGE, attached(base, keys, 2, 3, false, signed_pack));
  EXPECT_STATUS(TASKVEC_STATUS_USAGE, attached(base, &weak, 1, 1, false, signed_pack));
  EXPECT_STATUS(TASKVEC_STATUS_NULL, attached(base, NULL, 1, 1, false, signed_pack));
  OK(taskvec_base_close(base));
  return 0;
}
