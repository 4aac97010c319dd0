use std::fs;
use std::path::PathBuf;

use taskvec_bundle::{MODEL_FILE, NamedTensor, StoredDtype, TensorFile, argmax, write_tensors};
use taskvec_dataset::{Dataset, Split};
use taskvec_networks::to_safetensors;

use super::*;
use crate::ErrorKind;
use crate::examples::{Examples, input};
use crate::finetune::leaves::to_host;
use crate::random::Random;
use crate::run_folder::{f32_bytes, f32s};

const RESNET: &str = "name: tiny\n\
    network: {family: resnet, image_size: 8, channels: 3, width: 2, depth: 8, batch_norm_epsilon: 1.0e-5}\n\
    head: {name: letters, weight: linear.weight, bias: linear.bias, labels: [a, b]}\n";
const MOBILENET: &str = "name: tiny\n\
    network: {family: mobilenet_v1, image_size: 32, channels: 3, width_multiplier: 0.04, padding: tensorflow, \
              batch_norm_epsilon: 1.0e-3}\n\
    head: {name: letters, weight: conv_preds/kernel, bias: conv_preds/bias, labels: {file: labels.txt, skip: 1}}\n";

type Numbers = (String, Vec<u64>, Vec<f32>);

/// A network of `description` with drawn weights, as a file would have it.
fn drawn(description: &NetworkDescription) -> Vec<Numbers> {
    let mut draw = |name: &str, shape: &[usize]| {
        let mut random = Random::new(3, name);
        (0..shape.iter().product()).map(|_| random.normal()).collect()
    };
    let network = Network::init(&description.network, &mut draw, &Device::flex()).unwrap();
    let wide = |shape: Vec<usize>| shape.into_iter().map(|side| side as u64).collect();
    to_safetensors(&network).into_iter().map(|(name, shape, bytes)| (name, wide(shape), f32s(&bytes))).collect()
}

/// The head of a checkpoint: two classes.
fn head(weight: &str, bias: &str, shape: &[u64]) -> [Numbers; 2] {
    let count = shape.iter().product::<u64>();
    let values = (0..count).map(|index| index as f32).collect();
    [(weight.to_owned(), shape.to_vec(), values), (bias.to_owned(), vec![2], vec![0.5, -0.5])]
}

fn save(folder: &Path, tensors: &[Numbers]) -> PathBuf {
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(_, _, values)| f32_bytes(values)).collect();
    let named = tensors.iter().zip(&bytes);
    let named = named.map(|((name, shape, _), bytes)| NamedTensor { name, dtype: StoredDtype::F32, shape, bytes });
    let path = folder.join("checkpoint.safetensors");
    write_tensors(&mut fs::File::create(&path).unwrap(), &named.collect::<Vec<_>>()).unwrap();
    path
}

/// What lies in the bundle in `folder` under a name.
fn stored(folder: &Path, name: &str) -> (Vec<u64>, Vec<f32>) {
    let bytes = fs::read(folder.join(MODEL_FILE)).unwrap();
    let file = TensorFile::parse(&bytes).unwrap();
    let tensor = file.tensor(name).unwrap();
    (tensor.shape().to_vec(), f32s(tensor.bytes(&bytes).unwrap()))
}

#[test]
fn a_checkpoint_in_pytorchs_layout_becomes_a_base_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let description = NetworkDescription::parse(RESNET, "description").unwrap();
    let mut tensors = drawn(&description);
    tensors.extend(head("linear.weight", "linear.bias", &[2, 8]));
    let checkpoint = save(folder.path(), &tensors);
    let bundle = folder.path().join("base");
    let made = import_network(&checkpoint, &description, &bundle).unwrap();
    for (name, shape, values) in &tensors {
        let name = name.replace("linear.", "heads.letters.");
        assert_eq!(stored(&bundle, &name), (shape.clone(), values.clone()), "{name}");
    }
    assert_eq!(made.base.heads()[0].labels, ["a", "b"]);
    assert!(made.notes.is_empty(), "{:?}", made.notes);
}

