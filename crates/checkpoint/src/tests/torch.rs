//! What `torch.save` wrote, and what only looks like it.

use std::path::Path;

use taskvec_dataset::ErrorKind;
use taskvec_testkit::saved::{Entry, Pickle, SavedTensor, torch_archive, torch_archive_of, zip_of};

use super::{Case, all_refused, holds, read, tensors, told};
use crate::{Checkpoint, Form};

#[test]
fn a_state_dict_is_found_under_the_names_that_scripts_use_and_that_is_said() {
    let tensors = tensors();
    for path in [&["state_dict"][..], &["params_ema"], &["a", "b"]] {
        let checkpoint = read("x.pth", torch_archive(&tensors, path)).unwrap();
        holds(&checkpoint, &tensors);
        assert_eq!(checkpoint.notes(), [format!("the tensors at `{}` were taken", path.join("."))]);
    }
    let dict = |pickle: Pickle| pickle.raw(b"}").text("w").tensor("F32", "0", 6, b"", 0, &[6], &[1]).raw(b"s");
    let both = |one: &str, other: &str| {
        let pickle = dict(Pickle::new().raw(b"}").text(one)).raw(b"s").text(other);
        read("x.pth", torch_archive_of(&dict(pickle).raw(b"s").stop(), &tensors[..1]))
    };
    let chosen = both("params", "params_ema").unwrap();
    assert_eq!(chosen.notes(), ["the tensors at `params_ema` were taken, not those at `params`"]);
    let refused = both("generator", "discriminator").unwrap_err();
    assert!(
        told(&refused).contains("2 dicts of tensors are in its pickle: `generator`, `discriminator`"),
        "{refused:?}"
    );
}

#[test]
fn what_parallel_training_puts_before_names_is_taken_off_and_that_is_said() {
    let mut prefixed = tensors();
    prefixed.iter_mut().for_each(|tensor| tensor.name.insert_str(0, "module."));
    let checkpoint = read("x.pth", torch_archive(&prefixed, &[])).unwrap();
    holds(&checkpoint, &tensors());
    assert_eq!(checkpoint.notes(), ["every name begins with `module.`, which was taken off"]);
}

#[test]
fn views_with_strides_come_in_row_major_order() {
    let numbers: Vec<f32> = (0..12).map(|number| number as f32).collect();
    let whole = SavedTensor::f32s("w", &[12], &numbers);
    // Rows of a transposed matrix of 4 by 3, without the first: [3, 3] of it.
    let pickle = Pickle::new().raw(b"}").text("w").tensor("F32", "0", 12, b"", 1, &[3, 3], &[1, 3]).raw(b"s").stop();
    let checkpoint = read("x.pth", torch_archive_of(&pickle, &[whole])).unwrap();
    holds(&checkpoint, &[SavedTensor::f32s("w", &[3, 3], &[1., 4., 7., 2., 5., 8., 3., 6., 9.])]);
}

#[test]
fn integers_are_left_out_and_that_is_said() {
    let counter =
        SavedTensor { name: "a.batches".to_owned(), dtype: "I64", shape: vec![], bytes: 7u64.to_le_bytes().to_vec() };
    let all = [vec![counter], tensors()].concat();
    let checkpoint = read("x.pth", torch_archive(&all, &[])).unwrap();
    assert_eq!(checkpoint.body().count(), 3);
    assert!(checkpoint.notes()[0].contains("(`a.batches`, I64)"), "{:?}", checkpoint.notes());
    assert_eq!(
        checkpoint.fingerprint().unwrap(),
        read("x.pth", torch_archive(&tensors(), &[])).unwrap().fingerprint().unwrap()
    );
}

#[test]
fn a_pickle_that_would_run_a_command_is_refused_by_name_and_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    let command = format!("touch {}", made.display());
    let mut cases = Vec::new();
    for (module, name) in [("posix", "system"), ("os", "system"), ("builtins", "eval"), ("torch", "load")] {
        let call = Pickle::new().global(module, name).raw(b"(").text(&command).raw(b"tR");
        let named = [("archive", torch_archive_of(&call.clone().stop(), &[])), ("bare", call.stop())];
        for (form, bytes) in named {
            std::fs::write(folder.path().join(form), &bytes).unwrap();
            assert_eq!(Checkpoint::open(&folder.path().join(form)).unwrap_err().kind(), ErrorKind::Unsupported);
            cases.push((format!("{module}.{name} in {form}"), bytes, format!("names `{module}.{name}`")));
        }
    }
    // Where a global of protocol 4 is put together from texts, and where an object would be made.
    let stacked = Pickle::new().text("posix").text("system").raw(b"\x93").stop();
    cases.push(("stack global".to_owned(), torch_archive_of(&stacked, &[]), "names `posix.system`".to_owned()));
    for opcode in [b'i', b'o', 0x81, 0x92, 0x82, b'P'] {
        let bytes = Pickle::new().raw(b"(").raw(&[opcode]).stop();
        cases.push((format!("opcode {opcode:#x}"), torch_archive_of(&bytes, &[]), format!("opcode {opcode:#04x}")));
    }
    all_refused(
        cases
            .iter()
            .map(|(what, bytes, clause)| Case(what, "x.pth", bytes.clone(), ErrorKind::Unsupported, clause))
            .collect(),
    );
    assert!(!made.exists(), "a command was run");
}

