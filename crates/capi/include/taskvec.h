/*
 * taskvec: skills on a device. A base model is mapped once; packs are attached, detached, swapped and weighed between
 * two inferences. Generated from the sources of taskvec-capi by cbindgen (`just header`); do not edit.
 *
 * What holds for every function:
 *
 * - It returns a status: 0 when it is done, else what the reader must do differently. `taskvec_last_error` then gives
 *   the message and, where there is one, the next step. Whatever fails, what was in force is in force.
 * - Inputs come first, then outputs. Outputs are written on success only.
 * - NULL is refused with TASKVEC_STATUS_NULL, except where a comment says that it may be given.
 * - What `_open` gives must be given to `_close` once, in any order: a session keeps what it needs of its base and its
 *   skills. `_close` of NULL does nothing. Nothing else that is given out must be freed: pointers to texts and numbers
 *   belong to the object they were asked of, and live as long as it does.
 * - Texts end with a zero byte and are UTF-8; a path is what the system takes for one. A pointer with a count beside it
 *   points to that many elements, and may be NULL when the count is 0. Outputs overlap with nothing.
 * - Every object may be used by several threads at once; `_close` only when no other call uses the object.
 * - A bug of the library that would end a Rust program is a status too, TASKVEC_STATUS_PANIC. A callback must return:
 *   no `longjmp` and no C++ exception may leave it.
 */

#ifndef TASKVEC_H
#define TASKVEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Nothing is in force: the weights are the base's.
#define TASKVEC_PROOF_BASE 0

// Each probe of the one skill in force was answered as its maker saw it.
#define TASKVEC_PROOF_PROBES 1

// Each skill changes the weights, and the features of `inputs` inputs are finite (none without an engine).
#define TASKVEC_PROOF_FELT 2

// A proof that this interface has no name for.
#define TASKVEC_PROOF_OTHER 3

// The head of the one skill in force that has a head.
#define TASKVEC_HEAD_ONLY 0

// The head of the skill with the digest `skill`, which must be in force.
#define TASKVEC_HEAD_SKILL 1

// The head of the skill in force called `name`; if there is none, the base's own head of this name.
#define TASKVEC_HEAD_NAMED 2

// The base's own head called `name`.
#define TASKVEC_HEAD_BASE 3

// ONNX Runtime where its library is found and accepts the base, else burn.
#define TASKVEC_ENGINE_AUTO 0

// ONNX Runtime.
#define TASKVEC_ENGINE_ORT 1

// burn on the CPU: pure Rust, always there in a library that was built with it.
#define TASKVEC_ENGINE_BURN 2

// No engine: the session composes weights, which the program reads. Skills are proved to be felt, and no more.
#define TASKVEC_ENGINE_NONE 3

// The callbacks in `own`.
#define TASKVEC_ENGINE_OWN 4

// IEEE 754 with 32 bits.
#define TASKVEC_DTYPE_F32 1

// IEEE 754 with 16 bits.
#define TASKVEC_DTYPE_F16 2

// The upper 16 bits of an f32.
#define TASKVEC_DTYPE_BF16 3

// Signed bytes that stand for floats: weights of a quantized base.
#define TASKVEC_DTYPE_I8 4

// Unsigned bytes that stand for floats: weights of a quantized base.
#define TASKVEC_DTYPE_U8 5

// Signed numbers of 32 bits that stand for floats: biases of a quantized base.
#define TASKVEC_DTYPE_I32 6

// How a call ended: 0, or what to do about it. A number keeps its meaning for ever; later versions may return others.
enum taskvec_status
#ifdef __cplusplus
  : int32_t
