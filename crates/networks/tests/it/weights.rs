//! Weights by name: what is refused, and what a replacement leaves alone.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use bytes::Bytes;
use taskvec_networks::{ErrorKind, Gelu, over_mapped, parameters, with_weights};

use crate::{network, tiny};

fn zeros(shape: &[usize]) -> TensorData {
    TensorData::new(vec![0.0f32; shape.iter().product()], shape.to_vec())
}

#[test]
fn refuses_missing_and_misshapen_tensors_by_name() {
    let config = tiny(Gelu::Exact);
    let device = Device::flex();
    let shapes = config.tensors().unwrap();
    let shape = |name: &str| shapes.iter().find(|(given, _)| given == name).unwrap().1.clone();
    struct Case {
        broken: fn(&str) -> bool,
        data: fn() -> Option<TensorData>,
        message: &'static str,
    }
    let cases = [
        Case { broken: |name| name == "norm.bias", data: || None, message: "the weights lack tensor `norm.bias`" },
        Case {
            broken: |name| name.starts_with("blocks.1.mlp"),
            data: || None,
            message: "the weights lack tensor `blocks.1.mlp.fc1.weight` and 3 more",
        },
        Case {
            broken: |name| name == "blocks.0.attn.qkv.weight",
            data: || Some(zeros(&[8, 24])),
            message: "tensor `blocks.0.attn.qkv.weight`: the network has shape [24, 8], the weights [8, 24]",
        },
        Case {
            broken: |name| name == "norm.bias",
            data: || Some(TensorData::new(vec![0i32; 8], [8])),
            message: "tensor `norm.bias`: the network needs floats, the weights are I32",
        },
    ];
    for Case { broken, data, message } in cases {
        let give = |name: &str| if broken(name) { data() } else { Some(zeros(&shape(name))) };
        let error = with_weights(network(&config, &device), give).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(error.kind(), ErrorKind::Mismatch);
    }
}

#[test]
fn refuses_mapped_bytes_that_do_not_fit() {
    let config = tiny(Gelu::Exact);
    let shapes = config.tensors().unwrap();
    let shape = |name: &str| shapes.iter().find(|(given, _)| given == name).unwrap().1.clone();
    let bytes = |shape: &[usize]| Bytes::from(vec![0; 4 * shape.iter().product::<usize>()]);
    let broken = |data: Option<(Bytes, Vec<usize>)>| {
        let give = |name: &str| match name {
            "norm.weight" => data.clone(),
            name => Some((bytes(&shape(name)), shape(name))),
        };
        over_mapped(&config, give, &Device::flex()).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(broken(Some((bytes(&[8]), vec![8]))), Ok(()));
    assert_eq!(broken(None), Err("the weights lack tensor `norm.weight`".to_string()));
    let short = Some((Bytes::from(vec![0; 31]), vec![8]));
    assert_eq!(broken(short), Err("tensor `norm.weight`: shape [8] in f32 does not take 31 bytes".to_string()));
    let endless = Some((Bytes::from(vec![0; 32]), vec![usize::MAX, 3]));
    assert!(broken(endless).unwrap_err().contains("does not take 32 bytes"));
    let turned = Some((bytes(&[8]), vec![1, 8]));
    assert_eq!(broken(turned), Err("tensor `norm.weight`: the network has shape [8], the weights [1, 8]".to_string()));
}

#[test]
fn replacing_weights_keeps_ids_devices_and_what_is_frozen() {
    #[derive(Default)]
    struct Tracked(Vec<(bool, bool)>);
    impl ModuleVisitor for Tracked {
        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
            let value = parameter.val();
            self.0.push((value.is_require_grad(), value.device().is_autodiff()));
        }
    }
    let config = tiny(Gelu::Exact);
    for (device, frozen) in
        [(Device::flex().autodiff(), false), (Device::flex().autodiff(), true), (Device::flex(), false)]
    {
        let before = network(&config, &device);
        let before = if frozen { before.freeze() } else { before };
        let shapes = config.tensors().unwrap();
        let give = |name: &str| Some(zeros(&shapes.iter().find(|(given, _)| given == name)?.1));
        let after = with_weights(before.clone(), give).unwrap();
        assert_eq!(parameters(&after), parameters(&before));
        let state = |network: &taskvec_networks::Network| {
            let mut tracked = Tracked::default();
            network.visit(&mut tracked);
            tracked.0
        };
        assert_eq!(state(&after), state(&before));
        assert_eq!(state(&after)[0], (device.is_autodiff() && !frozen, device.is_autodiff()));
    }
}
