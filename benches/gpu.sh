#!/usr/bin/env bash
# Trainings and an encoder on an NVIDIA GPU, each beside the CPU and PyTorch on the same GPU, in under 8 minutes.
#
# Build before, where the CUDA toolkit is:
#   cargo build --release --features cuda --bin kenyon
#   cargo build --release -p kenyon-learn --features cuda --example measure_engines --example measure_encoder
# Then: benches/gpu.sh TARGET_FOLDER DATA_FOLDER [MINILM_FOLDER]
#   TARGET_FOLDER  target/release, with kenyon and examples/
#   DATA_FOLDER    with mnist/ (the four IDX files) and clinc150/ (train.jsonl.gz, test.jsonl.gz)
#   MINILM_FOLDER  all-MiniLM-L6-v2 as published; without it that part is left out
# Needs python3 with numpy and torch (and transformers for MiniLM).
#
# It has not been run: there was no machine with an NVIDIA GPU. The million rows are answered by the CPU here; a job of a server does
# it on the GPU (batches.py KENYON million.csv label --only kenyon --serve "--device cuda"). PyTorch's figure is the forward pass alone.
set -euo pipefail

built=${1:?TARGET_FOLDER} data=${2:?DATA_FOLDER} minilm=${3:-}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 "$here/gpu_peer.py" prepare "$data" "$work"

# At most this long each: six parts and a minute for reading.
part() {
    echo "== $1"
    shift
    timeout 70 "$@" || echo "ended after 70 s, or failed with $?"
}
engines=$built/examples/measure_engines

one_epoch='{"hidden":[2048,2048],"active_share":0.05,"epochs":1,"members":1,"cross_fit":false}'
part "MNIST 784-2048-2048, one epoch: kernels on the CPU, candle on the GPU" \
    "$engines" "$work/mnist_train.csv" "$work/mnist_test.csv" label sparse_mlp --seeds 1 --device cuda --config "$one_epoch"
part "the same in PyTorch on the GPU" python3 "$here/gpu_peer.py" mnist "$work"

three='{"width":64,"layers":2,"epochs":3}'
part "attention on CLINC150, three epochs: kernels on the CPU, candle on the GPU" \
    "$engines" "$work/clinc_train.ndjson" "$work/clinc_test.ndjson" label attention --seeds 1 --device cuda --config "$three"
part "the same sizes in PyTorch on the GPU" python3 "$here/gpu_peer.py" clinc "$work"

if [ -n "$minilm" ]; then
    for device in cpu cuda; do
        part "MiniLM on $device" "$built/examples/measure_encoder" "$minilm" "$work/clinc_train.ndjson" --device "$device"
    done
    part "MiniLM in PyTorch on the GPU" python3 "$here/gpu_peer.py" minilm "$work" "$minilm"
fi

(cd "$work" && "$built/kenyon" train mnist_train.csv --target label --family sparse_mlp --model million --set epochs=1 >/dev/null)
part "a million rows answered by the CPU" \
    bash -c "cd '$work' && time '$built/kenyon' predict million.kenyon million.csv --csv >/dev/null"
part "the forward pass of a million rows in PyTorch on the GPU" python3 "$here/gpu_peer.py" million "$work"
