package online

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/featurestore"
)

// Inspection is what Redis holds of one entity in one generation of a view.
type Inspection struct {
	// Key is the row's key, Bucket the bucket that it is in.
	Key    string
	Bucket int
	// Row is the packed row, nil when there is none.
	Row []byte
	// Expires is how long until the row is forgotten; 0 is never.
	Expires time.Duration
	// Watermarks are those of the bucket: the next offset of each partition, as
	// "topic id:partition".
	Watermarks map[string]int64
	// Marker is that of the bucket: "live", "filling", or empty when the bucket is new or
	// was lost.
	Marker string
}

// Inspect reads what there is of an encoded entity key, in one round trip, for people.
func (s *Store) Inspect(ctx context.Context, view *View, entityKey []byte) (*Inspection, error) {
	in := &Inspection{
		Key: rowKey(view.prefix, entityKey), Bucket: featurestore.Bucket(entityKey),
		Watermarks: map[string]int64{},
	}
	stem := view.prefix + "}"
	if s.cluster {
		stem = tag(view.prefix, in.Bucket)
	}
	var row, marker *redis.StringCmd
	var ttl *redis.DurationCmd
	var watermarks *redis.MapStringStringCmd
	cmds, _ := s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		row, ttl = pipe.Get(ctx, in.Key), pipe.PTTL(ctx, in.Key)
		watermarks = pipe.HGetAll(ctx, watermarksKey(view.prefix, in.Bucket))
		marker = pipe.Get(ctx, stem+"#live")
		return nil
	})
	for _, cmd := range cmds { // the error of Pipelined is the first only, which may be a row that is not there
		if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return nil, noAnswer(err)
		}
	}
	if row.Err() == nil {
		in.Row = []byte(row.Val())
	}
	in.Marker, in.Expires = marker.Val(), max(0, ttl.Val())
	for partition, next := range watermarks.Val() {
		var err error
		if in.Watermarks[partition], err = strconv.ParseInt(next, 10, 64); err != nil {
			return nil, fmt.Errorf("bucket %d: the watermark %q of partition %s is not a number", in.Bucket, next, partition)
		}
	}
	return in, nil
}
