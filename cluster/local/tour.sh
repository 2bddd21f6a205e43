#!/usr/bin/env bash
# What happens to a run on a cluster, shown on this machine: a head and two nodes are started, a training job is sent to
# them, one node is lost and replaced while it trains, an inference job follows, and the figures that Prometheus gets
# are shown. Takes some minutes on two cores. Needs rayrml (`pip install .`) and curl.
set -euo pipefail
cd "$(dirname "$0")/../.."
source cluster/local/nodes.sh
work=$(mktemp -d)
trap 'stop_nodes; rm -rf "$work"' EXIT

say() { printf '\n== %s\n' "$*"; }

# Wait until a file has a line; give up when the process that writes it has ended, or after so many seconds.
wait_for() {
    local seconds
    for ((seconds = 0; seconds < $4; seconds++)); do
        if grep -q -- "$1" "$2"; then return 0; fi
        if ! kill -0 "$3" 2> /dev/null; then break; fi
        sleep 1
    done
    cat "$2"
    echo "no '$1' came"
    return 1
}

say "A head and two nodes, of one CPU each"
start_head
start_node
start_node

say "The digits"
(cd "$work" && python3 "$OLDPWD/examples/mnist/prepare.py")
cp examples/mnist/*.json "$work"
cd "$work"

# No two workers find room on one node, so that one is lost with each.
say "A training job for one to three workers"
rayrml submit config_mnist_training.json --address "$DASHBOARD" --num-workers 1,3 \
    --set num_epochs=60 --set 'ray.resources_per_worker={"CPU": 0.6}' > training.txt &
job=$!
wait_for 'Training on 3 workers' training.txt "$job" 300
wait_for 'Train Epoch \[ 3/60\]' training.txt "$job" 300

say "A node is lost, and another one comes"
kill_node
start_node
wait_for 'A worker was lost' training.txt "$job" 300
grep 'A worker was lost' training.txt
wait_for 'Train Epoch \[50/60\]' training.txt "$job" 600
curl --silent --fail "$METRICS" | grep '^ray_rayrml_' > metrics.txt || true
wait "$job"
tail -n 4 training.txt

say "An inference job"
rayrml submit config_mnist_test.json --address "$DASHBOARD" --num-workers 2 \
    --set checkpoints.load=./mnist_model/model_checkpoint_60.pt --set 'ray.resources_per_worker={"CPU": 0.5}' | tail -n 3
python3 - << 'END'
import h5py
import numpy as np

with h5py.File("mnist_predictions/output_1.h5") as file:
    print({name: int(np.argmax(file[name][()])) for name in file})
END

say "What Prometheus got while it trained"
sed -E 's/\{.*run="([^"]*)".*\}/ of \1:/' metrics.txt
