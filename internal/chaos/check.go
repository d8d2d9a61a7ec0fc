package chaos

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
)

// Checker compares what Redis, Postgres and the dead letters hold with what the topic says
// they must. It reads the servers themselves, not through any proxy.
type Checker struct {
	Brokers   []string
	Redis     redis.UniversalClient
	Pool      *pgxpool.Pool
	Namespace string
	// Versions of the definitions, oldest first. The views are those of the newest.
	Versions []*featurestore.Catalog
	// Sample compares the rows of one of so many entities, and of the others that there is
	// one; 0 means all. What it keeps in memory is of the sampled ones.
	Sample int
}

// Report is what a check found.
type Report struct {
	// Events are the records of the topic; Rejected those among them that must not be
	// accepted.
	Events   int `json:"events"`
	Rejected int `json:"rejected"`
	// Rows, History and Letters count what was compared. Sampled says that rows are of one
	// entity of so many, and of the others only that there is one; 0 for all.
	Sampled int `json:"sampled,omitempty"`
	Rows    int `json:"rows"`
	History int `json:"history"`
	Letters int `json:"letters"`
	// Lost and Doubled count events that are missing or there too often, in a row, in
	// history or among the letters; Wrong everything else that is not as it must be.
	Lost    int `json:"lost"`
	Doubled int `json:"doubled"`
	Wrong   int `json:"wrong"`
	// Points counts the values that onehop verify compared, Skewed the rows that differed.
	Points int `json:"points"`
	Skewed int `json:"skewed"`
	// Problems describes the first of them.
	Problems []string `json:"problems,omitempty"`
}

// OK says that everything is as it must be.
func (r *Report) OK() bool { return r.Lost == 0 && r.Doubled == 0 && r.Wrong == 0 && r.Skewed == 0 }

// maxProblems bounds the problems that a report describes.
const maxProblems = 20

func (r *Report) problemf(counter *int, n int, format string, args ...any) {
	*counter += n
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// partitionID names a partition of one incarnation of a topic.
type partitionID struct {
	topic     featurestore.TopicID
	partition int32
}

func (c *Checker) newest() *featurestore.Catalog { return c.Versions[len(c.Versions)-1] }

// Topic is the name of the source's topic.
func (c *Checker) Topic() string { return c.newest().Source(sourceName).Topic }

func (c *Checker) views() (views []*ingest.View, err error) {
	for _, view := range c.newest().ViewsOf(sourceName) {
		v, err := ingest.NewView(c.newest(), view)
		if err != nil {
			return nil, err
		}
		views = append(views, v)
	}
	return views, nil
}

// Part is something that a check looks at.
type Part int

// The parts.
const (
	Rows Part = iota
	History
	Letters
)

// Check reads the topic and checks the parts, all if none is named. The service must be
// drained: that watermarks stand at the end of the log is checked too. before are earlier
// incarnations of the topic, read before they were deleted.
func (c *Checker) Check(ctx context.Context, before []*Log, parts ...Part) (*Report, error) {
	views, err := c.views()
	if err != nil {
		return nil, err
	}
	t, err := newTruth(ctx, c.Versions, views, before, c.Sample)
	if err != nil {
		return nil, err
	}
	log, err := readLog(ctx, c.Brokers, c.Topic(), func(log *Log, r *kgo.Record) error { return t.add(ctx, log, r) })
	if err != nil {
		return nil, err
	}
	report := &Report{Events: t.accepted + len(t.rejected), Rejected: len(t.rejected), Sampled: c.Sample}
	all := len(parts) == 0
	if all || slices.Contains(parts, Rows) {
		err = c.checkRows(ctx, t, views, log, report)
	}
	if err == nil && (all || slices.Contains(parts, History)) {
		err = c.checkHistory(ctx, t, log, report)
	}
	if err == nil && (all || slices.Contains(parts, Letters)) {
		err = c.checkLetters(ctx, t, report)
	}
	if err == nil && all {
		err = c.checkVerify(ctx, views, report)
	}
	return report, err
}
