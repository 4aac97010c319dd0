//! Keys, signatures and whom a device trusts, as a person meets them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use taskvec_pack::{Limits, Pack, write};

use crate::places::handwriting;
use crate::programs::{Told, taskvec, taskvec_device, told};
use crate::small_pack::{contents, small_pack};

/// Makes `NAME.key` and `NAME.pub`, and returns their paths and the key's id.
fn new_key(folder: &Path, name: &str) -> (PathBuf, PathBuf, String) {
    let secret = folder.join(format!("{name}.key"));
    let made = told(taskvec().args(["key", "new", "--json", "-o"]).arg(&secret)).json(0);
    let id = made["id"].as_str().expect("an id").to_owned();
    (secret, folder.join(format!("{name}.pub")), id)
}

fn sign(pack: &Path, key: &Path) -> Told {
    told(taskvec().arg("sign").arg(pack).arg("--key").arg(key))
}

fn inspect(pack: &Path, keys: &[&Path]) -> Told {
    let mut command = taskvec();
    command.args(["inspect", "--json"]).arg(pack);
    for key in keys {
        command.arg("--key").arg(key);
    }
    told(&mut command)
}

/// Key id and verdict of each signature.
fn signatures(inspected: &Value) -> Vec<(String, Option<bool>)> {
    let told = inspected["signatures"].as_array().expect("signatures");
    let one = |told: &Value| (told["key_id"].as_str().expect("a key id").to_owned(), told["fits"].as_bool());
    told.iter().map(one).collect()
}

/// A device command that needs no base.
fn trust(store: &Path, words: &[&str]) -> Told {
    told(taskvec_device(store).args(["trust", "--json"]).args(words))
}

/// A device command on the handwriting base, with the engine that is always there.
fn on_base(store: &Path, command: &str, words: &[&Path]) -> Told {
    let mut device = taskvec_device(store);
    told(device.args([command, "--json", "--engine", "burn", "--base"]).arg(handwriting()).args(words))
}

/// Ids of the pinned keys and the threshold.
fn pinned(told: &Value) -> (Vec<&str>, u64) {
    let ids = told["keys"].as_array().expect("keys").iter().map(|key| key["id"].as_str().expect("an id"));
    (ids.collect(), told["threshold"].as_u64().expect("a threshold"))
}

/// How many skills are in force, whoever made them.
fn in_force(store: &Path) -> usize {
    let info = on_base(store, "info", &[Path::new("--allow-unsigned")]).json(0);
    info["composition"]["skills"].as_array().expect("skills").len()
}

#[test]
fn a_device_attaches_nobodys_packs_until_a_key_is_pinned_or_the_operator_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let [signed, unsigned] = [("signed", 0), ("unsigned", 100)].map(|(name, at)| small_pack(folder.path(), name, at));
    let [maker, other] = ["maker", "other"].map(|name| new_key(folder.path(), name));
    sign(&signed, &maker.0).ended_with(0);
    assert_eq!(pinned(&trust(&store, &["list"]).json(0)), (vec![], 1));
    let allowed = Path::new("--allow-unsigned");

    for pack in [&signed, &unsigned] {
        on_base(&store, "attach", &[pack]).refused(&["no key is pinned"]);
        told(taskvec_device(&store).arg("install").arg(pack)).refused(&["no key is pinned"]);
    }
    trust(&store, &["add", other.1.to_str().unwrap()]).ended_with(0);
    let before = contents(&store);
    on_base(&store, "attach", &[&signed]).refused(&["signed", "pinned key"]);
    on_base(&store, "attach", &[&unsigned]).refused(&["unsigned", "not signed"]);
    assert_eq!(contents(&store), before);
    assert_eq!(in_force(&store), 0);

    let added = trust(&store, &["add", maker.1.to_str().unwrap()]).json(0);
    assert!(pinned(&added).0.contains(&maker.2.as_str()), "{added}");
    on_base(&store, "attach", &[&signed]).ended_with(0);
    let before = contents(&store);
    on_base(&store, "attach", &[&unsigned]).refused(&["unsigned", "not signed"]);
    assert_eq!(contents(&store), before);
    on_base(&store, "info", &[]).ended_with(0);

    // Allowed by name, for this command and no longer.
    on_base(&store, "attach", &[&unsigned, allowed]).ended_with(0);
    assert_eq!(in_force(&store), 2);
    let data = handwriting().join("data/digits8x8");
    let run = |words: &[&Path]| {
        // A small pack has no head of its own.
        let always = ["--head", "handwriting", "--data"].map(Path::new);
        on_base(&store, "run", &[&always[..], &[&data], words].concat())
    };
    run(&[allowed]).ended_with(0);
    run(&[Path::new("--pack"), &signed]).ended_with(0);
    run(&[Path::new("--pack"), &unsigned]).refused(&["unsigned", "not signed"]);
    run(&[Path::new("--pack"), &unsigned, allowed]).ended_with(0);
}

