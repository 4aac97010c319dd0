//! Whom a session trusts: nobody unless told, then the pinned keys and nothing that only looks like them.

use std::fs;

use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use sha2::{Digest as _, Sha512};
use taskvec_pack::signature::{ED25519, signed_message};
use taskvec_pack::{Pack, write};
use taskvec_runtime::{ErrorKind, PackLimits, PublicKey, Skill, Store, Trust, Verdict, read_public_key};
use taskvec_testkit::hand_made::Draft;

use crate::made::{MIXED, Made, bundle, composed, one_delta, session};

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(key: &SigningKey) -> PublicKey {
    PublicKey(key.verifying_key().to_bytes())
}

fn trust(keys: &[&SigningKey], threshold: usize) -> Trust {
    Trust::in_keys(keys.iter().map(|key| public(key)), threshold).unwrap()
}

fn pack(made: &Made, name: &str, delta: f32) -> Vec<u8> {
    one_delta(&made.base, name, 3, delta).finish().unwrap()
}

fn signature(pack: &[u8], key: &SigningKey) -> [u8; 64] {
    key.sign(&message(pack)).to_bytes()
}

fn message(pack: &[u8]) -> [u8; 48] {
    signed_message(&skill(pack).digest())
}

fn with_signature(pack: &[u8], key: &SigningKey, signature: &[u8; 64]) -> Vec<u8> {
    write::sign(pack, ED25519, &public(key).id().0, signature).unwrap()
}

fn signed(pack: &[u8], keys: &[&SigningKey]) -> Vec<u8> {
    keys.iter().fold(pack.to_vec(), |file, key| with_signature(&file, key, &signature(&file, key)))
}

fn skill(pack: &[u8]) -> Skill {
    Skill::from_bytes(pack, &PackLimits::default()).unwrap()
}

/// The signers of a pack that is trusted, or the clause of its refusal.
fn verify(trust: &Trust, pack: &[u8]) -> Result<usize, String> {
    trust.verify(skill(pack).pack()).map(|signers| signers.len()).map_err(|error| {
        assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");
        assert!(error.help().is_some(), "{error}");
        error.to_string()
    })
}

