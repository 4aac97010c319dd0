//! Packs with odd tensors: names, shapes, dtypes.

use taskvec_testkit::contents::{LossyError, Values};
use taskvec_testkit::hand_made::{HandMade, HandTensor, streams};

use super::super::golden::Vector;
use super::vector;

pub(super) fn vectors() -> Vec<Vector> {
    vec![
        vector(
            "tensors_three",
            "names ascend as byte strings: upper case, lower case, beyond ASCII; a prefix comes first",
            &HandMade::new("n")
                .tensor(HandTensor::small("Z", 9, &[(8, 1.0)]))
                .tensor(HandTensor::small("blocks.0", 4, &[(0, 0.5), (3, -0.25)]))
                .tensor(HandTensor::small("blocks.0.attn", 4, &[(1, 2.0)]))
                .tensor(HandTensor::small("\u{e4}", 1, &[(0, -4.0)])),
        ),
        vector(
            "tensor_rank_0",
            "a scalar has one element, index 0",
            &HandMade::new("n").tensor(HandTensor { shape: vec![], ..HandTensor::small("scale", 1, &[(0, 0.125)]) }),
        ),
        vector(
            "tensor_rank_8",
            "eight dimensions are allowed, and an index is row-major",
            &HandMade::new("n").tensor(HandTensor {
                shape: vec![1, 2, 1, 3, 1, 1, 5, 1],
                ..HandTensor::small("deep", 30, &[(0, 1.0), (29, -1.0)])
            }),
        ),
        large(),
        dtypes(),
    ]
}

fn large() -> Vector {
    let indices = vec![0, (1 << 40) - 1];
    let tensor = HandTensor {
        name: "large".to_owned(),
        dtype: 1,
        shape: vec![1 << 20, 1 << 20],
        index: (1, streams::rice_coded(&[31], &indices)),
        value: (1, streams::f32s(&[1.0, 2.0])),
        indices,
        values: Values::Deltas(vec![1.0, 2.0]),
        error: None,
    };
    vector(
        "tensor_large",
        "2^40 elements, the most under the default limits; an index may need more than 32 bits",
        &HandMade::new("n").tensor(tensor),
    )
}

/// Each dtype with each value encoding.
fn dtypes() -> Vector {
    let error = Some(LossyError { max: 0.25, rms: 0.125 });
    let table = streams::DistanceTable { m: 0, own_sign: true, first: 0, lengths: vec![1, 0, 0, 1] };
    let mut pack = HandMade::new("n");
    for (dtype, dtype_name) in [(1, "f32"), (2, "f16"), (3, "bf16")] {
        let in_f32 = |name: &str| HandTensor { dtype, ..HandTensor::small(name, 8, &[(2, 1.5), (5, -3.0)]) };
        let name = |value: &str| format!("{dtype} {dtype_name}, {value}");
        pack = pack
            .tensor(HandTensor { error, value: (2, streams::bf16s(&[1.5, -3.0])), ..in_f32(&name("bf16")) })
            .tensor(in_f32(&name("f32")))
            .tensor(HandTensor { error, value: (3, streams::int8(&[(0.5, &[3, -6])])), ..in_f32(&name("int8")) })
            .tensor(HandTensor {
                value: (4, streams::distances(&table, &[1, -9])),
                values: Values::Distances(vec![1, -9]),
                ..in_f32(&name("lossless"))
            });
    }
    vector("tensors_of_each_dtype", "each dtype with each value encoding", &pack)
}
