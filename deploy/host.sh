#!/usr/bin/env bash
# What is done on each host of a cluster; `ray up` copies this file there and runs it.
#   host.sh set-up NAME=VALUE ...   make the environment, unless it is up to date, and keep the settings
#   host.sh head                    the head's part: the cluster's token, unless there is one; it travels by SSH
#   host.sh ray start ARGUMENTS     start Ray anew, with the arguments of `ray start`
set -euo pipefail
code=$(cd "$(dirname "$0")/.." && pwd)
place=$(dirname "$code")
settings=$place/environment
token=$place/token

refuse() {
    echo "emotune: $*" >&2
    exit 2
}

# The first Python that will do: the one that was asked for, that of the environment, or what a system may call it.
find_python() {
    local name
    for name in ${EMOTUNE_PYTHON:-"$1/bin/python" python3.12 python3.11 python3.13 python3.14 python3}; do
        if "$name" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    refuse "$(hostname) has no Python 3.11 to 3.14 with venv among: ${EMOTUNE_PYTHON:-python3.12 python3.11 python3.13 python3.14 python3};" \
        "install one, or give EMOTUNE_PYTHON in the cluster's file"
}

# A stamp tells what an environment was made of. One without a stamp is somebody's own and is used as it is.
make_environment() {
    local stamp=$1/.emotune wanted python
    wanted=$(cd "$code" && cat requirements.lock pyproject.toml packaging/torch.lock packaging/netifaces/*.{py,toml} | sha256sum)
    if [ -d "$1" ] && [ ! -e "$stamp" ]; then
        "$1/bin/python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("emotune") is None)' ||
            refuse "$1 on $(hostname) is an environment without emotune; install it there, or give an EMOTUNE_VENV" \
                "that does not exist yet"
        echo "using the environment in $1 as it is"
    elif [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        python=$(find_python "$1")
        echo "making the environment in $1 with $python; this takes minutes"
        mkdir -p "$1"
        echo unfinished > "$stamp"
        sh "$code/packaging/make_venv.sh" "$1" "$python"
        echo "$wanted" > "$stamp"
    fi
}

# Only the shells that Ray opens read the settings: a person's own shells stay as they are.
hook_up() {
    local line
    line="case \"\${BASH_EXECUTION_STRING-}\" in *'export OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore'*) . '$settings' ;; esac"
    grep -qsxF "$line" ~/.bashrc || echo "$line" >> ~/.bashrc
}

set_up() {
    local setting
    set -- "EMOTUNE_VENV=$place/venv" "EMOTUNE_STORAGE=$place/results" "$@"
    for setting in "$@"; do
        [[ $setting =~ ^[A-Z_]+= ]] || refuse "$setting is not a setting; give NAME=VALUE"
        declare "$setting"
    done
    make_environment "$EMOTUNE_VENV"
    mkdir -p "$EMOTUNE_STORAGE" && [ -w "$EMOTUNE_STORAGE" ] ||
        refuse "$(hostname) cannot write to EMOTUNE_STORAGE $EMOTUNE_STORAGE; give a folder that all hosts share"
    {
        for setting in $(printf '%s\n' "${@%%=*}" | sort -u); do printf 'export %s=%q\n' "$setting" "${!setting}"; done
        printf 'export PATH=%q:$PATH\n' "$EMOTUNE_VENV/bin"
        printf 'export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=%q\n' "$token"
        echo 'export RAY_USAGE_STATS_ENABLED=0 MLFLOW_DISABLE_TELEMETRY=true'
    } > "$settings"
    hook_up
}

make_token() {
    [ -s "$token" ] || (umask 077 && head -c 32 /dev/urandom | sha256sum | cut -c1-64 > "$token")
    chmod 600 "$token"
}

# Ray takes another address for 127.0.0.1 and listens on all, unless it is told that it knows no clusters.
keep_to_itself() {
    [ -e ~/ray_bootstrap_config.yaml ] || return 0
    # shellcheck disable=SC1090
    . "$settings"
    [[ $(on_head) != "local 127."*" 0" ]] || echo 'export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0' >> "$settings"
}

# From the cluster's file, as `ray up` leaves it on the head: the kind of machines, the head's address, the number of workers.
on_head() { "$EMOTUNE_VENV/bin/python" -c 'import json, os
provider = json.load(open(os.path.expanduser("~/ray_bootstrap_config.yaml")))["provider"]
print(provider["type"], provider.get("head_ip", ""), len(provider.get("worker_ips", [])))'; }

# The address that other hosts know: that of the file on the head, that of the way to the head on a worker.
own_address() {
    local kind given workers
    if [ "$1" != head ]; then
        ip -4 -o route get "$RAY_HEAD_IP" 2>/dev/null | sed -n 's/.* src \([0-9.]*\).*/\1/p'
        return
    fi
    read -r kind given workers < <(on_head)
    [ "$kind" = local ] || return 0
    given=$(getent ahostsv4 "$given" | sed -n '1s/ .*//p')
    [[ $given == 127.* && $workers != 0 ]] &&
        refuse "provider.head_ip is $given, which the $workers hosts of worker_ips cannot reach; give the head's address"
    echo "$given"
}

start_ray() {
    local role=worker address interface
    # shellcheck disable=SC1090
    . "$settings"
    [[ " $* " == *" --head "* ]] && role=head
    address=$(own_address "$role")
    interface=$(ip -4 -o addr show 2>/dev/null | awk -v own="$address" 'split($4, part, "/") && part[1] == own {print $2; exit}')
    # gloo would take the address of the host's name, which is 127.0.1.1 on Debian
    [ -z "$interface" ] || export GLOO_SOCKET_IFNAME=$interface
    # so a host that has vanished is missed after 25 s; by Ray's defaults it takes a minute, in which a search may wait for it
    export RAY_health_check_period_ms=2000 RAY_health_check_timeout_ms=3000 RAY_health_check_failure_threshold=5
    # Ray 2.60's second autoscaler starts one host less than a file with addresses names
    [[ -z $address || $role != head ]] || export RAY_enable_autoscaler_v2=0
    ulimit -n "$(ulimit -Hn)"
    ray stop
    ray start "$@" ${address:+--node-ip-address="$address"} --disable-usage-stats
}

case ${1-} in
set-up) set_up "${@:2}" ;;
head) make_token && keep_to_itself ;;
ray) start_ray "${@:3}" ;;
*) refuse "host.sh knows set-up, head and ray start; given: ${1-nothing}" ;;
esac
