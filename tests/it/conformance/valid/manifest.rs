//! Packs with odd manifests, versions and sections that are skipped.

use taskvec_testkit::hand_made::HandMade;

use super::super::golden::Vector;
use super::{vector, vector_of_draft};

pub(super) fn vectors() -> Vec<Vector> {
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    vec![
        vector("no_tensors", "a skill may be a head alone, and even nothing", &HandMade::new("n")),
        vector(
            "manifest_full",
            "every field of the manifest has a value of its own",
            &HandMade::new("Ziffern \u{e4}\u{3b1}\u{10348}\u{a0}").manifest(|manifest| {
                manifest.base = "00ff".repeat(16);
                manifest.alpha = -0.75;
                manifest.alpha_min = -1.25;
                manifest.alpha_max = 0.0;
                manifest.density = 0.1;
                manifest.seed = u64::MAX;
                manifest.method = 5;
                manifest.granule = 3;
                manifest.granule_bytes = 4096;
                manifest.provenance =
                    pairs(&[("Licence", "CC BY 4.0"), ("data", "digits"), ("data2", ""), ("\u{e4}", "\u{2028}")]);
            }),
        ),
        vector(
            "manifest_other_method_and_granule",
            "numbers of methods and granules that are not listed are passed on, and such a granule may have a size",
            &HandMade::new("n").manifest(|manifest| {
                manifest.method = 999;
                manifest.granule = 77;
                manifest.granule_bytes = 5;
            }),
        ),
        vector(
            "manifest_narrowest_range",
            "alpha_min, alpha and alpha_max may be one number, and density may be 0",
            &HandMade::new("n").manifest(|manifest| {
                manifest.alpha_min = 1.0;
                manifest.alpha_max = 1.0;
                manifest.density = 0.0;
            }),
        ),
        vector(
            "manifest_widest_range",
            "the range of alpha may be all finite numbers, and density may be 1",
            &HandMade::new("n").manifest(|manifest| {
                manifest.alpha_min = -f32::MAX;
                manifest.alpha = -0.0;
                manifest.alpha_max = f32::MAX;
                manifest.density = 1.0;
            }),
        ),
        vector(
            "manifest_long_name",
            "a length of two bytes",
            &HandMade::new(&"long ".repeat(40)).manifest(|manifest| manifest.method = 0),
        ),
        vector("minor_version_7", "any minor version is accepted", &HandMade::new("n").minor(7)),
        vector("minor_version_65535", "any minor version is accepted", &HandMade::new("n").minor(u16::MAX)),
        vector_of_draft(
            "optional_sections_unknown",
            "sections from 0x80000000 on are skipped if they are not known, also an empty one",
            &HandMade::new("n"),
            &HandMade::new("n")
                .draft()
                .add_section(0x8000_0000, b"later")
                .add_section(0x8000_0007, b"")
                .add_section(0xFFFF_FFFF, b"latest"),
        ),
    ]
}
