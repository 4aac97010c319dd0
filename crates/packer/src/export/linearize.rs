//! From the graph of a network to the graph of its linearization around the base: `f(x; base) + J(x; base) (now - base)`.
//!
//! Every node of the graph stays and computes with the base's weights. Beside each value that depends on an editable tensor, nodes
//! are added that carry its derivative along `now - base` (forward mode), by a rule for each operator; a family has nothing to say
//! here. What is given for an editable tensor is looked at in one place, where the base's numbers are subtracted from it.
//!
//! The base's numbers are a second initializer over the same bytes of `model.safetensors`, named with [`AT_BASE`] behind the tensor's
//! name. It spells the file [`MODEL_FILE_OF_BASE`]: a runtime that serves the file from memory, with composed weights for the one
//! spelling, serves the base's for the other.
//!
//! **A derivative has the shape of its value.** Whatever follows (a product, a change of shape) relies on it, so that a bias that
//! moves alone is spread over what it is added to.

use std::collections::{HashMap, HashSet};
use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use taskvec_bundle::MODEL_FILE_OF_BASE;

use super::graph::Graph;
use super::onnx::{GraphProto, NodeProto};
use crate::error::{Error, Result};

/// Behind the name of a tensor: its numbers in the base.
const AT_BASE: &str = "@base";
/// Behind the name of a tensor: what it differs by from the base.
const DELTA: &str = "@delta";
/// Behind the name of an output: its value at the base, to which the derivative is added.
const VALUE: &str = "@value";

/// The linearization of `graph` in the tensors called `editable`, which are inputs of it with defaults.
///
/// # Errors
/// `Unsupported` for an operator that has no rule here, named; `Usage` when no editable tensor reaches an output.
pub(super) fn linearized(graph: GraphProto, editable: &[String]) -> Result<GraphProto> {
    let outputs: HashSet<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    let moving: HashSet<&str> = editable.iter().map(String::as_str).collect();
    let lengths = graph.initializer.iter().filter_map(|it| Some((it.name.clone(), *it.dims.first()?))).collect();
    let mut made = Linearization { added: Graph::default(), known: HashSet::new(), along: HashMap::new(), lengths };
    let mut initializer = graph.initializer;
    for name in editable {
        let Some(now) = initializer.iter().find(|tensor| tensor.name == *name) else {
            return Err(Error::damaged(format!("tensor `{name}`: editable, and no initializer of the graph")));
        };
        let mut then = now.clone();
        then.name = format!("{name}{AT_BASE}");
        let location = then.external_data.iter_mut().find(|entry| entry.key == "location");
        location.into_iter().for_each(|entry| entry.value = MODEL_FILE_OF_BASE.to_owned());
        let delta = made.node("Sub", &[name, &then.name], format!("{name}{DELTA}"));
        made.along.insert(then.name.clone(), delta);
        initializer.push(then);
    }
    for mut node in graph.node {
        for input in node.input.iter_mut().filter(|input| moving.contains(input.as_str())) {
            input.push_str(AT_BASE);
        }
        for name in node.input.iter_mut().chain(&mut node.output).filter(|name| outputs.contains(*name)) {
            name.push_str(VALUE);
        }
        // No two nodes may have one name, and the sum will have the output's.
        node.name.clone_from(&node.output[0]);
        made.step(node)?;
    }
    for output in outputs {
        let value = format!("{output}{VALUE}");
        let Some(along) = made.along.get(&value).cloned() else {
            return Err(Error::usage(format!("`{output}` depends on no tensor that may be edited"))
                .with_help("there is nothing to linearize: make the base with more in `editable`"));
        };
        made.node("Add", &[&value, &along], output);
    }
    initializer.extend(made.added.constants);
    Ok(GraphProto { node: made.added.nodes, initializer, ..graph })
}

struct Linearization {
    /// The nodes of the new graph, and constants that it needs beside the old ones.
    added: Graph,
    /// Names of these constants.
    known: HashSet<String>,
    /// For each value that depends on an editable tensor: the name of its derivative.
    along: HashMap<String, String>,
    /// First sides of the initializers.
    lengths: HashMap<String, i64>,
}

/// A node and the derivatives of its inputs.
struct Rule<'a> {
    node: &'a NodeProto,
    along: Vec<Option<String>>,
}

