# The front door. `just --list` shows the verbs; each is one line that also works without just.

# Show the verbs.
default:
    @just --list

# The main job on what the repository embeds: train a skill, pack it, attach it, detach it.
demo:
    cargo run --release --bin taskvec -- demo

# Format, clippy and docs with warnings denied.
check:
    bash tests/run check

# Everything: set-up, check, every test, the demo.
test:
    bash tests/run

# Make the wheel of the Python package, install it into target/python, test it.
python:
    bash tests/python

# Rewrite the golden files (vectors, transcripts); read the diff before you commit it.
bless:
    TASKVEC_BLESS=1 cargo test --release -p taskvec-tests

# Ten minutes of random swaps under load, on each engine; every answer held against a fresh session.
storm:
    cargo test --release --workspace --test it -- --ignored --nocapture ten_minutes_of_changes

# A pair of 10 GB compared in less than 1 GiB of memory; needs no room on disk, the files are sparse.
big-pair:
    cargo test --release --workspace --test it -- --ignored --nocapture ten_gigabytes

# The C header, from the sources (needs cbindgen); read the diff before you commit it.
header:
    cd crates/capi && cbindgen --config cbindgen.toml --crate taskvec-capi --output include/taskvec.h

# How small the C library and the core get, beside their goals.
capi-size:
    bash bench/size/run

# Every number of the README, each beside its alternative.
bench:
    bash bench/run

# Bytes of packs beside their bounds and beside zstd, xdelta3 and bsdiff.
bench-packs:
    cargo run --release --quiet --bin taskvec -- bench packs

# What a device pays: changes, inferences during swaps, opening, memory; on a base of the size of ViT-B/32.
bench-runtime:
    cargo run --release --quiet --bin taskvec -- bench runtime

# What skills of one base have in common, and what updates save by it; trains for twenty minutes.
bench-families:
    cargo build --release --bin taskvec && bench/families/run

# Eight gray tasks, all methods, three seeds, held against suites/results: the page is target/gray/index.html. Goes on where it was.
eval-gray data="../shared/data":
    cargo run --release --quiet --bin taskvec -- eval suites/gray.yaml --data {{data}} --out target/gray --against suites/results/gray.json

# Three tasks in colour on MobileNetV1, whose base is made first: the page is target/colour/index.html.
eval-colour data="../shared/data":
    [ -d target/mobilenet_v1_025_96 ] || cargo run --release --quiet --bin taskvec -- bundle {{data}}/models/mobilenet_v1_025_imagenet/model.safetensors --network models/mobilenet_v1_025/network_96.yaml -o target/mobilenet_v1_025_96
    cargo run --release --quiet --bin taskvec -- eval suites/colour.yaml --data {{data}} --out target/colour --against suites/results/colour.json

# Train on a GPU by Vulkan (a software driver such as lavapipe will do) and on the CPU, and compare. Compiles burn anew, for long.
wgpu:
    cargo test --release -p taskvec-packer --lib --features wgpu --target-dir target/wgpu gpu

# The same on an NVIDIA GPU, with the CUDA toolkit.
cuda:
    cargo test --release -p taskvec-packer --lib --features cuda --target-dir target/cuda gpu

# Requests per second and latency of `taskvec-device serve`, with and without swaps.
bench-serve:
    cargo test --release --workspace --test it requests_per_second -- --ignored --nocapture

# Licences, advisories, sources of the dependencies.
deny:
    cargo deny check

# Fuzz one door (pack, base_json, ...) or all of them, each for so many seconds.
fuzz target="" seconds="60":
    bash fuzz/run "{{target}}" {{seconds}}

# Pack and arithmetic in Miri, 32-bit and big-endian.
miri:
    bash tests/miri

# Pack, arithmetic and bundle on 32-bit x86.
narrow:
    bash tests/narrow

# Pack, arithmetic, bundle and runtime (on ONNX Runtime) on aarch64, under emulation.
aarch64:
    bash tests/aarch64
