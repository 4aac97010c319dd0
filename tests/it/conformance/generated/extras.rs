//! A random head, preprocessing and probes for the writer.

use proptest::prelude::*;
use taskvec_pack::write::{self, Builder, HeadParts, PreprocessingParts, ProbeInputs, ProbeParts, Rounding};
use taskvec_pack::{EngineKind, Resize};
use taskvec_testkit::contents::{Contents, Input};

/// Head, preprocessing and probes for the writer.
#[derive(Clone, Debug)]
pub(super) struct Extras {
    classes: u8,
    features: u8,
    rounding: Rounding,
    pixels: bool,
    image: Option<[u32; 3]>,
    probe_count: u8,
}

pub(super) fn extras() -> impl Strategy<Value = Extras> {
    let rounding = prop_oneof![Just(Rounding::F32), Just(Rounding::Bf16), Just(Rounding::INT8)];
    let image = prop::option::of([1_u32..4, 1_u32..5, 1_u32..5]);
    (0_u8..5, 1_u8..90, rounding, any::<bool>(), image, 0_u8..4).prop_map(
        |(classes, features, rounding, pixels, image, probe_count)| Extras {
            classes,
            features,
            rounding,
            pixels: pixels && image.is_some(),
            image,
            probe_count,
        },
    )
}

impl Extras {
    pub(super) fn add(&self, builder: &mut Builder) {
        if let Some(head) = self.head() {
            builder.head(head);
        }
        if let Some([channels, height, width]) = self.image {
            let (mean, std) = (vec![0.5; channels as usize], vec![0.25; channels as usize]);
            builder.preprocessing(PreprocessingParts { channels, height, width, resize: Resize::Bilinear, mean, std });
        }
        if self.probe_count > 0 {
            let count = u32::from(self.probe_count);
            let inputs: Vec<u8> =
                (0..self.input_len() * u32::from(self.probe_count)).map(|place| place as u8).collect();
            let inputs = match self.pixels {
                true => ProbeInputs::U8(inputs),
                false => ProbeInputs::F32(inputs.into_iter().map(|number| f32::from(number) * 0.1).collect()),
            };
            let outputs = vec![0.75; usize::from(self.output_len()) * usize::from(self.probe_count)];
            let tolerances = vec![(EngineKind::Any, 1e-3), (EngineKind::Burn, 1e-4)];
            builder.probes(ProbeParts { count, inputs, outputs, tolerances });
        }
    }

    /// Whether the sections say what was given to the writer.
    pub(super) fn check(&self, contents: &Contents) {
        let weight = contents.head.as_ref().map(|head| head.weight.clone());
        assert_eq!(weight, self.head().map(|head| write::quantize(&head.weight, self.rounding)));
        let image = contents.preprocessing.as_ref().map(|image| [image.channels, image.height, image.width]);
        assert_eq!(image, self.image);
        let probes = contents.probes.as_ref();
        assert_eq!(probes.map_or(0, |probes| probes.probes.len()), usize::from(self.probe_count));
        for probe in probes.into_iter().flat_map(|probes| &probes.probes) {
            let input_len = match &probe.input {
                Input::Pixels(pixels) => pixels.len(),
                Input::Numbers(numbers) => numbers.len(),
            };
            assert_eq!(input_len, self.input_len() as usize);
            assert_eq!(probe.output.len(), usize::from(self.output_len()));
        }
    }

    fn head(&self) -> Option<HeadParts> {
        let weight_count = usize::from(self.classes) * usize::from(self.features);
        (self.classes > 0).then(|| HeadParts {
            feature_width: u32::from(self.features),
            labels: (0..self.classes).map(|class| format!("class {class}")).collect(),
            weight: (0..weight_count).map(|place| (place as f32).sin()).collect(),
            weight_rounding: self.rounding,
            bias: vec![-0.5; usize::from(self.classes)],
        })
    }

    fn input_len(&self) -> u32 {
        self.image.map_or(3, |image| image.iter().product())
    }

    fn output_len(&self) -> u8 {
        if self.classes > 0 { self.classes } else { 2 }
    }
}