#[test]
fn who_is_trusted_follows_from_keys_threshold_and_what_was_allowed_by_name() {
    let made = bundle(MIXED, 1);
    let plain = pack(&made, "plain", 0.5);
    let [a, b, c] = [1, 2, 3].map(key);
    let [one, two, stranger] = [signed(&plain, &[&a]), signed(&plain, &[&a, &b]), signed(&plain, &[&c])];
    let (of_a, of_both, two_of_three) = (trust(&[&a], 1), trust(&[&a, &b], 2), trust(&[&a, &b, &c], 2));
    let same_key_twice = Trust::in_keys([public(&a), public(&a)], 2);
    assert_eq!(same_key_twice.unwrap_err().kind(), ErrorKind::Usage, "one key is one vote");
    struct Case<'a> {
        what: &'a str,
        trust: &'a Trust,
        pack: &'a [u8],
        /// How many signers, or a word of the refusal.
        expected: Result<usize, &'a str>,
    }
    let (nobody, anyone) = (Trust::default(), Trust::unsigned_too());
    let of_a_or_anyone = of_a.clone().and_unsigned_too();
    let cases = [
        Case { what: "unsigned, nobody trusted", trust: &nobody, pack: &plain, expected: Err("no key is pinned") },
        Case { what: "signed, nobody trusted", trust: &nobody, pack: &two, expected: Err("no key is pinned") },
        Case { what: "unsigned, anyone trusted", trust: &anyone, pack: &plain, expected: Ok(0) },
        Case { what: "signed, anyone trusted", trust: &anyone, pack: &one, expected: Ok(0) },
        Case { what: "unsigned", trust: &of_a, pack: &plain, expected: Err("not signed") },
        Case { what: "signed", trust: &of_a, pack: &one, expected: Ok(1) },
        Case { what: "signed by others as well", trust: &of_a, pack: &two, expected: Ok(1) },
        Case { what: "signed by others", trust: &of_a, pack: &stranger, expected: Err("none of its 1 signatures") },
        Case { what: "unsigned and allowed", trust: &of_a_or_anyone, pack: &plain, expected: Ok(0) },
        Case { what: "signed where unsigned is allowed", trust: &of_a_or_anyone, pack: &one, expected: Ok(1) },
        Case { what: "two of two", trust: &of_both, pack: &two, expected: Ok(2) },
        Case {
            what: "one of two",
            trust: &of_both,
            pack: &one,
            expected: Err("1 pinned keys have signed it, expected 2"),
        },
        Case { what: "two of three", trust: &two_of_three, pack: &two, expected: Ok(2) },
        Case { what: "one of three", trust: &two_of_three, pack: &stranger, expected: Err("expected 2") },
    ];
    let mut wrong = Vec::new();
    for Case { what, trust, pack, expected } in cases {
        let found = verify(trust, pack);
        let as_expected = match (&found, expected) {
            (Ok(found), Ok(expected)) => *found == expected,
            (Err(found), Err(expected)) => found.contains(expected),
            _ => false,
        };
        if !as_expected {
            wrong.push(format!("{what}: {found:?}, expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_session_brings_into_force_what_it_trusts_and_a_refusal_leaves_it_as_it_was() {
    let made = bundle(MIXED, 7);
    let [a, b] = [1, 2].map(key);
    let [first, second] = [0.5, 0.25].map(|delta| pack(&made, "skill", delta));
    let good = skill(&signed(&first, &[&a]));
    let wrong = skill(&with_signature(&second, &a, &signature(&first, &a)));
    let [unsigned, strangers] = [skill(&second), skill(&signed(&second, &[&b]))];
    for (what, session) in [
        ("keys", session(&made.base).trusting(trust(&[&a], 1))),
        ("beside", session(&made.base).trusting(trust(&[&a], 1)).beside().unwrap()),
    ] {
        session.attach(&good, 1.0).unwrap();
        let before = (session.digest(), composed(&session));
        for refused in [&wrong, &unsigned, &strangers] {
            let attempts = [
                session.attach(refused, 1.0),
                session.swap([(refused.clone(), 1.0)]),
                session.swap([(good.clone(), 1.0), (refused.clone(), 1.0)]),
            ];
            for attempt in attempts {
                assert_eq!(attempt.unwrap_err().kind(), ErrorKind::Untrusted, "{what}");
                assert_eq!((session.digest(), composed(&session)), before, "{what}");
            }
        }
        session.set_alpha(&good.digest(), 0.5).unwrap();
        session.detach(&good.digest()).unwrap();
        assert_eq!(composed(&session), made.base.bytes(), "{what}");
    }
    let nobody = session(&made.base).trusting(Trust::default());
    assert_eq!(nobody.attach(&good, 1.0).unwrap_err().kind(), ErrorKind::Untrusted);
    let by_name = session(&made.base).trusting(trust(&[&a], 1).and_unsigned_too());
    assert_eq!(by_name.attach(&wrong, 1.0).unwrap_err().kind(), ErrorKind::Untrusted);
    by_name.attach(&unsigned, 1.0).unwrap();
}

#[test]
fn a_session_trusts_nobody_unless_told() {
    let made = bundle(MIXED, 8);
    let a = key(1);
    let untold = taskvec_runtime::Session::with_engine(&made.base, std::sync::Arc::new(crate::made::Plain)).unwrap();
    for file in [pack(&made, "skill", 0.5), signed(&pack(&made, "skill", 0.5), &[&a])] {
        let error = untold.attach(&skill(&file), 1.0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Untrusted);
        assert!(error.help().unwrap().contains("pin the key"), "{error:?}");
    }
    assert!(untold.composition().skills.is_empty());
}

#[test]
fn any_flipped_bit_of_the_content_is_noticed_even_when_every_checksum_is_made_right_again() {
    let made = bundle(MIXED, 2);
    let [a, b] = [1, 2].map(key);
    let trust = trust(&[&a], 1);
    let original = signed(&pack(&made, "original", 0.5), &[&a, &b]);
    let content = skill(&original).pack().content().len();
    let (mut untrusted, mut accepted) = (0, Vec::new());
    for byte in 0..content {
        for bit in 0..8 {
            let mut flipped = original.clone();
            flipped[byte] ^= 1 << bit;
            assert!(Skill::from_bytes(flipped, &PackLimits::default()).is_err(), "byte {byte}, bit {bit}");
        }
    }
    // The sections again, with all sizes and checksums made right: what is left to notice it is the signature.
    for section in 0..3 {
        let mut length = 0;
        Draft::of(&original).change(section, |bytes| length = bytes.len());
        for bit in 0..8 * length {
            let mut draft = Draft::of(&original);
            draft.change(section, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            let forged = draft.build().bytes;
            let Ok(skill) = Skill::from_bytes(forged, &PackLimits::default()) else { continue };
            match trust.verify(skill.pack()) {
                Err(error) if error.kind() == ErrorKind::Untrusted => untrusted += 1,
                outcome => accepted.push(format!("section {section}, bit {bit}: {outcome:?}")),
            }
        }
    }
    assert!(accepted.is_empty(), "{}", accepted.join("\n"));
    assert!(untrusted > 100, "only {untrusted} forgeries got as far as the signature");
    assert_eq!(trust.verify(skill(&original).pack()).unwrap(), [public(&a).id()]);
}

#[test]
fn a_pinned_keys_signature_that_does_not_fit_is_worse_than_none() {
    let made = bundle(MIXED, 3);
    let [a, b] = [1, 2].map(key);
    let [mine, other] = [0.5, 0.25].map(|delta| pack(&made, "skill", delta));
    let transplanted = with_signature(&mine, &a, &signature(&other, &a));
    let by_another = with_signature(&mine, &a, &signature(&mine, &b));
    let mut changed = signature(&mine, &a);
    changed[5] ^= 1;
    let changed = with_signature(&mine, &a, &changed);
    // Without the domain tag: what the key has signed for another purpose.
    let for_another_purpose = with_signature(&mine, &a, &a.sign(&skill(&mine).digest().0).to_bytes());
    let anyone_too = trust(&[&a], 1).and_unsigned_too();
    for (what, file) in [
        ("of another pack", &transplanted),
        ("of another key", &by_another),
        ("changed", &changed),
        ("for another purpose", &for_another_purpose),
    ] {
        // Enough others do not make up for it, nor does allowing unsigned packs.
        let with_others = signed(file, &[&b]);
        for (trust, file) in [(trust(&[&a], 1), file), (trust(&[&a, &b], 1), &with_others), (anyone_too.clone(), file)]
        {
            let refused = verify(&trust, file).unwrap_err();
            assert!(refused.contains(&public(&a).id().to_string()), "{what}: {refused}");
        }
        // Whoever has not pinned the key cannot know.
        assert_eq!(verify(&trust(&[&b], 1), &with_others), Ok(1), "{what}");
    }
}

#[test]
fn a_signature_that_was_cut_off_is_missed() {
    let made = bundle(MIXED, 4);
    let [a, b] = [1, 2].map(key);
    let both = signed(&pack(&made, "skill", 0.5), &[&a, &b]);
    let content = skill(&both).pack().content().len();
    let block = (both.len() - content) / 2;
    let trust = trust(&[&a, &b], 2);
    assert_eq!(verify(&trust, &both), Ok(2));
    for end in content..both.len() {
        match Skill::from_bytes(&both[..end], &PackLimits::default()) {
            Ok(_) => assert!(verify(&trust, &both[..end]).is_err(), "cut at {end}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Damaged, "cut at {end}"),
        }
    }
    assert!(verify(&trust, &both[..content]).unwrap_err().contains("not signed"));
    assert!(verify(&trust, &both[..content + block]).unwrap_err().contains("expected 2"));
}

#[test]
fn a_second_signature_made_out_of_a_first_one_is_refused() {
    let made = bundle(MIXED, 5);
    let a = key(1);
    let plain = pack(&made, "skill", 0.5);
    let message = message(&plain);
    let good = signature(&plain, &a);

    // S plus the order of the group: the same point. RFC 8032, 5.1: L = 2^252 + 27742317777372353535851937790883648493.
    let order = (-Scalar::ONE).to_bytes();
    let mut carry = 1_u16;
    let mut unreduced = good;
    for (byte, add) in unreduced[32..].iter_mut().zip(order) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    assert_eq!(carry, 0, "S + L fits into 32 bytes");

    // R the neutral element, S = k * a: the equation holds, but anybody could ask the key's owner for such a one.
    let mut neutral = [0; 64];
    neutral[0] = 1;
    let hashed = Sha512::new().chain_update(&neutral[..32]).chain_update(public(&a).0).chain_update(message).finalize();
    let k = Scalar::from_bytes_mod_order_wide(&hashed.into());
    neutral[32..].copy_from_slice(&(k * a.to_scalar()).to_bytes());
    let lenient = a.verifying_key().verify(&message, &Signature::from_bytes(&neutral));
    assert!(lenient.is_ok(), "lenient verification takes it, so that strictness is what refuses it");

    let trust = trust(&[&a], 1);
    for (what, signature) in [("S not reduced", unreduced), ("R of small order", neutral)] {
        assert!(verify(&trust, &with_signature(&plain, &a, &signature)).is_err(), "{what}");
    }
    assert_eq!(verify(&trust, &with_signature(&plain, &a, &good)), Ok(1));
}

#[test]
fn keys_for_which_anybody_can_sign_cannot_be_pinned() {
    let refused = |bytes: [u8; 32]| Trust::in_keys([PublicKey(bytes)], 1).map(drop).map_err(|error| error.kind());
    let torsion = curve25519_dalek::constants::EIGHT_TORSION.map(|point| point.compress().to_bytes());
    for bytes in torsion {
        assert!(VerifyingKey::from_bytes(&bytes).is_ok(), "{bytes:x?} is a point");
        assert_eq!(refused(bytes), Err(ErrorKind::Usage), "{bytes:x?}");
    }
    // y + p, in the place of y: another encoding of the same point, and so another key id for the same key.
    let mut points = 0;
    for y in 0..19_u8 {
        let mut bytes = [0xff; 32];
        (bytes[0], bytes[31]) = (0xed + y, 0x7f);
        points += usize::from(VerifyingKey::from_bytes(&bytes).is_ok_and(|point| !point.is_weak()));
        assert_eq!(refused(bytes), Err(ErrorKind::Usage), "{bytes:x?}");
    }
    assert!(points > 3, "only {points} of them are points that are not weak");
    let mut no_point = [0; 32];
    no_point[0] = 2;
    assert!(VerifyingKey::from_bytes(&no_point).is_err());
    assert_eq!(refused(no_point), Err(ErrorKind::Usage));
    assert_eq!(refused(public(&key(1)).0), Ok(()));
}

#[test]
fn a_trust_has_at_least_one_key_and_a_threshold_that_they_can_meet() {
    let keys = || (0..=64_u8).map(|seed| public(&key(seed)));
    let refused = |count: usize, threshold: usize| {
        Trust::in_keys(keys().take(count), threshold).map(drop).map_err(|error| error.kind())
    };
    for (count, threshold, expected) in [
        (0, 0, Err(ErrorKind::Usage)),
        (0, 1, Err(ErrorKind::Usage)),
        (1, 0, Err(ErrorKind::Usage)),
        (1, 2, Err(ErrorKind::Usage)),
        (64, 64, Ok(())),
        (65, 1, Err(ErrorKind::Usage)),
    ] {
        assert_eq!(refused(count, threshold), expected, "{threshold} of {count}");
    }
}

#[test]
fn signatures_of_strangers_and_of_unknown_algorithms_say_nothing() {
    let made = bundle(MIXED, 6);
    let [a, stranger] = [1, 2].map(key);
    let plain = pack(&made, "skill", 0.5);
    let mut file = with_signature(&plain, &stranger, &[7; 64]);
    file = write::sign(&file, 2, b"another algorithm", &[7; 100]).unwrap();
    // The id of a pinned key under an algorithm that is not its own.
    let claimed = write::sign(&file, 2, &public(&a).id().0, &signature(&plain, &a)).unwrap();
    let verdicts = |file: &[u8]| -> Vec<Verdict> {
        let pack = Pack::read(file, &PackLimits::default()).unwrap();
        trust(&[&a], 1).verdicts(&pack).map(|(_, verdict)| verdict).collect()
    };
    assert_eq!(verdicts(&claimed), [Verdict::Unknown; 3]);
    assert!(verify(&trust(&[&a], 1), &claimed).unwrap_err().contains("none of its 3"));
    let mut expected = verdicts(&signed(&file, &[&a]));
    expected.sort_by_key(|verdict| format!("{verdict:?}"));
    assert_eq!(expected, [Verdict::Holds, Verdict::Unknown, Verdict::Unknown]);
    assert_eq!(verify(&trust(&[&a], 1), &signed(&file, &[&a])), Ok(1));
}

#[test]
fn a_device_keeps_its_pinned_keys() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    let [a, b] = [1, 2].map(key);
    let told = |trust: &Trust| (trust.keys().collect::<Vec<_>>(), trust.threshold(), trust.allows_unsigned());
    let mut both = [public(&a), public(&b)];
    both.sort_by_key(PublicKey::id);
    assert_eq!(told(&store.trust().unwrap()), (vec![], 1, false));
    assert!(store.set_threshold(1).is_ok());
    assert_eq!(store.set_threshold(2).unwrap_err().kind(), ErrorKind::Usage);
    assert_eq!(told(&store.pin(public(&a)).unwrap()), (vec![public(&a)], 1, false));
    assert_eq!(told(&store.pin(public(&a)).unwrap()), (vec![public(&a)], 1, false), "pinned again");
    store.pin(public(&b)).unwrap();
    store.set_threshold(2).unwrap();
    assert_eq!(told(&Store::open(store.folder()).unwrap().trust().unwrap()), (both.to_vec(), 2, false));
    let before = fs::read(store.folder().join("trust.json")).unwrap();
    let weak = PublicKey([0; 32]);
    let refused = [
        store.pin(weak),
        store.set_threshold(0),
        store.set_threshold(3),
        store.unpin(&public(&a).id()),
        store.unpin(&weak.id()),
    ];
    for refused in refused {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Usage);
    }
    assert_eq!(fs::read(store.folder().join("trust.json")).unwrap(), before);
    store.set_threshold(1).unwrap();
    store.unpin(&public(&a).id()).unwrap();
    assert_eq!(told(&store.unpin(&public(&b).id()).unwrap()), (vec![], 1, false));
    assert_eq!(told(&store.trust().unwrap()), (vec![], 1, false));
}

#[test]
fn a_damaged_trust_file_trusts_nobody_and_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    let keys = [1, 2, 3].map(|seed| public(&key(seed)));
    for key in keys {
        store.pin(key).unwrap();
    }
    store.set_threshold(3).unwrap();
    let path = store.folder().join("trust.json");
    let good = fs::read(&path).unwrap();
    let mut accepted = Vec::new();
    let mut refuses = |what: String, bytes: &[u8]| {
        // What the store has written is read-only.
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        let outcomes = [store.trust(), store.pin(keys[0]), store.set_threshold(1)];
        let kinds = outcomes.map(|outcome| outcome.map(drop).map_err(|error| error.kind()));
        let is_refused = |kind| matches!(kind, Err(ErrorKind::Damaged | ErrorKind::Unsupported | ErrorKind::Io));
        if !kinds.into_iter().all(is_refused) || fs::read(&path).unwrap() != bytes {
            accepted.push(format!("{what}: {kinds:?}"));
        }
    };
    for place in 0..good.len() {
        refuses(format!("cut at {place}"), &good[..place]);
        let mut flipped = good.clone();
        flipped[place] ^= 1 << (place % 8);
        refuses(format!("a flipped bit of byte {place}"), &flipped);
    }
    let text = String::from_utf8(good.clone()).unwrap();
    refuses("a newer version".to_owned(), text.replace("\"version\": 1", "\"version\": 2").as_bytes());
    refuses("a lower threshold".to_owned(), text.replace("\"threshold\": 3", "\"threshold\": 1").as_bytes());
    refuses("far too long".to_owned(), &[b' '; 1 << 17]);
    assert!(accepted.is_empty(), "{} of {} bytes\n{}", accepted.len(), good.len(), accepted.join("\n"));
    fs::write(&path, &good).unwrap();
    assert_eq!(store.trust().unwrap().threshold(), 3);
}

#[test]
fn public_key_files_are_read_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("me.pub");
    let expected = public(&key(1));
    fs::write(&path, expected.to_string()).unwrap();
    assert_eq!(read_public_key(&path).unwrap(), expected);
    for wrong in [&b""[..], &[0xff; 127], &[b' '; 1 << 16], b"taskvec secret key v1\nid \nkey \n"] {
        fs::write(&path, wrong).unwrap();
        assert_eq!(read_public_key(&path).unwrap_err().kind(), ErrorKind::Damaged);
    }
    assert_eq!(read_public_key(&folder.path().join("none.pub")).unwrap_err().kind(), ErrorKind::Io);
}
