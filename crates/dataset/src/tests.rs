//! Every form of data set, right and wrong, on files of a few bytes; and the real ones where they are.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use super::*;
use crate::error::ErrorKind;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn idx(sizes: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    for size in sizes {
        bytes.extend(size.to_be_bytes());
    }
    bytes.extend(data);
    bytes
}

/// An IDX set of gray images 2 x 3 with these training pixels and labels; the test set is its first image.
fn write_idx(folder: &Path, pixels: &[u8], labels: &[u8]) {
    let count = labels.len() as u32;
    let write = |name: &str, bytes: Vec<u8>| fs::write(folder.join(name), gzip(&bytes)).unwrap();
    write("train-images.idx3-ubyte.gz", idx(&[count, 2, 3], pixels));
    write("train-labels.idx1-ubyte.gz", idx(&[count], labels));
    write("test-images.idx3-ubyte.gz", idx(&[1, 2, 3], &pixels[..6]));
    write("test-labels.idx1-ubyte.gz", idx(&[1], &labels[..1]));
}

fn picture(width: u32, height: u32, value: u8) -> image::RgbImage {
    image::RgbImage::from_fn(width, height, |x, y| image::Rgb([value, x as u8, y as u8]))
}

fn jpeg(width: u32, height: u32, value: u8) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture(width, height, value).write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}
use std::io::Cursor;

fn write_tar(path: &Path, files: &[(&str, Vec<u8>)]) {
    let mut tar = tar::Builder::new(fs::File::create(path).unwrap());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    tar.finish().unwrap();
}

fn refusal(folder: &Path) -> Error {
    Dataset::open(folder).expect_err("must be refused")
}

#[test]
fn reads_idx_with_and_without_class_names() {
    let folder = folder();
    write_idx(folder.path(), &[0, 50, 100, 150, 200, 255, 9, 9, 9, 9, 9, 9], &[1, 0]);
    let set = Dataset::open(folder.path()).unwrap();
    assert_eq!((set.form, set.train.len(), set.test.len()), (Form::Idx, 2, 1));
    assert_eq!(set.classes, ["0", "1"]);
    assert_eq!(set.train.labels, [1, 0]);
    let first = &set.train.images[0];
    assert_eq!((first.width, first.height, first.channels), (3, 2, 1));
    assert_eq!(first.data, [0, 50, 100, 150, 200, 255]);
    fs::write(folder.path().join("classes.txt"), "cat\ndog\n").unwrap();
    assert_eq!(Dataset::open(folder.path()).unwrap().classes, ["cat", "dog"]);
    fs::write(folder.path().join("classes.txt"), "cat\n").unwrap();
    assert_eq!(refusal(folder.path()).kind(), ErrorKind::Damaged);
}

#[test]
fn reads_idx_in_color_and_without_gzip() {
    let folder = folder();
    let data: Vec<u8> = (0..24).map(|value| value * 10).collect();
    for split in ["train", "test"] {
        let images = folder.path().join(format!("{split}-images-idx4-ubyte"));
        fs::write(images, idx(&[2, 2, 2, 3], &data)).unwrap();
        fs::write(folder.path().join(format!("{split}-labels-idx1-ubyte")), idx(&[2], &[0, 1])).unwrap();
    }
    let set = Dataset::open(folder.path()).unwrap();
    assert_eq!((set.train.images[1].channels, set.train.images[1].data[0]), (3, 120));
}

#[test]
fn a_set_of_few_levels_is_stretched_as_a_whole() {
    let folder = folder();
    write_idx(folder.path(), &[0, 8, 16, 0, 0, 0, 1, 1, 1, 1, 1, 1], &[0, 1]);
    let set = Dataset::open(folder.path()).unwrap();
    assert_eq!(set.train.images[0].data, [0, 128, 255, 0, 0, 0]);
    assert_eq!(set.train.images[1].data, [16; 6], "a dark image of the set keeps its place");
    assert_eq!(set.test.images[0].data, [0, 128, 255, 0, 0, 0]);
}

