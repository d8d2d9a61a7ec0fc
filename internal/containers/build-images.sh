#!/bin/sh
# Builds local images for the container tests where the official ones can't be pulled, from Debian's packages:
#
#	eval "$(internal/containers/engine.sh)"
#	eval "$(internal/containers/build-images.sh)"
#
# makes onehop-local/redis, /postgres, /kafka and /runtime (what our binaries need to run), or those named as arguments, and
# prints the exports that make package containers use them. Needs root and debootstrap; kafka also needs Go, Java and Maven.
# The image "builder", made only when named, stands in for the images of Go and Python that the Dockerfile builds with.
# Root file systems are cached as archives in the cache directory; remove the directory "images" there to build them anew.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${ONEHOP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/onehop}/images
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")
# The mirror that apt uses: it is known to be within reach.
mirror=$(apt-get indextargets --format '$(SITE) $(CODENAME)' | sed -n "s/ $suite\$//p" | head -n 1)

say() { echo "build-images.sh: $*" >&2; }

[ "$(id -u)" = 0 ] || { say "needs root, for debootstrap"; exit 1; }
command -v debootstrap >/dev/null || {
	apt-get update -qq >&2 || true
	DEBIAN_FRONTEND=noninteractive apt-get install -y debootstrap >&2
}
mkdir -p "$cache"
exec 9>"$cache/lock"
flock -w 900 9 || { say "another build holds $cache/lock"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# packages NAME: what debootstrap installs for an image.
packages() {
	case $1 in
	redis) echo redis-server ;;
	postgres) echo postgresql ;;
	kafka) echo zlib1g ;;
	runtime) echo ca-certificates,libstdc++6 ;;
	builder) echo ca-certificates,gcc,libc6-dev,git,python3-pip ;;
	*)
		say "no image is called $1: redis, postgres, kafka, runtime or builder"
		return 1
		;;
	esac
}

# rootfs NAME PACKAGES: makes NAME.tar in the cache unless it is there; add_NAME puts in what is no package.
rootfs() {
	[ -f "$cache/$1.tar" ] && return 0
	say "building the files of $1"
	debootstrap --variant=minbase --include="$2" "$suite" "$work/$1" "$mirror" >"$work/$1.log" 2>&1 || {
		tail -n 20 "$work/$1.log" >&2
		exit 1
	}
	"add_$1" "$work/$1"
	rm -rf "$work/$1/var/cache/apt" "$work/$1/var/lib/apt/lists" "$work/$1/usr/share/doc" "$work/$1/usr/share/man"
	tar -C "$work/$1" -cf "$cache/$1.tar.partial" .
	mv "$cache/$1.tar.partial" "$cache/$1.tar"
	rm -rf "${work:?}/$1"
}

add_redis() { :; }

add_runtime() { chroot "$1" useradd --uid 65532 --user-group --no-create-home onehop; }

add_postgres() { install -m 755 "$here/images/postgres-entrypoint.sh" "$1/usr/local/bin/entrypoint.sh"; }

add_kafka() {
	mkdir -p "$1/opt/kafka/lib" "$1/var/lib/kafka"
	jars=$(cd "$here" && go run ./kafkajars)
	cp "$jars"/*.jar "$1/opt/kafka/lib/"
	# A Java runtime with only what Kafka needs, from the installed JDK.
	jlink --strip-debug --no-header-files --no-man-pages --output "$1/opt/java" --add-modules \
		java.base,java.desktop,java.logging,java.management,java.naming,java.security.jgss,java.security.sasl,java.sql,java.xml,jdk.unsupported,jdk.zipfs,jdk.crypto.ec
	ln -s /opt/java/bin/java "$1/usr/bin/java"
	install -m 755 "$here/images/kafka-entrypoint.sh" "$1/usr/local/bin/entrypoint.sh"
}

add_builder() {
	cp -a "$(go env GOROOT)" "$1/usr/local/go"
	# Certificates that this machine trusts beyond Debian's, as behind a company's proxy.
	cp /usr/local/share/ca-certificates/*.crt "$1/usr/local/share/ca-certificates/" 2>/dev/null || true
	chroot "$1" update-ca-certificates >/dev/null
}

# image NAME CHANGES...: imports NAME.tar with Dockerfile instructions, unless the engine has it as it is in the cache.
image() {
	name=$1
	shift
	stamp=$(stat -c %Y "$cache/$name.tar")
	if [ "$(docker image inspect -f '{{index .Config.Labels "onehop.stamp"}}' "onehop-local/$name" 2>/dev/null)" != "$stamp" ]; then
		docker import -c "LABEL onehop.stamp=$stamp" "$@" "$cache/$name.tar" "onehop-local/$name" >/dev/null
		say "imported onehop-local/$name"
	fi
	echo "export ONEHOP_IMAGE_$(echo "$name" | tr '[:lower:]' '[:upper:]')=onehop-local/$name"
}

names=${*:-redis postgres kafka runtime}
# Side by side: debootstrap waits for downloads half of the time.
builds=
for name in $names; do
	list=$(packages "$name")
	rootfs "$name" "$list" &
	builds="$builds $!"
done
failed=
for build in $builds; do
	wait "$build" || failed=1
done
[ -z "$failed" ] || exit 1

for name in $names; do
	case $name in
	redis) image redis -c 'CMD ["redis-server"]' -c 'EXPOSE 6379' ;;
	postgres) image postgres -c 'ENTRYPOINT ["entrypoint.sh"]' -c 'CMD ["postgres"]' -c 'EXPOSE 5432' ;;
	kafka) image kafka -c 'ENTRYPOINT ["entrypoint.sh"]' -c 'EXPOSE 9092' ;;
	runtime) image runtime -c 'USER 65532' ;;
	builder) image builder -c 'ENV PATH=/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin' ;;
	esac
done
