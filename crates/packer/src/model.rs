//! A network as it computes: itself, or linearized around its base.
//!
//! Linearized (Ortiz-Jimenez et al. 2023), the features are `f(x; base) + J(x; base) (now - base)`: of the encoder, and not of the logits,
//! to which the head is applied as ever. Trained so, a skill is found in the tangent space; a skill that was trained otherwise and is
//! looked at so is linearized afterwards. The weights are the same numbers either way, and so are packs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Gradients, Tensor};
use taskvec_networks::{Network, Tangent};

use crate::finetune::leaves::{each_gradient, to_host, tracked};

/// A plain network, as it computes. Cloning shares the numbers.
#[derive(Clone, Debug)]
pub(crate) enum Model {
    /// Itself.
    Whole(Network),
    /// Its linearization around `base`.
    Linearized {
        /// Where the derivative is taken.
        base: Network,
        /// Now minus base, flat; what is not in it does not differ.
        deltas: Arc<HashMap<ParamId, Tensor<1>>>,
    },
}

/// A model as the leaves of a new graph.
pub(crate) enum Leaves {
    /// The network's own tensors.
    Whole(Network),
    /// The deltas.
    Linearized {
        /// Plain.
        base: Network,
        /// In the order of the network.
        deltas: Vec<(ParamId, Tensor<1>)>,
    },
}

impl Model {
    /// The linearization of `now` around `base`, both plain and of the same ids; of the parameters for which `learns` is true.
    pub(crate) fn linearized(base: &Network, now: &Network, learns: impl Fn(ParamId) -> bool) -> Model {
        let then = flat(base);
        let deltas = flat(now).into_iter().filter(|(id, _)| learns(*id));
        let deltas = deltas.map(|(id, now)| (id, now - then[&id].clone())).collect();
        Model::Linearized { base: base.clone(), deltas: Arc::new(deltas) }
    }

    /// `now`, or its linearization around `base`. Of parameters that are as in the base no derivative is computed.
    pub(crate) fn of(base: &Network, now: Network, is_linearized: bool) -> Model {
        if !is_linearized {
            return Model::Whole(now);
        }
        let then = flat(base);
        let differs = |(id, now): &(ParamId, Tensor<1>)| to_host(now.clone()) != to_host(then[id].clone());
        let differing: HashSet<ParamId> = flat(&now).into_iter().filter(differs).map(|(id, _)| id).collect();
        Model::linearized(base, &now, |id| differing.contains(&id))
    }

    /// # Shapes
    /// `pixels`: `[batch, channels, height, width]`, plain; the result: `[batch, features]`, plain.
    pub(crate) fn features(&self, pixels: Tensor<4>) -> Tensor<2> {
        match self {
            Model::Whole(network) => network.features(pixels),
            Model::Linearized { base, deltas } => {
                base.linearized_features(&mut Tangent::new((**deltas).clone()), pixels)
            }
        }
    }

    /// As leaves of a new graph: what `learns` asks for a gradient, and a linearized model has deltas of nothing else.
    pub(crate) fn tracked(self, learns: impl Fn(ParamId) -> bool) -> Leaves {
        match self {
            Model::Whole(network) => Leaves::Whole(tracked(network, learns)),
            Model::Linearized { base, deltas } => {
                let ids = flat_ids(&base).into_iter().filter(|id| learns(*id));
                let leaf = |id: ParamId| Some((id, deltas.get(&id)?.clone().autodiff().set_require_grad(true)));
                let deltas = ids.filter_map(leaf).collect();
                Leaves::Linearized { base, deltas }
            }
        }
    }
}

impl From<&Network> for Model {
    fn from(network: &Network) -> Model {
        Model::Whole(network.clone())
    }
}

impl From<&Model> for Model {
    fn from(model: &Model) -> Model {
        model.clone()
    }
}

impl Leaves {
    /// # Shapes
    /// `pixels`: `[batch, channels, height, width]`, plain; the result: `[batch, features]`, in the graph.
    pub(crate) fn features(&self, pixels: Tensor<4>) -> Tensor<2> {
        match self {
            Leaves::Whole(network) => network.features(Tensor::from_inner(pixels)),
            Leaves::Linearized { base, deltas } => {
                let features = base.linearized_features(&mut Tangent::new(deltas.iter().cloned().collect()), pixels);
                // Of a model that has no deltas, where only the head learns, nothing is in the graph yet.
                if deltas.is_empty() { Tensor::from_inner(features) } else { features }
            }
        }
    }

    /// Takes the gradients out of `gradients` and hands each to `take`, in the order of the network.
    pub(crate) fn each_gradient(&self, gradients: &mut Gradients, mut take: impl FnMut(ParamId, Vec<f32>)) {
        match self {
            Leaves::Whole(network) => each_gradient(network, gradients, take),
            Leaves::Linearized { deltas, .. } => {
                for (id, delta) in deltas {
                    if let Some(gradient) = delta.grad_remove(gradients) {
                        take(*id, to_host(gradient));
                    }
                }
            }
        }
    }
}

fn flat(network: &Network) -> HashMap<ParamId, Tensor<1>> {
    let mut collect = Collect::default();
    network.visit(&mut collect);
    collect.0.into_iter().collect()
}

fn flat_ids(network: &Network) -> Vec<ParamId> {
    let mut collect = Collect::default();
    network.visit(&mut collect);
    collect.0.into_iter().map(|(id, _)| id).collect()
}

#[derive(Default)]
struct Collect(Vec<(ParamId, Tensor<1>)>);

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        self.0.push((parameter.id, parameter.val().reshape([-1])));
    }
}
