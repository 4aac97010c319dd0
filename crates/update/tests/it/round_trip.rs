//! What is made of an update is what the update was made of, whatever the packs; and what is shared is not sent.

use proptest::prelude::*;
use taskvec_pack::write::{Rounding, sign};
use taskvec_pack::{Digest, Limits as PackLimits, Pack};
use taskvec_update::{Limits, Update, write};

use crate::forge::pack;

/// What `update` makes of those of `parents` that it names.
fn made(update: &[u8], parents: &[&[u8]]) -> Vec<u8> {
    let update = Update::read(update, &Limits::default()).unwrap();
    let contents = update.parents().iter().map(|named| {
        let read = parents.iter().map(|parent| Pack::read(parent, &PackLimits::default()).unwrap());
        let found = read.into_iter().find(|parent| parent.digest() == named.digest).unwrap();
        assert_eq!(found.manifest().name, named.name);
        found.content()
    });
    update.make(&contents.collect::<Vec<_>>()).unwrap()
}

fn any_rounding() -> impl Strategy<Value = Option<Rounding>> {
    prop_oneof![
        Just(None),
        Just(Some(Rounding::F32)),
        Just(Some(Rounding::Bf16)),
        Just(Some(Rounding::F16)),
        Just(Some(Rounding::INT8)),
        Just(Some(Rounding::Sign)),
    ]
}

/// Seeds from so few that masks and numbers are often shared.
fn any_pack() -> impl Strategy<Value = Vec<u8>> {
    ("[a-z]{1,5}", any_rounding(), 0_u64..4, 0_u64..3, 0_u64..3)
        .prop_map(|(name, rounding, tensors, mask, numbers)| pack(&name, rounding, tensors, mask, numbers))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_pack_comes_back_from_any_others(new in any_pack(), others in prop::collection::vec(any_pack(), 0..3)) {
        let others: Vec<&[u8]> = others.iter().map(Vec::as_slice).collect();
        let update = write(&new, &others).unwrap();
        prop_assert_eq!(made(&update.bytes, &others), &new[..]);
        prop_assert_eq!(update.copied_bytes + update.summed_bytes + update.literal_bytes, new.len() as u64);
        let reversed: Vec<&[u8]> = others.iter().rev().copied().collect();
        prop_assert!(write(&new, &reversed).unwrap().bytes == update.bytes, "the order does not matter");
        let read = Update::read(&update.bytes, &Limits::default()).unwrap();
        prop_assert_eq!(read.pack(), Pack::read(&new, &PackLimits::default()).unwrap().digest());
        prop_assert_eq!(read.pack_bytes(), new.len() as u64);
    }
}

#[test]
fn a_mask_that_a_parent_has_is_not_sent() {
    for rounding in [Rounding::INT8, Rounding::F32, Rounding::Bf16] {
        let new = pack("new", Some(rounding), 8, 1, 50);
        let [same_mask, other_mask] = [1, 100].map(|mask| pack("sister", Some(rounding), 8, mask, 90));
        let mask_bytes: usize =
            Pack::read(&new, &PackLimits::default()).unwrap().tensors().map(|tensor| tensor.index_bytes().len()).sum();
        let [shared, apart] = [&same_mask, &other_mask].map(|parent| write(&new, &[parent]).unwrap());
        let saved = apart.bytes.len() - shared.bytes.len();
        assert!(saved * 10 > mask_bytes * 8, "{rounding:?}: {saved} bytes of {mask_bytes} are saved");
        assert_eq!(shared.parents.len(), 1);
    }
}

#[test]
fn numbers_that_moved_a_little_are_sent_as_differences() {
    use taskvec_pack::write::{Builder, TensorDeltas, Values};
    use taskvec_pack::{Dtype, Fingerprint};
    let indices: Vec<u64> = (0..4000).map(|index| index * 3).collect();
    let version = |scale: f32| {
        let deltas: Vec<f32> = indices.iter().map(|index| ((*index as f32).sin() + 1.5) * scale).collect();
        let mut builder = Builder::new(Fingerprint([7; 32]), "skill");
        let values = Values::Deltas(&deltas, Rounding::F32);
        builder.tensor("w", Dtype::F32, &[12_000], TensorDeltas { indices: &indices, values }).unwrap();
        builder.finish().unwrap()
    };
    let (old, new) = (version(0.01), version(0.010_001));
    let update = write(&new, &[&old]).unwrap();
    assert_eq!(update.summed_bytes, 16_000);
    assert!(update.bytes.len() * 3 < write(&new, &[]).unwrap().bytes.len(), "{} bytes", update.bytes.len());
    assert_eq!(made(&update.bytes, &[&old]), new);
}

#[test]
fn one_more_signature_is_all_that_is_sent_of_a_signed_pack() {
    let unsigned = pack("skill", Some(Rounding::INT8), 4, 1, 1);
    let signed = sign(&unsigned, 1, &[5; 16], &[6; 64]).unwrap();
    let update = write(&signed, &[&unsigned]).unwrap();
    assert!(update.bytes.len() < 400, "{} bytes", update.bytes.len());
    assert_eq!(made(&update.bytes, &[&unsigned]), signed);
    let back = write(&unsigned, &[&signed]).unwrap();
    assert_eq!(made(&back.bytes, &[&signed]), unsigned);
}

#[test]
fn a_parent_that_is_of_no_use_is_left_out_and_one_given_twice_counts_once() {
    let new = pack("new", Some(Rounding::INT8), 3, 1, 1);
    let stranger = pack("q", Some(Rounding::Sign), 0, 77, 77);
    let sister = pack("sister", Some(Rounding::INT8), 3, 1, 2);
    let update = write(&new, &[&stranger, &sister, &sister]).unwrap();
    let digest = |bytes: &[u8]| Digest::of(Pack::read(bytes, &PackLimits::default()).unwrap().content());
    assert!(update.parents.contains(&digest(&sister)));
    assert!(update.parents.len() <= 2);
    assert_eq!(made(&update.bytes, &[&stranger, &sister]), new);
}

#[test]
fn what_is_no_pack_is_refused() {
    let new = pack("new", None, 1, 1, 1);
    for (new, parents) in [(&b"no pack"[..], vec![]), (&new[..], vec![&new[..9]])] {
        let error = write(new, &parents).unwrap_err();
        assert_eq!(error.kind(), taskvec_update::ErrorKind::Usage);
        assert!(std::error::Error::source(&error).is_some());
    }
}
