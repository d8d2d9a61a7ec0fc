package definition

import (
	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/served"
)

// log is what was defined; nothing when it was not given.
func (d *logDef) log() featurestore.Log {
	if !d.Sample.given() {
		return featurestore.Log{}
	}
	log := featurestore.Log{Sample: d.Sample.value, Retention: featurestore.DefaultLogRetention}
	if d.Retention.given() {
		log.Retention = d.Retention.value
	}
	return log
}

// servingLog adds the serving log to the sources when anything is logged.
func (c *checker) servingLog() {
	var log featurestore.Log
	for i := range c.catalog.Services {
		log = longest(log, c.catalog.Services[i].Log)
	}
	for i := range c.catalog.Models {
		log = longest(log, c.catalog.Models[i].Log)
	}
	if log.Sample == 0 {
		return
	}
	source := served.Source(c.catalog.Namespace, log.Retention)
	for i := range c.sources {
		if def := &c.sources[i]; def.Topic.value == source.Topic {
			c.addf(def.Topic.place, "topic %q is that of the serving log: use another", source.Topic)
			return
		}
	}
	c.catalog.Sources = append(c.catalog.Sources, source)
}

func longest(a, b featurestore.Log) featurestore.Log {
	if b.Retention > a.Retention {
		return b
	}
	return a
}