#endif // __cplusplus
 {
  // It is done.
  TASKVEC_STATUS_OK = 0,
  // The bytes are not what was made: fetch them again.
  TASKVEC_STATUS_DAMAGED = 1,
  // Made for something else: another base, another shape, an answer that is not the promised one.
  TASKVEC_STATUS_MISMATCH = 2,
  // Nobody we trust vouches for it.
  TASKVEC_STATUS_UNTRUSTED = 3,
  // Needs newer software, or a library that is not here.
  TASKVEC_STATUS_UNSUPPORTED = 4,
  // Larger than this caller allows.
  TASKVEC_STATUS_LIMIT = 5,
  // The call itself makes no sense.
  TASKVEC_STATUS_USAGE = 6,
  // The operating system refused.
  TASKVEC_STATUS_IO = 7,
  // A pointer is NULL that may not be.
  TASKVEC_STATUS_NULL = 8,
  // The caller's buffer is too small; the message says how much is needed.
  TASKVEC_STATUS_TOO_SMALL = 9,
  // A bug of this library. What the call was about is as before; other objects are not concerned.
  TASKVEC_STATUS_PANIC = 10,
};
#ifndef __cplusplus
typedef int32_t taskvec_status;
#endif // __cplusplus

// A base model, mapped read-only and held against its digests. Its files must stay as they are while it is open.
typedef struct taskvec_base taskvec_base;

// Base, composition and engine. Threads may infer and change at once: a change is prepared and proved beside what
// serves, each inference sees one composition, whole, and none waits for a change.
typedef struct taskvec_session taskvec_session;

// A pack, checked to its last byte. It says nothing about who made it, nor whether it fits your base.
typedef struct taskvec_skill taskvec_skill;

// The weights of the composition that was in force when they were opened. They stay as they are while they are open,
// whatever is attached or detached meanwhile; a change does not wait for them. They own the pages that their
// composition touched; all others are shared.
typedef struct taskvec_weights taskvec_weights;

// The most that is read and held on the word of a base bundle. Start from `taskvec_bundle_limits_default`.
typedef struct taskvec_bundle_limits {
  // Bytes of `base.json`. Default: 16 MiB.
  uint64_t base_json_bytes_max;
  // Bytes of the JSON header of `model.safetensors`. Default: 16 MiB.
  uint64_t header_bytes_max;
} taskvec_bundle_limits;

// SHA-256 of a pack, of a base model's tensors, or of a composition.
typedef struct taskvec_digest {
  // The bytes, in the order in which people write them in hexadecimal.
  uint8_t bytes[32];
} taskvec_digest;

// What one input of a network is made of.
typedef struct taskvec_image_shape {
  // Planes: 1 for gray, 3 for red, green and blue.
  size_t channels;
  // Rows.
  size_t height;
  // Pixels in a row.
  size_t width;
} taskvec_image_shape;

// Whose head answers. Start from `taskvec_head_choice_default`.
typedef struct taskvec_head_choice {
  // One of `TASKVEC_HEAD_...`. Default: `TASKVEC_HEAD_ONLY`.
  uint32_t kind;
  // For `TASKVEC_HEAD_SKILL`.
  struct taskvec_digest skill;
  // For `TASKVEC_HEAD_NAMED` and `TASKVEC_HEAD_BASE`; looked at during the call only. Default: NULL.
  const char *name;
} taskvec_head_choice;

// The most that is read and held on the word of a pack. Start from `taskvec_pack_limits_default`.
typedef struct taskvec_pack_limits {
  // Size of the whole file. Default: 16 GiB.
  uint64_t file_bytes_max;
  // Sections of the file. Default: 64.
  uint32_t sections_max;
  // Tensors of the pack. Default: 65536.
  uint64_t tensors_max;
  // Elements of one tensor. Default: 2^40.
  uint64_t elements_per_tensor_max;
  // Entries of all tensors together. Default: 2^34.
  uint64_t entries_max;
  // Size of each text. Default: 4096.
  uint64_t string_bytes_max;
  // Provenance pairs of the manifest. Default: 256.
  uint64_t provenance_pairs_max;
  // Classes of the head. Default: 1048576.
  uint64_t classes_max;
  // Probes. Default: 4096.
  uint64_t probes_max;
} taskvec_pack_limits;

