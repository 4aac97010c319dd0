//! Packs with wrong probes: step 22 of `FORMAT.md` section 13.

use taskvec_testkit::contents::{Head, Input, Preprocessing, Probe, Probes};
use taskvec_testkit::hand_made::{Draft, HandMade, number_probes, streams};

use super::Invalid;

pub(super) fn cases() -> Vec<Invalid> {
    [fields(), tolerances(), against_other_sections(), lengths()].into_iter().flatten().collect()
}

/// Two probes of two inputs and three outputs.
fn draft() -> Draft {
    let probes: &[(&[f32], &[f32])] = &[(&[0.1, -0.2], &[1.0, 2.0, 3.0]), (&[0.3, 0.4], &[4.0, 5.0, 6.0])];
    HandMade::new("n").probes(number_probes(&[(1, 0.001), (2, 0.01)], probes)).draft()
}

fn replaced(
    name: &'static str,
    why: &'static str,
    piece: &str,
    bytes: &[u8],
    kind: &'static str,
    place: &str,
) -> Invalid {
    Invalid::drafted(name, why, draft().replace(piece, bytes), kind, place)
}

fn fields() -> Vec<Invalid> {
    let field = |name, why, piece: &str, bytes: &[u8], kind| replaced(name, why, piece, bytes, kind, piece);
    vec![
        field("probes_none", "there are no probes", "probes.probe_count", &[0; 4], "count"),
        field("probes_no_inputs", "a probe has no inputs", "probes.input_len", &[0; 4], "count"),
        field("probes_no_outputs", "a probe has no outputs", "probes.output_len", &[0; 4], "count"),
        field("probes_encoding_0", "input encoding 0 is not known", "probes.input_encoding", &[0], "encoding"),
        field("probes_encoding_3", "input encoding 3 is not known", "probes.input_encoding", &[3], "encoding"),
        field("probes_zero", "a byte that must be zero is 1", "probes.zero", &[1, 0], "padding"),
    ]
}

fn tolerances() -> Vec<Invalid> {
    let field = |name, why, field: &str, bytes: &[u8], kind| {
        let piece = format!("probes.tolerances.1.{field}");
        replaced(name, why, &piece, bytes, kind, &piece)
    };
    let number = |name, why, number: f32| field(name, why, "tolerance", &number.to_le_bytes(), "number");
    let pieces = ["engine", "zero", "tolerance"];
    let none = (0..2).flat_map(|place| pieces.map(|piece| format!("probes.tolerances.{place}.{piece}")));
    let none = none.fold(draft().replace("probes.tolerance_count", [0]), |draft, piece| draft.replace(&piece, []));
    vec![
        Invalid::drafted("tolerances_none", "there are no tolerances", none, "count", "probes.tolerance_count"),
        field("engines_descend", "engine 0 comes behind engine 1", "engine", &[0, 0], "order"),
        field("engine_twice", "an engine is there twice", "engine", &[1, 0], "order"),
        field("tolerance_zero", "a byte that must be zero is 1", "zero", &[1, 0], "padding"),
        number("tolerance_negative", "a tolerance is negative", -0.01),
        number("tolerance_nan", "a tolerance is not a number", f32::NAN),
        number("tolerance_infinite", "a tolerance is infinite", f32::INFINITY),
    ]
}

fn against_other_sections() -> Vec<Invalid> {
    let image = Preprocessing { channels: 1, height: 2, width: 2, resize: 1, mean: vec![0.5], std: vec![0.5] };
    let pixels = |count: u8| Probes {
        input_len: u32::from(count),
        output_len: 1,
        input_encoding: 2,
        tolerances: vec![(0, 0.5)],
        probes: vec![Probe { input: Input::Pixels((0..count).collect()), output: vec![1.0] }],
    };
    let head = Head {
        feature_width: 1,
        weight_encoding: 1,
        labels: vec!["no".to_owned(), "yes".to_owned()],
        weight: vec![-1.0, 1.0],
        bias: vec![0.0, 0.0],
    };
    let other_input = HandMade::new("n").preprocessing(image).probes(pixels(5)).draft();
    let unprepared = HandMade::new("n").probes(pixels(4)).draft();
    let other_output = HandMade::new("n").head(head).probes(number_probes(&[(0, 0.5)], &[(&[1.0], &[1.0; 3])])).draft();
    vec![
        Invalid::drafted(
            "probes_other_input",
            "an input is not as long as an image",
            other_input,
            "count",
            "probes.input_len",
        ),
        Invalid::drafted(
            "probes_without_preprocessing",
            "nothing says how pixels become numbers",
            unprepared,
            "count",
            "probes.input_encoding",
        ),
        Invalid::drafted(
            "probes_other_output",
            "an output is not as long as the head has classes",
            other_output,
            "count",
            "probes.output_len",
        ),
        Invalid::beyond("limit_probes", draft(), ("max_probes", 1), "probes.probe_count"),
    ]
}

fn lengths() -> Vec<Invalid> {
    let input = streams::f32s(&[0.3, f32::NAN]);
    let output = streams::f32s(&[f32::INFINITY, 5.0, 6.0]);
    vec![
        Invalid::drafted("probes_cut", "the last output is cut", draft().shorten(6, 1), "truncated", "section 6.end"),
        Invalid::drafted(
            "probes_trailing",
            "a byte follows the last output",
            draft().lengthen(6, &[0]),
            "trailing",
            "extra",
        ),
        Invalid::drafted(
            "probes_cut_in_fields",
            "the section ends within its fields",
            cut_in_fields(),
            "truncated",
            "section 6.end",
        ),
        replaced(
            "probes_beyond",
            "more outputs than any section could hold",
            "probes.output_len",
            &[0xFF; 4],
            "truncated",
            "section 6.end",
        ),
        replaced(
            "probe_input_nan",
            "the last input is not a number",
            "probes.inputs.1",
            &input,
            "number",
            "probes.inputs.1+4",
        ),
        replaced(
            "probe_output_infinite",
            "an output is infinite",
            "probes.outputs.1",
            &output,
            "number",
            "probes.outputs.1",
        ),
    ]
}

/// Ten bytes: output_len has two of its four.
fn cut_in_fields() -> Draft {
    let length = draft().build().sections().last().expect("the probes").len();
    draft().shorten(6, length - 10)
}