impl Rule<'_> {
    fn input(&self, index: usize) -> &str {
        self.node.input.get(index).map_or("", String::as_str)
    }

    fn along(&self, index: usize) -> Option<&str> {
        self.along.get(index)?.as_deref()
    }

    fn output(&self) -> &str {
        &self.node.output[0]
    }

    /// The name of something that is computed for the first output.
    fn part(&self, what: &str) -> String {
        format!("{}@{what}", self.output())
    }

    fn number(&self, attribute: &str) -> Option<i64> {
        self.node.attribute.iter().find(|it| it.name == attribute)?.i
    }

    /// Refuses what the rule does not know: then it would be another function whose derivative is taken.
    fn knows(&self, attributes: &[&str], inputs: usize) -> Result<()> {
        let unknown = self.node.attribute.iter().find(|it| !attributes.contains(&it.name.as_str()));
        if let Some(unknown) = unknown {
            return Err(self.refused(&format!("with `{}`", unknown.name)));
        }
        if self.node.input.len() > inputs {
            return Err(self.refused(&format!("of {} inputs", self.node.input.len())));
        }
        Ok(())
    }

    fn refused(&self, which: &str) -> Error {
        let (op, name) = (&self.node.op_type, &self.node.name);
        let which = if which.is_empty() { String::new() } else { format!(" {which}") };
        Error::unsupported(format!("node `{name}`: there is no derivative of `{op}`{which} here"))
    }
}

impl Linearization {
    /// Adds a node of the graph, and the derivatives of its outputs.
    fn step(&mut self, node: NodeProto) -> Result<()> {
        let along: Vec<Option<String>> = node.input.iter().map(|input| self.along.get(input).cloned()).collect();
        // The shape of a value moves with nothing.
        if node.op_type == "Shape" || along.iter().all(Option::is_none) {
            self.added.nodes.push(node);
            return Ok(());
        }
        let rule = Rule { node: &node, along };
        if node.op_type == "LayerNormalization" {
            // It gives its mean and the inverse of its deviation if it is asked.
            let mut telling = node.clone();
            telling.output.extend([rule.part("mean"), rule.part("inverse")]);
            self.added.nodes.push(telling);
        } else {
            self.added.nodes.push(node.clone());
        }
        let along = match node.op_type.as_str() {
            "Reshape" | "Transpose" | "Slice" | "Split" | "Squeeze" | "Expand" | "GlobalAveragePool" | "Flatten" => {
                return self.linear(&rule);
            }
            "Pad" => {
                rule.knows(&[], 2)?;
                return self.linear(&rule);
            }
            "Concat" => self.concat(&rule),
            "Add" => self.add(&rule),
            "Mul" | "MatMul" => self.product(&rule),
            "Gemm" => self.gemm(&rule)?,
            "Conv" => self.conv(&rule),
            "LayerNormalization" => self.layer_norm(&rule)?,
            "BatchNormalization" => self.batch_norm(&rule)?,
            "Softmax" => self.softmax(&rule),
            "Gelu" => self.gelu(&rule)?,
            "Sigmoid" => self.sigmoid(&rule),
            "Relu" => self.relu(&rule),
            "Clip" => self.clip(&rule)?,
            _ => return Err(rule.refused("")),
        };
        self.along.insert(rule.output().to_owned(), along);
        Ok(())
    }

    /// What is linear in its first input does to the derivative what it does to the value.
    fn linear(&mut self, rule: &Rule<'_>) -> Result<()> {
        let (Some(first), true) = (rule.along(0), rule.along.iter().skip(1).all(Option::is_none)) else {
            return Err(rule.refused("in another input than its first"));
        };
        let mut node = rule.node.clone();
        first.clone_into(&mut node.input[0]);
        for output in &mut node.output {
            let along = format!("{output}@along");
            self.along.insert(output.clone(), along.clone());
            *output = along;
        }
        node.name = node.output[0].clone();
        self.added.nodes.push(node);
        Ok(())
    }

    fn concat(&mut self, rule: &Rule<'_>) -> String {
        let parts = (0..rule.node.input.len()).map(|index| match rule.along(index) {
            Some(along) => along.to_owned(),
            None => {
                let shape = self.node("Shape", &[rule.input(index)], rule.part(&format!("shape.{index}")));
                self.node("ConstantOfShape", &[&shape], rule.part(&format!("zeros.{index}")))
            }
        });
        let parts: Vec<String> = parts.collect();
        self.again(rule, &parts.iter().map(String::as_str).collect::<Vec<_>>(), "along")
    }