// Gets the caller's library ready to infer with `weights`, which stay as they are until `done` is called; whatever
// `inference` is set to comes back in the other callbacks. Returns 0, or a number of the caller's that goes into the
// message of the failure.
typedef int32_t (*taskvec_engine_over)(void *user, const struct taskvec_weights *weights, void **inference);

// Computes features. `pixels` holds `batch` inputs, `[batch, channel, row, column]`; `features` has room for
// `feature_count` numbers, `[batch, feature]`, all of which must be written. May be called by several threads at once.
// Returns 0, or a number of the caller's that goes into the message of the failure.
typedef int32_t (*taskvec_engine_features)(void *user, void *inference, const struct taskvec_weights *weights, const float *pixels, size_t pixel_count, size_t batch, float *features, size_t feature_count);

// Ends what `over` began: the weights it was given are no longer good when this returns.
typedef void (*taskvec_engine_done)(void *user, void *inference);

// Callbacks by which a session infers. They may be called by every thread that uses a session on this engine, also by
// several at once, until the last of these sessions is closed. They must not attach, detach, swap or weigh in it.
typedef struct taskvec_engine {
  // Given to each callback, and not looked at.
  void *user;
  // The library, its version and its settings, for people; copied.
  const char *description;
  // The number under which packs list how exact their probes are on this engine: 1 for ONNX Runtime, 0 for any
  // engine that a pack does not list.
  uint16_t kind;
  // May be NULL: then `inference` is NULL in the other callbacks.
  taskvec_engine_over over;
  // Must not be NULL.
  taskvec_engine_features features;
  // May be NULL.
  taskvec_engine_done done;
} taskvec_engine;

// An Ed25519 public key: the 64 hexadecimal digits of a public key file, as bytes.
typedef struct taskvec_public_key {
  // The bytes of the key.
  uint8_t bytes[32];
} taskvec_public_key;

// How a session is opened. Start from `taskvec_session_options_default`. Everything in it is looked at during the call
// only.
typedef struct taskvec_session_options {
  // One of `TASKVEC_ENGINE_...`. Default: `TASKVEC_ENGINE_AUTO`.
  uint32_t engine;
  // The library of ONNX Runtime. Default: NULL, then the variable `ORT_DYLIB_PATH`, the folder of the executable and
  // Python environments are looked at, in this order.
  const char *onnxruntime;
  // Execution providers of ONNX Runtime by preference, `openvino:GPU,cuda,cpu`: the first is used that is proved on this
  // device, the CPU's is tried last. Default: NULL, the CPU's alone.
  const char *providers;
  // Threads of one inference of ONNX Runtime, at least 1. Default: 1.
  size_t threads;
  // For `TASKVEC_ENGINE_OWN`. Default: NULL.
  const struct taskvec_engine *own;
  // The keys whose signatures make a pack trusted, `key_count` of them. Default: none, so that nobody is trusted.
  const struct taskvec_public_key *keys;
  // How many keys there are, at most 64. Default: 0.
  size_t key_count;
  // How many of the keys must have signed a pack. Default: 1.
  size_t threshold;
  // Attach packs that the keys have not signed as well. Whoever can hand in a pack then decides what the model answers.
  // Default: false.
  bool allows_unsigned;
  // Skills in force at once. Default: 64.
  size_t skills_max;
  // Bytes of the pages that a composition touches, which is the memory that it owns. Default: no limit.
  uint64_t touched_bytes_max;
  // Entries of all skills in force together, which bounds the time of a change. Default: 2^34.
  uint64_t entries_max;
  // Keep the pages of a composition that is no longer in force for the next one, which is then several times faster to
  // attach. Default: false, they go back to the system.
  bool keeps_pages;
} taskvec_session_options;

