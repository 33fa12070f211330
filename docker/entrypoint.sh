#!/bin/sh
# What a container of the image is: head | worker | mlflow | emotune ... | any other command.
#
# EMOTUNE_BIND    where head and mlflow listen: 127.0.0.1 (default), or `all`, which asks for passwords first
# RAY_ADDRESS     the cluster's head, host:port, for `worker` and `emotune`
# *_FILE          files that hold the secrets; none is ever an argument, and none is printed
set -eu

refuse() {
    echo "entrypoint: $1" >&2
    exit 2
}

# export_from NAME: give a program the content of the file $NAME_FILE as $NAME.
export_from() {
    eval "file=\${$1_FILE:-}"
    [ -n "$file" ] || return 0
    [ -r "$file" ] || refuse "$1_FILE is $file, which cannot be read by user $(id -u); see docker/make-secrets.sh"
    eval "$1=\$(cat \"\$file\")"
    export "${1?}"
}

# need_token WHAT: Ray listens only to those who know its token.
need_token() {
    [ "${RAY_AUTH_MODE:-}" = token ] || refuse "$1 needs RAY_AUTH_MODE=token"
    [ -n "${RAY_AUTH_TOKEN:-}" ] || [ -s "${RAY_AUTH_TOKEN_PATH:-/nowhere}" ] ||
        refuse "$1 needs a token: give the file that holds it as RAY_AUTH_TOKEN_PATH"
    [ -n "${RAY_AUTH_TOKEN:-}" ] || [ -r "$RAY_AUTH_TOKEN_PATH" ] ||
        refuse "$RAY_AUTH_TOKEN_PATH cannot be read by user $(id -u); see docker/make-secrets.sh"
}

# own_address: the address under which other containers reach this one.
own_address() {
    python -c 'import socket; print(socket.gethostbyname(socket.gethostname()))'
}

role=${1:-}
bind=${EMOTUNE_BIND:-127.0.0.1}
case $bind in 127.0.0.1 | all) ;; *) refuse "EMOTUNE_BIND is '$bind'; give 127.0.0.1 or all" ;; esac
mkdir -p "${TMPDIR:-/tmp}"
echo "$role" > "${TMPDIR:-/tmp}/emotune.role"

case $role in
head)
    if [ "$bind" = all ]; then
        need_token "a Ray head that listens beyond this machine"
        address=$(own_address) dashboard=0.0.0.0
    else
        address=127.0.0.1 dashboard=127.0.0.1
    fi
    exec ray start --head --block --disable-usage-stats --node-ip-address="$address" --port=6379 \
        --include-dashboard=true --dashboard-host="$dashboard" --num-cpus="${RAY_CPUS:-0}" --num-gpus="${RAY_GPUS:-0}"
    ;;
worker)
    [ -n "${RAY_ADDRESS:-}" ] || refuse "worker needs RAY_ADDRESS, the head's host:port"
    need_token "a Ray worker"
    set -- ray start --block --disable-usage-stats --address="$RAY_ADDRESS" --node-ip-address="$(own_address)"
    [ -z "${RAY_CPUS:-}" ] || set -- "$@" --num-cpus="$RAY_CPUS"
    [ -z "${RAY_GPUS:-}" ] || set -- "$@" --num-gpus="$RAY_GPUS"
    exec "$@"
    ;;
mlflow)
    for name in MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY PGPASSWORD; do export_from $name; done
    if [ "$bind" = all ]; then
        [ -n "${MLFLOW_AUTH_ADMIN_PASSWORD:-}" ] ||
            refuse "an MLflow server that listens beyond this machine needs MLFLOW_AUTH_ADMIN_PASSWORD_FILE"
        [ -n "${MLFLOW_FLASK_SERVER_SECRET_KEY:-}" ] ||
            refuse "an MLflow server that listens beyond this machine needs MLFLOW_FLASK_SERVER_SECRET_KEY_FILE"
        [ -n "${MLFLOW_SERVER_ALLOWED_HOSTS:-}" ] ||
            refuse "an MLflow server that listens beyond this machine needs MLFLOW_SERVER_ALLOWED_HOSTS"
        host=0.0.0.0
    else
        host=127.0.0.1
    fi
    set -- mlflow server --host "$host" --port 5000 --workers "${MLFLOW_WORKERS:-2}" \
        --serve-artifacts --artifacts-destination /artifacts
    [ -z "${MLFLOW_AUTH_ADMIN_PASSWORD:-}" ] || set -- "$@" --app-name basic-auth
    export MLFLOW_AUTH_CONFIG_PATH="${MLFLOW_AUTH_CONFIG_PATH:-/usr/local/share/emotune/basic_auth.ini}"
    export MLFLOW_BACKEND_STORE_URI="${MLFLOW_BACKEND_STORE_URI:-postgresql+psycopg2://mlflow@postgres/mlflow}"
    exec "$@"
    ;;
emotune)
    export_from MLFLOW_TRACKING_PASSWORD
    if [ -n "${RAY_ADDRESS:-}" ]; then
        # A driver must be on a node of the cluster, so this becomes one, without room for evaluations.
        need_token "a Ray driver"
        ray start --disable-usage-stats --address="$RAY_ADDRESS" --node-ip-address="$(own_address)" \
            --num-cpus=0 --num-gpus=0 > /dev/null
    fi
    exec "$@"
    ;;
*)
    exec "$@"
    ;;
esac