#[test]
fn a_lying_idx_header_costs_no_memory() {
    struct Case(&'static str, Vec<u8>, ErrorKind, &'static str);
    let cases = [
        Case("magic", vec![1, 2, 3, 4, 0, 0, 0, 0], ErrorKind::Damaged, "begins with 0x01020304"),
        Case("short header", vec![0, 0, 8, 3, 0], ErrorKind::Damaged, "ends in its sizes"),
        Case("bomb", idx(&[1_000_000, 60_000, 60_000], &[]), ErrorKind::Damaged, "more than the file can hold"),
        Case("overflow", idx(&[2_000_000, u32::MAX, u32::MAX], &[]), ErrorKind::Damaged, "more than the file can hold"),
        Case("count", idx(&[u32::MAX, 1, 1], &[]), ErrorKind::Limit, "4294967295 items"),
        Case("too short", idx(&[2, 2, 3], &[7; 11]), ErrorKind::Damaged, "promises 12 bytes of data and holds 11"),
        Case("too long", idx(&[2, 2, 3], &[7; 13]), ErrorKind::Damaged, "holds more"),
        Case("no pixels", idx(&[2, 0, 3], &[]), ErrorKind::Damaged, "without pixels"),
        Case("too wide", idx(&[2, 1, 9000], &[7; 18000]), ErrorKind::Limit, "9000 x 1"),
        Case("other count", idx(&[3, 1, 1], &[7; 3]), ErrorKind::Damaged, "2 labels for 3 images"),
    ];
    let mut wrong = Vec::new();
    for Case(name, bytes, kind, message) in cases {
        let folder = folder();
        write_idx(folder.path(), &[200; 12], &[0, 1]);
        fs::write(folder.path().join("train-images.idx3-ubyte.gz"), gzip(&bytes)).unwrap();
        let error = refusal(folder.path());
        if error.kind() != kind || !error.to_string().contains(message) {
            wrong.push(format!("{name}: {error:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn damaged_gzip_and_missing_halves_are_named() {
    let folder = folder();
    write_idx(folder.path(), &[200; 12], &[0, 1]);
    let path = folder.path().join("train-images.idx3-ubyte.gz");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 6]).unwrap();
    let error = refusal(folder.path());
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error:?}");
    fs::write(&path, &whole).unwrap();
    fs::remove_file(folder.path().join("test-labels.idx1-ubyte.gz")).unwrap();
    let error = refusal(folder.path());
    assert!(error.to_string().contains("lacks `test-labels.idx1-ubyte.gz`"), "{error}");
}

#[test]
fn reads_jpeg_tars_with_labels_as_numbers_or_names() {
    let folder = folder();
    let files = [("1/0.jpg", jpeg(5, 4, 200)), ("0/1.jpg", jpeg(5, 4, 10)), ("1/2.jpg", jpeg(3, 3, 90))];
    write_tar(&folder.path().join("train.jpg.tar"), &files);
    write_tar(&folder.path().join("test.jpg.tar"), &files[..1]);
    let set = Dataset::open(folder.path()).unwrap();
    assert_eq!((set.form, set.train.labels.clone()), (Form::JpegTar, vec![1, 0, 1]));
    assert_eq!(set.classes, ["0", "1"]);
    assert_eq!((set.train.images[2].width, set.train.images[2].channels), (3, 3));
    fs::write(folder.path().join("classes.txt"), "glass\nmetal\n").unwrap();
    let set = Dataset::open(folder.path()).unwrap();
    assert_eq!((set.classes, set.train.labels), (vec!["glass".to_owned(), "metal".to_owned()], vec![1, 0, 1]));
    fs::write(folder.path().join("classes.txt"), "1\n0\n").unwrap();
    assert_eq!(Dataset::open(folder.path()).unwrap().train.labels, [0, 1, 0], "a name goes before a number");
}

#[test]
fn hostile_tars_and_images_are_refused() {
    struct Case(&'static str, Vec<u8>, ErrorKind, &'static str);
    let mut giant = jpeg(5, 4, 1);
    let frame = giant.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    giant[frame + 5..frame + 9].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF]);
    let cases = [
        Case("0/giant.jpg", giant, ErrorKind::Limit, "65535 x 65535"),
        Case("0/noise.jpg", vec![1, 2, 3], ErrorKind::Damaged, "cannot be decoded"),
        Case("0/cut.jpg", jpeg(64, 64, 3)[..100].to_vec(), ErrorKind::Damaged, "cannot be decoded"),
        Case("loose.jpg", jpeg(5, 4, 1), ErrorKind::Damaged, "not named <label>/<n>.jpg"),
        Case("0/deep/1.jpg", jpeg(5, 4, 1), ErrorKind::Damaged, "no plain file named"),
        Case("0/readme.md", vec![1], ErrorKind::Damaged, "not named <label>/<n>.jpg"),
    ];
    let mut wrong = Vec::new();
    for Case(name, bytes, kind, message) in cases {
        let folder = folder();
        write_tar(&folder.path().join("train.jpg.tar"), &[(name, bytes)]);
        write_tar(&folder.path().join("test.jpg.tar"), &[]);
        let error = refusal(folder.path());
        if error.kind() != kind || !error.to_string().contains(message) || !error.to_string().contains(name) {
            wrong.push(format!("{name}: {error:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_truncated_tar_is_damaged() {
    let folder = folder();
    let path = folder.path().join("train.jpg.tar");
    write_tar(&path, &[("0/0.jpg", jpeg(40, 40, 3))]);
    write_tar(&folder.path().join("test.jpg.tar"), &[]);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..700]).unwrap();
    assert_eq!(refusal(folder.path()).kind(), ErrorKind::Damaged);
}

#[test]
fn limits_are_parameters() {
    let folder = folder();
    write_tar(&folder.path().join("train.jpg.tar"), &[("0/0.jpg", jpeg(8, 8, 3)), ("1/1.jpg", jpeg(8, 8, 3))]);
    write_tar(&folder.path().join("test.jpg.tar"), &[]);
    let fine = DatasetLimits::default();
    let cases = [
        DatasetLimits { max_images: 1, ..fine.clone() },
        DatasetLimits { max_classes: 1, ..fine.clone() },
        DatasetLimits { max_side_pixels: 7, ..fine.clone() },
        DatasetLimits { max_image_file_bytes: 10, ..fine.clone() },
        DatasetLimits { max_decoded_bytes: 8 * 8 * 3 * 2 - 1, ..fine.clone() },
    ];
    for limits in cases {
        let error = Dataset::open_within(folder.path(), &limits).expect_err("over the limit");
        assert_eq!(error.kind(), ErrorKind::Limit, "{limits:?}: {error:?}");
    }
    assert!(Dataset::open_within(folder.path(), &fine).is_ok());
}

fn write_png(path: &Path, value: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    picture(4, 4, value).save(path).unwrap();
}

#[test]
fn reads_folders_of_images_with_their_own_split() {
    let folder = folder();
    for (name, value) in [("train/dog/b.png", 2), ("train/dog/a.png", 1), ("train/cat/x.png", 3), ("test/cat/y.png", 4)]
    {
        write_png(&folder.path().join(name), value);
    }
    fs::write(folder.path().join("train/dog/notes.txt"), "good dog").unwrap();
    let set = Dataset::open(folder.path()).unwrap();
    assert_eq!((set.form, set.classes.clone()), (Form::ImageFolders, vec!["cat".to_owned(), "dog".to_owned()]));
    assert_eq!((set.train.labels.clone(), set.test.labels.clone()), (vec![0, 1, 1], vec![0]));
    assert_eq!(set.train.images.iter().map(|image| image.data[0]).collect::<Vec<_>>(), [3, 1, 2]);
    write_png(&folder.path().join("test/fox/z.png"), 4);
    assert!(refusal(folder.path()).to_string().contains("class `fox` in `test` only"));
}

#[test]
fn a_folder_without_a_split_gets_one_that_never_changes() {
    let folder = folder();
    for class in ["a", "b"] {
        for value in 0..10 {
            write_png(&folder.path().join(format!("{class}/{value}.png")), value);
        }
    }
    let set = Dataset::open(folder.path()).unwrap();
    assert_eq!((set.train.len(), set.test.len()), (16, 4));
    assert_eq!(set.test.labels, [0, 0, 1, 1]);
    let test: Vec<u8> = set.test.images.iter().map(|image| image.data[0]).collect();
    assert_eq!(test, TEST_OF_TEN, "the split of a folder is the same for ever");
}
const TEST_OF_TEN: [u8; 4] = [0, 8, 0, 3];

#[test]
fn gray_images_stay_gray() {
    let folder = folder();
    fs::create_dir_all(folder.path().join("a")).unwrap();
    image::GrayImage::from_pixel(3, 3, image::Luma([77])).save(folder.path().join("a/0.png")).unwrap();
    let set = Dataset::open(folder.path()).unwrap();
    assert_eq!((set.train.images[0].channels, set.train.images[0].data.len()), (1, 9));
}

#[test]
fn what_is_no_data_set_is_said_with_what_was_found() {
    let outer = folder();
    let error = refusal(&outer.path().join("nowhere"));
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("nowhere") && error.help().is_some());

    let error = refusal(outer.path());
    assert!(error.to_string().contains("the folder is empty"), "{error}");

    fs::write(outer.path().join("song.wav"), "la").unwrap();
    let error = refusal(outer.path());
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("found `song.wav`"), "{error}");
    assert!(error.help().unwrap().contains("train.jpg.tar"));

    let error = refusal(&outer.path().join("song.wav"));
    assert!(error.to_string().contains("is a file, expected a folder"), "{error}");

    fs::create_dir(outer.path().join("digits")).unwrap();
    write_idx(&outer.path().join("digits"), &[200; 12], &[0, 1]);
    assert!(refusal(outer.path()).help().unwrap().contains("digits` looks like one"));
}