// What a change did, and what it took.
typedef struct taskvec_change {
  // Digest of what is in force now.
  struct taskvec_digest composition;
  // Skills in force now.
  size_t skill_count;
  // What was proved before it came into force: one of `TASKVEC_PROOF_...`.
  uint32_t proof;
  // Inputs that the proof was made with.
  uint32_t inputs;
  // Largest difference from an expected number. With `TASKVEC_PROOF_PROBES` only, else 0.
  float difference_max;
  // What the pack allows on this engine. With `TASKVEC_PROOF_PROBES` only, else 0.
  float tolerance;
  // Tensors whose weights were composed.
  size_t tensors;
  // Entries of packs that were applied.
  uint64_t entries;
  // Pages of 4 KiB that the composition has written: the memory that it owns.
  size_t touched_pages;
  // Their size in bytes.
  uint64_t touched_bytes;
  // Time spent waiting for another change to end, in ms.
  double wait_ms;
  // Time spent writing weights, in ms.
  double weights_ms;
  // Time spent on the engine's preparations and on the proof, in ms. After it the new composition serves.
  double proof_ms;
  // Time spent on taking back the old composition's memory while the new one serves, in ms.
  double settle_ms;
} taskvec_change;

// A skill in force.
typedef struct taskvec_skill_in_force {
  // Digest of its pack.
  struct taskvec_digest digest;
  // The coefficient that it is applied with. At 0 it is in force and changes nothing.
  float alpha;
  // Whether alpha lies in the range on which its maker validated it.
  bool is_validated;
} taskvec_skill_in_force;

// What belongs to the numbers of an inference.
typedef struct taskvec_answer {
  // Numbers for each input, as many as the head that answered has classes.
  size_t class_count;
  // Digest of the composition that all of them were computed with.
  struct taskvec_digest composition;
} taskvec_answer;

// A tensor of weights and where it lies. All pointers belong to the weights that it was asked of.
typedef struct taskvec_tensor {
  // Its name, as in the safetensors file.
  const char *name;
  // Its elements, little-endian and row-major, one after the other.
  const void *data;
  // Size of all elements.
  size_t size_bytes;
  // Its dimensions, `rank` of them.
  const uint64_t *shape;
  // How many dimensions it has; 0 for a single number.
  size_t rank;
  // One of `TASKVEC_DTYPE_...`.
  uint32_t dtype;
  // Whether packs may edit it. The others are the base's for ever.
  bool is_editable;
} taskvec_tensor;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Opens the bundle in `folder` and verifies every tensor. `limits` may be NULL for the defaults. Close the base with
// `taskvec_base_close`.
taskvec_status taskvec_base_open(const char *folder,
                                 const struct taskvec_bundle_limits *limits,
                                 struct taskvec_base **base);

// Closes a base. Sessions on it go on; texts that it gave out do not. NULL does nothing.
taskvec_status taskvec_base_close(struct taskvec_base *base);

// What packs are bound to.
taskvec_status taskvec_base_fingerprint(const struct taskvec_base *base, struct taskvec_digest *fingerprint);

// Its name, for people. The text is the base's.
taskvec_status taskvec_base_name(const struct taskvec_base *base, const char **name);

// What one input of the network is made of.
taskvec_status taskvec_base_image_shape(const struct taskvec_base *base, struct taskvec_image_shape *shape);

// How many features the network computes for one input.
taskvec_status taskvec_base_feature_width(const struct taskvec_base *base, size_t *width);

// Turns the bytes of pictures into what the network is given: normalized as the base asks for it. `bytes` holds whole
// pictures of the network's size, `[picture, channel, row, column]`, 0 for dark and 255 for bright; `pixels` has room
// for `capacity` numbers and receives as many as there are bytes.
taskvec_status taskvec_base_pixels(const struct taskvec_base *base,
                                   const uint8_t *bytes,
                                   size_t byte_count,
                                   float *pixels,
                                   size_t capacity);