#[test]
fn keras_names_and_layouts_become_ours() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("labels.txt"), "background\na\nb\n").unwrap();
    let description = NetworkDescription::parse(MOBILENET, "description").unwrap();
    let ours = drawn(&description);
    // Turned by the rule that is the inverse of the importer's: from [out, in, height, width].
    let theirs = ours.iter().map(|(name, shape, values)| {
        let keras = keras::name_in_keras(&description.network, name).unwrap();
        let sides: Vec<usize> = shape.iter().map(|side| *side as usize).collect();
        let order: &[usize] = match keras.rsplit('/').next() {
            Some("kernel") => &[2, 3, 1, 0],
            Some("depthwise_kernel") => &[2, 3, 0, 1],
            _ => return (keras, shape.clone(), values.clone()),
        };
        let (sides, values) = keras::permuted(&sides, values, order);
        (keras, sides.into_iter().map(|side| side as u64).collect(), values)
    });
    let mut theirs: Vec<Numbers> = theirs.collect();
    let features = description.network.feature_width() as u64;
    theirs.extend(head("conv_preds/kernel", "conv_preds/bias", &[1, 1, features, 2]));
    let bundle = folder.path().join("base");
    let made = import_network(&save(folder.path(), &theirs), &description, &bundle).unwrap();
    for (name, shape, values) in &ours {
        assert_eq!(stored(&bundle, name), (shape.clone(), values.clone()), "{name}");
    }
    let (shape, weight) = stored(&bundle, "heads.letters.weight");
    assert_eq!((shape, weight[1], weight[features as usize]), (vec![2, features], 2.0, 1.0));
    assert_eq!(made.base.heads()[0].labels, ["a", "b"]);
    assert_eq!(made.notes, ["28 tensors of Keras are written in PyTorch's order"]);
}

#[test]
fn a_checkpoint_that_does_not_fit_is_refused_by_name() {
    struct Case(&'static str, fn(&mut Vec<Numbers>), ErrorKind, &'static str);
    let cases = [
        Case(
            "a tensor is missing",
            |tensors| tensors.retain(|(name, ..)| name != "bn1.running_var"),
            ErrorKind::Mismatch,
            "the weights lack tensor `bn1.running_var`",
        ),
        Case(
            "a tensor has no place",
            |tensors| tensors.push(("layer4.0.conv1.weight".to_owned(), vec![1], vec![0.0])),
            ErrorKind::Mismatch,
            "the network has no place for tensor `layer4.0.conv1.weight`",
        ),
        Case(
            "the head has other classes",
            |tensors| tensors.iter_mut().filter(|(name, ..)| name == "linear.weight").for_each(|it| it.1 = vec![4, 4]),
            ErrorKind::Mismatch,
            "`linear.weight` has shape [4, 4], 2 labels over the network's features are [2, 8]",
        ),
        Case(
            "the head is missing",
            |tensors| tensors.retain(|(name, ..)| name != "linear.bias"),
            ErrorKind::Mismatch,
            "there is no tensor `linear.bias`",
        ),
        Case(
            "a number is none",
            |tensors| tensors[0].2[5] = f32::NAN,
            ErrorKind::Damaged,
            "tensor `conv1.weight` holds NaN, expected finite numbers",
        ),
    ];
    let description = NetworkDescription::parse(RESNET, "description").unwrap();
    for Case(what, change, kind, message) in cases {
        let folder = tempfile::tempdir().unwrap();
        let mut tensors = drawn(&description);
        tensors.extend(head("linear.weight", "linear.bias", &[2, 8]));
        change(&mut tensors);
        let path = save(folder.path(), &tensors);
        let refused = import_network(&path, &description, &folder.path().join("base")).expect_err(what);
        let chain = chain(&refused);
        assert!(chain.contains(message), "{what}: {chain}");
        assert_eq!(refused.kind(), kind, "{what}");
        assert!(!folder.path().join("base").exists(), "{what}");
    }
}

