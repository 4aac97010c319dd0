//! Do both readers read what `FORMAT.md` says, and nothing else?
//!
//! The truth is in `tests/vectors/`: packs made by hand, each with a JSON that says what must be read from it or why it must
//! be refused, and at which byte. `golden` makes and compares them; `TASKVEC_BLESS=1` writes them.

mod generated;
mod golden;
mod invalid;
mod json_text;
mod valid;

use std::collections::BTreeSet;
use std::sync::Once;

use serde_json::{Value, json};
use taskvec_testkit::Limits;
use taskvec_testkit::contents::Values;
use taskvec_tests::readers::{READERS, Verdict};

use self::golden::Vector;

fn in_words(verdict: &Verdict) -> Value {
    match verdict {
        Ok(contents) => json!({ "reads": contents }),
        Err((kind, class, offset)) => json!({ "error": { "kind": kind, "class": class, "offset": offset } }),
    }
}

/// The vectors of a folder, which are written first if `TASKVEC_BLESS=1`.
fn stored(folder: &str) -> Vec<Vector> {
    static BLESS: Once = Once::new();
    BLESS.call_once(|| {
        if std::env::var_os("TASKVEC_BLESS").is_some_and(|value| value == "1") {
            golden::write("valid", &valid::vectors());
            golden::write("invalid", &invalid::vectors());
        }
    });
    golden::stored(folder)
}

#[test]
fn the_vectors_are_those_made_by_hand() {
    golden::compare("valid", &valid::vectors(), &stored("valid"));
    golden::compare("invalid", &invalid::vectors(), &stored("invalid"));
}

#[test]
fn both_readers_read_each_vector_as_its_json_says() {
    let mut wrong = Vec::new();
    let vectors = ["valid", "invalid"].map(stored).concat();
    assert!(vectors.len() > 150, "only {} vectors are there", vectors.len());
    for Vector { name, bytes, json } in &vectors {
        let json: Value = serde_json::from_str(json).expect("a JSON that this test has written");
        let limits = stated_limits(&json);
        for (reader, read) in READERS {
            let verdict = in_words(&read(bytes, &limits));
            // As text: 0.0 and -0.0 are equal as numbers.
            let agrees = verdict.as_object().is_some_and(|verdict| {
                verdict
                    .iter()
                    .all(|(key, said)| json.get(key).is_some_and(|stated| json_text::of(stated) == json_text::of(said)))
            });
            if !agrees {
                wrong.push(format!("{name}: the {reader} reader says {}", json_text::of(&verdict)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn both_readers_read_the_example_of_the_specification() {
    let specification = include_str!("../../../crates/pack/FORMAT.md");
    let (_, section) =
        specification.split_once("## 16. A small file in hexadecimal").expect("the section of the example");
    let lines = section.lines().skip_while(|line| *line != "```text").skip(1).take_while(|line| *line != "```");
    // Each line is an offset, up to sixteen bytes, a bar and words.
    let bytes = lines.flat_map(|line| line.split('|').next().expect("the bytes").split_whitespace().skip(1));
    let file: Vec<u8> = bytes.map(|byte| u8::from_str_radix(byte, 16).expect("a byte")).collect();
    for (reader, read) in READERS {
        let contents = read(&file, &Limits::default()).unwrap_or_else(|error| panic!("the {reader} reader: {error:?}"));
        assert!(section.contains(&contents.digest), "the digest {} of the {reader} reader", contents.digest);
        let tensor = &contents.tensors[0];
        assert_eq!((tensor.name.as_str(), &tensor.shape[..]), ("norm.weight", &[2, 4][..]), "{reader}");
        assert_eq!(tensor.indices, [1, 5], "{reader}");
        assert_eq!(tensor.values, Values::Deltas(vec![0.5, -0.25]), "{reader}");
    }
}

#[test]
fn a_pack_beyond_a_limit_is_only_beyond_the_limit() {
    for Vector { name, bytes, json } in stored("invalid") {
        let json: Value = serde_json::from_str(&json).expect("a JSON that this test has written");
        if json.get("limits").is_some() {
            for (reader, read) in READERS {
                let verdict = read(&bytes, &Limits::default());
                assert!(verdict.is_ok(), "{name}: the {reader} reader says {verdict:?} under the default limits");
            }
        }
    }
}

#[test]
fn every_kind_of_error_has_a_vector() {
    let stated = |vector: &Vector| {
        let json: Value = serde_json::from_str(&vector.json).expect("a JSON that this test has written");
        json["error"]["kind"].as_str().expect("an error with a kind").to_owned()
    };
    let kinds: BTreeSet<String> = stored("invalid").iter().map(stated).collect();
    assert_eq!(kinds.len(), 18, "kinds with a vector: {kinds:?}");
}

#[test]
fn every_flipped_byte_and_every_cut_is_refused_alike() {
    let mut wrong = Vec::new();
    for vector in stored("valid").iter().filter(|vector| vector.bytes.len() < 700) {
        let ends = ends_of_packs(&vector.bytes);
        for place in 0..vector.bytes.len() {
            let mut flipped = vector.bytes.clone();
            flipped[place] ^= 0x41;
            let cut = &vector.bytes[..place];
            for (what, file) in [("flipped", &flipped[..]), ("cut", cut)] {
                let verdicts = READERS.map(|(_, read)| read(file, &Limits::default()));
                let fewer_signatures = what == "cut" && ends.contains(&place);
                if verdicts[0] != verdicts[1] || verdicts[0].is_ok() != fewer_signatures {
                    wrong.push(format!("{} {what} at {place}: {verdicts:?}", vector.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} cases\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
}

/// Where a file may be cut and still be a pack: after the content, and after each of its signature blocks.
fn ends_of_packs(file: &[u8]) -> Vec<usize> {
    let number = |place: usize| u32::from_le_bytes(file[place..place + 4].try_into().expect("four bytes")) as usize;
    let mut ends = vec![number(16)];
    while let Some(end) = ends.last().copied().filter(|end| *end < file.len()) {
        ends.push(end + number(end + 8));
    }
    ends
}

#[test]
fn vectors_are_small() {
    let vectors = ["valid", "invalid"].map(stored).concat();
    let sizes = vectors.iter().flat_map(|vector| [vector.bytes.len(), vector.json.len()]);
    // The largest one has the 257 granules of two blocks, and for each of them two indices and two deltas to tell.
    let too_large: Vec<usize> = sizes.clone().filter(|&size| size > 5 << 10).collect();
    assert_eq!(too_large, Vec::<usize>::new(), "sizes in bytes");
    assert!(sizes.clone().sum::<usize>() < 300 << 10, "{} bytes in all", sizes.sum::<usize>());
}

/// The limits of a vector: the defaults, or one of them set.
fn stated_limits(json: &Value) -> Limits {
    let Some(set) = json.get("limits").and_then(Value::as_object) else { return Limits::default() };
    let (name, value) = set.iter().next().expect("a limit that is set");
    Limits::with(name, value.as_u64().expect("a limit is a count")).expect("a limit of the format")
}