#[test]
fn a_threshold_asks_for_as_many_keys() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let pack = small_pack(folder.path(), "skill", 0);
    let [first, second] = ["first", "second"].map(|name| new_key(folder.path(), name));
    for key in [&first, &second] {
        trust(&store, &["add", key.1.to_str().unwrap()]).ended_with(0);
    }
    assert_eq!(trust(&store, &["threshold", "3"]).code, Some(2));
    assert_eq!(pinned(&trust(&store, &["threshold", "2"]).json(0)).1, 2);
    sign(&pack, &first.0).ended_with(0);
    sign(&pack, &first.0).ended_with(0);
    on_base(&store, "attach", &[&pack]).refused(&["skill", "expected 2"]);
    sign(&pack, &second.0).ended_with(0);
    on_base(&store, "attach", &[&pack]).ended_with(0);

    trust(&store, &["remove", &first.2]).refused(&["threshold"]);
    trust(&store, &["threshold", "1"]).ended_with(0);
    assert_eq!(pinned(&trust(&store, &["remove", &first.2[..16]]).json(0)), (vec![second.2.as_str()], 1));
    trust(&store, &["remove", &first.2]).refused(&[&first.2]);
}

#[test]
fn a_damaged_trust_file_refuses_everything_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let pack = small_pack(folder.path(), "skill", 0);
    let maker = new_key(folder.path(), "maker");
    sign(&pack, &maker.0).ended_with(0);
    trust(&store, &["add", maker.1.to_str().unwrap()]).ended_with(0);
    let path = store.join("trust.json");
    let good = fs::read_to_string(&path).unwrap();
    // What the store has written is read-only.
    fs::remove_file(&path).unwrap();
    fs::write(&path, good.replace(&maker.2[..4], "beef")).unwrap();
    let before = contents(&store);
    let allowed = Path::new("--allow-unsigned");
    let refused = [
        on_base(&store, "attach", &[&pack]),
        on_base(&store, "attach", &[&pack, allowed]),
        on_base(&store, "info", &[allowed]),
        trust(&store, &["list"]),
        trust(&store, &["add", maker.1.to_str().unwrap()]),
        trust(&store, &["threshold", "1"]),
    ];
    for refused in refused {
        refused.refused(&["trust.json"]);
    }
    assert_eq!(contents(&store), before);
    fs::write(&path, good).unwrap();
    on_base(&store, "attach", &[&pack]).ended_with(0);
}

#[test]
fn a_key_pair_is_made_once_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let (secret, public, id) = new_key(folder.path(), "me");
    let before = [&secret, &public].map(|path| fs::read_to_string(path).unwrap());
    assert!(before.iter().all(|text| text.contains(&id)), "both files name the key");
    let again = told(taskvec().args(["key", "new", "-o"]).arg(&secret));
    again.refused(&["me.pub", "overwritten"]);
    assert_eq!(again.code, Some(2), "{again}");
    assert_eq!([&secret, &public].map(|path| fs::read_to_string(path).unwrap()), before);
    assert_ne!(new_key(folder.path(), "other").2, id);
}

