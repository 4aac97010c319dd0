//! What the system says about our mappings: the base has no private dirty page, the composed one has no more than the
//! touched ones, and what is given back is gone.

use std::fs;
use std::path::Path;

use taskvec_bundle::StoredDtype;
use taskvec_pack::write::Builder;
use taskvec_pack::write::Rounding;
use taskvec_runtime::Session;

use crate::made::{Kind, Made, Numbers, Plan, add_random, bundle, composed, session, skill};

const PAGE_KIB: usize = 4;
/// 16 MB: many pages, and a second tensor that starts in the middle of one.
const LARGE: &[Plan] = &[
    Plan { name: "a.weight", dtype: StoredDtype::F32, shape: &[1000, 2101], editable: true },
    Plan { name: "b.weight", dtype: StoredDtype::F32, shape: &[2047, 1023], editable: true },
];

/// KiB of private dirty memory of the mappings of `file`: the read-only ones, and the writable ones.
fn private_dirty_kib(file: &Path) -> (usize, usize) {
    let file = file.canonicalize().unwrap();
    let (mut read_only, mut writable) = (0, 0);
    let mut current: Option<bool> = None;
    for line in fs::read_to_string("/proc/self/smaps").unwrap().lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("Private_Dirty:") => {
                let kib: usize = words.next().unwrap().parse().unwrap();
                match current {
                    Some(true) => writable += kib,
                    Some(false) => read_only += kib,
                    None => {}
                }
            }
            // The head of a mapping: range, permissions, offset, device, inode, path.
            Some(first) if !first.ends_with(':') => {
                let permissions = words.next().unwrap();
                current = line.ends_with(file.to_str().unwrap()).then(|| permissions.contains('w'));
            }
            _ => {}
        }
    }
    (read_only, writable)
}

fn model(made: &Made) -> std::path::PathBuf {
    made.folder.path().join("model.safetensors")
}

/// Every byte is looked at, so that a page could not hide by never having been mapped in.
fn infer(session: &Session) {
    session.features(&[0.5; 4], 1).unwrap();
}

#[test]
fn only_touched_pages_are_our_own() {
    let made = bundle(LARGE, 30);
    let session = session(&made.base);
    infer(&session);
    assert_eq!(private_dirty_kib(&model(&made)), (0, 0));

    let mut numbers = Numbers(31);
    let mut builder = Builder::new(made.base.fingerprint(), "few");
    for tensor in made.base.tensors() {
        let indices = numbers.some_of(tensor.shape.iter().product(), 1).into_iter().step_by(40).collect::<Vec<_>>();
        let kind = Kind::Deltas(Rounding::F32);
        add_random(&mut builder, &tensor.name, tensor.dtype, &tensor.shape, &indices, kind, &mut numbers);
    }
    let few = skill(&builder);
    let change = session.attach(&few, 1.0).unwrap();
    infer(&session);
    assert!((40..400).contains(&change.touched_pages), "{}", change.touched_pages);
    assert_eq!(change.touched_bytes, change.touched_pages as u64 * 4096);
    let (read_only, writable) = private_dirty_kib(&model(&made));
    assert_eq!(read_only, 0);
    assert!(writable > 0 && writable <= change.touched_pages * PAGE_KIB, "{writable} KiB of {change:?}");

    let change = session.detach(&few.digest()).unwrap();
    infer(&session);
    assert_eq!(change.touched_pages, 0);
    assert_eq!(private_dirty_kib(&model(&made)), (0, 0), "what nobody needs is given back");
    assert!(composed(&session) == made.base.bytes());
}

#[test]
fn kept_pages_hold_the_bases_bytes() {
    let made = bundle(LARGE, 36);
    let session = session(&made.base).keeping_pages();
    let mut numbers = Numbers(37);
    let tensor = &made.base.tensors()[0];
    let mut builder = Builder::new(made.base.fingerprint(), "kept");
    let indices = numbers.some_of(tensor.shape.iter().product(), 1);
    let kind = Kind::Deltas(Rounding::F32);
    add_random(&mut builder, &tensor.name, tensor.dtype, &tensor.shape, &indices, kind, &mut numbers);
    let kept = skill(&builder);
    let touched = session.attach(&kept, 1.0).unwrap().touched_pages;
    assert_eq!(session.detach(&kept.digest()).unwrap().touched_pages, 0);
    assert_eq!(private_dirty_kib(&model(&made)), (0, touched * PAGE_KIB));
    assert!(composed(&session) == made.base.bytes());
}

