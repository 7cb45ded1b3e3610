#!/usr/bin/env bash
# A sweep under SLURM, on one or several nodes that share the folder from which it is submitted:
#   sbatch deploy/slurm.sh --budgets 2M 20M
#
# SLURM warns this script five minutes before the time is up or the job is preempted; the sweep then
# saves its running trials and ends with 130, and the job is put back into the queue, where it goes
# on from its journals.
#SBATCH --job-name=scaling-study
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=1
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

python=.venv/bin/python ray=.venv/bin/ray port=6379
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
RAY_AUTH_TOKEN=$(openssl rand -hex 32)
export RAY_USAGE_STATS_ENABLED=0

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(getent ahostsv4 "$head" | awk 'NR == 1 {print $1}'):$port

# Ray would count the CPUs of the whole machine.
start() { srun --overlap --nodes=1 --ntasks=1 -w "$1" "$ray" start "${@:2}" \
  --num-cpus "$SLURM_CPUS_PER_TASK" --object-store-memory 209715200 --block & }
start "$head" --head --port "$port"
sleep 20
for node in $(scontrol show hostnames "$SLURM_JOB_NODELIST" | tail -n +2); do
  start "$node" --address "$address"
done
sleep 20

$python -m study.sweep --address "$address" "$@" &
sweep=$!
# bash answers a signal only between commands, so it waits for the sweep instead of running it.
trap 'kill -USR1 $sweep' USR1 TERM
code=0
wait $sweep || code=$?
while kill -0 $sweep 2>/dev/null; do code=0; wait $sweep || code=$?; done
if [ "$code" -eq 130 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
