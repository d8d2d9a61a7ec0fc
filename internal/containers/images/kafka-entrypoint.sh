#!/bin/sh
# Configures Apache Kafka from the environment as the image apache/kafka does: KAFKA_SOME_SETTING becomes some.setting.
set -eu

settings=/var/lib/kafka/server.properties
env | sed -n 's/^KAFKA_\([A-Z_]*=\)/\1/p' | while IFS='=' read -r name value; do
	echo "$(echo "$name" | tr 'A-Z_' 'a-z.')=$value"
done >$settings
echo log.dirs=/var/lib/kafka/data >>$settings

if [ ! -f /var/lib/kafka/data/meta.properties ]; then
	java -cp '/opt/kafka/lib/*' kafka.tools.StorageTool format \
		--cluster-id="${CLUSTER_ID:-MkU3OEVBNTcwNTJENDM2Qk}" -c $settings
fi
exec java -Xms128m -Xmx512m -XX:+UseSerialGC -cp '/opt/kafka/lib/*' kafka.Kafka $settings
