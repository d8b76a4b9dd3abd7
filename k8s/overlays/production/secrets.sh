#!/bin/sh
# Prints all Secrets that the overlay `production` needs, with random passwords:
#
#     k8s/overlays/production/secrets.sh | kubectl create -f -
#
# `kubectl create` rejects an existing Secret, so it overwrites none. If clients of the older API have an
# x-internal-token, set LEGACY_TOKEN to it; with LEGACY_READS=token they send it with their reads too.
# Passwords are 32 letters and digits, so they need no escaping in addresses and lists, and begin with a letter, because NATS
# parses a value that begins with a digit as a number.
set -eu
: "${NAMESPACE:=followgraph}" "${LEGACY_TOKEN:=}"

random() { printf 'k%s' "$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n' | cut -c1-31)"; }

# secret NAME TYPE KEY VALUE [KEY VALUE...]
secret() {
    printf -- '---\napiVersion: v1\nkind: Secret\nmetadata: {name: "%s", namespace: "%s"}\ntype: %s\nstringData:\n' \
        "$1" "$NAMESPACE" "$2"
    shift 2
    while [ $# -gt 0 ]; do
        # Empty: leave the setting out.
        [ -z "$2" ] || printf '  %s: "%s"\n' "$1" "$2"
        shift 2
    done
}

command_database=$(random) query_database=$(random) projector_database=$(random)
command_nats=$(random) query_nats=$(random) projector_nats=$(random) subscriber_nats=$(random) operator_nats=$(random)
tokens="backend=read+write:$(random),operator=read+write+admin:$(random)"

secret database-command kubernetes.io/basic-auth username followgraph_command password "$command_database"
secret database-query kubernetes.io/basic-auth username followgraph_query password "$query_database"
secret database-projector kubernetes.io/basic-auth username followgraph_projector password "$projector_database"
secret nats Opaque \
    COMMAND_SERVICE_NATS_PASSWORD "$command_nats" \
    PROJECTOR_NATS_PASSWORD "$projector_nats" \
    QUERY_SERVICE_NATS_PASSWORD "$query_nats" \
    SUBSCRIBER_NATS_PASSWORD "$subscriber_nats" \
    OPERATOR_NATS_PASSWORD "$operator_nats"
secret neo4j Opaque NEO4J_PASSWORD "$(random)"
secret command-service Opaque \
    DATABASE_URL "postgres://followgraph_command:$command_database@database-rw/followgraph" \
    NATS_URL "nats://command-service:$command_nats@nats:4222" \
    AUTH_TOKENS "$tokens" \
    INTERNAL_GRAPH_WRITE_TOKEN "$LEGACY_TOKEN"
secret query-service Opaque \
    DATABASE_URL "postgres://followgraph_query:$query_database@database-rw/followgraph" \
    NATS_URL "nats://query-service:$query_nats@nats:4222" \
    AUTH_TOKENS "$tokens" \
    PAGE_TOKEN_KEYS "$(random)" \
    INTERNAL_GRAPH_WRITE_TOKEN "$LEGACY_TOKEN"
secret projector Opaque \
    DATABASE_URL "postgres://followgraph_projector:$projector_database@database-rw/followgraph" \
    NATS_URL "nats://projector:$projector_nats@nats:4222"
