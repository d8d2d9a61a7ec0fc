package online

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
)

// Look is a bucket at one moment: rows and the watermarks that they are the fold up to.
type Look struct {
	// Rows are those of the keys that were asked for, nil where there is none.
	Rows [][]byte
	// Watermarks are the next offsets of the partitions.
	Watermarks map[ingest.PartitionID]int64
	// Live says that the bucket's marker is live.
	Live bool
}

// Look reads rows of one bucket together with its watermarks, in one transaction.
func (s *Store) Look(ctx context.Context, view *View, bucket int, keys [][]byte) (*Look, error) {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = rowKey(view.prefix, key)
	}
	stem := view.prefix + "}"
	if s.cluster {
		stem = tag(view.prefix, bucket)
	}
	// Before the transaction: a fill that begins between the two is then seen as no fill, and
	// its rows, which are the fold up to their watermarks too, are as good.
	marker, err := s.client.Get(ctx, stem+"#live").Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("reading a marker from Redis: %w", err)
	}
	var rows *redis.SliceCmd
	var hash *redis.MapStringStringCmd
	_, err = s.client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		hash = pipe.HGetAll(ctx, watermarksKey(view.prefix, bucket))
		rows = pipe.MGet(ctx, names...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading bucket %d from Redis: %w", bucket, err)
	}
	look := &Look{Rows: make([][]byte, len(keys)), Watermarks: map[ingest.PartitionID]int64{}, Live: marker == "live"}
	for i, row := range rows.Val() {
		if text, ok := row.(string); ok {
			look.Rows[i] = []byte(text)
		}
	}
	for name, next := range hash.Val() {
		id, err := parseField(name)
		if err == nil {
			look.Watermarks[id], err = strconv.ParseInt(next, 10, 64)
		}
		if err != nil {
			return nil, fmt.Errorf("bucket %d: the watermark %s = %s cannot be read: %w", bucket, name, next, err)
		}
	}
	return look, nil
}

// parseField is the inverse of field.
func parseField(name string) (id ingest.PartitionID, err error) {
	topic, number, _ := strings.Cut(name, ":")
	bytes, err := hex.DecodeString(topic)
	if err == nil && len(bytes) != len(featurestore.TopicID{}) {
		err = errors.New("a topic id has 16 bytes")
	}
	if err != nil {
		return id, err
	}
	partition, err := strconv.ParseInt(number, 10, 32)
	return ingest.PartitionID{Topic: featurestore.TopicID(bytes), Partition: int32(partition)}, err
}
