use taskvec_pack::{Dtype, Fingerprint};

use super::*;
use crate::encode::encode;
use crate::error::ErrorKind;
use crate::random::Random;
use crate::recipe::Values;

/// Two tensors of unlike deltas: many small ones, and few large ones.
fn vector() -> TaskVector {
    let mut random = Random::new(3, "budget");
    let mut tensor = |name: &str, len: u64, scale: f32| {
        let deltas = (0..len).map(|_| scale * random.normal() * random.normal()).collect();
        let (name, indices) = (name.to_owned(), (0..len).map(|index| 2 * index).collect());
        TensorDelta { name, dtype: Dtype::F32, shape: vec![2 * len], indices, deltas: Deltas::Numbers(deltas) }
    };
    let tensors = vec![tensor("large", 20_000, 0.01), tensor("small", 60_000, 0.001)];
    TaskVector { base: Fingerprint([1; 32]), tensors }
}

fn details() -> PackDetails {
    PackDetails::new("skill", Values::F32)
}

#[test]
fn a_budget_of_bytes_is_kept_and_used() {
    let vector = vector();
    let rated = Rated::new(&vector, false).unwrap();
    let mut errors = Vec::new();
    for most in [60_000, 20_000, 5_000, 1_000] {
        let fitted = rated.fit(Budget::Bytes(most), 0, &details()).unwrap();
        let used = fitted.encoded.bytes.len() as u64;
        assert!(used <= most && used * 100 >= most * 95, "{used} of {most}");
        errors.push(fitted.error);
    }
    assert!(errors.is_sorted() && errors[0] > 0.0 && errors[3] < 1.0, "{errors:?}");
}

#[test]
fn an_error_is_kept_and_no_single_rounding_of_everything_is_smaller_by_a_percent() {
    let vector = vector();
    let rated = Rated::new(&vector, false).unwrap();
    for values in [Values::Int8, Values::Int4, Values::Int2] {
        let plain = encode(&vector, &PackDetails::new("skill", values)).unwrap();
        let lost: f64 = (plain.tensors.iter())
            .map(|tensor| {
                let rms = f64::from(tensor.summary.measured_error.unwrap().rms);
                rms * rms * tensor.entry_count as f64
            })
            .sum();
        // A little more, since ratings are estimates.
        let error = (lost / rated.square).sqrt() * 1.02;
        let fitted = rated.fit(Budget::Error(error), 0, &details()).unwrap();
        assert!(fitted.error <= error, "{values:?}");
        let (ours, theirs) = (fitted.encoded.bytes.len(), plain.bytes.len());
        assert!(ours * 100 < theirs * 101, "{values:?}: {ours} bytes, {theirs} in one rounding");
    }
}

#[test]
fn the_curve_falls() {
    let vector = vector();
    let curve = Rated::new(&vector, false).unwrap().curve(8, 0, &details(), |_| Ok(None)).unwrap();
    assert!(curve.len() >= 6, "{} points", curve.len());
    assert!(curve.is_sorted_by(|a, b| a.pack_bytes > b.pack_bytes && a.error <= b.error));
}

#[test]
fn the_error_is_that_of_the_pack() {
    let vector = vector();
    let fitted = Rated::new(&vector, false).unwrap().fit(Budget::Bytes(15_000), 0, &details()).unwrap();
    let pack = taskvec_pack::Pack::read(&fitted.encoded.bytes, &taskvec_pack::Limits::default()).unwrap();
    let mut lost = 0.0;
    for tensor in &vector.tensors {
        let Deltas::Numbers(deltas) = &tensor.deltas else { panic!() };
        let mut exact: std::collections::BTreeMap<usize, f64> =
            tensor.indices.iter().map(|index| *index as usize).zip(deltas.iter().map(|d| f64::from(*d))).collect();
        if let Some(entry) = pack.tensors().find(|entry| entry.name() == tensor.name) {
            let taskvec_pack::Entries::Deltas(read) = entry.entries() else { panic!() };
            read.for_each(|(index, delta)| *exact.get_mut(&index).unwrap() -= f64::from(delta));
        }
        lost += exact.values().map(|off| off * off).sum::<f64>();
    }
    let square: f64 = vector
        .tensors
        .iter()
        .map(|tensor| match &tensor.deltas {
            Deltas::Numbers(deltas) => squares(deltas),
            Deltas::Distances(_) => 0.0,
        })
        .sum();
    assert!(((lost / square).sqrt() - fitted.error).abs() < 1e-6, "{} {}", (lost / square).sqrt(), fitted.error);
}

