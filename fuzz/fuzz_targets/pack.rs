//! Throws bytes at the door `pack`; every other change is made inside one section, with sizes and offsets that fit it.

#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use taskvec_tests::doors;

fuzz_target!(|bytes: &[u8]| doors::pack(bytes));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let change = |section: &mut Vec<u8>| {
        let before = section.len();
        let room = max_size.saturating_sub(size) + before;
        section.resize(room, 0);
        let after = fuzzer_mutate(section, before, room);
        section.truncate(after);
    };
    let place = (seed / 2 % 8) as usize;
    let changed = (seed % 2 == 0).then(|| doors::change_a_section(&data[..size], place, change)).flatten();
    match changed.filter(|changed| changed.len() <= max_size) {
        Some(changed) => {
            data[..changed.len()].copy_from_slice(&changed);
            changed.len()
        }
        None => fuzzer_mutate(data, size, max_size),
    }
});
