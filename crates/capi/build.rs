//! The name that programs look for: without it the linker writes down the path by which the library was named.
//!
//! It carries no number: before 1.0 no version promises the next one's interface.

fn main() {
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux" || system == "android") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libtaskvec.so");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
