//! `taskvec verify` and two packs compared, as a person and a program meet them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use taskvec_bundle::TensorFile;
use taskvec_pack::write::{self, Builder, HeadParts, PreprocessingParts, ProbeInputs, ProbeParts, Rounding};
use taskvec_pack::{EngineKind, Limits, Pack};

use crate::places::{handwriting, has_onnxruntime};
use crate::programs::{Told, taskvec, taskvec_device, told};
use crate::small_pack::small_pack;

const ANSWERS: [&str; 4] = ["whole pack", "signatures", "belongs to base", "does as promised"];

fn verify(pack: &Path, more: &[&str]) -> Told {
    told(taskvec().args(["verify", "--json"]).arg(pack).args(more))
}

/// Whether each question's answer is yes, no or none; the exit code says the same.
#[track_caller]
fn answers(told: &Told) -> Vec<Option<bool>> {
    let holds = told.code == Some(0);
    let value = told.json(i32::from(!holds));
    assert_eq!(value["holds"], holds);
    let answers = value["answers"].as_array().expect("answers");
    for (answer, question) in answers.iter().zip(ANSWERS) {
        assert_eq!(answer["question"], question);
        assert_eq!(answer["help"].is_string(), answer["holds"] == false, "a next step where there is a no: {answer}");
    }
    answers.iter().map(|answer| answer["holds"].as_bool()).collect()
}

const YES: Option<bool> = Some(true);
const NO: Option<bool> = Some(false);

#[test]
fn a_pack_is_held_against_what_is_asked_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let pack = folder.path().join("korean.tvp");
    let base = handwriting().display().to_string();
    fs::copy(handwriting().join("skills/korean.tvp"), &pack).unwrap();
    for name in ["mine", "other"] {
        told(taskvec().args(["key", "new", "-o", &at(&format!("{name}.key"))])).ended_with(0);
    }

    assert_eq!(answers(&verify(&pack, &[])), [YES, None, None, None]);
    assert_eq!(answers(&verify(&pack, &["--base", &base])), [YES, None, YES, YES]);
    for engine in ["burn", "ort"].into_iter().filter(|engine| *engine == "burn" || has_onnxruntime()) {
        assert_eq!(answers(&verify(&pack, &["--base", &base, "--engine", engine])), [YES, None, YES, YES]);
    }
    let model = handwriting().join("model.safetensors").display().to_string();
    assert_eq!(answers(&verify(&pack, &["--base", &model])), [YES, None, YES, None], "a checkpoint answers nothing");

    // Signatures: of each key that is named, or of as many as a device asks for.
    let [mine, other] = ["mine.pub", "other.pub"].map(at);
    assert_eq!(answers(&verify(&pack, &["--key", &mine])), [YES, NO, None, None]);
    told(taskvec().arg("sign").arg(&pack).args(["--key", &at("mine.key")])).ended_with(0);
    assert_eq!(answers(&verify(&pack, &["--key", &mine, "--key", &mine])), [YES, YES, None, None]);
    assert_eq!(answers(&verify(&pack, &["--key", &other])), [YES, NO, None, None]);
    assert_eq!(answers(&verify(&pack, &["--key", &mine, "--key", &other])), [YES, NO, None, None]);
    let store = folder.path().join("store");
    for key in [&mine, &other] {
        told(taskvec_device(&store).args(["trust", "add", key])).ended_with(0);
    }
    let trust = store.join("trust.json").display().to_string();
    assert_eq!(answers(&verify(&pack, &["--trust", &trust])), [YES, YES, None, None]);
    told(taskvec_device(&store).args(["trust", "threshold", "2"])).ended_with(0);
    assert_eq!(answers(&verify(&pack, &["--trust", &trust, "--base", &base])), [YES, NO, YES, YES]);

    // What a person reads.
    let table = told(taskvec().arg("verify").arg(&pack).args(["--base", &base, "--key", &mine]));
    table.ended_with(0);
    let yes = table.stdout.lines().filter(|line| line.contains("  yes  ")).count();
    assert_eq!(yes, 4, "{table}");
    assert!(table.stdout.contains("8 probes") && table.stdout.contains("fingerprint"), "{table}");

    let mut bytes = fs::read(&pack).unwrap();
    let changed = folder.path().join("changed.tvp");
    let signature = Pack::read(&bytes, &Limits::default()).unwrap().signatures().next().expect("it is signed");
    let forged = write::sign(&bytes, signature.algorithm, signature.key_id, &[7; 64]).unwrap();
    fs::write(&changed, forged).unwrap();
    let told_of = verify(&changed, &["--key", &mine]);
    assert_eq!(answers(&told_of), [YES, NO, None, None]);
    assert!(told_of.stdout.contains("DOES NOT FIT"), "{told_of}");
    bytes[5000] ^= 1;
    fs::write(&changed, &bytes).unwrap();
    assert_eq!(answers(&verify(&changed, &["--base", &base])), [NO]);
}

