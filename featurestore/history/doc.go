// Package history keeps every accepted record in Postgres: one typed table for each
// source, range-partitioned by event time into months (and what is before 1990 or from
// 2060 on), filled by COPY in the transaction that moves the partition's offset. A record is there exactly once per delivery by Kafka:
// duplicates that producers made are kept as duplicates.
//
// The tables of namespace n are in schema onehop_n, named like their sources. Columns:
// event_time and record_time (timestamptz), topic_id, kafka_partition, kafka_offset and
// event_index (the record's origin; elements of its array count from 0), deleted (whether it is a tombstone, by which the
// entity was forgotten), and one for each field, named like it with f_ in front.
package history