#[test]
fn signatures_are_added_verified_and_the_same_whatever_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let pack = small_pack(folder.path(), "skill", 0);
    let unsigned = fs::read(&pack).unwrap();
    let [first, second] = ["first", "second"].map(|name| new_key(folder.path(), name));
    assert_eq!(signatures(&inspect(&pack, &[]).json(0)), []);

    let out = folder.path().join("signed.tvp");
    told(taskvec().arg("sign").arg(&pack).arg("--key").arg(&first.0).arg("-o").arg(&out)).ended_with(0);
    assert_eq!(fs::read(&pack).unwrap(), unsigned, "with `-o` the pack itself stays");
    let once = fs::read(&out).unwrap();
    sign(&out, &first.0).ended_with(0);
    assert_eq!(fs::read(&out).unwrap(), once, "signed again");
    sign(&out, &second.0).ended_with(0);
    sign(&pack, &second.0).ended_with(0);
    sign(&pack, &first.0).ended_with(0);
    assert_eq!(fs::read(&out).unwrap(), fs::read(&pack).unwrap(), "signed in another order");
    assert!(fs::read(&out).unwrap().starts_with(&unsigned), "the content is the same");

    let mut expected = [(first.2.clone(), Some(true)), (second.2.clone(), None)];
    expected.sort();
    assert_eq!(signatures(&inspect(&out, &[&first.1]).json(0)), expected);
    let both = inspect(&out, &[&first.1, &second.1]).json(0);
    assert!(signatures(&both).iter().all(|(_, fits)| *fits == Some(true)), "{both}");
    let stranger = new_key(folder.path(), "stranger");
    let missed = inspect(&out, &[&first.1, &stranger.1]);
    assert_eq!(missed.code, Some(3), "{missed}");
    assert!(missed.stderr.contains(&stranger.2), "{missed}");
}

#[test]
fn a_signature_of_another_pack_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let [pack, other] = [("skill", 0), ("other", 100)].map(|(name, at)| small_pack(folder.path(), name, at));
    let (secret, public, id) = new_key(folder.path(), "me");
    sign(&other, &secret).ended_with(0);
    let theirs = fs::read(&other).unwrap();
    let theirs = Pack::read(&theirs, &Limits::default()).unwrap();
    let signature = theirs.signatures().next().expect("it was signed");
    let transplanted =
        write::sign(&fs::read(&pack).unwrap(), signature.algorithm, signature.key_id, signature.bytes).unwrap();
    fs::write(&pack, transplanted).unwrap();
    let inspected = inspect(&pack, &[&public]);
    assert_eq!(signatures(&inspected.json(3)), [(id.clone(), Some(false))]);
    assert!(inspected.stderr.contains("does not fit") && inspected.stderr.contains(&id), "{inspected}");
    // Its owner signs it anew.
    sign(&pack, &secret).ended_with(0);
    assert_eq!(signatures(&inspect(&pack, &[&public]).json(0)), [(id, Some(true))]);
}

#[test]
fn a_pack_can_be_signed_when_it_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let pack = small_pack(folder.path(), "skill", 0);
    let (secret, _, _) = new_key(folder.path(), "me");
    sign(&pack, &secret).ended_with(0);
    let at_once = folder.path().join("at-once.tvp");
    let mut diff = taskvec();
    diff.args(["diff", "--name", "skill", "--sign"]).arg(&secret);
    diff.arg(handwriting().join("model.safetensors")).arg(folder.path().join("skill.safetensors"));
    let made = told(diff.arg("--json").arg("-o").arg(&at_once)).json(0);
    let bytes = fs::read(&at_once).unwrap();
    assert_eq!(bytes, fs::read(&pack).unwrap());
    assert_eq!(made["pack_bytes"].as_u64(), Some(bytes.len() as u64));
}

#[test]
fn what_is_no_key_or_no_pack_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let pack = small_pack(folder.path(), "skill", 0);
    let before = fs::read(&pack).unwrap();
    let (secret, public, _) = new_key(folder.path(), "me");
    let damaged = folder.path().join("damaged.key");
    fs::write(&damaged, fs::read_to_string(&secret).unwrap().replace("key ", "key")).unwrap();
    sign(&pack, &public).refused(&["me.pub", "secret key file"]);
    sign(&pack, &damaged).refused(&["damaged.key", "secret key file"]);
    inspect(&pack, &[&secret]).refused(&["me.key", "public key file"]);
    assert_eq!(fs::read(&pack).unwrap(), before);
    let text = folder.path().join("text.tvp");
    fs::write(&text, "no pack at all").unwrap();
    sign(&text, &secret).refused(&["text.tvp"]);
    assert_eq!(fs::read_to_string(&text).unwrap(), "no pack at all");
}
