package online

import (
	"strconv"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
)

// prefix is the part of a generation's keys before the bucket, without the brace.
func prefix(namespace string, view *featurestore.View) string {
	return "{" + namespace + ":" + view.Name + "@" + strconv.Itoa(view.Generation)
}

// appendTag appends the tag that all keys of a bucket begin with.
func appendTag(dst []byte, prefix string, bucket int) []byte {
	dst = append(dst, prefix...)
	dst = append(dst, '/')
	dst = strconv.AppendInt(dst, int64(bucket), 10)
	return append(dst, '}')
}

// rowKey is the key of an entity's row.
func rowKey(prefix string, entityKey []byte) string {
	return tag(prefix, featurestore.Bucket(entityKey)) + ":" + string(entityKey)
}

func tag(prefix string, bucket int) string { return string(appendTag(nil, prefix, bucket)) }

func watermarksKey(prefix string, bucket int) string { return tag(prefix, bucket) + "#watermarks" }

// markers lists the stems of a generation's marker keys: one on a standalone server,
// one for each bucket on a cluster.
func (s *Store) markers(prefix string) []string {
	if !s.cluster {
		return []string{prefix + "}"}
	}
	stems := make([]string, featurestore.Buckets)
	for b := range stems {
		stems[b] = tag(prefix, b)
	}
	return stems
}

// field is the name of a partition in hashes of watermarks and targets.
func field(id ingest.PartitionID) string {
	return id.Topic.String() + ":" + strconv.Itoa(int(id.Partition))
}
