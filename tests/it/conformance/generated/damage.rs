//! Random damage to a section.

use proptest::prelude::*;

/// One change of a section.
#[derive(Clone, Debug)]
pub(super) struct Damage {
    pub(super) section: usize,
    place: prop::sample::Index,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Set(u8),
    Flip(u8),
    Insert(u8),
    Remove,
    Cut,
}

pub(super) fn damage() -> impl Strategy<Value = Damage> {
    let set = prop_oneof![Just(0), Just(1), Just(0x7F), Just(0x80), Just(0xFF), any::<u8>()];
    let what = prop_oneof![
        3 => set.clone().prop_map(What::Set),
        3 => (0_u8..8).prop_map(|bit| What::Flip(1 << bit)),
        1 => set.prop_map(What::Insert),
        1 => Just(What::Remove),
        1 => Just(What::Cut),
    ];
    // Streams and records, where most can go wrong, are damaged more often.
    let section = prop_oneof![1 => Just(0_usize), 3 => Just(1), 5 => Just(2), 2 => 3_usize..6];
    (section, any::<prop::sample::Index>(), what).prop_map(|(section, place, what)| Damage { section, place, what })
}

impl Damage {
    /// Changes the bytes of the section.
    pub(super) fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let place = self.place.index(bytes.len());
        match self.what {
            What::Set(byte) => bytes[place] = byte,
            What::Flip(bit) => bytes[place] ^= bit,
            What::Insert(byte) => bytes.insert(place, byte),
            What::Remove => {
                bytes.remove(place);
            }
            What::Cut => bytes.truncate(place),
        }
    }
}
