#!/bin/sh
# Starts the queue's server with the users of users.acl; the words after it are further options of the server.
#   REDIS_PASSWORD            of the user motionq: producers, workers, Flower, the callback receiver
#   REDIS_EXPORTER_PASSWORD   of the user exporter, which may only look; not set: the same
#   REDIS_ADMIN_PASSWORD      of the user admin, who may do everything; not set: there is none
#   MOTIONQ_NAMESPACE         prefix of the keys and channels that they may touch; not set: motionq
# Passwords come from the environment and reach the server as SHA-256 in a file: none is on a command line.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
users=$(mktemp)
namespace=${MOTIONQ_NAMESPACE:-motionq}
: "${REDIS_PASSWORD:?is not set}"

hash() { printf '%s' "$1" | sha256sum | cut -c1-64; }

sed -e '/^#/d' \
    -e "s/MOTIONQ_PASSWORD_SHA256/$(hash "$REDIS_PASSWORD")/" \
    -e "s/EXPORTER_PASSWORD_SHA256/$(hash "${REDIS_EXPORTER_PASSWORD:-$REDIS_PASSWORD}")/" \
    -e "s/\([~&]\)motionq:/\1$namespace:/g" \
    -e "s/:motionq\./:$namespace./g" \
    "$here/users.acl" >"$users"
if [ -n "${REDIS_ADMIN_PASSWORD:-}" ]; then
    printf 'user admin on #%s ~* &* +@all\n' "$(hash "$REDIS_ADMIN_PASSWORD")" >>"$users"
fi
unset REDIS_PASSWORD REDIS_EXPORTER_PASSWORD REDIS_ADMIN_PASSWORD
server=$(command -v redis-server || command -v valkey-server)
exec "$server" "$here/redis.conf" --aclfile "$users" "$@"