    fn add(&mut self, rule: &Rule<'_>) -> String {
        match (rule.along(0), rule.along(1)) {
            (Some(left), Some(right)) => self.node("Add", &[left, right], rule.part("along")),
            (one, other) => self.spread(rule, one.or(other).unwrap_or_default()),
        }
    }

    /// `d(a b) = da b + a db`
    fn product(&mut self, rule: &Rule<'_>) -> String {
        let (left, right) = (rule.input(0), rule.input(1));
        let moved = rule.along(0).map(|along| self.again(rule, &[along, right], "moved"));
        let turned = rule.along(1).map(|along| self.again(rule, &[left, along], "turned"));
        self.sum(rule, moved, turned)
    }

    /// `d(a b + c) = da b + a db + dc`; the products as the node itself has them.
    fn gemm(&mut self, rule: &Rule<'_>) -> Result<String> {
        rule.knows(&["transA", "transB"], 3)?;
        Ok(self.affine(rule).unwrap_or_else(|| self.spread(rule, rule.along(2).unwrap_or_default())))
    }

    /// As a [`gemm`](Self::gemm), whose bias is one number for each channel.
    fn conv(&mut self, rule: &Rule<'_>) -> String {
        match self.affine(rule) {
            Some(along) => along,
            None => self.spread_over_channels(rule, rule.along(2).unwrap_or_default()),
        }
    }

    /// The derivative of products with a bias; none where only the bias moves.
    fn affine(&mut self, rule: &Rule<'_>) -> Option<String> {
        let mut bias = rule.along(2);
        let mut term = |factors: [&str; 2], what: &str| {
            let inputs: Vec<&str> = factors.into_iter().chain(bias.take()).collect();
            self.again(rule, &inputs, what)
        };
        let moved = rule.along(0).map(|along| term([along, rule.input(1)], "moved"));
        let turned = rule.along(1).map(|along| term([rule.input(0), along], "turned"));
        (moved.is_some() || turned.is_some()).then(|| self.sum(rule, moved, turned))
    }

    /// With `n = (x - mean) / deviation` over the last side: `dn = (dx - mean(dx) - n mean(dx n)) / deviation`.
    fn layer_norm(&mut self, rule: &Rule<'_>) -> Result<String> {
        rule.knows(&["axis", "epsilon"], 3)?;
        if rule.number("axis") != Some(-1) {
            return Err(rule.refused("over more than the last side"));
        }
        if rule.along(0).is_none() && rule.along(1).is_none() {
            return Ok(self.spread(rule, rule.along(2).unwrap_or_default()));
        }
        let last = self.ints("@last", &[-1]);
        let inverse = rule.part("inverse");
        let centered = self.node("Sub", &[rule.input(0), &rule.part("mean")], rule.part("centered"));
        let normal = self.node("Mul", &[&centered, &inverse], rule.part("normal"));
        let moved = rule.along(0).map(|along| {
            let drift = self.node("ReduceMean", &[along, &last], rule.part("drift"));
            let product = self.node("Mul", &[along, &normal], rule.part("along.normal"));
            let share = self.node("ReduceMean", &[&product, &last], rule.part("share"));
            let stretch = self.node("Mul", &[&normal, &share], rule.part("stretch"));
            let level = self.node("Sub", &[along, &drift], rule.part("level"));
            let rest = self.node("Sub", &[&level, &stretch], rule.part("rest"));
            let scaled = self.node("Mul", &[&rest, &inverse], rule.part("rest.scaled"));
            self.node("Mul", &[&scaled, rule.input(1)], rule.part("moved"))
        });
        let turned = rule.along(1).map(|along| self.node("Mul", &[&normal, along], rule.part("turned")));
        let sum = self.sum(rule, moved, turned);
        Ok(match rule.along(2) {
            Some(bias) => self.node("Add", &[&sum, bias], rule.part("shifted")),
            None => sum,
        })
    }

