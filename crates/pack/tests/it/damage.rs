//! Damage by accident: each flipped bit and each truncation is found.

use taskvec_pack::{ErrorKind, Limits, Pack};

use crate::forge::{seal, signed, unsigned};

fn read(bytes: &[u8]) -> Result<(), taskvec_pack::Error> {
    Pack::read(bytes, &Limits::default()).map(|_| ())
}

#[test]
#[cfg_attr(miri, ignore = "hours: thousands of whole packs")]
fn each_flipped_bit_is_found() {
    for original in [unsigned(), signed()] {
        let mut missed = Vec::new();
        for byte in 0..original.len() {
            for bit in 0..8 {
                let mut bytes = original.clone();
                bytes[byte] ^= 1 << bit;
                match read(&bytes) {
                    Err(error) if error.offset <= bytes.len() as u64 => {}
                    outcome => missed.push((byte, bit, outcome)),
                }
            }
        }
        assert!(missed.is_empty(), "{missed:?}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "hours: thousands of whole packs")]
fn each_other_value_of_each_byte_is_found() {
    let original = unsigned();
    for byte in 0..original.len() {
        for change in 1..=u8::MAX {
            let mut bytes = original.clone();
            bytes[byte] ^= change;
            // The minor version may have any value, but then the checksum is another one.
            assert!(read(&bytes).is_err(), "byte {byte} changed by {change:#x}");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "minutes: hundreds of whole packs")]
fn each_truncation_is_found() {
    let original = signed();
    let content_bytes = unsigned().len();
    for length in (0..original.len()).filter(|length| *length != content_bytes) {
        let error = read(&original[..length]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Truncated, "{length}");
        assert_eq!(error.offset, length as u64);
    }
    // Cut there it is the unsigned pack.
    let pack = Pack::read(&original[..content_bytes], &Limits::default()).unwrap();
    assert_eq!(pack.signatures().len(), 0);
}

#[test]
fn nothing_may_follow() {
    for original in [unsigned(), signed()] {
        let mut bytes = original.clone();
        bytes.push(0);
        let error = read(&bytes).unwrap_err();
        assert_eq!((error.kind, error.offset), (ErrorKind::Magic, original.len() as u64));
    }
}

/// Whoever changes bytes on purpose can make the checksums right again. The reader may then find nothing wrong, but what it
/// hands out still keeps its promises, and nothing panics.
#[test]
#[cfg_attr(miri, ignore = "hours: thousands of whole packs")]
fn sealed_changes_are_refused_or_read_as_promised() {
    let original = unsigned();
    let limits = Limits::default();
    for byte in 32 + 24 * 6..original.len() {
        for change in [1, 2, 4, 8, 16, 32, 64, 128, 0xff, 0x7f] {
            let mut bytes = original.clone();
            bytes[byte] ^= change;
            let bytes = seal(bytes);
            let Ok(pack) = Pack::read(&bytes, &limits) else { continue };
            for tensor in pack.tensors() {
                let indices: Vec<usize> = tensor.indices().collect();
                assert_eq!(indices.len() as u64, tensor.entry_count(), "byte {byte} changed by {change:#x}");
                assert!(indices.windows(2).all(|pair| pair[0] < pair[1]));
                assert!(indices.iter().all(|index| (*index as u64) < tensor.element_count()));
                match tensor.entries() {
                    taskvec_pack::Entries::Deltas(deltas) => {
                        assert_eq!(deltas.count(), indices.len());
                        assert!(deltas.map(|(_, delta)| delta).all(f32::is_finite));
                    }
                    taskvec_pack::Entries::Distances(distances) => {
                        assert_eq!(distances.count(), indices.len());
                        assert!(distances.map(|(_, distance)| distance).all(|distance| distance != 0));
                    }
                }
            }
            let labels = pack.head().map(|head| head.labels().count());
            assert_eq!(labels, pack.head().map(|head| head.class_count as usize));
            assert_eq!(pack.probes().map(|probes| probes.iter().count()), pack.probes().map(|p| p.count as usize));
        }
    }
}

#[test]
fn bytes_that_are_read_again_give_the_same_pack() {
    let limits = Limits::default();
    for bytes in [unsigned(), signed()] {
        let pack = Pack::read(&bytes, &limits).unwrap();
        let again = Pack::read_again(&bytes, &limits, pack.digest()).unwrap();
        assert_eq!(format!("{pack:?}"), format!("{again:?}"));
    }
}

/// Entries that are read again are not looked at, and nobody knows what has happened to them in the meantime.
#[test]
#[cfg_attr(miri, ignore = "hours: thousands of whole packs")]
fn changed_bytes_that_are_read_again_stay_in_their_tensors() {
    let original = unsigned();
    let limits = Limits::default();
    let digest = Pack::read(&original, &limits).unwrap().digest();
    let (mut refused, mut unnoticed) = (0, 0);
    for byte in 0..original.len() {
        for change in [1, 2, 4, 8, 16, 32, 64, 128, 0xff, 0x7f] {
            let mut bytes = original.clone();
            bytes[byte] ^= change;
            let Ok(pack) = Pack::read_again(&bytes, &limits, digest) else {
                refused += 1;
                continue;
            };
            unnoticed += 1;
            for tensor in pack.tensors() {
                let is_inside = |index: usize| (index as u64) < tensor.element_count();
                tensor.indices().for_each_run(|start, stop| assert!(start < stop && is_inside(stop - 1)));
                match tensor.entries() {
                    taskvec_pack::Entries::Deltas(deltas) => {
                        deltas.for_each(|(index, _)| assert!(is_inside(index)));
                        deltas.for_each_run(|first, run| assert!(is_inside(first + run.len() - 1)));
                    }
                    taskvec_pack::Entries::Distances(distances) => {
                        distances.for_each(|(index, _)| assert!(is_inside(index)));
                    }
                }
            }
        }
    }
    assert!(refused > 0 && unnoticed > 0, "{refused} refused, {unnoticed} unnoticed");
}