#[test]
fn pickles_that_play_tricks_are_refused() {
    let state_dict = |value: Pickle| value.raw(b"s").stop();
    let tensor = |count, offset, shape: &[u64], strides: &[u64]| {
        let pickle = Pickle::new().raw(b"}").text("w");
        torch_archive_of(&state_dict(pickle.tensor("F32", "0", count, b"", offset, shape, strides)), &tensors()[..1])
    };
    let pickled = |pickle: Pickle| torch_archive_of(&pickle.stop(), &tensors()[..1]);
    let damaged = ErrorKind::Damaged;
    all_refused(vec![
        Case("no end", "x.pth", torch_archive_of(b"\x80\x02}", &[]), damaged, "are claimed, 0 are left"),
        Case("empty", "x.pth", torch_archive_of(b"", &[]), damaged, "its pickle at byte 0"),
        Case("nothing to pop", "x.pth", pickled(Pickle::new().raw(b"(0")), damaged, "nothing is on the stack"),
        Case("no mark", "x.pth", pickled(Pickle::new().raw(b"t")), damaged, "no mark"),
        Case("nothing kept", "x.pth", pickled(Pickle::new().raw(b"h\x05")), damaged, "nothing was kept as 5"),
        Case(
            "long text",
            "x.pth",
            pickled(Pickle::new().raw(b"X\xff\xff\xff\xff")),
            damaged,
            "4294967295 bytes are claimed",
        ),
        Case("huge text", "x.pth", pickled(Pickle::new().raw(b"\x8d").raw(&[0xff; 8])), damaged, "are claimed"),
        Case(
            "list in itself",
            "x.pth",
            pickled(Pickle::new().raw(b"]q\x00h\x00a")),
            ErrorKind::Unsupported,
            "no dict of named",
        ),
        Case(
            "dict in itself",
            "x.pth",
            pickled(Pickle::new().raw(b"}q\x00").text("d").raw(b"h\x00s")),
            ErrorKind::Unsupported,
            "no dict of named",
        ),
        Case("called text", "x.pth", pickled(Pickle::new().text("f").raw(b")R")), damaged, "do not fit"),
        Case(
            "called twice over",
            "x.pth",
            pickled(Pickle::new().global("collections", "OrderedDict").raw(b")R)R")),
            damaged,
            "do not fit",
        ),
        Case(
            "other id",
            "x.pth",
            pickled(Pickle::new().raw(b"(").text("module").raw(b"tQ")),
            damaged,
            "id of a storage",
        ),
        Case("state of a text", "x.pth", pickled(Pickle::new().text("f").raw(b"}b")), damaged, "a state is given"),
        Case("larger than its storage", "x.pth", tensor(6, 0, &[7], &[1]), damaged, "does not lie in its 24 bytes"),
        Case("past its storage", "x.pth", tensor(6, 1, &[6], &[1]), damaged, "does not lie in its 24 bytes"),
        Case("far past", "x.pth", tensor(6, u64::MAX / 8, &[1], &[1]), damaged, "from byte"),
        Case("another count", "x.pth", tensor(5, 0, &[5], &[1]), damaged, "of 5 F32 elements has 24 bytes"),
        Case("huge count", "x.pth", tensor(1 << 62, 0, &[5], &[1]), damaged, "has 24 bytes"),
        Case("expanded", "x.pth", tensor(6, 0, &[1 << 40], &[0]), ErrorKind::Unsupported, "without repetition"),
        Case("strides of another rank", "x.pth", tensor(6, 0, &[6], &[1, 1]), damaged, "shape and strides"),
        Case(
            "no such storage",
            "x.pth",
            torch_archive_of(
                &Pickle::new().raw(b"}").text("w").tensor("F32", "9", 6, b"", 0, &[6], &[1]).raw(b"s").stop(),
                &[],
            ),
            damaged,
            "entry `data/9` is named and not there",
        ),
    ]);
    // Deep nesting is no recursion: a million lists in lists.
    let deep = [&b"\x80\x02"[..], &b"]".repeat(1_000_000), &b"a".repeat(999_999), b"."].concat();
    let refused = read("x.pth", torch_archive_of(&deep, &[])).unwrap_err();
    assert!(told(&refused).contains("no dict of named tensors"), "{refused:?}");
    // More values than are made here; and a list of many pairs made into dicts again and again.
    let many = [&b"\x80\x02"[..], &b"N".repeat(5_000_000), b"."].concat();
    assert_eq!(read("x.pth", torch_archive_of(&many, &[])).unwrap_err().kind(), ErrorKind::Limit);
    let again = b"ccollections\nOrderedDict\nh\x00\x85R";
    let laughs =
        [&b"\x80\x02](K\x01K\x01\x86q\x01"[..], &b"h\x01".repeat(10_000), b"eq\x00", &again.repeat(10_000), b"."]
            .concat();
    assert_eq!(read("x.pth", torch_archive_of(&laughs, &[])).unwrap_err().kind(), ErrorKind::Limit);
}