    /// Linear in its input, its weight and its bias; the statistics stay.
    fn batch_norm(&mut self, rule: &Rule<'_>) -> Result<String> {
        rule.knows(&["epsilon"], 5)?;
        if rule.along(3).is_some() || rule.along(4).is_some() {
            return Err(rule.refused("in its statistics"));
        }
        let [x, weight, mean, variance] = [0, 1, 3, 4].map(|index| rule.input(index));
        let Some(&channels) = self.lengths.get(mean) else { return Err(rule.refused("whose mean is computed")) };
        let zeros = self.zeros(channels);
        let mut bias = rule.along(2);
        let mut term = |x: &str, weight: &str, mean: &str, what: &str| {
            let bias = bias.take().unwrap_or(&zeros);
            self.again(rule, &[x, weight, bias, mean, variance], what)
        };
        let moved = rule.along(0).map(|along| term(along, weight, &zeros, "moved"));
        let turned = rule.along(1).map(|along| term(x, along, mean, "turned"));
        if moved.is_some() || turned.is_some() {
            return Ok(self.sum(rule, moved, turned));
        }
        Ok(self.spread_over_channels(rule, rule.along(2).unwrap_or_default()))
    }

    /// With the shares `s`: `ds = s dx - s sum(s dx)`.
    fn softmax(&mut self, rule: &Rule<'_>) -> String {
        let axis = rule.number("axis").unwrap_or(-1);
        let axes = self.ints(&format!("@side.{axis}"), &[axis]);
        let moved = self.node("Mul", &[rule.along(0).unwrap_or_default(), rule.output()], rule.part("moved"));
        let total = self.node("ReduceSum", &[&moved, &axes], rule.part("total"));
        let shared = self.node("Mul", &[rule.output(), &total], rule.part("shared"));
        self.node("Sub", &[&moved, &shared], rule.part("along"))
    }

    /// The slope of `x Phi(x)` is `Phi(x) + x phi(x)`, with the normal distribution and its density.
    fn gelu(&mut self, rule: &Rule<'_>) -> Result<String> {
        rule.knows(&[], 1)?;
        let x = rule.input(0);
        let [half, one] = [("@half", 0.5), ("@one", 1.0)].map(|(name, value)| self.float(name, value));
        let root = self.float("@root", FRAC_1_SQRT_2);
        let minus_half = self.float("@minus_half", -0.5);
        let height = self.float("@bell", 0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2);
        let scaled = self.node("Mul", &[x, &root], rule.part("scaled"));
        let erf = self.node("Erf", &[&scaled], rule.part("erf"));
        let raised = self.node("Add", &[&erf, &one], rule.part("raised"));
        let below = self.node("Mul", &[&raised, &half], rule.part("below"));
        let square = self.node("Mul", &[x, x], rule.part("square"));
        let exponent = self.node("Mul", &[&square, &minus_half], rule.part("exponent"));
        let bell = self.node("Exp", &[&exponent], rule.part("bell"));
        let density = self.node("Mul", &[&bell, &height], rule.part("density"));
        let leaning = self.node("Mul", &[x, &density], rule.part("leaning"));
        let slope = self.node("Add", &[&below, &leaning], rule.part("slope"));
        Ok(self.sloped(rule, &slope))
    }

    /// The slope of `s = sigmoid(x)` is `s - s s`.
    fn sigmoid(&mut self, rule: &Rule<'_>) -> String {
        let square = self.node("Mul", &[rule.output(), rule.output()], rule.part("square"));
        let slope = self.node("Sub", &[rule.output(), &square], rule.part("slope"));
        self.sloped(rule, &slope)
    }

    fn relu(&mut self, rule: &Rule<'_>) -> String {
        let zero = self.float("@zero", 0.0);
        let inside = self.node("Greater", &[rule.input(0), &zero], rule.part("inside"));
        self.where_inside(rule, &inside)
    }

    fn clip(&mut self, rule: &Rule<'_>) -> Result<String> {
        rule.knows(&[], 3)?;
        if rule.node.input.len() < 3 || rule.along(0).is_none() {
            return Err(rule.refused("without two fixed ends"));
        }
        let above = self.node("Greater", &[rule.input(0), rule.input(1)], rule.part("above"));
        let below = self.node("Less", &[rule.input(0), rule.input(2)], rule.part("below"));
        let inside = self.node("And", &[&above, &below], rule.part("inside"));
        Ok(self.where_inside(rule, &inside))
    }

    fn where_inside(&mut self, rule: &Rule<'_>, inside: &str) -> String {
        let zero = self.float("@zero", 0.0);
        self.node("Where", &[inside, rule.along(0).unwrap_or_default(), &zero], rule.part("along"))
    }

    fn sloped(&mut self, rule: &Rule<'_>, slope: &str) -> String {
        self.node("Mul", &[rule.along(0).unwrap_or_default(), slope], rule.part("along"))
    }

