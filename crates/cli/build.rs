//! Has the program built again when the embedded model changes: `include_dir!` notices changed files, but not new ones.

#[expect(clippy::print_stdout, reason = "how a build script speaks to cargo")]
fn main() {
    println!("cargo::rerun-if-changed=../../models/handwriting");
}
