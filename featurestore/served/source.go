// Package served says what the serving log holds: a record for each vector that was served,
// with what it was read from, so that it can be computed again. The log is a source as others
// are, which ingest copies to history. The package does no I/O.
package served

import (
	"time"

	"github.com/onehop/onehop/featurestore"
)

// The kinds of what is served.
const (
	Service = "service"
	Model   = "model"
)

// The fields of the log, in the order of [Source]. The event time is the read time.
const (
	fieldKind = iota
	fieldName
	fieldVersion
	fieldDefinitions
	fieldRequestID
	fieldRow
	fieldEntities
	fieldRequest
	fieldRequestValues
	fieldFeatures
	fieldValues
	fieldStatuses
	fieldEventTimes
	fieldRows
	fieldScore
	fields
)

// Source is the serving log of a namespace.
func Source(namespace string, retention time.Duration) featurestore.Source {
	texts := featurestore.ListOf(featurestore.String)
	list := [fields]featurestore.Field{
		fieldKind:          {Name: "kind", Type: featurestore.String, Required: true},
		fieldName:          {Name: "name", Type: featurestore.String, Required: true},
		fieldVersion:       {Name: "version", Type: featurestore.Int64},
		fieldDefinitions:   {Name: "definitions", Type: featurestore.Int64, Required: true},
		fieldRequestID:     {Name: "request_id", Type: featurestore.String, Required: true},
		fieldRow:           {Name: "row", Type: featurestore.Int64, Required: true},
		fieldEntities:      {Name: "entities", Type: texts},
		fieldRequest:       {Name: "request", Type: texts},
		fieldRequestValues: {Name: "request_values", Type: texts},
		fieldFeatures:      {Name: "features", Type: texts},
		fieldValues:        {Name: "values", Type: texts},
		fieldStatuses:      {Name: "statuses", Type: texts},
		fieldEventTimes:    {Name: "event_times", Type: featurestore.ListOf(featurestore.Int64)},
		fieldRows:          {Name: "rows", Type: texts},
		fieldScore:         {Name: "score", Type: featurestore.Float64},
	}
	return featurestore.Source{
		Name: featurestore.ServedSource, Topic: namespace + "." + featurestore.ServedSource, Format: featurestore.JSON,
		TimeField: "read_time", TimeUnit: featurestore.Microseconds, Fields: list[:],
		MaxAge: featurestore.DefaultMaxAge, MaxSkew: featurestore.DefaultMaxSkew, Retention: retention,
	}
}