#[test]
fn archives_that_lie_are_refused() {
    let tensors = tensors();
    let good = torch_archive(&tensors, &[]);
    let pickle = Pickle::new().raw(b"}").stop();
    let (data, storage) = (Entry::new("archive/data.pkl", &pickle), Entry::new("archive/data/0", &tensors[0].bytes));
    let archive = |entries: &[Entry<'_>]| zip_of(entries);
    let damaged = ErrorKind::Damaged;
    let big = Entry { claimed_bytes: 1 << 20, ..storage.clone() };
    let huge = Entry { claimed_bytes: u64::MAX - 9, ..storage.clone() };
    all_refused(vec![
        Case("cut in the middle", "x.pth", good[..good.len() / 2].to_vec(), damaged, "no end of the directory"),
        Case("last byte missing", "x.pth", good[..good.len() - 1].to_vec(), damaged, "no end of the directory"),
        Case("four bytes", "x.pth", b"PK\x03\x04".to_vec(), damaged, "no end of the directory"),
        Case(
            "deflated",
            "x.pth",
            archive(&[Entry { method: 8, ..data.clone() }]),
            ErrorKind::Unsupported,
            "is compressed",
        ),
        Case("larger than the file", "x.pth", archive(&[data.clone(), big]), damaged, "reaches into the directory"),
        Case("uncountable", "x.pth", archive(&[data.clone(), huge]), damaged, "reaches into the directory"),
        Case(
            "overlap",
            "x.pth",
            archive(&[data.clone(), Entry { claimed_offset: Some(0), ..storage.clone() }]),
            damaged,
            "overlap",
        ),
        Case(
            "far away",
            "x.pth",
            archive(&[data.clone(), Entry { claimed_offset: Some(1 << 40), ..storage.clone() }]),
            damaged,
            "ends after the file",
        ),
        Case("twice", "x.pth", archive(&[data.clone(), storage.clone(), storage.clone()]), damaged, "is there twice"),
        Case(
            "no pickle",
            "x.pth",
            archive(std::slice::from_ref(&storage)),
            ErrorKind::Unsupported,
            "no entry `data.pkl`",
        ),
        Case(
            "two pickles",
            "x.pth",
            archive(&[data.clone(), Entry { name: "b/data.pkl", ..data.clone() }]),
            damaged,
            "two entries",
        ),
    ]);
}

#[test]
fn a_real_checkpoint_of_the_old_form_has_the_numbers_of_its_safetensors_copy() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let data = std::env::var_os("TASKVEC_DATA").map_or(beside, Into::into);
    let folder = data.join("models/resnet20_cifar10");
    if !folder.is_dir() {
        return;
    }
    let saved = Checkpoint::open(&folder.join("resnet20-12fca82f.th")).unwrap();
    let copy = Checkpoint::open(&folder).unwrap();
    assert_eq!((saved.form(), copy.form()), (Form::TorchLegacy, Form::Safetensors));
    assert_eq!(saved.notes().len(), 2, "{:?}", saved.notes());
    for tensor in copy.body() {
        let theirs = saved.tensor(tensor.name()).unwrap_or_else(|| panic!("tensor `{}`", tensor.name()));
        assert_eq!((theirs.dtype(), theirs.shape()), (tensor.dtype(), tensor.shape()));
        assert!(saved.read(theirs).unwrap() == copy.read(tensor).unwrap(), "tensor `{}`", tensor.name());
    }
    assert_eq!(saved.fingerprint().unwrap(), copy.fingerprint().unwrap());
}
