//! scratch
use super::{READERS, stored};
use std::collections::BTreeMap;
use taskvec_testkit::{Limits, hand_made::Draft};
#[test]
fn explore() {
    let vectors = stored("valid");
    let mut state = 0x1234_5678_9abc_def1_u64
        ^ std::env::var("SEED").map_or(0, |s| s.parse::<u64>().unwrap()).wrapping_mul(0x9E3779B97F4A7C15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize
    };
    let mut found: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let mut verdicts: BTreeMap<String, usize> = BTreeMap::new();
    let n: usize = std::env::var("N").map_or(100_000, |s| s.parse().unwrap());
    for _ in 0..n {
        let v = &vectors[next() % vectors.len()];
        let mut draft = Draft::of(&v.bytes);
        let mut what = String::new();
        for _ in 0..1 + next() % 3 {
            let section = [0, 1, 1, 1, 2, 2, 2, 2, 2, 3, 4, 5][next() % 12];
            let (op, pl, by) =
                (next() % 8, next(), [0, 1, 0x7f, 0x80, 0xff, next() as u8, next() as u8, 2][next() % 8]);
            draft.change(section, |bytes| {
                if bytes.is_empty() {
                    return;
                }
                let p = pl % bytes.len();
                what += &format!("s{section} op{op} p{p} b{by}; ");
                match op {
                    0..=2 => bytes[p] = by,
                    3..=4 => bytes[p] ^= 1 << (by % 8),
                    5 => bytes.insert(p, by),
                    6 => {
                        bytes.remove(p);
                    }
                    _ => bytes.truncate(p),
                }
            });
        }
        let mut made = draft.build();
        if next() % 10 == 0 {
            let p = next() % made.bytes.len().min(250);
            made.bytes[p] = next() as u8;
            made.fix_checksums();
            what += &format!("h{p};");
        }
        let small = Limits {
            max_string_bytes: 30,
            max_entries: 200,
            max_elements_per_tensor: 1000,
            max_classes: 3,
            ..Limits::default()
        };
        for limits in [Limits::default(), small] {
            let [a, b] = READERS.map(|(_, r)| r(&made.bytes, &limits));
            *verdicts
                .entry(match &a {
                    Ok(_) => "ok".into(),
                    Err(e) => e.0.to_string(),
                })
                .or_default() += 1;
            if format!("{a:?}") != format!("{b:?}") {
                let key = match (&a, &b) {
                    (Err(x), Err(y)) => {
                        format!("{} vs {} {}", x.0, y.0, if x.2 == y.2 { "same offset" } else { "OFFSET" })
                    }
                    _ => format!("ok? {} {}", a.is_ok(), b.is_ok()),
                };
                let e = found.entry(key).or_default();
                e.0 += 1;
                if e.0 <= 6 {
                    e.1 += &format!("\n    {} {what} naive {:?} fast {:?}", v.name, a.as_ref().err(), b.as_ref().err());
                }
            }
        }
    }
    println!("{verdicts:?}");
    for (k, (c, w)) in found {
        println!("{k}: {c}{w}");
    }
}
