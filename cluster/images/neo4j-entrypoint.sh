#!/bin/bash
# What compose.yaml uses of the official image's entry point: settings and the first password from the environment.
set -euo pipefail
if [ "$(id -u)" = 0 ]; then
    chown neo4j:neo4j /data /logs
    exec setpriv --reuid=neo4j --regid=neo4j --clear-groups "$0" "$@"
fi
{
    printf '%s\n' server.directories.data=/data server.directories.logs=/logs server.default_listen_address=0.0.0.0
    env | sed -n 's/^NEO4J_\([a-z].*\)/\1/p' | while IFS== read -r name value; do
        name=${name//__/%}; name=${name//_/.}
        printf '%s=%s\n' "${name//%/_}" "$value"
    done
} > "$NEO4J_HOME/conf/neo4j.conf"
[ -e /data/dbms/auth.ini ] || neo4j-admin dbms set-initial-password "${NEO4J_AUTH#neo4j/}"
exec neo4j console