#[test]
fn a_page_on_which_two_tensors_meet_counts_once() {
    let made = bundle(LARGE, 32);
    let session = session(&made.base);
    let (a, b) = (&made.base.tensors()[0], &made.base.tensors()[1]);
    assert_eq!(a.place.end, b.place.start);
    assert_ne!(a.place.end % 4096, 0, "the tensors must meet inside a page");
    let mut numbers = Numbers(33);
    let skills = [(a, a.shape.iter().product::<u64>() - 1), (b, 0)].map(|(tensor, index)| {
        let mut builder = Builder::new(made.base.fingerprint(), tensor.name.clone());
        let kind = Kind::Deltas(Rounding::F32);
        add_random(&mut builder, &tensor.name, tensor.dtype, &tensor.shape, &[index], kind, &mut numbers);
        skill(&builder)
    });
    assert_eq!(session.attach(&skills[0], 1.0).unwrap().touched_pages, 1);
    let change = session.attach(&skills[1], 1.0).unwrap();
    assert_eq!(change.touched_pages, 1);
    assert_eq!(private_dirty_kib(&model(&made)), (0, change.touched_pages * PAGE_KIB));
    // Taking one off leaves the other's half of the page alone.
    let with_b = composed(&session)[b.place.clone()].to_vec();
    session.detach(&skills[0].digest()).unwrap();
    let now = composed(&session);
    assert!(now[a.place.clone()] == made.base.bytes()[a.place.clone()]);
    assert!(now[b.place.clone()] == with_b && with_b != made.base.bytes()[b.place.clone()]);
}

#[test]
fn a_block_of_a_page_is_one_page() {
    const WHOLE_PAGES: &[Plan] = &[
        Plan { name: "a.bias", dtype: StoredDtype::F32, shape: &[5], editable: true },
        Plan { name: "b.weight", dtype: StoredDtype::F32, shape: &[300, 2048], editable: true },
    ];
    let made = bundle(WHOLE_PAGES, 38);
    let tensor = made.base.tensor("b.weight").unwrap();
    let mut numbers = Numbers(39);
    let blocks = numbers.some_of(600, 100);
    let indices: Vec<u64> = blocks.iter().flat_map(|block| 1024 * block..1024 * (block + 1)).collect();
    let mut builder = Builder::new(made.base.fingerprint(), "blocks");
    let kind = Kind::Deltas(Rounding::INT8);
    add_random(&mut builder, &tensor.name, tensor.dtype, &tensor.shape, &indices, kind, &mut numbers);
    for threads in [1, 2] {
        let session = session(&made.base).with_change_threads(threads);
        assert_eq!(session.attach(&skill(&builder), 1.0).unwrap().touched_pages, blocks.len());
        infer(&session);
        assert_eq!(private_dirty_kib(&model(&made)), (0, blocks.len() * PAGE_KIB));
    }
}

#[test]
fn two_sessions_share_what_neither_touches() {
    let made = bundle(LARGE, 34);
    let (one, two) = (session(&made.base), session(&made.base));
    let mut numbers = Numbers(35);
    let tensor = &made.base.tensors()[1];
    let mut builder = Builder::new(made.base.fingerprint(), "block");
    let indices: Vec<u64> = (0..1024).collect();
    let kind = Kind::Deltas(Rounding::F32);
    add_random(&mut builder, &tensor.name, tensor.dtype, &tensor.shape, &indices, kind, &mut numbers);
    let change = one.attach(&skill(&builder), 1.0).unwrap();
    infer(&one);
    infer(&two);
    assert_eq!(private_dirty_kib(&model(&made)), (0, change.touched_pages * PAGE_KIB));
    assert!(composed(&two) == made.base.bytes());
}
