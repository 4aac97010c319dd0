//! The C interface from the other side: C programs against the header, the static and the shared library.
//!
//! Each file in `tests/c` is a program about one subject. It is linked with the static library and run under valgrind, and
//! linked with the shared one and run with sanitizers; what is not there is left out, and the programs run all the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::places::{handwriting, left_out, repository};
use crate::programs::{folder, taskvec, told};

/// Warnings are errors in everything that a reader may copy.
const STRICT: [&str; 5] = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror"];
/// Leaks that fail a test. (What a thread holds that the library may still need is possibly lost to valgrind.)
const LEAKS: &str = "--errors-for-leak-kinds=definite";
const KOREAN: &str = "models/handwriting/skills/korean.tvp";

fn capi() -> PathBuf {
    repository().join("crates/capi")
}

fn header() -> String {
    fs::read_to_string(capi().join("include/taskvec.h")).unwrap()
}

/// Whether `program` can be started here; says what is left out if not.
fn is_there(program: &str, what_for: &str) -> bool {
    let started = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_there = started.is_ok_and(|status| status.success());
    if !is_there {
        left_out(&format!("{program} is not installed; {what_for}"));
    }
    is_there
}

fn compiler(arguments: &[&str]) -> Command {
    let mut cc = Command::new("cc");
    cc.current_dir(repository()).args(arguments).args(["-Icrates/capi/include", "-g"]);
    cc
}

