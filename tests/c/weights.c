// The composed weights: where each tensor lies, that they stay while they are open, and that the base comes back.
#include "expect.h"

static void tensors_lie_in_the_file(const taskvec_base *base) {
  taskvec_session *session = session_without_engine(base);
  taskvec_weights *weights;
  OK(taskvec_weights_open(session, &weights));
  const uint8_t *bytes;
  size_t byte_count, tensor_count;
  OK(taskvec_weights_bytes(weights, &bytes, &byte_count));
  OK(taskvec_weights_tensor_count(weights, &tensor_count));
  EXPECT(tensor_count > 10);
  size_t editable = 0;
  for (size_t i = 0; i < tensor_count; i++) {
    taskvec_tensor tensor, named;
    OK(taskvec_weights_tensor_at(weights, i, &tensor));
    OK(taskvec_weights_tensor(weights, tensor.name, &named));
    EXPECT(named.data == tensor.data && named.shape == tensor.shape);
    const uint8_t *data = tensor.data;
    EXPECT(bytes <= data && data + tensor.size_bytes <= bytes + byte_count);
    uint64_t elements = 1;
    for (size_t side = 0; side < tensor.rank; side++) elements *= tensor.shape[side];
    EXPECT(tensor.dtype == TASKVEC_DTYPE_F32 && tensor.size_bytes == 4 * elements);
    editable += tensor.is_editable;
  }
  EXPECT(0 < editable && editable < tensor_count);
  taskvec_tensor none;
  EXPECT_STATUS(TASKVEC_STATUS_USAGE, taskvec_weights_tensor_at(weights, tensor_count, &none));
  EXPECT_STATUS(TASKVEC_STATUS_USAGE, taskvec_weights_tensor(weights, "no such tensor", &none));
  OK(taskvec_weights_close(weights));
  OK(taskvec_session_close(session));
}

static void they_stay_while_they_are_open(const taskvec_base *base, const taskvec_skill *skill) {
  size_t file_bytes;
  unsigned char *file = contents(BASE "/model.safetensors", &file_bytes);
  taskvec_session *session = session_without_engine(base);
  taskvec_weights *before, *with, *after;
  const uint8_t *bytes;
  size_t byte_count;
  OK(taskvec_weights_open(session, &before));
  OK(taskvec_session_attach(session, skill, 1, NULL));
  OK(taskvec_weights_open(session, &with));
  taskvec_digest digest;
  OK(taskvec_skill_digest(skill, &digest));
  OK(taskvec_session_detach(session, &digest, NULL));
  OK(taskvec_weights_open(session, &after));
  // More changes than there are mappings, none of which may touch what is open.
  for (int i = 0; i < 3; i++) {
    OK(taskvec_session_attach(session, skill, 0.5f, NULL));
    OK(taskvec_session_set_alpha(session, &digest, -1, NULL));
    OK(taskvec_session_detach(session, &digest, NULL));
  }
  OK(taskvec_session_close(session));

  OK(taskvec_weights_bytes(before, &bytes, &byte_count));
  EXPECT(byte_count == file_bytes && memcmp(bytes, file, file_bytes) == 0);
  OK(taskvec_weights_bytes(after, &bytes, &byte_count));
  EXPECT(byte_count == file_bytes && memcmp(bytes, file, file_bytes) == 0);
  OK(taskvec_weights_bytes(with, &bytes, &byte_count));
  EXPECT(byte_count == file_bytes && memcmp(bytes, file, file_bytes) != 0);

  // Attached again, the same bytes.
  session = session_without_engine(base);
  taskvec_weights *again;
  const uint8_t *same_bytes;
  OK(taskvec_session_attach(session, skill, 1, NULL));
  OK(taskvec_weights_open(session, &again));
  OK(taskvec_weights_bytes(again, &same_bytes, &byte_count));
  EXPECT(memcmp(bytes, same_bytes, file_bytes) == 0);
  OK(taskvec_session_close(session));
  OK(taskvec_weights_close(before));
  OK(taskvec_weights_close(with));
  OK(taskvec_weights_close(after));
  OK(taskvec_weights_close(again));
  free(file);
}

int main(void) {
  taskvec_base *base;
  taskvec_skill *skill;
  OK(taskvec_base_open(BASE, NULL, &base));
  OK(taskvec_skill_open(KOREAN, NULL, &skill));
  tensors_lie_in_the_file(base);
  they_stay_while_they_are_open(base, skill);
  OK(taskvec_skill_close(skill));
  OK(taskvec_base_close(base));
  return 0;
}
