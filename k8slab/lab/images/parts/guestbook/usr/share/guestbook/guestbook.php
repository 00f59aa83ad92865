#!/bin/sh
# What the guestbook's page asks for, in the words of the original:
#   ?cmd=set&key=KEY&value=VALUE    writes, to the service redismaster
#   ?cmd=get&key=KEY                reads, from the service redisslave
# The services are found by the variables that pods get of them, or by name when GET_HOSTS_FROM is "dns".
set -f

# argument NAME: what the query says of it, decoded
argument() {
    IFS='&'
    for pair in $QUERY_STRING; do
        case $pair in
        "$1="*) httpd -d "${pair#*=}" && return ;;
        esac
    done
}

answer() {
    printf 'Status: %s\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n\r\n%s\n' "$1" "$2"
    exit 0
}

# redis SERVICE WORD...: a command's answer as JSON
redis() {
    name=$1
    variable=$(echo "$name" | tr a-z A-Z)_SERVICE
    shift
    eval "host=\${${variable}_HOST:-} port=\${${variable}_PORT:-6379}"
    if [ "${GET_HOSTS_FROM:-env}" = dns ]; then host=$name; fi
    if [ -z "$host" ]; then
        answer '500 Internal Server Error' "{\"error\": \"the service $name was not there when this pod was made\"}"
    fi
    found=$(redis-cli -e --json -h "$host" -p "$port" "$@" 2>&1) && return
    answer '500 Internal Server Error' "{\"error\": \"the service $name does not answer\"}"
}

key=$(argument key)
case $(argument cmd) in
set)
    redis redismaster SET "$key" "$(argument value)"
    answer '200 OK' '{"message": "Updated"}'
    ;;
get)
    redis redisslave GET "$key"
    if [ "$found" = null ]; then found='""'; fi
    answer '200 OK' "{\"data\": $found}"
    ;;
esac
answer '400 Bad Request' '{"error": "cmd is set or get"}'
