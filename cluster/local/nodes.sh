# A cluster of several nodes on this machine, to try out what a run does on one. For bash:
#
#     source cluster/local/nodes.sh && start_head && start_node && start_node
#     rayrml submit config.json --address "$DASHBOARD" --num-workers 2
#     kill_node; stop_nodes
#
# shellcheck shell=bash

export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=${RAY_AUTH_TOKEN:-$(python3 -c 'import secrets; print(secrets.token_hex(32))')}
export RAY_AUTH_TOKEN
# A node that does not answer for so many seconds is taken for dead; Ray's own values wait ten times as long.
export RAY_health_check_period_ms=1000 RAY_health_check_failure_threshold=3

ray_port=${RAY_PORT:-6390}
dashboard_port=${DASHBOARD_PORT:-8270}
metrics_port=${METRICS_PORT:-8280}
ray_folder=$(mktemp -d /tmp/ray-XXXXXX)
node_processes=()
nodes_started=0
export DASHBOARD="http://127.0.0.1:$dashboard_port"
export METRICS="http://127.0.0.1:$metrics_port/metrics"

# Each runs in the background, as the first of a group of processes of its own.
_start() {
    setsid ray start --block --node-ip-address=127.0.0.1 --temp-dir="$ray_folder/$nodes_started" --disable-usage-stats \
        --object-store-memory=200000000 --min-worker-port=0 --max-worker-port=0 \
        --dashboard-agent-listen-port=0 "$@" \
        >> "$ray_folder/nodes.log" 2>&1 &
    node_processes+=("$!")
    disown "$!" # or bash tells of its end
    nodes_started=$((nodes_started + 1))
}

start_head() {
    _start --head --port="$ray_port" --num-cpus="${1:-1}" \
        --dashboard-host=127.0.0.1 --dashboard-port="$dashboard_port" --metrics-export-port="$metrics_port"
    until curl --silent --fail --output /dev/null -H "Authorization: Bearer $RAY_AUTH_TOKEN" "$DASHBOARD/api/version"; do
        if ! kill -0 "${node_processes[0]}" 2> /dev/null; then
            echo "The head did not start:" >&2
            cat "$ray_folder/nodes.log" >&2
            return 1
        fi
        sleep 1
    done
    echo "The head is up, with the dashboard at $DASHBOARD"
}

start_node() {
    _start --address="127.0.0.1:$ray_port" --num-cpus="${1:-1}"
    echo "Node $((${#node_processes[@]} - 1)) is starting"
}

# End the node that was started last without notice, as a cloud ends a spot machine.
kill_node() {
    local last=$((${#node_processes[@]} - 1))
    kill -KILL -- "-${node_processes[$last]}" 2> /dev/null || true
    unset "node_processes[$last]"
    echo "Node $last is gone"
}

stop_nodes() {
    local process
    for process in "${node_processes[@]}"; do
        kill -KILL -- "-$process" 2> /dev/null || true
    done
    node_processes=()
    rm -rf "$ray_folder"
}
