package ingest

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/stream"
)

// owned are the metrics of the partitions that this process owns. They are looked up when
// somebody scrapes: they move while nothing is processed, and those of partitions that were
// taken away are gone.
type owned struct {
	lag, seconds, partitions, filling *prometheus.Desc

	mu        sync.Mutex
	consumers map[string]*stream.Consumer // by group
	fills     map[fillKey]bool            // whether a partition's part of a fill is still to be done
}

// fillKey is a partition's part of the fill of a generation.
type fillKey struct {
	topic      string
	partition  int32
	view       string
	generation int
}

func newOwned() *owned {
	return &owned{
		lag:        prometheus.NewDesc("onehop_ingest_lag_records", "Records in the partition that are not processed yet.", []string{"group", "topic", "partition"}, nil),
		seconds:    prometheus.NewDesc("onehop_ingest_lag_seconds", "Age of the oldest record in the partition that is not processed yet; 0 when there is none. While Kafka does not answer, the time since it last said that there is none.", []string{"group", "topic", "partition"}, nil),
		partitions: prometheus.NewDesc("onehop_ingest_partitions", "Partitions that this process owns, by state: open, or waiting to be opened.", []string{"group", "topic", "state"}, nil),
		filling:    prometheus.NewDesc("onehop_ingest_view_filling_partitions", "Partitions that this process owns and has still to fold for the fill of a generation.", []string{"view", "generation"}, nil),
	}
}

// follow sets the consumers, by group; nil for none.
func (o *owned) follow(consumers map[string]*stream.Consumer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.consumers, o.fills = consumers, map[fillKey]bool{}
}

// fill notes which parts of fills a partition has still to do, and returns the views of
// which it has just done its part.
func (o *owned) fill(topic string, partition int32, views []*ingest.View, filling []bool) (done []*ingest.View) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, v := range views {
		key := fillKey{topic, partition, v.Name, v.Generation}
		if o.fills[key] && !filling[i] {
			done = append(done, v)
		}
		if o.fills != nil {
			o.fills[key] = filling[i]
		}
	}
	return done
}

// Describe implements prometheus.Collector.
func (o *owned) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{o.lag, o.seconds, o.partitions, o.filling} {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (o *owned) Collect(metrics chan<- prometheus.Metric) {
	o.mu.Lock()
	defer o.mu.Unlock()
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	now := time.Now()
	for group, consumer := range o.consumers {
		states := map[[2]string]int{}
		for _, p := range consumer.Progress() {
			number := strconv.Itoa(int(p.Partition))
			gauge(o.seconds, age(now, p.Since), group, p.Topic, number)
			if p.Behind >= 0 {
				gauge(o.lag, float64(p.Behind), group, p.Topic, number)
			}
			state := "waiting"
			if p.Open {
				state = "open"
			}
			states[[2]string{p.Topic, "open"}] += 0
			states[[2]string{p.Topic, "waiting"}] += 0
			states[[2]string{p.Topic, state}]++
		}
		for s, n := range states {
			gauge(o.partitions, float64(n), group, s[0], s[1])
		}
	}
	for v, n := range o.filled() {
		gauge(o.filling, float64(n), v.view, strconv.Itoa(v.generation))
	}
}

// age is how long ago a time is, in seconds; 0 for the zero time.
func age(now, t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, now.Sub(t).Seconds())
}

type generation struct {
	view       string
	generation int
}

// filled counts, for each generation, the owned partitions that are still to be folded.
func (o *owned) filled() map[generation]int {
	counts := map[generation]int{}
	online := o.consumers[onlineGroup]
	if online == nil {
		return counts
	}
	owns := map[string]map[int32]bool{}
	for _, p := range online.Progress() {
		if owns[p.Topic] == nil {
			owns[p.Topic] = map[int32]bool{}
		}
		owns[p.Topic][p.Partition] = true
	}
	for key, filling := range o.fills {
		if !owns[key.topic][key.partition] {
			continue
		}
		counts[generation{key.view, key.generation}] += 0
		if filling {
			counts[generation{key.view, key.generation}]++
		}
	}
	return counts
}