#[test]
fn a_pack_that_lies_or_is_for_another_base_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let base = handwriting().display().to_string();
    // Made from a changed copy of the base, so that its fingerprint is another one.
    let model = folder.path().join("other.safetensors");
    let mut bytes = fs::read(handwriting().join("model.safetensors")).unwrap();
    let tensor = TensorFile::parse(&bytes).unwrap().tensor("norm.weight").expect("the base is a ViT").clone();
    tensor.bytes_mut(&mut bytes).unwrap()[0] ^= 1;
    fs::write(&model, bytes).unwrap();
    let pack = folder.path().join("back.tvp");
    let mut diff = taskvec();
    told(diff.arg("diff").arg(&model).arg(handwriting().join("model.safetensors")).arg("-o").arg(&pack)).ended_with(0);
    assert_eq!(answers(&verify(&pack, &["--base", &base])), [YES, None, NO, None]);
    assert_eq!(answers(&verify(&pack, &["--base", model.to_str().unwrap()])), [YES, None, YES, None]);

    // Without probes nothing is promised; what it changes is felt all the same.
    let small = small_pack(folder.path(), "small", 0);
    let told_of = verify(&small, &["--base", &base]);
    assert_eq!(answers(&told_of), [YES, None, YES, None]);
    assert!(told_of.stdout.contains("no probes"), "{told_of}");

    // It promises what it does not do.
    let liar = folder.path().join("liar.tvp");
    fs::write(&liar, lying()).unwrap();
    let told_of = verify(&liar, &["--base", &base]);
    assert_eq!(answers(&told_of), [YES, None, YES, NO]);
    assert!(told_of.stdout.contains("probe 0: logit"), "{told_of}");
}

/// The head of the embedded Korean skill, with answers to expect that nobody ever saw.
fn lying() -> Vec<u8> {
    let bytes = fs::read(handwriting().join("skills/korean.tvp")).unwrap();
    let pack = Pack::read(&bytes, &Limits::default()).unwrap();
    let (head, preprocessing) = (pack.head().unwrap(), pack.preprocessing().unwrap());
    let mut builder = Builder::new(pack.manifest().base, "liar");
    let labels: Vec<String> = head.labels().map(str::to_owned).collect();
    let classes = labels.len();
    builder.head(HeadParts {
        feature_width: head.feature_width,
        labels,
        weight: head.weight().collect(),
        weight_rounding: Rounding::F32,
        bias: head.bias().collect(),
    });
    let pixels = preprocessing.height as usize * preprocessing.width as usize;
    builder.preprocessing(PreprocessingParts {
        channels: preprocessing.channels,
        height: preprocessing.height,
        width: preprocessing.width,
        resize: preprocessing.resize,
        mean: preprocessing.mean().collect(),
        std: preprocessing.std().collect(),
    });
    builder.probes(ProbeParts {
        count: 1,
        inputs: ProbeInputs::U8(vec![128; pixels]),
        outputs: vec![1000.0; classes],
        tolerances: vec![(EngineKind::Any, 1e-3)],
    });
    builder.finish().unwrap()
}

#[test]
fn slips_are_answered_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let pack = handwriting().join("skills/korean.tvp");
    let missing = verify(Path::new("nowhere.tvp"), &[]);
    missing.ended_with(1);
    assert!(missing.stderr.contains("nowhere.tvp") && missing.stdout.is_empty(), "{missing}");
    let no_base = verify(&pack, &["--base", folder.path().to_str().unwrap()]);
    no_base.ended_with(1);
    assert!(no_base.stderr.contains("help: "), "{no_base}");
    let no_key = verify(&pack, &["--key", pack.to_str().unwrap()]);
    no_key.ended_with(1);
    assert!(no_key.stderr.contains("no public key file") && no_key.stderr.contains("help: "), "{no_key}");
    let typo = verify(&pack, &["--bse", "x"]);
    typo.ended_with(2);
    assert!(typo.stderr.contains("--base"), "{typo}");
    verify(&pack, &["--key", "a.pub", "--trust", "trust.json"]).ended_with(2);
}

fn compared(first: &Path, second: &Path, more: &[&str]) -> Told {
    told(taskvec().args(["inspect", "--json"]).args([first, second]).args(more))
}

