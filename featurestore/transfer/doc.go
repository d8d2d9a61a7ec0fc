// Package transfer moves events between history and files: out as Parquet in a directory for
// each day, and in from CSV and Parquet, as partitions that Kafka never had.
package transfer
