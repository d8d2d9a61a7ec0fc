#!/bin/sh
# Makes a database from POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB on the first start, as the image postgres does, and
# runs the server with the arguments after the first.
set -eu

bin=$(echo /usr/lib/postgresql/*/bin)
data=/var/lib/postgresql/data
user=${POSTGRES_USER:-postgres}
if [ ! -f $data/PG_VERSION ]; then
	umask 077
	echo "$POSTGRES_PASSWORD" >/tmp/password
	mkdir -p $data
	chown -R postgres: $data /tmp/password
	setpriv --reuid=postgres --regid=postgres --clear-groups "$bin/initdb" -D $data -U "$user" -A scram-sha-256 \
		--pwfile=/tmp/password --encoding=UTF8 --no-locale
	rm /tmp/password
	echo 'host all all all scram-sha-256' >>$data/pg_hba.conf
	if [ "${POSTGRES_DB:-$user}" != postgres ]; then
		echo "CREATE DATABASE \"${POSTGRES_DB:-$user}\"" |
			setpriv --reuid=postgres --regid=postgres --clear-groups "$bin/postgres" --single -D $data postgres >/dev/null
	fi
fi
[ "${1:-}" = postgres ] && shift
exec setpriv --reuid=postgres --regid=postgres --clear-groups "$bin/postgres" -D $data -c listen_addresses='*' \
	-c unix_socket_directories= "$@"