    /// The sum of those that are there; one of the two is.
    fn sum(&mut self, rule: &Rule<'_>, one: Option<String>, other: Option<String>) -> String {
        match (one, other) {
            (Some(one), Some(other)) => self.node("Add", &[&one, &other], rule.part("along")),
            (one, other) => one.or(other).unwrap_or_default(),
        }
    }

    /// `along` in the shape of the rule's output.
    fn spread(&mut self, rule: &Rule<'_>, along: &str) -> String {
        let shape = self.node("Shape", &[rule.output()], rule.part("shape"));
        self.node("Expand", &[along, &shape], rule.part("along"))
    }

    /// The same, for one number for each channel of `[batch, channels, height, width]`.
    fn spread_over_channels(&mut self, rule: &Rule<'_>, along: &str) -> String {
        let column = self.ints("@column", &[-1, 1, 1]);
        let column = self.node("Reshape", &[along, &column], rule.part("column"));
        self.spread(rule, &column)
    }

    /// The rule's own node over other inputs.
    fn again(&mut self, rule: &Rule<'_>, inputs: &[&str], what: &str) -> String {
        let output = self.node(&rule.node.op_type, inputs, rule.part(what));
        let added = self.added.nodes.last_mut();
        added.into_iter().for_each(|node| node.attribute.clone_from(&rule.node.attribute));
        output
    }

    fn node(&mut self, op: &str, inputs: &[&str], output: String) -> String {
        self.added.node(op, inputs, &[&output], vec![]);
        output
    }

    fn float(&mut self, name: &str, value: f32) -> String {
        if self.known.insert(name.to_owned()) {
            self.added.float(name, value);
        }
        name.to_owned()
    }

    fn ints(&mut self, name: &str, values: &[i64]) -> String {
        if self.known.insert(name.to_owned()) {
            self.added.ints(name, values);
        }
        name.to_owned()
    }

    /// So many zeros.
    fn zeros(&mut self, count: i64) -> String {
        let name = format!("@zeros.{count}");
        if self.known.insert(name.clone()) {
            self.added.zeros(&name, count);
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::super::graph::Attribute::{Float, Int};
    use super::super::onnx::{TensorProto, ValueInfoProto};
    use super::*;

    /// The graph of one node over `x`, which is an editable tensor, and `y`, which is none.
    fn of_node(op: &str, inputs: &[&str], attributes: Vec<(&str, super::super::graph::Attribute)>) -> GraphProto {
        let mut graph = Graph::default();
        graph.node(op, inputs, &["out"], attributes);
        let tensor = |name: &str| TensorProto { name: name.to_owned(), dims: vec![4], ..TensorProto::default() };
        let output = ValueInfoProto { name: "out".to_owned(), r#type: None };
        let initializer = ["x", "y"].map(tensor).to_vec();
        GraphProto { node: graph.nodes, initializer, output: vec![output], ..GraphProto::default() }
    }

    fn refused(graph: GraphProto) -> String {
        linearized(graph, &["x".to_owned()]).unwrap_err().to_string()
    }

    #[test]
    fn what_has_no_rule_is_refused_by_name() {
        for (op, inputs, attributes, expected) in [
            ("Tanh", &["x"][..], vec![], "`Tanh`"),
            ("Gemm", &["y", "x"], vec![("beta", Float(0.5))], "`Gemm` with `beta`"),
            (
                "LayerNormalization",
                &["x", "y"],
                vec![("axis", Int(1))],
                "`LayerNormalization` over more than the last side",
            ),
            ("BatchNormalization", &["y", "y", "y", "x", "y"], vec![], "`BatchNormalization` in its statistics"),
            ("Pad", &["x", "y", "y"], vec![], "`Pad` of 3 inputs"),
            ("Reshape", &["y", "x"], vec![], "`Reshape` in another input than its first"),
            ("Clip", &["x", "y"], vec![], "`Clip` without two fixed ends"),
        ] {
            let found = refused(of_node(op, inputs, attributes));
            assert_eq!(found, format!("node `out@value`: there is no derivative of {expected} here"));
        }
    }

    #[test]
    fn a_graph_that_no_editable_tensor_reaches_is_refused() {
        assert_eq!(refused(of_node("Relu", &["y"], vec![])), "`out` depends on no tensor that may be edited");
        let strange = linearized(of_node("Relu", &["x"], vec![]), &["z".to_owned()]).unwrap_err();
        assert_eq!(strange.to_string(), "tensor `z`: editable, and no initializer of the graph");
    }
}