// How many classes the base's own head called `head` tells apart.
taskvec_status taskvec_base_class_count(const struct taskvec_base *base, const char *head, size_t *count);

// What a class of the base's own head called `head` is called, counted from 0. The text is the base's.
taskvec_status taskvec_base_label(const struct taskvec_base *base,
                                  const char *head,
                                  size_t class_index,
                                  const char **label);

// What the last call of this thread that failed said, and the next step where there is one (else `help` becomes NULL).
// Both live until the next call of this thread that fails, or its end. `message` is empty when no call of this thread
// has failed. `help` may be NULL.
taskvec_status taskvec_last_error(const char **message, const char **help);

// Writes the default to `choice`.
taskvec_status taskvec_head_choice_default(struct taskvec_head_choice *choice);

// Writes the defaults to `limits`.
taskvec_status taskvec_bundle_limits_default(struct taskvec_bundle_limits *limits);

// Writes the defaults to `limits`.
taskvec_status taskvec_pack_limits_default(struct taskvec_pack_limits *limits);

// Writes the defaults to `options`.
taskvec_status taskvec_session_options_default(struct taskvec_session_options *options);

// Opens an engine over `base`, with nothing in force. `options` may be NULL for the defaults. Close the session with
// `taskvec_session_close`.
taskvec_status taskvec_session_open(const struct taskvec_base *base,
                                    const struct taskvec_session_options *options,
                                    struct taskvec_session **session);

// Another session on the same base, engine and options, with nothing in force: several compositions can serve at once,
// at the price of the pages that each touches. Close it with `taskvec_session_close`, before `session` or after it.
taskvec_status taskvec_session_open_beside(const struct taskvec_session *session, struct taskvec_session **beside);

// Closes a session. NULL does nothing.
taskvec_status taskvec_session_close(struct taskvec_session *session);

// The engine, its version and settings, for people. The text is the session's.
taskvec_status taskvec_session_engine(const struct taskvec_session *session, const char **description);

// Puts `skill` in force at `alpha`, beside what is. `change` may be NULL.
taskvec_status taskvec_session_attach(const struct taskvec_session *session,
                                      const struct taskvec_skill *skill,
                                      float alpha,
                                      struct taskvec_change *change);

// Takes a skill out of force. `change` may be NULL.
taskvec_status taskvec_session_detach(const struct taskvec_session *session,
                                      const struct taskvec_digest *skill,
                                      struct taskvec_change *change);

// Gives a skill in force another alpha. `change` may be NULL.
taskvec_status taskvec_session_set_alpha(const struct taskvec_session *session,
                                         const struct taskvec_digest *skill,
                                         float alpha,
                                         struct taskvec_change *change);

// Replaces everything in force by `count` skills, each with its alpha, in one step; none leaves the base. `change` may be
// NULL.
taskvec_status taskvec_session_swap(const struct taskvec_session *session,
                                    const struct taskvec_skill *const *skills,
                                    const float *alphas,
                                    size_t count,
                                    struct taskvec_change *change);

// Digest of what is in force: names the base, the skills and their alphas together.
taskvec_status taskvec_session_digest(const struct taskvec_session *session, struct taskvec_digest *digest);

// The skills in force, in canonical order. `skills` has room for `capacity` of them; with a capacity of 0 only `count` is
// written.
taskvec_status taskvec_session_skills(const struct taskvec_session *session,
                                      struct taskvec_skill_in_force *skills,
                                      size_t capacity,
                                      size_t *count);

// Answers for `batch` inputs with the head of the caller's choice.
//
// `pixels` holds `[batch, channel, row, column]`, `pixel_count` numbers. `head` may be NULL for the one skill in force
// that has a head. `logits` has room for `capacity` numbers and receives `[batch, class]`, `count` numbers; the largest
// of an input names its class. `answer` may be NULL.
taskvec_status taskvec_session_infer(const struct taskvec_session *session,
                                     const float *pixels,
                                     size_t pixel_count,
                                     size_t batch,
                                     const struct taskvec_head_choice *head,
                                     float *logits,
                                     size_t capacity,
                                     size_t *count,
                                     struct taskvec_answer *answer);

