//! Has the program built again when the embedded model changes: `include_dir!` notices changed files, but not new ones.

fn main() {
    println!("cargo::rerun-if-changed=../../models/handwriting");
}