#[test]
fn what_may_be_lost_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let text = RESNET.lines().take(2).chain(["left_out: ['linear.*']"]).collect::<Vec<_>>().join("\n");
    let description = NetworkDescription::parse(&text, "description").unwrap();
    let mut tensors = drawn(&description);
    tensors.extend(head("linear.weight", "linear.bias", &[2, 8]));
    let made = import_network(&save(folder.path(), &tensors), &description, &folder.path().join("base")).unwrap();
    assert!(made.base.heads().is_empty());
}

/// Largest error of a feature of a public model, relative to the largest feature. f32 over 28 or 56 layers costs about a fifth.
const TOLERANCE: f32 = 1e-5;

/// Pictures of each set in `public_models.safetensors`.
const PICTURES: usize = 3;

#[test]
fn public_checkpoints_compute_what_pytorch_computes_with_them() {
    let Some(data) = crate::shared_data::folder() else { return };
    let reference: &[u8] = include_bytes!("../../tests/reference/public_models.safetensors");
    let file = TensorFile::parse(reference).unwrap();
    let bytes = |name: String| file.tensor(&name).unwrap_or_else(|| panic!("{name}")).bytes(reference).unwrap();
    let mut pictures = Split::default();
    for set in ["trashnet", "fruits3"] {
        // The colour sets lie there as JPEG, too, which no two decoders read alike.
        let form = taskvec_dataset::Form::Idx;
        let set = Dataset::open_as(&data.join("vision").join(set), form, &Default::default()).unwrap();
        set.test.images.into_iter().take(PICTURES).for_each(|image| pictures.push(image, 0));
    }
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    for (name, card, checkpoint) in [
        ("resnet20_cifar10", "resnet20_cifar10/network.yaml", "resnet20_cifar10/resnet20-12fca82f.th"),
        ("resnet20_cifar10", "resnet20_cifar10/network.yaml", "resnet20_cifar10/model.safetensors"),
        ("resnet56_cifar10", "resnet56_cifar10/network.yaml", "resnet56_cifar10/model.safetensors"),
        ("mobilenet_v1_025", "mobilenet_v1_025/network.yaml", "mobilenet_v1_025_imagenet/model.safetensors"),
        ("mobilenet_v1_025_96", "mobilenet_v1_025/network_96.yaml", "mobilenet_v1_025_imagenet/model.safetensors"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let description = NetworkDescription::open(&models.join(card)).unwrap();
        let made = import_network(&data.join("models").join(checkpoint), &description, folder.path()).unwrap();
        assert_eq!(made.base.name(), name);
        let start = Start::from_bundle(folder.path(), &Device::flex()).unwrap();
        let examples = Examples::new(&pictures, &start.preprocessing).unwrap();
        let found = to_host(start.network.features(input(examples.shape, examples.pixels.clone(), &Device::flex())));
        let expected = f32s(bytes(format!("{name}.features")));
        let largest = expected.iter().fold(0.0f32, |largest, number| largest.max(number.abs()));
        let worst = found.iter().zip(&expected).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs())) / largest;
        assert!(found.len() == expected.len() && worst < TOLERANCE, "{name}: {worst:e}");
        let model = fs::read(folder.path().join(MODEL_FILE)).unwrap();
        let head = made.base.head(&made.base.heads()[0].name, &TensorFile::parse(&model).unwrap(), &model).unwrap();
        let logits = head.logits(&found).unwrap();
        let classes = logits.chunks_exact(head.class_count()).map(|logits| argmax(logits).unwrap() as i32);
        let (words, _) = bytes(format!("{name}.classes")).as_chunks();
        let expected: Vec<i32> = words.iter().map(|&word| i32::from_le_bytes(word)).collect();
        assert_eq!(classes.collect::<Vec<i32>>(), expected, "{name}");
    }
}

/// The clauses of an error and of what caused it.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
