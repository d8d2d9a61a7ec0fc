// Package stream is the adapter for Kafka: it decodes records into events, follows
// topics as a member of a consumer group, writes dead letters and produces pushed
// events.
//
// The committed offsets of the groups are a hint for people and lag tools. Where to
// read from is the worker's to say: see [Worker].
package stream