#[test]
fn two_packs_are_compared_whatever_their_encodings() {
    let folder = tempfile::tempdir().unwrap();
    let skills = handwriting().join("skills");
    let [korean, sketches] = ["korean.tvp", "sketches.tvp"].map(|name| skills.join(name));
    let found = compared(&korean, &sketches, &[]).json(0);
    let total = &found["total"];
    assert_eq!((&found["packs"][0]["name"], &found["packs"][1]["name"]), (&json!("korean"), &json!("sketches")));
    let sum = |key: &str| -> u64 {
        let tensors = found["tensors"].as_array().expect("tensors");
        tensors.iter().map(|tensor| tensor[key].as_u64().expect("a count")).sum()
    };
    assert_eq!(total["common"], sum("common"));
    let entries = |at: usize| total["entries"][at].as_u64().expect("a count");
    let either = entries(0) + entries(1) - sum("common");
    assert_eq!(total["jaccard"].as_f64(), Some(sum("common") as f64 / either as f64));
    let inspected = told(taskvec().args(["inspect", "--json"]).arg(&korean)).json(0);
    assert_eq!(inspected["total"]["entries"], entries(0));
    let bytes = |key: &str| inspected["total"][key].as_u64().expect("bytes");
    assert_eq!(total["bytes"][0], bytes("index_bytes") + bytes("value_bytes"));
    assert!(sum("common") as f64 > total["common_by_chance"].as_f64().expect("a number"), "one recipe, two tasks");
    assert!(total["cosine"].as_f64().is_some_and(|cosine| cosine.abs() < 0.5), "{total}");
    let table = told(taskvec().arg("inspect").args([&korean, &sketches]));
    assert!(table.stdout.contains("Jaccard") && table.stdout.contains("cosine of the two task vectors"), "{table}");

    // Three elements each, one of them in both packs; lossless, so that signs take the base.
    let [first, second] = [("first", 0), ("second", 2)].map(|(name, at)| small_pack(folder.path(), name, at));
    let masks = compared(&first, &second, &[]);
    assert!(masks.stderr.contains("--base"), "{masks}");
    let masks = masks.json(0);
    assert_eq!((&masks["total"]["common"], &masks["total"]["jaccard"]), (&json!(1), &json!(0.2)));
    assert_eq!((&masks["total"]["opposed"], &masks["total"]["cosine"]), (&Value::Null, &Value::Null));
    let base = handwriting().display().to_string();
    let deltas = compared(&first, &second, &["--base", &base]).json(0);
    assert_eq!((&deltas["total"]["opposed"], &deltas["total"]["cosine_in_common"]), (&json!(0), &json!(1.0)));
    // Rounded against lossless, both of the same checkpoint.
    let rounded = folder.path().join("rounded.tvp");
    let mut diff = taskvec();
    diff.args(["diff", "--values", "int8"]).arg(handwriting().join("model.safetensors"));
    told(diff.arg(folder.path().join("first.safetensors")).arg("-o").arg(&rounded)).ended_with(0);
    let mixed = compared(&rounded, &first, &["--base", &base]).json(0);
    assert_eq!(mixed["total"]["jaccard"], 1.0);
    assert!(mixed["total"]["cosine"].as_f64().is_some_and(|cosine| cosine > 0.999), "{mixed}");

    let wrong = compared(&first, &folder.path().join("first.safetensors"), &[]);
    wrong.ended_with(1);
    assert!(wrong.stderr.contains("second pack"), "{wrong}");
    compared(&first, &second, &["--key", "a.pub"]).ended_with(2);
    told(taskvec().arg("inspect").arg(&first).args(["--base", &base])).ended_with(2);
}

#[test]
fn what_two_skills_cost_each_other_is_measured_on_the_data_of_each() {
    let skills = handwriting().join("skills");
    let [korean, sketches] = ["korean.tvp", "sketches.tvp"].map(|name| skills.join(name));
    let base = handwriting().display().to_string();
    let [letters, drawings] =
        ["omniglot_korean", "quickdraw3"].map(|name| handwriting().join("data").join(name).display().to_string());
    let found = compared(&korean, &sketches, &["--base", &base, "--data", &letters, "--data", &drawings]).json(0);
    let tasks = &found["interference"]["tasks"];
    assert_eq!((&tasks[0]["skill"], &tasks[1]["data"]), (&json!("korean"), &json!("quickdraw3")), "{found}");
    for task in [&tasks[0], &tasks[1]] {
        let loss = |with: &str| task[with]["loss"].as_f64().expect("a loss");
        assert!(loss("own") < loss("both") && loss("own") < loss("base"), "{task}");
        assert!(task["both_loss_predicted"].as_f64().is_some_and(|predicted| predicted > loss("own")), "{task}");
    }
    let mut inspect = taskvec();
    inspect.arg("inspect").args([&korean, &sketches]).args(["--base", &base, "--data", &letters, "--data", &drawings]);
    assert!(told(&mut inspect).stdout.contains("predicted loss"), "{found}");
    let once = compared(&korean, &sketches, &["--base", &base, "--data", &letters]);
    once.refused(&["--data is given 1 times, expected twice"]);
    compared(&korean, &sketches, &["--data", &letters, "--data", &drawings]).ended_with(2);
    compared(&korean, &sketches, &["--base", &base, "--data", &drawings, "--data", &letters])
        .refused(&["skill `korean`"]);
}
