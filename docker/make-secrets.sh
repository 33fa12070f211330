#!/bin/sh
# Make the passwords of docker/compose.yaml, once: files in docker/secrets that are no one else's to see on this
# machine (the folder can be entered by its owner only), and that the containers' users can read.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
chmod 700 secrets
for name in ray_token mlflow_password mlflow_key postgres_password; do
    [ -s "secrets/$name" ] && continue
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "secrets/$name"
    chmod 444 "secrets/$name"
done
echo "docker/secrets has all four; the password of MLflow's user admin is in docker/secrets/mlflow_password"
