#!/usr/bin/env bash
# A search under Slurm: sbatch deploy/slurm.sh, from the project's folder; the same again goes on with the search.
# Edit: the resources here, the places and the command below. The environment is that of `make setup`, on a shared disk.
#SBATCH --job-name=emotune
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --exclusive
#SBATCH --no-kill
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=emotune-%j.log
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$PWD}"

export PATH="$PWD/.venv/bin:$PATH"
export EMOTUNE_STORAGE=${EMOTUNE_STORAGE:-$PWD/results}
export EMOTUNE_STORE=${EMOTUNE_STORE:-$PWD/stores/ecg}
command=(emotune search ecg_pretrain)
[ $# = 0 ] || command=("$@")

# A token of this job's own, which only its owner can read; without it nobody on these nodes can use the cluster.
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 MLFLOW_DISABLE_TELEMETRY=true
export RAY_AUTH_TOKEN_PATH="$HOME/.ray/token-$SLURM_JOB_ID"
(umask 077 && mkdir -p ~/.ray && head -c 32 /dev/urandom | sha256sum | cut -c1-64 > "$RAY_AUTH_TOKEN_PATH")
trap 'rm -f "$RAY_AUTH_TOKEN_PATH"' EXIT

name=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# This script runs on the first node, whose own name may mean 127.0.1.1 there.
head=$({ getent ahostsv4 "$name"; hostname -I | tr ' ' '\n'; } | awk '$1 !~ /^127/ {print $1; exit}')
# Ray's word of where it runs is in its folder, which is this job's own here: /tmp/ray may be another user's.
export RAY_ADDRESS="$head:6379"
# `ray symmetric-run` takes whole nodes: it refuses one with a Ray, such as one that a cancelled job has left behind.
each=(srun --ntasks="$SLURM_NNODES" --ntasks-per-node=1 --no-kill --kill-on-bad-exit=0)
"${each[@]}" ray stop --force > /dev/null
"${each[@]}" ray symmetric-run --address "$RAY_ADDRESS" --min-nodes "$SLURM_NNODES" \
    --num-cpus="${SLURM_CPUS_PER_TASK:-1}" --temp-dir="/tmp/ray-$SLURM_JOB_ID" --disable-usage-stats -- "${command[@]}"
