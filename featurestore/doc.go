// Package featurestore holds the nouns of Onehop: entities and their keys,
// events, sources, feature views, features, feature services, models, and the
// values that a read returns.
//
// It does no I/O, has no clock and imports nothing of this module. The packages
// below it add behaviour: definition reads nouns from YAML, fold turns events
// into rows and rows into values, ingest keeps the exactly-once protocol, and
// online, history, stream and registry are the adapters for Redis, Postgres,
// Kafka and stored definitions.
//
// All times are microseconds since the Unix epoch, UTC, in an int64.
package featurestore