#[test]
fn text_is_recognized_and_refused() {
    let folder = folder();
    fs::write(folder.path().join("train.tsv"), "spam\tbuy now\nham\thello\n").unwrap();
    let error = refusal(folder.path());
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("is text (2 labels, 2 training lines)"), "{error}");
    fs::write(folder.path().join("train.tsv"), "spam\tbuy now\nhello\n").unwrap();
    let error = refusal(folder.path());
    assert!(error.to_string().contains("line 2: no tab"), "{error}");
}

#[test]
fn sets_are_joined_and_classes_selected() {
    let (one, two) = (folder(), folder());
    write_idx(one.path(), &[200; 18], &[0, 1, 2]);
    write_idx(two.path(), &[100; 12], &[1, 0]);
    let (mut first, mut second) = (Dataset::open(one.path()).unwrap(), Dataset::open(two.path()).unwrap());
    first.name = "one".to_owned();
    second.name = "two".to_owned();
    let joined = Dataset::join(vec![first.clone(), second]).unwrap();
    assert_eq!(joined.classes, ["one/0", "one/1", "one/2", "two/0", "two/1"]);
    assert_eq!(joined.train.labels, [0, 1, 2, 4, 3]);
    assert_ne!(joined.digest(), first.digest());
    let names = ["two/0".to_owned(), "one/2".to_owned()];
    let chosen = joined.clone().select(&names).unwrap();
    assert_eq!((chosen.classes.as_slice(), chosen.train.labels.as_slice()), (&names[..], &[1, 0][..]));
    let error = joined.select(&["two/x".to_owned()]).unwrap_err();
    assert!(error.help().is_some_and(|help| help.contains("did you mean")), "{error:?}");
}