#[test]
fn budgets_that_nothing_keeps_are_refused() {
    let vector = vector();
    let rated = Rated::new(&vector, false).unwrap();
    for budget in [Budget::Bytes(10), Budget::Error(1e-9)] {
        let error = rated.fit(budget, 0, &details()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        let says = ["without any entry it has", "as small as it gets"];
        assert!(says.iter().any(|says| error.to_string().contains(says)), "{error}");
    }
    let distances = TaskVector {
        tensors: vec![TensorDelta {
            indices: vec![1],
            deltas: Deltas::Distances(vec![1]),
            ..vector.tensors[0].clone()
        }],
        ..vector
    };
    assert_eq!(Rated::new(&distances, false).map(drop).unwrap_err().kind(), ErrorKind::Usage);
}

/// The deltas of the pack, by tensor.
fn deltas_of(pack: &[u8]) -> Vec<(String, Vec<f32>)> {
    let pack = taskvec_pack::Pack::read(pack, &taskvec_pack::Limits::default()).unwrap();
    let deltas = |entry: taskvec_pack::TensorEntry<'_>| match entry.entries() {
        taskvec_pack::Entries::Deltas(deltas) => deltas.map(|(_, delta)| delta).collect(),
        taskvec_pack::Entries::Distances(_) => panic!("deltas were asked for"),
    };
    pack.tensors().map(|entry| (entry.name().to_owned(), deltas(entry))).collect()
}

#[test]
fn what_stays_is_scaled_to_the_magnitudes_of_all_and_the_error_says_what_that_costs() {
    let vector = vector();
    let sum = |deltas: &[f32]| deltas.iter().map(|delta| f64::from(delta.abs())).sum::<f64>();
    let [plain, rescaled] = [false, true]
        .map(|rescale| Rated::new(&vector, rescale).unwrap().fit(Budget::Bytes(6_000), 0, &details()).unwrap());
    for (name, deltas) in deltas_of(&rescaled.encoded.bytes) {
        let whole = vector.tensors.iter().find(|tensor| tensor.name == name).unwrap();
        let Deltas::Numbers(whole) = &whole.deltas else { panic!("deltas") };
        // Rounding to few levels moves each magnitude, up and down.
        let share = sum(&deltas) / sum(whole);
        assert!((0.9..1.1).contains(&share), "{name}: {share}");
    }
    assert!(rescaled.error > plain.error, "{} and {}", rescaled.error, plain.error);
}

#[test]
fn the_smallest_pack_that_keeps_an_accuracy_is_found_and_no_pack_is_an_error() {
    let vector = vector();
    let rated = Rated::new(&vector, false).unwrap();
    // An accuracy that falls with the bytes, one image in a thousand for 40 of them.
    let accuracy = |bytes: usize| 0.9_f64.min((bytes / 40) as f64 / 1000.0);
    let judge = |pack: &[u8]| Ok(accuracy(pack.len()));
    for drop_max in [0.0, 0.3, 0.7] {
        let (fitted, curve) = rated.fit_judged(0.9, drop_max, 0, true, &details(), judge).unwrap();
        let size = fitted.encoded.bytes.len();
        assert!(accuracy(size) >= 0.9 - drop_max - 1e-9, "{drop_max}: {size}");
        // Within a tenth of the smallest that would do.
        let least = (0.9 - drop_max) * 40_000.0;
        assert!((size as f64) < 1.1 * least, "{drop_max}: {size}, {least} would do");
        assert!(curve.windows(2).all(|pair| pair[0].pack_bytes > pair[1].pack_bytes));
        assert!(curve.iter().all(|point| point.accuracy == Some(accuracy(point.pack_bytes as usize))));
    }
    let error = rated.fit_judged(1.0, 0.05, 0, false, &details(), judge).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("with every entry it loses 10.00"), "{error}");
}

/// Some rows matter more than others: by rows the same bytes hold more of the vector than entry by entry.
#[test]
fn where_rows_matter_rows_are_kept() {
    let mut random = Random::new(4, "rows");
    let (rows, columns) = (256_u64, 192_u64);
    let scales: Vec<f32> = (0..rows).map(|row| if row % 8 == 0 { 0.02 } else { 0.001 }).collect();
    let all: Vec<f32> = (0..rows * columns).map(|at| scales[(at / columns) as usize] * random.normal()).collect();
    let vector = |is_entry: &dyn Fn(usize) -> bool| {
        let entries = all.iter().copied().enumerate().filter(|(at, _)| is_entry(*at));
        let (indices, deltas) = entries.map(|(at, delta)| (at as u64, delta)).unzip();
        let (name, dtype, shape) = ("rows".to_owned(), Dtype::F32, vec![rows, columns]);
        let tensor = TensorDelta { name, dtype, shape, indices, deltas: Deltas::Numbers(deltas) };
        TaskVector { base: Fingerprint([1; 32]), tensors: vec![tensor] }
    };
    // Few elements that did not change are filled in. Of a tensor that changed here and there, entries are kept.
    let (dense, sparse) = (vector(&|at| at % 50 != 7), vector(&|at| at % 8 != 7));
    let fit =
        |vector: &TaskVector| Rated::new(vector, false).unwrap().fit(Budget::Bytes(2_500), 0, &details()).unwrap();
    let (by_rows, by_entries) = (fit(&dense), fit(&sparse));
    assert!(by_rows.error < 0.97 * by_entries.error, "{} and {}", by_rows.error, by_entries.error);
    let encoding = |fitted: &Fitted| {
        let pack = taskvec_pack::Pack::read(&fitted.encoded.bytes, &taskvec_pack::Limits::default()).unwrap();
        pack.tensors().next().unwrap().index_encoding()
    };
    assert_eq!(encoding(&by_rows), taskvec_pack::IndexEncoding::Granules);
    assert_ne!(encoding(&by_entries), taskvec_pack::IndexEncoding::Granules);
}