/// The programs in `tests/c`, each with the arguments that it is run with.
fn subjects(scratch: &Path) -> Vec<(String, Vec<String>)> {
    let mut subjects: Vec<_> = fs::read_dir(repository().join("tests/c"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    subjects.sort();
    let arguments = |subject: &str| match subject {
        "base" => vec![damaged_base(scratch).to_str().unwrap().to_owned()],
        "no_engine" => ["models/handwriting", KOREAN, "blocks.0.attn.qkv.weight"].map(str::to_owned).to_vec(),
        "trust" => signed_and_keys(scratch).to_vec(),
        _ => Vec::new(),
    };
    subjects.into_iter().map(|subject| (subject.clone(), arguments(&subject))).collect()
}

/// A copy of the base bundle in which one bit of a weight is another.
fn damaged_base(scratch: &Path) -> PathBuf {
    let folder = scratch.join("damaged");
    fs::create_dir(&folder).unwrap();
    fs::copy(handwriting().join("base.json"), folder.join("base.json")).unwrap();
    let mut bytes = fs::read(handwriting().join("model.safetensors")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(folder.join("model.safetensors"), bytes).unwrap();
    folder
}

/// A signed pack, the public key that fits it, and another one; keys as hexadecimal digits.
fn signed_and_keys(scratch: &Path) -> [String; 3] {
    let key = |name: &str| {
        let secret = scratch.join(name).with_extension("key");
        told(taskvec().args(["key", "new", "-o"]).arg(&secret)).ended_with(0);
        let public = fs::read_to_string(secret.with_extension("pub")).unwrap();
        let digits = public.lines().find_map(|line| line.strip_prefix("key ")).expect("a public key file has its key");
        (secret, digits.to_owned())
    };
    let (signed, (secret, fits), (_, other)) = (scratch.join("signed.tvp"), key("mine"), key("other"));
    told(taskvec().args(["sign", KOREAN, "--key"]).arg(secret).arg("-o").arg(&signed)).ended_with(0);
    [signed.to_str().unwrap().to_owned(), fits, other]
}

/// Compiles `subject` with `options` and runs it behind `before`.
fn compile_and_run(scratch: &Path, subject: &str, arguments: &[String], options: &[&str], before: &[&str]) {
    let program = scratch.join(subject);
    let source = format!("tests/c/{subject}.c");
    let mut cc = compiler(&STRICT);
    told(cc.args([&source, "-o"]).arg(&program).args(options)).ended_with(0);
    let mut line = before.iter().map(std::convert::AsRef::as_ref).chain([program.as_os_str()]);
    let mut run = Command::new(line.next().unwrap());
    told(run.args(line).args(arguments).current_dir(repository())).ended_with(0);
}

#[test]
fn each_subject_holds_on_the_static_library_under_valgrind() {
    let scratch = tempfile::tempdir().unwrap();
    let library = folder().join("libtaskvec.a");
    let options = [library.to_str().unwrap(), "-lpthread", "-lm", "-Wl,--gc-sections"];
    let valgrind =
        ["valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=definite", LEAKS];
    let watched = is_there("valgrind", "the C tests run without it");
    for (subject, arguments) in subjects(scratch.path()) {
        let before = if watched { &valgrind[..] } else { &[] };
        compile_and_run(scratch.path(), &subject, &arguments, &options, before);
    }
}

#[test]
fn each_subject_holds_on_the_shared_library_with_sanitizers() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = folder().to_str().unwrap();
    let (place, found) = (format!("-L{folder}"), format!("-Wl,-rpath,{folder}"));
    let mut options = vec![place.as_str(), "-ltaskvec", found.as_str(), "-lpthread", "-lm"];
    let sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    let empty = scratch.path().join("empty.c");
    fs::write(&empty, "int main(void) { return 0; }\n").unwrap();
    let program = scratch.path().join("empty");
    let built = Command::new("cc").args(sanitizers).arg(&empty).arg("-o").arg(&program).stderr(Stdio::null()).status();
    if built.is_ok_and(|status| status.success()) && Command::new(&program).status().is_ok_and(|ran| ran.success()) {
        options.extend(sanitizers);
    } else {
        left_out("the C compiler has no sanitizers; the C tests on the shared library run without them");
    }
    for (subject, arguments) in subjects(scratch.path()) {
        compile_and_run(scratch.path(), &subject, &arguments, &options, &[]);
    }
}

#[test]
fn the_header_is_what_the_sources_say() {
    let scratch = tempfile::tempdir().unwrap();
    let made = scratch.path().join("taskvec.h");
    if !is_there("cbindgen", "the header is not compared with its sources") {
        return;
    }
    let mut cbindgen = Command::new("cbindgen");
    cbindgen.args(["--config", "cbindgen.toml", "--crate", "taskvec-capi", "--output"]).arg(&made);
    told(cbindgen.current_dir(capi())).ended_with(0);
    let made = fs::read_to_string(made).unwrap();
    if std::env::var_os("TASKVEC_BLESS").is_some_and(|value| value == "1") {
        fs::write(capi().join("include/taskvec.h"), made).unwrap();
        return;
    }
    assert!(made == header(), "crates/capi/include/taskvec.h is not up to date; run `just header`, and read the diff");
}

#[test]
fn the_header_stands_alone_in_c_and_in_cpp() {
    let scratch = tempfile::tempdir().unwrap();
    let include = "#include \"taskvec.h\"\n#include \"taskvec.h\"\n";
    let (c, cpp) = (scratch.path().join("alone.c"), scratch.path().join("alone.cpp"));
    fs::write(&c, include).unwrap();
    fs::write(&cpp, include).unwrap();
    told(compiler(&["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]).arg(&c)).ended_with(0);
    if is_there("c++", "the header is not tried in C++") {
        let mut compiler = Command::new("c++");
        compiler.current_dir(repository()).args(["-std=c++11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]);
        told(compiler.arg("-Icrates/capi/include").arg(&cpp)).ended_with(0);
    }
}

#[test]
fn the_shared_library_exports_what_the_header_declares_and_the_c_tests_call() {
    let called = |text: &str| -> BTreeSet<String> {
        text.match_indices("taskvec_")
            .map(|(at, _)| text[at..].chars().take_while(|&c| c.is_ascii_alphanumeric() || c == '_').collect())
            .filter(|name: &String| text.contains(&format!("{name}(")))
            .collect()
    };
    let without_comments: String =
        header().lines().filter(|line| !line.starts_with("//") && !line.starts_with(" *")).collect();
    let declared = called(&without_comments);
    assert!(declared.len() > 30, "only {} functions in the header", declared.len());
    let tests: String = fs::read_dir(repository().join("tests/c"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let tried = called(&tests);
    let untried: Vec<_> = declared.difference(&tried).collect();
    assert!(untried.is_empty(), "no C test calls {untried:?}");
    if is_there("nm", "the exported names are not compared with the header") {
        let library = folder().join("libtaskvec.so");
        let listed = told(Command::new("nm").args(["--dynamic", "--defined-only"]).arg(library));
        listed.ended_with(0);
        let names = listed.stdout.lines().filter_map(|line| line.split_whitespace().last());
        let exported: BTreeSet<_> = names.filter(|name| name.starts_with("taskvec_")).map(str::to_owned).collect();
        assert_eq!(exported, declared);
    }
}

/// The text of the first fenced block of this language.
fn block<'a>(text: &'a str, language: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("```{language}\n"))?;
    Some(rest.split_once("```")?.0)
}

/// A folder in which the paths that the README prints lead to the same files as in the repository.
fn folder_like_the_repository() -> TempDir {
    let scratch = tempfile::tempdir().unwrap();
    for name in ["crates", "models"] {
        std::os::unix::fs::symlink(repository().join(name), scratch.path().join(name)).unwrap();
    }
    fs::create_dir(scratch.path().join("target")).unwrap();
    std::os::unix::fs::symlink(folder(), scratch.path().join("target/release")).unwrap();
    scratch
}

#[test]
fn the_example_of_the_readme_runs_and_says_what_is_printed_there() {
    let readme = fs::read_to_string(capi().join("README.md")).unwrap();
    let (program, session) = (block(&readme, "c").unwrap(), block(&readme, "console").unwrap());
    if let Some(other) = block(&fs::read_to_string(repository().join("README.md")).unwrap(), "c") {
        assert_eq!(other, program, "README.md has another C program than crates/capi/README.md");
    }
    let scratch = folder_like_the_repository();
    fs::write(scratch.path().join("example.c"), program).unwrap();
    let mut lines = session.lines().peekable();
    while let Some(line) = lines.next() {
        let command = line.strip_prefix("$ ").expect("commands begin with `$ `, and what they print follows");
        let printed: String = std::iter::from_fn(|| lines.next_if(|line| !line.starts_with("$ ")))
            .map(|line| format!("{line}\n"))
            .collect();
        if command.starts_with("cargo build") {
            // Built already, into the folder that the tests lie in.
            continue;
        }
        let said = told(Command::new("sh").args(["-c", command]).current_dir(scratch.path()));
        said.ended_with(0);
        assert_eq!(said.stdout, printed, "{command}");
    }
}