#[test]
fn the_shared_data_sets_open() {
    let Some(data) = shared_data() else { return };
    struct Case(&'static str, Form, usize, usize, usize, u32);
    let cases = [
        Case("mnist", Form::Idx, 10, 8000, 2000, 28),
        Case("omniglot_korean", Form::Idx, 40, 600, 200, 28),
        Case("digits8x8", Form::Idx, 10, 0, 0, 8),
        Case("trashnet", Form::Idx, 6, 0, 0, 32),
        Case("fruits3", Form::JpegTar, 3, 0, 0, 100),
    ];
    for Case(name, form, classes, train, test, width) in cases {
        let folder = data.join("vision").join(name);
        let set =
            Dataset::open_as(&folder, form, &DatasetLimits::default()).unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!((set.classes.len(), set.train.images[0].width), (classes, width), "{name}");
        if train > 0 {
            assert_eq!((set.train.len(), set.test.len()), (train, test), "{name}");
        }
        let brightest = set.train.images.iter().flat_map(|image| &image.data).max().unwrap();
        assert_eq!(*brightest, 255, "{name}");
    }
    let error = refusal(&data.join("text/banking77"));
    assert!(error.to_string().contains("77 labels"), "{error}");
    assert!(refusal(&data.join("audio/fsdd")).to_string().contains("train.wav.tar"));
    assert!(refusal(&data.join("vision")).help().unwrap().contains("looks like one"));
}

#[test]
fn a_class_turned_four_times_is_itself_again() {
    let image = Image { width: 3, height: 2, channels: 1, data: vec![1, 2, 3, 4, 5, 6] };
    let mut turned = image.clone();
    turn(&mut turned);
    assert_eq!(turned, Image { width: 2, height: 3, channels: 1, data: vec![4, 1, 5, 2, 6, 3] });
    let split = Split { images: vec![image.clone()], labels: vec![0] };
    let classes = vec!["a".to_owned()];
    let set = Dataset { name: "x".to_owned(), classes, train: split.clone(), test: split, form: Form::Idx };
    let turned = set.with_quarter_turns();
    assert_eq!(turned.classes, ["a", "a, turned 90", "a, turned 180", "a, turned 270"]);
    assert_eq!(turned.train.labels, [0, 1, 2, 3]);
    assert_eq!(turned.train.images[0], image);
    let mut last = turned.test.images[3].clone();
    turn(&mut last);
    assert_eq!(last, image);
}

/// The folder named by `TASKVEC_DATA`, else `shared/data` beside the repository; `None`, said aloud, when neither is there.
fn shared_data() -> Option<PathBuf> {
    let named = std::env::var_os("TASKVEC_DATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let found = named.into_iter().chain([beside]).find(|folder| folder.join("MANIFEST.md").is_file());
    if found.is_none() {
        println!("left out: no shared data (set TASKVEC_DATA to its folder)");
    }
    found
}