// The network's features for `batch` inputs, before any head.
//
// `pixels` as in `taskvec_session_infer`. `features` has room for `capacity` numbers and receives `[batch, feature]`,
// `count` numbers.
taskvec_status taskvec_session_features(const struct taskvec_session *session,
                                        const float *pixels,
                                        size_t pixel_count,
                                        size_t batch,
                                        float *features,
                                        size_t capacity,
                                        size_t *count);

// Maps the pack at `path` and checks it. The file must stay as it is until no session needs the skill: install packs by
// renaming. `limits` may be NULL for the defaults. Close the skill with `taskvec_skill_close`.
taskvec_status taskvec_skill_open(const char *path,
                                  const struct taskvec_pack_limits *limits,
                                  struct taskvec_skill **skill);

// Checks the pack in memory, of which a copy is taken. `limits` may be NULL for the defaults. Close the skill with
// `taskvec_skill_close`.
taskvec_status taskvec_skill_open_bytes(const uint8_t *bytes,
                                        size_t byte_count,
                                        const struct taskvec_pack_limits *limits,
                                        struct taskvec_skill **skill);

// Closes a skill. Where it is in force it stays so. NULL does nothing.
taskvec_status taskvec_skill_close(struct taskvec_skill *skill);

// The pack's digest: the identity of the skill, by which it is detached.
taskvec_status taskvec_skill_digest(const struct taskvec_skill *skill, struct taskvec_digest *digest);

// The name its maker gave it, for people; two skills may have the same. The text is the skill's.
taskvec_status taskvec_skill_name(const struct taskvec_skill *skill, const char **name);

// The fingerprint of the only base that the skill can be attached to.
taskvec_status taskvec_skill_base(const struct taskvec_skill *skill, struct taskvec_digest *fingerprint);

// The alpha that its maker recommends, at which its probes hold.
taskvec_status taskvec_skill_recommended_alpha(const struct taskvec_skill *skill, float *alpha);

// The range of alphas on which its maker validated it, both ends included.
taskvec_status taskvec_skill_alpha_range(const struct taskvec_skill *skill, float *low, float *high);

// How many classes its head tells apart; 0 when it brings none.
taskvec_status taskvec_skill_class_count(const struct taskvec_skill *skill, size_t *count);

// What a class of its head is called, counted from 0. The text is the skill's.
taskvec_status taskvec_skill_label(const struct taskvec_skill *skill, size_t class_index, const char **label);

// The weights of what is in force in `session` now. Close them with `taskvec_weights_close`, before the session or
// after it.
taskvec_status taskvec_weights_open(const struct taskvec_session *session, struct taskvec_weights **weights);

// Closes weights: pointers into them are no longer good. NULL does nothing.
taskvec_status taskvec_weights_close(struct taskvec_weights *weights);

// The whole `model.safetensors` as composed, header and all.
taskvec_status taskvec_weights_bytes(const struct taskvec_weights *weights, const uint8_t **bytes, size_t *byte_count);

// How many tensors of floats there are.
taskvec_status taskvec_weights_tensor_count(const struct taskvec_weights *weights, size_t *count);

// The tensor at `index`, counted from 0 in byte order of the names.
taskvec_status taskvec_weights_tensor_at(const struct taskvec_weights *weights,
                                         size_t index,
                                         struct taskvec_tensor *tensor);

// The tensor called `name`.
taskvec_status taskvec_weights_tensor(const struct taskvec_weights *weights,
                                      const char *name,
                                      struct taskvec_tensor *tensor);

#ifdef __cplusplus
} // extern "C"
#endif // __cplusplus

#endif /* TASKVEC_H */
