package predictions

import (
	"log/slog"
	"time"
)

// Options say what is kept of a model's answers; the zero value keeps nothing.
type Options struct {
	// Exact keeps scores by the inputs of their rows.
	Exact Kind
	// Request keeps answers by what was asked for.
	Request Kind
	// Share keeps the answers of Request in Redis too, for all instances.
	Share bool
}

// Kind is a cache of one kind.
type Kind struct {
	// TTL is how long an entry counts; 0 means that there is no cache.
	TTL time.Duration
	// Bytes is the most memory that the entries take with their keys; 0 means [DefaultBytes].
	Bytes int64
}

// DefaultBytes is the memory of a cache whose options say none.
const DefaultBytes = 64 << 20

// Of is the version of a model whose answers are kept.
type Of struct {
	Model   string
	Version int
	// Digest tells apart what the version's files held, and so what answers follow from.
	Digest string
}

// Stats is what a cache has done. The counters, rows or requests, only grow.
type Stats struct {
	// Hits were answered from the cache, Misses looked up and computed, and Bypassed computed without a look.
	Hits, Misses, Bypassed uint64
	// Bytes is the memory of the entries.
	Bytes uint64
	// On is false while the cache costs more than it saves.
	On bool
}

// entryOverhead is about what an entry takes beside its key and value.
const entryOverhead = 160

func (k Kind) bytes() uint64 {
	if k.Bytes == 0 {
		return DefaultBytes
	}
	return uint64(k.Bytes)
}

// gate makes the gate of a cache of this kind, which says in the log when it turns.
func (k Kind) gate(kind string, of Of, log *slog.Logger) *Gate {
	log = log.With("model", of.Model, "version", of.Version, "cache", kind)
	return NewGate(min(k.TTL, longestWindow), time.Now, func(on bool, cost, saved time.Duration) {
		if on {
			log.Info("the prediction cache would save more than it costs: it is on again", "cost", cost, "saved", saved)
			return
		}
		log.Warn("the prediction cache costs more than it saves: it is off, and tried again later", "cost", cost, "saved", saved)
	})
}
