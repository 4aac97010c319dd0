//! Training on a GPU, where the tests were built with a feature for one: `just wgpu`.

use super::*;

const DEVICE: &str = if cfg!(feature = "cuda") { "cuda" } else { "wgpu" };

/// What a run has changed of the base, all of it.
fn deltas(ground: &Ground, run: &str) -> Vec<f64> {
    let [base, tuned] =
        [ground.path("base"), ground.path(run).join(TUNED_FILE)].map(|path| Checkpoint::open(&path).unwrap());
    let of = |tensor: &taskvec_checkpoint::StoredTensor| {
        let then = f32s(&base.read(tensor).unwrap());
        let now = f32s(&tuned.read(tuned.tensor(tensor.name()).unwrap()).unwrap());
        now.into_iter().zip(then).map(|(now, then)| f64::from(now) - f64::from(then)).collect::<Vec<f64>>()
    };
    base.tensors().iter().flat_map(of).collect()
}

/// A few steps, so that the two have not drifted apart by their roundings: then they point the same way.
#[test]
fn a_gpu_learns_what_the_cpu_learns() {
    let ground = Ground::new();
    for (number, settings) in
        ["method: dense", "method: talos", "method: lora", "linearized: true"].into_iter().enumerate()
    {
        let recipe =
            |device: &str| skill(&format!("{settings}, device: {device}, shards: 1")).replace("epochs: 6", "steps: 8");
        let [cpu, gpu] = ["cpu", DEVICE].map(|device| {
            let name = format!("{number} on {device}");
            let run = ground.run(&recipe(device), &name);
            (deltas(&ground, &name), run)
        });
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let cosine = dot(&cpu.0, &gpu.0) / (dot(&cpu.0, &cpu.0) * dot(&gpu.0, &gpu.0)).sqrt();
        assert!(cosine > 0.99, "{settings}: the cosine of what both have learned is {cosine}");
        let [on_cpu, on_gpu] = [&cpu.1, &gpu.1].map(|run| run.accuracy.test.unwrap());
        assert!((on_cpu - on_gpu).abs() < 0.03, "{settings}: {on_cpu} on the CPU, {on_gpu} on {DEVICE}");
        let [at_base, at_base_gpu] = [&cpu.1, &gpu.1].map(|run| run.base_accuracy.unwrap().test.unwrap());
        assert!((at_base - at_base_gpu).abs() < 0.02, "{settings}: the base is worth {at_base} and {at_base_gpu}");
    }
}
