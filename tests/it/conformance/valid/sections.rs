//! Packs with head, preprocessing, probes and signature.

use taskvec_testkit::contents::{Head, Input, Preprocessing, Probe, Probes, Signature};
use taskvec_testkit::hand_made::{HandMade, HandTensor, number_probes, streams};

use super::super::golden::Vector;
use super::{vector, vector_of_draft};

pub(super) fn vectors() -> Vec<Vector> {
    [heads(), preprocessings_and_probes(), signatures()].concat()
}

fn heads() -> Vec<Vector> {
    let head = |weight_encoding, weight: &[f32]| Head {
        feature_width: 3,
        weight_encoding,
        labels: ["alpha", "\u{3b2}"].map(str::to_owned).to_vec(),
        weight: weight.to_vec(),
        bias: vec![0.1, -0.2],
    };
    let in_f32 = HandMade::new("n").head(head(1, &[0.1, 0.2, 0.3, -0.4, -0.5, 0.0]));
    let in_bf16 = HandMade::new("n").head(head(2, &[1.0, -2.0, 0.5, 3.0, -0.0, 1.25]));
    let in_int8 = HandMade::new("n").head(head(3, &[63.5, -63.5, 0.5, 0.0, -1.0, 2.0]));
    let int8 = streams::int8(&[(0.5, &[127, -127, 1, 0, -2, 4])]);
    let across_blocks = HandMade::new("n").head(Head {
        feature_width: 130,
        weight_encoding: 3,
        labels: ["same", "same"].map(str::to_owned).to_vec(),
        weight: [vec![2.0; 256], vec![-0.25; 4]].concat(),
        bias: vec![0.0, -0.0],
    });
    vec![
        vector("head_f32", "a head with weights in f32", &in_f32),
        vector_of_draft(
            "head_bf16",
            "a head with weights in bf16",
            &in_bf16,
            &in_bf16.draft().replace("head.weight", streams::bf16s(&[1.0, -2.0, 0.5, 3.0, -0.0, 1.25])),
        ),
        vector_of_draft(
            "head_int8",
            "a head with weights in int8",
            &in_int8,
            &in_int8.draft().replace("head.weight", int8),
        ),
        vector_of_draft(
            "head_int8_two_blocks",
            "blocks of 256 run across the rows of the weights; two labels may be equal",
            &across_blocks,
            &across_blocks.draft().replace("head.weight", streams::int8(&[(1.0, &[2; 256]), (0.25, &[-1; 4])])),
        ),
    ]
}

fn preprocessings_and_probes() -> Vec<Vector> {
    let gray = || Preprocessing { channels: 1, height: 2, width: 3, resize: 1, mean: vec![0.5], std: vec![0.25] };
    let color = Preprocessing {
        channels: 3,
        height: 224,
        width: 160,
        resize: 1,
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
    };
    let two_numbers: &[(&[f32], &[f32])] = &[(&[0.1, -0.2], &[1.0, 2.0, 3.0]), (&[0.3, -0.0], &[4.0, 5.0, 6.0])];
    let pixels =
        |pixels: [u8; 6], output: [f32; 2]| Probe { input: Input::Pixels(pixels.to_vec()), output: output.to_vec() };
    let in_pixels = Probes {
        input_len: 6,
        output_len: 2,
        input_encoding: 2,
        tolerances: vec![(0, 1e-3), (1, 1e-4)],
        probes: vec![pixels([0, 1, 127, 128, 254, 255], [0.5, -0.5]), pixels([9; 6], [0.25, 0.75])],
    };
    let head = Head {
        feature_width: 1,
        weight_encoding: 1,
        labels: vec!["no".to_owned(), "yes".to_owned()],
        weight: vec![-1.0, 1.0],
        bias: vec![0.0, 0.0],
    };
    vec![
        vector("preprocessing_gray", "one channel", &HandMade::new("n").preprocessing(gray())),
        vector(
            "preprocessing_color",
            "each channel has its mean and its std",
            &HandMade::new("n").preprocessing(color),
        ),
        vector(
            "probes_numbers",
            "inputs are what the network is given; without a head the outputs are features of any number",
            &HandMade::new("n").probes(number_probes(&[(0, 0.0)], two_numbers)),
        ),
        vector(
            "probes_numbers_with_preprocessing",
            "inputs may be numbers although there is a preprocessing",
            &HandMade::new("n").preprocessing(gray()).probes(number_probes(&[(2, 0.5)], &[(&[1.0; 6], &[1.0])])),
        ),
        vector(
            "probes_other_engines",
            "numbers of engines that are not listed are passed on",
            &HandMade::new("n").probes(number_probes(&[(1, 1e-4), (2, 1e-3), (3, 0.5), (65535, 1.0)], two_numbers)),
        ),
        vector(
            "full",
            "every section that there is",
            &HandMade::new("n")
                .tensor(HandTensor::small("blocks.0.attn.qkv.weight", 60, &[(3, 0.5), (4, -0.5), (59, 1.0)]))
                .tensor(HandTensor::small("norm.bias", 6, &[(0, 0.125)]))
                .head(head)
                .preprocessing(gray())
                .probes(in_pixels)
                .signature(Signature { algorithm: 1, key_id: "6b".repeat(16), signature: "5a".repeat(64) }),
        ),
    ]
}

fn signatures() -> Vec<Vector> {
    let block = |algorithm, key_id: &str, signature: &str| Signature {
        algorithm,
        key_id: key_id.to_owned(),
        signature: signature.to_owned(),
    };
    let ed25519 = |key_id: &str, byte: &str| block(1, &key_id.repeat(16), &byte.repeat(64));
    let several = HandMade::new("n")
        .signature(ed25519("00", "5a"))
        .signature(block(2, "0001", "5b"))
        .signature(ed25519("6b", "5c"))
        .signature(block(65535, &"6b".repeat(17), "5d"));
    let as_many_as_may =
        (0..32).fold(HandMade::new("n"), |made, key| made.signature(block(2, &format!("{key:02x}"), "5a")));
    vec![
        vector(
            "signature_other_algorithm",
            "numbers of algorithms that are not listed are passed on; the block may end at any byte",
            &HandMade::new("n").signature(block(65535, "00", "ff")),
        ),
        vector("signature_several", "key ids ascend as byte strings, whatever the algorithm and the length", &several),
        vector("signature_32", "as many signatures as the default limit allows", &as_many_as_may),
    ]
}
